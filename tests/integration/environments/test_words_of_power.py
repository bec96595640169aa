"""A host that is emptied so that it can sleep, falls asleep or wakes is called so wherever a person reads of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from millwright.balancing import asking, consolidating, draining, emptying
from millwright.balancing.models import HostDrain
from millwright.core.balancing import say
from millwright.core.lifecycle import HostPower
from millwright.environments.models import Machine
from millwright.inventory.models import Host

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_emptying import MINUTE, NOW, begun, quiet
from tests.integration.orchestrator.test_awaited import SLEEP, night, submitted
from tests.support.plant import Plant, signed_in

__all__ = ["machines", "night", "quiet"]

CONSOLIDATION = "/api/v1/recommendations/consolidation/"


def elsewhere(quiet: Host) -> Machine:
    """One of the machines, on the other host."""
    machine = Machine.objects.order_by("pk")[0]
    machine.host = Host.objects.exclude(pk=quiet.pk).get()
    machine.save(update_fields=("host",))
    return machine


def words(machine: Machine, host: Host) -> str:
    """What is said of the host, as the sentence that stands first."""
    (row,) = [row for row in asking.why_here(machine).hosts if row.host == host.name]
    return row.texts[0]


def test_why_it_is_here_says_whether_a_host_is_emptied_for_sleep_or_drained(
    plant: Plant, quiet: Host, client: Client
) -> None:
    begun(plant, quiet)
    machine = elsewhere(quiet)
    text = f"{quiet.name} takes nothing new: it is being emptied so that it can sleep"
    assert words(machine, quiet) == text
    # Of a machine that is there still the same.
    assert words(Machine.objects.get(host=quiet), quiet) == text
    client.force_login(plant.operator)
    told = client.get(f"/api/v1/machines/{machine.pk}/explain/", headers={"accept-language": "de"})
    (row,) = [row for row in told.json()["hosts"] if row["host"] == quiet.name]
    assert row["codes"] == ["host_state"]
    assert row["texts"] == [
        f"{quiet.name} nimmt nichts Neues auf: er wird geleert, damit er schlafen kann"
    ]
    assert row["facts"] == [{"code": "note.emptied", "facts": {"host": quiet.name}}]
    # A person takes it over for maintenance.
    draining.start(plant.operator, quiet, reason="new fan")
    assert words(machine, quiet) == f"{quiet.name} takes nothing new: it is being drained"


@pytest.mark.parametrize(
    ("power", "known", "unknown"),
    [
        ("asleep", "is asleep and can be woken in about 90 s", "it is asleep"),
        (
            "falling_asleep",
            "is falling asleep and can be woken in about 90",
            "it is falling asleep",
        ),
        ("waking", "is waking and takes machines in about 90 s", "it is waking"),
    ],
)
def test_why_it_is_here_says_whether_a_host_sleeps_or_wakes(
    plant: Plant, quiet: Host, power: str, known: str, unknown: str
) -> None:
    machine = elsewhere(quiet)
    Machine.objects.update(host=machine.host)
    Host.objects.filter(pk=quiet.pk).update(power=power, policy=quiet.policy | {"sleep": SLEEP})
    assert words(machine, quiet).startswith(f"{quiet.name} {known}")
    never = SLEEP | {"on_request": False}
    Host.objects.filter(pk=quiet.pk).update(policy=quiet.policy | {"sleep": never})
    assert words(machine, quiet) == f"{quiet.name} takes nothing new: {unknown}"


def shown(client: Client) -> list[tuple[str, str, str]]:
    rows = client.get(CONSOLIDATION).json()["answer"]
    return [(row["host"], row["what"], row["parts"][0]["code"]) for row in rows]


def table(client: Client) -> str:
    """What the page says of the round, below its form and what is under way."""
    return client.get("/balancing/").content.decode().split('id="sleeping"')[1].split("<tbody>")[1]


@pytest.fixture
def told(plant: Plant, quiet: Host, client: Client) -> HostDrain:
    """The last round has said that the host is being emptied."""
    row = begun(plant, quiet)
    consolidating.consolidation_round(NOW + 5 * MINUTE)
    client.force_login(plant.operator)
    assert shown(client) == [(quiet.name, "emptying", "consolidate.emptying")]
    assert "is being emptied" in table(client)
    return row


def test_once_it_is_called_off_the_table_of_the_round_says_why(
    quiet: Host, told: HostDrain, client: Client
) -> None:
    emptying.call_off(told.pk, say("empty.late"), NOW)
    assert shown(client) == [(quiet.name, "called_off", "empty.late")]
    page = table(client)
    assert "is being emptied" not in page
    assert "is not emptied any more" in page and "it would be needed again" in page


def test_once_a_person_drains_it_the_table_of_the_round_says_so(
    plant: Plant, quiet: Host, told: HostDrain, client: Client
) -> None:
    draining.start(plant.operator, quiet, reason="new fan")
    assert shown(client) == [(quiet.name, "called_off", "empty.drained")]
    assert "takes machines again" not in table(client)


def test_once_it_sleeps_the_table_of_the_round_says_until_when_and_nothing_once_it_woke(
    quiet: Host, told: HostDrain, client: Client
) -> None:
    until = timezone.localtime(told.sleep_until)
    HostDrain.objects.update(state="done", ended_at=timezone.now())
    Host.objects.filter(pk=quiet.pk).update(
        power=HostPower.ASLEEP, power_until=told.sleep_until, administration="schedulable"
    )
    assert shown(client) == [(quiet.name, "sleep", "consolidate.emptied")]
    page = table(client)
    assert f"{quiet.name} was emptied and sleeps until {until:%Y-%m-%d %H:%M}" in page
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.AWAKE)
    assert shown(client) == []


@pytest.mark.parametrize(
    ("power", "chosen", "row"),
    [
        ("asleep", "It is asleep and is woken for it", "asleep: is woken for it"),
        ("falling_asleep", "It is falling asleep and is", "falling asleep: is woken for it"),
        ("waking", "It is waking and takes it then", "waking: takes it then"),
    ],
)
def test_form_request_and_api_say_whether_the_host_wakes_already(
    plant: Plant, night: Host, tmp_path: Path, power: str, chosen: str, row: str
) -> None:
    Host.objects.filter(pk=night.pk).update(power=power)
    client = signed_in(plant.engineer)
    others = {"It is asleep", "It is falling asleep", "It is waking"} - {
        chosen[: chosen.find(" and ")]
    }

    def says(path: str, **form: Any) -> None:
        page = client.get(path, form).content.decode()
        assert chosen in page and f">{row}<" in page
        assert not [text for text in others if text in page]

    says("/requests/preview/", **plant.request_form(name="line-x"))
    request = submitted(plant)
    told = request.placement
    assert (told["chosen"], told["wake_s"], told["power"]) == (night.name, 90, power)
    (kept,) = [each for each in told["hosts"] if each["host"] == night.name]
    assert (kept["power"], kept["wake_s"]) == (power, 90)
    says(f"/requests/{request.pk}/")
