"""`python -m micserve.serving.provider cuda`: whether networks can run where they were told to."""

import sys
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
from onnx import TensorProto, helper

from micserve.backends import Provider
from micserve.backends.onnx import OnnxBackend
from micserve.errors import MicserveError


def require(provider: Provider) -> None:
    """Run a network of one addition.

    Raises
    ------
    ProviderUnavailableError
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.onnx"
        path.write_bytes(_one_addition())
        OnnxBackend(path, provider=provider).run(np.ones((1, 1, 2, 2), np.float32))


def _one_addition() -> bytes:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "input"], ["output"])],
        "one",
        [tensor("input", TensorProto.FLOAT, [1, 1, 2, 2])],
        [tensor("output", TensorProto.FLOAT, [1, 1, 2, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


def main() -> int:
    try:
        require(cast(Provider, sys.argv[1]))
    except MicserveError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
