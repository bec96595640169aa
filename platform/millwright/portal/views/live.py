"""Live parts of a page: server-sent events for steps, tags through the gateway, figures from Prometheus."""

from __future__ import annotations

import ssl
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from millwright.environments.models import Environment
from millwright.portal.board import Page, board
from millwright.portal.figures import figures
from millwright.settings import get_settings
from millwright.shopfloor.live import read_tags

from .environments import find


async def environment_events(request: HttpRequest, name: str) -> HttpResponse:
    """A stream of the environment's state and steps, live tags and figures. Each event is a ready fragment."""
    user = await request.auser()
    if not user.is_authenticated:
        return HttpResponse(status=401)
    environment = await sync_to_async(
        lambda: Environment.objects.for_user(user).filter(name=name).order_by("-created_at").first()
    )()
    if environment is None:
        return HttpResponse(status=404)
    page = Page(
        environment.pk, name, user.pk, request.session.session_key or "", request.LANGUAGE_CODE
    )
    response = StreamingHttpResponse(board.stream(page), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


def gateway(method: str, path: str, *, timeout_s: float = 5.0, **json: Any) -> dict[str, Any]:
    """Ask the gateway over its local socket.

    Raises:
        GatewayError: with words for people.
    """
    transport = httpx.HTTPTransport(
        uds=str(get_settings().gateway_socket), verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
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
    find(request, name)
    found, problem = figures([name])
    error = _("Prometheus does not answer (%(why)s)") % {"why": problem} if problem else ""
    context = {**found[name], "error": error}
    return render(request, "portal/parts/performance.html", context)
