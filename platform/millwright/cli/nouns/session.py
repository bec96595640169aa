"""`millwright login`, `logout` and `completion`: for people who work from their own machine."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

import click
from click.shell_completion import get_completion_class

from millwright.cli.client import Api, login_file
from millwright.cli.errors import CliError


@click.command()
@click.argument("url")
@click.option("--token", "given", help="Better typed at the prompt: a shell keeps its history.")
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="The plant's authority (its servers' /etc/millwright/pki/ca.pem), if the system does not know it.",
)
def login(url: str, given: str | None, ca: str | None) -> None:
    """Work with the portal at URL from now on.

    The token comes from the portal's page "API tokens"; it is asked for and not shown. It is kept
    in a file of mode 0600 below your configuration folder.
    """
    parts = urlsplit(url)
    local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise CliError(f"URL {url!r}: must begin with https:// (http:// on this machine only)")
    token = given or click.prompt("API token", hide_input=True)
    api = Api(url, token.strip(), ca=ca or "")
    status = api.get("status/")
    path = login_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".login.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": url.rstrip("/"), "token": token.strip(), "ca": ca or ""}, file)
    scratch.replace(path)
    click.echo(f"{url}: {len(status['environments'])} environments to be seen; kept in {path}")


@click.command()
def logout() -> None:
    """Forget the portal of `millwright login`. The token lives on: revoke it in the portal."""
    try:
        login_file().unlink()
    except FileNotFoundError:
        click.echo("Nothing was kept.")
    else:
        click.echo("Forgotten. Revoke the token in the portal if nobody needs it.")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, for example in ~/.bashrc:

    \b
    eval "$(millwright completion bash)"
    """
    from millwright.cli import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise CliError(f"{shell}: not known to this version of click")
    click.echo(kind(cli, {}, "millwright", "_MILLWRIGHT_COMPLETE").source())
