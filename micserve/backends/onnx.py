"""ONNX Runtime with an explicit execution provider.

The caller says where a network runs and gets that or an error; nothing falls
back to the CPU in silence.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from micserve.artifact import star_labels
from micserve.backends import Provider
from micserve.errors import PackageError, ProviderUnavailableError

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


class OnnxBackend:
    """One network in ONNX Runtime. Thread-safe; stateless between calls.

    Parameters
    ----------
    path
        The `.onnx` file: one float32 input (B, C, (Z,) Y, X), one output per head.
    provider
        `cuda` fails when there is none; `auto` takes CUDA if there is one, else the CPU.
    threads
        Of one network run on the CPU; 0 for all cores.

    Raises
    ------
    ProviderUnavailableError
        `cuda` was asked for and this machine or this ONNX Runtime has none.
    PackageError
        The file is not a network that ONNX Runtime can load.
    """

    def __init__(self, path: Path, *, provider: Provider = "auto", threads: int = 0) -> None:
        chosen = _choose(provider)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin between runs would keep idle services at 100 % of a core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=chosen)
        except Exception as error:
            raise PackageError(
                f"ONNX Runtime cannot load the network {path.name}: {error}"
            ) from error
        if provider == "cuda" and _CUDA not in self._session.get_providers():
            raise _no_cuda("it could not be started (see the log for the missing library)")
        self._input = self._session.get_inputs()[0].name
        outputs = [output.name for output in self._session.get_outputs()]
        self._heads = tuple(name for name in outputs if name != star_labels.GRAPH_OUTPUT)

    @property
    def device(self) -> str:
        return "CUDA:0" if _CUDA in self._session.get_providers() else "CPU"

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the outputs, in the file's order, less what is there for other tools."""
        return self._heads

    def run(self, batch: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        """(B, C, (Z,) Y, X) to one array of the same layout per head."""
        results = self._session.run(self._heads, {self._input: np.ascontiguousarray(batch)})
        return dict(zip(self._heads, results, strict=True))


def _choose(provider: Provider) -> list[str | tuple[str, dict[str, str]]]:
    available = ort.get_available_providers()
    # HEURISTIC: the exhaustive search runs anew for every image size. TF32 keeps 10 bits of a
    # float, which is too few for "tiled equals whole".
    options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    cuda: tuple[str, dict[str, str]] = (_CUDA, options)
    if provider == "cpu" or (provider == "auto" and _CUDA not in available):
        return [_CPU]
    if _CUDA not in available:
        raise _no_cuda(f"this ONNX Runtime has only {', '.join(available)}")
    # CUDA and cuDNN may be wheels beside ONNX Runtime, which finds them when told to look.
    ort.preload_dlls()
    return [cuda, _CPU]


def _no_cuda(reason: str) -> ProviderUnavailableError:
    return ProviderUnavailableError(
        f"The service was told to use CUDA, but {reason}. Install onnxruntime-gpu and the NVIDIA "
        "driver, or start it with PROVIDER=cpu or PROVIDER=auto."
    )
