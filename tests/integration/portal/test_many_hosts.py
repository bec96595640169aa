"""Where a request would be placed in a pool of many hosts: counts, the first of them, and all on demand."""

from __future__ import annotations

import html
import re

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import translation
from millwright.core.placement import IN_BRIEF
from millwright.environments import actions
from millwright.environments.briefs import BRIEFS
from millwright.environments.reasons import said
from millwright.inventory.models import Host

from tests.support.plant import Plant, signed_in


def add_hosts(plant: Plant) -> None:
    """Sixty more, cordoned, beside the plant's own."""
    first = plant.hosts[0]
    Host.objects.bulk_create(
        Host(
            name=f"mw9-h{n:02}",
            uri=f"test:///{n}",
            policy=first.policy,
            topology=first.topology,
            capabilities=first.capabilities,
            memory_bytes=first.memory_bytes,
            disk_bytes=first.disk_bytes,
            disk_free_bytes=first.disk_free_bytes,
            health=first.health,
            administration="cordoned",
        )
        for n in range(60)
    )


@pytest.fixture
def many(plant: Plant) -> Plant:
    add_hosts(plant)
    return plant


def _rows(page: str) -> int:
    return len(re.findall(r'<th scope="row" class="fw-normal">', page))


def test_the_form_tells_of_the_first_hosts_and_of_all_when_asked(many: Plant) -> None:
    erin, place = signed_in(many.engineer), reverse("portal:request_preview")
    asked = many.request_form(name="mixer")
    page = erin.get(place, asked).content.decode()
    assert f"{len(many.hosts)} hosts would take it" in page and "60 × cordoned" in page
    assert f"{60 + len(many.hosts)} hosts were asked" in page
    assert "These are the first 50." in page and _rows(page) == 50
    (link,) = re.findall(r'<button type="button"[^>]* hx-get="([^"]+)"', page)
    whole = erin.get(html.unescape(link)).content.decode()
    assert _rows(whole) == 60 + len(many.hosts) and "These are the first" not in whole
    assert "<details open>" in whole and "autofocus" in whole and "autofocus" not in page
    # Neither a token nor an earlier word goes into the address.
    sent = {**asked, "csrfmiddlewaretoken": "x1y2", "hosts": "few"}
    again = html.unescape(erin.get(place, sent).content.decode())
    assert "x1y2" not in again and "hosts=few" not in again and again.count("hosts=all") == 1
    # Under each reason the hosts against which it stands.
    assert re.search(r"60 × cordoned</summary><div[^>]*>mw9-h00, mw9-h01, ", page)
    german = erin.get(place, asked, headers={"accept-language": "de"}).content.decode()
    assert "60 × gesperrt" in german


def test_a_request_keeps_the_first_hosts_and_the_counts(many: Plant) -> None:
    draft = actions.create_request(many.engineer, **many.request_fields("mixer"))
    erin, place = signed_in(many.engineer), reverse("portal:request", args=[draft.pk])
    assert _rows(erin.get(place).content.decode()) == 50
    assert _rows(erin.get(place, {"hosts": "all"}).content.decode()) == 60 + len(many.hosts)
    row = actions.submit_request(many.engineer, draft)
    assert len(row.placement["hosts"]) == 50 and row.placement["asked"] == 60 + len(many.hosts)
    assert [each["count"] for each in row.placement["counts"]] == [len(many.hosts), 60]
    assert row.placement["counts"][1]["hosts"] == [f"mw9-h{n:02}" for n in range(60)]
    # What was kept when it was decided cannot tell of more.
    actions.approve_request(many.approver, row)
    page = erin.get(place).content.decode()
    assert _rows(page) == 50 and "hosts=all" not in page
    # Programs are told of every host.
    asked = many.request_fields("mixer-2")
    body = {
        "project": many.project.slug,
        "template": asked["template_version"].template.name,
        "size": asked["size"],
        "name": "mixer-2",
        "cell": many.cell.slug,
        "lease_days": 7,
    }
    told = erin.post("/api/v1/requests/preview/", body, content_type="application/json")
    assert len(told.json()["hosts"]) == told.json()["asked"] == 60 + len(many.hosts)


def test_where_no_host_takes_it_the_reasons_are_counted_in_the_reader_s_words(many: Plant) -> None:
    draft = actions.create_request(many.engineer, **many.request_fields("mixer"))
    Host.objects.update(administration="cordoned")
    refused = signed_in(many.engineer).post(
        reverse("portal:request_decide", args=[draft.pk]), {"decision": "submit"}, follow=True
    )
    assert ">no host can take it: " in refused.content.decode()
    with (
        translation.override("de"),
        pytest.raises(ValidationError, match=rf"{60 + len(many.hosts)} × gesperrt"),
    ):
        actions.submit_request(many.engineer, draft)
    Host.objects.filter(name__startswith="mw9").delete()
    with translation.override("de"), pytest.raises(ValidationError, match="der Host ist gesperrt"):
        actions.submit_request(many.engineer, draft)


@pytest.mark.parametrize("language", ["de", "zh-hans"])
def test_every_reason_is_said_of_many_hosts_in_every_language(language: str) -> None:
    with translation.override(language):
        assert [code for code, text in IN_BRIEF.items() if str(BRIEFS[code]) == text] == []
    with translation.override("en"):
        assert {code: str(text) for code, text in BRIEFS.items()} == IN_BRIEF


def test_what_people_wrote_stays_though_it_is_said_of_hosts_too(many: Plant) -> None:
    assert translation.get_language() == "en"
    with translation.override("de"):
        assert [said(text) for text in ("down", "in maintenance", "cordoned; down")] == [
            "down", "in maintenance", "cordoned; down",
        ]  # fmt: skip


def test_a_placement_that_was_kept_with_every_host_is_shown_as_it_was(many: Plant) -> None:
    """As requests and machines have it that were placed before."""
    draft = actions.create_request(many.engineer, **many.request_fields("mixer"))
    row = actions.submit_request(many.engineer, draft)
    actions.approve_request(many.approver, row)
    row.refresh_from_db()
    hosts = row.placement["hosts"]
    kept = {"chosen": None, "wake_s": None, "notes": [], "hosts": [*hosts, *hosts[-10:]]}
    type(row).objects.filter(pk=row.pk).update(placement=kept)
    page = signed_in(many.engineer).get(reverse("portal:request", args=[row.pk])).content.decode()
    assert _rows(page) == 60 and "60 hosts were asked" in page and "<details open>" in page
    assert "These are the first" not in page and "hosts=all" not in page
