"""Live parts of a page: server-sent events for steps, tags through the gateway, figures from Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from millwright.core.lifecycle import MachineObserved
from millwright.environments.models import Environment, Operation
from millwright.settings import get_settings
from millwright.shopfloor.models import Deployment

from .environments import find

#: Between two looks at the database; and how long one stream lives before the browser reconnects.
POLL_S, STREAM_S = 1.0, 600.0
#: More than this on one page helps nobody, and each costs a register.
MAX_LIVE_TAGS = 60


def _fragment(environment_id: Any, language: str) -> str:
    """State and steps as HTML."""
    from django.utils import translation

    with translation.override(language):
        environment = Environment.objects.get(pk=environment_id)
        current = (
            Operation.objects.filter(environment=environment)
            .prefetch_related("steps")
            .order_by("-created_at")
            .first()
        )
        return render_to_string(
            "portal/parts/steps.html", {"environment": environment, "current": current}
        )


async def environment_events(request: HttpRequest, name: str) -> HttpResponse:
    """A stream of the environment's state and steps. Each event is a ready fragment."""
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponse(status=401)
    environment = await sync_to_async(
        lambda: Environment.objects.for_user(user).filter(name=name).order_by("-created_at").first()
    )()
    if environment is None:
        return HttpResponse(status=404)
    language = request.LANGUAGE_CODE

    async def events() -> AsyncIterator[str]:
        last = None
        yield "retry: 2000\n\n"
        for _tick in range(int(STREAM_S / POLL_S)):
            html = await sync_to_async(_fragment)(environment.pk, language)
            if html != last:
                last = html
                lines = "\n".join(f"data: {line}" for line in html.splitlines() if line.strip())
                yield f"event: steps\n{lines}\n\n"
            else:
                yield ": alive\n\n"
            await asyncio.sleep(POLL_S)

    response = StreamingHttpResponse(events(), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


def gateway(method: str, path: str, *, timeout_s: float = 5.0, **json: Any) -> dict[str, Any]:
    """Ask the gateway over its local socket.

    Raises:
        GatewayError: with words for people.
    """
    transport = httpx.HTTPTransport(uds=str(get_settings().gateway_socket))
    try:
        with httpx.Client(
            transport=transport, base_url="http://gateway", timeout=timeout_s
        ) as client:
            answer = client.request(method, path, json=json or None)
    except httpx.HTTPError as error:
        raise GatewayError(
            _("the gateway does not answer (%(why)s)") % {"why": type(error).__name__}
        ) from None
    data = (
        answer.json()
        if answer.headers.get("content-type", "").startswith("application/json")
        else {}
    )
    if answer.status_code >= 400:
        raise GatewayError(str(data.get("error") or data.get("detail") or answer.status_code))
    return dict(data)


class GatewayError(RuntimeError):
    """The gateway refused or could not be reached."""


def live_symbols(machine: Any) -> list[dict[str, Any]]:
    """Located outputs of the running program that Modbus shows, with their register."""
    deployment = (
        Deployment.objects.filter(machine=machine, state="active")
        .select_related("program_version")
        .first()
    )
    if deployment is None:
        return []
    rows = []
    for symbol in deployment.program_version.symbols.get("symbols", []):
        place = modbus_place(symbol)
        if place is not None:
            rows.append({**symbol, **place})
    return rows[:MAX_LIVE_TAGS]


def modbus_place(symbol: dict[str, Any]) -> dict[str, Any] | None:
    """Where the contract's Modbus map shows a located elementary variable; None if it does not."""
    area, offset, size = symbol.get("area"), symbol.get("offset", 0), symbol.get("size", 0)
    if symbol.get("dims"):
        return None
    if symbol.get("type") == "BOOL" and symbol.get("bit") is not None:
        kinds = {"Q": "coil", "I": "discrete"}
        return (
            {"modbus_area": kinds[area], "modbus_address": offset * 8 + symbol["bit"]}
            if area in kinds
            else None
        )
    if size == 2 and offset % 2 == 0:
        if area == "Q" and offset < 2048:
            return {"modbus_area": "holding", "modbus_address": offset // 2}
        if area == "I":
            return {"modbus_area": "input", "modbus_address": offset // 2}
        if area == "M" and offset < 2048:
            return {"modbus_area": "holding", "modbus_address": 1024 + offset // 2}
    return None


@login_required
def tags(request: HttpRequest, name: str) -> HttpResponse:
    """Live values of the located variables, read by the gateway over Modbus."""
    environment = find(request, name)
    groups = []
    for machine in environment.machines.all():
        symbols = live_symbols(machine)
        claim = getattr(machine, "address_claim", None)
        error, values = "", {}
        if machine.observed != MachineObserved.RUNNING or claim is None:
            error = _("the machine is not running")
        elif symbols:
            try:
                values = _read(claim.address, symbols)
            except GatewayError as problem:
                error = str(problem)
        rows = [
            {
                "path": symbol["path"],
                "type": symbol["type"],
                "located": symbol.get("located"),
                "value": values.get(symbol["path"]),
                "comment": symbol.get("comment", ""),
            }
            for symbol in symbols
        ]
        groups.append({"machine": machine, "rows": rows, "error": error})
    return render(request, "portal/parts/tags.html", {"groups": groups})


def _read(address: str, symbols: list[dict[str, Any]]) -> dict[str, Any]:
    """Read the symbols with one request per area."""
    values: dict[str, Any] = {}
    for area in ("holding", "input", "coil", "discrete"):
        wanted = [symbol for symbol in symbols if symbol["modbus_area"] == area]
        limit = 100 if area in ("holding", "input") else 1000
        while wanted:
            first = min(symbol["modbus_address"] for symbol in wanted)
            batch = [symbol for symbol in wanted if symbol["modbus_address"] < first + limit]
            wanted = [symbol for symbol in wanted if symbol["modbus_address"] >= first + limit]
            count = max(symbol["modbus_address"] for symbol in batch) - first + 1
            answer = gateway(
                "POST",
                "/v1/modbus/read",
                host=address,
                port=502,
                unit=1,
                area=area,
                address=first,
                count=count,
            )
            for symbol in batch:
                raw = answer["values"][symbol["modbus_address"] - first]
                signed = symbol["type"] == "INT" and isinstance(raw, int) and raw > 32767
                values[symbol["path"]] = raw - 65536 if signed else raw
    return values


@login_required
def performance(request: HttpRequest, name: str) -> HttpResponse:
    """Scan time, overruns and availability of the last hour, from Prometheus."""
    environment = find(request, name)
    queries = {
        "scans": 'sum(rate(vplc_scans_total{{environment="{0}"}}[1m]))',
        "scan_time": 'sum(rate(vplc_scan_seconds_sum{{environment="{0}"}}[5m])) / sum(rate(vplc_scan_seconds_count{{environment="{0}"}}[5m]))',
        "overruns": 'sum(increase(vplc_overruns_total{{environment="{0}"}}[1h]))',
        "availability": 'avg(avg_over_time(up{{job="vplc",environment="{0}"}}[1h]))',
    }
    values: dict[str, float | None] = {}
    error = ""
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{get_settings().prometheus_port}", timeout=3.0
        ) as client:
            for key, query in queries.items():
                answer = client.get(
                    "/api/v1/query", params={"query": query.format(environment.name)}
                ).json()
                found = answer.get("data", {}).get("result", [])
                values[key] = float(found[0]["value"][1]) if found else None
    except (httpx.HTTPError, ValueError) as problem:
        error = _("Prometheus does not answer (%(why)s)") % {"why": type(problem).__name__}
    context = {
        "error": error,
        "scans": values.get("scans"),
        "overruns": values.get("overruns"),
        "scan_time_us": None if values.get("scan_time") is None else values["scan_time"] * 1e6,
        "availability": None
        if values.get("availability") is None
        else values["availability"] * 100,
    }
    return render(request, "portal/parts/performance.html", context)
