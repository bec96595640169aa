"""Pages, forms, refusals and the API in the reader's language."""

from django.test import Client
from django.urls import reverse
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
