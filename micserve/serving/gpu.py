"""How much memory of each GPU is taken, asked of NVIDIA's library when Prometheus asks.

Knows NVML; where there is no NVIDIA driver there is nothing to tell, and that
is no error. Indexes are those that this process may see.
"""

import logging
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

NAME = "micserve_gpu_memory_bytes"
HELP = "Memory of the GPU that is taken by everybody, and all that it has; absent without NVML."


class GpuMemory(Collector):
    """Prometheus collector with one series per GPU and kind, `used` and `total`."""

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(NAME, HELP, labels=["gpu", "kind"])

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(NAME, HELP, labels=["gpu", "kind"])
        for number, used, total in _memory():
            family.add_metric([str(number), "used"], used)
            family.add_metric([str(number), "total"], total)
        yield family


def _memory() -> list[tuple[int, int, int]]:
    """Index, bytes taken, bytes in all, of each GPU; empty where there is none or it refuses."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        try:
            return [_one(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        log.debug("NVML: %s", error)
        return []


def _one(library: Any, number: int) -> tuple[int, int, int]:
    info = library.nvmlDeviceGetMemoryInfo(library.nvmlDeviceGetHandleByIndex(number))
    return number, int(info.used), int(info.total)
