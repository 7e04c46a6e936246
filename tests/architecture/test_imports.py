"""What may import what: as import-linter reads it, and as a running interpreter shows it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FRAMEWORKS = ["tensorflow", "keras", "torch", "n2v", "csbdeep", "stardist.models"]
NUMERIC_CORE = ["micserve.normalize", "micserve.tiling", "micserve.qc", "micserve.axes"]
NOT_IN_THE_CORE = ["tifffile", "imagecodecs", "fastapi", "starlette", "onnxruntime", "mlflow"]


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code in which a test may plant a mistake."""
    target = tmp_path_factory.mktemp("checkout")
    for folder in ("micserve", "services", "training"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, target / folder, ignore=skipped)
    shutil.copyfile(ROOT / "pyproject.toml", target / "pyproject.toml")
    return target


def test_the_architecture_holds(checkout):
    done = lint_imports(checkout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("services/n2v/service.py", "import tensorflow", "No training framework"),
        ("micserve/tiling.py", "import tifffile", "numeric core"),
        ("micserve/errors.py", "import micserve.image", "Layers inside micserve"),
        ("micserve/image.py", "import services.gateway", "imports no application"),
        ("services/gateway/app.py", "import services.n2v.service", "never import one another"),
    ],
)
def test_a_planted_import_is_found(checkout, file, line, broken):
    path = checkout / file
    original = path.read_text()
    path.write_text(f"{original}\n{line}\n")
    try:
        done = lint_imports(checkout)
    finally:
        path.write_text(original)
    assert done.returncode != 0
    verdicts = [text for text in done.stdout.splitlines() if broken in text and "BROKEN" in text]
    assert verdicts, done.stdout


def loaded_by(*modules: str) -> set[str]:
    """Names in `sys.modules` of a fresh interpreter that imports these."""
    code = f"import sys, {', '.join(modules)}; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", NUMERIC_CORE)
def test_the_numeric_core_loads_no_format_framework_or_runtime(module):
    assert not loaded_by(module) & set(NOT_IN_THE_CORE + FRAMEWORKS)


@pytest.mark.parametrize("module", ["services.n2v.service", "services.gateway.app", "micserve.cli"])
def test_what_serves_loads_no_training_framework_and_no_bioimageio(module):
    assert not loaded_by(module) & {*FRAMEWORKS, "bioimageio.core"}
