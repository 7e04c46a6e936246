"""TorchScript to ONNX. TorchScript is a program in a language of its own, not Python code."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from micserve.errors import PackageError
from micserve.importing.onnx_network import load, save
from training.imports.comparing import difference

OPSET = 17
TRACED_SIDE = {2: 128, 3: 32}
COMPARED = 32
"""Multiple of the compared image; U-Nets of this field halve up to five times."""


def convert(source: Path, target: Path, *, ndim: int, channels: int) -> dict[str, Any]:
    """Write the network as ONNX, and compare the two."""
    try:
        network = torch.jit.load(str(source), map_location="cpu").eval()
    except RuntimeError as error:
        raise PackageError(f"{source.name} is no TorchScript file that torch can read") from error
    image = torch.zeros(1, channels, *(TRACED_SIDE[ndim],) * ndim)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = network(image)
        if not isinstance(answer, torch.Tensor):
            raise PackageError("the network answers with several arrays; one is supported")
        free = {axis: f"axis{axis}" for axis in range(ndim + 2) if axis != 1}
        # The exporter that runs TorchScript as it is; the newer one wants Python modules.
        torch.onnx.export(
            network,
            (image,),
            str(target),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["answer"],
            dynamic_axes={"input": free, "answer": free},
        )
    save(load(target), target)

    def original(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        with torch.no_grad():
            return {"answer": network(torch.from_numpy(batch)).numpy()}

    multiple = (COMPARED,) * ndim
    worst = difference(target, original, ndim=ndim, channels=channels, multiple=multiple)
    return {"difference": worst}
