"""Orchestrator processes that die by SIGKILL: the next one continues, a standby takes over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from django.db import connection
from millwright.environments.models import Operation
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor.models import ProgramVersion

from tests.support.orchestrator import OrchestratorProcess
from tests.support.plant import Plant, build_plant

SOURCE = "PROGRAM Main\nVAR x : INT; END_VAR\nx := x + 1;\nEND_PROGRAM\n"
Start = Callable[..., OrchestratorProcess]


@pytest.fixture
def plant(transactional_db: None) -> Plant:
    return build_plant()


@pytest.fixture
def start(plant: Plant, tmp_path: Path) -> Iterator[Start]:
    """Start a process; all share one home. At the end none is left."""
    home = tmp_path / "home"
    home.mkdir()
    # No host answers here, and none is asked: the inventory is not what this is about.
    for host in plant.hosts:
        host.delete()
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(closing(OrchestratorProcess(home, **how)))


def until(condition: Callable[[], bool], what: str, *processes: OrchestratorProcess) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"never: {what}\n" + "\n---\n".join(process.log() for process in processes))


def upload(plant: Plant) -> ProgramVersion:
    return shopfloor.upload_program(
        plant.engineer, plant.project, "filling", {"src/main.st": SOURCE}
    )


@pytest.mark.parametrize("standby", [False, True], ids=["restarted", "standby"])
def test_what_a_killed_orchestrator_began_is_finished_once(
    plant: Plant, start: Start, standby: bool
) -> None:
    first = start(dies_after="compile")
    until(lambda: first.active, "active", first)
    second = start() if standby else None
    version = upload(plant)
    until(lambda: first.killed, "killed", first)
    second = second or start()
    until(
        lambda: (
            ProgramVersion.objects.get(pk=version.pk).state == "ready"
            and Operation.objects.get().state == "succeeded"
        ),
        "finished",
        first,
        second,
    )
    step = Operation.objects.get().steps.get()
    # Begun by the dead one, run again by the other: at least once, and recorded once.
    assert (step.name, step.state, step.attempt) == ("compile", "succeeded", 2)
    assert second.active
    assert len(list((second.home / "bundles").iterdir())) == 1


def test_only_one_works_and_a_standby_waits(plant: Plant, start: Start) -> None:
    first = start()
    until(lambda: first.active, "active", first)
    second = start()
    version = upload(plant)
    until(lambda: ProgramVersion.objects.get(pk=version.pk).state == "ready", "compiled", first)
    assert second.alive
    assert not second.active
    first.kill()
    until(lambda: second.active, "taken over", second)
    again = shopfloor.upload_program(
        plant.engineer, plant.project, "filling", {"src/main.st": SOURCE + "\n"}
    )
    until(lambda: ProgramVersion.objects.get(pk=again.pk).state == "ready", "compiled", second)
    # The finished one was not run again.
    assert {row.steps.get().attempt for row in Operation.objects.all()} == {1}


def test_an_operation_goes_on_from_its_own_record_when_the_runners_is_lost(
    plant: Plant, start: Start
) -> None:
    first = start(dies_after="compile")
    until(lambda: first.active, "active", first)
    version = upload(plant)
    until(lambda: first.killed, "killed", first)
    if connection.vendor == "sqlite":
        files = list(first.home.glob("operations.sqlite3*"))
        assert files
        for file in files:
            file.unlink()
    else:
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA dbos CASCADE")
    second = start()
    until(lambda: Operation.objects.get().state == "succeeded", "finished from the record", second)
    assert ProgramVersion.objects.get(pk=version.pk).state == "ready"
