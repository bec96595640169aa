"""Scans and late scans of an hour: Prometheus' questions by promtool, the rows that come of its answers."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
import yaml
from millwright.core.sla import Interval
from millwright.orchestrator import cycles
from millwright.orchestrator.reconciliation import PrometheusAway, Reconciliation
from millwright.service_levels.models import CycleCount
from millwright.settings import get_settings

from tests.support.history import machine_of, put_in_service
from tests.support.plant import Plant

pytestmark = pytest.mark.django_db

HOUR = dt.timedelta(hours=1)
NOW = dt.datetime(2026, 6, 10, 15, 30, tzinfo=dt.UTC)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_questions_count_scans_late_ones_and_the_longest_streak(tmp_path: Path) -> None:
    line = 'environment="line",machine="plc",task="main"'
    calm = 'environment="calm",machine="plc",task="main"'
    document = {
        "rule_files": [],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                # 100 a second; the controller begins anew in the middle; 2 late ones in each quarter minute.
                "input_series": [
                    {"series": f"vplc_scans_total{{{line}}}", "values": "0+1500x120 0+1500x120"},
                    {"series": f"vplc_overruns_total{{{line}}}", "values": "0+2x120 0+2x120"},
                    {"series": f"vplc_task_interval_seconds{{{line}}}", "values": "0.01x241"},
                    {
                        "series": f"vplc_scan_longest_seconds{{{line}}}",
                        "values": "0.004x100 0.008x141",
                    },
                    {
                        "series": f"vplc_start_lateness_longest_seconds{{{line}}}",
                        "values": "0.03x100 0.048x141",
                    },
                    {"series": f"vplc_scans_total{{{calm}}}", "values": "0+1500x241"},
                    {"series": f"vplc_overruns_total{{{calm}}}", "values": "0x241"},
                    {"series": f"vplc_task_interval_seconds{{{calm}}}", "values": "0.01x241"},
                    {"series": f"vplc_scan_longest_seconds{{{calm}}}", "values": "0.5x241"},
                    {
                        "series": f"vplc_start_lateness_longest_seconds{{{calm}}}",
                        "values": "0.5x241",
                    },
                ],
                "promql_expr_test": [
                    {
                        "expr": f"abs({cycles.SCANS} - 360000) < bool 2000",
                        "eval_time": "1h",
                        "exp_samples": [
                            {"labels": '{environment="line", machine="plc"}', "value": 1},
                            {"labels": '{environment="calm", machine="plc"}', "value": 1},
                        ],
                    },
                    {
                        "expr": f"abs({cycles.LATE} - 480) < bool 3",
                        "eval_time": "1h",
                        "exp_samples": [
                            {"labels": '{environment="line", machine="plc"}', "value": 1},
                            {"labels": '{environment="calm", machine="plc"}', "value": 0},
                        ],
                    },
                    {
                        # 56 ms are five cycles; what did not grow in the hour is not of the hour.
                        "expr": cycles.STREAK,
                        "eval_time": "1h",
                        "exp_samples": [
                            {"labels": '{environment="line", machine="plc"}', "value": 5}
                        ],
                    },
                ],
            }
        ],
    }
    path = tmp_path / "cycles.yaml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """Answers each question with the figures of one controller, and one that nobody knows."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused")
        query, at = request.url.params["query"], float(request.url.params["time"])
        if query == cycles.SCANS:
            self.asked.append(at)
        value = {cycles.SCANS: "359993.6", cycles.LATE: "6.4", cycles.STREAK: "9"}[query]
        rows = [
            {"metric": {"environment": environment, "machine": "vplc"}, "value": [at, value]}
            for environment in ("filling-line-1", "of-another-plant")
        ]
        return httpx.Response(200, json={"data": {"result": rows}})


def test_each_hour_that_is_over_is_kept_once(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    prometheus = Prometheus()

    def job() -> Reconciliation:
        client = httpx.Client(transport=httpx.MockTransport(prometheus))
        return Reconciliation(get_settings(), threading.Event(), client)

    first = job()
    assert first.count_cycles(NOW) == 1
    assert first.count_cycles(NOW) == 0
    row = CycleCount.objects.get()
    begin = NOW.replace(hour=14, minute=0)
    assert (row.machine, row.begin, row.end) == (machine, begin, begin + HOUR)
    # What was due is what was done and what was missed; no streak is longer than all that were late.
    assert (row.scans, row.missed, row.longest_streak) == (360000, 6, 6)

    # Another process goes on after the newest row, and an hour without Prometheus is asked again.
    prometheus.away = True
    second = job()
    with pytest.raises(PrometheusAway):
        second.count_cycles(NOW + 3 * HOUR)
    prometheus.away = False
    assert second.count_cycles(NOW + 3 * HOUR) == 3
    begins = list(CycleCount.objects.order_by("begin").values_list("begin", flat=True))
    assert begins == [begin + number * HOUR for number in range(4)]
    assert prometheus.asked == [(begin + (number + 1) * HOUR).timestamp() for number in range(4)]

    # After a long absence no more than is worth asking.
    assert job().count_cycles(NOW + dt.timedelta(days=9)) == cycles.MOST_HOURS

    # An hour that is written already stays as it is.
    assert cycles.record_hour(Interval(begin, begin + HOUR), second._by_machine) == 1
    assert CycleCount.objects.filter(begin=begin).count() == 1
