"""Methods of the controller (Start, Stop, Info) and its fault event."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from asyncua import Server, ua

from industrial.runtime.shm import Command, SharedMemory

from .models import Models

FAULTS = {1: "division by zero", 2: "index out of bounds", 3: "bad reference", 4: "string", 5: "watchdog", 6: "stack", 7: "conversion"}  # fmt: skip
#: Severity of a stopped task, 1 to 1000.
SEVERITY = 800


async def add_methods(
    server: Server,
    models: Models,
    sets: Iterable[ua.NodeId],
    shm: Callable[[], SharedMemory],
    order: Callable[[Command], Awaitable[bool]],
) -> Callable[[tuple[int, int, int, int]], Awaitable[None]]:
    """Add the object `Controller`, and Start and Stop in the models' method sets; returns what tells of a fault."""
    index = models.own
    controller = await server.nodes.objects.add_object(
        ua.NodeId("Controller", index), f"{index}:Controller"
    )

    async def start(_parent: Any) -> list[ua.Variant]:
        return [ua.Variant(await order(Command.RUN), ua.VariantType.Boolean)]

    async def stop(_parent: Any) -> list[ua.Variant]:
        return [ua.Variant(await order(Command.STOP), ua.VariantType.Boolean)]

    async def info(_parent: Any) -> list[ua.Variant]:
        memory = shm()
        code, line, file, task = memory.fault
        rows = memory.tasks()
        text = {
            "state": memory.state.name.lower(),
            "tasks": {row.name: {"scans": row.scans, "overruns": row.overruns} for row in rows},
            "fault": {"kind": FAULTS.get(code, ""), "line": line, "file": file, "task": task}
            if code
            else None,
        }
        return [ua.Variant(json.dumps(text), ua.VariantType.String)]

    for name, method, kind in (
        ("Start", start, ua.VariantType.Boolean),
        ("Stop", stop, ua.VariantType.Boolean),
        ("Info", info, ua.VariantType.String),
    ):
        await controller.add_method(
            ua.NodeId(f"Controller.{name}", index), f"{index}:{name}", method, [], [kind]
        )
    # Only engineers start and stop.
    guarded = {ua.NodeId(f"Controller.{name}", index) for name in ("Start", "Stop")}
    for owner in sets:
        for name, verb in (("Start", Command.RUN), ("Stop", Command.STOP)):
            node = ua.NodeId(f"{owner.Identifier}/{name}", index)
            await server.get_node(owner).add_method(
                node, models.name(f"PLC:{name}"), _plain(order, verb), [], []
            )
            guarded.add(node)
    server.iserver.guarded = guarded

    fault_type = await server.create_custom_event_type(
        index, "ProgramFault", ua.ObjectIds.BaseEventType,
        [("Task", ua.VariantType.UInt32), ("Line", ua.VariantType.UInt32), ("Kind", ua.VariantType.String)],
    )  # fmt: skip
    events = await server.get_event_generator(fault_type, controller)

    async def tell(fault: tuple[int, int, int, int]) -> None:
        code, line, _file, task = fault
        kind = FAULTS.get(code, str(code))
        events.event.Severity = SEVERITY
        events.event.Task, events.event.Line, events.event.Kind = task, line, kind
        await events.trigger(message=f"task {task} stopped at line {line}: {kind}")

    return tell


def _plain(order: Callable[[Command], Awaitable[bool]], verb: Command) -> Callable[[Any], Any]:
    """A method of PLCopen's: without results, and an error where the scan does not follow."""

    async def method(_parent: Any) -> list[ua.Variant] | ua.StatusCode:
        if await order(verb):
            return []
        return ua.StatusCode(ua.StatusCodes.BadInvalidState)

    return method
