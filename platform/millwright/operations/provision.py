"""Building a machine: from placement to answering protocols."""

from __future__ import annotations

import contextlib
from pathlib import Path
from uuid import UUID

from millwright.core.lifecycle import MachineObserved
from millwright.hypervisor import (
    AgentUnavailable,
    DomainState,
    FilterSpec,
    Hypervisor,
    NetworkSpec,
    NotFound,
    UploadSource,
    VolumeFormat,
    VolumeOwner,
)

from . import deliver
from .errors import NotYet, StepFailed
from .ports import ImageFiles, MachineRecord
from .saga import Context, Step
from .spec import domain_spec
from .volumes import (
    disk_on,
    disk_volume,
    filter_name,
    initrd_volume,
    kernel_volume,
    made_disk,
    overlay_volume,
    remove_disk,
)

#: Seconds that hosts are waited for at most, one after the other; how exactly the rest of it is said.
WAKES_S, TENS_S = 6 * 3600.0, 10


def _place(context: Context) -> str:
    machine = context.ports.store.claim(context.machine_id, context.operation.id)
    cpus = sorted(machine.assignment.claimed) if machine.assignment else []
    own = f", CPU {', '.join(map(str, cpus))} of its own" if cpus else ""
    return f"{machine.host}{own}, address {machine.address or 'none'}"


def _release(context: Context) -> str:
    context.ports.store.release(context.machine_id)
    return "claims given back"


def _host_awake(context: Context) -> str:
    """Wait for a host that is woken for this machine; whether it wakes its own operation finds out."""
    waits = context.ports.store.awaited_host(context.machine_id, context.operation.id)
    if waits is None:
        return f"{context.machine().host} is awake"
    if waits.left_s < TENS_S:
        text = f"waiting for {waits.host}, which is being woken and should answer any moment"
    else:
        left = round(waits.left_s / TENS_S) * TENS_S
        text = f"waiting for {waits.host}, which is being woken: about {left} s more"
    context.say(text)
    raise NotYet(text)


def ensure_network(context: Context) -> str:
    """The machine's cell as a network of its host."""
    machine, host = context.host()
    if machine.network is None or machine.bridge is None:
        return "no network wanted"
    host.ensure_network(NetworkSpec(name=machine.network, bridge=machine.bridge))
    return machine.network


def ensure_filter(context: Context) -> str:
    """The firewall: exactly the registered pairs."""
    machine, host = context.host()
    if machine.network is None:
        return "no network wanted"
    host.ensure_filter(FilterSpec(name=filter_name(machine), flows=machine.flows))
    return f"{len(machine.flows)} registered pairs admitted, all else dropped"


def remove_filter(context: Context) -> str:
    machine, host = context.host()
    return "removed" if host.remove_filter(filter_name(machine)) else "there was none"


def _upload_image(context: Context) -> str:
    machine, host = context.host()
    return upload_image(context, machine, host)


def upload_image(context: Context, machine: MachineRecord, host: Hypervisor) -> str:
    """The machine's template image on a host, verified."""
    host.ensure_pool(machine.pool)
    image, files = machine.image, _files(machine.image)
    sent = 0
    if not all(host.volume_exists(machine.pool, name, file[1]) for name, file, _ in files):
        # A host that shares the storage may have sent them.
        host.refresh_pool(machine.pool)
    for volume, (path, sha256, size), format_ in files:
        if host.volume_exists(machine.pool, volume, sha256):
            continue

        def said(done: int, total: int, volume: str = volume) -> None:
            context.say(f"{volume}: {done * 100 // max(1, total)} %")

        source = UploadSource(path=path, sha256=sha256, size_bytes=size)
        host.upload_volume(
            machine.pool, volume, source, format=format_, progress=said, deadline_s=600.0
        )
        sent += size
    return f"{image.name}: {sent // 2**20} MiB sent" if sent else f"{image.name}: present"


def _files(image: ImageFiles) -> list[tuple[str, tuple[Path, str, int], VolumeFormat]]:
    files: list[tuple[str, tuple[Path, str, int], VolumeFormat]] = [
        (kernel_volume(image), image.kernel, VolumeFormat.RAW),
        (initrd_volume(image), image.initrd, VolumeFormat.RAW),
    ]
    if image.disk is not None:
        files.append((disk_volume(image), image.disk, VolumeFormat.QCOW2))
    return files


def _overlay(context: Context) -> str:
    machine, host = context.host()
    if machine.image.disk is None:
        return "no disk wanted"
    made = host.ensure_overlay(
        machine.pool,
        overlay_volume(machine),
        base=disk_volume(machine.image),
        capacity_bytes=max(machine.disk_bytes, machine.image.disk_virtual_bytes),
        owner=VolumeOwner(
            site=machine.site, machine=str(machine.id), generation=machine.generation
        ),
    )
    return made_disk(host, machine, made)


def _unmake_overlay(context: Context) -> str:
    machine, host = context.host()
    return "removed" if remove_disk(host, machine, of=machine.generation) else "there was none"


def remove_overlay(context: Context) -> str:
    """The machine's disk; what was set aside of earlier placements stays, and the host's page names it."""
    machine, host = context.host()
    return "removed" if remove_disk(host, machine) else "there was none"


def _define(context: Context) -> str:
    machine, host = context.host()
    paths = {}
    for volume in (kernel_volume(machine.image), initrd_volume(machine.image)):
        info = host.volume(machine.pool, volume)
        if info is None:
            raise StepFailed(f"volume {volume} is missing on {machine.host}")
        paths[volume] = info.path
    disk = None
    if machine.image.disk is not None:
        overlay = disk_on(host, machine)
        if overlay is None or not overlay.present:
            raise StepFailed(f"volume {overlay_volume(machine)} is missing on {machine.host}")
        disk = overlay.path
    spec, words = domain_spec(
        machine,
        context.operation.id,
        kernel=paths[kernel_volume(machine.image)],
        initrd=paths[initrd_volume(machine.image)],
        disk=disk,
    )
    host.define(spec)
    context.ports.store.shortfalls(context.machine_id, words)
    return "; ".join(words) or "its class is honoured in full"


def undefine(context: Context) -> str:
    _, host = context.host()
    with contextlib.suppress(NotFound):
        host.destroy(context.machine_id)
    return "forgotten" if host.undefine(context.machine_id) else "there was none"


def power_on(context: Context) -> str:
    """Start the domain with the generation that was placed."""
    machine, host = context.host()
    fresh = host.start(context.machine_id, generation=machine.generation)
    context.ports.store.observed(
        context.machine_id, MachineObserved.RUNNING, "started", context.operation.id
    )
    return "started" if fresh else "was running"


def _power_off(context: Context) -> str:
    _, host = context.host()
    off = host.destroy(context.machine_id)
    context.ports.store.observed(
        context.machine_id,
        MachineObserved.ABSENT,
        "its provisioning was undone",
        context.operation.id,
    )
    return "switched off" if off else "was off"


def wait_agent(context: Context) -> str:
    """Wait until the guest's agent answers; a guest that stopped meanwhile is said at once."""
    machine, host = context.host()
    if machine.health.get("probe") == "none":
        return "this template has no guest agent"
    try:
        host.agent_ping(context.machine_id, deadline_s=10.0)
    except AgentUnavailable as error:
        info = host.domain(context.machine_id)
        if info is None or info.state in (DomainState.STOPPED, DomainState.CRASHED):
            raise StepFailed(f"{machine.domain_name} stopped while it was booting") from error
        raise NotYet("the guest agent does not answer yet") from None
    return "the guest agent answers"


def wait_protocols(context: Context) -> str:
    """What the template promises answers in the cell: Modbus and OPC UA, or its own check of its software."""
    machine = context.machine()
    wanted = {
        kind: machine.outputs[kind] for kind in ("modbus", "opcua") if kind in machine.outputs
    }
    if machine.health.get("probe") == "http":
        wanted["http"] = machine.outputs["health"]
    if machine.address is None or not wanted:
        return "no protocol to ask"
    for kind, port in wanted.items():
        problem = context.ports.prober.answers(kind, machine.address, port)
        if problem is not None:
            raise NotYet(f"{kind} at {machine.address}:{port}: {problem}")
    if "http" in wanted:
        return f"its software was used and works, says {machine.address}"
    return f"{' and '.join(wanted)} answer at {machine.address}"


def _program(context: Context) -> str:
    chosen = context.operation.payload.get("program_version")
    if not chosen:
        return "no program was asked for"
    return deliver.deliver_program(context, UUID(str(chosen)))


WAIT_AGENT = Step(
    "agent",
    "Wait for the guest",
    wait_agent,
    no_undo="waiting changes nothing",
    timeout_s=600.0,
    pause_s=1.0,
    pause_max_s=2.0,
)
WAIT_PROTOCOLS = Step(
    "answer",
    "Its services answer",
    wait_protocols,
    no_undo="asking changes nothing",
    timeout_s=300.0,
    patience=lambda context: float(context.machine().health.get("timeout_s", 0.0)),
    pause_s=1.0,
    pause_max_s=3.0,
)

STEPS: tuple[Step, ...] = (
    Step("place", "Choose a host and claim", _place, undo=_release, timeout_s=30.0),
    Step(
        "awake",
        "Wait until its host is awake",
        _host_awake,
        no_undo="a host that woke stays awake until rounds or a person say otherwise",
        # Each waking has an end of its own, after which the next host is woken: this only ends what never does.
        timeout_s=WAKES_S,
        pause_s=1.0,
    ),
    Step(
        "network",
        "Cell network on the host",
        ensure_network,
        no_undo="the cell's network serves other machines too",
    ),
    Step("filter", "Firewall", ensure_filter, undo=remove_filter),
    Step(
        "image",
        "Template image on the host",
        _upload_image,
        no_undo="verified images are kept for the next machine",
        timeout_s=900.0,
    ),
    Step("disk", "Disk", _overlay, undo=_unmake_overlay),
    Step("define", "Define the machine", _define, undo=undefine),
    Step("start", "Start", power_on, undo=_power_off),
    WAIT_AGENT,
    Step(
        "config",
        "Devices and access rights",
        deliver.deliver_config_if_agent,
        no_undo="it lies on the disk that is removed",
        timeout_s=180.0,
    ),
    Step(
        "program",
        "Control program",
        _program,
        no_undo="it lies on the disk that is removed",
        timeout_s=300.0,
    ),
    WAIT_PROTOCOLS,
)
