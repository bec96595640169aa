"""Prometheus' rules: each has a case that promtool runs, each threshold is held by one, each alert has a runbook.

The cases are promtool's own test files in `rules/`. A mutation of any number, window or time in a rule must make a
case fail; a share of them is tried in CI, all of them with `-m full`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring import METRICS
from monitoring.objectives import shipped
from monitoring.registry import FOREIGN
from monitoring.rules import alertmanager_document, rule_documents
from monitoring.rules.alertmanager import INHIBITIONS
from monitoring.rules.alerts import PROMETHEUS_DOWN
from monitoring.rules.build import duration

CASES = Path(__file__).parent / "rules"
ROOT = Path(__file__).resolve().parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed"
)

Rule = dict[str, Any]


def _name(rule: Rule) -> str:
    return str(rule.get("record") or rule["alert"])


@cache
def _groups() -> tuple[dict[str, Any], ...]:
    documents = rule_documents(shipped())
    return tuple(group for document in documents.values() for group in document["groups"])


def _rules() -> list[Rule]:
    return [rule for group in _groups() for rule in group["rules"]]


def _named(text: str, names: set[str]) -> set[str]:
    return {name for name in names if re.search(rf"(?<![\w:]){re.escape(name)}(?![\w:])", text)}


@cache
def _needed(case: Path) -> frozenset[str]:
    """The rules that a case is about, and those that they are made of."""
    by_name: dict[str, list[Rule]] = {}
    for rule in _rules():
        by_name.setdefault(_name(rule), []).append(rule)
    needed = _named(case.read_text(encoding="utf-8"), set(by_name))
    todo = list(needed)
    while todo:
        for rule in by_name[todo.pop()]:
            more = _named(rule["expr"], set(by_name)) - needed
            needed |= more
            todo += more
    return frozenset(needed)


def _run(
    case: Path, groups: list[dict[str, Any]], folder: Path
) -> subprocess.CompletedProcess[str]:
    needed = _needed(case)
    kept = [
        {"name": group["name"], "rules": [rule for rule in group["rules"] if _name(rule) in needed]}
        for group in groups
    ]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": kept}), encoding="utf-8")
    document = yaml.safe_load(case.read_text(encoding="utf-8"))
    document["rule_files"] = ["rules.yml"]
    # Groups with the same place would run in any order.
    document["group_eval_order"] = [group["name"] for group in kept]
    (folder / case.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    return subprocess.run(
        ["promtool", "test", "rules", str(folder / case.name)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@needs_promtool
@pytest.mark.parametrize("case", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_rules_say_what_the_cases_want(case: Path, tmp_path: Path) -> None:
    done = _run(case, list(_groups()), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case() -> None:
    recorded: set[str] = set()
    fires: set[str] = set()
    silent: set[str] = set()
    names = {_name(rule) for rule in _rules()}
    for path in CASES.glob("*.yaml"):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for row in test.get("promql_expr_test", ()):
                if row["exp_samples"]:
                    recorded |= _named(row["expr"], names)
            for row in test.get("alert_rule_test", ()):
                (fires if row["exp_alerts"] else silent).add(row["alertname"])
                # A list of alerts is compared whole: what must not fire beside them is a case too.
                if row["exp_alerts"] and len(test["input_series"]) > 1:
                    silent.add(row["alertname"])
    assert {rule["record"] for rule in _rules() if "record" in rule} <= recorded
    alerts = {rule["alert"] for rule in _rules() if "alert" in rule}
    assert alerts <= fires
    assert alerts - silent == set(), "an alert that nothing keeps silent says nothing"


def _changed_numbers(expr: str) -> Iterator[str]:
    """The expression with one number, window or comparison changed, for each of them."""
    for found in re.finditer(
        r"(\[)(\d+)([smhd])(?=[\]:])|(?<=[<>=] )(\d+(?:\.\d+)?)\b|(?<=vector\()(0\.\d+)", expr
    ):
        if found[1]:
            low, high = int(found[2]) // 2, int(found[2]) * 3
            for count in {low or None, high} - {None}:
                yield f"{expr[: found.start()]}[{count}{found[3]}{expr[found.end() :]}"
            if not low:
                smaller = {"d": "9h", "h": "25m", "m": "25s"}[found[3]]
                yield f"{expr[: found.start()]}[{smaller}{expr[found.end() :]}"
        else:
            value = float(found[4] or found[5])
            if value in (0.0, 1.0):
                # Of something that is 0 or 1, only the other value is another threshold.
                numbers: tuple[float, ...] = (1.0 - value,)
            elif value == int(value) and value < 100:
                numbers = (value - 1, value + 1)
            else:
                numbers = (value * 0.9, value * 1.1)
            for number in numbers:
                yield f"{expr[: found.start()]}{number:g}{expr[found.end() :]}"


def _mutants() -> list[tuple[str, str, Rule]]:
    """(label, rule's name, changed rule)."""
    found = []
    for index, rule in enumerate(_rules()):
        for number, expr in enumerate(dict.fromkeys(_changed_numbers(rule["expr"]))):
            if expr != rule["expr"]:
                found.append(
                    (f"{_name(rule)}-{index}-{number}", _name(rule), {**rule, "expr": expr})
                )
        if "for" in rule:
            held = _seconds(rule["for"])
            for other in (held // 2, held * 2):
                text = duration(other) if other else "0s"
                found.append(
                    (f"{_name(rule)}-{index}-for-{text}", _name(rule), {**rule, "for": text})
                )
    return found


def _seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


MUTANTS = _mutants()
#: CI tries these; the others are for `-m full`.
SHARE = 40


@needs_promtool
@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, id=mutant[0], marks=() if number % SHARE == 0 else pytest.mark.full)
        for number, mutant in enumerate(MUTANTS)
    ],
)
def test_a_changed_threshold_makes_a_case_fail(
    mutant: tuple[str, str, Rule], tmp_path: Path
) -> None:
    label, name, changed = mutant
    number = int(label.removeprefix(f"{name}-").split("-")[0])
    groups = deepcopy(list(_groups()))
    at = 0
    for group in groups:
        if at <= number < at + len(group["rules"]):
            group["rules"][number - at] = changed
        at += len(group["rules"])
    # The cases that speak of the rule itself come first: one of them mostly tells.
    cases = [path for path in sorted(CASES.glob("*.yaml")) if name in _needed(path)]
    cases.sort(key=lambda path: path.read_text(encoding="utf-8").count(name), reverse=True)
    assert cases
    for case in cases:
        if _run(case, groups, tmp_path).returncode:
            return
    pytest.fail(f"nothing sees this change of {name}:\n{changed}")


# --- what rules, alerts and documents speak of ------------------------------------------------------


def _metrics_in(expr: str) -> set[str]:
    text = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", expr)
    text = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    return set(re.findall(r"\b(?:millwright|vplc|prometheus)_\w+\b|\bup\b", text))


def test_rules_use_registered_metrics_as_what_they_are() -> None:
    kinds = {metric.name: metric.kind for metric in METRICS}
    recorded = {rule["record"] for rule in _rules() if "record" in rule}
    for rule in _rules():
        expr = rule["expr"]
        for name in _metrics_in(expr):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            known = name in kinds or name in FOREIGN or kinds.get(base) == "histogram"
            assert known, f"{_name(rule)}: {name} is not registered"
            counts = kinds.get(name) == "counter" or (name not in kinds and base in kinds)
            rated = re.search(rf"(rate|increase)\({name}\b", expr) is not None
            assert rated == counts, f"{_name(rule)}: {name} is a {kinds.get(name)}"
        used = set(re.findall(r"\bslo:[\w:]+", expr))
        assert used <= recorded, f"{_name(rule)}: {used - recorded} is recorded nowhere"


def test_labels_that_rules_name_are_the_metrics_own() -> None:
    given = {"job", "instance", "environment", "machine", "project", "host"}
    labels = {metric.name: set(metric.labels) | given | {"le"} for metric in METRICS}
    for rule in _rules():
        for name, selector in re.findall(r"\b((?:millwright|vplc)_\w+)\{([^}]*)\}", rule["expr"]):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            known = labels.get(name) or labels[base]
            assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= known, _name(rule)


def test_every_alert_has_a_runbook_with_all_its_parts() -> None:
    alerts = {rule["alert"] for rule in _rules() if "alert" in rule}
    alerts.add(PROMETHEUS_DOWN["labels"]["alertname"])
    pages = {path.stem: path for path in RUNBOOKS.glob("*.md") if path.stem != "README"}
    assert set(pages) == alerts
    for name, path in pages.items():
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {name}\n"), path
        parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
        bodies = dict(zip(parts[::2], parts[1::2], strict=True))
        assert list(bodies) == ["Meaning", "Impact", "Diagnosis", "Mitigation"], path
        for title, body in bodies.items():
            assert len(body.split()) >= 8, f"{name}: {title} says too little"
        for metric in re.findall(r"\b(?:millwright|vplc)_\w+", text):
            base = re.sub(r"_(bucket|sum|count)$", "", metric)
            assert {metric, base} & {row.name for row in METRICS}, f"{name}: {metric}"
        index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
        assert f"({name}.md)" in index, f"{name} is not in the index"


def test_alerts_link_their_runbook_and_say_how_urgent_they_are() -> None:
    for rule in _rules():
        if "alert" in rule:
            assert (ROOT / rule["annotations"]["runbook"]).is_file()
            assert rule["labels"]["severity"] in ("page", "ticket", "none")
            assert rule["labels"]["scope"] in ("plant", "host", "environment")
            assert rule["annotations"]["summary"]


def test_inhibitions_speak_of_alerts_that_exist() -> None:
    alerts = {rule["alert"] for rule in _rules() if "alert" in rule}
    for source, targets, equal in INHIBITIONS:
        assert source in alerts
        for matcher in targets:
            for name in re.findall(r'alertname(?:=~|!=|=)"([^"]+)"', matcher):
                assert set(name.split("|")) <= alerts
        assert equal or targets
    document = alertmanager_document({"page": "http://127.0.0.1:9/hook"})
    hooks = {row["name"]: row.get("webhook_configs") for row in document["receivers"]}
    assert hooks["page"] and hooks["ticket"] is None


@needs_promtool
def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    for name, document in rule_documents(shipped()).items():
        (tmp_path / name).write_text(yaml.safe_dump(document), encoding="utf-8")
        done = subprocess.run(
            ["promtool", "check", "rules", str(tmp_path / name)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
