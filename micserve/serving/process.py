"""What a worker process owes its parent: not to outlive it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(how: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel for a signal when the parent process ends, however it ends.

    Without it, a worker whose supervisor was killed keeps the port, and the
    restarted service cannot listen. Linux only; elsewhere it does nothing.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), how)
