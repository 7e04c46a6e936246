"""Every pixel's share in what went right or wrong, as one image for ImageJ."""

import numpy as np
from numpy.typing import NDArray

from micserve.qc.segmentation.classes import index_of
from micserve.qc.segmentation.labels import checked_labels
from micserve.qc.segmentation.report import SegmentationReport
from micserve.qc.segmentation.view import CODES, painted_fates

FALSE, MISSED, RIGHT = CODES["false"], CODES["missed"], CODES["found"]


def error_map(report: SegmentationReport, image: str) -> NDArray[np.uint8]:
    """uint8, in the image's shape: 0 background, 1 found, 2 missed, 3 false, 4 split, 5 merged.

    Of objects, a true object's pixels have its fate, whatever is found there; a false object's
    pixels outside all true ones have 3. Of classes, 2 is a pixel that should be of a class
    and is not, 3 one that should be background.
    """
    case = report.case(image)
    pair = checked_labels(case.prediction, case.target, name=image, ndim=report.ndim)
    if report.reading == "objects":
        planes = [
            np.where(fate_true > 0, fate_true, np.where(fate_found == FALSE, FALSE, 0))
            for fate_true, fate_found in painted_fates(pair)
        ]
    else:
        planes = []
        for prediction, target in pair.planes():
            found, true = index_of(prediction, report.values), index_of(target, report.values)
            same = np.where(true > 0, RIGHT, 0)
            planes.append(np.where(found == true, same, np.where(true > 0, MISSED, FALSE)))
    return np.stack(planes).astype(np.uint8).reshape(pair.shape)
