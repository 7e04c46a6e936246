"""A torch network as an ONNX file that takes images of any size. Knows no training."""

import copy
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

OPSET = 17
"""Understood by every ONNX Runtime since 1.12."""

INPUT = "input"


def write_onnx(
    network: nn.Module, path: Path, *, ndim: int, multiple: tuple[int, ...], head: str
) -> Path:
    """float32 (B, 1, (Z,) Y, X) in and (B, outputs, (Z,) Y, X) out, every size but channels free.

    Written by the exporter that traces: the network has no branches, and the newer exporter ties
    sizes to each other that are free here.
    """
    network = copy.deepcopy(network).eval().cpu()
    example = torch.zeros((1, 1, *(4 * m for m in multiple)))
    free = {0: "batch", **{axis + 2: "zyx"[axis - ndim] for axis in range(ndim)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=[head],
            dynamic_axes={INPUT: free, head: free},
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))
    return path
