"""`millwright notification …` and `millwright webhook …`."""

from __future__ import annotations

import click

from millwright.cli.client import Api
from millwright.cli.output import format_option, show_one, show_rows


@click.group()
def notification() -> None:
    """What you are told: list, read, choose."""


@notification.command("list")
@click.option("--unread", is_flag=True, help="Only those not read yet.")
@click.option("--limit", default=20, show_default=True)
@format_option
def list_notifications(unread: bool, limit: int, form: str) -> None:
    """List them, newest first."""
    found = Api.from_settings().rows("notifications/")
    wanted = (row for row in found if not (unread and row["read_at"]))
    rows = [row for row, _ in zip(wanted, range(limit), strict=False)]
    show_rows(rows, ("id", "at", "kind", "text", "read_at"), form)


@notification.command()
@click.argument("number", type=int, required=False)
def read(number: int | None) -> None:
    """Mark one as read, or all of them."""
    api = Api.from_settings()
    if number is None:
        click.echo(f"{api.post('notifications/read-all/')['read']} read")
    else:
        click.echo(api.post(f"notifications/{number}/read/")["text"])


@notification.command()
@click.argument("kind", required=False)
@click.option("--inbox/--no-inbox", default=True, show_default=True)
@click.option("--mail/--no-mail", default=True, show_default=True)
@format_option
def choices(kind: str | None, inbox: bool, mail: bool, form: str) -> None:
    """Show what you are told of, or set one KIND."""
    api = Api.from_settings()
    body = {"kind": kind, "inbox": inbox, "mail": mail}
    rows = api.post("notifications/choices/", body) if kind else api.get("notifications/choices/")
    show_rows(rows, ("kind", "inbox", "mail"), form)


@notification.command()
@click.argument("code", required=False)
@format_option
def language(code: str | None, form: str) -> None:
    """Show or choose the language of your pages and letters; '' is the browser's and the plant's."""
    api = Api.from_settings()
    answer = (
        api.get("notifications/language/")
        if code is None
        else api.post("notifications/language/", {"language": code})
    )
    show_one(answer, form)


@click.group()
def webhook() -> None:
    """Addresses that are told what happens, signed."""


@webhook.command("list")
@format_option
def list_webhooks(form: str) -> None:
    """List them."""
    rows = list(Api.from_settings().rows("webhooks/"))
    show_rows(rows, ("id", "name", "url", "project", "enabled"), form)


@webhook.command()
@click.argument("name")
@click.argument("url")
@click.option("--kind", "kinds", multiple=True, help="Repeat for several; without: all.")
@click.option("--project", help="Only what concerns one project.")
@format_option
def add(name: str, url: str, kinds: tuple[str, ...], project: str | None, form: str) -> None:
    """Add one; its secret is printed once."""
    body = {"name": name, "url": url, "kinds": list(kinds)}
    if project:
        body["project"] = project
    show_one(Api.from_settings().post("webhooks/", body), form)


@webhook.command()
@click.argument("identity")
def test(identity: str) -> None:
    """Send a test message."""
    row = Api.from_settings().post(f"webhooks/{identity}/test/")
    click.echo(f"{row['to']}: {row['state']}; see `millwright webhook log`")


@webhook.command()
@click.argument("identity")
def rotate(identity: str) -> None:
    """Give it another secret, printed once."""
    click.echo(Api.from_settings().post(f"webhooks/{identity}/rotate/")["secret"])


@webhook.command()
@click.argument("identity")
def remove(identity: str) -> None:
    """Remove it with its log."""
    Api.from_settings().delete(f"webhooks/{identity}/")
    click.echo("removed")


@webhook.command()
@click.option("--state", type=click.Choice(["waiting", "sent", "failed"]))
@click.option("--limit", default=20, show_default=True)
@format_option
def log(state: str | None, limit: int, form: str) -> None:
    """What was mailed and sent, newest first, with what was answered."""
    found = Api.from_settings().rows("deliveries/", **({"state": state} if state else {}))
    rows = [row for row, _ in zip(found, range(limit), strict=False)]
    show_rows(
        rows, ("id", "created_at", "channel", "to", "kind", "state", "attempts", "answer"), form
    )
