"""The generated rules on a real Prometheus: `python -m tests.bench.rules [--environments 2000] [--minutes 5]`.

Serves the series of so many environments on loopback, has Prometheus scrape them and evaluate every shipped
rule and alert on one core, and says what share of each group's interval the evaluation takes. Windows hold what the
run recorded, so those longer than it are fuller in a plant; `--minutes` makes the run longer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket

import yaml

from monitoring.objectives import shipped
from monitoring.rules.documents import rule_documents

WANTED = 0.30


def exposition(environments: int, since: float) -> str:
    """What orchestrator, gateway and controllers show, at this second."""
    age = time.time() - since
    lines = ["millwright_orchestrator_active 1"]
    for number in range(environments):
        name = f"env-{number:05}"
        own = f'environment="{name}"'
        down = (number + int(age / 60)) % 97 == 0
        for objective, ratio in (("availability", 0.999), ("cycle-deadline", 0.9999)):
            labels = f'{own},project="line-{number % 40}",level="realtime",objective="{objective}"'
            lines.append(f"millwright_objective_ratio{{{labels}}} {ratio}")
            lines.append(f"millwright_objective_limit{{{labels}}} 10")
        lines += [
            f"millwright_environment_eligible{{{own}}} 1",
            f"millwright_environment_checks{{{own}}} 3",
            f'millwright_environment_info{{{own},host="h{number % 50}"}} 1',
            f'millwright_machine_up{{{own},machine="vplc"}} {0 if down else 1}',
            f'millwright_probe_success{{{own},machine="vplc",protocol="modbus"}} {0 if down else 1}',
            f'millwright_probe_success{{{own},machine="vplc",protocol="opcua"}} {0 if down else 1}',
            f'vplc_scans_total{{{own},task="main"}} {age * 100:.0f}',
            f'vplc_overruns_total{{{own},task="main"}} {age * (number % 3) / 100:.0f}',
            f'vplc_scan_longest_seconds{{{own},task="main"}} 0.002',
            f'vplc_start_lateness_longest_seconds{{{own},task="main"}} 0.001',
            f'vplc_task_interval_seconds{{{own},task="main"}} 0.01',
            f'vplc_device_good{{{own},device="station"}} 1',
            f'millwright_domain_vcpu_wait_seconds_total{{domain="{name}",vcpu="1"}} {age / 1000:.3f}',
            f'millwright_pinned_vcpu_info{{{own},domain="{name}",vcpu="1"}} 1',
        ]
    return "\n".join(lines) + "\n"


def _free_port() -> int:
    with socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


def _ask(port: int, query: str) -> list[dict[str, object]]:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=60) as answer:  # loopback
        return list(json.load(answer)["data"]["result"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rules", description=__doc__)
    parser.add_argument("--environments", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=5.0)
    asked = parser.parse_args()
    program = shutil.which("prometheus")
    if program is None:
        sys.exit("prometheus is not installed")
    since = time.time()

    class Shown(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exposition(asked.environments, since).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as folder:
        home, port = Path(folder), _free_port()
        for name, document in rule_documents(shipped()).items():
            (home / name).write_text(yaml.safe_dump(document, sort_keys=False))
        target = f"127.0.0.1:{server.server_port}"
        scrape = {
            "job_name": "plant",
            "honor_labels": True,
            "static_configs": [{"targets": [target]}],
        }
        here = {
            "job_name": "prometheus",
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        config = {
            "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
            "rule_files": [str(home / "*.yml")],
            "scrape_configs": [scrape, here],
        }
        (home / "prometheus.yaml").write_text(yaml.safe_dump(config))
        core = min(os.sched_getaffinity(0))
        with (home / "log").open("wb") as log:
            running = subprocess.Popen(
                [
                    program,
                    f"--config.file={home / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={home / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, "GOMAXPROCS": "1"},
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        try:
            time.sleep(asked.minutes * 60)
            if running.poll() is not None:
                sys.exit((home / "log").read_text()[-2000:])
            _report(port, asked.environments)
        finally:
            running.terminate()
            running.wait(60)
            server.shutdown()


def _report(port: int, environments: int) -> None:
    up = sum(float(row["value"][1]) for row in _ask(port, "count(slo:environment_up:bool)"))  # type: ignore[index]
    failed = _ask(port, "sum(prometheus_rule_evaluation_failures_total)")
    print(
        f"{environments} environments, {up:.0f} with rules; failed evaluations: {failed[0]['value'][1]}"
    )  # type: ignore[index]
    if up != environments:
        sys.exit("not every environment was evaluated")
    intervals = {
        row["metric"]["rule_group"]: float(row["value"][1])  # type: ignore[index]
        for row in _ask(port, "prometheus_rule_group_interval_seconds")
    }
    share = 0.0
    for row in _ask(port, "prometheus_rule_group_last_duration_seconds"):
        group = row["metric"]["rule_group"]  # type: ignore[index]
        took = float(row["value"][1])  # type: ignore[index]
        share += took / intervals[group]
        title = group.rsplit(";", 1)[-1]
        print(
            f"{title:24} {took:8.3f} s of {intervals[group]:6.0f} s: {took / intervals[group]:.1%}"
        )
    (used,) = _ask(port, 'rate(process_cpu_seconds_total{job="prometheus"}[2m])')
    print(
        f"processor time of all of Prometheus, scraping included: {float(used['value'][1]):.1%} of a core"
    )  # type: ignore[index]
    print(f"all groups: {share:.1%} of the time on one core; wanted: at most {WANTED:.0%}")


if __name__ == "__main__":
    main()
