"""The OpenAPI document is made once for each language and format, and is the one that would be made anew."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client, RequestFactory
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView
from millwright.api import schema_view

from tests.support.plant import Plant, signed_in

pytestmark = pytest.mark.django_db

PATH = "/api/v1/schema/"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """One entry for each time that it is made; nothing is kept of what was made before."""
    monkeypatch.setattr(schema_view, "_kept", {})
    found: list[object] = []
    make = SchemaGenerator.get_schema

    def counted(self: SchemaGenerator, *given: object, **named: object) -> object:
        found.append(self)
        return make(self, *given, **named)

    monkeypatch.setattr(SchemaGenerator, "get_schema", counted)
    yield found


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_the_second_answer_is_the_first_and_nothing_is_made_for_it(
    plant: Plant, made: list[object], form: str
) -> None:
    asked = f"{PATH}?format={form}"
    first = signed_in(plant.engineer).get(asked)
    second = signed_in(plant.administrator).get(asked)
    assert len(made) == 1
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.content == first.content
    assert second.headers["Content-Disposition"] == first.headers["Content-Disposition"]
    # As if nothing were kept.
    request = RequestFactory().get(asked)
    anew = SpectacularAPIView.as_view()(request).render()
    assert len(made) == 2
    assert anew.content == first.content
    for name in ("Content-Type", "Content-Disposition"):
        assert first.headers[name] == anew.headers[name]
    assert "Accept" in second.headers["Vary"]


def test_languages_and_formats_have_their_own_and_a_named_version_is_not_kept(
    plant: Plant, made: list[object]
) -> None:
    client = signed_in(plant.engineer)
    told = {
        language: client.get(f"{PATH}?format=json&lang={language}").content
        for language in ("en", "de", "zh-hans")
    }
    assert len(made) == 3 and len(set(told.values())) == 3
    assert (
        client.get(f"{PATH}?format=json", headers={"accept-language": "de"}).content == told["de"]
    )
    assert len(made) == 3
    assert client.get(f"{PATH}?format=yaml&lang=de").content != told["de"]
    # What a reader makes up fills nothing.
    kept = dict(schema_view._kept)
    assert client.get(f"{PATH}?format=json&version=7").json()["info"]["version"] == "1 (7)"
    client.get(f"{PATH}?format=json&lang=fr")
    assert schema_view._kept == kept
    assert client.get(f"{PATH}?format=json&lang=en").json()["info"]["version"] == "1"


def test_who_may_not_read_it_may_not_once_it_is_kept(plant: Plant, made: list[object]) -> None:
    wrong = {"authorization": "Bearer mw_unknown"}
    before = Client().get(PATH, headers=wrong), Client().get(PATH)
    assert signed_in(plant.engineer).get(PATH).status_code == 200
    after = Client().get(PATH, headers=wrong), Client().get(PATH)
    assert [row.status_code for row in after] == [row.status_code for row in before]
    assert after[0].status_code == 401
    assert Client().post(PATH).status_code in (401, 403, 405)
