"""Pages, forms, refusals and the API in the reader's language."""

import datetime as dt
import gettext as gettext_module
from pathlib import Path

import django
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.formats import date_format
from django.utils.translation import to_locale
from millwright.accounts.actions import issue_token
from rest_framework.test import APIClient

from tests.support.plant import Plant


def _client(plant: Plant) -> Client:
    made = Client(headers={"accept-language": "zh-hans"})
    made.force_login(plant.engineer, backend="django.contrib.auth.backends.ModelBackend")
    return made


def test_pages_speak_chinese_and_say_so(plant: Plant) -> None:
    text = _client(plant).get(reverse("portal:environments")).content.decode()
    assert '<html lang="zh-hans"' in text
    for word in ("环境", "申请", "资源池", "退出登录"):
        assert word in text


def test_a_chosen_language_outweighs_the_browsers(plant: Plant) -> None:
    made = _client(plant)
    made.post("/i18n/setlang/", {"language": "en", "next": "/"})
    assert '<html lang="en"' in made.get(reverse("portal:environments")).content.decode()


def test_a_refusal_is_in_the_callers_language(plant: Plant) -> None:
    _, secret = issue_token(None, plant.engineer, "test")
    made = APIClient()
    made.credentials(HTTP_AUTHORIZATION=f"Bearer {secret}", HTTP_ACCEPT_LANGUAGE="zh-hans")
    body = {
        "name": "Line 1",
        "project": "line-1",
        "template": "vplc",
        "size": "small",
        "cell": "line1",
    }
    answer = made.post("/api/v1/requests/", body, format="json")
    assert answer.status_code == 400
    assert answer.json()["errors"][0] == {
        "field": "name",
        "message": "'Line 1'：只能使用小写字母、数字和连字符，以字母开头，最多 40 个字符。",
        "code": "invalid",
    }


@pytest.mark.parametrize("language", ["de", "zh-hans"])
def test_days_and_months_have_their_own_names(language: str) -> None:
    """A word of ours that is written as a month's would be its name, too: "May 2026" was no month in German."""
    months = [dt.date(2026, number, 1) for number in range(1, 13)]
    with translation.override(language):
        shown = [date_format(day, "F") for day in months]
        shown += [date_format(dt.date(2026, 6, number), "l") for number in range(1, 8)]
    catalogue = gettext_module.translation(
        "django", str(Path(django.__file__).parent / "conf/locale"), [to_locale(language)]
    )
    english = [day.strftime("%B") for day in months]
    english += [dt.date(2026, 6, number).strftime("%A") for number in range(1, 8)]
    assert shown == [catalogue.gettext(name) for name in english]
