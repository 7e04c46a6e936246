"""Loaded by schemathesis: bodies that are real images, beside those that are none."""

import numpy as np
import schemathesis
from hypothesis import strategies as st

from tests.services.conftest import tiff

IMAGES = [
    tiff(24, 16),
    tiff(1, 1),
    tiff(2, 3, 9, 8, dtype=np.uint8, axes="ZCYX"),
    tiff(7, 5, dtype=np.float32),
    tiff(16, 16)[:-40],
]

image = st.sampled_from(IMAGES) | st.binary(max_size=64)

for media_type in ("application/octet-stream", "image/tiff", "image/png"):
    schemathesis.openapi.media_type(media_type, image)
