"""Files and bytes to images and back: TIFF in its dialects, and PNG.

| module | knows |
|---|---|
| `reading`, `writing` | the two doors |
| `limits`, `source` | how much is accepted; bytes wherever they lie |
| `ifd`, `page`, `stack`, `pixels` | TIFF, from the outside in: directories, one page, which page \
is which plane, pixels |
| `imagej`, `imagej_tiff`, `ome` | dialects of TIFF |
| `png`, `colour` | PNG; what a palette means |

Which formats are read and how is in `docs/formats.md`. Headers are never trusted, and no file but
the given one is ever opened.
"""

from micserve.codecs.limits import Header, Limits
from micserve.codecs.reading import probe, read_image
from micserve.codecs.writing import (
    TiffFormat,
    create_tiff,
    finish_tiff,
    image_to_bytes,
    write_tiff,
)
from micserve.files import publish_file

__all__ = [
    "Header",
    "Limits",
    "TiffFormat",
    "create_tiff",
    "finish_tiff",
    "image_to_bytes",
    "probe",
    "publish_file",
    "read_image",
    "write_tiff",
]
