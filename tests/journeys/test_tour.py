"""A newcomer's path from sign-in to live tags, as pictures of the real portal; `TOUR=docs/tour` keeps them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from millwright.accounts.actions import make_login_link
from millwright.catalog.actions import sync_template
from millwright.catalog.models import Template, TemplateVersion
from millwright.environments.models import Environment
from millwright.shopfloor import actions as shopfloor
from playwright.sync_api import Page, expect

from tests.integration.browser.test_in_chromium import no_overflow
from tests.journeys.test_controllers import map_points, moves, register_device
from tests.journeys.test_environments import PROVISIONED
from tests.support.floor import ROOT, Floor, free_address
from tests.support.journeys import WAIT, Site

pytestmark = [
    pytest.mark.browser,
    pytest.mark.full,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_tour(live: Site, floor: Floor, tmp_path: Path) -> None:
    plant, url = live.plant, live.url
    folder = Path(os.environ.get("TOUR", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def picture(page: Page, name: str) -> None:
        assert no_overflow(page), name
        size = page.viewport_size
        assert size is not None
        page.screenshot(path=folder / f"{name}.png", full_page=size["width"] < 800)

    # The catalogue of a release: its own templates, as their files have them.
    built = TemplateVersion.objects.get(pk=plant.template.pk).image
    for file in sorted((ROOT / "vmtemplates").glob("*/template.yaml")):
        spec = yaml.safe_load(file.read_text())
        if spec["name"] == plant.template.template.name:
            Template.objects.filter(name=spec["name"]).update(
                title=spec["title"], summary=spec["summary"]
            )
            TemplateVersion.objects.filter(pk=plant.template.pk).update(
                spec={**plant.template.spec, "image": spec["image"]}
            )
        elif spec.get("offered", True):
            sync_template(None, spec)
    TemplateVersion.objects.update(image=built, image_state="ready")

    example = ROOT / "examples/filling_line"
    shopfloor.upload_program(
        plant.engineer,
        plant.project,
        "filling-line",
        {
            str(path.relative_to(example)): path.read_text()
            for path in sorted(example.rglob("*"))
            if path.is_file() and "io" not in path.relative_to(example).parts
        },
    )

    page = live.browser.new_context(
        viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
    ).new_page()
    page.set_default_timeout(WAIT)
    page.goto(f"{url}/enter/{make_login_link(None, plant.engineer)[1]}/")
    picture(page, "01-sign-in")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Nothing runs for you yet").wait_for()
    picture(page, "02-home")
    page.get_by_role("link", name="Catalogue").first.click()
    page.get_by_role("link", name="Request Virtual PLC").wait_for()
    picture(page, "03-catalogue")

    page.get_by_role("link", name="Request Virtual PLC").click()
    page.get_by_label("Name of the environment").fill("filling-line-1")
    page.get_by_label("Control program").select_option(label="filling-line v1")
    page.get_by_label("Justification").fill("Second filling line, commissioning in week 50")
    page.locator("#preview").get_by_text("Best host").wait_for()
    page.evaluate("scrollTo(0, 0)")
    picture(page, "04-request")
    page.get_by_role("button", name="Submit for approval").click()
    page.get_by_text("An approver decides").wait_for()

    phone = live.enter(plant.approver, 400, color_scheme="dark")
    phone.get_by_role("link", name="filling-line-1").click()
    phone.get_by_role("button", name="Approve").wait_for()
    picture(phone, "05-approval-on-a-phone")
    phone.get_by_role("button", name="Approve").click()
    phone.get_by_role("link", name="Open the environment").wait_for()

    page.goto(f"{url}/environments/filling-line-1/")
    live.until(lambda: Environment.objects.filter(state="running").exists(), "the environment runs")
    expect(page.locator("#steps .mw-step-succeeded")).to_have_count(PROVISIONED)
    page.reload()
    picture(page, "06-built")

    station = free_address()
    floor.process(
        "-m", "industrial.cli", "simulator", "filling-line", "--host", station, "--port", "502",
        answers=(station, 502),
    )  # fmt: skip
    register_device(page, name="filling-station", address=station, port="502")
    page.get_by_label("Last unit id").fill("2")
    page.get_by_role("button", name="Discover").click()
    page.locator("#found").get_by_role("button", name="Use").first.wait_for()
    picture(page, "07-device")
    page.get_by_role("button", name="Register", exact=True).click()
    page.get_by_text("Map its registers on the environment's page.").wait_for()
    page.goto(f"{url}/environments/filling-line-1/")
    page.get_by_role("link", name="Map registers").click()
    map_points(
        page,
        [
            ("Main.sensor", "input", "0", "UINT", "in"),
            ("Main.counter", "input", "1", "UINT", "in"),
            ("Main.present", "discrete", "0", "BOOL", "in"),
            ("Main.stop_ok", "discrete", "1", "BOOL", "in"),
        ],
    )
    page.get_by_role("link", name="Map registers").click()
    map_points(page, [("", "", "", "", "")] * 4 + [
        ("Main.valve", "coil", "0", "BOOL", "out"),
        ("Main.conveyor", "coil", "1", "BOOL", "out"),
    ])  # fmt: skip
    page.get_by_role("link", name="Map registers").click()
    page.get_by_text("What is odd").wait_for()
    picture(page, "08-mapping")

    page.goto(f"{url}/environments/filling-line-1/")
    moves(live, page, "Main.level")
    expect(page.locator("[data-bound='Main.level']")).to_contain_text("%")
    picture(page, "09-process-picture")
    page.locator("[data-trend] canvas").first.wait_for()
    page.wait_for_timeout(20_000)  # so that the trend has something to show
    page.get_by_role("heading", name="Trends").scroll_into_view_if_needed()
    page.evaluate("document.querySelector('[data-trend]').closest('section').scrollIntoView()")
    picture(page, "10-live-tags")

    page.goto(f"{url}/programs/")
    page.get_by_role("link", name="filling-line", exact=True).first.click()
    page.get_by_role("link", name="v1").first.click()
    page.get_by_role("link", name="Edit as a new version").click()
    page.locator("#editor-verdict[data-ok=true]").wait_for()
    picture(page, "11-program")
    page.goto(url)
    page.keyboard.press("Control+k")
    page.keyboard.type("filling")
    page.locator("#search-hits a").first.wait_for()
    picture(page, "12-search")
    keeper = live.enter(plant.operator)
    keeper.goto(f"{url}/pool/")
    picture(keeper, "13-pool")
    keeper = live.enter(plant.administrator)
    keeper.goto(f"{url}/audit/")
    picture(keeper, "14-audit")
