"""Moving a machine to another host: prepared, copied, verified over there, cleared away here.

One that is off is not copied: see `definition`.

Until the copy has arrived the machine is the source's, afterwards the destination's; between the two
both hosts are asked. The store's claims are held on both sides for as long as it is not certain.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from millwright.core.convergence import SCHEDULES, estimate_s
from millwright.core.lifecycle import MachineObserved, OperationKind, ServiceClass
from millwright.hypervisor import (
    DomainSpec,
    FilterSpec,
    Hypervisor,
    HypervisorError,
    JobInfo,
    MigrationSpec,
    NetworkSpec,
    NotFound,
    ProbeKind,
    Unsupported,
    VolumeOwner,
)

from .definition import arrived, is_off, move_definition
from .errors import Cancelled, NotYet, Question, StepFailed
from .flight import Flight, took
from .ports import MachineRecord, MoveRecord, MoveState
from .promised import check_nics, check_pins
from .provision import upload_image
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
from .whereabouts import Sight, Verdict, Whereabouts, look, seen, settled

MIB = 2**20
#: Seconds between two looks at a migration, and how long a silent host is borne before a person is asked.
POLL_S, SILENT_S = 1.0, 90.0
#: Into so many naps the time until the next look is divided.
NAPS = 50


def ends(context: Context) -> tuple[MoveRecord, Hypervisor, Hypervisor]:
    """The operation's move with its two hosts."""
    move = context.ports.store.move(context.operation.id)
    if move is None:
        raise StepFailed("nothing was claimed for the move")
    hosts = context.ports.hypervisors
    return move, hosts.get(move.source), hosts.get(move.destination)


def _target(context: Context, move: MoveRecord) -> MachineRecord:
    """The machine as it will be over there."""
    return replace(
        context.machine(),
        host=move.destination,
        assignment=move.assignment,
        generation=move.generation,
        abilities=move.abilities,
        gpus=move.gpus,
        vgpus=move.vgpus,
    )


# --- before ------------------------------------------------------------------------------------


def _prepare(context: Context) -> str:
    store = context.ports.store
    known, started, off = store.move(context.operation.id), None, False
    if known is None or known.state is MoveState.UNDONE:
        machine, host = context.host()
        wanted = context.operation.payload.get("destination")
        if wanted == machine.host:
            raise StepFailed(f"{machine.domain_name} is on {machine.host} already")
        off = is_off(host, machine)
        if not off:
            if machine.gpus or machine.vgpus:
                raise StepFailed(
                    f"{machine.domain_name} has a graphics card of {machine.host}: it cannot be moved while it runs"
                )
            # With what it was started it has to go on: asked now, since it may have started anew since anybody looked.
            with contextlib.suppress(Unsupported):
                started = host.guest_cpu(context.machine_id)
    move = store.prepare_move(
        context.operation.id,
        context.machine_id,
        context.operation.payload.get("destination"),
        started=started,
        off=off,
    )
    own = sorted(move.assignment.claimed)
    cpus = f", CPU {', '.join(map(str, own))} of its own" if own else ""
    disks = "shared disks" if move.shared_storage else "disks are copied"
    if move.off:
        disks = "it is off"
    return f"{move.source} → {move.destination}{cpus}, generation {move.generation}, {disks}"


def _unprepare(context: Context) -> str:
    move = context.ports.store.move(context.operation.id)
    if move is None or move.state is MoveState.UNDONE:
        return "nothing was claimed"
    if move.state is MoveState.DONE:
        return f"it has moved: {move.destination} keeps it"
    move, source, destination = ends(context)
    found = settled(source, destination, context.machine_id, context.ports.clock)
    _require_not_over_there(found, move)
    context.ports.store.undo_move(context.operation.id, "the move was undone")
    return f"claims on {move.destination} given back"


def _require_not_over_there(found: Whereabouts, move: MoveRecord) -> None:
    """Before anything at the destination is taken away: nothing of the guest may live there."""
    if found.verdict is Verdict.UNKNOWN:
        raise NotYet(f"{move.source} and {move.destination} have to answer first")
    if found.destination in (Sight.RUNNING, Sight.HELD):
        raise StepFailed(
            f"a copy is {found.destination} on {move.destination}: its claims and files stay"
        )


def network_there(context: Context) -> str:
    """The machine's cell as a network of the destination."""
    move, _, destination = ends(context)
    machine = context.machine()
    if machine.network is None or machine.bridge is None:
        return "no network wanted"
    destination.ensure_network(NetworkSpec(name=machine.network, bridge=machine.bridge))
    return f"{machine.network} on {move.destination}"


def filter_there(context: Context) -> str:
    """Its firewall on the destination."""
    _, _, destination = ends(context)
    machine = context.machine()
    if machine.network is None:
        return "no network wanted"
    destination.ensure_filter(FilterSpec(name=filter_name(machine), flows=machine.flows))
    return f"{len(machine.flows)} registered pairs admitted, all else dropped"


def _unfilter(context: Context) -> str:
    move, _, destination = ends(context)
    if move.state is MoveState.DONE:
        return "it has moved: the firewall stays"
    return "removed" if destination.remove_filter(filter_name(context.machine())) else "none there"


def image_there(context: Context) -> str:
    """Its template's image on the destination."""
    move, _, destination = ends(context)
    if move.state is MoveState.DONE:
        return "present"
    machine = context.machine()
    said = upload_image(context, machine, destination)
    if move.shared_storage:
        # Its disk was made by the other host.
        destination.refresh_pool(machine.pool)
    return said


def disk_there(context: Context) -> str:
    """Its disk on the destination, unless both hosts see the same."""
    move, _, destination = ends(context)
    machine = _target(context, move)
    if machine.image.disk is None:
        return "it has no disk"
    if move.shared_storage:
        return "both hosts see the same disk"
    if move.state is MoveState.DONE:
        return "it has moved"
    made = destination.ensure_overlay(
        machine.pool,
        overlay_volume(machine),
        base=disk_volume(machine.image),
        capacity_bytes=max(machine.disk_bytes, machine.image.disk_virtual_bytes),
        owner=VolumeOwner(site=machine.site, machine=str(machine.id), generation=move.generation),
    )
    return made_disk(destination, machine, made)


def _undisk(context: Context) -> str:
    move, source, destination = ends(context)
    if move.state is MoveState.DONE or move.shared_storage:
        return "the disk stays"
    found = settled(source, destination, context.machine_id, context.ports.clock)
    _require_not_over_there(found, move)
    # Refused by the driver, once more, if a domain there uses it.
    gone = remove_disk(destination, context.machine(), of=move.generation)
    return "removed" if gone else "there was none"


def spec_there(
    context: Context, move: MoveRecord, destination: Hypervisor
) -> tuple[DomainSpec, tuple[str, ...]]:
    """The domain as it shall be over there, and what its host cannot give."""
    target = _target(context, move)
    names = [kernel_volume(target.image), initrd_volume(target.image)]
    paths = []
    for name in names:
        info = destination.volume(target.pool, name)
        if info is None:
            raise StepFailed(f"volume {name} is missing on {move.destination}")
        paths.append(info.path)
    if target.image.disk is not None:
        disk = disk_on(destination, target)
        if disk is None or not disk.present:
            raise StepFailed(f"volume {overlay_volume(target)} is missing on {move.destination}")
        paths.append(disk.path)
    return domain_spec(
        target,
        context.operation.id,
        kernel=paths[0],
        initrd=paths[1],
        disk=paths[2] if len(paths) > 2 else None,
    )


# --- the move itself -----------------------------------------------------------------------------


def stands_still(machine: MachineRecord) -> bool:
    """Whether a move copies the machine while it stands still.

    An emulator does not see all that a guest writes while its memory is copied: a controller's kernel has been found
    with a corrupted stack after such a move. Who promises no timing loses nothing by a pause.
    """
    emulated = str(ProbeKind.KVM) not in machine.abilities
    return emulated and machine.service_class == ServiceClass.REALTIME


def _move(context: Context) -> str:
    move, source, destination = ends(context)
    if move.state is MoveState.DONE:
        return "it had arrived"
    if move.off:
        return move_definition(
            context, move, source, destination, lambda: spec_there(context, move, destination)[0]
        )
    mover = _Mover(context, move, source, destination)
    return mover.run()


class _Mover:
    """One try of the move: looks at both hosts, starts a migration or joins the one there is, steers it."""

    def __init__(
        self, context: Context, move: MoveRecord, source: Hypervisor, destination: Hypervisor
    ) -> None:
        self.context, self.move, self.source, self.destination = context, move, source, destination
        self.clock = context.ports.clock
        self.machine = context.machine()
        self.schedule = SCHEDULES[ServiceClass(self.machine.service_class)]
        self.flight: Flight | None = None
        self.stage = self.schedule.at(0)
        self.ended = ""
        self.last: tuple[float, int] | None = None

    def run(self) -> str:
        silent_since: float | None = None
        while True:
            self.context.ports.fence()
            found = settled(
                self.source, self.destination, self.context.machine_id, self.clock, self._flying
            )
            if found.verdict is Verdict.UNKNOWN:
                silent_since = self._bear(found, silent_since)
                continue
            silent_since = None
            if found.verdict is Verdict.ON_DESTINATION and not self._flying():
                return self._arrived()
            if found.verdict is Verdict.IN_FLIGHT and found.job is not None:
                self._steer(found.job)
            elif found.verdict is Verdict.ON_SOURCE and not self._flying():
                self._depart()
            elif found.verdict in (Verdict.BOTH, Verdict.NEITHER) and not self._flying():
                self._ask(found)
            self._wait()

    def _flying(self) -> bool:
        return self.flight is not None and self.flight.flying

    def _wait(self) -> None:
        if self.flight is not None:
            self.flight.wait(0.01)
        # In short steps: what has arrived is verified at once, not at the next look.
        for _ in range(NAPS):
            if self.flight is None or self._flying():
                self.clock.sleep(POLL_S / NAPS)

    def _bear(self, found: Whereabouts, since: float | None) -> float:
        now = self.clock.now()
        since = now if since is None else since
        silent = [
            name
            for name, seen in (
                (self.move.source, found.source),
                (self.move.destination, found.destination),
            )
            if seen is Sight.SILENT
        ]
        if now - since > SILENT_S and not self._flying():
            # The machine may run on the silent host: nothing is started, nothing is given back.
            raise Question(
                f"{' and '.join(silent)} does not answer; {self.machine.domain_name} may run there. "
                "It goes on by itself as soon as the host answers.",
                {},
            )
        self.context.say(f"{' and '.join(silent)} does not answer; waiting for it")
        self.clock.sleep(POLL_S)
        return since

    def _depart(self) -> None:
        """Start the migration, unless this try's has ended without arriving."""
        if self.flight is not None:
            raise self._why_not()
        self._check_cancelled()
        if self.machine.autostart:
            # Should the source die and come back half-way, it must not start its copy by itself.
            self.source.set_autostart(self.context.machine_id, False)
        spec, _ = spec_there(self.context, self.move, self.destination)
        first = self.schedule.at(0)
        how = MigrationSpec(
            live=not stands_still(self.machine),
            copy_storage=not self.move.shared_storage and self.machine.image.disk is not None,
            auto_converge=self.schedule.auto_converge,
            bandwidth_bytes_s=self._bandwidth(first.bandwidth_bytes_s),
            max_downtime_ms=first.max_downtime_ms,
            # Ours ends it: the driver's own limit is the last resort.
            timeout_s=self.schedule.abort_s + 120.0,
        )
        self.flight = Flight(
            lambda: self.source.migrate(self.context.machine_id, self.destination, spec, how)
        )

    def _why_not(self) -> Exception:
        """The error of a migration that is over with the guest still at its source."""
        assert self.flight is not None  # noqa: S101 - the caller has looked
        error = self.flight.error
        if self.ended:
            return Cancelled(self.ended) if "cancel" in self.ended else StepFailed(self.ended)
        if isinstance(error, HypervisorError) and error.retryable:
            return NotYet(f"the migration was interrupted: {error}")
        if error is None:
            return NotYet("the migration ended and the machine is where it was")
        return StepFailed(f"the migration failed: {error}")

    def _bandwidth(self, stage: int | None) -> int | None:
        asked = self.context.operation.payload.get("bandwidth_bytes_s")
        known = [int(value) for value in (stage, asked) if value]
        return min(known) if known else None

    def _check_cancelled(self) -> None:
        if self.context.ports.store.cancel_requested(self.context.operation.id):
            raise Cancelled("cancelled by request")

    def _steer(self, job: JobInfo) -> None:
        """Progress for people, the next stage of the schedule, or the end of trying."""
        elapsed_s = job.elapsed_ms / 1000
        self._say(job)
        cancelled = self.context.ports.store.cancel_requested(self.context.operation.id)
        if cancelled or elapsed_s > self.schedule.abort_s:
            dirty = f", memory is written at {_rate(job.dirty_rate_bytes_s)}"
            self.ended = (
                "cancelled by request"
                if cancelled
                else f"it did not converge within {self.schedule.abort_s:.0f} s: "
                f"{job.remaining_bytes // MIB} MiB are left{dirty if job.dirty_rate_bytes_s else ''}"
            )
            with contextlib.suppress(NotFound):
                self.source.abort_job(self.context.machine_id)
            if self.flight is None:
                # Another process's migration, ended by this one.
                self.flight = Flight(lambda: None)
            return
        stage = self.schedule.at(elapsed_s)
        if stage != self.stage:
            # Not found: it has arrived since both hosts were asked, which the next look sees.
            with contextlib.suppress(NotFound):
                self.source.tune_migration(
                    self.context.machine_id,
                    max_downtime_ms=stage.max_downtime_ms,
                    bandwidth_bytes_s=self._bandwidth(stage.bandwidth_bytes_s),
                )
            self.stage = stage

    def _say(self, job: JobInfo) -> None:
        rate = None
        if self.last is not None and job.elapsed_ms / 1000 > self.last[0]:
            span = job.elapsed_ms / 1000 - self.last[0]
            rate = max(0.0, (job.processed_bytes - self.last[1]) / span)
        self.last = (job.elapsed_ms / 1000, job.processed_bytes)
        done = 100 * (job.total_bytes - job.remaining_bytes) // max(1, job.total_bytes)
        words = [f"{max(0, min(100, done))} %"]
        if rate is not None:
            words.append(_rate(rate))
            left = estimate_s(job.remaining_bytes, rate, job.dirty_rate_bytes_s)
            words.append("not converging" if left is None else f"about {left:.0f} s left")
        if job.dirty_rate_bytes_s is not None:
            words.append(f"memory written at {_rate(job.dirty_rate_bytes_s)}")
        words.append(f"pause allowed {self.stage.max_downtime_ms} ms")
        self.context.say(", ".join(words))

    def _ask(self, found: Whereabouts) -> None:
        """A person decides; what he chose is done here, and the hosts are asked again."""
        name, here, there = self.machine.domain_name, self.move.source, self.move.destination
        answer = self.context.answer()
        uuid = self.context.machine_id
        if found.verdict is Verdict.BOTH:
            if answer == "keep_source":
                self.destination.destroy(uuid)
                self.destination.undefine(uuid)
                return
            if answer == "keep_destination":
                self.source.set_autostart(uuid, False)
                self.source.destroy(uuid)
                return
            raise Question(
                f"{name} runs on both {here} and {there}. Which one is to go on? The other one loses its power.",
                {
                    "keep_source": f"Keep the one on {here}",
                    "keep_destination": f"Keep the one on {there}",
                },
            )
        if answer == "start_source" and found.source in (Sight.OFF, Sight.HELD):
            if found.destination in (Sight.HELD, Sight.OFF):
                self.destination.destroy(uuid)
                self.destination.undefine(uuid)
            if found.source is Sight.HELD:
                self.source.resume(uuid)
            else:
                self.source.start(uuid, generation=self.machine.generation)
            self.ended = f"it stopped while it moved and was started on {here} again"
            self.flight = self.flight or Flight(lambda: None)
            return
        if answer == "leave_off":
            if found.source is Sight.HELD:
                self.source.destroy(uuid)
            if found.destination is not Sight.ABSENT:
                self.destination.destroy(uuid)
                self.destination.undefine(uuid)
            self.context.ports.store.observed(
                uuid, MachineObserved.STOPPED, "stopped while it moved", self.context.operation.id
            )
            raise StepFailed(f"it stopped while it moved, and was left off on {here}")
        raise Question(
            f"{name} runs neither on {here} ({found.source}) nor on {there} ({found.destination}). "
            "It stopped while it moved. What is to be done?",
            {"start_source": f"Start it on {here} again", "leave_off": "Leave it off"},
        )

    def _arrived(self) -> str:
        """Its pause and duration, as the destination measured them; then the claims change hands."""
        result = self.flight.result if self.flight is not None else None
        if result is None:
            result = self.destination.migrated(self.context.machine_id)
        store = self.context.ports.store
        store.complete_move(
            self.context.operation.id,
            elapsed_ms=result.elapsed_ms if result else None,
            downtime_ms=result.downtime_ms if result else None,
            transferred_bytes=result.transferred_bytes if result else None,
        )
        if result is None:
            return f"runs on {self.move.destination}"
        return took(self.move.destination, result)


def _rate(bytes_s: float | None) -> str:
    return f"{(bytes_s or 0) / MIB:.1f} MiB/s"


def _move_back(context: Context) -> str:
    """Undone only if it has not arrived: a machine that runs over there is left in peace."""
    move, source, destination = ends(context)
    if move.state is MoveState.DONE:
        return f"it has moved: it stays on {move.destination}"
    if move.off and arrived(context, move, source, destination):
        return f"its definition is on {move.destination}: it stays there"
    found = settled(source, destination, context.machine_id, context.ports.clock)
    if found.verdict is Verdict.IN_FLIGHT:
        source.abort_job(context.machine_id)
        raise NotYet("the migration is being ended")
    _require_not_over_there(found, move)
    if found.source is Sight.ABSENT:
        raise StepFailed(f"neither host knows {context.machine().domain_name}")
    source.set_autostart(context.machine_id, context.machine().autostart)
    # A definition without a guest may be left of a half that never ran.
    destination.undefine(context.machine_id)
    return f"{found.source} on {move.source}"


# --- after ---------------------------------------------------------------------------------------


def verify_there(context: Context) -> str:
    """What was promised, read back from the destination: pins, generation, address, firewall."""
    move, _, destination = ends(context)
    machine = context.machine()
    info = destination.domain(context.machine_id)
    if info is None:
        raise StepFailed(f"{move.destination} knows no {machine.domain_name}")
    if info.metadata is None or info.metadata.generation != move.generation:
        found = info.metadata.generation if info.metadata else "none"
        raise StepFailed(f"generation {found} in place of {move.generation}")
    check_pins(destination, machine, move.assignment, context)
    check_nics(info.xml, machine)
    # It came with the machine; whether the host still had it as it should be is told, not only mended.
    repaired = machine.network is not None and destination.ensure_filter(
        FilterSpec(name=filter_name(machine), flows=machine.flows)
    )
    if info.autostart != machine.autostart:
        destination.set_autostart(context.machine_id, machine.autostart)
    _, words = spec_there(context, move, destination)
    context.ports.store.shortfalls(context.machine_id, words)
    context.ports.store.observed(
        context.machine_id,
        MachineObserved.STOPPED if seen(info) is Sight.OFF else MachineObserved.RUNNING,
        f"{'recovered' if context.operation.kind == OperationKind.RECOVER else 'moved'} from {move.source}",
        context.operation.id,
    )
    if repaired:
        return "pins and address as claimed; the firewall was another and has been set again"
    return "pins, address and firewall as claimed"


def _clean(context: Context) -> str:
    """What is left at the source: definition, firewall, disk. It holds nothing that is still of use."""
    move, source, destination = ends(context)
    machine = context.machine()
    found = look(source, destination, context.machine_id)
    if found.destination is not Sight.RUNNING and not (move.off and found.destination is Sight.OFF):
        raise StepFailed(
            f"{machine.domain_name} is {found.destination} on {move.destination}: what is on "
            f"{move.source} is not touched"
        )
    if found.source is Sight.SILENT:
        raise NotYet(f"{move.source} does not answer")
    if found.source is not Sight.ABSENT:
        if not move.off:
            source.destroy(context.machine_id)
        source.undefine(context.machine_id)
    source.remove_filter(filter_name(machine))
    if machine.image.disk is not None and not move.shared_storage:
        # Of an earlier placement than the one that moved here: never what lies at the destination.
        remove_disk(source, machine, before=move.generation)
    return f"{move.source} is clear of it"


STEPS: tuple[Step, ...] = (
    Step("prepare", "Claim at the destination", _prepare, undo=_unprepare),
    Step(
        "network", "Cell network on the destination", network_there, no_undo="other machines use it"
    ),
    Step("filter", "Firewall on the destination", filter_there, undo=_unfilter),
    Step(
        "image",
        "Template image on the destination",
        image_there,
        no_undo="verified images are kept for the next machine",
        timeout_s=900.0,
    ),
    Step("disk", "Disk on the destination", disk_there, undo=_undisk),
    Step("move", "Move", _move, undo=_move_back, timeout_s=300.0, cancels=False),
    Step(
        "verify",
        "Pins, address and firewall",
        verify_there,
        no_undo="looking changes nothing",
        cancels=False,
    ),
    Step(
        "clean",
        "Clear the source",
        _clean,
        no_undo="the machine does not live there any more",
        timeout_s=3600.0,
        pause_max_s=30.0,
        cancels=False,
    ),
)
