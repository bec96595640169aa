"""The heat map's data, from a Prometheus that answers as the real one does, and from one that does not."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from millwright.service_levels import jitter

from tests.support.history import machine_of
from tests.support.plant import Plant

NOW = dt.datetime(2026, 6, 10, 12, tzinfo=dt.UTC)
END = int(NOW.timestamp())


@pytest.fixture
def prometheus(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Answers a range with what `body` holds; `asked` is the last question."""
    kept: dict[str, Any] = {"body": "", "asked": {}}

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kept["asked"] = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(kept["body"].encode())

        def log_message(self, *_words: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(jitter, "_base_url", lambda: f"http://127.0.0.1:{server.server_port}")
    yield kept
    server.shutdown()
    server.server_close()
    thread.join(30)


def series(le: str, *values: tuple[int, float]) -> dict[str, Any]:
    return {"metric": {"le": le}, "values": [[at, str(value)] for at, value in values]}


def test_cumulated_buckets_become_columns(prometheus: dict[str, Any]) -> None:
    rows = [
        series("+Inf", (END - 90, 100), (END, 110)),
        series("0.001", (END - 90, 98), (END, 60.5)),
        series("0.0001", (END - 90, 90), (END, 61)),
    ]
    prometheus["body"] = json.dumps({"status": "success", "data": {"result": rows}})
    found = jitter.jitter_map("filling-line-1", 6, NOW)
    assert found["limits"] == [0.0001, 0.001, None]
    assert found["times"] == [END - 90, END]
    # What was extrapolated below the smaller bucket is nothing, not less than nothing.
    assert found["counts"] == [[90, 8, 2], [61, 0, 49]]
    asked = prometheus["asked"]
    assert (asked["step"], int(asked["end"]) - int(asked["start"])) == ("90", 6 * 3600)
    assert 'environment="filling-line-1"' in asked["query"]
    jitter.jitter_map("filling-line-1", 1, NOW)
    assert prometheus["asked"]["step"] == "60"


@pytest.mark.parametrize("body", ["", "{}", '{"data": null}', '{"data": {"result": [{}]}}'])
def test_an_odd_answer_is_none(prometheus: dict[str, Any], body: str) -> None:
    prometheus["body"] = body
    with pytest.raises(jitter.JitterUnavailableError):
        jitter.jitter_map("filling-line-1", 6, NOW)


def test_the_page_asks_for_a_span_that_is_offered(plant: Plant, prometheus: dict[str, Any]) -> None:
    name = machine_of(plant).environment.name
    prometheus["body"] = json.dumps({"data": {"result": []}})
    caller = Client()
    caller.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    url = reverse("portal:environment_jitter", args=[name])
    assert caller.get(url, {"hours": "24"}).json()["times"] == []
    assert prometheus["asked"]["step"] == "360"
    caller.get(url, {"hours": "9999"})
    assert prometheus["asked"]["step"] == "90"
    prometheus["body"] = "no"
    answer = caller.get(url)
    assert answer.status_code == 503
    assert "Prometheus does not answer" in answer.json()["error"]
    text = caller.get(reverse("portal:environment_service_level", args=[name])).content.decode()
    assert f'data-source="{url}"' in text
