"""Fixtures of the journeys: ten paths that people take, from the first click to the audit trail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from millwright.inventory.models import Cell
from millwright.orchestrator.prober import GatewayProber
from millwright.settings import get_settings
from playwright.sync_api import Browser

from tests.integration.browser.test_accessible import axe
from tests.integration.browser.test_in_chromium import portal
from tests.integration.conftest import in_english
from tests.support.floor import CIDR, GATEWAY, MONITORING, Floor
from tests.support.journeys import Site
from tests.support.journeys import site as open_site
from tests.support.lab import need_root
from tests.support.plant import Plant
from tests.support.tags import open_gateway

__all__ = ["axe", "in_english", "portal"]


@pytest.fixture
def site(portal: tuple[str, Plant], browser: Browser, axe: str, tmp_path: Path) -> Iterator[Site]:
    """A plant on simulated hosts."""
    with open_site(portal, browser, axe, tmp_path) as made:
        yield made


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Floor]:
    """A controller's place; ports below 1024 are served at it."""
    need_root()
    made = Floor(tmp_path / "floor")
    yield made
    made.close()


@pytest.fixture
def live(
    portal: tuple[str, Plant], browser: Browser, axe: str, tmp_path: Path, floor: Floor
) -> Iterator[Site]:
    """A plant whose cell is this machine's loopback; compiler, gateway, controller and protocols are real."""
    Cell.objects.update(
        cidr=CIDR, gateway_address=GATEWAY, monitoring_address=MONITORING,
        first_address=floor.address, last_address=floor.address,
    )  # fmt: skip
    portal[1].cell.refresh_from_db()
    prober = GatewayProber(get_settings().gateway_socket)
    with (
        open_gateway(tmp_path, 502, (CIDR,)),
        open_site(
            portal, browser, axe, tmp_path,
            pool=floor.pool, prober=prober, key=floor.key,
        ) as made,
    ):  # fmt: skip
        yield made
