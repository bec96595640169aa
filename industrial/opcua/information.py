"""What the controller is, for clients that know the models: its configuration in DI's DeviceSet with resource, tasks
and programs as PLCopen draws them, and the machine's identification below Machines.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from asyncua import ua

from industrial.runtime.settings import MachineSettings
from industrial.runtime.shm import State

from .models import HEALTH, Models

MANUFACTURER = "Millwright"
#: Reference by the direction of a variable in symbols.json.
DIRECTIONS = {"in": 4001, "out": 4002, "inout": 4003, "var": 4004}
_DI_SET, _MACHINES, _WITH = 5001, 1001, 4006


@dataclass(frozen=True, slots=True)
class Nodes:
    """Where a server hangs what it serves: both method sets, the resource's objects, and the health."""

    methods: tuple[ua.NodeId, ...]
    programs: ua.NodeId
    globals: ua.NodeId
    health: ua.NodeId


def add_information(
    models: Models, uri: str, program: Mapping[str, Any], machine: MachineSettings
) -> Nodes:
    """Add configuration, resource and tasks, and the machine. `program`: symbols.json; `uri`: the application's."""
    name = str(program.get("program") or "none")
    serial = uri.rpartition(":")[2]
    plate: dict[str, Any] = {
        "Manufacturer": ua.LocalizedText(MANUFACTURER),
        "Model": ua.LocalizedText("vPLC"),
        "DeviceClass": "Programmable controller",
        "SerialNumber": serial,
        "ProductInstanceUri": uri,
        # Empty is what DI wants said where there is none: a virtual machine has no hardware of its own to number.
        "HardwareRevision": "", "DeviceManual": "", "DeviceRevision": "1",
        "SoftwareRevision": str(program.get("version", "")),
        "RevisionCounter": -1,
    }  # fmt: skip
    objects = ua.NodeId(ua.ObjectIds.ObjectsFolder)
    base, folder = ua.NodeId(ua.ObjectIds.BaseObjectType), ua.NodeId(ua.ObjectIds.FolderType)
    organizes, component = ua.ObjectIds.Organizes, ua.ObjectIds.HasComponent
    devices = models.object(
        models.id("DI", _DI_SET), models.name("DI:DeviceSet"), objects, organizes, base
    )
    configuration = models.instance(
        ua.NodeId("Device", models.own), models.name(f":{name}"), devices, component, "PLC:1001",
        plate | {"MethodSet": None, "Identification": None, "DeviceHealth": 0},
    )  # fmt: skip
    for short in plate:
        models.refer(configuration["Identification"], ua.NodeId(organizes), configuration[short])
    resource = models.instance(
        ua.NodeId("Device/Resource", models.own), models.name(":Resource"), configuration["Resources"],
        component, "PLC:1002", plate | {"MethodSet": None, "GlobalVars": None},
    )  # fmt: skip
    for task in program.get("tasks", []):
        interval = f"T#{task['interval_us'] / 1000:g}ms"
        models.instance(
            ua.NodeId(f"Device/Task/{task['name']}", models.own), models.name(f":{task['name']}"),
            resource["Tasks"], component, "PLC:1006",
            {"Priority": int(task["priority"]), "Interval": interval},
        )  # fmt: skip
    machines = models.object(
        models.id("M", _MACHINES), models.name("M:Machines"), objects, organizes, folder
    )
    item = models.object(
        ua.NodeId("Machine", models.own), models.name(f":{machine.component_name or name}"), machines, organizes, base
    )  # fmt: skip
    models.instance(
        ua.NodeId("Machine/Identification", models.own), models.name("DI:Identification"), item,
        ua.ObjectIds.HasAddIn, "M:1012", _nameplate(machine, plate),
    )  # fmt: skip
    return Nodes(
        (configuration["MethodSet"], resource["MethodSet"]), resource["Programs"], resource["GlobalVars"],
        configuration["DeviceHealth"],
    )  # fmt: skip


def _nameplate(machine: MachineSettings, plate: Mapping[str, Any]) -> dict[str, Any]:
    """The machine's own where vplc.toml tells it; else the controller is all that is known of the machine."""
    told = {row.name: value for row in fields(machine) if (value := getattr(machine, row.name))}
    found: dict[str, Any] = {}
    if not told:
        kept = ("Manufacturer", "Model", "DeviceClass", "SoftwareRevision")
        found = {key: plate[key] for key in kept if plate[key]}
    found |= {key: plate[key] for key in ("Manufacturer", "SerialNumber", "ProductInstanceUri")}
    for key, value in told.items():
        name = "".join(word.capitalize() for word in key.split("_"))
        if key in ("manufacturer", "model", "component_name"):
            value = ua.LocalizedText(value)
        elif isinstance(value, dt.date):
            value = dt.datetime.combine(value, dt.time(), dt.UTC)
        found[name] = value
    return found


class Blocks:
    """Types of programs and function blocks, made as they are met, and objects of them."""

    def __init__(self, models: Models, program: Mapping[str, Any]) -> None:
        self._models = models
        self._rows = {str(row["path"]).lower(): row for row in program.get("instances", [])}
        self._types: dict[str, ua.NodeId] = {}

    def add(self, path: str, parent: ua.NodeId) -> ua.NodeId:
        """The object of a path: a program, a function block, or what only holds variables."""
        models = self._models
        row = self._rows.get(path.lower())
        node = ua.NodeId(path, models.own)
        name = models.name(f":{path.rpartition('.')[2]}")
        if row is None:
            base = ua.NodeId(ua.ObjectIds.BaseObjectType)
            return models.object(node, name, parent, ua.ObjectIds.HasComponent, base)
        program = row["kind"] == "program"
        reference = ua.NodeId(ua.ObjectIds.HasComponent) if program else models.id("PLC", DIRECTIONS["var"])  # fmt: skip
        return models.object(node, name, parent, reference, self._type(str(row["type"]), program))

    def is_program(self, path: str) -> bool:
        """Whether it is a program's instance."""
        row = self._rows.get(path.lower())
        return row is not None and row["kind"] == "program"

    def _type(self, name: str, program: bool) -> ua.NodeId:
        models = self._models
        if name not in self._types:
            self._types[name] = models.add(
                ua.NodeClass.ObjectType, ua.NodeId(f"Type/{name}", models.own), models.name(f":{name}"),
                models.id("PLC", 1004 if program else 1005), ua.ObjectIds.HasSubtype,
                attributes=ua.ObjectTypeAttributes(IsAbstract=False),
            )  # fmt: skip
        return self._types[name]


def link_tasks(models: Models, program: Mapping[str, Any], known: Mapping[str, ua.NodeId]) -> None:
    """Which task executes which program."""
    for task in program.get("tasks", []):
        for name in task["programs"]:
            if name in known:
                models.refer(
                    known[name], models.id("PLC", _WITH), ua.NodeId(f"Device/Task/{task['name']}", models.own),
                )  # fmt: skip


def health(state: State, forced: int, silent: int) -> int:
    """DeviceHealth as a number: a stopped task is a failure, a force is work on it, a silent device is off its specification."""
    if state is State.FAULT:
        return HEALTH.index("FAILURE")
    if forced:
        return HEALTH.index("CHECK_FUNCTION")
    return HEALTH.index("OFF_SPEC" if silent else "NORMAL")
