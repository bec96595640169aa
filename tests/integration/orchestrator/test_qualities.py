"""Good minutes of an hour: Prometheus' questions by promtool, the rows that come of its answers."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
import yaml
from millwright.orchestrator import qualities
from millwright.orchestrator.promises import Promises, read
from millwright.orchestrator.reconciliation import PrometheusAway, Reconciliation
from millwright.service_levels.actions import write_contract
from millwright.service_levels.models import QualityCount
from millwright.settings import get_settings

from monitoring.objectives import Indicator
from tests.support.history import machine_of, put_in_service
from tests.support.plant import Plant

pytestmark = pytest.mark.django_db

HOUR = dt.timedelta(hours=1)
NOW = dt.datetime(2026, 6, 10, 15, 30, tzinfo=dt.UTC)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_the_questions_count_minutes_that_were_measured_and_the_good_ones(tmp_path: Path) -> None:
    def asks(indicator: Indicator, minutes: float, good: float, labels: str) -> list[dict]:
        return [
            {
                "expr": query,
                "eval_time": "1h",
                "exp_samples": [{"labels": labels, "value": value}],
            }
            for query, value in zip(qualities.questions(indicator), (minutes, good), strict=True)
        ]

    line = '{environment="line"}'
    limit = 'slo:objective:limit{environment="line",objective="run-queue-wait",project="p"}'
    document = {
        "rule_files": [],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    # A link that is half good for the second half hour.
                    {"series": f"slo:device_link:ratio{line}", "values": "1x120 0.5x120"},
                    # More than its limit, in the last quarter; unknown in the first.
                    {
                        "series": f"slo:run_queue_wait:ratio{line}",
                        "values": "_x60 0.01x120 0.02x60",
                    },
                    {"series": limit, "values": "0.01x241"},
                    {"series": 'slo:portal_up:bool{endpoint="portal"}', "values": "1x241"},
                    {"series": 'slo:portal_up:bool{endpoint="api"}', "values": "1x200 0x40"},
                ],
                "promql_expr_test": [
                    *asks(Indicator.DEVICE_LINK, 60, 45, line),
                    *asks(Indicator.RUN_QUEUE_WAIT, 46, 31, line),
                    *asks(Indicator.PORTAL_AVAILABILITY, 60, 50, "{}"),
                ],
            }
        ],
    }
    path = tmp_path / "qualities.yaml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """Answers for one environment, for one that nobody knows, and for the portal."""

    def __init__(self) -> None:
        self.away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("refused")
        query, at = request.url.params["query"], float(request.url.params["time"])
        names = ["filling-line-1", "of-another-plant"]
        if "portal_up" in query:
            names = [""]
        value = "60" if query.startswith("count") else "59.25"
        rows = [
            {"metric": {"environment": name} if name else {}, "value": [at, value]}
            for name in names
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
    assert first.count_qualities(NOW) == 1
    assert first.count_qualities(NOW) == 0
    begin = NOW.replace(hour=14, minute=0)
    rows = QualityCount.objects.order_by("indicator").values_list(
        "environment__name", "indicator", "begin", "minutes", "good"
    )
    name = machine.environment.name
    assert list(rows) == [
        (name, "device-link", begin, 60.0, 59.25),
        (None, "portal-availability", begin, 60.0, 59.25),
        (name, "run-queue-wait", begin, 60.0, 59.25),
    ]
    # An hour without Prometheus is asked again, by another process too; nothing is counted twice.
    prometheus.away = True
    second = job()
    with pytest.raises(PrometheusAway):
        second.count_qualities(NOW + 2 * HOUR)
    prometheus.away = False
    assert second.count_qualities(NOW + 2 * HOUR) == 2
    assert qualities.record_hour(
        qualities.Interval(begin, begin + HOUR), lambda _query, _at: {name: 60.0}
    )
    assert QualityCount.objects.count() == 9


def test_what_a_person_promises_is_what_prometheus_is_told(plant: Plant) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    write_contract(
        plant.administrator,
        environment=machine.environment,
        availability_ratio=0.99,
        device_link_ratio=0.9,
        run_queue_ratio=0.95,
        cycle_streak=7,
    )
    write_contract(plant.administrator, service_class="plant", availability_ratio=0.97)
    (promise,) = read(dt.datetime.now(dt.UTC))
    assert promise.ratios[Indicator.DEVICE_LINK] == 0.9
    assert promise.ratios[Indicator.RUN_QUEUE_WAIT] == 0.95
    assert promise.limits[Indicator.CYCLE_DEADLINE] == 7
    promises = Promises()
    promises.get()
    assert promises.portal == 0.97
