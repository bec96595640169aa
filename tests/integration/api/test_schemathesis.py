"""Generated requests against the OpenAPI document: never a 500, never an answer that the document does not promise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from millwright.accounts.actions import issue_token
from millwright.api.throttles import Changes, Reads
from millwright.environments import actions
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.plant import Plant

#: A stream has no end that a generated request could wait for; test_events.py covers it.
_STREAMS = "/api/v1/events"
CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


@pytest.fixture
def api(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The schema, asked as the administrator on a plant that has something of each."""
    from django.core.signals import request_finished, request_started
    from django.core.wsgi import get_wsgi_application
    from django.db import close_old_connections

    # As Django's own test client does: the test's transaction outlives each request.
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    monkeypatch.setattr(Reads, "rate", "1000000/min", raising=False)
    monkeypatch.setattr(Changes, "rate", "1000000/min")
    request = actions.create_request(plant.engineer, **plant.request_fields())
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    _, secret = issue_token(None, plant.administrator, "schemathesis")
    headers = {"Authorization": f"Bearer {secret}"}
    yield (
        schemathesis.openapi.from_wsgi(
            "/api/v1/schema/?format=json", get_wsgi_application(), headers=headers
        ),
        headers,
    )
    request_started.connect(close_old_connections)
    request_finished.connect(close_old_connections)


def _run(api: Any, examples: int) -> int:
    schema, headers = api
    problems: list[str] = []
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        if operation.path == _STREAMS:
            continue
        count += 1

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def attempt(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=list(CHECKS))

        try:
            attempt()
        except (Exception, BaseExceptionGroup) as error:  # all of them are told at once
            problems.append(f"{operation.label}: {error}"[:1200])
    assert not problems, "\n\n".join(problems)
    return count


def test_no_generated_request_breaks_the_schema(api: Any) -> None:
    assert _run(api, 3) > 30


@pytest.mark.full
def test_many_generated_requests_do_not_either(api: Any) -> None:
    assert _run(api, 100) > 30
