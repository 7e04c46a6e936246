"""Which of many overlapping shapes stay: `stardist`'s compiled suppression, where it does no harm.

The compiled code holds Python's lock until it is done, which for 3D is minutes,
and a service has to answer its probes and cancellations meanwhile. So what will
take long is computed by a child process: `python -m` this module, arrays in by
its standard input, one flag per shape out.
"""

import ctypes
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from stardist.nms import non_maximum_suppression_3d_inds, non_maximum_suppression_inds
from stardist.rays3d import Rays_Explicit
from threadpoolctl import threadpool_limits

from micserve.errors import CancelledError, ServiceUnavailableError

LONG = {2: 1 << 16, 3: 1 << 10}
"""Shapes from which on a child is started, which itself takes two seconds; about a second's work
in 2D and in 3D."""

POLL_S = 0.2
"""How soon a cancellation is seen."""

PR_SET_PDEATHSIG = 1
"""In linux/prctl.h."""

Flags = NDArray[np.bool_]


def survivors(
    distances: NDArray[np.float32],
    points: NDArray[np.int32],
    scores: NDArray[np.float32],
    *,
    threshold: float,
    rays: Any = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Flags:
    """(n,) True for those that no surer one overlaps by more than `threshold`.

    Parameters
    ----------
    distances, points, scores
        Of the shapes, the surest first.
    rays
        The `stardist.rays3d` object of a 3D model, None in 2D.

    Raises
    ------
    CancelledError
        When `cancelled()` became true.
    ServiceUnavailableError
        When the child process was ended, as for lack of memory.
    """
    if cancelled():
        raise CancelledError("The prediction was cancelled.")
    if len(points) < LONG[points.shape[1]]:
        return _here(distances, points, scores, threshold, rays)
    directions = {} if rays is None else {"vertices": rays.vertices, "faces": rays.faces}
    # A file, not a pipe: `communicate` stops to write a pipe's rest once it has timed out.
    with TemporaryFile() as request:
        np.savez(
            request, distances=distances, points=points, scores=scores, threshold=threshold,
            **directions,
        )  # fmt: skip
        request.seek(0)
        return np.frombuffer(_in_child(request, len(points), cancelled), np.bool_)


def _here(
    distances: NDArray[np.float32],
    points: NDArray[np.int32],
    scores: NDArray[np.float32],
    threshold: float,
    rays: Any,
) -> Flags:
    kept: Flags
    if rays is not None:
        kept = non_maximum_suppression_3d_inds(
            distances, points, rays, scores, thresh=threshold, verbose=False
        )
        return kept
    # One thread: to start and join several for each shape takes longer than they save, and
    # twenty times as long on a machine that is busy.
    with threadpool_limits(1, user_api="openmp"):
        kept = non_maximum_suppression_inds(
            distances, points, scores, thresh=threshold, verbose=False
        )
    return kept.astype(bool, copy=False)


def _in_child(request: IO[bytes], count: int, cancelled: Callable[[], bool]) -> bytes:
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(os.getpid())],
        stdin=request,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with child:
        while True:
            try:
                answer, _ = child.communicate(timeout=POLL_S)
                break
            except subprocess.TimeoutExpired:
                if cancelled():
                    child.kill()
                    raise CancelledError("The prediction was cancelled.") from None
    if child.returncode or len(answer) != count:
        raise ServiceUnavailableError(
            f"Choosing among {count} possible objects was broken off, probably for lack of "
            "memory. Raise prob_thresh, make the image smaller with scale, or crop it."
        )
    return bytes(answer)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that waits for it is gone.

    Nothing in Python could: the compiled code holds the lock.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def _main() -> None:
    _end_with(parent=int(sys.argv[1]))
    with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as given:
        rays = None
        if "faces" in given:
            rays = Rays_Explicit(given["vertices"], given["faces"])
        kept = _here(
            given["distances"], given["points"], given["scores"], float(given["threshold"]), rays
        )
    sys.stdout.buffer.write(np.ascontiguousarray(kept, np.bool_).tobytes())


if __name__ == "__main__":
    _main()
