"""What all tests share: the folder of real images, and small networks made on the spot."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.support.registry_server", "tests.support.slurm"]

ROOT = Path(__file__).resolve().parent.parent


def _data_folder() -> Path:
    return Path(os.environ.get("MICSERVE_TEST_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images with ground truth; a test that needs them is skipped where they are not."""
    folder = _data_folder()
    if not folder.is_dir():
        pytest.skip(f"no test images at {folder}; set MICSERVE_TEST_DATA to their folder")
    return folder
