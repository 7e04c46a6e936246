"""Run a model on every image of a folder, with progress; what has its result already is skipped.

    python folder.py http://127.0.0.1:8000 n2v-mine@3 images/ results/ output_dtype=uint16

Needs `pip install micserve` and nothing else of this project. The token, where the server wants
one, is read from the environment variable MICSERVE_TOKEN.
"""

import os
import sys
from pathlib import Path

from micserve.client import Client
from micserve.errors import MicserveError


def main() -> int:
    url, model, source, target, *words = sys.argv[1:]
    parameters = dict(word.split("=", 1) for word in words)
    images = sorted(p for p in Path(source).iterdir() if p.suffix in (".tif", ".tiff", ".png"))
    failures = 0
    with Client(url, token=os.environ.get("MICSERVE_TOKEN")) as client:
        for number, image in enumerate(images, 1):
            result = Path(target, image.stem + ".tif")
            if result.exists():
                continue
            print(f"{number} of {len(images)}: {image.name}", flush=True)
            try:
                client.predict(model, image, to=result, parameters=parameters)
            except MicserveError as error:
                failures += 1
                print(f"  {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
