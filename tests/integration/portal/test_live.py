"""Open pages of environments: one look for all of them, events only for what changed and whom it may reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation
from millwright.accounts.models import Membership
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Operation
from millwright.gateway import GatewayError
from millwright.inventory.models import AddressClaim
from millwright.portal import board as boards
from millwright.portal.board import Page, allowed, fragments, marks_of
from millwright.portal.templatetags.mw import STATE_WORDS
from millwright.shopfloor import live
from millwright.shopfloor.live_many import ManyReader
from millwright.shopfloor.models import Deployment, Program, ProgramVersion

from tests.support.plant import Plant
from tests.support.tags import SYMBOLS

pytestmark = pytest.mark.django_db(transaction=True)
BACKEND = "django.contrib.auth.backends.ModelBackend"


class Gateway:
    """In place of the client: remembers what it was asked."""

    def __init__(self) -> None:
        self.level: Any = 40
        self.silent = False
        self.watched: set[str] = set()
        self.asked: list[dict[str, Any]] = []

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def look_tags(self, machines: dict[str, Any]) -> dict[str, Any]:
        if self.silent:
            raise GatewayError("silent")
        self.asked.append(machines)
        self.watched |= {machine for machine, tags in machines.items() if tags}
        return {
            machine: {"values": {"Main.level": self.level}, "age_s": 0.1, "error": ""}
            for machine in machines
            if machine in self.watched
        }


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    made = Gateway()
    monkeypatch.setattr(live, "gateway", lambda: made)
    return made


def _built(plant: Plant, name: str = "filling-line-1") -> Environment:
    made = actions.create_request(plant.engineer, **plant.request_fields(name))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    return Environment.objects.get(name=name)


def _running(plant: Plant, environment: Environment, last: int) -> Machine:
    program, _new = Program.objects.get_or_create(project=plant.project, name="filling")
    version, _new = ProgramVersion.objects.get_or_create(
        program=program,
        number=1,
        defaults={
            "files": {}, "state": "ready", "symbols": SYMBOLS, "uploaded_by": plant.engineer
        },
    )  # fmt: skip
    machine = environment.machines.get()
    Machine.objects.filter(pk=machine.pk).update(host=plant.hosts[0], observed="running")
    AddressClaim.objects.update_or_create(
        machine=machine, defaults={"cell": plant.cell, "address": f"10.90.1.{last}"}
    )
    Deployment.objects.create(machine=machine, program_version=version, state="active")
    return machine


def test_a_look_costs_the_same_for_one_page_and_for_many(plant: Plant, gateway: Gateway) -> None:
    for field in ("vcpus", "realtime_cores", "environments"):
        setattr(plant.project, f"quota_{field}", 90)
    plant.project.quota_memory_bytes = plant.project.quota_disk_bytes = 2**42
    plant.project.save()
    rows = [_built(plant, f"line-{n}") for n in range(4)]
    for n, row in enumerate(rows):
        _running(plant, row, 100 + n)
    costs = []
    for chosen in (rows[:1], rows):
        keys = {row.pk for row in chosen}
        reader = ManyReader()
        with CaptureQueriesContext(connection) as captured:
            marks = marks_of(keys)
            made = fragments({(key, language) for key in keys for language in ("en", "de")})
            targets = reader.targets(keys)
        costs.append(len(captured))
        assert set(marks) == keys
        assert len(made) == 2 * len(keys)
        with CaptureQueriesContext(connection) as captured:
            readings = reader.read(targets)
        assert len(captured) == 0
        assert len(readings) == len(keys)
    assert costs[0] == costs[1] <= 9
    # All machines in one question, described once.
    assert len(gateway.asked) == 2
    assert len(gateway.asked[-1]) == 4
    reader.read(targets)
    assert set(gateway.asked[-1].values()) == {None}


def test_marks_change_with_what_is_shown_and_only_then(plant: Plant) -> None:
    environment = _built(plant)
    operation = Operation.objects.get(environment=environment)
    operation.steps.create(position=0, name="place", title="Place")
    changes: list[Callable[[], Any]] = [
        lambda: operation.steps.update(state="running"),
        lambda: operation.steps.update(detail="on mw0-h1"),
        lambda: Operation.objects.update(state="running", progress="half"),
        lambda: Environment.objects.update(state_reason="because"),
        lambda: Environment.objects.update(state="running"),
    ]
    mark = marks_of({environment.pk})
    assert marks_of({environment.pk}) == mark
    for change in changes:
        change()
        now = marks_of({environment.pk})
        assert now != mark
        mark = now


def test_a_machine_that_the_gateway_forgot_is_described_again(
    plant: Plant, gateway: Gateway
) -> None:
    machine = _running(plant, _built(plant), 100)
    reader = ManyReader()
    targets = reader.targets({machine.environment_id})
    level = reader.read(targets)[machine.pk].rows[0]
    assert (level["path"], level["value"]) == ("Main.level", 40)
    gateway.watched.clear()
    assert machine.pk not in reader.read(targets)
    assert reader.read(targets)[machine.pk].rows[0]["value"] == 40
    gateway.silent = True
    assert str(reader.read(targets)[machine.pk].error) == "the gateway does not answer now"
    Machine.objects.update(observed="stopped")
    stopped = reader.read(reader.targets({machine.environment_id}))[machine.pk]
    assert str(stopped.error) == "the machine is not running"
    assert stopped.rows[0]["value"] is None


def test_who_signed_out_or_lost_the_right_is_sent_nothing_more(plant: Plant) -> None:
    environment = _built(plant)
    pages = {}
    for who in (plant.engineer, plant.operator):
        caller = Client()
        caller.force_login(who, backend=BACKEND)
        key = str(caller.session.session_key)
        pages[who.username] = Page(environment.pk, environment.name, who.pk, key, "en")
    engineer, operator = pages[plant.engineer.username], pages[plant.operator.username]
    both = {engineer, operator}
    assert allowed(both) == both
    Membership.objects.filter(user=plant.engineer).delete()
    assert allowed(both) == {operator}
    Session.objects.filter(session_key=operator.session).delete()
    assert allowed(both) == set()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(boards, "POLL_S", 0.02)
    yield
    assert boards.board._task is None


async def _until(events: AsyncIterator[bytes], *words: str) -> str:
    """The first event with all of the words."""
    met: list[str] = []
    try:
        async with asyncio.timeout(120):
            async for raw in events:
                met.append(raw.decode())
                if all(word in met[-1] for word in words):
                    return met[-1]
    except TimeoutError:
        raise AssertionError(f"{words} never came: {met[-3:]}") from None
    raise AssertionError(f"the stream ended before {words}")


@pytest.mark.usefixtures("quick")
def test_a_page_follows_steps_and_tags_in_its_language_until_the_right_is_gone(
    plant: Plant, gateway: Gateway
) -> None:
    machine = _running(plant, _built(plant), 100)

    with translation.override("de"):
        german = str(STATE_WORDS["reserved"])
    assert german != "reserved"

    async def look() -> None:
        caller = AsyncClient()
        await sync_to_async(caller.force_login)(plant.engineer, backend=BACKEND)
        url = reverse("portal:environment_events", args=["filling-line-1"])
        answer = await caller.get(url, headers={"accept-language": "de"})
        assert answer.status_code == 200
        events = aiter(answer.streaming_content)
        try:
            await _until(events, "event: steps", 'data-state="reserved"', german)
            await _until(events, "event: tags", str(machine.pk), ">40<")
            gateway.level = 55
            await _until(events, "event: tags", ">55<")
            await sync_to_async(Environment.objects.update)(state="degraded")
            await _until(events, "event: steps", 'data-state="degraded"')
            await sync_to_async(Membership.objects.all().delete)()
            async with asyncio.timeout(120):
                async for _event in events:
                    pass
        finally:
            await events.aclose()

    asyncio.run(look())
