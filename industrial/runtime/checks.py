"""What is wrong with a project beside its sources: [modbus], [opcua], [start] and [outputs] of vplc.toml, security.toml,
and the devices of io/*.toml; each with file, line, field, value and rule.

The controller reads the same tables when it starts; a project that is checked here does not surprise it there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from industrial.devices import load_devices
from industrial.modbus import AccessList, ModbusSettings
from industrial.security import OpcUaPolicy
from industrial.st import Compiled, Diagnostic, compile_folder, read_folder

from .settings import MachineSettings, PortSettings, RuntimeSettings

_MANIFEST, _SECURITY = "vplc.toml", "security.toml"
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(?:#.*)?$")
_FIELD = re.compile(r"[\w.\[\]-]+")


def settings_errors(
    files: Mapping[str, str], symbols: Iterable[Mapping[str, Any]] | None = None
) -> list[Diagnostic]:
    """Of a project's files (path → text). The devices' tags are looked up in `symbols`; None leaves them out."""
    found: list[Diagnostic] = []
    try:
        manifest = tomllib.loads(files.get(_MANIFEST, ""))
    except tomllib.TOMLDecodeError:
        return found  # told with its place where the sources are read
    outputs = RuntimeSettings()
    for parse in (
        PortSettings.parse, ModbusSettings.parse, MachineSettings.parse, RuntimeSettings.parse,
    ):  # fmt: skip
        try:
            read = parse(manifest)
            outputs = read if isinstance(read, RuntimeSettings) else outputs
        except ValueError as error:
            found.append(_told(_MANIFEST, error, files))
    if security := files.get(_SECURITY):
        for read_rules in (AccessList.parse, OpcUaPolicy.parse):
            try:
                read_rules(security)
            except ValueError as error:
                found.append(_told(_SECURITY, error, files))
    if symbols is not None:
        known = list(symbols)
        for path in sorted(files):
            if not re.fullmatch(r"io/[^/]+\.toml", path):
                continue
            try:
                load_devices({path: files[path]}, known, on_stop=outputs.on_stop, on_fault=outputs.on_fault)  # fmt: skip
            except ValueError as error:
                found.append(_told(path, error, files))
    # What two readers stumble over is told once.
    seen: dict[tuple[str, int, str], Diagnostic] = {}
    for row in found:
        field = _FIELD.match(row.message)
        seen.setdefault((row.file, row.line, field[0] if field else row.message), row)
    return list(seen.values())


def compile_checked(files: Mapping[str, str]) -> Compiled:
    """Compile a project's files and check what stands beside the sources; everything found is in its diagnostics."""
    compiled = compile_folder(files)
    wrong = settings_errors(files, compiled.symbols.get("symbols", []) if compiled.ok else None)
    return Compiled("", {}, [*compiled.diagnostics, *wrong]) if wrong else compiled


def folder_errors(folder: Path) -> list[Diagnostic]:
    """Of a project folder on the disk; the devices' tags only where its sources compile.

    Raises:
        StError: it is not a folder.
    """
    files = read_folder(folder)
    symbols = None
    if any(path.startswith("io/") for path in files):
        compiled = compile_folder(files)
        symbols = compiled.symbols.get("symbols", []) if compiled.ok else None
    return settings_errors(files, symbols)


def _told(file: str, error: ValueError, files: Mapping[str, str]) -> Diagnostic:
    """An error of a reader, whose text begins with the file's name and then names the field."""
    message = str(error).removeprefix(file).lstrip(": ")
    text = files.get(file, "")
    lines = text.splitlines()
    if place := re.search(r"\(at line (\d+), column (\d+)\)", message):
        line, column = int(place[1]), int(place[2])
        source = lines[line - 1] if line <= len(lines) else ""
        return Diagnostic("error", "settings", message, file, line, column, source)
    line = line_of(text, found[0] if (found := _FIELD.match(message)) else "")
    source = lines[line - 1] if line <= len(lines) else ""
    column = len(source) - len(source.lstrip()) + 1
    return Diagnostic(
        "error", "settings", message, file, line, column, source, max(1, len(source.strip()))
    )


def line_of(text: str, field: str) -> int:
    """The line of a field such as `modbus.idle_s` or `modbus.client[2].cidr`, from 1; of its table, or 1, where it is not there."""
    best, depth = 1, 0
    counts: dict[str, int] = {}
    table = ""
    wanted = _parts(field)
    for number, line in enumerate(text.splitlines(), 1):
        if head := _HEADER.match(line):
            table = head[2].replace(" ", "").replace('"', "")
            if head[1] == "[[":
                counts[table] = counts.get(table, 0) + 1
                # What lies below an element begins anew with each of them.
                for other in [name for name in counts if name.startswith(f"{table}.")]:
                    del counts[other]
            here = _numbered(table, counts)
        elif key := re.match(r"\s*([\w.\"-]+)\s*=", line):
            here = [*_numbered(table, counts), *_parts(key[1].replace('"', ""))]
        else:
            continue
        if len(here) <= len(wanted) and len(here) > depth and _alike(here, wanted):
            best, depth = number, len(here)
    return best


def _parts(field: str) -> list[tuple[str, int]]:
    """Names and their numbers (0: none) of a.b[2].c."""
    rows = [re.fullmatch(r"([^\[\]]*)(?:\[(\d+)\])?", part) for part in field.split(".") if part]
    return [(row[1], int(row[2] or 0)) for row in rows if row is not None]


def _numbered(table: str, counts: Mapping[str, int]) -> list[tuple[str, int]]:
    names = table.split(".") if table else []
    return [
        (name, counts.get(".".join(names[: position + 1]), 0))
        for position, name in enumerate(names)
    ]


def _alike(here: list[tuple[str, int]], wanted: list[tuple[str, int]]) -> bool:
    return all(
        mine == theirs and (not number or n in (0, number))
        for (mine, n), (theirs, number) in zip(here, wanted, strict=False)
    )
