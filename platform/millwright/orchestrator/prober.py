"""Asks a machine's protocols through the gateway, the one process that reaches the cells."""

from __future__ import annotations

from pathlib import Path

import httpx


class GatewayProber:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def answers(self, kind: str, address: str, port: int) -> str | None:
        """None if it answers, else what went wrong. `http` asks a machine's own check, at /health."""
        transport = httpx.HTTPTransport(uds=str(self._socket))
        try:
            with httpx.Client(
                transport=transport, base_url="http://gateway", timeout=15.0
            ) as client:
                asked = {"kind": kind, "host": address, "port": port}
                if kind == "http":
                    asked["path"] = "/health"
                reply = client.post("/v1/probe", json=asked)
        except httpx.HTTPError as error:
            return f"the gateway does not answer ({type(error).__name__})"
        if reply.status_code != 200:
            return f"the gateway says {reply.status_code}: {reply.text[:200]}"
        data = reply.json()
        return None if data.get("ok") else str(data.get("detail", "no answer"))
