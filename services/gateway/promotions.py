"""The gate in front of an alias: what a version gains, moving the alias, and who moved it.

Knows routes and who may use them; what is compared is `micserve.registry.gate`'s,
what is refused is the registry's.
"""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field

from micserve.registry import Promotion
from micserve.registry.gate import Gate, gate
from micserve.registry.model import DEFAULT_ALIAS, refuse_bad_alias
from micserve.serving.problems import problem_responses
from services.gateway.callers import WhoAsks
from services.gateway.parts import Here

Alias = Annotated[str, Query(description="The alias that would move.")]


class PromotionOrder(BaseModel):
    """What shall move where, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int | str = Field(description="Number or alias of the version.")
    alias: str = Field(default=DEFAULT_ALIAS, description="The alias to move.")
    reason: str = Field(default="", description="Kept with the promotion; force needs one.")
    force: bool = Field(default=False, description="Also if it was never verified.")


class Promoted(BaseModel):
    """The promotion that was made, and what was known when it was made."""

    promotion: Promotion
    gate: Gate


def add_promotions(app: FastAPI) -> None:
    """The routes."""

    @app.get(
        "/v1/models/{name}/versions/{version}/gate",
        summary="A version against plain filters and against the version that an alias means now",
        responses=problem_responses(404, 422, 503),
    )
    async def compared(name: str, version: str, here: Here, alias: Alias = DEFAULT_ALIAS) -> Gate:
        refuse_bad_alias(alias)
        found = await asyncio.to_thread(here.catalogue.fresh_version, name, version)
        return await asyncio.to_thread(gate, here.directory.registry, found, alias)

    @app.post(
        "/v1/models/{name}/promote",
        summary="Point an alias at a verified version",
        responses=problem_responses(403, 404, 409, 422, 503),
    )
    async def promote(name: str, order: PromotionOrder, here: Here, caller: WhoAsks) -> Promoted:
        caller.require("maintainer", "promote a version")
        refuse_bad_alias(order.alias)
        registry = here.directory.registry
        found = await asyncio.to_thread(here.catalogue.fresh_version, name, str(order.version))
        known = await asyncio.to_thread(gate, registry, found, order.alias)
        made = await asyncio.to_thread(
            registry.promote,
            found.ref,
            order.alias,
            by=caller.name,
            reason=order.reason,
            force=order.force,
        )
        return Promoted(promotion=made, gate=known)

    @app.get(
        "/v1/models/{name}/promotions",
        summary="Who moved which alias, when, from where to where, and why; newest first",
        responses=problem_responses(404, 422, 503),
    )
    async def promotions(name: str, here: Here) -> list[Promotion]:
        await asyncio.to_thread(here.catalogue.detail, name)
        found = await asyncio.to_thread(here.directory.registry.promotions, name)
        return list(reversed(found))
