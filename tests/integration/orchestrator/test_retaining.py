"""Copies of retained values: which are taken and kept, of whom, and that nothing older takes a newer one's place."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from millwright.audit.models import AuditEntry
from millwright.environments.models import Machine, Operation
from millwright.hypervisor import AgentUnavailable, DeadlineExceeded, HostUnreachable, NotFound
from millwright.orchestrator import retaining
from millwright.orchestrator.metrics import not_copied
from millwright.orchestrator.retaining import Retaining
from millwright.orchestrator.store import DjangoStore
from millwright.settings import Settings, SettingsError
from millwright.settings.settings import read_settings
from millwright.shopfloor import retained as copies
from millwright.shopfloor.models import Deployment, Program, ProgramVersion, RetainedCopy

from industrial.package import unpack
from industrial.runtime.retained import RetainedError
from tests.support.plant import Plant, serving
from tests.support.retained import LAYOUT, number_in, retained

NOW = dt.datetime(2020, 11, 27, 14, 3, 7, tzinfo=dt.UTC)


def seconds(n: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=n)


@pytest.fixture
def machine(plant: Plant) -> Machine:
    """A controller that runs on the first host."""
    made = serving(plant, modbus=502)
    Machine.objects.update(generation=1)
    made.refresh_from_db()
    return made


def asked() -> copies.Asked:
    (found,) = copies.due()
    return found


def numbers() -> list[int]:
    """What the kept copies hold, newest first."""
    return [number_in(bytes(row.data)) for row in RetainedCopy.objects.all()]


def keep(number: int, at: float, **more: Any) -> bool:
    data = retained(number, scan=int(at), saved_ns=int(at * 1e9), **more)
    return copies.keep(asked(), data, seconds(at))


def test_the_last_three_states_are_kept_and_the_machine_says_of_when(machine: Machine) -> None:
    for n in range(5):
        assert keep(n, 60 * n)
    assert numbers() == [4, 3, 2]
    machine.refresh_from_db()
    assert machine.retained_as_of == seconds(240)


def test_values_that_stay_take_no_row_and_are_as_new_as_their_save(machine: Machine) -> None:
    assert keep(7, 60)
    assert keep(7, 120)
    (row,) = RetainedCopy.objects.all()
    assert (row.as_of, row.scan) == (seconds(120), 120)
    # Nothing has been saved since: the process may stand still, and the copy is as old as it was.
    assert not copies.keep(asked(), retained(7, scan=120, saved_ns=120 * 10**9), seconds(180))
    assert Machine.objects.get().retained_as_of == seconds(120)


def test_an_answer_that_was_overtaken_is_not_kept(machine: Machine) -> None:
    assert keep(8, 120)
    assert not keep(7, 60)
    assert numbers() == [8]


def test_what_was_asked_of_an_earlier_placement_is_not_kept(machine: Machine) -> None:
    before = asked()
    assert keep(9, 60)
    # Rebuilt elsewhere meanwhile; the old host's answer arrives late.
    Machine.objects.update(generation=2)
    assert not copies.keep(before, retained(10, scan=99, saved_ns=5), seconds(70))
    assert keep(2, 80)
    assert numbers() == [2, 9]
    # Nor one from a host that it has left.
    other = copies.Asked(before.machine, before.host_id + 10**6, "gone", 2)
    assert not copies.keep(other, retained(11, scan=98, saved_ns=6), seconds(90))


def test_a_copy_that_was_given_back_and_has_not_run_is_as_old_as_it_was(machine: Machine) -> None:
    assert keep(7, 60)
    Machine.objects.update(generation=2)
    assert copies.keep(asked(), retained(7, scan=60, saved_ns=60 * 10**9), seconds(500))
    assert [(row.generation, row.as_of) for row in RetainedCopy.objects.all()] == [
        (2, seconds(60)),
        (1, seconds(60)),
    ]
    assert Machine.objects.get().retained_as_of == seconds(60)


def test_a_rebuild_that_made_no_use_of_the_copies_leaves_the_newest(machine: Machine) -> None:
    for n in range(3):
        keep(n, 60 * n)
    for generation in (2, 3):
        # It began with initial values, and goes on with those.
        Machine.objects.update(generation=generation)
        for n in range(5):
            keep(10 * generation + n, 1000 * generation + 60 * n)
    assert numbers() == [34, 33, 32, 24]
    Machine.objects.update(generation=4)
    offered = copies.usable(Machine.objects.get())
    assert [row.generation for row in offered] == [3, 3, 3, 2]


def test_a_copy_that_a_clock_put_into_the_future_does_not_end_copying(machine: Machine) -> None:
    year = dt.timedelta(days=365)
    first = retained(6, scan=1, saved_ns=1)
    ahead = retained(7, scan=2, saved_ns=2)
    assert copies.keep(asked(), first, seconds(0))
    assert copies.keep(asked(), ahead, dt.datetime.now(dt.UTC) + year)
    assert numbers() == [7, 6]
    # Put right: the same file is taken anew, of now.
    assert copies.keep(asked(), ahead, seconds(60))
    assert [row.as_of for row in RetainedCopy.objects.all()] == [seconds(60), seconds(0)]
    assert Machine.objects.get().retained_as_of == seconds(60)
    assert keep(8, 120)
    assert numbers() == [8, 7, 6]
    # One of an earlier placement is in nobody's way, and stays to be given back.
    RetainedCopy.objects.update(as_of=dt.datetime.now(dt.UTC) + year)
    Machine.objects.update(generation=2)
    assert keep(9, 180)
    assert numbers()[0] == 9
    assert RetainedCopy.objects.filter(generation=1).count() == 2


def test_what_is_damaged_on_the_way_takes_no_copys_place(machine: Machine) -> None:
    assert keep(7, 60)
    with pytest.raises(RetainedError, match="damaged"):
        copies.keep(asked(), retained(8)[:-1] + b"\xff", seconds(120))
    assert numbers() == [7]


# --- who is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda: Machine.objects.update(observed="unknown"),
        lambda: Machine.objects.get().host.__class__.objects.update(health="suspect"),
        lambda: Operation.objects.update(state="running", machine=Machine.objects.get()),
        lambda: _outputs({"http": 80}),
    ],
    ids=["unknown", "host", "busy", "no controller"],
)
def test_nobody_else_is_asked(machine: Machine, change: Callable[[], Any]) -> None:
    assert asked().machine == machine.pk
    change()
    assert copies.due() == []


def _outputs(outputs: dict[str, int]) -> None:
    version = Machine.objects.get().template_version
    version.spec["outputs"] = outputs
    version.save()


def test_the_oldest_copy_comes_first(machine: Machine) -> None:
    first = Machine.objects.get()
    second = Machine.objects.get()
    second.pk, second.name = uuid4(), "second"
    second.save(force_insert=True)
    Machine.objects.filter(pk=first.pk).update(retained_as_of=seconds(60))
    assert [row.machine for row in copies.due()] == [second.pk, first.pk]
    Machine.objects.filter(pk=second.pk).update(retained_as_of=seconds(120))
    assert [row.machine for row in copies.due()] == [first.pk, second.pk]


class Agents:
    """Hosts whose guests' agents answer with a file, or fail."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[UUID] = []

    def get(self, _host: str) -> Any:
        return self

    def agent_read_file(self, uuid: UUID, path: str, *, max_bytes: int, deadline_s: float) -> bytes:
        assert path == "/var/lib/vplc/retain/retain.bin"
        assert max_bytes >= 256 << 10
        self.asked.append(uuid)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def shared(transactional_db: None, plant: Plant) -> Machine:
    """As `machine`, seen by the threads of rounds."""
    made = serving(plant, modbus=502)
    Machine.objects.update(generation=1)
    return made


def test_a_guest_that_does_not_answer_is_left_alone_for_longer_and_longer(shared: Machine) -> None:
    agents = Agents(AgentUnavailable("silent"))
    rounds = Retaining(agents, 60, threading.Event())
    told = []
    for _ in range(20):
        before = len(agents.asked)
        assert rounds.round() == 0
        told.append(len(agents.asked) - before)
    assert told == [1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert rounds.failing() == {shared.pk}
    service = SimpleNamespace(retaining=rounds)
    (family,) = not_copied(cast(Any, service))
    assert [sample.labels for sample in family.samples] == [
        {"environment": shared.environment.name, "machine": shared.name}
    ]
    agents.answers = [retained(7)]
    while not rounds.round():
        assert len(agents.asked) < 10
    assert numbers() == [7]
    assert rounds.failing() == frozenset()
    (family,) = not_copied(cast(Any, service))
    assert family.samples == []


def test_what_is_not_asked_any_more_does_not_fail_any_more(shared: Machine) -> None:
    rounds = Retaining(Agents(AgentUnavailable("silent")), 60, threading.Event())
    rounds.round()
    assert rounds.failing() == {shared.pk}
    Machine.objects.update(observed="stopped")
    rounds.round()
    assert rounds.failing() == frozenset()


def test_a_controller_without_retained_values_is_asked_each_round(shared: Machine) -> None:
    agents = Agents(NotFound("no such file"))
    rounds = Retaining(agents, 60, threading.Event())
    for _ in range(3):
        assert rounds.round() == 0
    assert len(agents.asked) == 3


def test_a_host_that_fails_ends_its_round_and_a_busy_one_is_left_out(shared: Machine) -> None:
    other = Machine.objects.get()
    other.pk, other.name = uuid4(), "second"
    other.save(force_insert=True)
    agents = Agents(HostUnreachable("gone"))
    rounds = Retaining(agents, 60, threading.Event())
    assert rounds.round() == 0
    assert len(agents.asked) == 1
    # Still at it: not asked a second time meanwhile.
    gate, begun = threading.Event(), threading.Event()

    def slow(_uuid: UUID, _path: str, **_more: Any) -> bytes:
        begun.set()
        assert gate.wait(60)
        raise NotFound("no such file")

    agents.agent_read_file = slow  # type: ignore[method-assign]
    working = Retaining(agents, 0.01, threading.Event())
    assert working.round() == 0
    assert begun.wait(60)
    first = dict(working._busy)
    assert working.round() == 0
    assert working._busy == first
    gate.set()
    first.popitem()[1].result(60)


@pytest.mark.parametrize("error", [DeadlineExceeded("late"), RuntimeError("a disk is full")])
def test_one_that_ends_the_round_is_not_the_first_of_the_next(
    shared: Machine, error: Exception
) -> None:
    other = Machine.objects.get()
    other.pk, other.name = uuid4(), "second"
    other.save(force_insert=True)
    agents = Agents(error, retained(7))
    rounds = Retaining(agents, 60, threading.Event())
    assert rounds.round() == 0
    assert rounds.round() == 1
    first, second = agents.asked
    assert first != second


def more(count: int, name: str) -> list[UUID]:
    """Further controllers beside the first."""
    made = []
    for n in range(count):
        other = Machine.objects.filter(name="vplc").get()
        other.pk, other.name = uuid4(), f"{name}-{n}"
        other.save(force_insert=True)
        made.append(other.pk)
    return made


def test_guests_that_hang_keep_nobody_from_their_turn(shared: Machine) -> None:
    hung = more(4, "hung")
    healthy = {shared.pk, *more(2, "healthy")}
    Machine.objects.filter(pk__in=healthy).update(retained_as_of=NOW)
    questions: list[UUID] = []

    def answer(uuid: UUID, _path: str, **_more: Any) -> bytes:
        questions.append(uuid)
        if uuid in hung:
            raise DeadlineExceeded("late")
        return retained(7)

    agents = Agents(retained(7))
    agents.agent_read_file = answer  # type: ignore[method-assign]
    rounds = Retaining(agents, 60, threading.Event())
    for _ in hung:
        rounds.round()
    assert rounds.failing() == set(hung)
    for _ in range(20):
        questions.clear()
        rounds.round()
        # All of them, and before any that failed last; one of those at most.
        assert set(questions[:3]) == healthy
        assert len(questions) <= 4
    # Who answers again is among them.
    back = hung.pop()
    for _ in range(40):
        rounds.round()
    assert rounds.failing() == set(hung)
    assert RetainedCopy.objects.filter(machine=back).exists()


def test_values_that_stay_do_not_come_first_for_ever(
    shared: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = more(1, "second")
    monkeypatch.setattr(retaining, "MOST", 1)
    agents = Agents(retained(7))
    rounds = Retaining(agents, 60, threading.Event())
    for _ in range(6):
        rounds.round()
    assert agents.asked.count(other) == agents.asked.count(shared.pk) == 3


def test_a_round_has_its_bounds(shared: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        other = Machine.objects.filter(name="vplc").get()
        other.pk, other.name = uuid4(), f"more-{n}"
        other.save(force_insert=True)
    agents = Agents(retained(7))
    with monkeypatch.context() as patch:
        patch.setattr(retaining, "MOST", 2)
        assert Retaining(agents, 60, threading.Event()).round() == 2
        # The others have no copy yet: it is their turn.
        assert Retaining(agents, 60, threading.Event()).round() == 2
    assert len(set(agents.asked)) == 4
    with monkeypatch.context() as patch:
        patch.setattr(retaining, "ROUND_BYTES", 100)
        agents.answers = [retained(8, scan=2)]
        assert Retaining(agents, 60, threading.Event()).round() == 2


def test_told_not_to_it_takes_none(shared: Machine) -> None:
    agents = Agents(retained(7))
    Retaining(agents, 0, threading.Event()).run()
    assert agents.asked == []


def test_a_period_that_leaves_no_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().retained_copy_s == 60
    for wrong, words in (("3", "0 or at least 5"), ("-1", "greater"), ("4000", "less")):
        monkeypatch.setenv("MILLWRIGHT_RETAINED_COPY_S", wrong)
        with pytest.raises(SettingsError, match="MILLWRIGHT_RETAINED_COPY_S='") as told:
            read_settings()
        assert words in str(told.value)


# --- what an operation is offered ----------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> DjangoStore:
    return DjangoStore("plant", Ed25519PrivateKey.generate(), tmp_path)


def _recovers(machine: Machine, **payload: Any) -> Operation:
    Machine.objects.update(generation=2)
    return Operation.objects.create(
        kind="recover", state="running", machine=machine, environment=machine.environment,
        project=machine.environment.project, payload=payload,
    )  # fmt: skip


def test_copies_are_offered_newest_first_with_their_age_and_signed(
    machine: Machine, store: DjangoStore
) -> None:
    for n in range(3):
        keep(n, 60 * n)
    operation = _recovers(machine, lost_at=seconds(162).isoformat())
    offers = store.retained_offers(operation.pk, machine.pk)
    assert [row.before_loss_s for row in offers] == [42.0, 102.0, 162.0]
    assert offers == store.retained_offers(operation.pk, machine.pk)
    bundle = unpack(offers[0].bundle, [store._key.public_key()])
    assert (bundle.manifest.kind, list(bundle.files)) == ("retain", ["retain.bin"])
    assert number_in(bundle.files["retain.bin"]) == 2
    # A copy of the placement that is there now is of a disk that is there.
    Operation.objects.update(state="succeeded")
    assert keep(9, 200)
    assert len(store.retained_offers(operation.pk, machine.pk)) == 2


def test_variables_go_along_where_the_program_has_another_layout(
    machine: Machine, plant: Plant, store: DjangoStore
) -> None:
    keep(7, 60)
    program = Program.objects.create(project=plant.project, name="press")
    old, new = (
        ProgramVersion.objects.create(
            program=program, number=n, files={}, state="ready", uploaded_by=plant.engineer,
            symbols={"layout_hash": layout, "symbols": []},
        )
        for n, layout in ((1, LAYOUT), (2, "2" * 64))
    )  # fmt: skip

    def parts(version: ProgramVersion) -> list[str]:
        operation = _recovers(machine, program_version=str(version.pk))
        (offer,) = store.retained_offers(operation.pk, machine.pk)
        return sorted(unpack(offer.bundle, [store._key.public_key()]).files)

    assert parts(old) == ["retain.bin"]
    # Nobody knows that this machine ever ran the one with that layout.
    assert parts(new) == ["retain.bin"]
    Deployment.objects.create(machine=machine, program_version=old, state="replaced")
    assert parts(new) == ["retain.bin", "symbols.json"]


def test_copies_are_offered_with_a_fixed_number_of_queries_and_no_symbols_are_searched(
    machine: Machine,
    plant: Plant,
    store: DjangoStore,
    django_assert_num_queries: Any,
    django_assert_max_num_queries: Any,
) -> None:
    program = Program.objects.create(project=plant.project, name="press")
    layouts = [str(n) * 64 for n in range(1, 4)]
    for n, layout in enumerate(layouts):
        keep(n, 60 * n, layout=layout)
        # Every version twice: the one that this machine ran, and one that it did not.
        for half in (0, 1):
            version = ProgramVersion.objects.create(
                program=program, number=2 * n + half, files={}, state="ready", uploaded_by=plant.engineer,
                symbols={"layout_hash": layout, "symbols": [], "half": half},
            )  # fmt: skip
            if half == 0:
                Deployment.objects.create(
                    machine=machine, program_version=version, state="replaced"
                )
    comes = ProgramVersion.objects.get(number=5)
    assert comes.layout_hash == layouts[2]
    operation = _recovers(machine, program_version=str(comes.pk))
    # Machine, operation, copies; which layouts there are, and those that are sent along.
    with django_assert_num_queries(5) as seen:
        offers = store.retained_offers(operation.pk, machine.pk)
    told = [unpack(row.bundle, [store._key.public_key()]).files for row in offers]
    assert [sorted(files) for files in told] == [
        ["retain.bin"],
        ["retain.bin", "symbols.json"],
        ["retain.bin", "symbols.json"],
    ]
    for files, layout in zip(told[1:], reversed(layouts[:2]), strict=True):
        symbols = json.loads(files["symbols.json"])
        assert (symbols["layout_hash"], symbols["half"]) == (layout, 0)
    looked = [query["sql"] for query in seen.captured_queries if "program" in query["sql"]]
    assert not [sql for sql in looked if "JSON" in sql.upper() or "->" in sql]
    RetainedCopy.objects.exclude(scan=120).delete()
    with django_assert_max_num_queries(5):
        assert len(store.retained_offers(operation.pk, machine.pk)) == 1


def test_damage_in_the_database_is_named(machine: Machine, store: DjangoStore) -> None:
    keep(7, 60)
    RetainedCopy.objects.update(data=retained(8))
    operation = _recovers(machine)
    (offer,) = store.retained_offers(operation.pk, machine.pk)
    assert offer.bundle == b""
    assert "the kept copy is damaged: SHA-256" in offer.wrong
    assert offer.before_loss_s is None


def test_the_operation_keeps_what_became_of_it_and_it_is_audited_once(
    machine: Machine, store: DjangoStore
) -> None:
    operation = _recovers(machine)
    for _ in range(2):
        store.retained_outcome(operation.pk, {"outcome": "given", "scan": 7})
    store.retained_outcome(operation.pk, {"result": "kept"})
    store.retained_outcome(operation.pk, {"outcome": "own"})
    operation.refresh_from_db()
    assert operation.result == {"retained": {"outcome": "given", "scan": 7, "result": "kept"}}
    entry = AuditEntry.objects.get(action="machine.retained")
    assert (entry.object_id, entry.details["scan"]) == (str(machine.pk), 7)
    assert entry.project == machine.environment.project


def test_copies_go_with_their_machines_disk(machine: Machine, store: DjangoStore) -> None:
    keep(7, 60)
    store.release(machine.pk)
    assert RetainedCopy.objects.count() == 0
    assert Machine.objects.get().retained_as_of is None
