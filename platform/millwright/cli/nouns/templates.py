"""`millwright template …`: the catalogue, and building its images on this machine."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows
from millwright.settings import get_settings


@click.group()
def template() -> None:
    """Templates of machines and their images."""


@template.command("list")
@format_option
def list_templates(form: str) -> None:
    """List the catalogue."""
    show_rows(
        Api.from_settings().rows("templates/"), ("name", "version", "title", "image_state"), form
    )


@template.command()
@click.argument("name")
@format_option
def show(name: str, form: str) -> None:
    """Show a template's newest version."""
    found = Api.from_settings().first("templates/", template__name=name)
    if found is None:
        raise CliError(f"no template named {name!r} in the catalogue")
    show_one(found, form)


@template.command()
@click.argument("name")
@click.option(
    "--catalogue/--no-catalogue", default=True, help="Enter it into this machine's database."
)
def build(name: str, catalogue: bool) -> None:
    """Build a template's image, unless it is there already."""
    from vmtemplates import load_templates

    templates = load_templates()
    if name not in templates:
        raise CliError(f"no template {name!r}; there are: {', '.join(sorted(templates))}")
    image = build_one(templates[name], click.echo)
    click.echo(f"{name}: {image.name}")
    if catalogue:
        from millwright.cli.up.database import enter_template, setup_django

        setup_django()
        enter_template(templates[name], image)


@template.command()
def sync() -> None:
    """Enter all templates of this release into this machine's database, with the images that are built."""
    from millwright.cli.up.database import enter_template, setup_django
    from vmtemplates import find_built, load_templates

    setup_django()
    for name, found in load_templates().items():
        image = find_built(found, get_settings().cache_dir / "images")
        changed = enter_template(found, image)
        built = image.name if image else "its image is not built yet"
        click.echo(f"{name} {found.version}: {'entered' if changed else 'as it was'}; {built}")


def _offer(name: str, verb: str) -> None:
    api = Api.from_settings()
    found = api.first("templates/", template__name=name, hidden="true")
    if found is None:
        raise CliError(f"no template named {name!r}")
    row = api.post(f"templates/{found['id']}/{verb}/", {})
    click.echo(f"{name}: {'offered' if row['offered'] else 'not offered'}")


@template.command()
@click.argument("name")
def offer(name: str) -> None:
    """Have a template in the catalogue."""
    _offer(name, "offer")


@template.command()
@click.argument("name")
def hide(name: str) -> None:
    """Keep a template out of the catalogue; machines made from it stay."""
    _offer(name, "hide")


def build_one(wanted: Any, say: Any) -> Any:
    """Build, with errors for people."""
    from vmtemplates import BuildError, TemplateError, build_image

    try:
        return build_image(wanted, get_settings().cache_dir / "images", say)
    except (BuildError, TemplateError) as error:
        raise CliError(str(error)) from None
