"""Every page at both widths and in both themes, with much on it: no word broken, nothing cut; pictures to look at."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone
from millwright.accounts.actions import issue_token
from millwright.audit.actions import record
from millwright.environments.models import (
    Environment,
    Machine,
    Operation,
    Request,
    StateTransition,
)
from millwright.inventory.models import Drift, Host
from millwright.notifications.models import Notice, Notification
from millwright.shopfloor import actions as shopfloor
from playwright.sync_api import Browser, Page

from tests.integration.browser.test_accessible import _world
from tests.integration.browser.test_in_chromium import (
    enter,
    no_overflow,
    portal,
)
from tests.support.chromium import shot
from tests.support.plant import Plant

__all__ = ["portal"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.full,
    pytest.mark.django_db(transaction=True),
]

#: Words of at most so many characters are never broken over lines; longer ones are addresses and codes.
_WHOLE = 22

_BROKEN = """
longest => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const holder = node.parentElement;
    if (holder.closest('script, style, template, pre, code, .visually-hidden, textarea, select, dialog:not([open])')) continue;
    if (!holder.checkVisibility || !holder.checkVisibility()) continue;
    for (const hit of node.textContent.matchAll(/[\\p{L}\\p{N}]+/gu)) {
      if (hit[0].length < 3 || hit[0].length > longest || /[\\u3000-\\u9fff\\uff00-\\uffef]/.test(hit[0])) continue;
      const range = document.createRange();
      range.setStart(node, hit.index);
      range.setEnd(node, hit.index + hit[0].length);
      const lines = new Set([...range.getClientRects()].filter(r => r.width > 0).map(r => Math.round(r.top)));
      if (lines.size > 1) found.push(hit[0]);
    }
  }
  for (const box of document.querySelectorAll('.badge, .btn, select, th, td, dd, dt')) {
    if (box.checkVisibility() && box.scrollWidth > box.clientWidth + 2 && getComputedStyle(box).overflowX !== 'visible')
      found.push('cut: ' + box.textContent.trim().slice(0, 40));
  }
  return [...new Set(found)];
}
"""


def broken_words(page: Page) -> list[str]:
    """Words that stand on two lines, and boxes whose content is cut."""
    return list(page.evaluate(_BROKEN, _WHOLE))


def _much(plant: Plant) -> list[str]:
    """Things with long names and many of them."""
    paths = _world(plant)
    now = timezone.now()
    machine = Machine.objects.get(environment__name="filling-line-1")
    environment = machine.environment
    Environment.objects.filter(pk=environment.pk).update(
        state="degraded", state_reason="controller does not answer since 12:04"
    )
    Operation.objects.filter(machine=machine).update(
        state="failed", error="host mw0-h1: cannot allocate memory (os error 12)", ended_at=now
    )
    Machine.objects.filter(pk=machine.pk).update(host=plant.hosts[0], observed="running")
    Host.objects.filter(pk=plant.hosts[0].pk).update(
        kernel="6.1.0-28-rt-amd64",
        capabilities={
            "kvm": {"verdict": "no", "detail": "/dev/kvm: no such file or directory"},
            "fifo": {"verdict": "yes", "detail": "SCHED_FIFO 50 was set and read back"},
            "memory_lock": {"verdict": "no", "detail": "mlockall: cannot allocate memory"},
            "nwfilter": {"verdict": "yes", "detail": "rules seen in ebtables"},
        },
    )
    Drift.objects.create(
        host=plant.hosts[0],
        kind="foreign",
        name="somebody-elses-machine",
        first_seen=now,
        last_seen=now,
    )
    for number in range(12):
        record(
            plant.engineer, "environment.stop", environment,
            reason=f"change of the filler's valves, part {number}",
        )  # fmt: skip
        notice = Notice.objects.create(
            source=f"picture:{number}", kind="environment.failed", at=now - dt.timedelta(hours=number),
            subject_type="environment", subject_id=str(environment.pk), project=plant.project,
            facts={"name": "filling-line-1", "why": "the guest did not answer within 300 s"},
            link="/environments/filling-line-1/",
        )  # fmt: skip
        Notification.objects.create(notice=notice, user=plant.administrator, at=notice.at)
    StateTransition.objects.create(
        subject_type="environment", subject_id=str(environment.pk), subject_name=environment.name,
        aspect="state", before="running", after="degraded", cause="controller does not answer", at=now,
    )  # fmt: skip
    issue_token(plant.administrator, plant.administrator, "nightly-inventory-export", scope="read")
    return [
        *paths,
        "/rules/",
        "/rules/new/",
        "/pools/",
        "/pools/new/",
        "/rolling-drains/",
        "/rolling-drains/new/",
        "/devices/stations/",
        "/devices/stations/new/",
        "/programs/write/",
        "/environments/filling-line-1/mappings/",
        "/administration/projects/new/",
        "/administration/projects/line-1/modbus-security/",
    ]


@pytest.mark.parametrize("language", ["en", "de", "zh-hans"])
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_word_is_broken(
    portal: tuple[str, Plant], browser: Browser, width: int, scheme: str, language: str
) -> None:
    url, plant = portal
    paths = _much(plant)
    page = enter(
        browser, url, plant.administrator, width, color_scheme=scheme, reduced_motion="reduce"
    )
    page.locator("#language").select_option(language, force=True)
    page.locator(f"html[lang={language}]").wait_for(state="attached")
    found: dict[str, Any] = {}
    for path in paths:
        page.goto(url + path)
        page.evaluate("document.fonts.ready")
        name = path.strip("/").replace("/", "_").replace("?", "_") or "home"
        shot(page, f"{name[:60]}-{width}-{scheme}-{language}")
        if words := broken_words(page):
            found[path] = words
        if not no_overflow(page):
            found[path] = [*found.get(path, []), "the page is wider than its window"]
    assert not found, "\n".join(f"{path}: {words}" for path, words in found.items())


def test_without_javascript_a_phone_has_its_menu_and_devices_are_found(
    portal: tuple[str, Plant], browser: Browser
) -> None:
    url, plant = portal
    for number in range(45):
        shopfloor.add_device(
            plant.engineer, name=f"drive-{number:02}", project=plant.project, cell=plant.cell,
            address=f"10.90.1.{30 + number}", port=502,
        )  # fmt: skip
    page = enter(browser, url, plant.engineer, 400, java_script_enabled=False)
    page.get_by_role("link", name="Requests", exact=True).click()
    page.get_by_role("button", name="Sign out").wait_for()
    page.goto(f"{url}/requests/new/?template=vplc")
    assert page.locator("input[name=devices]").count() == 40
    page.get_by_label("Name of the environment").fill("far-line")
    page.get_by_role("searchbox", name="Find devices").fill("drive-44")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("checkbox", name="drive-44").check()
    assert page.get_by_label("Name of the environment").input_value() == "far-line"
    page.get_by_role("button", name="Submit for approval").click()
    page.get_by_text("An approver decides").wait_for()
    assert Request.objects.get().devices == ["drive-44"]
