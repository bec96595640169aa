"""Odd keys, moments and bodies are refused by name; nothing of them is an error of the server."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.support.history import machine_of
from tests.support.plant import Plant

HUGE = "9" * 22
ADDRESSES = (
    f"intervals/{HUGE}/",
    "intervals/x/",
    f"intervals/{HUGE}/notes/",
    f"seals/{HUGE}/",
    f"seals/{HUGE}/file/",
    f"contracts/{HUGE}/",
    "maintenance-windows/x/",
    "intervals/?incident=x",
    "intervals/?since=x",
    "seals/?month=x",
    "service-levels/none/?month=2026-01",
    "service-levels/none/report/?as=x",
    "intervals/?environment=%00",
)
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("intervals/merge/", {"intervals": [1, 2**63]}),
    ("intervals/merge/", {"intervals": ["a", "b"]}),
    ("contracts/preview/", {"service_class": "x", "availability_ratio": 0.9}),
    ("contracts/preview/", {"service_class": "realtime", "availability_ratio": "nan"}),
    (
        "maintenance-windows/",
        {
            "environment": "filling-line-1",
            "begins_at": "0001-01-01T00:00:00Z",
            "ends_at": "9999-12-31T23:59:59Z",
            "reason": "x",
        },
    ),
    (
        "maintenance-windows/",
        {
            "environment": "filling-line-1",
            "begins_at": "9999-12-30T00:00:00Z",
            "ends_at": "9999-12-31T23:59:59Z",
            "reason": "x",
            "every_days": 1,
            "until": "9999-12-31",
        },
    ),
    (
        "contracts/",
        {
            "availability_ratio": 0.9,
            "service_class": "shared",
            "valid_from": "9999-12-31T23:59:59-12:00",
        },
    ),
    (
        "contracts/",
        {
            "availability_ratio": 0.9,
            "service_class": "shared",
            "valid_from": "9999-12-31T23:59:59Z",
        },
    ),
    ("seals/", {"environment": "filling-line-1", "month": "0000-00"}),
    ("seals/", {"environment": "filling-line-1", "month": "2099-12"}),
    *(
        ("contracts/", {"availability_ratio": 0.9, "service_class": "shared", "hours": hours})
        for hours in (
            {"shifts": [{"from": "06:00", "to": "22:00", "days": [None]}]},
            {"holidays": ["2026-02-30", None]},
            {"shifts": [5]},
            {"shifts": 5},
            {"time_zone": ["x"]},
        )
    ),
)


@pytest.mark.django_db
def test_the_api_refuses_what_is_odd(plant: Plant) -> None:
    machine_of(plant)
    caller = APIClient(raise_request_exception=False)
    caller.force_authenticate(plant.administrator)
    met = {path: caller.get(f"/api/v1/{path}").status_code for path in ADDRESSES}
    wrong = {path: code for path, code in met.items() if code not in (400, 404)}
    # A name that no environment has is a list of nothing.
    assert wrong in ({}, {"intervals/?environment=%00": 200}), wrong
    for path, body in BODIES:
        answer = caller.post(f"/api/v1/{path}", body, format="json")
        assert answer.status_code == 400, (path, body, answer.status_code)
        assert answer.json()["errors"], path


@pytest.mark.django_db
def test_the_pages_refuse_what_is_odd(plant: Plant) -> None:
    machine_of(plant)
    caller = Client(raise_request_exception=False)
    caller.force_login(plant.administrator, backend="django.contrib.auth.backends.ModelBackend")
    for path in (
        f"/service-levels/ledger/{HUGE}/",
        "/environments/filling-line-1/report/2026-06/?as=sealed&number=99999",
        "/environments/filling-line-1/report/2026-06/?as=sealed&number=²",
        "/environments/none/jitter/",
        "/service-levels/maintenance/new/?environment=none",
        "/service-levels/contracts/edit/?environment=none",
    ):
        assert caller.get(path).status_code == 404, path
    assert caller.get("/service-levels/contracts/edit/?class=x").status_code == 302
    assert caller.get("/service-levels/?month=2026-99&q=%25&page=x").status_code in (200, 404)
    merged = caller.post("/service-levels/ledger/merge/", {"row": [HUGE, "²", "x"]}, follow=True)
    assert "choose at least two rows" in merged.content.decode()
    for moment in ("0001-01-01T00:00", "9999-12-31T23:59", "x"):
        fields = {
            "environment": "filling-line-1",
            "begins_at": moment,
            "ends_at": moment,
            "reason": "x",
        }
        assert caller.post("/service-levels/maintenance/new/", fields).status_code == 422, moment
