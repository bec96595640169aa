"""What journeys share: the portal and an orchestrator that really runs, people's browsers, and the look at the end."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from millwright.audit.models import AuditEntry
from millwright.catalog.models import TemplateVersion
from millwright.environments import actions
from millwright.environments.models import Environment, Operation
from millwright.hypervisor.fake import FakePool
from millwright.inventory.actions import ensure_site
from millwright.orchestrator.hosts import Hosts
from millwright.orchestrator.service import Service
from millwright.settings import get_settings
from playwright.sync_api import Browser, Page, expect

from tests.integration.browser.test_accessible import faults
from tests.integration.browser.test_in_chromium import enter, no_overflow
from tests.support.chromium import shot
from tests.support.operations import Prober
from tests.support.plant import Plant, image_data

#: Milliseconds; generous, since machines are slow. Nothing here is measured.
WAIT = 600_000
expect.set_options(timeout=WAIT)


def looks(page: Page, axe: str, name: str) -> None:
    """The page at both widths and in both themes: nothing sticks out or is hard to read, and a picture of each."""
    was = page.viewport_size
    assert was is not None
    theme = page.evaluate("document.documentElement.dataset.bsTheme")
    for width in (1280, 400):
        for scheme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("to => document.documentElement.dataset.bsTheme = to", scheme)
            assert no_overflow(page), (name, width, scheme)
            if (width, scheme) in {(1280, "light"), (400, "dark")}:
                found = faults(page, axe)
                assert not found, (name, width, scheme, found)
            shot(page, f"{name}-{width}-{scheme}")
    page.set_viewport_size(was)
    page.evaluate("to => document.documentElement.dataset.bsTheme = to", theme)


@dataclass
class Site:
    """A plant that people work in: pages, an orchestrator, and hosts."""

    url: str
    plant: Plant
    pool: FakePool
    service: Service
    browser: Browser
    axe: str

    def enter(self, user: Any, width: int = 1280, **more: Any) -> Page:
        """The person's browser, signed in, on the home page."""
        page = enter(self.browser, self.url, user, width, reduced_motion="reduce", **more)
        page.set_default_timeout(WAIT)
        return page

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for a condition that no page shows."""
        end = time.monotonic() + WAIT / 1000
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.1)
        said = list(Operation.objects.values_list("kind", "state", "error", "progress"))
        pytest.fail(f"never: {what}; operations: {said}")

    def built(self, name: str = "filling-line-1", **changes: Any) -> Environment:
        """An environment that runs already when the journey begins."""
        plant = self.plant
        asked = actions.create_request(plant.engineer, **plant.request_fields(name, **changes))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, asked))
        made = self.until(
            lambda: Environment.objects.filter(name=name, state__in=("running", "failed")).first(),
            f"{name} is built",
        )
        assert made.state == "running", list(Operation.objects.values_list("kind", "error"))
        return made

    def ends(self, page: Page, name: str) -> None:
        """The page where a journey ends, as everybody sees it."""
        looks(page, self.axe, name)
        assert page.complaints == []  # type: ignore[attr-defined]

    def trail(self, action: str, **more: Any) -> AuditEntry:
        """The one entry of the audit trail that says so."""
        return AuditEntry.objects.get(action=action, **more)

    def trails(self, action: str) -> list[AuditEntry]:
        """All entries that say so, the oldest first."""
        return list(AuditEntry.objects.filter(action=action).order_by("at"))


@contextmanager
def site(
    portal: tuple[str, Plant], browser: Browser, axe: str, folder: Path, **more: Any
) -> Iterator[Site]:
    """The orchestrator on simulated hosts beside the portal.

    `more` are ports in place of its own; `pool` makes the hosts, `key` is the file of the key that signs deliveries.
    """
    url, plant = portal
    TemplateVersion.objects.update(image=image_data(folder), image_state="ready")
    mark = str(ensure_site().pk)
    key = more.pop("key", None)
    pool = more.pop("pool", FakePool)(site=mark)
    for host in plant.hosts:
        pool.add_host(host.name, cpus=2, boot_s=0.0)
    own = get_settings()
    with tempfile.TemporaryDirectory(prefix="mw-home-") as place:
        # A home of its own for what is durable; the sockets are those at which the portal asks.
        home = Path(place)
        own.run_dir.mkdir(parents=True, exist_ok=True)
        (home / "run").symlink_to(own.run_dir)
        settings = own.model_copy(update={"home": home})
        if key is not None:
            settings.pki_dir.mkdir(mode=0o700)
            shutil.copy(key, settings.signing_key_file)
        hosts = Hosts(
            mark,
            on_event=lambda event: service.watcher and service.watcher.hint(event),
            factory=lambda name, _uri, _site: pool.host(name),
        )
        service = Service(
            settings=settings,
            hosts=hosts,
            **{"prober": Prober(), **more},
        )
        thread = threading.Thread(target=service.run, name="service", daemon=True)
        thread.start()
        try:
            assert service.active.wait(WAIT / 1000)
            yield Site(url, plant, pool, service, browser, axe)
        finally:
            service.stop.set()
            thread.join(WAIT / 1000)
        assert not thread.is_alive()
