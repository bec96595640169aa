"""When hosts sleep that are not needed, from the shell, on the API of a real portal."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.balancing.models import Consolidating, DemandHour
from millwright.core.balancing import parts_of, say
from millwright.environments.models import StateTransition
from millwright.inventory.models import Host

from tests.integration.cli.test_nouns import Shell, plant, shell
from tests.support.plant import Plant

__all__ = ["plant", "shell"]

pytestmark = pytest.mark.django_db(transaction=True)

NOUN = ("recommendation", "consolidation")


def test_when_hosts_sleep_is_shown_and_set(plant: Plant, shell: Shell) -> None:
    assert shell.json(plant.operator, *NOUN)["mode"] == "off"
    words = ("shadow", "--keep-awake", "1", "--from", "20:00", "--to", "06:00", "--reason", "fans")
    told = shell.json(plant.operator, *NOUN, *words)
    assert (told["mode"], told["keep_awake"], told["begin"]) == ("shadow", 1, "20:00")
    (entry,) = AuditEntry.objects.filter(action="balancer.consolidation")
    assert (entry.actor, entry.reason) == (plant.operator, "fans")
    # A number alone leaves the mode as it is; empty times mean always.
    told = shell.json(plant.operator, *NOUN, "--headroom", "35", "--from", "", "--to", "")
    assert (told["mode"], told["headroom_percent"], told["begin"]) == ("shadow", 35, "")


def test_what_the_last_round_decided_stands_below(plant: Plant, shell: Shell) -> None:
    texts = (
        ("h1", "kept", say("consolidate.lately", hours=3)),
        ("", "kept", say("consolidate.settling")),
        ("", "more", say("consolidate.others", count=7)),
    )
    rows = [
        {"host": host, "what": what, "text": str(text), "parts": parts_of(text), "until": None}
        for host, what, text in texts
    ]
    Consolidating.objects.create(pk=1, mode="shadow", answer=rows, last_round=timezone.now())
    lines = shell(plant.operator, *NOUN).output.splitlines()
    assert lines[-3:] == [
        "h1: kept: its power changed less than 3 hours ago",
        "all: kept: a host woke less than an hour ago",
        "and 7 more",
    ]
    assert [row["what"] for row in shell.json(plant.operator, *NOUN)["answer"]] == [
        "kept",
        "kept",
        "more",
    ]


def test_what_cannot_be_is_refused_and_so_is_who_may_not(plant: Plant, shell: Shell) -> None:
    wrong = shell(plant.operator, *NOUN, "--from", "25:00", "--to", "06:00")
    assert wrong.exit_code != 0
    assert "25:00" in wrong.output + str(wrong.exception)
    assert shell(plant.operator, *NOUN, "--keep-awake", "0").exit_code == 2
    assert shell(plant.operator, *NOUN, "always").exit_code == 2
    assert shell(plant.engineer, *NOUN).exit_code != 0
    assert not Consolidating.objects.exclude(mode="off").exists()


def test_a_host_that_the_last_round_named_is_emptied(plant: Plant, shell: Shell) -> None:
    empty = ("recommendation", "empty")
    host = plant.hosts[0].name
    refused = shell(plant.operator, *empty, host)
    assert refused.exit_code != 0
    assert "is not what the last round would empty" in refused.output + str(refused.exception)
    why = say(
        "consolidate.empty", host=host, count=0, until="06:00", hours=9, saved_s=9000, cost_s=1
    )
    offer = {
        "host": host,
        "what": "empty",
        "text": str(why),
        "parts": parts_of(why),
        "until": (timezone.now() + dt.timedelta(hours=9)).isoformat(),
        "mode": "recommend",
        "moves": [{"machine": "cae/solver", "destination": "h9", "seconds": 4.0}],
    }
    Consolidating.objects.create(pk=1, mode="recommend", answer=[offer], last_round=timezone.now())
    shown = shell(plant.operator, *NOUN).output
    assert f"{host}: empty: {why}" in shown and "  cae/solver → h9, 4 s" in shown
    assert shell(plant.engineer, *empty, host).exit_code != 0
    told = shell(plant.operator, *empty, host, "--reason", "nights").output
    assert f"{host} is being emptied: 0 of 0 machines moved; {why}" in told
    entry = AuditEntry.objects.get(action="emptying.start")
    assert (entry.actor, entry.reason) == (plant.operator, "nights")
    assert f"{host} is being emptied" in shell(plant.operator, *NOUN).output
    assert shell(plant.operator, *empty, host).exit_code != 0


def test_capacity_says_which_hosts_could_be_woken(plant: Plant, shell: Shell) -> None:
    words = ("host", "capacity", "vplc", "small")
    awake = shell.json(plant.operator, *words)
    assert (awake["asleep"], awake["with_woken"], awake["wake_s"]) == (0, None, None)
    host = plant.hosts[0]
    sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc", "wake_s": 90}
    Host.objects.filter(pk=host.pk).update(power="asleep", policy=host.policy | {"sleep": sleep})
    told = shell.json(plant.operator, *words)
    assert (told["asleep"], told["with_woken"], told["wake_s"]) == (1, awake["fits"], 90)
    assert told["fits"] < awake["fits"] and host.name not in told["per_host"]


def test_what_sleep_saves_is_told_by_host_and_by_hour(plant: Plant, shell: Shell) -> None:
    words = ("recommendation", "savings")
    assert shell.json(plant.operator, *words)["hosts"] == []
    host, now = plant.hosts[0], timezone.now()
    sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc", "watts": 150}
    Host.objects.filter(pk=host.pk).update(policy=host.policy | {"sleep": sleep})
    for ago, before, after in ((12, "falling_asleep", "asleep"), (2, "asleep", "awake")):
        StateTransition.objects.create(
            at=now - dt.timedelta(hours=ago), subject_type="host", subject_id=str(host.pk),
            subject_name=host.name, aspect="power", before=before, after=after,
        )  # fmt: skip
    told = shell(plant.operator, *words).output
    assert host.name in told and "10.0 hours asleep, 1.5 kWh saved, 0 late wakes, 0 failed" in told
    Host.objects.filter(pk=host.pk).update(policy={})
    told = shell(plant.operator, *words).output
    assert "energy not known" in told and "of 10.0 hours the watts are not known" in told
    DemandHour.objects.create(
        at=now.replace(minute=0, second=0, microsecond=0), cpus=7.5, memory_bytes=2**33,
        expected_cpus=5.0, expected_memory_bytes=2**34,
    )  # fmt: skip
    line = shell(plant.operator, *words, "--hours").output.splitlines()[-1].split()
    assert line[1:] == ["5.0", "7.5", "-", "16.0", "8.0", "-", "short"]
    assert shell.json(plant.operator, *words, "--hours")[0]["short"] is True
    wrong = shell(plant.operator, *words, "--from", "2020-01-01")
    assert wrong.exit_code != 0 and "100 days" in wrong.output + str(wrong.exception)
    assert shell(plant.engineer, *words).exit_code != 0
