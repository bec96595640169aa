"""An orchestrator in this process, on fake hosts, with the real store and the real durable runner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from millwright.catalog.models import TemplateVersion
from millwright.hypervisor.fake import FakePool
from millwright.inventory.actions import ensure_site
from millwright.inventory.models import Host
from millwright.orchestrator.hosts import Hosts
from millwright.orchestrator.probing import KINDS
from millwright.orchestrator.service import Service
from millwright.settings import get_settings

from tests.support.operations import Builder, Prober
from tests.support.plant import Plant, build_plant, image_data
from vmtemplates import find_built, load_templates


@dataclass
class Running:
    """A plant whose orchestrator runs."""

    plant: Plant
    pool: FakePool
    service: Service
    prober: Prober

    def until(self, condition: Callable[[], Any], what: str, limit_s: float = 60.0) -> Any:
        """Wait for a condition; generous, since machines are slow."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.05)
        pytest.fail(f"never: {what}")


@pytest.fixture
def running(transactional_db: None, tmp_path: Path) -> Iterator[Running]:
    """Start it, and stop it at the end."""
    plant = build_plant()
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    site = str(ensure_site().pk)
    pool = FakePool(site=site)
    for host in plant.hosts:
        pool.add_host(host.name, cpus=2 if host.policy["realtime_cpus"] else 1, boot_s=0.0)
    service = Service(
        settings=get_settings().model_copy(update={"home": tmp_path / "home"}),
        hosts=Hosts(
            site,
            on_event=lambda event: service.watcher and service.watcher.hint(event),
            factory=lambda name, uri, _: pool.host(name),
        ),
        prober=(prober := Prober()),
        builder=Builder(),
    )
    (tmp_path / "home").mkdir()
    thread = threading.Thread(target=service.run, name="service", daemon=True)
    thread.start()
    assert service.active.wait(60.0)
    made = Running(plant, pool, service, prober)
    # Where the tiny image is built, hosts are probed: what they can give is known before anything is asked.
    if find_built(load_templates()["tiny"], service.settings.cache_dir / "images") is not None:
        made.until(
            lambda: all(
                set(map(str, KINDS)) <= set(host.capabilities) for host in Host.objects.all()
            ),
            "probes of the hosts",
        )
    yield made
    service.stop.set()
    thread.join(60.0)
    assert not thread.is_alive()
