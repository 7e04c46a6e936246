"""`HEALTHCHECK` of every image that listens: whether the service in this container is ready.

Port and path are those of images.toml; a port that was set otherwise (MICSERVE_N2V_PORT, …) wins.
Exit status 0 for ready, 1 with the service's own reason for not.
"""

import os
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path


def main() -> int:
    name = os.environ["MICSERVE_IMAGE"]
    file = Path(__file__).with_name("images.toml")
    image = tomllib.loads(file.read_text(encoding="utf-8"))["images"][name]
    port = os.environ.get(f"MICSERVE_{name.upper()}_PORT", image["port"])
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{image['ready']}", timeout=4):
            return 0
    except urllib.error.HTTPError as answer:
        print(answer.read(2000).decode(errors="replace").strip() or answer)
    except OSError as error:
        print(f"Nothing answers on port {port}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
