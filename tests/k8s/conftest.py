"""A real API server for tests of what talks to Kubernetes; skipped with a reason without."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import free_port

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "tests" / "cluster"


def require_kubernetes() -> None:
    folder = os.environ.get("MICSERVE_TEST_KUBERNETES", "")
    if not (folder and (Path(folder) / "kube-apiserver").exists()):
        pytest.skip(
            "no Kubernetes here: MICSERVE_TEST_KUBERNETES names no folder with its programs"
        )
    for program in ("etcd", "openssl", "kubectl"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} here")


class ControlPlane:
    """API server, controllers and scheduler, without a node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.kubeconfig = folder / "admin.kubeconfig"

    def start(self) -> None:
        script = str(CLUSTER / "control_plane.sh")
        port = free_port()
        subprocess.run(["bash", script, "up", str(self._folder), str(port)], check=True)

    def stop(self) -> None:
        script = str(CLUSTER / "control_plane.sh")
        subprocess.run(["bash", script, "down", str(self._folder)], check=True)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        ran = subprocess.run(
            ["kubectl", *words], input=stdin, env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    require_kubernetes()
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    plane.start()
    yield plane
    plane.stop()
