"""Models from elsewhere, made into packages of ours: what `micserve import` does.

    source ──► recognise ──► description | conversion ──► Foreign ──► package, checked

Knows bioimage.io packages (0.4, 0.5), csbdeep's and stardist's model folders and
csbdeep's `TF_SavedModel.zip`. Opens no pickle and imports no training framework:
what only those can read is converted by a child process in their environment.
"""

from micserve.importing.foreign import Foreign
from micserve.importing.importer import Imported, import_model

__all__ = ["Foreign", "Imported", "import_model"]
