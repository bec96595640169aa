"""Objectives as data: what ships is whole and honest, and a wrong document is named with file, field and rule."""

import datetime as dt
from pathlib import Path

import pytest
import yaml

from monitoring.objectives import (
    FOLDER,
    Holiday,
    Indicator,
    Level,
    ObjectiveError,
    least,
    level_of,
    load,
    seconds,
    shipped,
)


@pytest.mark.parametrize("level", [level for level in Level if level is not Level.PLANT])
def test_every_level_has_what_each_environment_is_promised(level: Level) -> None:
    for indicator in (Indicator.AVAILABILITY, Indicator.PROVISIONING_TIME, Indicator.RECOVERY_TIME):
        assert shipped().get(level, indicator) is not None
    assert shipped().services[level]


def test_control_has_deadlines_and_what_physics_cannot_keep_is_no_promise() -> None:
    for level in (Level.REALTIME, Level.BEST_EFFORT, Level.EMULATED):
        for indicator in (
            Indicator.CYCLE_DEADLINE,
            Indicator.DEVICE_LINK,
            Indicator.RUN_QUEUE_WAIT,
        ):
            objective = shipped().get(level, indicator)
            assert objective is not None
            assert objective.promised is (level is Level.REALTIME)
            assert bool(objective.note) is (level is not Level.REALTIME)
    deadlines = [
        shipped().get(level, "cycle-deadline") for level in ("emulated", "best-effort", "realtime")
    ]
    assert [row.target for row in deadlines if row] == sorted(
        row.target for row in deadlines if row
    )
    assert shipped().get("shared", "cycle-deadline") is None


def test_availability_counts_missing_data_as_down_after_a_grace() -> None:
    rows = [row for row in shipped().objectives if row.indicator.endswith("availability")]
    assert len(rows) == 6
    assert all(row.missing_data == "down" and row.grace_s == 60 for row in rows)


@pytest.mark.parametrize(
    ("service_class", "shortfalls", "level"),
    [
        ("realtime", (), "realtime"),
        ("realtime", ("memory is not locked",), "best-effort"),
        ("realtime", ("no hugepages", "emulated: timing is not promised"), "emulated"),
        ("shared", ("emulated: timing is not promised",), "shared"),
    ],
)
def test_a_machine_that_its_host_fails_has_a_level_of_its_own(
    service_class: str, shortfalls: tuple[str, ...], level: str
) -> None:
    assert level_of(service_class, shortfalls) == level


def test_an_environment_is_promised_the_least_of_its_machines() -> None:
    assert least([Level.REALTIME, Level.SHARED]) is Level.SHARED
    assert least([Level.REALTIME, Level.EMULATED]) is Level.EMULATED
    assert least([]) is None


def test_holidays_once_and_each_year() -> None:
    assert Holiday(name="x", day="12-25").falls_on(dt.date(2031, 12, 25))
    assert not Holiday(name="x", day="2026-12-25").falls_on(dt.date(2031, 12, 25))
    assert Holiday(name="x", day="2031-12-25").falls_on(dt.date(2031, 12, 25))


def test_durations() -> None:
    assert [seconds(text) for text in ("90s", "5m", "6h", "3d", "4w")] == [
        90,
        300,
        21600,
        259200,
        2419200,
    ]
    for text in ("1M", "m", "-5m", "5 m", ""):
        with pytest.raises(ValueError, match="expected a number"):
            seconds(text)


def _changed(tmp_path: Path, file: str, old: str, new: str) -> Path:
    for source in FOLDER.glob("*.yaml"):
        text = source.read_text()
        if source.name == file:
            assert old in text, "the case no longer fits the shipped file"
            text = text.replace(old, new)
        (tmp_path / source.name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("realtime.yaml", "target: 0.999,", "target: 1.5,", "realtime-availability: target"),
        ("realtime.yaml", '"always"', '"never"', "service-hours: 'never' is not defined"),
        ("realtime.yaml", "openslo/v1", "openslo/v2", "apiVersion: 'openslo/v2'"),
        ("realtime.yaml", "millwright/grace", "millwright/grce", "millwright/grce is not known"),
        ("realtime.yaml", "fast-burn", "fst-burn", "'fst-burn' is not defined"),
        ("realtime.yaml", "op: lte", "op: gte", "op: 'gte'; lte is the only one"),
        ("realtime.yaml", "duration: 1M", "duration: 4w", "timeWindow: 4w"),
        ("emulated.yaml", "millwright/note", "other/note", "what is not promised says why"),
        ("calendars.yaml", '"22:00", to', '"25:00", to', "night|25:00|begin"),
        ("calendars.yaml", '"12-25"', '"13-25"', "expected MM-DD"),
        ("calendars.yaml", "timeZone: plant", "timeZone: Mars/Base", "not in the IANA"),
        ("alerts.yaml", "short-window: 5m", "short-window: 2h", "shorter than lookbackWindow"),
        ("alerts.yaml", "kind: AlertPolicy", "kind: AlertPolice", "'AlertPolice' is not known"),
        ("indicators.yaml", "    bad:", "    worse:", "expected good or bad with total"),
        ("shared.yaml", "  objectives:", "  objective:", "objectives: missing"),
        ("plant.yaml", "spec:", "spec: [", "plant.yaml"),
    ],
)
def test_a_wrong_document_is_named(
    tmp_path: Path, file: str, old: str, new: str, words: str
) -> None:
    with pytest.raises(ObjectiveError, match=words):
        load(_changed(tmp_path, file, old, new))


def test_an_objective_survives_being_stored() -> None:
    for row in shipped().objectives:
        assert type(row).model_validate_json(row.model_dump_json()) == row


def test_the_files_are_openslo() -> None:
    kinds = {"SLO", "SLI", "Service", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"}
    for path in FOLDER.glob("*.yaml"):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "ShiftCalendar":
                assert document["apiVersion"] == "openslo/v1"
                assert document["kind"] in kinds
                # Kubernetes' annotations are texts.
                notes = document["metadata"].get("annotations", {})
                assert all(isinstance(value, str) for value in notes.values()), path.name
