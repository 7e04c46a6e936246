"""`python -m training.imports KIND SOURCE FOLDER`: writes `network.onnx` and `facts.json`.

Called by `micserve import`, which never loads a framework itself. Errors are
one sentence, the last line of standard error.
"""

import json
import os
import sys
import warnings
from pathlib import Path

from micserve.errors import MicserveError

NAMES = ("tensorflow-cpu", "tensorflow", "keras", "csbdeep", "stardist", "n2v", "torch", "onnx")


def main(kind: str, source: Path, folder: Path) -> int:
    try:
        facts = _convert(kind, source, folder)
    except MicserveError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        print(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}", file=sys.stderr)
        return 1
    from training.common.machine import version_of

    found = {name: version_of(name) for name in NAMES}
    facts["versions"] = {k: v for k, v in found.items() if v != "not installed"}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return 0


def _convert(kind: str, source: Path, folder: Path) -> dict[str, object]:
    onnx = folder / "network.onnx"
    if kind.startswith("torchscript:"):
        from training.imports.torchscript import convert

        _, ndim, channels = kind.split(":")
        return convert(source, onnx, ndim=int(ndim), channels=int(channels))
    if kind == "stardist":
        from training.imports.stardist_folder import convert as stardist

        return stardist(source, onnx)
    if kind == "n2v":
        from training.imports.n2v_folder import convert as n2v

        return n2v(source, onnx)
    if kind == "saved-model":
        from training.imports.saved_model import convert as saved

        return saved(source, onnx)
    from training.imports.csbdeep_folder import convert as care

    return care(source, onnx)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
