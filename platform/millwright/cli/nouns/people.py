"""`millwright user …`: for whoever runs Millwright on its machine; works on the database itself."""

from __future__ import annotations

from typing import Any

import click

from millwright.cli.errors import CliError
from millwright.settings import get_settings


@click.group()
def user() -> None:
    """People of this installation. For whoever has its files; others use the portal."""


def _find(username: str) -> Any:
    from millwright.accounts.models import User

    found = User.objects.filter(username=username).first()
    if found is None:
        there = ", ".join(User.objects.values_list("username", flat=True)[:20])
        raise CliError(f"no user {username!r}; there are: {there}")
    return found


@user.command()
@click.argument("username")
def link(username: str) -> None:
    """Print a sign-in link: once, within 15 minutes, from this machine."""
    from millwright.cli.up.database import setup_django

    setup_django()
    from millwright.accounts.actions import make_login_link

    _row, secret = make_login_link(None, _find(username))
    click.echo(f"{get_settings().public_url}/enter/{secret}/")


@user.command()
@click.argument("username")
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["read", "write", "discovery"]), default="read", show_default=True
)
@click.option("--days", default=30, show_default=True)
def token(username: str, name: str, scope: str, days: int) -> None:
    """Issue an API token called NAME; printed once."""
    import datetime as dt

    from millwright.cli.up.database import setup_django

    setup_django()
    from django.core.exceptions import ValidationError

    from millwright.accounts.actions import issue_token

    try:
        _row, secret = issue_token(
            None,
            _find(username),
            name,
            scope=scope,
            lifetime=dt.timedelta(days=days),
        )
    except ValidationError as error:
        raise CliError("; ".join(error.messages)) from None
    click.echo(secret)
