"""Which computer trained a model, and with which libraries: for the report and the provenance."""

import os
import platform
import resource
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import micserve

LIBRARIES = ("numpy", "onnx", "onnxruntime", "bioimageio.core", "bioimageio.spec", "tifffile")


def hardware(device: str) -> dict[str, str]:
    """In words; `device` is what the framework trains on."""
    return {
        "device": device,
        "processor": _processor(),
        "cores": str(os.cpu_count() or 1),
        "memory": _memory(),
        "peak_memory": _peak_memory(),
        "system": f"{platform.system()} {platform.release()}",
    }


def versions(frameworks: Mapping[str, str]) -> dict[str, str]:
    """Of micserve, Python, the frameworks and the libraries that matter for the result."""
    found = {"micserve": micserve.__version__, "python": platform.python_version()}
    found |= dict(frameworks)
    return found | {name: version_of(name) for name in LIBRARIES}


def version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _peak_memory() -> str:
    """The most that this process ever held; what the next training of its kind is told."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak / ((1 << 30) if sys.platform == 'darwin' else (1 << 20)):.2f} GiB"


def _memory() -> str:
    info = Path("/proc/meminfo")
    if not info.is_file():
        return "unknown"
    kib = int(info.read_text().split("\n", 1)[0].split()[1])
    return f"{kib / (1 << 20):.1f} GiB"
