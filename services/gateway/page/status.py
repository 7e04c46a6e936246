"""The Status page: which parts answer, what the graphics cards hold, and what went wrong last."""

import asyncio
import shutil
from typing import Any

import httpx
from fastapi import FastAPI, Request
from starlette.responses import Response

from services.gateway.callers import WhoAsks
from services.gateway.page.shell import page
from services.gateway.parts import Here, Parts

ASK_WITHIN_S = 2.0
ERRORS_SHOWN = 15


def add_status(app: FastAPI) -> None:
    """`/status`."""

    @app.get("/status", include_in_schema=False)
    async def status(request: Request, here: Here, caller: WhoAsks) -> Response:
        families, cards = await asyncio.gather(_services(here), asyncio.to_thread(_graphics))
        await asyncio.to_thread(here.directory.list_models)
        disk = shutil.disk_usage(here.settings.scratch_folder.parent)
        is_staff = caller.role != "user"
        record = await asyncio.to_thread(here.accounts.audit.last, 400) if is_staff else []
        failed = [e for e in record if int(e.get("status", 0)) >= 400][:ERRORS_SHOWN]
        return page(
            request,
            "status.html",
            families=families,
            registry_trouble=here.directory.trouble,
            cards=cards,
            disk=disk,
            failed=failed,
            is_staff=is_staff,
        )


async def _services(here: Parts) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(timeout=ASK_WITHIN_S, trust_env=False) as client:
        asked = [
            _service(client, family, address)
            for family, replicas in here.settings.upstreams.items()
            for address in replicas
        ]
        found = await asyncio.gather(*asked)
    many = {family: len(replicas) for family, replicas in here.settings.upstreams.items()}
    return [facts | {"replicas": many[facts["family"]]} for facts in found]


async def _service(client: httpx.AsyncClient, family: str, address: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"family": family, "address": address, "ready": False, "said": ""}
    try:
        ready = await client.get(address + "/readyz")
        numbers = _numbers((await client.get(address + "/metrics")).text)
    except httpx.HTTPError:
        return facts | {"said": "does not answer"}
    return facts | {
        "ready": ready.status_code == httpx.codes.OK,
        "said": "ready" if ready.status_code == httpx.codes.OK else _detail(ready),
        "running": int(numbers.get("micserve_predictions_running", 0)),
        "waiting": int(numbers.get("micserve_predictions_waiting", 0)),
        "networks": int(numbers.get("micserve_networks_loaded", 0)),
        "mib": numbers.get("micserve_networks_bytes", 0.0) / (1 << 20),
    }


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"answers {answer.status_code}"


def _numbers(text: str) -> dict[str, float]:
    """Metrics without labels, by name."""
    pairs = (line.split(" ") for line in text.splitlines() if line and line[0] != "#")
    return {p[0]: float(p[1]) for p in pairs if len(p) == 2 and "{" not in p[0]}


def _graphics() -> list[dict[str, Any]]:
    """Name, memory and load of every NVIDIA card; empty where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_card(pynvml, number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def _card(nvml: Any, number: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(number)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return {
        "name": nvml.nvmlDeviceGetName(handle),
        "used_gib": memory.used / (1 << 30),
        "total_gib": memory.total / (1 << 30),
        "load": nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
    }
