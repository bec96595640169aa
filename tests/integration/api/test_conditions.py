"""ETag, If-None-Match, If-Match, ordering and walking lists page by page."""

from __future__ import annotations

from typing import Any

import pytest
from millwright.accounts.actions import issue_token
from millwright.api.throttles import Changes
from millwright.environments import actions
from millwright.environments.models import Environment, Request
from millwright.shopfloor import actions as shopfloor
from rest_framework.test import APIClient

from tests.support.plant import Plant


def _client(user: Any) -> APIClient:
    _, secret = issue_token(None, user, "test")
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return made


def _draft(plant: Plant, name: str = "filling-line-1") -> Request:
    return actions.create_request(plant.engineer, **plant.request_fields(name))


def test_what_did_not_change_is_not_sent_again(plant: Plant) -> None:
    request, erin = _draft(plant), _client(plant.engineer)
    for url in (f"/api/v1/requests/{request.pk}/", "/api/v1/requests/"):
        tag = erin.get(url)["ETag"]
        again = erin.get(url, HTTP_IF_NONE_MATCH=f'"other", W/{tag}')
        assert (again.status_code, again.content) == (304, b"")
    actions.submit_request(plant.engineer, request)
    changed = erin.get(f"/api/v1/requests/{request.pk}/", HTTP_IF_NONE_MATCH=tag)
    assert changed.status_code == 200
    assert changed["ETag"] != tag


def test_a_change_of_what_was_not_seen_is_refused_and_changes_nothing(plant: Plant) -> None:
    request = actions.submit_request(plant.engineer, _draft(plant))
    url, max_ = f"/api/v1/requests/{request.pk}/", _client(plant.approver)
    tag = max_.get(url)["ETag"]
    Request.objects.filter(pk=request.pk).update(lease_days=300)
    refused = max_.post(f"{url}approve/", HTTP_IF_MATCH=tag)
    assert refused.status_code == 412
    assert refused.json()["code"] == "precondition_failed"
    assert not Environment.objects.exists()
    done = max_.post(f"{url}approve/", HTTP_IF_MATCH=max_.get(url)["ETag"])
    assert (done.status_code, done.json()["state"]) == (200, "approved")
    assert max_.post(f"{url}reject/", {"reason": "x"}, "json", HTTP_IF_MATCH="*").status_code == 409


def test_a_weak_tag_never_allows_a_change(plant: Plant) -> None:
    request, erin = _draft(plant), _client(plant.engineer)
    url = f"/api/v1/requests/{request.pk}/"
    tag = erin.get(url)["ETag"]
    assert erin.post(f"{url}submit/", HTTP_IF_MATCH=f"W/{tag}").status_code == 412


def _world(plant: Plant) -> None:
    plant.project.quota_environments = 9
    plant.project.save()
    for number in range(3):
        request = actions.submit_request(plant.engineer, _draft(plant, f"line-{number}"))
        actions.approve_request(plant.approver, request)
        machine = Environment.objects.get(name=f"line-{number}").machines.get()
        device = shopfloor.add_device(
            plant.engineer,
            name=f"device-{number}",
            project=plant.project,
            cell=plant.cell,
            address=f"10.90.1.{20 + number}",
            port=502,
        )
        shopfloor.set_mappings(
            plant.engineer,
            machine,
            device,
            [
                {"tag": f"Main.t{n}", "area": "input", "register": str(n), "direction": "in"}
                for n in range(2)
            ],
        )


@pytest.mark.parametrize(
    "name",
    [
        "requests",
        "environments",
        "machines",
        "operations",
        "devices",
        "mappings",
        "hosts",
        "cells",
        "templates",
        "projects",
        "audit",
    ],
)
def test_every_list_is_walked_page_by_page_without_loss_or_repetition(
    plant: Plant, name: str
) -> None:
    _world(plant)
    caller = _client(plant.administrator)
    whole = caller.get(f"/api/v1/{name}/", {"page_size": 500}).json()["results"]
    walked: list[Any] = []
    url = f"/api/v1/{name}/?page_size=1"
    while url:
        page = caller.get(url).json()
        walked += page["results"]
        url = page["next"]
        assert len(walked) <= len(whole)
    assert walked == whole


def test_a_list_is_ordered_as_asked_and_names_what_it_offers(plant: Plant) -> None:
    _world(plant)
    erin = _client(plant.engineer)

    def names(ordering: str) -> list[str]:
        rows = erin.get("/api/v1/environments/", {"ordering": ordering}).json()["results"]
        return [row["name"] for row in rows]

    assert names("name") == ["line-0", "line-1", "line-2"]
    assert names("-name") == ["line-2", "line-1", "line-0"]
    refused = erin.get("/api/v1/environments/", {"ordering": "owner__password"})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "ordering"
    assert "name, created_at, state_since" in refused.json()["detail"]


def test_too_many_changes_are_slowed_and_reading_goes_on(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Changes, "rate", "2/min")
    erin = _client(plant.engineer)
    codes = [erin.post("/api/v1/requests/", {}, format="json").status_code for _ in range(3)]
    assert codes == [400, 400, 429]
    limited = erin.post("/api/v1/requests/", {}, format="json")
    assert int(limited["Retry-After"]) > 0
    assert erin.get("/api/v1/requests/").status_code == 200


def test_a_limit_holds_over_every_minute_not_only_the_clocks(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [60_000_000.0]
    monkeypatch.setattr(Changes, "rate", "4/min")
    monkeypatch.setattr(Changes, "timer", staticmethod(lambda: clock[0]))
    erin = _client(plant.engineer)

    def at(second: float, times: int) -> list[int]:
        clock[0] = 60_000_000.0 + second
        return [erin.post("/api/v1/requests/", {}, format="json").status_code for _ in range(times)]

    assert at(50, 5) == [400, 400, 400, 400, 429]
    # The next minute of the clock has begun, and four were just now.
    assert at(65, 1) == [429]
    assert at(80, 2) == [400, 429]
    # A minute of rest, and everything is as at first.
    assert at(300, 5) == [400, 400, 400, 400, 429]
