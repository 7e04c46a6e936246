"""What a running stack takes while nobody asks it anything: memory and processor time.

`make up`, then `make bench ARGS=idle`: every process that the local stack of MICSERVE_HOME
started. Memory is the proportional set size, in which a page that several processes share counts
once; it is read from the kernel, so this works on Linux only.
"""

import time
from collections import defaultdict
from pathlib import Path

import psutil

from services.local.__main__ import MARK, LocalSettings

SECONDS = 60
GOAL_GIB = 6.0
MIB = 1 << 20


def main() -> None:
    home = LocalSettings().home.absolute()
    before = {process: _cpu_seconds(process) for process in stack(home)}
    if not before:
        raise SystemExit(f"No stack of {home} is running. Start it with `make up`.")
    time.sleep(SECONDS)
    memory: dict[str, float] = defaultdict(float)
    used: dict[str, float] = defaultdict(float)
    for process, cpu in before.items():
        name = part_of(process)
        memory[name] += process.memory_full_info().pss / MIB
        used[name] += _cpu_seconds(process) - cpu
    print(f"| part | MiB | processor seconds in {SECONDS} s |\n|---|---|---|")
    for name in sorted(memory):
        print(f"| {name} | {memory[name]:.0f} | {used[name]:.2f} |")
    total = sum(memory.values()) / 1024
    print(f"| all | {total:.2f} GiB of {GOAL_GIB:g} | {sum(used.values()):.2f} |")


def stack(home: Path) -> list[psutil.Process]:
    """All processes that carry the folder's name."""
    return [process for process in psutil.process_iter() if _is_of(process, home)]


def part_of(process: psutil.Process) -> str:
    """The service's module, the gateway, or what else the command line tells."""
    command = " ".join(process.cmdline())
    known = {
        "services.gateway": "gateway",
        "supervisord": "supervisord",
        "mlflow": "registry",
        "resource_tracker": "Python's resource trackers",
    }
    families = ("n2v", "care", "stardist", "unet", "fnet")
    names = {**known, **{f"services.{family}.": family for family in families}}
    for sign, name in names.items():
        if sign in command:
            return name
    return "other"


def _is_of(process: psutil.Process, home: Path) -> bool:
    try:
        return bool(process.environ().get(MARK) == str(home))
    except (psutil.Error, OSError):
        return False


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
