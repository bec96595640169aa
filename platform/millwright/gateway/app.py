"""The gateway as an ASGI application: a handful of JSON endpoints for this machine's own processes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import structlog
from prometheus_client import generate_latest

from . import discovery, opcua, probes
from .errors import BadRequest, GatewayError
from .limits import Cells, Slots
from .metrics import Metrics
from .modbus import ModbusDoor
from .recorder import Recorder
from .requests import (
    AskNow,
    Look,
    ModbusRead,
    ModbusWrite,
    OpcuaNode,
    OpcuaRead,
    OpcuaServer,
    Probe,
    Search,
    Units,
    Watch,
    parse,
)
from .schedule import Schedule, Target, parse_after
from .secured import Protection
from .sweep import Sweep
from .tags import LiveTags, Tag

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
MOST_BODY_BYTES = 512 * 1024
log = structlog.get_logger("millwright.gateway")


class Gateway:
    """Doors into the cells with their limits. One instance per process."""

    def __init__(
        self,
        cells: Cells,
        *,
        timeout_s: float = 3.0,
        schedule: Path | None = None,
        recorded: Path | None = None,
        keys: Path | None = None,
    ) -> None:
        self._keys = keys
        self.cells = cells
        self.timeout_s = timeout_s
        self.modbus = ModbusDoor(timeout_s)
        self.tags = LiveTags(self.modbus)
        self.slots = Slots()
        self.sweep = Sweep()
        self.metrics = Metrics()
        self.schedule: Schedule | None = None
        self._schedule_path, self._recorded_path = schedule, recorded
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._sweep()))
        if self._schedule_path is not None:
            self.schedule = Schedule(self._schedule_path, self.ask, self.metrics.probed)
            self._tasks.append(asyncio.create_task(self.schedule.run()))
        if self._recorded_path is not None:
            recorder = Recorder(self._recorded_path, self.cells, self.modbus, self.metrics.recorded)
            self._tasks.append(asyncio.create_task(recorder.run()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.tags.close()
        self.modbus.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(10)
            self.modbus.sweep()

    async def modbus_read(self, raw: bytes) -> dict[str, Any]:
        body = cast(ModbusRead, parse(ModbusRead, raw))
        host = self.cells.check(body.host)
        async with self.slots.slot(f"{host}:{body.port}"):
            values = await self.modbus.read(
                host, body.port, body.unit, body.area, body.address, body.count, body.framing
            )
        return {"values": values}

    async def modbus_write(self, raw: bytes) -> dict[str, Any]:
        body = cast(ModbusWrite, parse(ModbusWrite, raw))
        host = self.cells.check(body.host)
        async with self.slots.slot(f"{host}:{body.port}"):
            await self.modbus.write(
                host, body.port, body.unit, body.area, body.address, body.values, body.framing
            )
        log.info("modbus write", host=host, area=body.area, address=body.address)
        return {"written": len(body.values)}

    async def opcua_read(self, raw: bytes) -> dict[str, Any]:
        body = cast(OpcuaRead, parse(OpcuaRead, raw))
        host, port = opcua.split_url(body.url)
        self.cells.check(host)
        async with self.slots.slot(f"{host}:{port}"):
            # A session takes several exchanges: more time than one request of Modbus.
            protection = self._protection(body.fingerprint)
            return {"nodes": await opcua.read(body.url, body.nodes, self.timeout_s * 3, protection)}

    def _protection(self, fingerprint: str) -> Protection | None:
        return Protection(self._keys, fingerprint) if self._keys is not None else None

    async def modbus_units(self, raw: bytes) -> dict[str, Any]:
        body = cast(Units, parse(Units, raw))
        host = self.cells.check(body.host)
        async with self.slots.slot(f"{host}:{body.port}"):
            units = await discovery.modbus_units(
                host, body.port, body.first, body.last, self.timeout_s, body.framing
            )
        return {"units": units}

    async def opcua_endpoints(self, raw: bytes) -> dict[str, Any]:
        body = cast(OpcuaServer, parse(OpcuaServer, raw))
        host, port = opcua.split_url(body.url)
        self.cells.check(host)
        async with self.slots.slot(f"{host}:{port}"):
            return {"endpoints": await discovery.opcua_endpoints(body.url, self.timeout_s * 3)}

    async def opcua_children(self, raw: bytes) -> dict[str, Any]:
        body = cast(OpcuaNode, parse(OpcuaNode, raw))
        host, port = opcua.split_url(body.url)
        self.cells.check(host)
        async with self.slots.slot(f"{host}:{port}"):
            return await discovery.opcua_children(
                body.url, body.node, self.timeout_s * 3, self._protection(body.fingerprint)
            )

    async def search(self, raw: bytes) -> dict[str, Any]:
        body = cast(Search, parse(Search, raw))
        first, last = str(body.first), str(body.last)
        # Both ends in one cell: what lies between them is then in it too.
        self.cells.check_range(first, last)
        log.info("search", first=first, last=last)
        return {"found": await self.sweep.search(first, last, self.timeout_s)}

    async def probe(self, raw: bytes) -> dict[str, Any]:
        body = cast(Probe, parse(Probe, raw))
        host = self.cells.check(body.host)
        timeout_s = self.timeout_s * 3 if body.kind == "opcua" else self.timeout_s
        started = time.monotonic()
        async with self.slots.slot(f"{host}:{body.port}"):
            detail = await probes.probe(
                body.kind,
                host,
                body.port,
                modbus=self.modbus,
                path=body.path,
                unit=body.unit,
                framing=body.framing,
                timeout_s=timeout_s,
            )
        return {"ok": True, "detail": detail, "seconds": round(time.monotonic() - started, 4)}

    async def ask(self, target: Target) -> str:
        """One scheduled probe. Its address is checked each time: a cell may have been taken away."""
        host = self.cells.check(target.host)
        timeout_s = self.timeout_s * 3 if target.kind == "opcua" else self.timeout_s
        return await probes.probe(
            target.kind,
            host,
            target.port,
            modbus=self.modbus,
            path="/health",
            unit=1,
            timeout_s=timeout_s,
        )

    async def probe_now(self, raw: bytes) -> dict[str, Any]:
        """Ask these machines out of turn; the answers come with `/v1/probes`."""
        body = cast(AskNow, parse(AskNow, raw))
        return {"asked": self.schedule.ask_now(body.machines) if self.schedule else 0}

    async def watch_tags(self, machine: str, raw: bytes) -> dict[str, Any]:
        body = cast(Watch, parse(Watch, raw))
        host = self.cells.check(body.host)
        tags = [Tag(tag.path, tag.area, tag.address, tag.type) for tag in body.tags]
        return await self.tags.watch(machine, host, body.port, body.unit, tags)

    async def look_tags(self, raw: bytes) -> dict[str, Any]:
        """Last values of many machines; those that are neither watched nor described are left out."""
        body = cast(Look, parse(Look, raw))
        found: dict[str, Any] = {}
        for machine, watch in body.machines.items():
            try:
                if watch is None:
                    answer = self.tags.get(machine)
                else:
                    host = self.cells.check(watch.host)
                    tags = [Tag(tag.path, tag.area, tag.address, tag.type) for tag in watch.tags]
                    answer = self.tags.begin(machine, host, watch.port, watch.unit, tags)
            except GatewayError as error:
                answer = {"values": {}, "age_s": None, "error": str(error)}
            if answer is not None:
                found[machine] = answer
        return {"machines": found}


def create_app(gateway: Gateway) -> Callable[..., Awaitable[None]]:
    """The API for the local socket."""
    posts = {
        "/v1/modbus/read": gateway.modbus_read,
        "/v1/modbus/write": gateway.modbus_write,
        "/v1/opcua/read": gateway.opcua_read,
        "/v1/modbus/units": gateway.modbus_units,
        "/v1/opcua/endpoints": gateway.opcua_endpoints,
        "/v1/opcua/children": gateway.opcua_children,
        "/v1/probe": gateway.probe,
        "/v1/tags": gateway.look_tags,
        "/v1/probes/now": gateway.probe_now,
        "/v1/search": gateway.search,
    }

    async def handle(
        method: str, path: str, query: bytes, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        if path == "/v1/health" and method == "GET":
            networks = [str(network) for network in gateway.cells.networks()]
            return 200, {"ok": True, "cells": networks, "watched": gateway.tags.watched}
        if path == "/v1/probes" and method == "GET":
            schedule = gateway.schedule
            return (
                (200, schedule.report(parse_after(query)))
                if schedule
                else (404, {"error": "no schedule"})
            )
        if path.startswith("/v1/tags/") and path.endswith("/trend") and method == "GET":
            kept = gateway.tags.trend(path.removeprefix("/v1/tags/").removesuffix("/trend"))
            return (200, kept) if kept is not None else (404, {"error": "not watched"})
        if path.startswith("/v1/tags/") and (machine := path.removeprefix("/v1/tags/")):
            if method == "POST":
                return 200, await gateway.watch_tags(machine, body)
            if method == "GET":
                found = gateway.tags.get(machine)
                return (200, found) if found is not None else (404, {"error": "not watched"})
        if path in posts:
            if method != "POST":
                return 405, {"error": f"{path} takes POST"}
            return 200, await posts[path](body)
        return 404, {"error": f"no {path} here"}

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(gateway, receive, send)
            return
        path, started = scope["path"], time.monotonic()
        try:
            status, answer = await handle(
                scope["method"], path, scope.get("query_string", b""), await _body(receive)
            )
        except GatewayError as error:
            status, answer = error.status, {"error": str(error)}
        except Exception:
            log.exception("request failed", path=path)
            status, answer = 500, {"error": "the gateway failed; its log says why"}
        label = "/v1/tags" if path.startswith("/v1/tags/") else path
        known = (
            label
            if label in posts or label in ("/v1/tags", "/v1/health", "/v1/probes")
            else "other"
        )
        gateway.metrics.answered(known, status, time.monotonic() - started)
        await _answer(send, status, json.dumps(answer).encode(), b"application/json")

    return app


def create_metrics_app(gateway: Gateway) -> Callable[..., Awaitable[None]]:
    """What the TCP port shows: /metrics and /health, nothing that reaches a cell."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/metrics":
            gateway.metrics.watched.set(gateway.tags.watched)
            text = generate_latest(gateway.metrics.registry)
            await _answer(send, 200, text, b"text/plain; version=0.0.4; charset=utf-8")
        elif scope["path"] == "/health":
            await _answer(send, 200, b'{"ok": true}', b"application/json")
        else:
            await _answer(send, 404, b'{"error": "not found"}', b"application/json")

    return app


async def _lifespan(gateway: Gateway, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await gateway.start()
            await send({"type": "lifespan.startup.complete"})
        else:
            await gateway.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("body: the sender went away")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY_BYTES:
            raise BadRequest(f"body: more than {MOST_BODY_BYTES} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: Send, status: int, body: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
