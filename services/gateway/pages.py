"""The page that tells how Fiji and ImageJ reach this server. No script is needed."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from micserve import __version__

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def fiji_page(*, address: str) -> str:
    """HTML: how to install the toolset of Fiji and ImageJ, in three steps."""
    return _templates.get_template("fiji.html").render(address=address, version=__version__)
