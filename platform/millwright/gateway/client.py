"""How the other processes of the control plane ask the gateway."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from .errors import (
    BadRequest,
    GatewayError,
    OutsideCells,
    TargetFailed,
    TargetTimeout,
    TooBusy,
)

_BY_STATUS = {
    kind.status: kind for kind in (BadRequest, OutsideCells, TooBusy, TargetFailed, TargetTimeout)
}


class GatewayClient:
    """Blocking client over the gateway's socket; every call ends within `timeout_s`."""

    def __init__(self, socket: Path, timeout_s: float = 15.0) -> None:
        self._client = httpx.Client(
            # No TLS on a local socket: without this each client would read all the world's authorities.
            transport=httpx.HTTPTransport(
                uds=str(socket), verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            ),
            base_url="http://gateway",
            timeout=timeout_s,
        )

    def __enter__(self) -> GatewayClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, path: str, json: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, json=json)
            data = dict(answer.json())
        except (httpx.HTTPError, ValueError) as error:
            raise GatewayError(f"the gateway does not answer ({type(error).__name__})") from None
        if answer.status_code >= 400:
            raise _BY_STATUS.get(answer.status_code, GatewayError)(
                str(data.get("error", answer.status_code))
            )
        return data

    def health(self) -> dict[str, Any]:
        return self._ask("GET", "/v1/health")

    def modbus_read(
        self,
        host: str,
        area: str,
        address: int,
        count: int = 1,
        *,
        port: int = 502,
        unit: int = 1,
        framing: str = "tcp",
    ) -> list[Any]:
        """Registers or bits. Raises `GatewayError`'s kinds."""
        body = {
            "host": host,
            "port": port,
            "unit": unit,
            "area": area,
            "address": address,
            "count": count,
            "framing": framing,
        }
        return list(self._ask("POST", "/v1/modbus/read", body)["values"])

    def modbus_write(
        self,
        host: str,
        area: str,
        address: int,
        values: list[int],
        *,
        port: int = 502,
        unit: int = 1,
        framing: str = "tcp",
    ) -> None:
        body = {
            "host": host,
            "port": port,
            "unit": unit,
            "area": area,
            "address": address,
            "values": values,
            "framing": framing,
        }
        self._ask("POST", "/v1/modbus/write", body)

    def opcua_read(self, url: str, nodes: list[str], fingerprint: str = "") -> list[dict[str, Any]]:
        """`[{"node", "value", "status", "good"}]`; `fingerprint`: of the certificate that the server must show
        where it only talks encrypted."""
        body = {"url": url, "nodes": nodes, "fingerprint": fingerprint}
        return list(self._ask("POST", "/v1/opcua/read", body)["nodes"])

    def modbus_units(
        self, host: str, port: int, first: int, last: int, framing: str = "tcp"
    ) -> list[dict[str, Any]]:
        """Unit ids that answer: `[{"unit", "identification", "note"}]`."""
        body = {"host": host, "port": port, "first": first, "last": last, "framing": framing}
        return list(self._ask("POST", "/v1/modbus/units", body)["units"])

    def opcua_endpoints(self, url: str) -> list[dict[str, Any]]:
        """`[{"url", "mode", "policy", "users", "fingerprint", "certificate"}]`."""
        return list(self._ask("POST", "/v1/opcua/endpoints", {"url": url})["endpoints"])

    def search(self, first: str, last: str) -> list[dict[str, Any]]:
        """Servers among the addresses of a cell: `[{"address", "port", "protocol", "detail"}]`; takes seconds."""
        return list(self._ask("POST", "/v1/search", {"first": first, "last": last})["found"])

    def opcua_children(self, url: str, node: str, fingerprint: str = "") -> dict[str, Any]:
        """`{"nodes": [{"node", "name", "kind", "type", "value"}], "more": bool}`; `fingerprint` as `opcua_read`."""
        body = {"url": url, "node": node, "fingerprint": fingerprint}
        return self._ask("POST", "/v1/opcua/children", body)

    def watch_tags(self, machine: str, host: str, tags: list[dict[str, Any]]) -> dict[str, Any]:
        """Have a machine's tags polled for as long as somebody asks: `{"values", "age_s", "error"}`."""
        return self._ask("POST", f"/v1/tags/{machine}", {"host": host, "tags": tags})

    def look_tags(self, machines: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
        """Many machines' tags at once: each with what `watch_tags` is given, or None once it is watched.

        Answers without waiting for a first reading; a machine that is not watched (any more) is left out.
        """
        return dict(self._ask("POST", "/v1/tags", {"machines": machines})["machines"])

    def trend(self, machine: str) -> dict[str, Any]:
        """What was read since somebody looks: `{"time": [s since 1970], "values": {tag: []}}`."""
        return self._ask("GET", f"/v1/tags/{machine}/trend")

    def probes(self, after: int = 0) -> dict[str, Any]:
        """Answers of scheduled probes: `{"life", "number", "missed", "changes", "latest"}`."""
        return self._ask("GET", f"/v1/probes?after={after}")

    def probe_now(self, machines: Sequence[str]) -> int:
        """Have scheduled probes of these machines asked out of turn; returns how many questions went out."""
        return int(self._ask("POST", "/v1/probes/now", {"machines": list(machines)})["asked"])

    def probe(
        self,
        kind: str,
        host: str,
        port: int,
        path: str = "/metrics",
        unit: int = 1,
        framing: str = "tcp",
    ) -> str:
        """What answered, in words; raises if nothing does."""
        body = {
            "kind": kind,
            "host": host,
            "port": port,
            "path": path,
            "unit": unit,
            "framing": framing,
        }
        return str(self._ask("POST", "/v1/probe", body)["detail"])

    def answers(self, kind: str, host: str, port: int) -> str | None:
        """None if it answers, else why not: the `Prober` port of operations."""
        try:
            self.probe(kind, host, port)
        except GatewayError as error:
            return str(error)
        return None
