"""Families' parameters for people and programs: OpenAPI entries, and plain lists for listings."""

from collections.abc import Iterable, Mapping
from typing import Any

from micserve.families import Family

RESULTS = ("image/tiff", "application/zip", "text/csv", "text/tab-separated-values")
"""An image or labels; ROIs or a bundle; a table; a bundle's files as a list, for macros."""

_BINARY: Mapping[str, Any] = {"schema": {"type": "string", "format": "binary"}}

_OWN = (
    {
        "name": "version",
        "in": "query",
        "description": "Version number or alias.",
        "schema": {"type": "string", "default": "production"},
    },
    {
        "name": "trust",
        "in": "query",
        "description": "light: how far the image is from the training images, in the header "
        "X-Micserve-Trust; maps: the maps behind it as a TIFF, instead of the result.",
        "schema": {"enum": ["light", "maps"], "default": "light"},
    },
)


def parameter_list(family: Family) -> list[dict[str, Any]]:
    """Name, type, range, default and sentence of each parameter, as JSON Schema says them."""
    schema = family.parameters.model_json_schema()
    return [
        {"name": name, **{k: v for k, v in entry.items() if k != "title"}}
        for name, entry in schema["properties"].items()
    ]


def predict_openapi(families: Iterable[Family]) -> dict[str, Any]:
    """What FastAPI cannot read off the signature of the predict route."""
    seen: dict[str, dict[str, Any]] = {}
    outputs: list[str] = []
    for family in families:
        outputs += [kind for kind in family.outputs if kind not in outputs]
        for entry in parameter_list(family):
            seen.setdefault(entry["name"], _query_parameter(entry))
    wanted = {
        "name": "output",
        "in": "query",
        "description": "What comes back.",
        "schema": {"enum": outputs},
    }
    return {
        "parameters": [*_OWN, wanted, *seen.values()],
        "requestBody": {
            "required": True,
            "description": "The image: TIFF, OME-TIFF or PNG, raw or as the one file of a form.",
            "content": {
                "image/tiff": dict(_BINARY),
                "image/png": dict(_BINARY),
                "application/octet-stream": dict(_BINARY),
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {"image": {"type": "string", "format": "binary"}},
                    }
                },
            },
        },
        "responses": {
            "200": {
                "description": "The result, by `output`.",
                "content": {kind: dict(_BINARY) for kind in RESULTS},
            }
        },
    }


def _query_parameter(entry: Mapping[str, Any]) -> dict[str, Any]:
    schema = {k: v for k, v in entry.items() if k not in ("name", "description")}
    return {
        "name": entry["name"],
        "in": "query",
        "description": entry.get("description", ""),
        "schema": schema,
    }
