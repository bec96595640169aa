"""`millwright plant …`: the plant as a file, applied by whoever runs its portal; works on the database itself."""

from __future__ import annotations

import datetime as dt
import io
import json
from pathlib import Path
from typing import TextIO

import click
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from millwright.cli.errors import CliError
from millwright.settings import get_settings


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CellPart(_Part):
    """A cell's network and the addresses that Millwright gives in it."""

    slug: str
    title: str = ""
    cidr: str
    bridge: str = Field(max_length=15)
    gateway_address: str
    monitoring_address: str | None = None
    first_address: str
    last_address: str


class UserPart(_Part):
    """A person, or a service that has no pages."""

    username: str
    full_name: str = ""
    plant_role: str = ""
    service: bool = False


class ProjectPart(_Part):
    """A production line or department; members by name with their role."""

    slug: str
    name: str
    members: dict[str, str] = {}


class TokenPart(_Part):
    """An API token kept in a file of the secrets folder, renewed before its end."""

    user: str
    name: str
    scope: str = "read"
    file: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")


class PlantFile(_Part):
    """The whole file."""

    site: str = "plant"
    cells: list[CellPart] = []
    users: list[UserPart] = []
    projects: list[ProjectPart] = []
    tokens: list[TokenPart] = []


def read_plant(text: str) -> PlantFile:
    """Parse a plant file.

    Raises:
        CliError: names the field, its value and the rule.
    """
    try:
        return PlantFile.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise CliError(f"the plant file is not YAML: {error}") from None
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, row['loc']))} = {row['input']!r}: {row['msg']}"
            for row in error.errors()
        ]
        raise CliError("; ".join(lines)) from None


@click.group()
def plant() -> None:
    """The plant of this installation. For whoever has its files."""


@plant.command()
@click.option("--check", is_flag=True, help="Say what would be done; do nothing.")
def migrate(check: bool) -> None:
    """Bring the database's tables to this version; prints the migrations as JSON."""
    from millwright.cli.up.database import setup_django

    setup_django()
    from django.core.management import call_command
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if waiting and not check:
            call_command("migrate", interactive=False, verbosity=0, stdout=io.StringIO())
    except DatabaseError as error:
        raise CliError(f"the database refuses: {error}") from None
    click.echo(json.dumps({"changes": [f"{row.app_label}.{row.name}" for row, _ in waiting]}))


@plant.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--check", is_flag=True, help="Say what would change; change nothing.")
def apply(file: TextIO, check: bool) -> None:
    """Have the site, cells, people, projects and tokens of FILE (YAML; - reads it from stdin).

    What the file does not name stays. Prints the changes as JSON.
    """
    wanted = read_plant(file.read())
    from millwright.cli.up.database import setup_django

    setup_django()
    from django.core.exceptions import ValidationError as Refused
    from django.db import DatabaseError, transaction

    try:
        with transaction.atomic():
            changes = _rows(wanted)
            if check:
                transaction.set_rollback(True)
        changes += _files(wanted, check=check)
    except Refused as error:
        raise CliError("; ".join(error.messages)) from None
    except DatabaseError as error:
        raise CliError(f"the database refuses: {error}") from None
    click.echo(json.dumps({"changes": changes}))


def _rows(wanted: PlantFile) -> list[str]:
    from millwright.accounts.actions import ensure_member, ensure_project, ensure_user
    from millwright.accounts.models import Membership, Project, User
    from millwright.inventory.actions import ensure_cell, ensure_site
    from millwright.inventory.models import Cell, Site

    changes = []
    if not Site.objects.exists():
        ensure_site(wanted.site)
        changes.append(f"site {wanted.site}")
    for cell in wanted.cells:
        before = Cell.objects.filter(slug=cell.slug).values().first()
        ensure_cell(None, **cell.model_dump())
        if before != Cell.objects.filter(slug=cell.slug).values().first():
            changes.append(f"cell {cell.slug}")
    for user in wanted.users:
        if not User.objects.filter(username=user.username).exists():
            changes.append(f"user {user.username}")
        ensure_user(
            None,
            user.username,
            full_name=user.full_name,
            plant_role=user.plant_role,
            is_service=user.service,
        )
    for project in wanted.projects:
        if not Project.objects.filter(slug=project.slug).exists():
            changes.append(f"project {project.slug}")
        row = ensure_project(None, project.slug, project.name)
        for name, role in project.members.items():
            member = User.objects.filter(username=name).first()
            if member is None:
                raise CliError(f"projects.{project.slug}.members: no user {name!r}")
            if not Membership.objects.filter(project=row, user=member, role=role).exists():
                ensure_member(None, row, member, role)
                changes.append(f"{name} is {role} of {project.slug}")
    return changes


def _files(wanted: PlantFile, *, check: bool) -> list[str]:
    """The gateway's list of networks, and tokens; neither is in the database's transaction."""
    from millwright.accounts.models import User
    from millwright.cli.up.people import ensure_token
    from millwright.gateway.limits import write_cells
    from millwright.inventory.models import Cell

    settings, changes = get_settings(), []
    path = settings.run_dir / "cells.json"
    networks = sorted(
        {*Cell.objects.values_list("cidr", flat=True), *(c.cidr for c in wanted.cells)}
    )
    if not path.exists() or sorted(json.loads(path.read_text(encoding="utf-8"))) != networks:
        changes.append("networks of the gateway")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_cells(path, networks)
    for token in wanted.tokens:
        user = User.objects.filter(username=token.user).first()
        target = settings.secrets_dir / token.file
        if check:
            if user is None or not target.exists():
                changes.append(f"token {token.file}")
        elif user is None:
            raise CliError(f"tokens.{token.file}: no user {token.user!r}")
        elif ensure_token(user, target, token.name, token.scope):
            changes.append(f"token {token.file}")
    return changes


@plant.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of the authority.")
@click.option("--address", "addresses", multiple=True, help="Other names and addresses.")
@click.option("--renew", is_flag=True, help="Issue anew though the old one is good.")
@click.option("--days", default=397, show_default=True)
def certificate(
    names: tuple[str, ...],
    folder: Path | None,
    addresses: tuple[str, ...],
    renew: bool,
    days: int,
) -> None:
    """Have a certificate for a server and client of each name; prints the changed ones as JSON."""
    from millwright.pki import Authority, PkiError

    authority = Authority(folder or get_settings().pki_dir)
    changes = []
    try:
        authority.ensure()
        for name in names:
            path = authority.folder / "issued" / f"{name}.pem"
            before = path.read_bytes() if path.exists() else b""
            if renew:
                path.unlink(missing_ok=True)
            pair = authority.issue(name, hosts=addresses, server=True, client=True, days=days)
            if pair.certificate != before:
                changes.append(name)
    except PkiError as error:
        raise CliError(str(error)) from None
    click.echo(json.dumps({"changes": changes, "at": dt.datetime.now(dt.UTC).isoformat()}))
