"""Model folders of csbdeep, n2v and stardist, and csbdeep's `TF_SavedModel.zip`.

Their networks are built and read by the packages that wrote them, in the
training environment; here is only what comes back.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from micserve.artifact.build import Citation
from micserve.artifact.contract import FamilyName, Head
from micserve.errors import PackageError
from micserve.importing.conversion import Stack, convert
from micserve.importing.foreign import Foreign
from micserve.importing.recognise import Found, copied
from micserve.normalize import Normalization

PAPERS: Mapping[FamilyName, Citation] = {
    "care": Citation(
        text="Weigert, M. et al. Content-aware image restoration. Nature Methods 15 (2018).",
        doi="10.1038/s41592-018-0216-7",
    ),
    "n2v": Citation(
        text="Krull, A. et al. Noise2Void. CVPR 2019.", url="https://arxiv.org/abs/1811.10980"
    ),
    "stardist": Citation(
        text="Schmidt, U. et al. Cell detection with star-convex polygons. MICCAI 2018.",
        doi="10.1007/978-3-030-00934-2_30",
    ),
}


def read(found: Found, scratch: Path) -> Foreign:
    """The model in a folder.

    Raises
    ------
    PackageError
        In the converter's words, when the folder is not whole or the network is not known.
    """
    stack, kind = _converter(found)
    # The packages write into a model's folder, which is not ours.
    done = convert(stack, kind, copied(found, scratch / "model"), scratch / "converted")
    facts = done.facts
    return Foreign(
        family=facts["family"],
        ndim=facts["ndim"],
        onnx=done.onnx,
        channels=facts["channels"],
        heads=tuple(Head.model_validate(head) for head in facts["heads"]),
        normalization=_RULES.validate_python(facts["normalization"]),
        restore_range=facts["restore_range"],
        origin=facts["origin"],
        multiple=tuple(facts["multiple"]),
        pad=facts["pad"],
        parameters=facts["parameters"],
        agreement=facts["difference"],
        cite=(PAPERS[facts["family"]],),
        versions=facts["versions"],
    )


_RULES: TypeAdapter[Normalization] = TypeAdapter(Normalization)


def _converter(found: Found) -> tuple[Stack, str]:
    match found.kind:
        case "stardist":
            return "tf", "stardist"
        case "saved-model":
            return "tf", "saved-model"
        case _:
            config = _json(found.file)
            return ("n2v", "n2v") if "n2v_perc_pix" in config else ("tf", "csbdeep")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise PackageError(f"{path.name} is not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise PackageError(f"{path.name} does not describe a model")
    return content
