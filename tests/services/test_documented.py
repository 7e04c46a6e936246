"""What the documentation says about settings, errors and metrics is what the code does."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from micserve import errors
from micserve.client import _KINDS, _TAKES_MORE_THAN_A_SENTENCE
from micserve.serving.metrics import Metrics
from micserve.serving.problems import status_of, type_of
from micserve.serving.settings import ServiceSettings
from services.gateway.metrics import GatewayMetrics
from services.gateway.settings import GatewaySettings
from services.registry.settings import RegistryServerSettings

DOCS = Path(__file__).resolve().parents[2] / "docs"


def leaves(kind: type[errors.MicserveError]) -> list[type[errors.MicserveError]]:
    below = kind.__subclasses__()
    return [kind] if not below else [leaf for each in below for leaf in leaves(each)]


def rows(document: str) -> dict[str, list[str]]:
    """First cell, without its backticks, to all cells of each table row."""
    lines = (DOCS / document).read_text(encoding="utf-8").splitlines()
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines if "|" in line]
    return {row[0].strip("` |"): row for row in cells if row[0].strip().startswith(("`", "| `"))}


@pytest.mark.parametrize("error", leaves(errors.MicserveError))
def test_every_error_has_a_status_and_is_documented(error: type[errors.MicserveError]) -> None:
    status = status_of(error.__new__(error))
    assert status in {403, 404, 409, 413, 422, 429, 500, 503, 507}
    assert rows("errors.md")[type_of(error)][1] == str(status)


@pytest.mark.parametrize("error", leaves(errors.MicserveError))
def test_the_python_client_knows_every_error(error: type[errors.MicserveError]) -> None:
    kind = type_of(error).removeprefix("urn:micserve:error:")
    assert _KINDS.get(kind) is error or error.__name__ in _TAKES_MORE_THAN_A_SENTENCE


@pytest.mark.parametrize("settings", [ServiceSettings, GatewaySettings, RegistryServerSettings])
def test_every_setting_is_documented_as_it_is(settings: type[BaseSettings]) -> None:
    documented = rows("settings.md")
    for name, field in settings.model_fields.items():
        row = documented[f"MICSERVE_{name.upper()}"]
        if field.description:
            assert row[2].rstrip(" |") == field.description
        if field.default not in (None, ()):
            assert row[1].strip("`").lower() == str(field.default).lower()


def test_no_setting_is_documented_that_is_not_there() -> None:
    kinds = (ServiceSettings, GatewaySettings, RegistryServerSettings)
    known = {name for kind in kinds for name in kind.model_fields} | {"service_host"}
    documented = {name for name in rows("settings.md") if name.startswith("MICSERVE_")}
    assert documented == {f"MICSERVE_{name.upper()}" for name in known}


def test_every_metric_is_documented_and_no_other() -> None:
    text = (Metrics().render() + GatewayMetrics().render()).decode()
    kept = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    exposed = {name for name in kept if not name.endswith("_created")}
    assert set(rows("metrics.md")) == exposed
