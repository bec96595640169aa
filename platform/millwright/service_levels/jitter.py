"""How late an environment's cycles began, over time: Prometheus' histogram as columns of a heat map."""

from __future__ import annotations

import datetime as dt
from typing import Any

import httpx

from millwright.settings import get_settings

#: Hours that a map may span, and columns that it has.
SPANS = (1, 6, 24, 168)
COLUMNS = 240
#: A rate needs several scrapes of 15 s.
LEAST_STEP_S = 60


class JitterUnavailableError(RuntimeError):
    """Prometheus does not answer, or not as it should; the text says how."""


def _base_url() -> str:
    return f"http://127.0.0.1:{get_settings().prometheus_port}"


def jitter_map(environment: str, hours: int, now: dt.datetime) -> dict[str, Any]:
    """Starts of cycles by lateness and time.

    Returns `times` (seconds since 1970, a column's end), `limits` (upper limits of lateness in seconds; None:
    beyond the last), and `counts[column][limit]`: how many cycles began so late in that column.

    Raises:
        JitterUnavailableError: says what Prometheus did.
    """
    step = max(LEAST_STEP_S, hours * 3600 // COLUMNS)
    end = int(now.timestamp()) // step * step
    query = (
        "sum by (le) (increase(vplc_start_lateness_seconds_bucket"
        f'{{environment="{environment}"}}[{step}s]))'
    )
    asked = {"query": query, "start": end - hours * 3600, "end": end, "step": step}
    try:
        with httpx.Client(base_url=_base_url(), timeout=10.0, trust_env=False) as client:
            answer = client.get("/api/v1/query_range", params=asked).json()
        rows = answer["data"]["result"]
        series = {
            float(row["metric"]["le"]): {int(at): float(value) for at, value in row["values"]}
            for row in rows
        }
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise JitterUnavailableError(type(error).__name__) from None
    limits = sorted(series)
    times = sorted({at for values in series.values() for at in values})
    counts = []
    for at in times:
        below, column = 0.0, []
        for limit in limits:
            reached = series[limit].get(at, below)
            # Extrapolated increases of two buckets may cross by a hair.
            column.append(round(max(0.0, reached - below), 2))
            below = max(below, reached)
        counts.append(column)
    return {
        "step": step,
        "times": times,
        "limits": [None if limit == float("inf") else limit for limit in limits],
        "counts": counts,
    }
