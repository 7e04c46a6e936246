"""Each command of docs/curl.md, and the Python example, against the real gateway."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/curl.md").read_text(), re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the files that the page names."""
    random = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name in ("in.tif", "clean.tif", "images/a b.tif", "images/c.tif"):
        tifffile.imwrite(tmp_path / name, random.integers(50, 150, (64, 70)).astype(np.uint16))
    (tmp_path / "images" / "broken.tif").write_bytes(b"not an image")
    return tmp_path


def test_every_command_of_the_page_works(facility, desk):
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    assert len(BLOCKS) >= 8
    replaced = {"http://127.0.0.1:8000": facility.gateway.url, "version=3": "version=1"}
    models = {"n2v-mine": "same", "stardist-mine": "nuclei"}
    for block in BLOCKS:
        for written, here in (replaced | models).items():
            block = block.replace(written, here)
        done = subprocess.run(
            ["sh", "-euc", block], cwd=desk, capture_output=True, text=True, timeout=120,
            env={**os.environ, "MICSERVE_TOKEN": "none-is-needed"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert tifffile.imread(desk / "out.tif").dtype == np.uint16
    assert {"labels.tif", "RoiSet.zip", "table.csv", "all.zip", "report.html", "metrics.csv"} <= {
        path.name for path in desk.iterdir()
    }
    results = desk / "results"
    assert sorted(path.name for path in results.iterdir()) == ["a b.tif", "c.tif"]
    for path in results.iterdir():
        np.testing.assert_array_equal(
            tifffile.imread(path), tifffile.imread(desk / "images" / path.name)
        )


def test_the_python_example_does_a_folder_and_names_what_failed(facility, desk):
    command = [
        sys.executable, ROOT / "docs/examples/folder.py", facility.gateway.url, "same@1",
        desk / "images", desk / "made", "output_dtype=input",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "1 of 3: a b.tif" in done.stdout
    assert "image" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in (desk / "made").iterdir()) == ["a b.tif", "c.tif"]
