"""Live parts of a page: server-sent events for steps, tags through the gateway, figures from Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _

from millwright.environments.models import Environment, Operation
from millwright.settings import get_settings
from millwright.settings.connections import release_connections
from millwright.shopfloor.live import read_tags

from .environments import find

#: Between two looks at the database; and how long one stream lives before the browser reconnects.
POLL_S, STREAM_S = 1.0, 600.0


def _fragment(environment_id: Any, language: str) -> str:
    """State and steps as HTML."""
    from django.utils import translation

    # A stream lives for minutes: between two looks it keeps no connection from others.
    with translation.override(language), contextlib.ExitStack() as after:
        after.callback(release_connections)
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


@login_required
def tags(request: HttpRequest, name: str) -> HttpResponse:
    """Live values of the located variables, read by the gateway over Modbus."""
    environment = find(request, name)
    groups = [
        {"machine": machine, "reading": read_tags(machine)}
        for machine in environment.machines.select_related("address_claim")
    ]
    return render(request, "portal/parts/tags.html", {"groups": groups})


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
