"""The gateway's own page: what is here, and one line that works. No script is needed."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from micserve import __version__
from services.gateway.catalogue import Listing

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def landing_page(listing: Listing, *, address: str) -> str:
    """HTML.

    Parameters
    ----------
    address
        Of this gateway as the visitor wrote it, without a slash at the end.
    """
    return _templates.get_template("landing.html").render(
        models=listing.models, trouble=listing.trouble, address=address, version=__version__
    )


def fiji_page(*, address: str) -> str:
    """HTML: how to install the toolset of Fiji and ImageJ, in three steps."""
    return _templates.get_template("fiji.html").render(address=address, version=__version__)
