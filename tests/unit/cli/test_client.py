"""The API's client."""

from __future__ import annotations

import httpx
import pytest
from millwright.cli.client import Api


def test_further_pages_are_asked_where_the_first_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        following = "https://portal.plant/api/v1/stations/?cursor=abc%3D&page_size=2"
        last = "cursor" in request.url.params
        return httpx.Response(
            200, json={"results": [len(asked)], "next": None if last else following}
        )

    api = Api("https://10.98.1.15:8443", "secret")
    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(
        api,
        "_client",
        httpx.Client(base_url="https://10.98.1.15:8443/api/v1/", transport=transport),
    )
    assert list(api.rows("stations/", page_size=2)) == [1, 2]
    assert asked == [
        "https://10.98.1.15:8443/api/v1/stations/?page_size=2",
        "https://10.98.1.15:8443/api/v1/stations/?cursor=abc%3D&page_size=2",
    ]
