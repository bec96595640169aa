"""A past for the ledger: what the watcher and the probes would have written, at given seconds."""

from __future__ import annotations

import datetime as dt

from millwright.environments import actions as environments
from millwright.environments.models import Environment, Machine, StateTransition

from tests.support.plant import Plant

#: Noon of a day in the middle of a month, with nothing after it.
NOON = dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC)


def second(number: float) -> dt.datetime:
    """So many seconds after NOON."""
    return NOON + dt.timedelta(seconds=number)


def machine_of(plant: Plant, name: str = "filling-line-1") -> Machine:
    """A machine on the first host, of an environment that has not run yet."""
    made = environments.create_request(plant.engineer, **plant.request_fields(name))
    environments.approve_request(plant.approver, environments.submit_request(plant.engineer, made))
    machine = Machine.objects.get(environment__name=name)
    Machine.objects.filter(pk=machine.pk).update(host=plant.hosts[0])
    machine.refresh_from_db()
    return machine


def write(
    subject: Machine | Environment | object, at: float | dt.datetime, after: str, **also: str
) -> StateTransition:
    """One transition; `aspect` says of what."""
    kind = subject._meta.model_name  # type: ignore[attr-defined]
    return StateTransition.objects.create(
        at=at if isinstance(at, dt.datetime) else second(at),
        subject_type=kind,
        subject_id=str(subject.pk),  # type: ignore[attr-defined]
        subject_name=str(subject)[:120],
        aspect=also.get("aspect", "observed" if kind == "machine" else "state"),
        before=also.get("before", ""),
        after=after,
        cause=also.get("cause", ""),
    )


def put_in_service(machine: Machine, at: float | dt.datetime = 0) -> None:
    """Running, the machine and its environment."""
    write(machine, at, "running")
    write(machine.environment, at, "running")
    Environment.objects.filter(pk=machine.environment_id).update(state="running")
    Machine.objects.filter(pk=machine.pk).update(observed="running")
