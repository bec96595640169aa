"""Each reads what happened in a language of his own, with times of the plant's zone, whoever did it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation
from millwright.accounts.language import choose_language, language_of
from millwright.accounts.models import User
from millwright.audit.models import AuditEntry
from millwright.environments import actions as environments
from millwright.environments.models import Request
from millwright.environments.reasons import said
from millwright.notifications import mail
from millwright.notifications.gather import gather
from millwright.notifications.models import Delivery, Notice
from millwright.orchestrator.rounds import requests as expire
from millwright.settings import get_settings

from tests.support.plant import Plant, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> str:
    """A plant in Shanghai, seven or eight hours before anybody's own."""
    changed = get_settings().model_copy(update={"time_zone": "Asia/Shanghai"})
    monkeypatch.setattr(mail, "get_settings", lambda: changed)
    return "Asia/Shanghai"


def _told(plant: Plant, user: User) -> str:
    """The letter about everything that is new for a person."""
    gather(timezone.now())
    rows = Delivery.objects.filter(user=user).select_related("notice").order_by("notice__at")
    found = mail.compose(user, [row.notice for row in rows if row.notice])
    return f"{found['Subject']}\n{found.get_content()}"


def test_a_letter_is_in_its_readers_language_and_not_in_that_of_who_acts(
    plant: Plant, zone: str
) -> None:
    gather(timezone.now())  # what happened before the first look is no news
    User.objects.update(email="somebody@plant.example")
    erin, max_ = (User.objects.get(username=name) for name in ("erin", "max"))
    choose_language(erin, "de")
    choose_language(max_, "zh-hans")
    with translation.override("zh-hans"):
        asked = environments.create_request(erin, **plant.request_fields())
        environments.submit_request(erin, asked)
        environments.approve_request(max_, Request.objects.get(), "ok")
    Notice.objects.update(at=dt.datetime(2026, 3, 1, 22, 30, tzinfo=dt.UTC))
    german, chinese = _told(plant, erin), _told(plant, max_)
    Notice.objects.update(at=dt.datetime(2026, 3, 1, 22, 30, tzinfo=dt.UTC))
    german, chinese = _told(plant, erin), _told(plant, max_)
    assert "filling-line-1 wurde genehmigt. ok" in german
    assert "02.03.2026 06:30" in german and "Zeiten in Asia/Shanghai." in german
    assert "申请" in chinese and "时间为 Asia/Shanghai。" in chinese
    assert "filling-line-1" in chinese and "genehmigt" not in chinese
    plain = _told(plant, User.objects.get(username="ada"))
    assert "asks for filling-line-1" in plain, "who chose nothing reads the plant's language"


def test_a_reason_that_millwright_gives_is_read_in_each_language(plant: Plant) -> None:
    gather(timezone.now())
    asked = environments.create_request(plant.engineer, **plant.request_fields())
    environments.submit_request(plant.engineer, asked)
    with translation.override("de"):
        assert expire(timezone.now() + dt.timedelta(days=400)) == 1
    gather(timezone.now())
    notice = Notice.objects.get(kind="request.rejected")
    assert notice.facts["why"] == "nobody decided in time", "the facts have no language"
    assert notice.text_in("de").endswith("niemand hat rechtzeitig entschieden")
    assert "无人及时决定" in notice.text_in("zh-hans")
    inbox = signed_in(plant.engineer)
    choose_language(plant.engineer, "de")
    assert "niemand hat rechtzeitig entschieden" in inbox.get("/notifications/").content.decode()


@pytest.mark.parametrize(
    ("written", "german"),
    [
        ("mw0-h1 does not answer", "mw0-h1 antwortet nicht"),
        ("vplc is crashed", "vplc ist abgestürzt"),
        ("nobody decided within 14 days", "niemand hat innerhalb von 14 Tagen entschieden"),
        (
            "request mixer by Erin Moss, approved by policy",
            "Antrag mixer von Erin Moss, genehmigt von Regel",
        ),
        ("the pump is loud", "the pump is loud"),
        ("vplc is loud", "vplc is loud"),
        ("100 % sure", "100 % sure"),
    ],
)
def test_what_people_wrote_stays_as_they_wrote_it(written: str, german: str) -> None:
    with translation.override("de"):
        assert said(written) == german
    assert said(written) == written


def test_a_language_goes_along_from_browser_to_browser(plant: Plant) -> None:
    signed_in(plant.engineer).post("/i18n/setlang/", {"language": "de", "next": "/"})
    assert User.objects.get(pk=plant.engineer.pk).language == "de"
    assert AuditEntry.objects.get(action="user.language").details["language"] == "de"
    other = Client(headers={"accept-language": "zh-hans"})
    other.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    assert '<html lang="de"' in other.get("/environments/").content.decode()
    # Whoever is not signed in changes this browser alone, and an unknown language changes nothing.
    stranger = Client()
    stranger.post("/i18n/setlang/", {"language": "zh-hans", "next": "/accounts/login/"})
    assert '<html lang="zh-hans"' in stranger.get("/accounts/login/").content.decode()
    other.post("/i18n/setlang/", {"language": "xx", "next": "/"})
    assert language_of(User.objects.get(pk=plant.engineer.pk)) == "de"
    assert language_of(plant.approver) == "en"


def test_the_page_of_choices_and_the_api_set_it(plant: Plant, django_user_model: Any) -> None:
    erin = signed_in(plant.engineer)
    erin.post("/notifications/choices/", {"inbox": "host.lost", "email": "", "language": "zh-hans"})
    assert 'value="zh-hans" selected' in erin.get("/notifications/choices/").content.decode()
    told = erin.post(
        "/api/v1/notifications/language/", {"language": "fr"}, content_type="application/json"
    )
    assert told.status_code == 400 and told.json()["errors"][0]["field"] == "language"
    erin.post("/api/v1/notifications/language/", {"language": ""}, content_type="application/json")
    assert erin.get("/api/v1/notifications/language/").json() == {"language": ""}
    assert django_user_model.objects.get(pk=plant.engineer.pk).language == ""
