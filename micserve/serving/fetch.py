"""`python -m micserve.serving.fetch n2v`: a family's models into this machine's cache, checked.

What an init container runs before its service: the packages that `production` points to are
fetched once into a folder that all services share, and their digests are checked, so that the
service itself starts in seconds and a damaged download is found before anything is served.
Knows the registry and its cache; loads no network.
"""

import argparse
import sys
import time
from collections.abc import Callable

from micserve.errors import IntegrityError, RegistryUnavailableError
from micserve.families import FAMILIES
from micserve.registry import ModelRef, Registry, open_registry
from micserve.serving.settings import ServiceSettings
from micserve.serving.watcher import ALIAS

ASK_AGAIN_S = 2.0


def fetch_all(
    family: str, registry: Registry, *, only: tuple[str, ...], say: Callable[[str], None]
) -> int:
    """Fetch every model of a family that is in production; how many are there now.

    Parameters
    ----------
    only
        Names; empty for all.

    Raises
    ------
    RegistryUnavailableError
    """
    fetched = 0
    for model in registry.list_models():
        number = model.aliases.get(ALIAS)
        if number is None or model.latest.family != family or (only and model.name not in only):
            continue
        version = registry.resolve(ModelRef(name=model.name, version=number))
        try:
            path = registry.fetch(version)
        except IntegrityError as error:
            # The service says the same of it in its readiness; other models are served.
            say(f"{version.ref} is not used: {error}")
            continue
        say(f"{version.ref}: {path.stat().st_size / 1e6:.1f} MB, digest checked")
        fetched += 1
    return fetched


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("--patience", type=float, default=60.0, help="seconds for the registry")
    asked = parser.parse_args()
    settings = ServiceSettings()

    def say(sentence: str) -> None:
        sys.stdout.write(sentence + "\n")
        sys.stdout.flush()

    give_up = time.monotonic() + asked.patience
    while True:
        try:
            registry = open_registry(settings=settings)
            count = fetch_all(asked.family, registry, only=settings.models, say=say)
        except RegistryUnavailableError as error:
            if time.monotonic() > give_up:
                say(f"The models of this service cannot be fetched: {error}")
                return 1
            time.sleep(ASK_AGAIN_S)
            continue
        say(f"{count} of this family's models are in {settings.cache_folder}.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
