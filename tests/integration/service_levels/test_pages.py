"""The wall, the list of lines, an environment's month: what they show, to whom, with how many queries."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from millwright.environments.models import Machine
from millwright.service_levels import ledger
from millwright.service_levels.actions import classify_interval, decide_window, request_window
from millwright.service_levels.contracts import sync_objectives
from millwright.service_levels.measuring import refresh_due
from millwright.service_levels.models import Interval
from millwright.service_levels.rounds import ledger_round
from millwright.service_levels.watching import board, lines_of

from tests.support.history import machine_of, put_in_service, second, write
from tests.support.plant import Plant

NOW = second(7200)


def client_of(user: Any) -> Client:
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def roomy(plant: Plant) -> None:
    """A project without narrow limits."""
    for field in plant.project._meta.concrete_fields:
        if field.name.startswith("quota_"):
            setattr(plant.project, field.name, 10**14 if "bytes" in field.name else 100)
    plant.project.save()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timezone, "now", lambda: NOW)


@pytest.fixture
def lines(plant: Plant, clock: None) -> dict[str, Machine]:
    """Five lines: one down since second 6600, one without data since 6900, one stopped by order, two up."""
    sync_objectives()
    roomy(plant)
    found = {}
    for name in ("good", "bad", "silent", "ordered", "mended"):
        found[name] = machine_of(plant, name)
        put_in_service(found[name])
    write(found["bad"], 6600, "stopped")
    write(found["silent"], 6900, "unknown")
    write(found["ordered"], 6000, "stopped")
    write(found["mended"], 1000, "stopped")
    write(found["mended"], 1600, "running")
    ledger_round(NOW)
    row = Interval.objects.current().get(machine=found["ordered"])
    classify_interval(plant.administrator, row, "planned", "cleaning")
    refresh_due(NOW)
    return found


def test_the_wall_has_the_worst_first_and_since_when(
    plant: Plant, lines: dict[str, Machine]
) -> None:
    found = board(plant.operator, NOW)
    assert [(line.environment.name, str(line.state)) for line in found.lines] == [
        ("bad", "down"),
        ("silent", "missing"),
        ("ordered", "ordered"),
        ("mended", "up"),
        ("good", "up"),
    ]
    since = {line.environment.name: line.since for line in found.lines}
    assert since == {
        "bad": second(6600),
        "silent": second(6900),
        "ordered": second(6000),
        "mended": second(1600),
        "good": second(0),
    }
    bad, mended = found.lines[0], found.lines[3]
    assert bad.measured.down == dt.timedelta(seconds=600)
    # June from noon of the tenth on, of which 1 − objective may be down.
    rest = dt.timedelta(days=20, hours=12)
    assert mended.budget.total_seconds() == pytest.approx(
        rest.total_seconds() * (1 - mended.objective),
        rel=0.01,  # type: ignore[operator]
    )
    assert mended.budget_left == mended.budget - dt.timedelta(seconds=600)
    assert bad.burn_hour is not None
    assert bad.burn_hour > 1 > (found.lines[4].burn_hour or 0)
    assert board(plant.stranger, NOW).lines == []


def test_maintenance_that_is_on_is_not_red(plant: Plant, lines: dict[str, Machine]) -> None:
    window = request_window(
        plant.engineer, lines["bad"].environment, second(6500), second(9000), "motor"
    )
    decide_window(plant.approver, window, True, "agreed")
    states = {line.environment.name: str(line.state) for line in board(plant.operator, NOW).lines}
    assert states["bad"] == "maintenance"


def test_a_budget_that_is_used_up_shows_although_it_runs(
    plant: Plant, lines: dict[str, Machine]
) -> None:
    from millwright.service_levels.actions import write_contract

    environment = lines["mended"].environment
    write_contract(plant.administrator, environment=environment, availability_ratio=0.9999)
    # It applies from now on; the month's budget is of both contracts.
    (line,) = lines_of([environment], second(7200))
    assert (line.budget_left < dt.timedelta()) == (str(line.state) == "used_up")
    assert str(line.state) == "used_up"


def test_the_wall_is_a_page_that_says_when_nobody_measures(
    plant: Plant, lines: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = client_of(plant.operator)
    text = caller.get(reverse("portal:wall")).content.decode()
    assert text.index('data-line="bad"') < text.index('data-line="good"')
    assert "10 min" in text
    assert "Nothing was measured" not in text
    monkeypatch.setattr(timezone, "now", lambda: NOW + dt.timedelta(minutes=5))
    text = caller.get(reverse("portal:wall_tiles")).content.decode()
    assert "Nothing was measured since" in text
    assert "15 min" in text
    assert "<html" not in text
    empty = client_of(plant.stranger).get(reverse("portal:wall")).content.decode()
    assert "No line is in service yet." in empty


def test_a_month_has_figures_rows_and_what_changed(plant: Plant, lines: dict[str, Machine]) -> None:
    host = plant.hosts[0]
    write(host, 900, "down", cause="no answer", before="up")
    url = reverse("portal:environment_service_level", args=["mended"])
    page = client_of(plant.engineer).get(url)
    text = page.content.decode()
    month = page.context["found"]
    assert month.measured.down == dt.timedelta(seconds=600)
    assert [(row.begin, row.end) for row in month.rows] == [(second(1000), second(1600))]
    assert any(change.kind == "host" and change.code == host.name for change in month.changes)
    points = month.burn_down()
    assert [at for at, _left in points] == [
        month.span.begin,
        second(1000),
        second(1600),
        NOW,
    ]
    assert points[1][1] - points[2][1] == pytest.approx(10)
    assert "no answer" in text
    assert client_of(plant.stranger).get(url).status_code == 404
    for odd in ("2026-13", "1999-01", "x", "2027-01"):
        assert client_of(plant.engineer).get(url, {"month": odd}).context["found"].month == dt.date(
            2026, 6, 1
        )
    empty = client_of(plant.engineer).get(url, {"month": "2026-05"})
    assert "Nothing was interrupted." in empty.content.decode()


def test_the_list_names_lines_of_a_month_and_finds_the_broken(
    plant: Plant, lines: dict[str, Machine]
) -> None:
    caller = client_of(plant.operator)
    page = caller.get(reverse("portal:service_levels"))
    assert page.context["open"] == 3
    names = [row.environment.name for row, _line in page.context["entries"]]
    assert sorted(names) == sorted(lines)
    page = caller.get(reverse("portal:service_levels"), {"month": "2026-05"})
    assert "Nothing was measured in this month" in page.content.decode()
    page = caller.get(reverse("portal:service_levels"), {"q": "goo"})
    assert [row.environment.name for row, _line in page.context["entries"]] == ["good"]


def test_more_lines_do_not_cost_more_queries(plant: Plant, lines: dict[str, Machine]) -> None:
    caller = client_of(plant.operator)
    addresses = [
        reverse("portal:wall_tiles"),
        reverse("portal:service_levels"),
        reverse("api:service-level-wall"),
        reverse("api:service-level-list"),
    ]

    def queries() -> list[int]:
        counts = []
        for address in addresses:
            caller.get(address)
            with CaptureQueriesContext(connection) as caught:
                assert caller.get(address).status_code == 200
            counts.append(len(caught))
        return counts

    before = queries()
    for number in range(6):
        machine = machine_of(plant, f"more-{number}")
        put_in_service(machine, 100)
        write(machine, 6000 + number, "stopped")
    ledger.read_history(NOW)
    refresh_due(NOW)
    assert queries() == before


def test_the_api_says_the_same(plant: Plant, lines: dict[str, Machine]) -> None:
    caller = client_of(plant.operator)
    wall = caller.get(reverse("api:service-level-wall")).json()
    assert [row["environment"] for row in wall["lines"]][:2] == ["bad", "silent"]
    rows = caller.get(reverse("api:service-level-list")).json()["results"]
    assert {row["environment"] for row in rows} == set(lines)
    month = caller.get(reverse("api:service-level-detail", args=["mended"])).json()
    assert (month["month"], month["down_s"], month["outages"]) == ("2026-06", 600.0, 1)
    assert month["budget"][-1]["left_minutes"] == pytest.approx(month["budget_left_s"] / 60)
    refused = caller.get(reverse("api:service-level-list"), {"month": "2026-13"})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "month"
