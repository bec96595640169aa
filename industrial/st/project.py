"""A project folder: vplc.toml says what is compiled and which tasks run it.

Read here: name, version, dialect, sources, with, [[task]]. The other tables belong to the runtime and the protocols.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from .compiler import (
    DIALECTS,
    SUFFIXES,
    Compiled,
    Config,
    TaskConfig,
    compile_project,
    find_sources,
)
from .errors import Diagnostic, StError, decode_source

MANIFEST = "vplc.toml"
#: Shortest and longest interval of a task, microseconds.
INTERVAL_US = (100, 3_600_000_000)
#: Lowest number is the highest priority, as in the standard.
PRIORITY = (0, 99)
#: Files that belong to a project folder, apart from the sources.
_OTHER = frozenset([".toml", ".yaml", ".yml"])
_KNOWN = frozenset(
    [
        "format",
        "name",
        "version",
        "dialect",
        "sources",
        "with",
        "task",
        "start",
        "outputs",
        "modbus",
        "opcua",
        "redundancy",
    ]
)
_TASK_KEYS = frozenset(["name", "interval_us", "priority", "watchdog_us", "programs"])


@dataclass(slots=True)
class Folder:
    """A project as read: its sources (path → text) and how they are compiled."""

    config: Config = field(default_factory=Config)
    sources: dict[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No errors in the manifest."""
        return not any(item.severity == "error" for item in self.diagnostics)


def read_folder(project: Path) -> dict[str, str]:
    """The text files of a project folder by their path in it; `state/` is left out.

    Raises:
        StError: it is not a folder.
    """
    if not project.is_dir():
        raise StError(f"{project}: there is no such folder")
    found = {}
    for path in sorted(project.rglob("*")):
        place = path.relative_to(project)
        if (
            path.suffix.lower() in SUFFIXES | _OTHER
            and place.parts[0] != "state"
            and path.is_file()
        ):
            found[place.as_posix()] = decode_source(path.read_bytes())
    return found


class _Manifest:
    """Reads vplc.toml and tells what breaks a rule, with the line where it stands."""

    def __init__(self, text: str) -> None:
        self.text, self.items = text, list[Diagnostic]()

    def tell(
        self, message: str, *, key: str = "", task: int = 0, hint: str = "", severity: str = "error"
    ) -> None:
        """Record a finding at a key, or at the n-th [[task]]."""
        line = self._line(key, task)
        lines = self.text.splitlines()
        source = lines[line - 1] if line <= len(lines) else ""
        column = len(source) - len(source.lstrip()) + 1
        self.items.append(
            Diagnostic(
                severity, "project", message, MANIFEST, line, column, source,
                max(1, len(source.strip())), hint,
            )
        )  # fmt: skip

    def _line(self, key: str, task: int) -> int:
        lines = self.text.splitlines()
        start = 0
        if task:
            heads = [n for n, line in enumerate(lines) if re.match(r"\s*\[\[\s*task\s*\]\]", line)]
            start = heads[task - 1] if task <= len(heads) else 0
        for number in range(start, len(lines)):
            if key and re.match(rf"\s*\[*\s*{re.escape(key)}\b", lines[number]):
                return number + 1
        return start + 1

    def text_of(self, table: Mapping[str, Any], key: str, default: str, *, task: int = 0) -> str:
        """A string."""
        value = table.get(key, default)
        if isinstance(value, str) and value and len(value) <= 200:
            return value
        where = f"task[{task}].{key}" if task else key
        self.tell(f"{where} = {value!r}: a text of 1 to 200 characters", key=key, task=task)
        return default or "?"

    def number(
        self,
        table: Mapping[str, Any],
        key: str,
        default: int | None,
        bounds: tuple[int, int],
        task: int,
    ) -> int:
        """A whole number within bounds."""
        value = table.get(key, default)
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and bounds[0] <= value <= bounds[1]
        ):
            return value
        where = f"task[{task}].{key}"
        self.tell(
            f"{where} is missing: a whole number, {bounds[0]} to {bounds[1]}"
            if value is None
            else f"{where} = {value!r}: a whole number, {bounds[0]} to {bounds[1]}",
            key=key,
            task=task,
        )
        return bounds[0]

    def names(self, table: Mapping[str, Any], key: str, what: str, *, task: int = 0) -> list[str]:
        """A list of texts, empty when it is not there."""
        value = table.get(key, [])
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            return value
        where = f"task[{task}].{key}" if task else key
        self.tell(f"{where} = {value!r}: a list of {what}", key=key, task=task)
        return []

    def task(self, row: object, position: int) -> TaskConfig | None:
        """One [[task]]."""
        if not isinstance(row, dict):
            self.tell(f"task[{position}] = {row!r}: a table", key="task")
            return None
        for key in sorted(row.keys() - _TASK_KEYS):
            self.tell(
                f"task[{position}].{key} is not known",
                key=key,
                task=position,
                hint=_hint(key, _TASK_KEYS),
            )
        if "name" not in row:
            self.tell(f"task[{position}].name is missing", task=position)
            return None
        programs = self.names(row, "programs", "names of PROGRAMs", task=position)
        if not programs and isinstance(row.get("programs", []), list):
            self.tell(f"task[{position}].programs is empty: name what it runs", task=position)
        interval = self.number(row, "interval_us", None, INTERVAL_US, position)
        return TaskConfig(
            self.text_of(row, "name", "", task=position),
            interval,
            self.number(row, "priority", 1, PRIORITY, position),
            self.number(row, "watchdog_us", 0, (0, INTERVAL_US[1]), position),
            tuple(programs),
        )

    def tasks(self, rows: object) -> tuple[TaskConfig, ...]:
        """All tasks; names must differ."""
        if not isinstance(rows, list):
            self.tell(f"task = {rows!r}: write [[task]]", key="task")
            return ()
        found = [task for n, row in enumerate(rows, 1) if (task := self.task(row, n)) is not None]
        names = [task.name.upper() for task in found]
        for position, name in enumerate(names, 1):
            if name in names[: position - 1]:
                self.tell(
                    f"task[{position}].name = {found[position - 1].name!r}: another task has it",
                    task=position,
                )
        return tuple(found)


def _hint(key: str, known: Iterable[str]) -> str:
    near = get_close_matches(key, known, 1, 0.6)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"


def _matches(path: str, pattern: str) -> bool:
    pattern = pattern.removeprefix("./").rstrip("/")
    return (
        fnmatchcase(path, pattern)
        or fnmatchcase(path, f"{pattern}/*")
        or PurePosixPath(path).match(pattern)
    )


def _chosen(
    files: Mapping[str, str], manifest: _Manifest, table: Mapping[str, Any]
) -> dict[str, str]:
    """The sources: what `sources` and `with` name, or every one there is."""
    texts = {
        path: text for path, text in files.items() if PurePosixPath(path).suffix.lower() in SUFFIXES
    }
    patterns = manifest.names(table, "sources", "paths or patterns")
    extra = manifest.names(table, "with", "paths or patterns")
    if not patterns:
        return texts
    chosen: dict[str, str] = {}
    # lib/ is the project's own library: always there, as src/ is when nothing is said.
    for key, pattern in [("", "lib"), *(("sources", p) for p in patterns), *(("with", p) for p in extra)]:  # fmt: skip
        found = [path for path in texts if _matches(path, pattern)]
        if not found and key:
            manifest.tell(
                f"{key}: no file of the project is {pattern}",
                key=key,
                hint=f"sources there: {', '.join(sorted(texts)[:8]) or 'none'}",
            )
        chosen |= {path: texts[path] for path in found}
    return dict(sorted(chosen.items()))


def load_folder(files: Mapping[str, str]) -> Folder:
    """Read a project's files (path → text, vplc.toml among them). What is wrong is in `diagnostics`."""
    text = files.get(MANIFEST, "")
    manifest = _Manifest(text)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(found[1]), int(found[2])) if found else (1, 1)
        lines = text.splitlines()
        source = lines[line - 1] if line <= len(lines) else ""
        manifest.items.append(
            Diagnostic("error", "project", str(error), MANIFEST, line, column, source)
        )
        return Folder(diagnostics=manifest.items)
    if table.get("format", 1) != 1:
        manifest.tell(f"format = {table['format']!r}: 1 is known here", key="format")
    for key in sorted(table.keys() - _KNOWN):
        manifest.tell(f"{key} is not known", key=key, hint=_hint(key, _KNOWN), severity="warning")
    dialect = manifest.text_of(table, "dialect", "iec")
    if dialect not in DIALECTS:
        manifest.tell(f"dialect = {dialect!r}: one of {', '.join(DIALECTS)}", key="dialect")
        dialect = "iec"
    config = Config(
        manifest.text_of(table, "name", "program"),
        manifest.text_of(table, "version", "0"),
        dialect,
        manifest.tasks(table.get("task", [])),
    )
    return Folder(config, _chosen(files, manifest, table), table, manifest.items)


def compile_folder(files: Mapping[str, str]) -> Compiled:
    """Compile a project's files (path → text; vplc.toml among them)."""
    folder = load_folder(files)
    if not folder.ok:
        return Compiled("", {}, folder.diagnostics)
    compiled = compile_project(folder.sources, folder.config)
    compiled.diagnostics[:0] = folder.diagnostics
    return compiled


def load_paths(
    paths: Iterable[Path], *, with_files: Iterable[Path] = (), dialect: str = ""
) -> Folder:
    """What `vplc` verbs take: one project folder (with vplc.toml), or source files and folders of them.

    `dialect` goes before the manifest's; without either it is iec.

    Raises:
        StError: a path does not exist.
    """
    own = list(paths)
    if len(own) == 1 and (own[0] / MANIFEST).is_file():
        folder = load_folder(read_folder(own[0]))
    else:
        folder = Folder(sources=_texts(own))
    folder.sources |= _texts(list(with_files))
    if dialect:
        config = folder.config
        folder.config = Config(config.name, config.version, dialect, config.tasks)
    return folder


def _texts(paths: list[Path]) -> dict[str, str]:
    return {str(path): decode_source(path.read_bytes()) for path in find_sources(paths)}
