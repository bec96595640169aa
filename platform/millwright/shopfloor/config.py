"""What a machine's vPLC is told of its surroundings: io/*.toml and security.toml, and the firewall's pairs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from millwright.environments.models import Machine
from millwright.gateway.opcua import url_of

from .live import writable_symbols
from .modbus_security import of_machine
from .models import Device, EngineeringStation, TagMapping


def _toml(value: Any) -> str:
    # JSON strings, numbers and booleans are TOML values as they stand.
    return json.dumps(value, ensure_ascii=False)


def _pairs(**values: Any) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in values.items()]


def config_files(machine: Machine) -> dict[str, str]:
    """The files of a config bundle, from mappings and stations."""
    files: dict[str, str] = {}
    by_device: dict[Any, list[TagMapping]] = {}
    for mapping in machine.mappings.select_related("device").order_by("device__name", "tag"):
        by_device.setdefault(mapping.device, []).append(mapping)
    for device, mappings in by_device.items():
        lines = _pairs(
            format=1,
            name=device.name,
            protocol=device.protocol,
            **_where(device),
            rate_ms=device.rate_ms,
            timeout_ms=device.timeout_ms,
            fail=mappings[0].fail,
        )
        for mapping in mappings:
            if mapping.area == "node":
                place: dict[str, Any] = {"node": mapping.register}
            else:
                place = {"area": mapping.area, "address": int(mapping.register)}
            lines += ["", "[[point]]"]
            lines += _pairs(
                tag=mapping.tag,
                **place,
                type=mapping.data_type,
                direction=mapping.direction,
                scale=mapping.scale,
                offset=mapping.offset,
                fail=mapping.fail,
                substitute=mapping.substitute,
            )
        files[f"io/{device.name}.toml"] = "\n".join(lines) + "\n"
    files["security.toml"] = _security(machine)
    return files


def _where(device: Device) -> dict[str, Any]:
    """How the device is reached, and what it must show."""
    if device.protocol != "opcua":
        return {
            "address": f"{device.address}:{device.port}",
            "unit": device.unit,
            "word_order": device.word_order,
        }
    protection = (
        {"server_certificate": device.certificate}
        if device.certificate
        else {"unencrypted": device.unencrypted}
    )
    return {"url": f"{url_of(device.address, device.port)}/", **protection}


def _security(machine: Machine) -> str:
    lines = ["format = 1", "", "[opcua]"]
    lines += _pairs(
        # The cell's firewall admits registered stations only; reading is open to those, in these words.
        anonymous_read="stations that the cell's firewall admits may read without signing in",
    )
    for station in _stations(machine):
        lines += ["", "[[modbus.client]]", *_pairs(name=station.name, cidr=station.cidr)]
        for entry in station.write_ranges:
            lines += [
                "",
                "[[modbus.client.write]]",
                *_pairs(area=entry["area"], first=entry["first"], last=entry["last"]),
            ]
    lines += _set_points(machine)
    lines += _modbus_tls(machine)
    return "\n".join(lines) + "\n"


def _modbus_tls(machine: Machine) -> list[str]:
    """Port 802, where the environment or its project asks for it."""
    security = of_machine(machine)
    if security is None:
        return []
    lines = ["", "[modbus.tls]", *_pairs(authorities=security.authorities)]
    for role in security.roles:
        lines += ["", "[[modbus.role]]", *_pairs(name=role["name"], functions=role["functions"])]
        for entry in role["write"]:
            lines += ["", "[[modbus.role.write]]", *_pairs(**entry)]
    return lines


def _set_points(machine: Machine) -> list[str]:
    """The gateway may write exactly the registers of the machine's set-points."""
    tags = {point.tag.lower() for point in machine.set_points.all()}
    if not tags or machine.cell is None:
        return []
    places = [symbol for symbol in writable_symbols(machine) if symbol["path"].lower() in tags]
    lines = ["", "[[modbus.client]]"]
    lines += _pairs(name="set-points", cidr=f"{machine.cell.gateway_address}/32")
    for place in places:
        address = place["modbus_address"]
        lines += ["", "[[modbus.client.write]]"]
        lines += _pairs(area=place["modbus_area"], first=address, last=address)
    return lines if places else []


def _stations(machine: Machine) -> list[EngineeringStation]:
    return list(
        EngineeringStation.objects.filter(
            project=machine.environment.project_id, cell=machine.cell_id
        ).order_by("name")
    )


#: Outputs that registered stations may reach.
SERVED = ("modbus", "modbus_tls", "opcua", "http", "mqtt")


@dataclass(frozen=True, slots=True)
class Pair:
    """One opening of the firewall: who may reach which TCP port of whom. `inbound`: towards the machine."""

    peer: str
    port: int
    inbound: bool
    note: str


def firewall_pairs(machine: Machine) -> list[Pair]:
    """Exactly the registered connections of a machine; everything else is dropped."""
    if machine.cell is None:
        return []
    spec_outputs = machine.template_version.spec.get("outputs", {})
    outputs = spec_outputs if isinstance(spec_outputs, dict) else {}
    protocols = [outputs[name] for name in SERVED if name in outputs]
    asked = [*protocols, *([outputs["health"]] if "health" in outputs else [])]
    found = [Pair(machine.cell.gateway_address, port, True, "gateway") for port in asked]
    if "metrics" in outputs:
        found.append(Pair(machine.cell.gateway_address, outputs["metrics"], True, "gateway"))
        if machine.cell.monitoring_address:
            found.append(Pair(machine.cell.monitoring_address, outputs["metrics"], True, "scrape"))
    security = of_machine(machine)
    if security is None:
        # Nobody listens there: nothing is open that need not be.
        protocols = [port for port in protocols if port != outputs.get("modbus_tls")]
    elif not security.plain:
        protocols = [port for port in protocols if port != outputs.get("modbus")]
    for station in _stations(machine):
        found += [Pair(station.cidr, port, True, f"station {station.name}") for port in protocols]
    devices = {mapping.device for mapping in machine.mappings.select_related("device")}
    found += [
        Pair(device.address, device.port, False, f"device {device.name}")
        for device in sorted(devices, key=lambda d: d.name)
    ]
    return found
