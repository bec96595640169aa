"""Delivery through the guest agent's channel: bundle, then marker, then the guest's verdict."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import UUID

from millwright.hypervisor import NotFound

from .errors import NotYet, StepFailed
from .saga import Context, Step

INBOX = "/var/lib/vplc/inbox"
STATUS = "/run/vplc/status.json"
#: How a controller took a program over, by what it answers.
TAKEN_OVER = {"online": ", taken over between two scans, values kept", "restart": ", begun anew"}


def send(context: Context, bundle: bytes) -> dict[str, Any]:
    """Have the bundle in the guest and return what the guest made of it.

    Raises:
        NotYet: the guest has not answered yet.
        StepFailed: the guest refuses it.
    """
    _, host = context.host()
    machine = context.machine_id
    digest = hashlib.sha256(bundle).hexdigest()
    base = f"{INBOX}/{digest}"
    # The same package may have been there before, or been refused: an answer counts for the attempt that it names.
    delivery = f"{context.operation.id}:{context.operation.attempt}"
    try:
        answer = json.loads(host.agent_read_file(machine, f"{base}.result"))
    except NotFound:
        answer = {"delivery": ""}
    except ValueError:
        raise NotYet("the guest is writing its answer") from None
    # A controller of an image from before deliveries had names does not tell any.
    if answer.get("delivery", delivery) != delivery:
        if _announced(context, f"{base}.ready") != delivery:

            def said(done: int, total: int) -> None:
                context.say(f"sending {done // 1024} of {total // 1024} KiB")

            host.agent_write_file(
                machine, f"{base}.bundle", bundle, progress=said, deadline_s=240.0
            )
            ready = {"sha256": digest, "size": len(bundle), "delivery": delivery}
            host.agent_write_file(machine, f"{base}.ready", json.dumps(ready).encode())
        raise NotYet("the guest has not taken the delivery over yet")
    if not answer.get("ok"):
        raise StepFailed(
            f"the guest refuses the delivery: {answer.get('message', 'no reason given')}"
        )
    return dict(answer)


def _announced(context: Context, ready: str) -> str:
    """Which delivery the announcement in the guest names; "" where there is none."""
    _, host = context.host()
    try:
        return str(json.loads(host.agent_read_file(context.machine_id, ready)).get("delivery", ""))
    except (NotFound, ValueError):
        return ""


def _status(context: Context) -> None:
    """Take over what the guest says of itself; it is not worth failing for."""
    _, host = context.host()
    try:
        status = json.loads(host.agent_read_file(context.machine_id, STATUS))
    except (NotFound, ValueError):
        return
    context.ports.store.guest_status(context.machine_id, status)


def deliver_program(context: Context, program_version: UUID) -> str:
    """Deliver a built program and record the deployment."""
    store = context.ports.store
    found = store.bundle(program_version)
    if found is None:
        state, error = store.program_state(program_version)
        if state == "failed":
            raise StepFailed(f"the program did not compile: {error}")
        raise NotYet("the program is still being compiled")
    bundle, _ = found
    try:
        answer = send(context, bundle)
    except StepFailed as error:
        store.deployment(context.machine_id, program_version, "failed", str(error))
        raise
    how = TAKEN_OVER.get(str(answer.get("how")), "")
    message = str(answer.get("message", "")) + how
    store.deployment(context.machine_id, program_version, "active", message)
    _status(context)
    return f"{len(bundle) // 1024} KiB, running{how}"


def _program(context: Context) -> str:
    return deliver_program(context, UUID(str(context.operation.payload["program_version"])))


def _config(context: Context) -> str:
    bundle = context.ports.store.config_bundle(context.machine_id)
    send(context, bundle)
    return f"{len(bundle)} bytes"


def deliver_config_if_agent(context: Context) -> str:
    """Deliver the configuration to templates that take one."""
    machine = context.machine()
    if machine.health.get("probe") == "none" or "modbus" not in machine.outputs:
        return "this template takes no configuration"
    return _config(context)


def _firewall(context: Context) -> str:
    from .provision import ensure_filter

    return ensure_filter(context)


FIREWALL = Step(
    "filter", "Firewall", _firewall, no_undo="the registered pairs are the intent", timeout_s=60.0
)
PROGRAM = Step(
    "program",
    "Control program",
    _program,
    no_undo="rolling back is a delivery too",
    timeout_s=300.0,
)
CONFIG = Step(
    "config",
    "Devices and access rights",
    deliver_config_if_agent,
    no_undo="the registered mapping is the intent",
    timeout_s=180.0,
)
