"""docs/operations: every command in it names a playbook, variables, modules and paths that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.collection import ANSIBLE, ROOT

PAGES = sorted((ROOT / "docs/operations").glob("*.md"))
COMMAND = re.compile(r"millwright\.plant\.(\w+)([^`\n]*)")


def texts(*patterns: str) -> str:
    return "\n".join(path.read_text() for pattern in patterns for path in ANSIBLE.glob(pattern))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_playbook_and_variable_of_a_page_is_there(page: Path) -> None:
    known = texts("roles/*/meta/argument_specs.yml")
    for name, words in COMMAND.findall(page.read_text()):
        playbook = ANSIBLE / "playbooks" / f"{name}.yml"
        assert playbook.is_file(), f"{page.name}: no playbook {name}"
        # A playbook that includes another takes its variables too.
        text = playbook.read_text()
        for included in re.findall(r"import_playbook: (\S+)", text):
            text += (playbook.parent / included).read_text()
        for variable in re.findall(r"\b(\w+)=", words):
            assert re.search(rf"\b{variable}\b", text + known), (
                f"{page.name}: {name} has no {variable}"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_variable_in_code_style_is_a_roles_or_a_playbooks(page: Path) -> None:
    roles = "|".join(path.name for path in (ANSIBLE / "roles").iterdir())
    known = texts(
        "roles/*/meta/argument_specs.yml", "playbooks/*.yml", "inventories/plant/**/*.yml"
    )
    for variable in re.findall(rf"`((?:{roles}|drain|restore|remove)_\w+)", page.read_text()):
        assert (
            re.search(rf"\b{variable}\b", known)
            or (ANSIBLE / "playbooks" / f"{variable}.yml").is_file()
        ), f"{page.name}: {variable} is nowhere"


def test_every_playbook_is_in_the_handbook() -> None:
    told = "\n".join(page.read_text() for page in PAGES)
    for playbook in (ANSIBLE / "playbooks").glob("*.yml"):
        # `site` is begun with a file of the plant's own folder.
        words = f"millwright.plant.{playbook.stem}" if playbook.stem != "site" else "site.yml"
        assert words in told, f"{playbook.stem} is not in the handbook"


def test_every_path_under_our_folders_is_made_by_a_role() -> None:
    made = texts("roles/**/*.yml", "roles/**/*.j2", "playbooks/*.yml")
    for page in PAGES:
        for path in re.findall(r"`(/(?:etc|var|opt)/[\w./-]+?)/?`", page.read_text()):
            folder = path.rsplit("/", 1)[0] if path.count("/") > 2 else path
            assert path in made or folder in made, f"{page.name}: no role makes {path}"
