"""The API as a program uses it: tokens, problems, replays, what another project may see."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import get_resolver
from django.utils import timezone
from millwright.accounts.actions import issue_token, revoke_token
from millwright.accounts.models import User
from millwright.api.idempotency import IdempotentMixin
from millwright.balancing import recommending
from millwright.environments.models import Environment, Operation, Request
from rest_framework.test import APIClient

from tests.support.plant import Plant


def client(user: User, scope: str = "write") -> APIClient:
    _, secret = issue_token(None, user, "test", scope=scope)
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    return made


BODY = {
    "name": "filling-line-1",
    "project": "line-1",
    "template": "vplc",
    "size": "small",
    "cell": "line1",
    "lease_days": 30,
}


def test_the_main_jobs_road(plant: Plant) -> None:
    erin, max_ = client(plant.engineer), client(plant.approver)
    made = erin.post("/api/v1/requests/", BODY, format="json")
    assert made.status_code == 201, made.json()
    number = made.json()["id"]
    assert erin.post(f"/api/v1/requests/{number}/submit/").json()["state"] == "submitted"
    refused = erin.post(f"/api/v1/requests/{number}/approve/")
    assert (refused.status_code, refused["Content-Type"]) == (403, "application/problem+json")
    approved = max_.post(f"/api/v1/requests/{number}/approve/", {"reason": "go"}, format="json")
    assert approved.json()["environment"] == "filling-line-1"
    status = erin.get("/api/v1/status/").json()
    assert status["environments"][0]["machines"][0]["name"] == "vplc"
    assert erin.get("/api/v1/operations/").json()["results"][0]["kind"] == "provision"


def test_another_project_sees_and_touches_nothing(plant: Plant) -> None:
    erin, stan = client(plant.engineer), client(plant.stranger)
    number = erin.post("/api/v1/requests/", BODY, format="json").json()["id"]
    assert stan.get("/api/v1/requests/").json()["results"] == []
    assert stan.get(f"/api/v1/requests/{number}/").status_code == 404
    assert stan.post(f"/api/v1/requests/{number}/submit/").status_code == 404
    theirs = stan.post("/api/v1/requests/", BODY, format="json")
    assert theirs.status_code == 400
    assert theirs.json()["errors"][0]["field"] == "project"


def test_a_replay_gives_the_first_answer_and_another_body_is_refused(plant: Plant) -> None:
    erin = client(plant.engineer)
    first = erin.post("/api/v1/requests/", BODY, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    again = erin.post("/api/v1/requests/", BODY, format="json", HTTP_IDEMPOTENCY_KEY="k1")
    assert again.json() == first.json()
    assert again["Idempotent-Replay"] == "true"
    assert Request.objects.count() == 1
    other = erin.post(
        "/api/v1/requests/", {**BODY, "name": "other"}, format="json", HTTP_IDEMPOTENCY_KEY="k1"
    )
    assert other.status_code == 422


def test_a_replay_says_times_as_the_first_answer_did(plant: Plant) -> None:
    row = recommending.balancer()
    row.last_round = timezone.now()
    row.save()
    keeper = client(plant.administrator)
    answers = [
        keeper.post(
            "/api/v1/recommendations/mode/", {"mode": "shadow", "level": 3}, format="json",
            HTTP_IDEMPOTENCY_KEY="k4",
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].json()
    assert "T" in answers[0].json()["next_round"]
    assert answers[1]["Idempotent-Replay"] == "true"
    assert answers[1].json() == answers[0].json()


def test_a_failed_request_may_be_tried_again_with_its_key(plant: Plant) -> None:
    erin = client(plant.engineer)
    wrong = {**BODY, "size": "huge"}
    for _ in range(2):
        answer = erin.post("/api/v1/requests/", wrong, format="json", HTTP_IDEMPOTENCY_KEY="k2")
        assert answer.status_code == 400
        assert answer.json()["errors"] == [
            {
                "field": "size",
                "message": "'huge' is not a size of vplc; there are: small",
                "code": "invalid",
            }
        ]


def test_a_process_killed_before_its_answer_leaves_neither_change_nor_key(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millwright.api.models import IdempotentRequest

    class Killed(BaseException):
        pass

    save = IdempotentRequest.save

    def killed(self: IdempotentRequest, *args: Any, **options: Any) -> None:
        if "update_fields" in options:  # the answer; the key itself is inserted
            raise Killed
        save(self, *args, **options)

    erin = client(plant.engineer)
    with monkeypatch.context() as patched:
        patched.setattr(IdempotentRequest, "save", killed)
        with pytest.raises(Killed):
            erin.post("/api/v1/requests/", BODY, format="json", HTTP_IDEMPOTENCY_KEY="k3")
    assert Request.objects.count() == IdempotentRequest.objects.count() == 0
    assert (
        erin.post("/api/v1/requests/", BODY, format="json", HTTP_IDEMPOTENCY_KEY="k3").status_code
        == 201
    )


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Bearer a b"])
def test_without_a_token_nothing_is_answered(plant: Plant, header: str) -> None:
    anonymous = APIClient()
    if header:
        anonymous.credentials(HTTP_AUTHORIZATION=header)
    answer = anonymous.get("/api/v1/requests/")
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/problem+json"


def test_a_reading_token_changes_nothing_and_a_revoked_one_reads_nothing(plant: Plant) -> None:
    reader = client(plant.engineer, scope="read")
    assert reader.get("/api/v1/requests/").status_code == 200
    assert reader.post("/api/v1/requests/", BODY, format="json").status_code == 403
    token, secret = issue_token(None, plant.engineer, "gone", lifetime=dt.timedelta(hours=1))
    revoke_token(plant.engineer, token)
    revoked = APIClient()
    revoked.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}")
    assert revoked.get("/api/v1/requests/").status_code == 401


def test_discovery_lists_what_prometheus_may_scrape(plant: Plant) -> None:
    prometheus = client(plant.operator, scope="discovery")
    assert prometheus.get("/api/v1/prometheus/targets").json() == []
    assert prometheus.get("/api/v1/requests/").status_code == 403
    assert client(plant.engineer).get("/api/v1/prometheus/targets").status_code == 403


#: path → who may read it: anonymous, engineer, approver, operator, a stranger from another project
READ: dict[str, dict[str, int]] = (
    {
        name: {"anonymous": 401, "engineer": 200, "approver": 200, "operator": 200, "stranger": 200}
        for name in (
            "requests",
            "environments",
            "machines",
            "operations",
            "programs",
            "program-versions",
            "deployments",
            "devices",
            "mappings",
            "stations",
            "modbus-security",
            "set-points",
            "service-levels",
            "intervals",
            "maintenance-windows",
            "contracts",
            "seals",
            "rules",
            "views",
            "cells",
            "templates",
            "projects",
            "audit",
            "members",
            "delegations",
            "notifications",
            "deliveries",
            "status",
        )
    }
    | {
        name: {"anonymous": 401, "engineer": 403, "approver": 403, "operator": 403, "stranger": 403}
        for name in ("people", "webhooks")
    }
    | {
        name: {"anonymous": 401, "engineer": 403, "approver": 403, "operator": 200, "stranger": 403}
        for name in (
            "hosts",
            "drifts",
            "old-disks",
            "recommendations",
            "recoveries",
            "rolling-drains",
            "pools",
        )
    }
)


@pytest.mark.parametrize("name", sorted(READ))
@pytest.mark.parametrize("who", ["anonymous", "engineer", "approver", "operator", "stranger"])
def test_who_may_read_each_list(plant: Plant, name: str, who: str) -> None:
    caller = APIClient() if who == "anonymous" else client(getattr(plant, who))
    assert caller.get(f"/api/v1/{name}/").status_code == READ[name][who]


def test_every_registered_endpoint_is_in_the_matrix() -> None:
    from millwright.api.urls import router

    assert {prefix for prefix, _, _ in router.registry} | {"status"} == set(READ)


def _objects(plant: Plant) -> dict[str, Any]:
    from millwright.environments import actions as environments
    from millwright.shopfloor import actions as shopfloor

    request = environments.create_request(plant.engineer, **plant.request_fields())
    environments.approve_request(
        plant.approver, environments.submit_request(plant.engineer, request)
    )
    environment, operation = Environment.objects.get(), Operation.objects.get()
    version = shopfloor.upload_program(
        plant.engineer, plant.project, "filling", {"src/main.st": "PROGRAM Main\nEND_PROGRAM\n"}
    )
    device = shopfloor.add_device(
        plant.engineer,
        name="station",
        project=plant.project,
        cell=plant.cell,
        address="10.90.1.50",
        port=502,
    )
    return {
        f"requests/{request.pk}": request,
        f"environments/{environment.name}": environment,
        f"machines/{environment.machines.get().pk}": None,
        f"operations/{operation.pk}": operation,
        f"programs/{version.program.pk}": version,
        f"program-versions/{version.pk}": version,
        f"devices/{device.pk}": device,
        f"projects/{plant.project.slug}": plant.project,
    }


def test_objects_are_hidden_from_another_project_and_shown_to_their_own(plant: Plant) -> None:
    paths = _objects(plant)
    erin, stan, oda = client(plant.engineer), client(plant.stranger), client(plant.operator)
    for path in paths:
        url = f"/api/v1/{path}/"
        assert (erin.get(url).status_code, oda.get(url).status_code, stan.get(url).status_code) == (
            200,
            200,
            404,
        ), path


@pytest.mark.parametrize(
    ("verb", "who"),
    [
        ("environments/filling-line-1/stop", "approver"),
        ("environments/filling-line-1/remove", "approver"),
        ("environments/filling-line-1/extend", "approver"),
        ("hosts/mw0-h1/cordon", "engineer"),
    ],
)
def test_a_verb_without_its_role_is_refused(plant: Plant, verb: str, who: str) -> None:
    _objects(plant)
    answer = client(getattr(plant, who)).post(f"/api/v1/{verb}/", {"days": 3}, format="json")
    assert answer.status_code == 403, answer.json()


@pytest.mark.parametrize("name", sorted(READ))
def test_a_list_costs_the_same_number_of_queries_whatever_its_length(
    plant: Plant, name: str, django_assert_max_num_queries: Any
) -> None:
    _objects(plant)
    caller = client(plant.administrator)
    caller.get(f"/api/v1/{name}/")
    with django_assert_max_num_queries(10):
        assert caller.get(f"/api/v1/{name}/").status_code == 200


def test_the_schema_has_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import call_command

    call_command("spectacular", fail_on_warn=True, validate=True)
    assert "/api/v1/requests/{id}/approve/" in capsys.readouterr().out


def test_every_post_of_the_api_can_be_repeated_under_its_key() -> None:
    def views(patterns: Any) -> Iterator[tuple[str, Any]]:
        for pattern in patterns:
            if hasattr(pattern, "url_patterns"):
                yield from views(pattern.url_patterns)
            else:
                yield str(pattern.pattern), pattern.callback

    posts = [
        (place, view.cls)
        for place, view in views(get_resolver("millwright.api.urls").url_patterns)
        if hasattr(view, "cls")
        and (
            "post" in view.actions if getattr(view, "actions", None) else hasattr(view.cls, "post")
        )
    ]
    assert len(posts) > 80
    assert not [place for place, view in posts if not issubclass(view, IdempotentMixin)]


def test_titles_of_refusals_are_whole(plant: Plant) -> None:
    erin = client(plant.engineer)
    method = erin.delete("/api/v1/requests/")
    kind = erin.post("/api/v1/requests/", "name: x", content_type="text/plain")
    assert [(answer.status_code, answer.json()["title"]) for answer in (method, kind)] == [
        (405, "Method Not Allowed"),
        (415, "Unsupported Media Type"),
    ]
    assert "text/plain" in kind.json()["detail"]
