"""`make locks`: the exact packages of every image, with the sha256 of every file.

Reads the lists that people write (`requirements/*.in` and the trainers' requirement files) and
writes `requirements/NAME-DEVICE.lock`. uv works from the index's metadata, so no CUDA package is
downloaded. Knows names and platforms; builds nothing.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import build

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
REQUIREMENTS = HERE / "requirements"

FOR_A_GPU = {
    "onnxruntime": "onnxruntime-gpu[cuda,cudnn]",
    "tensorflow-cpu": "tensorflow[and-cuda]",
    "tensorflow_cpu": "tensorflow[and-cuda]",
}
"""Package of the CPU variant to the one that runs on CUDA; torch has one name for both."""


def main() -> int:
    wanted = sorted(
        {
            (image["requirements"], device)
            for image in build.images().values()
            for device in image["devices"]
        }
    )
    for name, device in wanted:
        target = REQUIREMENTS / f"{name}-{device}.lock"
        print(f"{target.relative_to(ROOT)} …", flush=True)
        _lock(name, device, target)
    return 0


def _lock(name: str, device: str, target: Path) -> None:
    trains = name.startswith("train-")
    source = REQUIREMENTS / f"{name}.in"
    if trains:
        source = ROOT / "training" / f"requirements-{name.removeprefix('train-')}.txt"
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "asked.in"
        # A trainer checks its networks on the CPU: only the framework changes.
        swaps = {k: v for k, v in FOR_A_GPU.items() if not (trains and k == "onnxruntime")}
        asked.write_text(_for(device, source.read_text(encoding="utf-8"), swaps), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", str(asked)]
        command += ["--output-file", str(target), "--quiet", "--no-header", "--no-annotate"]
        command += ["--generate-hashes", "--python-version", "3.11"]
        command += ["--python-platform", "x86_64-manylinux_2_28"]
        command += [] if trains else ["--constraint", str(REQUIREMENTS / "serve.txt")]
        command += ["--find-links", str(HERE / "wheels")] if device == "cpu" else []
        subprocess.run(command, check=True)
    text = target.read_text(encoding="utf-8")
    head = f"# Made by `make locks` from {source.relative_to(ROOT)}; do not edit.\n"
    target.write_text(head + text, encoding="utf-8")


def _for(device: str, text: str, swaps: dict[str, str]) -> str:
    if device == "cpu":
        return text
    return "\n".join(_swapped(line, swaps) for line in text.splitlines()) + "\n"


def _swapped(line: str, swaps: dict[str, str]) -> str:
    name, equals, version = line.partition("==")
    return swaps.get(name, name) + equals + version


if __name__ == "__main__":
    sys.exit(main())
