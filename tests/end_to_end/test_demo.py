"""`make demo` as a newcomer runs it, and what `kill -9` leaves of it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from micserve.codecs import read_image
from micserve.families import FAMILIES
from tests.support.stack import free_port

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Demo:
    """A finished demo: its folder, its environment, what it printed."""

    home: Path
    environment: dict[str, str]
    printed: str

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _make(self.environment, *arguments)

    @property
    def url(self) -> str:
        return self.environment["MICSERVE_URL"]


def _make(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    home = tmp_path_factory.mktemp("demo")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MICSERVE_", "MAKE"))}
    names = ("GATEWAY", "REGISTRY", *(family.upper() for family in FAMILIES))
    ports = {name: str(free_port()) for name in names}
    environment = {
        **inherited,
        "MICSERVE_HOME": str(home),
        "MICSERVE_URL": f"http://127.0.0.1:{ports['GATEWAY']}",
        **{f"MICSERVE_{name}_PORT": port for name, port in ports.items()},
    }
    done = _make(environment, "demo")
    try:
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        yield Demo(home, environment, done.stdout)
    finally:
        _make(environment, "down")


def test_the_prediction_is_better_than_the_input_and_the_gaussian_stands_beside_it(demo):
    report = json.loads((demo.home / "demo/report/report.json").read_text())
    text = json.dumps(report)
    assert "gaussian" in text
    metrics = (demo.home / "demo/report/metrics.csv").read_text().splitlines()
    rows = [dict(zip(metrics[0].split(","), row.split(","), strict=True)) for row in metrics[1:]]
    snr = {row["method"]: float(row["SNR (dB)"]) for row in rows if row["slice"] == "all"}
    assert set(snr) == {"prediction", "input", "gaussian", "median", "nlm"}
    assert snr["prediction"] > snr["input"] + 10


def test_the_result_is_an_image_that_says_who_made_it(demo):
    result = read_image(demo.home / "demo/denoised.tif")
    assert result.data.shape == (800, 800)
    assert result.dtype.newbyteorder("=") == np.float32
    assert "micserve.model = demo-spots" in result.info


def test_the_report_has_pictures_and_needs_nothing_else(demo):
    page = (demo.home / "demo/report/report.html").read_text()
    assert page.count("data:image/png;base64,") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_last_lines_say_what_to_try_and_it_works_as_printed(demo, tmp_path):
    line = next(row for row in demo.printed.splitlines() if row.strip().startswith("curl "))
    subprocess.run(line, shell=True, check=True, cwd=tmp_path, capture_output=True)
    assert read_image(tmp_path / "denoised.tif").data.shape == (800, 800)
    for address in (demo.url, f"{demo.url}/docs", demo.environment["MICSERVE_URL"]):
        assert address in demo.printed


def test_what_is_killed_comes_back_and_what_was_published_is_intact(demo):
    before = httpx.get(f"{demo.url}/v1/models/demo-spots", timeout=30).json()
    supervisor = psutil.Process(int((demo.home / "run/supervisord.pid").read_text()))
    for child in supervisor.children():
        child.kill()
    assert demo.make("up").returncode == 0
    assert httpx.get(f"{demo.url}/v1/models/demo-spots", timeout=30).json() == before
    assert _predicts(demo)


def test_a_killed_supervisor_is_cleaned_up_after(demo):
    supervisor = psutil.Process(int((demo.home / "run/supervisord.pid").read_text()))
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait(timeout=30)
    done = demo.make("up")
    assert done.returncode == 0, done.stderr
    assert _predicts(demo)


def test_down_stops_all_of_it(demo):
    assert demo.make("down").returncode == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(demo.url, timeout=5)
    mine = [
        process
        for process in psutil.process_iter()
        if _environment_of(process).get("MICSERVE_HOME") == str(demo.home)
    ]
    assert not mine


def _environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except psutil.Error:
        return {}


def _predicts(demo: Demo) -> bool:
    noisy = next((demo.home / "demo/spots/test/noisy").glob("*.tif"))
    url = f"{demo.url}/v1/models/demo-spots/predict"
    return httpx.post(url, content=noisy.read_bytes(), timeout=120).status_code == 200
