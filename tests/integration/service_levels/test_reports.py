"""The monthly report as page, PDF and CSV; signing off; the sealed file, checked by the command line."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import millwright.cli as command
import pytest
from click.testing import CliRunner
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation
from millwright.environments.models import Machine
from millwright.service_levels import ledger
from millwright.service_levels.actions import (
    classify_interval,
    decide_window,
    record_cycle_fault,
    request_window,
    seal_month,
)
from millwright.service_levels.contracts import sync_objectives
from millwright.service_levels.measuring import refresh
from millwright.service_levels.models import Interval, Seal
from millwright.service_levels.monthly import month_of_environment
from millwright.service_levels.reporting import render_csv, render_pdf, sealed_file
from millwright.service_levels.seals import verdicts_of

from tests.support.history import machine_of, put_in_service, second, write
from tests.support.plant import Plant

JUNE = dt.date(2026, 6, 1)
JULY = dt.datetime(2026, 7, 2, tzinfo=dt.UTC)


@pytest.fixture
def machine(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A June with two stops, one of them explained, a window that was approved afterwards, and late scans."""
    sync_objectives()
    found = machine_of(plant)
    put_in_service(found)
    for begin, end in ((1000, 4000), (5000, 6000)):
        write(found, begin, "stopped")
        write(found, end, "running")
    ledger.read_history(second(7200))
    monkeypatch.setattr(timezone, "now", lambda: JULY)
    record_cycle_fault(found, second(0), second(3600), scans=1000, missed=2, longest_streak=1)
    row = Interval.objects.current().order_by("begin")[0]
    classify_interval(plant.operator, row, "unplanned", "=the <b>fuse</b>")
    window = request_window(
        plant.engineer, found.environment, second(5000), second(5500), "filters"
    )
    decide_window(plant.approver, window, True, "agreed by phone")
    return found


def client_of(user: Any) -> Client:
    made = Client()
    made.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return made


def address(machine: Machine, month: str = "2026-06") -> str:
    return reverse("portal:report", args=[machine.environment.name, month])


def test_the_page_has_figures_causes_exclusions_and_who(plant: Plant, machine: Machine) -> None:
    text = client_of(plant.engineer).get(address(machine)).content.decode()
    for words in (
        "99.802 %",  # 3500 s of twenty days and a half
        "agreed by phone",
        "filters",
        "afterwards",
        "unplanned",
        "&lt;b&gt;fuse&lt;/b&gt;",
        "(2 / 1000)",
        "Nobody has signed this month off.",
        "<polyline",
    ):
        assert words in text, words
    assert "Sign this month off" not in text
    assert "Sign this month off" in client_of(plant.approver).get(address(machine)).content.decode()
    assert client_of(plant.stranger).get(address(machine)).status_code == 404
    for odd in ("2026-13", "1999-12", "now", "2026-1"):
        assert client_of(plant.engineer).get(address(machine, odd)).status_code == 404
    running = client_of(plant.approver).get(address(machine, "2026-07")).content.decode()
    assert "The month is not over" in running
    assert "Sign this month off" not in running


def test_the_pdf_is_one_and_fetches_nothing(plant: Plant, machine: Machine) -> None:
    pytest.importorskip("weasyprint")
    answer = client_of(plant.engineer).get(address(machine), {"as": "pdf"})
    assert answer["Content-Type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert len(answer.content) > 5000
    # A reason that would lead to a file or an address is words.
    row = Interval.objects.current().order_by("begin")[0]
    classify_interval(plant.operator, row, "unplanned", '<img src="file:///etc/passwd">')
    month = month_of_environment(machine.environment, JUNE, JULY)
    assert render_pdf(month, []).startswith(b"%PDF-")


def test_chinese_letters_in_a_pdf_are_those_of_a_font_that_has_them(machine: Machine) -> None:
    pytest.importorskip("weasyprint")
    listed = subprocess.run(
        ["fc-list", ":lang=zh"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    if not listed and os.environ.get("CI") != "true":
        pytest.skip("no font with Chinese letters is installed (Debian: fonts-droid-fallback)")
    with translation.override("zh-hans"):
        made = render_pdf(month_of_environment(machine.environment, JUNE, JULY), [])
    maps = []
    for part in re.findall(rb"stream\r?\n(.*?)endstream", made, re.DOTALL):
        with contextlib.suppress(zlib.error):
            text = zlib.decompress(part)
            if b"beginbfchar" in text:
                maps.append(set(re.findall(rb"<[0-9a-f]{4}> <([0-9a-f]{4})>", text)))
    # A font without a letter draws a box in its place, in the same font as what it has.
    chinese = [codes for codes in maps if f"{ord('可'):04x}".encode() in codes]
    assert chinese
    assert not any(f"{ord('e'):04x}".encode() in codes for codes in chinese)


def test_without_the_library_the_page_says_what_to_do(
    plant: Plant, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    answer = client_of(plant.engineer).get(address(machine), {"as": "pdf"})
    assert answer.status_code == 503
    assert "install Pango, or print the page" in answer.content.decode()
    url = reverse("api:service-level-report", args=[machine.environment.name])
    answer = client_of(plant.engineer).get(url, {"as": "pdf", "month": "2026-06"})
    assert (answer.status_code, answer["Content-Type"]) == (503, "application/problem+json")


def test_the_table_has_everything_and_no_formulas(plant: Plant, machine: Machine) -> None:
    month = month_of_environment(machine.environment, JUNE, JULY)
    rows = list(csv.DictReader(io.StringIO(render_csv(month))))
    figures = {row["what"]: row for row in rows if row["section"] == "figure"}
    assert figures["down"]["seconds"] == "3500"
    assert figures["outages"]["value"] == "2"
    assert float(figures["budget_left"]["seconds"]) < 0
    # Two failures: mean time to restore is half of what was down, between them half of what was up.
    eligible = float(figures["eligible"]["seconds"])
    assert float(figures["mttr"]["seconds"]) == 1750
    assert float(figures["mtbf"]["seconds"]) == pytest.approx((eligible - 3500) / 2)
    assert float(figures["availability"]["value"]) == pytest.approx(1 - 3500 / eligible)
    bars = month.pareto()
    assert [bar["cause"] for bar in bars][:2] == ["unplanned", "unknown"]
    assert [bar["length"].total_seconds() for bar in bars] == sorted(
        (bar["length"].total_seconds() for bar in bars), reverse=True
    )
    total = sum(bar["length"].total_seconds() for bar in bars)
    assert bars[0]["share"] == pytest.approx(3000 / total)
    assert bars[-1]["cumulated"] == pytest.approx(1)
    assert [row["what"] for row in rows if row["section"] == "cause"] == [
        bar["cause"] for bar in bars
    ]
    stops = [row for row in rows if row["section"] == "interruption"]
    assert [(row["seconds"], row["value"], row["who"]) for row in stops] == [
        ("3000", "unplanned", "oda"),
        ("1000", "unknown", ""),
    ]
    assert "agreed by phone" in next(row["why"] for row in rows if row["section"] == "exclusion")
    assert not any(str(value).startswith("=") for row in rows for value in row.values())
    refresh([machine.environment_id], JUNE, JULY)
    answer = client_of(plant.operator).get(
        reverse("portal:service_levels"), {"month": "2026-06", "as": "csv"}
    )
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["environment"], float(row["down_s"])) == ("filling-line-1", 3500)


def test_a_month_is_signed_off_and_shows_what_came_after(plant: Plant, machine: Machine) -> None:
    caller = client_of(plant.approver)
    url = reverse("portal:report_seal", args=[machine.environment.name, "2026-06"])
    assert client_of(plant.operator).post(url).status_code == 403
    text = caller.post(url, follow=True).content.decode()
    seal = Seal.objects.get()
    assert seal.digest in text
    assert "Every input is what was sealed." in text
    row = Interval.objects.current().order_by("begin")[1]
    classify_interval(plant.administrator, row, "excluded", "flood")
    text = caller.get(address(machine)).content.decode()
    assert "Corrected since" in text
    assert "figures would be others now." in text
    july = reverse("portal:report_seal", args=[machine.environment.name, "2026-07"])
    assert "is not over yet" in caller.post(july, follow=True).content.decode()
    month = month_of_environment(machine.environment, JUNE, JULY)
    assert [verdict.intact for verdict in verdicts_of(month.seals)] == [True]


def test_the_file_of_a_seal_is_checked_without_a_database(
    plant: Plant, machine: Machine, tmp_path: Path
) -> None:
    seal_month(plant.approver, machine.environment, JUNE)
    row = Interval.objects.current().order_by("begin")[1]
    classify_interval(plant.operator, row, "unplanned")
    seal_month(plant.approver, machine.environment, JUNE)
    one, two = Seal.objects.order_by("number")
    caller = client_of(plant.engineer)
    first, second_file = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    answer = caller.get(address(machine), {"as": "sealed", "number": "1"})
    first.write_bytes(b"".join(answer.streaming_content))  # type: ignore[attr-defined]
    second_file.write_bytes(caller.get(reverse("api:seal-file", args=[two.pk])).content)
    verify = ("sla", "verify")

    def run(*words: str) -> Any:
        return CliRunner().invoke(command.cli, [*verify, *words])

    good = run(str(second_file), str(first), "--digest", two.digest)
    assert good.exit_code == 0, good.output
    assert good.output.count("intact") == 2
    kept = run(str(first), "--digest", "0" * 64)
    assert kept.exit_code == 1
    assert f"the last seal's digest is {one.digest}" in kept.output
    text = first.read_text(encoding="utf-8")
    first.write_text(text.replace("fuse", "flood"), encoding="utf-8")
    bad = run(str(first))
    assert bad.exit_code == 1
    assert "intervals, row" in bad.output
    assert "is not what was sealed" in bad.output
    # An edit past the ledger shows in the file that is written afterwards, with the row.
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER service_levels_interval_no_update")
        cursor.execute(
            "UPDATE service_levels_interval SET cause = 'planned' WHERE id = %s", [row.pk]
        )
    assert set(verdicts_of([one])[0].where) == {"intervals"}
    assert verdicts_of([one])[0].where["intervals"][1] == str(row.pk)
    first.write_text("".join(sealed_file(one)), encoding="utf-8")
    bad = run(str(first))
    assert bad.exit_code == 1
    assert f"(key {row.pk})" in bad.output


def test_the_api_seals_and_says_what_became_of_it(plant: Plant, machine: Machine) -> None:
    caller = client_of(plant.approver)
    body = {"environment": machine.environment.name, "month": "2026-06"}
    made = caller.post(reverse("api:seal-list"), body, content_type="application/json")
    assert (made.status_code, made.json()["number"]) == (201, 1)
    verdict = caller.get(reverse("api:seal-verdict", args=[made.json()["id"]])).json()
    assert verdict == {"intact": True, "broken": [], "where": {}, "since": {}, "changed": {}}
    wrong = caller.post(
        reverse("api:seal-list"), {**body, "month": "2026-99"}, content_type="application/json"
    )
    assert wrong.json()["errors"][0]["field"] == "month"
    report = caller.get(
        reverse("api:service-level-report", args=[machine.environment.name]), {"month": "2026-06"}
    )
    assert report.content.decode().startswith("section,what,begin")
