"""`millwright program …` and `millwright device …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from millwright.cli.client import Api, wait_for
from millwright.cli.errors import CliError
from millwright.cli.output import format_option, show_json, show_one, show_rows

from .environments import follow

#: What of a project folder is uploaded; state and keys never are.
_FOLDERS = ("src", "lib", "io", "tests")
_FILES = ("vplc.toml", "security.toml", "picture.toml")


def read_project(folder: Path) -> dict[str, str]:
    """A project folder's files as the API takes them: path → text.

    Raises:
        CliError: nothing to upload, or a file that is not text.
    """
    if not folder.is_dir():
        raise CliError(f"{folder} is not a folder")
    places = [folder / name for name in _FILES if (folder / name).is_file()]
    for name in _FOLDERS:
        places += sorted(path for path in (folder / name).rglob("*") if path.is_file())
    found = {}
    for path in places:
        name = path.relative_to(folder).as_posix()
        try:
            found[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise CliError(f"{path}: not UTF-8 text (byte {error.start})") from None
    if not any(name.endswith(".st") for name in found):
        raise CliError(f"{folder}: no Structured Text (src/….st) in it")
    return found


def upload(api: Api, project: str, name: str, files: dict[str, str]) -> dict[str, Any]:
    """Upload; the same sources again are the same version."""
    return dict(api.post("programs/", {"project": project, "name": name, "files": files}))


def wait_built(api: Api, version_id: str, limit_s: float = 180.0) -> dict[str, Any]:
    """Wait until a version is compiled.

    Raises:
        CliError: with the compiler's messages.
    """

    def built() -> dict[str, Any] | None:
        row = dict(api.get(f"program-versions/{version_id}/"))
        return row if row["state"] in ("ready", "failed") else None

    row: dict[str, Any] = wait_for(built, limit_s=limit_s, what="the compilation")
    if row["state"] == "failed":
        lines = [
            f"{entry.get('file')}:{entry.get('line')}:{entry.get('column')}: {entry.get('message')}"
            for entry in row["diagnostics"]
        ]
        raise CliError(
            "\n".join([f"{row['program']} does not compile", *lines, row["error"]]).strip()
        )
    return row


@click.group()
def program() -> None:
    """Control programs and their versions."""


@program.command("list")
@format_option
def list_programs(form: str) -> None:
    """List versions, newest first."""
    show_rows(
        Api.from_settings().rows("program-versions/"),
        ("program", "number", "state", "uploaded_by", "created_at", "id"),
        form,
    )


@program.command("upload")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--project", required=True)
@click.option("--name", help="Default: the folder's name.")
@format_option
def upload_command(folder: Path, project: str, name: str | None, form: str) -> None:
    """Upload a project folder, wait for the compiler, show its messages.

    Example: millwright program upload examples/filling_line --project line-1 --name filling-line
    """
    api = Api.from_settings()
    version = upload(
        api, project, name or folder.resolve().name.replace("_", "-"), read_project(folder)
    )
    show_one(wait_built(api, version["id"]), form)


@program.command()
@click.argument("environment")
@click.argument("version_id")
@click.option("--reason", default="")
@click.option("--wait/--no-wait", default=True)
def deploy(environment: str, version_id: str, reason: str, wait: bool) -> None:
    """Send a version to an environment's machine; an older one rolls back."""
    api = Api.from_settings()
    machines = api.get(f"environments/{environment}/")["machines"]
    if not machines:
        raise CliError(f"{environment} has no machine")
    made = api.post(
        "deployments/",
        {"machine": machines[0]["id"], "program_version": version_id, "reason": reason},
    )
    click.echo(f"operation {made['id']}: {made['state']}")
    if wait:
        click.echo(f"{follow(api, made['id'])['state']}")


@click.group()
def device() -> None:
    """Devices of the shop floor."""


@device.command("list")
@format_option
def list_devices(form: str) -> None:
    """List devices."""
    show_rows(
        Api.from_settings().rows("devices/"),
        ("name", "project", "cell", "protocol", "address", "port", "unit", "id"),
        form,
    )


@device.command()
@click.argument("name")
@click.argument("address")
@click.option("--project", required=True)
@click.option("--cell", required=True)
@click.option("--port", default=502, show_default=True)
@click.option("--unit", default=1, show_default=True)
@click.option(
    "--protocol",
    type=click.Choice(["modbus_tcp", "modbus_rtu_tcp", "opcua"]),
    default="modbus_tcp",
    show_default=True,
)
@click.option(
    "--word-order",
    type=click.Choice(["low_first", "high_first"]),
    default="low_first",
    show_default=True,
    help="Modbus: of values of several registers.",
)
@format_option
def add(
    name: str, address: str, project: str, cell: str, port: int, unit: int, protocol: str,
    word_order: str, form: str,
) -> None:  # fmt: skip
    """Register a device.

    Example: millwright device add station-7 10.90.1.57 --project line-1 --cell line1
    """
    body = {
        "name": name,
        "address": address,
        "project": project,
        "cell": cell,
        "port": port,
        "unit": unit,
        "protocol": protocol,
        "word_order": word_order,
    }
    show_one(Api.from_settings().post("devices/", body), form)


@device.command()
@click.argument("name")
@format_option
def health(name: str, form: str) -> None:
    """How a device does, as each controller that talks to it sees it."""
    api = Api.from_settings()
    found = api.get(f"devices/{_device(api, name)['id']}/health/")
    if found["error"]:
        click.echo(found["error"], err=True)
    columns = ("machine", "state", "age_s", "latency_ms", "errors", "error_ratio")
    show_rows(found["seen"], columns, form)


@device.command()
@click.argument("name")
@format_option
def certificates(name: str, form: str) -> None:
    """The certificates that an OPC UA device shows now."""
    api = Api.from_settings()
    rows = api.get(f"devices/{_device(api, name)['id']}/certificates/")
    show_rows(rows, ("fingerprint", "subject", "ends_at", "policies", "usable"), form)


@device.command()
@click.argument("name")
@click.argument("fingerprint")
@click.option("--reason", default="")
def trust(name: str, fingerprint: str, reason: str) -> None:
    """Trust an OPC UA device's certificate, as it shows it now, by its SHA-256.

    Example: millwright device trust press-opc 4f0c…e1 --reason "compared at the panel"
    """
    api = Api.from_settings()
    body = {"fingerprint": fingerprint, "reason": reason}
    made = api.post(f"devices/{_device(api, name)['id']}/trust/", body)
    click.echo(f"{name}: trusted {made['fingerprint']}")


@device.command()
@click.argument("project")
@click.argument("cell")
@click.option("--first", default="", help="First address; without, the cell's first.")
@click.option("--last", default="", help="Last address; 256 at most in one search.")
@format_option
def search(project: str, cell: str, first: str, last: str, form: str) -> None:
    """Which addresses of a cell answer Modbus or OPC UA. Takes about ten seconds; nothing is saved.

    Example: millwright device search line-1 cell-1 --first 10.90.1.50 --last 10.90.1.80
    """
    body = {"project": project, "cell": cell}
    body |= {name: value for name, value in (("first", first), ("last", last)) if value}
    found = Api.from_settings().post("devices/search/", body, timeout_s=120.0)
    show_rows(found, ("address", "port", "protocol", "detail", "known"), form)


def _device(api: Api, name: str) -> dict[str, Any]:
    found = api.first("devices/", name=name)
    if found is None:
        raise CliError(f"no device named {name!r}")
    return found


@device.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget a device that nothing is mapped to."""
    api = Api.from_settings()
    api.delete(f"devices/{_device(api, name)['id']}/")
    click.echo(f"{name}: removed")


@device.command()
@click.argument("address")
@click.option("--port", default=502, show_default=True)
@click.option("--unit", default=1, show_default=True)
@click.option(
    "--area",
    type=click.Choice(["holding", "input", "coil", "discrete"]),
    default="input",
    show_default=True,
)
@click.option("--first", default=0, show_default=True)
@click.option("--count", default=8, show_default=True)
@click.option("--rtu", is_flag=True, help="RTU frames in a TCP connection.")
def read(address: str, port: int, unit: int, area: str, first: int, count: int, rtu: bool) -> None:
    """Read a device through the gateway, before mapping it.

    Example: millwright device read 10.90.1.50 --area input --count 2
    """
    from millwright.gateway import GatewayClient, GatewayError
    from millwright.settings import get_settings

    try:
        with GatewayClient(get_settings().gateway_socket) as gateway:
            values = gateway.modbus_read(
                address, area, first, count, port=port, unit=unit, framing="rtu" if rtu else "tcp"
            )
    except GatewayError as error:
        raise CliError(str(error)) from None
    show_json({str(first + index): value for index, value in enumerate(values)})
