"""How a device does: as the controllers that talk to it see it, and as it answers the gateway now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.environments.models import Machine
from millwright.gateway import GatewayError
from millwright.gateway.opcua import url_of
from millwright.settings import get_settings

from .live import gateway, words
from .models import Device

#: Over how long errors and exchanges are counted.
WINDOW = "15m"
#: Within this a controller's figures count as its present ones.
FRESH = "2m"


@dataclass(frozen=True, slots=True)
class Seen:
    """A device as one controller sees it; None where that is not known."""

    machine: Machine
    good: bool | None = None
    age_s: float | None = None
    latency_ms: float | None = None
    errors: float | None = None
    exchanges: float | None = None

    @property
    def error_ratio(self) -> float | None:
        """Failed exchanges of all, in the last quarter of an hour."""
        if self.errors is None or self.exchanges is None or self.errors + self.exchanges <= 0:
            return None
        return self.errors / (self.errors + self.exchanges)

    @property
    def error_percent(self) -> float | None:
        """The ratio for people."""
        return None if self.error_ratio is None else 100 * self.error_ratio

    @property
    def state(self) -> str:
        """`good`, `silent` or `unknown`."""
        return "unknown" if self.good is None else "good" if self.good else "silent"


@dataclass(frozen=True, slots=True)
class Health:
    """`error`: why the controllers' figures cannot be had."""

    seen: list[Seen]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking the device now; `ms` is the time that it took."""

    ok: bool
    detail: str
    ms: float


def health(device: Device) -> Health:
    """What every connected controller says of the device, from Prometheus: one query, whatever their number."""
    machines = list(
        Machine.objects.filter(mappings__device=device)
        .select_related("environment")
        .distinct()
        .order_by("environment__name", "name")[:200]
    )
    if not machines:
        return Health([])
    try:
        figures = _figures(device.name)
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        why = _("Prometheus does not answer (%(why)s)") % {"why": type(error).__name__}
        return Health([Seen(machine) for machine in machines], why)
    seen = []
    for machine in machines:
        row = figures.get((machine.environment.name, machine.name), {})
        age, latency = row.get("age"), row.get("latency")
        seen.append(
            Seen(
                machine,
                good=None if "good" not in row else row["good"] > 0,
                # A controller says -1 of a device that has never answered it.
                age_s=age if age is not None and age >= 0 else None,
                latency_ms=None if latency is None else latency * 1000,
                errors=row.get("errors"),
                exchanges=row.get("exchanges"),
            )
        )
    return Health(seen)


def ask(actor: Any, device: Device) -> Asked:
    """Ask the device now, from the gateway. Nothing is written to it."""
    require(actor, "operate", device.project)
    begun = time.monotonic()
    ok, detail = True, ""
    try:
        with gateway() as client:
            if device.protocol == "opcua":
                # What a server offers is told without encryption, even where it demands it for the rest.
                ok, detail = _shows(
                    device, client.opcua_endpoints(url_of(device.address, device.port))
                )
            else:
                detail = client.probe(
                    "modbus", device.address, device.port, unit=device.unit, framing=device.framing
                )
    except GatewayError as error:
        ok, detail = False, words(error)
    return Asked(ok, detail, (time.monotonic() - begun) * 1000)


def _shows(device: Device, endpoints: list[dict[str, Any]]) -> tuple[bool, str]:
    """Whether an OPC UA device is the one that is trusted, in words."""
    shown = {row["fingerprint"] for row in endpoints} - {""}
    if not device.certificate:
        return True, _("it offers %(n)s endpoints") % {"n": len(endpoints)}
    if device.fingerprint in shown:
        return True, _("it shows the trusted certificate")
    return False, _("it shows another certificate than the trusted one")


def _figures(device: str) -> dict[tuple[str, str], dict[str, float]]:
    """(environment, machine) → figure → value."""
    parts = {
        "good": f'last_over_time(vplc_device_good{{device="{device}"}}[{FRESH}])',
        "age": f'last_over_time(vplc_device_age_seconds{{device="{device}"}}[{FRESH}])',
        "latency": f'last_over_time(vplc_device_latency_seconds{{device="{device}"}}[{FRESH}])',
        "errors": f'increase(vplc_device_errors_total{{device="{device}"}}[{WINDOW}])',
        "exchanges": f'increase(vplc_device_reads_total{{device="{device}"}}[{WINDOW}])',
    }
    query = " or ".join(
        f'label_replace({part}, "figure", "{name}", "", "")' for name, part in parts.items()
    )
    url = f"http://127.0.0.1:{get_settings().prometheus_port}"
    with httpx.Client(base_url=url, timeout=3.0, trust_env=False) as client:
        answer = client.get("/api/v1/query", params={"query": query})
    answer.raise_for_status()
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in answer.json()["data"]["result"]:
        labels = row["metric"]
        place = found.setdefault((labels.get("environment", ""), labels.get("machine", "")), {})
        place[labels["figure"]] = float(row["value"][1])
    return found
