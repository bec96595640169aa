"""`millwright project …`, `millwright member …` and `millwright person …`: administration by the API."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_one, show_rows

_ROLES = click.Choice(["engineer", "approver", "operator", "administrator", "auditor"])


@click.group()
def project() -> None:
    """Projects: quota, policy and members."""


@project.command("list")
@format_option
def list_projects(form: str) -> None:
    """List projects."""
    columns = ("slug", "name", "quota_vcpus", "quota_realtime_cores", "quota_environments")
    show_rows(Api.from_settings().rows("projects/"), columns, form)


@project.command("show")
@click.argument("slug")
@format_option
def show_project(slug: str, form: str) -> None:
    """Show a project's quota and policy."""
    show_one(Api.from_settings().get(f"projects/{slug}/"), form)


@project.command("create")
@click.argument("slug")
@click.argument("name")
def create_project(slug: str, name: str) -> None:
    """Make the project SLUG with the title NAME; change its quota afterwards."""
    made = Api.from_settings().post("projects/", {"slug": slug, "name": name})
    click.echo(f"project {made['slug']} made")


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise CliError(f"{text!r}: write FIELD=VALUE, such as quota_vcpus=32")
    return key, int(value) if value.lstrip("-").isdigit() else value


@project.command("set")
@click.argument("slug")
@click.argument("fields", nargs=-1, required=True, metavar="FIELD=VALUE…")
def set_project(slug: str, fields: tuple[str, ...]) -> None:
    """Change quota and policy: FIELD as `millwright project show` names it."""
    api = Api.from_settings()
    known = api.get(f"projects/{slug}/")
    wanted = dict(map(_pair, fields))
    if unknown := sorted(set(wanted) - (set(known) - {"slug"})):
        raise CliError(f"{', '.join(unknown)}: the fields are {', '.join(sorted(set(known) - {'slug'}))}")  # fmt: skip
    api.post(f"projects/{slug}/change/", wanted)
    click.echo(f"project {slug} changed")


@project.command("members")
@click.argument("slug")
@format_option
def list_members(slug: str, form: str) -> None:
    """List who has which role."""
    show_rows(Api.from_settings().rows("members/", project__slug=slug), ("user", "role"), form)


@project.command("add")
@click.argument("slug")
@click.argument("user")
@click.argument("role", type=_ROLES)
def add_member(slug: str, user: str, role: str) -> None:
    """Give USER the role ROLE in the project SLUG."""
    Api.from_settings().post("members/", {"project": slug, "user": user, "role": role})
    click.echo(f"{user} is {role} in {slug}")


@project.command("remove")
@click.argument("slug")
@click.argument("user")
@click.argument("role", type=_ROLES)
def remove_member(slug: str, user: str, role: str) -> None:
    """Take the role ROLE in the project SLUG away from USER."""
    api = Api.from_settings()
    found = api.first("members/", project__slug=slug, user__username=user, role=role)
    if found is None:
        raise CliError(f"{user} is not {role} in {slug}")
    api.delete(f"members/{found['id']}/")
    click.echo(f"{user} is no longer {role} in {slug}")


@click.group()
def person() -> None:
    """Accounts of the portal, by its API. `millwright user` is for whoever has its files."""


@person.command("list")
@format_option
def list_people(form: str) -> None:
    """List accounts."""
    columns = ("username", "first_name", "last_name", "plant_role", "is_active", "is_service")
    show_rows(Api.from_settings().rows("people/"), columns, form)


@person.command("create")
@click.argument("username")
@click.option("--name", "full_name", default="", help="Full name.")
@click.option("--email", default="")
@click.option("--role", "plant_role", default="", type=click.Choice(["", *_ROLES.choices]), help="Role on the whole plant.")  # fmt: skip
@click.option("--service", "is_service", is_flag=True, help="For programs: entered by tokens only.")
def create_person(**fields: Any) -> None:
    """Make an account without a password: for the identity provider, or to be given one on the page."""
    made = Api.from_settings().post("people/", fields)
    click.echo(f"account {made['username']} made")


def _find(api: Api, username: str) -> dict[str, Any]:
    found = api.first("people/", username=username)
    if found is None:
        raise CliError(f"nobody has the account {username!r}")
    return found


@person.command("close")
@click.argument("username")
def close_person(username: str) -> None:
    """Close an account: browsers are signed out, tokens revoked."""
    api = Api.from_settings()
    api.post(f"people/{_find(api, username)['id']}/change/", {"is_active": False})
    click.echo(f"account {username} closed")


@person.command("open")
@click.argument("username")
def open_person(username: str) -> None:
    """Open a closed account again."""
    api = Api.from_settings()
    api.post(f"people/{_find(api, username)['id']}/change/", {"is_active": True})
    click.echo(f"account {username} opened")
