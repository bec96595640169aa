"""`vplc trust`: applications that OPC UA believes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from industrial.runtime.paths import Paths

from .options import project_too


def _store(project: Path | None) -> Any:
    from industrial.security import OpcUaPolicy, PolicyError, TrustStore

    paths = Paths.of_project(project) if project else Paths.default()
    source = paths.config if paths.config.exists() else paths.active
    named: tuple[str, ...] = ()
    try:
        named = OpcUaPolicy.parse((source / "security.toml").read_text()).clients
    except FileNotFoundError:
        pass
    except PolicyError as error:
        click.echo(str(error), err=True)
    return TrustStore(paths.state / "trust", named)


@click.group()
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A project that `vplc run` runs; without it, the controller of this machine.",
)
@click.pass_context
def trust(context: click.Context, project: Path | None) -> None:
    """Certificates of OPC UA applications: what was rejected, what is trusted."""
    context.obj = project


_shaped = click.option("--format", "shape", type=click.Choice(["text", "json"]), default="text")


def _say(shape: str, words: str, **told: str) -> None:
    """One answer, for people or for programs."""
    click.echo(json.dumps({"format": 1, **told}) if shape == "json" else words)


@trust.command("list")
@_shaped
@project_too
@click.pass_obj
def list_(project: Path | None, shape: str) -> None:
    """Show trusted and rejected certificates."""
    rows = _store(project).rows()
    if shape == "json":
        click.echo(json.dumps({"format": 1, "certificates": rows}, indent=1))
        return
    for row in rows:
        click.echo(
            f"{row['state']:<9}{row['fingerprint']}  {row['ends'] or '-':<11}{row['subject']}"
        )
    if not rows:
        click.echo("no application was trusted or rejected yet")


@trust.command()
@click.argument("fingerprint")
@_shaped
@project_too
@click.pass_obj
def add(project: Path | None, fingerprint: str, shape: str) -> None:
    """Trust a rejected certificate; compare the fingerprint with what the application shows."""
    store = _store(project)
    text = fingerprint.replace(":", "").lower()
    found = [row["fingerprint"] for row in store.rows() if row["state"] == "rejected"]
    matches = [one for one in found if one.startswith(text)] if len(text) >= 8 else []
    if len(matches) != 1:
        raise click.ClickException(
            f"fingerprint = {fingerprint!r}: at least 8 digits of one rejected certificate; "
            f"there are: {', '.join(one[:16] for one in found) or 'none'}"
        )
    store.trust(matches[0])
    _say(shape, f"trusted {matches[0]}", trusted=matches[0])


@trust.command()
@click.argument("fingerprint")
@_shaped
@project_too
@click.pass_obj
def remove(project: Path | None, fingerprint: str, shape: str) -> None:
    """Forget a certificate; its next session is rejected."""
    digits = fingerprint.replace(":", "").lower()
    try:
        _store(project).remove(digits)
    except KeyError:
        raise click.ClickException(f"fingerprint = {fingerprint!r}: neither trusted nor rejected here") from None  # fmt: skip
    _say(shape, "removed", removed=digits)


@trust.command()
@_shaped
@project_too
@click.pass_obj
def token(project: Path | None, shape: str) -> None:
    """Print a token: the next unknown application that signs in as `trust` with it, once, is trusted."""
    made = _store(project).make_token()
    _say(shape, made, token=made)


@trust.command()
@_shaped
@click.password_option(
    help="Asked for when not given; never give it on a shared machine's command line."
)
def password(password: str, shape: str) -> None:
    """Print the hash of a password, for [[opcua.user]] of security.toml."""
    from industrial.security import hash_password

    try:
        made = hash_password(password)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    _say(shape, made, hash=made)
