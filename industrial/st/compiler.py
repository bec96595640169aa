"""From sources to C and symbols, and the report of a check."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from industrial.library import sources as ours

from . import nodes as n
from . import types as t
from .build import CompilerRefusal, accept
from .declare import Resolver, check_all, collect
from .emit_program import MAX_ARENA, Emitted, ProgramEmitter, Task, reachable, recursive
from .errors import BuildError, Diagnostic, Sink, SourceFile, StError, decode_source
from .escape import refuse_escapes
from .events import LOOK_US, exactly
from .library import standard
from .lower_edges import lower_edges
from .lower_eno import has_eno, lower_eno, taken
from .lower_refs import lower_refs
from .lower_sfc import lower
from .model import Pou
from .parser import parse
from .scope import Project

DIALECTS = ("iec", "codesys23")
SUFFIXES = frozenset([".st", ".exp", ".iecst", ".pou"])
#: The tree is walked recursively; its depth is bounded by the parser.
_RECURSION = 20_000
_TCC_LINE = re.compile(r"program\.c:(\d+): (?:error: )?(.*)")


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """A task of a project: microseconds; a watchdog of 0 takes the engine's limit."""

    name: str
    interval_us: int
    priority: int = 1
    watchdog_us: int = 0
    programs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """How a project is compiled. Without tasks here, those of a CONFIGURATION count, else one of 10 ms for all.

    With `only_reachable`, errors in what no task's program calls are warnings: a library that is not wholly
    understood can still be used.
    """

    name: str = "program"
    version: str = "0.0.0"
    dialect: str = "iec"
    tasks: tuple[TaskConfig, ...] = ()
    only_reachable: bool = False


@dataclass(slots=True)
class Compiled:
    """The result; `c_source` is empty when `ok` is False."""

    c_source: str
    symbols: dict[str, Any]
    diagnostics: list[Diagnostic]

    @property
    def ok(self) -> bool:
        """No errors."""
        return bool(self.c_source)


@dataclass(slots=True)
class PouReport:
    """One POU or type of a check."""

    pou: str
    kind: str
    file: str
    errors: list[Diagnostic] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Checked, emitted, accepted by tcc."""
        return not self.errors

    def as_dict(self) -> dict[str, object]:
        """One line of the JSON report."""
        errors = [
            {
                "file": e.file,
                "line": e.line,
                "column": e.column,
                "code": e.code,
                "message": e.message,
            }
            for e in self.errors
        ]
        return {
            "pou": self.pou,
            "kind": self.kind,
            "file": self.file,
            "ok": self.ok,
            "errors": errors,
        }


@dataclass(slots=True)
class CheckReport:
    """All POUs and types of the checked files, and what was said."""

    rows: list[PouReport]
    diagnostics: list[Diagnostic]

    @property
    def ok(self) -> bool:
        """No row failed."""
        return all(row.ok for row in self.rows)


@contextmanager
def _deep() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _front(sources: Sequence[tuple[str, str]], dialect: str) -> tuple[Project, Resolver]:
    if dialect not in DIALECTS:
        raise StError(f"dialect = {dialect!r}: one of {', '.join(DIALECTS)}")
    codesys = dialect == "codesys23"
    files = [SourceFile(path, text, number) for number, (path, text) in enumerate(sources)]
    for name, text in (("standard", standard(codesys=codesys)), *ours()):
        files.append(SourceFile(f"({name})", text, len(files), library=True))
    sink = Sink(files)
    units = [parse(file, sink, codesys=codesys) for file in files]
    for unit, file in zip(units, files, strict=True):
        for node in unit.pous:
            for part in (node, *node.methods):
                lower(part, sink)
                lower_edges(part, sink)
                if not file.library:
                    lower_refs(part)
    if not codesys:
        _lower_eno(units, files)
    broken = {item.pou.upper() for item in sink.items if item.pou}
    project = collect(files, units, sink, codesys=codesys)
    project.broken = broken
    resolver = check_all(project)
    for pou in project.all_pous:
        if (pou.owner or pou).name.upper() in broken:
            pou.broken = True
    _refuse_recursion(project)
    refuse_escapes(project)
    return project, resolver


def _lower_eno(units: list[n.Unit], files: list[SourceFile]) -> None:
    """EN and ENO in the bodies of a project's own POUs; what is extended goes before what extends it."""
    own = [
        node
        for unit, file in zip(units, files, strict=True)
        if not file.library and has_eno(file.text)
        for node in unit.pous
    ]
    if not own:
        return
    others = taken([unit for unit, file in zip(units, files, strict=True) if not file.library])
    by_name = {node.name.upper(): node for node in own}
    seen: set[int] = set()

    def look(node: n.Pou) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        above = by_name.get(node.extends[0].upper()) if node.extends else None
        if above is not None:
            look(above)
        lower_eno(node, others, above)
        for method in node.methods:
            lower_eno(method, others, None)

    for node in own:
        look(node)


def _refuse_recursion(project: Project) -> None:
    checked = [pou for pou in project.all_pous if pou.checked]
    for pou in recursive(checked):
        if pou.kind in ("FUNCTION", "FUNCTION_BLOCK", "PROGRAM") and not any(
            called.owner for called in pou.calls
        ):
            project.sink.pou = pou.name
            project.error(
                pou.node.pos,
                "recursive",
                f"{pou.name} calls itself, directly or through others",
                hint="the standard forbids recursion; a loop can do it",
                length=len(pou.name),
            )
            pou.broken = True
    project.sink.pou = ""


def _tasks(project: Project, resolver: Resolver, config: Config) -> list[Task]:
    programs = {key: pou for key, pou in project.pous.items() if pou.kind == "PROGRAM"}

    def program(name: str, where: str) -> Pou | None:
        found = programs.get(name.upper())
        if found is None:
            project.error(
                0,
                "task",
                f"{where}: there is no program {name}",
                hint=f"programs: {', '.join(p.name for p in programs.values()) or 'none'}",
            )
        return found

    if config.tasks:
        made = {row.name.upper(): row for row in project.instances}

        def chosen(name: str, where: str) -> tuple[str, Pou] | None:
            """A program, or an instance that a CONFIGURATION has made of one."""
            row = made.get(name.upper())
            found = program(row.type_name if row else name, where)
            return None if found is None else (row.name if row else found.name, found)

        _warn_of_unconnected(project, config)
        rows = []
        for task in config.tasks:
            found = [chosen(name, f"task {task.name}") for name in task.programs]
            rows.append(
                Task(
                    task.name,
                    task.interval_us,
                    task.priority,
                    task.watchdog_us,
                    tuple(row for row in found if row is not None),
                )
            )
        return rows
    if project.tasks or project.instances:
        return _configured(project, resolver, program)
    if not programs:
        return []
    return [Task("main", 10_000, 1, 0, tuple((pou.name, pou) for pou in programs.values()))]


def _warn_of_unconnected(project: Project, config: Config) -> None:
    """Tasks of the project take the place of a CONFIGURATION's: what was connected there may not run."""
    for task in project.tasks:
        if "SINGLE" in task.settings:
            project.sink.warning(
                task.pos,
                "task",
                f"task {task.name} of a CONFIGURATION is started by SINGLE, and tasks of the project take its place",
                length=len(task.name),
            )
    run = {name.upper() for task in config.tasks for name in task.programs}
    for row in project.instances:
        if row.connections and row.name.upper() not in run:
            project.sink.warning(
                row.pos,
                "task",
                f"{row.name} is connected in a CONFIGURATION, and no task of the project runs it",
                hint=f"a task of the project may name {row.name}",
                length=len(row.name),
            )


def _configured(project: Project, resolver: Resolver, program: Any) -> list[Task]:
    checker = resolver.checker()
    members: dict[str, list[tuple[str, Pou]]] = {task.name.upper(): [] for task in project.tasks}
    for instance in project.instances:
        found = program(instance.type_name, f"PROGRAM {instance.name}")
        key = instance.task.upper()
        if key not in members:
            hint = f"tasks: {', '.join(task.name for task in project.tasks) or 'none'}"
            project.error(
                instance.pos,
                "task",
                f"{instance.name} needs a task" if not key else f"{instance.task} is not a task",
                hint=hint,
            )
            continue
        if found is not None:
            members[key].append((instance.name, found))
    rows: list[Task] = []
    for task in project.tasks:
        up = task.name.upper()
        event = project.events.get(up)
        interval = (
            checker.constant(exactly(task.settings["INTERVAL"]), t.LTIME)
            if "INTERVAL" in task.settings
            else None
        )
        if "INTERVAL" not in task.settings and "SINGLE" not in task.settings:
            project.error(task.pos, "task", f"task {task.name} needs an INTERVAL, or SINGLE")
        priority = (
            checker.constant_int(task.settings["PRIORITY"]) if "PRIORITY" in task.settings else 1
        )
        nanoseconds = interval.value if interval and isinstance(interval.value, int) else 0
        if priority is None or (interval is None and event is None):
            continue
        if nanoseconds < 100_000 and (nanoseconds or event is None):
            project.error(task.pos, "task", f"task {task.name}: the shortest interval is 100 us")
        elif nanoseconds % 1000:
            project.error(
                task.pos, "task", f"task {task.name}: an interval is a whole number of microseconds"
            )
        rows.append(Task(task.name, nanoseconds // 1000, priority, 0, tuple(members[up]), event))
    looked = min([LOOK_US, *(row.interval_us for row in rows if row.interval_us)])
    return [row if row.event is None else replace(row, interval_us=looked) for row in rows]


def compile_project(
    sources: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]],
    config: Config | None = None,
) -> Compiled:
    """Compile sources (path → text) to one C file. Never raises for what is in the sources.

    Raises:
        StError: an unknown dialect.
    """
    config = config or Config()
    pairs = list(sources.items()) if isinstance(sources, Mapping) else list(sources)
    texts = [(path, text if isinstance(text, str) else decode_source(text)) for path, text in pairs]
    with _deep():
        project, resolver = _front(texts, config.dialect)
        tasks = _tasks(project, resolver, config)
        sink = project.sink
        if not any(task.programs for task in tasks) and not sink.failed:
            project.error(
                0,
                "task",
                "no PROGRAM runs",
                hint="declare a PROGRAM, and name it in a task when tasks are given",
            )
        if config.only_reachable:
            _forgive(project, tasks)
        if sink.failed:
            return Compiled("", {}, sink.items)
        emitted = ProgramEmitter(project, tasks, config.name, config.version).emit()
    if emitted.arena_size > MAX_ARENA:
        project.error(
            0, "size", f"the variables take {emitted.arena_size} bytes: at most {MAX_ARENA}"
        )
        return Compiled("", {}, sink.items)
    return Compiled(emitted.c_source, emitted.symbols, sink.items)


def _forgive(project: Project, tasks: list[Task]) -> None:
    """Errors in what nobody calls become warnings, when all that is called is right."""
    used = reachable(project, tasks)
    names = {(pou.owner or pou).name.upper() for pou in used} | {""}
    items = project.sink.items
    if any(pou.broken for pou in used) or any(
        item.severity == "error" and item.pou.upper() in names for item in items
    ):
        return
    items[:] = [replace(item, severity="warning") for item in items]


# --- checking -----------------------------------------------------------------------------------------------


def find_sources(paths: Sequence[Path]) -> list[Path]:
    """The source files below the paths, sorted; a file that is named is always taken.

    What a controller keeps in `state/` of a project folder is left out: sources that ran lie there, too.

    Raises:
        StError: a path that does not exist.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.suffix.lower() in SUFFIXES and file.is_file() and not _kept(path, file):
                    found[file] = None
        elif path.exists():
            found[path] = None
        else:
            raise StError(f"{path}: there is no such file or folder")
    return list(found)


def _kept(top: Path, file: Path) -> bool:
    return any(
        folder.name == "state" and (folder.parent / "vplc.toml").is_file()
        for folder in file.parents
        if folder != top and folder.is_relative_to(top)
    )


def check(
    paths: Sequence[Path | str],
    *,
    dialect: str = "iec",
    with_files: Sequence[Path | str] = (),
    use_tcc: bool = True,
) -> CheckReport:
    """Check every POU and type of the files; `with_files` are known but not reported on.

    Raises:
        StError: a path does not exist, or the dialect is unknown.
        BuildError: tcc is missing.
    """
    own = find_sources([Path(path) for path in paths])
    extra = [path for path in find_sources([Path(path) for path in with_files]) if path not in own]
    sources = [(str(path), decode_source(path.read_bytes())) for path in [*own, *extra]]
    return check_sources(sources, len(own), dialect=dialect, use_tcc=use_tcc)


def check_sources(
    sources: Sequence[tuple[str, str]], own: int, *, dialect: str = "iec", use_tcc: bool = True
) -> CheckReport:
    """As `check`, on texts; the first `own` are reported on."""
    with _deep():
        project, resolver = _front(sources, dialect)
        tasks = _tasks(project, resolver, Config())
        if use_tcc:
            _accept(project, tasks)
    return CheckReport(_rows(project, own), project.sink.items)


def _accept(project: Project, tasks: list[Task]) -> None:
    """Emit what is right and let tcc read it; whom it refuses is told and taken out."""
    for _ in range(20):
        emitted = ProgramEmitter(project, tasks, "check", "0", everything=True).emit()
        try:
            accept(emitted.c_source)
            return
        except CompilerRefusal as refusal:
            if not _blame(project, emitted, str(refusal)):
                raise BuildError(f"tcc refused what was emitted: {refusal}") from None


def _blame(project: Project, emitted: Emitted, text: str) -> bool:
    blamed = False
    for found in _TCC_LINE.finditer(text):
        if "warning" in found[2]:
            continue
        line = int(found[1])
        owner = next((pou for start, pou in reversed(emitted.lines) if start <= line), None)
        if owner is not None and not owner.broken:
            owner.broken = blamed = True
            project.sink.pou = (owner.owner or owner).name
            project.error(
                owner.node.pos, "internal", f"the C compiler refused {owner.label}: {found[2]}"
            )
    project.sink.pou = ""
    return blamed


def _rows(project: Project, own: int) -> list[PouReport]:
    files = project.files
    rows: dict[tuple[str, str], PouReport] = {}
    for entry in project.types.values():
        index = entry.node.pos >> 32
        if index < own:
            row = rows[files[index].path, entry.node.name.upper()] = PouReport(
                entry.node.name, "TYPE", files[index].path
            )
            if entry.broken:
                row.errors = [
                    item
                    for item in project.sink.items
                    if item.severity == "error"
                    and item.pou.upper() == row.pou.upper()
                    and item.file == row.file
                ]
    broken: set[str] = set()
    hidden = {*project.connections.values(), *project.events.values()}
    for pou in project.all_pous:
        if pou in hidden:
            continue
        top = pou.owner or pou
        if pou.broken:
            broken.add(top.name.upper())
        index = top.node.pos >> 32
        if index < own:
            rows.setdefault(
                (files[index].path, top.name.upper()),
                PouReport(top.name, top.kind, files[index].path),
            )
    by_name = {row.pou.upper(): row for row in rows.values()}
    known = {files[index].path for index in range(own)}
    for item in project.sink.items:
        if item.severity != "error" or item.file not in known:
            continue
        target = rows.get((item.file, item.pou.upper())) or by_name.get(item.pou.upper())
        if target is None:
            target = rows.setdefault(
                (item.file, item.pou.upper()),
                PouReport(item.pou, "FILE" if not item.pou else "POU", item.file),
            )
        if item not in target.errors:
            target.errors.append(item)
    for row in rows.values():
        if row.pou.upper() in broken and not row.errors and row.kind != "TYPE":
            pou_node = project.pous[row.pou.upper()].node
            line, column = files[pou_node.pos >> 32].locate(pou_node.pos & 0xFFFFFFFF)
            row.errors.append(
                Diagnostic(
                    "error",
                    "depends",
                    f"{row.pou} uses something that has errors",
                    row.file,
                    line,
                    column,
                    pou=row.pou,
                )
            )
    return sorted(
        rows.values(), key=lambda row: (row.file, row.errors[0].line if row.errors else 0, row.pou)
    )
