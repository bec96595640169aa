"""Changes of programs, devices and mappings. A saved mapping is a config delivery and an open firewall pair."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.lifecycle import MachineDesired, OperationKind, OperationState
from millwright.environments.enqueue import enqueue
from millwright.environments.models import Machine, Operation

from .models import Device, Program, ProgramVersion, TagMapping
from .pictures import PICTURE, parse_picture

#: A program is text that people write; more than this is a mistake.
MAX_FILES, MAX_BYTES = 500, 4 * 2**20
_PATH = re.compile(
    r"(vplc\.toml|security\.toml|picture\.toml|(src|lib|io|tests)/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)"
)
_IDENTIFIER = re.compile(r"[a-z]([a-z0-9-]{0,46}[a-z0-9])?")

_DEFAULT_MANIFEST = """format = 1
name = "{name}"
version = "{number}"
dialect = "iec"
sources = ["src/*.st"]

[[task]]
name = "main"
interval_us = 10000
priority = 1
programs = ["{program}"]
"""


def validate_files(files: dict[str, str]) -> None:
    """Check paths and sizes of an upload.

    Raises:
        ValidationError: names path and rule.
    """
    if not isinstance(files, dict) or not files:
        raise ValidationError({"files": _("no file was given")})
    if len(files) > MAX_FILES:
        raise ValidationError(
            {"files": _("%(n)s files; at most %(most)s") % {"n": len(files), "most": MAX_FILES}}
        )
    size = 0
    for path, text in files.items():
        if not isinstance(text, str):
            raise ValidationError({"files": _("%(path)s: text is expected") % {"path": path}})
        if not _PATH.fullmatch(path) or ".." in path.split("/"):
            raise ValidationError(
                {
                    "files": _(
                        "%(path)r: expected vplc.toml, security.toml, picture.toml or a file below src/, lib/, io/, tests/"
                    )
                    % {"path": path}
                }
            )
        size += len(text.encode())
    if size > MAX_BYTES:
        raise ValidationError(
            {
                "files": _("%(size)s bytes in all; at most %(most)s")
                % {"size": size, "most": MAX_BYTES}
            }
        )
    if text := files.get(PICTURE):
        parse_picture(text)
    if not any(path.endswith(".st") for path in files):
        raise ValidationError({"files": _("no Structured Text (src/….st) among the files")})


def complete_files(files: dict[str, str], name: str, number: int) -> dict[str, str]:
    """Give a bare source a project file: one task of 10 ms that runs the source's first PROGRAM."""
    if "vplc.toml" in files:
        return files
    for text in files.values():
        found = re.search(
            r"^\s*PROGRAM\s+([A-Za-z_][A-Za-z0-9_]*)", text, re.IGNORECASE | re.MULTILINE
        )
        if found:
            return {
                **files,
                "vplc.toml": _DEFAULT_MANIFEST.format(
                    name=name, number=number, program=found.group(1)
                ),
            }
    raise ValidationError(
        {"files": _("no PROGRAM in the sources, and no vplc.toml that says what to run")}
    )


@transaction.atomic
def upload_program(actor: Any, project: Any, name: str, files: dict[str, str]) -> ProgramVersion:
    """Store sources as the next version and queue its compilation. The same sources again: the same version."""
    require(actor, "engineer", project)
    if not _IDENTIFIER.fullmatch(name):
        raise ValidationError(
            {
                "name": _(
                    "%(value)r: use lower-case letters, digits and hyphens, begin with a letter"
                )
                % {"value": name}
            }
        )
    validate_files(files)
    program, _made = Program.objects.select_for_update().get_or_create(project=project, name=name)
    latest = program.versions.first()
    number = (program.versions.aggregate(n=Max("number"))["n"] or 0) + 1
    if (
        latest is not None
        and latest.state != "failed"
        and latest.files == complete_files(files, name, latest.number)
    ):
        return latest
    version = ProgramVersion.objects.create(
        program=program, number=number, files=complete_files(files, name, number), uploaded_by=actor
    )
    enqueue(
        OperationKind.BUILD_PROGRAM,
        actor=actor,
        reason=f"upload of {version}",
        project=project,
        program_version=str(version.pk),
    )
    record(actor, "program.upload", version, project=project, files=sorted(version.files))
    return version


def address_in_cell(cell: Any, address: str, field: str) -> None:
    """Raise `ValidationError` unless the address lies in the cell's network."""
    try:
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(cell.cidr)
    except ValueError:
        raise ValidationError(
            {field: _("%(value)r is not an IP address") % {"value": address}}
        ) from None
    if not inside:
        raise ValidationError(
            {
                field: _("%(value)s is not in cell %(cell)s (%(cidr)s)")
                % {"value": address, "cell": cell.slug, "cidr": cell.cidr}
            }
        )


@transaction.atomic
def add_device(actor: Any, **fields: Any) -> Device:
    """Register a device of a cell."""
    require(actor, "engineer", fields["project"])
    device = Device(**fields)
    address_in_cell(device.cell, device.address, "address")
    ours = {device.cell.gateway_address, device.cell.monitoring_address} - {None}
    network = ipaddress.ip_network(device.cell.cidr)
    ends = {str(network.network_address), str(network.broadcast_address)}
    if str(ipaddress.ip_address(device.address)) in ours | ends:
        raise ValidationError(
            {
                "address": _("%(address)s is used by the cell %(cell)s itself; choose another")
                % {"address": device.address, "cell": device.cell}
            }
        )
    taken = (
        device.cell.address_claims.filter(address=device.address, machine__isnull=False)
        .select_related("machine__environment")
        .first()
    )
    if taken:
        raise ValidationError(
            {
                "address": _("%(address)s belongs to %(owner)s")
                % {"address": device.address, "owner": taken.machine}
            }
        )
    device.full_clean()
    device.save(force_insert=True)
    record(
        actor,
        "device.add",
        device,
        project=device.project,
        address=device.address,
        port=device.port,
    )
    return device


@transaction.atomic
def remove_device(actor: Any, device: Device) -> None:
    """Forget a device that nothing is mapped to."""
    require(actor, "engineer", device.project)
    used = device.mappings.select_related("machine__environment").first()
    if used:
        raise ValidationError(
            {
                "device": _("%(device)s is still mapped to %(machine)s; remove its mappings first")
                % {"device": device, "machine": used.machine}
            }
        )
    record(actor, "device.remove", device, project=device.project)
    device.delete()


@transaction.atomic
def set_mappings(
    actor: Any, machine: Machine, device: Device, rows: list[dict[str, Any]]
) -> list[TagMapping]:
    """Replace all points between a machine and a device, and deliver the new configuration.

    Raises:
        ValidationError: names row, field and rule; nothing was changed.
    """
    project = machine.environment.project
    require(actor, "engineer", project)
    if device.project_id != project.pk:
        raise ValidationError(
            {"device": _("%(device)s belongs to another project") % {"device": device}}
        )
    if machine.cell_id != device.cell_id:
        raise ValidationError(
            {
                "device": _("%(device)s is in cell %(a)s, the machine in %(b)s")
                % {"device": device, "a": device.cell, "b": machine.cell}
            }
        )
    opcua = device.protocol == "opcua"
    if rows and opcua and not (device.certificate or device.unencrypted):
        raise ValidationError(
            {
                "device": _(
                    "trust the certificate of %(device)s first, on its page, or say there why it cannot be encrypted"
                )
                % {"device": device}
            }
        )
    known = _known_tags(machine)
    errors: list[str] = []
    mappings = []
    seen: set[tuple[str, str, str]] = set()
    for number, row in enumerate(rows, 1):
        mapping = TagMapping(machine=machine, device=device, **row)
        place = (mapping.area, mapping.register, mapping.direction)
        try:
            mapping.clean_fields()
        except ValidationError as error:
            errors += [
                f"row {number}: {field}: {' '.join(messages)}"
                for field, messages in error.message_dict.items()
            ]
            continue
        if (mapping.area == "node") != opcua:
            errors.append(
                _("row %(n)s: area: %(area)s does not fit %(protocol)s")
                % {
                    "n": number,
                    "area": mapping.get_area_display(),
                    "protocol": device.get_protocol_display(),
                }
            )
            continue
        if mapping.area != "node" and not (
            mapping.register.isdecimal() and int(mapping.register) < 65536
        ):
            errors.append(
                _("row %(n)s: register: %(value)r is not a number from 0 to 65535")
                % {"n": number, "value": mapping.register}
            )
        if mapping.direction == "out" and mapping.area in ("discrete", "input"):
            errors.append(
                _("row %(n)s: area: %(area)s can only be read")
                % {"n": number, "area": mapping.get_area_display()}
            )
        if known is not None and mapping.tag.lower() not in known:
            errors.append(
                _("row %(n)s: tag: the program has no %(tag)r") % {"n": number, "tag": mapping.tag}
            )
        if place in seen and mapping.direction == "out":
            errors.append(
                _("row %(n)s: register: %(area)s %(register)s is written twice")
                % {"n": number, "area": mapping.get_area_display(), "register": mapping.register}
            )
        seen.add(place)
        mappings.append(mapping)
    others = set(machine.mappings.exclude(device=device).values_list("tag", flat=True))
    tags = [mapping.tag for mapping in mappings]
    errors += [
        _("tag %(tag)r is mapped twice") % {"tag": tag}
        for tag in sorted({tag for tag in tags if tags.count(tag) > 1})
    ]
    errors += [
        _("tag %(tag)r is mapped to another device already") % {"tag": tag}
        for tag in sorted(others & set(tags))
    ]
    if errors:
        raise ValidationError({"mappings": errors})
    fields = (
        "tag",
        "area",
        "register",
        "data_type",
        "direction",
        "scale",
        "offset",
        "fail",
        "substitute",
    )
    before = sorted(machine.mappings.filter(device=device).values_list(*fields))
    after = sorted(tuple(getattr(mapping, field) for field in fields) for mapping in mappings)
    if before == after:
        return list(machine.mappings.filter(device=device))
    machine.mappings.filter(device=device).delete()
    TagMapping.objects.bulk_create(mappings)
    record(actor, "mapping.set", machine, project=project, device=str(device), points=len(mappings))
    request_config(actor, machine, f"mapping of {device}")
    return mappings


def _known_tags(machine: Machine) -> set[str] | None:
    """Lower-case tag paths of the program on the machine; None while there is none."""
    deployment = (
        machine.deployments.exclude(state__in=("failed", "asked", "refused"))
        .select_related("program_version")
        .first()
    )
    if deployment is None or not deployment.program_version.symbols:
        return None
    return {
        symbol["path"].lower() for symbol in deployment.program_version.symbols.get("symbols", [])
    }


@transaction.atomic
def request_config(actor: Any, machine: Machine, reason: str) -> Operation | None:
    """Queue the delivery of a machine's configuration; one that is still queued serves for both.

    That one begins after what the caller changes is there to be read.
    """
    if machine.host_id is None or machine.desired != MachineDesired.RUNNING:
        return None
    waiting = (
        Operation.objects.select_for_update(no_key=True, of=("self",))
        .filter(machine=machine, kind=OperationKind.DELIVER_CONFIG, state=OperationState.QUEUED)
        .first()
    )
    return waiting or enqueue(
        OperationKind.DELIVER_CONFIG,
        actor=actor,
        reason=reason,
        environment=machine.environment,
        machine=machine,
        exclusive=False,
    )
