"""What sleeping hosts save and how good the forecast was: on its page, as files, over the API; who may read it."""

from __future__ import annotations

import csv
import datetime as dt
import io
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from millwright.balancing.models import DemandHour
from millwright.environments.models import StateTransition
from millwright.inventory.models import Host

from tests.support.plant import Plant, signed_in

PAGE = "/balancing/sleep/"
SAVINGS, HOURS = (f"/api/v1/recommendations/consolidation/{name}/" for name in ("savings", "hours"))
HOUR = dt.timedelta(hours=1)
NOW = timezone.now()
BEGIN = NOW.replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def nights(plant: Plant) -> Host:
    """A host slept ten hours and its watts are known; of three hours one was more than expected, one lacked."""
    host = plant.hosts[1]
    sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc", "watts": 150}
    Host.objects.filter(pk=host.pk).update(policy=host.policy | {"sleep": sleep})
    slept(host, BEGIN - 30 * HOUR, BEGIN - 20 * HOUR)
    for ago, cpus, lacked in ((3, 4.0, False), (2, 7.5, False), (1, 30.0, True)):
        DemandHour.objects.create(
            at=BEGIN - ago * HOUR, cpus=cpus, memory_bytes=2**33, expected_cpus=5.0,
            expected_memory_bytes=2**34, awake_cpus=24.0, awake_memory_bytes=2**36, lacked=lacked,
        )  # fmt: skip
    return host


def slept(host: Host, begin: dt.datetime, end: dt.datetime) -> None:
    for at, before, after in (
        (begin, "awake", "falling_asleep"),
        (begin, "falling_asleep", "asleep"),
        (end, "asleep", "waking"),
        (end, "waking", "awake"),
    ):
        StateTransition.objects.create(
            at=at, subject_type="host", subject_id=str(host.pk), subject_name=host.name,
            aspect="power", before=before, after=after,
        )  # fmt: skip


def get(user: Any, query: str = "", **headers: str) -> Any:
    return signed_in(user).get(PAGE + query, headers=headers)


def test_it_says_what_was_saved_and_where_the_forecast_fell_short(
    plant: Plant, nights: Host
) -> None:
    text = get(plant.operator).content.decode()
    assert "1.50 kWh" in text and ">10.0<" in text
    assert nights.name in text and "150 W" in text
    assert "of 3 hours" in text and "in 1 hour hosts awake had too little" in text
    # Two drawings, and each says in words what it shows.
    assert text.count('role="img" aria-label=') == 2
    assert "at most 5.0 expected and 30.0 wanted" in text
    assert text.count('class="mw-short"') == 2 + 1 and text.count('class="mw-lacked"') == 2 + 1
    # Of memory never more was wanted than expected: those are marks of CPUs.
    assert text.split('id="chart-memory"')[1].count('class="mw-short"') == 0
    table = text.split('id="hours"')[1]
    assert table.count("fell short</span>") == 2
    # Newest first, and those alone that fell short.
    assert table.index("30.0") < table.index("7.5")
    assert 'data-label="CPUs wanted">4.0<' in table
    short = get(plant.operator, "?short=1").content.decode().split('id="hours"')[1]
    assert 'data-label="CPUs wanted">4.0<' not in short and "30.0" in short
    german = get(plant.operator, **{"accept-language": "de"}).content.decode()
    assert "1,50 kWh" in german and "Stunden" in german


def test_with_nothing_known_it_says_from_when_on(plant: Plant) -> None:
    text = get(plant.operator).content.decode()
    assert "Nothing was expected of these hours" in text and "A forecast wants a week" in text
    assert "No host slept" in text and "Sleep is off" in text
    assert "<svg" not in text.split("<main")[1]
    DemandHour.objects.bulk_create(
        DemandHour(at=BEGIN - n * HOUR, cpus=1.0, memory_bytes=1) for n in range(1, 200)
    )
    # Enough is known by now, and nothing was written down of these hours.
    assert "Hours are kept for 29 days" in get(plant.operator).content.decode()


def test_what_is_not_known_is_said_and_not_guessed(plant: Plant, nights: Host) -> None:
    Host.objects.filter(pk=nights.pk).update(policy={})
    text = get(plant.operator).content.decode()
    assert "kWh" not in text.split("<main")[1]
    assert "of 10.0 h the watts are not known" in text
    told = signed_in(plant.operator).get(SAVINGS).json()
    assert (told["kwh"], told["unknown_s"], told["asleep_s"]) == (None, 36000, 36000)
    assert (told["hosts"][0]["watts"], told["hosts"][0]["kwh"]) == (None, None)


def test_a_period_is_chosen_and_a_wrong_one_named_at_its_field(plant: Plant, nights: Host) -> None:
    day = f"{timezone.localtime(BEGIN + 3 * HOUR):%Y-%m-%dT%H:%M}"
    assert get(plant.operator, f"?from={day}").status_code == 422
    before = f"{timezone.localtime(BEGIN - 60 * 24 * HOUR):%Y-%m-%d}"
    text = get(plant.operator, f"?from={before}&to={before}").content.decode()
    assert "No host slept" in text and nights.name not in text
    wrong = get(plant.operator, "?from=yesterday")
    assert wrong.status_code == 422
    shown = wrong.content.decode()
    assert 'value="yesterday" aria-describedby="from-wrong"' in shown
    assert "a day like 2026-05-04" in shown
    # A file of a wrong period is the page that says so.
    assert "text/html" in get(plant.operator, "?from=yesterday&as=csv")["content-type"]
    answer = signed_in(plant.operator).get(SAVINGS, {"from": "2020-01-01"})
    assert answer.status_code == 400 and "100 days" in answer.content.decode()


def test_files_have_what_the_page_has(plant: Plant, nights: Host) -> None:
    def rows(query: str) -> list[dict[str, str]]:
        answer = get(plant.operator, query)
        assert "text/csv" in answer["content-type"] and ".csv" in answer["content-disposition"]
        return list(csv.DictReader(io.StringIO(answer.content.decode())))

    (host,) = rows("?as=csv")
    assert (host["host"], host["asleep_s"], host["watts"], host["kwh"]) == (
        nights.name,
        "36000",
        "150",
        "1.500",
    )
    hours = rows("?as=hours")
    assert [(row["cpus"], row["expected_cpus"], row["short"], row["lacked"]) for row in hours] == [
        ("4.00", "5.00", "0", "0"),
        ("7.50", "5.00", "1", "0"),
        ("30.00", "5.00", "1", "1"),
    ]


def test_the_api_says_the_same(plant: Plant, nights: Host) -> None:
    client = signed_in(plant.operator)
    told = client.get(SAVINGS).json()
    assert (told["asleep_s"], told["kwh"], told["late"], told["failed"]) == (36000, 1.5, 0, 0)
    (host,) = told["hosts"]
    assert (host["host"], host["sleeps"], host["watts"]) == (nights.name, 1, 150.0)
    assert sum(month["asleep_s"] for month in told["months"]) == 36000
    hours = client.get(HOURS).json()
    assert [(row["short"], row["lacked"]) for row in hours] == [
        (False, False),
        (True, False),
        (True, True),
    ]
    assert hours[0]["expected"] == {"cpus": 5.0, "memory_bytes": 2.0**34}


def test_it_is_for_those_who_read_the_whole_plant(plant: Plant, client: Client) -> None:
    for path in (PAGE, SAVINGS, HOURS):
        assert signed_in(plant.engineer).get(path).status_code == 403
        assert signed_in(plant.operator).get(path).status_code == 200
        assert signed_in(plant.operator).post(path).status_code in (403, 405, 200)
    assert client.get(PAGE).status_code == 302
    # Whoever keeps the pool comes from balancing.
    assert f'href="{PAGE}"' in signed_in(plant.operator).get("/balancing/").content.decode()


def test_a_page_costs_the_same_however_many_hosts_and_hours_there_are(
    plant: Plant, nights: Host
) -> None:
    client = signed_in(plant.operator)
    client.get(PAGE)
    with CaptureQueriesContext(connection) as few:
        client.get(PAGE)
    for number in range(60):
        host = Host.objects.create(name=f"h-{number:03}", uri=f"qemu+tls://h-{number:03}/system")
        slept(host, BEGIN - 40 * HOUR, BEGIN - 35 * HOUR)
    DemandHour.objects.bulk_create(
        DemandHour(
            at=BEGIN - n * HOUR, cpus=n, memory_bytes=1, expected_cpus=50, expected_memory_bytes=1
        )
        for n in range(4, 140)
    )
    with CaptureQueriesContext(connection) as many:
        text = client.get(PAGE).content.decode()
    assert len(many) == len(few)
    assert "1 to 20 of 61" in text and "1 to 24 of" in text
    second = client.get(PAGE, {"page": 3, "hours": 3}).content.decode()
    assert "41 to 60 of 61" in second and "49 to 72" in second
