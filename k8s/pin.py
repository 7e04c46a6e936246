"""`python -m k8s.pin --from registry.example/micserve/`: which images are run, by digest.

Asks the container registry (with skopeo) for the digest of every image that the manifests name,
and writes `k8s/images/cpu` and `k8s/images/gpu`, so that what was tried is what runs, whatever
happens to a tag. Knows names and digests; pushes nothing.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

IMAGES = Path(__file__).resolve().parent / "images"
HEAD = """\
# Which images are run. `python -m k8s.pin` writes this file: the registry they are fetched
# from, and digests.
"""

Resolve = Callable[[str], str]
"""An image's address with tag to `sha256:…`."""


def skopeo(transport: str) -> Resolve:
    """Asks a registry (`docker://`) or this machine (`containers-storage:`)."""

    def resolve(address: str) -> str:
        command = ["skopeo", "inspect", "--format", "{{.Digest}}", transport + address]
        asked = subprocess.run(command, capture_output=True, text=True)
        if asked.returncode:
            raise SystemExit(
                f"{address} cannot be asked for: {asked.stderr.strip()}. Push it first (docs/"
                "kubernetes.md), and log in with skopeo login."
            )
        return asked.stdout.strip()

    return resolve


def pinned(component: str, *, prefix: str, resolve: Resolve) -> str:
    """The component's text with digests instead of tags.

    Parameters
    ----------
    component
        Text of a kustomization with tags.
    prefix
        What stands before our images' names: `registry.example/micserve/`. Images of others
        (PostgreSQL) keep their own address.
    """
    content = yaml.safe_load(component)
    images = []
    for entry in content["images"]:
        ours = entry["name"].startswith("micserve-")
        name = (prefix if ours else "docker.io/library/") + entry["name"]
        digest = resolve(f"{name}:{entry['newTag']}")
        images.append({"name": entry["name"], "newName": name, "digest": digest})
    return HEAD + yaml.safe_dump({**content, "images": images}, sort_keys=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--from", dest="prefix", required=True, help="registry.example/micserve/")
    parser.add_argument("--transport", default="docker://")
    parser.add_argument("variants", nargs="*", default=["cpu", "gpu"], help="cpu, gpu, or both")
    asked = parser.parse_args()
    for variant in asked.variants:
        path = IMAGES / variant / "kustomization.yaml"
        text = path.read_text(encoding="utf-8")
        if "newTag" not in text:
            raise SystemExit(f"{path} holds digests already; git restore it, then pin anew.")
        new = pinned(text, prefix=asked.prefix, resolve=skopeo(asked.transport))
        path.write_text(new, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(IMAGES.parent.parent)}: digests\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
