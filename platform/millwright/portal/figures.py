"""Scans, overruns and availability of environments, from Prometheus: one question each for all of them."""

from __future__ import annotations

import ssl
from collections.abc import Collection
from typing import Any

import httpx

from millwright.settings import get_settings

#: Figure → PromQL; `{0}` stands for the environments' names, which are slugs, joined by |.
QUERIES = {
    "scans": 'sum by (environment) (rate(vplc_scans_total{{environment=~"{0}"}}[1m]))',
    "scan_time": 'sum by (environment) (rate(vplc_scan_seconds_sum{{environment=~"{0}"}}[5m]))'
    ' / sum by (environment) (rate(vplc_scan_seconds_count{{environment=~"{0}"}}[5m]))',
    "overruns": 'sum by (environment) (increase(vplc_overruns_total{{environment=~"{0}"}}[1h]))',
    "availability": 'avg by (environment) (avg_over_time(up{{job="vplc",environment=~"{0}"}}[1h]))',
}


def figures(names: Collection[str]) -> tuple[dict[str, dict[str, Any]], str]:
    """Environment → what its page shows, and why there is nothing when Prometheus does not answer."""
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    url = f"http://127.0.0.1:{get_settings().prometheus_port}"
    # Without TLS there: this spares reading all the world's authorities.
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        with httpx.Client(base_url=url, timeout=3.0, verify=bare) as client:
            for key, query in QUERIES.items():
                data = {"query": query.format("|".join(sorted(names)))}
                answer = client.post("/api/v1/query", data=data).json()
                for row in answer.get("data", {}).get("result", []):
                    if (name := row["metric"].get("environment")) in found:
                        found[name][key] = float(row["value"][1])
    except (httpx.HTTPError, ValueError) as problem:
        return {name: {} for name in names}, type(problem).__name__
    return {name: _shown(row) for name, row in found.items()}, ""


def _shown(row: dict[str, float]) -> dict[str, Any]:
    scan_time, availability = row.get("scan_time"), row.get("availability")
    return {
        "scans": row.get("scans"),
        "overruns": row.get("overruns"),
        "scan_time_us": None if scan_time is None else scan_time * 1e6,
        "availability": None if availability is None else availability * 100,
    }
