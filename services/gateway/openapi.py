"""The gateway's description of itself: what any route may answer is said here, once for all.

Routes state what is theirs. Added to each: who may ask (accounts), the refusals that can meet
any request, and one schema for every problem. Knows OpenAPI; knows no route by name.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from micserve.serving.problems import MEDIA_TYPE, Problem

METHODS = ("get", "put", "post", "delete", "patch")

PROBLEM = {"$ref": "#/components/schemas/Problem"}

GUARDED = "/v1/"
"""Below this a caller is asked for a token, where accounts are on."""

TOKEN = "token"

_SCHEMES = {
    TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "A person's token, as `micserve token create` printed it.",
    }
}


BINARY = "application/octet-stream"

FILE = {"type": "string", "format": "binary"}

BINARY_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {BINARY: {"schema": FILE}}},
}
"""For `openapi_extra`: the request is a file as it is."""


def answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: success is a file of one of these types."""
    file = {"schema": FILE}
    return {
        200: {
            "description": "By `Accept`." if media_types[1:] else "The file.",
            "content": dict.fromkeys(media_types, file),
        }
    }


def describe(app: FastAPI, *, accounts_on: bool) -> None:
    """Complete the document that the framework makes of the routes."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            _complete(schema, accounts_on=accounts_on)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _complete(schema: dict[str, Any], *, accounts_on: bool) -> None:
    parts = schema.setdefault("components", {}).setdefault("schemas", {})
    parts["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        parts.pop(unused, None)
    if accounts_on:
        schema["components"]["securitySchemes"] = _SCHEMES
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method in METHODS:
                _complete_operation(path, method, operation, accounts_on=accounts_on)


def _complete_operation(
    path: str, method: str, operation: dict[str, Any], *, accounts_on: bool
) -> None:
    guarded = path.startswith(GUARDED)
    added = []
    if method != "get" or (guarded and accounts_on):
        added.append(HTTPStatus.FORBIDDEN)
    if guarded and accounts_on:
        added.append(HTTPStatus.TOO_MANY_REQUESTS)
        operation["security"] = [{TOKEN: []}]
    if "requestBody" in operation:
        added.append(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    responses = operation.setdefault("responses", {})
    for status in added:
        responses.setdefault(str(status.value), {"description": status.phrase})
    for status, answer in responses.items():
        if status.isdigit() and int(status) >= HTTPStatus.BAD_REQUEST:
            answer["content"] = {MEDIA_TYPE: {"schema": PROBLEM}}
