"""The handler under uvicorn: pages by all of the middleware, programs with a token by a shorter way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings
from django.http import StreamingHttpResponse
from millwright.accounts.actions import issue_token
from millwright.settings.handler import NOT_FOR_TOKENS, OneThreadHandler, Portal, by_token

from tests.support.plant import Plant


def _scope(path: str, **headers: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")]
        + [(name.encode(), value.encode()) for name, value in headers.items()],
    }


async def _ask(
    portal: Portal | OneThreadHandler, scope: dict[str, Any]
) -> tuple[int, dict[str, str], bytes]:
    sent: list[dict[str, Any]] = []
    given = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if given:
            return given.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.wait_for(portal(scope, receive, send), 60)
    headers = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(row.get("body", b"") for row in sent[1:])


@pytest.mark.django_db(transaction=True)
def test_pages_and_programs(plant: Plant) -> None:
    _token, secret = issue_token(plant.operator, plant.operator, "program")
    portal = Portal(2)
    bearer = {"authorization": f"Bearer {secret}"}

    async def ask() -> list[tuple[int, dict[str, str], bytes]]:
        return [
            await _ask(portal, _scope("/api/v1/hosts/", **bearer)),
            await _ask(portal, _scope("/api/v1/hosts/", authorization="Bearer wrong")),
            await _ask(portal, _scope("/api/v1/hosts/")),
            await _ask(portal, _scope("/api/v1/hosts", **bearer)),
            await _ask(portal, _scope("/accounts/login/")),
        ]

    program, wrong, nobody, redirected, page = asyncio.run(ask())
    assert program[0] == 200
    assert program[2].startswith(b'{"next":')
    assert int(program[1]["content-length"]) == len(program[2])
    for header in ("x-content-type-options", "x-frame-options", "x-request-id", "content-security-policy", "etag"):  # fmt: skip
        assert header in program[1], header
    assert "set-cookie" not in program[1]
    assert (wrong[0], nobody[0], redirected[0]) == (401, 401, 301)
    assert page[0] == 200
    assert b"csrfmiddlewaretoken" in page[2]


def test_who_goes_the_shorter_way() -> None:
    assert by_token(_scope("/api/v1/hosts/", authorization="bearer x"))
    assert not by_token(_scope("/api/v1/hosts/"))
    assert not by_token(_scope("/api/v1/hosts/", authorization="Basic x"))
    assert not by_token(_scope("/environments/", authorization="Bearer x"))
    # A browser that is somebody already is checked as such.
    assert not by_token(_scope("/api/v1/hosts/", authorization="Bearer x", cookie="a=b"))
    assert set(settings.MIDDLEWARE) >= NOT_FOR_TOKENS, "each name is one that there is"


@pytest.mark.django_db(transaction=True)
def test_a_stream_is_made_in_a_thread_of_the_request_and_closed_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, closed = [], []

    class Answer(StreamingHttpResponse):
        def close(self) -> None:
            closed.append(threading.current_thread().name)
            super().close()

    def rows() -> Iterator[str]:
        for number in range(3):
            made.append(threading.current_thread().name)
            yield f"{number};"

    handler = OneThreadHandler(ThreadPoolExecutor(1, thread_name_prefix="request"), ())
    monkeypatch.setattr(handler, "get_response", lambda request: Answer(rows()))
    status, _headers, body = asyncio.run(_ask(handler, _scope("/audit/export/")))
    assert (status, body) == (200, b"0;1;2;")
    assert {name.partition("_")[0] for name in made + closed} == {"request"}
    assert len(closed) == 1
