"""The whole program: arena, tasks, initial values, and the one symbol that the scan engine looks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ir
from . import types as t
from .connect import run_in_place
from .emit_base import fixed
from .emit_pou import PouEmitter, dispatcher, implementations, layout_frame, needs_dispatch
from .model import Pou, Var, align, encode
from .scope import Project
from .symbols import MAX_SYMBOLS, instances, variable_symbols

_HERE = Path(__file__).resolve().parent
#: The first bytes of the arena are never used: a reference of zero means nothing.
NULL_ZONE = 16
#: Stack for programs whose methods may call each other in circles; the depth is watched at run time.
RECURSIVE_STACK = 64 * 1024
MAX_ARENA = 1 << 20


@dataclass(frozen=True, slots=True)
class Task:
    """A task as emitted: microseconds, 0 for the watchdog takes the engine's own limit."""

    name: str
    interval_us: int
    priority: int
    watchdog_us: int
    #: (name of the instance, program)
    programs: tuple[tuple[str, Pou], ...]
    #: What looks for the event that starts them, and calls them.
    event: Pou | None = None


@dataclass(slots=True)
class Emitted:
    """C, and the symbols."""

    c_source: str
    symbols: dict[str, Any]
    #: first line of C of each POU, for finding whom a C compiler means
    lines: list[tuple[int, Pou]] = field(default_factory=list)
    arena_size: int = 0


def c_string(text: str) -> str:
    """A C string of nothing but numbers: no source text reaches the compiler."""
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'


def c_bytes(data: bytes) -> str:
    """A C initialiser."""
    return "{" + ",".join(str(byte) for byte in data) + "}"


class ProgramEmitter:
    """Emits everything that is not broken."""

    def __init__(
        self,
        project: Project,
        tasks: list[Task],
        name: str,
        version: str,
        *,
        everything: bool = False,
    ) -> None:
        self.project, self.tasks, self.name, self.version = project, tasks, name, version
        self.everything = everything
        self.texts: dict[tuple[bool, tuple[int, ...]], int] = {}
        self.blobs: dict[bytes, int] = {}
        self.instances: list[Var] = []
        self.data_end = NULL_ZONE

    def emit(self) -> Emitted:
        """The C source and the symbols."""
        pous = self._reachable()
        self._layout()
        if self.data_end > MAX_ARENA:  # no use in writing down what nobody can hold
            return Emitted("", {}, [], self.data_end)
        for pou in pous:
            layout_frame(pou)
        circles = recursive(pous)
        many = len({pou.node.pos >> 32 for pou in pous}) > 1
        bodies: list[tuple[Pou, list[str]]] = []
        heads: list[str] = []
        for pou in pous:
            emitter = PouEmitter(self.project, pou, self.texts, self.blobs)
            if (
                not (pou.node.abstract and pou.owner)
                and pou.kind != "INTERFACE"
                and pou.owner_kind != "INTERFACE"
            ):
                bodies.append((pou, emitter.emit(many_files=many, guarded=pou in circles)))
                heads.append(emitter.head() + ";")
                heads += [
                    f"static void a{pou.number}_{k}(vplc_ctx *c, uint32_t sp, uint32_t self);"
                    for k in range(len(pou.node.actions))
                ]
            if needs_dispatch(pou):
                head = emitter.head()
                heads.append(head.replace(f" p{pou.number}(", f" d{pou.number}(") + ";")
                bodies.append((pou, dispatcher(pou, head)))
        stacks, arena = self._stacks(circles)
        lines = self._preamble()
        # Addresses inside texts and blobs are constants; frames are known only now.
        lines += [
            f"static const uint{'16' if wide else '8'}_t k{number}[] = {{{','.join(str(code) for code in (*codes, 0))}}};"
            for (wide, codes), number in self.texts.items()
        ]
        lines += [
            f"static const uint8_t b{number}[] = {c_bytes(data)};"
            for data, number in self.blobs.items()
        ]
        lines += [f"enum {{ FZ_{pou.number} = {pou.frame_size} }};" for pou in pous]
        lines += heads
        lines += self._casts(pous)
        spans: list[tuple[int, Pou]] = []
        count = sum(line.count("\n") + 1 for line in lines)
        for pou, body in bodies:
            spans.append((count + 1, pou))
            lines += body
            count += len(body)
        symbols = self._symbols()
        lines += self._tail(stacks, arena, symbols)
        return Emitted("\n".join(lines) + "\n", symbols, spans, arena)

    # --- what is needed ---------------------------------------------------------------------------------------

    def _reachable(self) -> list[Pou]:
        broken = {pou for pou in self.project.all_pous if pou.broken or not pou.checked}
        changed = True
        while changed:  # who calls something broken cannot be emitted either
            changed = False
            for pou in self.project.all_pous:
                if pou not in broken and any(
                    self._broken_call(called, broken) for called in pou.calls
                ):
                    broken.add(pou)
                    pou.broken = True
                    changed = True
        wanted = (
            set(self.project.all_pous) if self.everything else reachable(self.project, self.tasks)
        )
        return [pou for pou in self.project.all_pous if pou not in broken and pou in wanted]

    @staticmethod
    def _broken_call(called: Pou, broken: set[Pou]) -> bool:
        return called in broken and called.kind != "INTERFACE"

    def _layout(self) -> None:
        offset = NULL_ZONE
        for var in self.project.globals.values():
            if var.storage == "global" and var.type is not t.ERROR and var.decl is None:
                offset = align(offset, max(var.type.align, 1))
                var.offset = offset
                offset += var.type.size
        taken = {
            var.name.upper(): var for var in self.project.globals.values() if var.kind == "PROGRAM"
        }
        for task in self.tasks:
            for name, pou in task.programs:
                if pou.type is None:
                    continue
                found = taken.get(name.upper())
                if found is None:
                    offset = align(offset, max(pou.type.align, 8))
                    found = Var(name, pou.type, "PROGRAM", pou.node.pos, "global", offset)
                    offset += pou.type.size
                    taken[name.upper()] = found
                if found not in self.instances:
                    self.instances.append(found)
        self.instances += [var for var in taken.values() if var not in self.instances]
        self.data_end = align(offset, 16)

    def _stacks(self, circles: set[Pou]) -> tuple[list[int], int]:
        depths: dict[Pou, int] = {}

        def depth(pou: Pou) -> int:
            if pou in circles:
                return RECURSIVE_STACK
            if pou not in depths:
                depths[pou] = 0
                targets = [one for called in pou.calls for one in implementations(called)]
                if pou.base is not None:
                    targets.append(pou.base)
                depths[pou] = pou.frame_size + max((depth(one) for one in targets), default=0)
            return depths[pou]

        starts: list[int] = []
        offset = self.data_end
        for task in self.tasks:
            starts.append(offset)
            offset = align(
                offset + max((depth(pou) for pou in _run(self.project, task)), default=0),
                16,
            )
        return starts, max(offset, NULL_ZONE + 16)

    # --- text ---------------------------------------------------------------------------------------------------

    def _preamble(self) -> list[str]:
        abi = (_HERE.parent / "runtime" / "native" / "vplc_abi.h").read_text()
        return [
            "/* emitted; do not edit */",
            *abi.splitlines(),
            *(_HERE / "native" / "support.h").read_text().splitlines(),
        ]

    def _casts(self, pous: list[Pou]) -> list[str]:
        from .emit_pou import concrete

        lines: list[str] = []
        for pou in self.project.all_pous:
            if pou.kind in ("INTERFACE", "FUNCTION_BLOCK") and (
                pou.derived or pou.interfaces or pou.base or pou.kind == "INTERFACE"
            ):
                cases = "".join(f"case {block.number}u: " for block in concrete(pou))
                cases = cases + "return ref;" if cases else ""
                lines.append(
                    f"static uint32_t cast_{pou.number}(vplc_ctx *c, uint32_t ref) {{ if (!ref) return 0; "
                    f"switch (*(vp_u32 *)vp_at(c, ref, 0, 4u)) {{ {cases} default: return 0; }} }}"
                )
        return lines

    def _image(self) -> bytes:
        image = bytearray(self.data_end)
        for var in [*self.project.globals.values(), *self.instances]:
            if var.storage == "global" and var.type is not t.ERROR and var.decl is None:
                data = encode(var.type, var.init)
                image[var.offset : var.offset + len(data)] = data
        for var in self.instances:
            if var.storage == "global" and var.decl is None:
                self._references(image, var.type, var.offset)
        for var in self.project.globals.values():
            if var not in self.instances and var.storage == "global" and var.decl is None:
                self._references(image, var.type, var.offset)
        return bytes(image)

    def _references(self, image: bytearray, kind: t.Type, offset: int) -> None:
        """Write what references begin with into the initial values of a block at this offset, and of all in it."""
        if isinstance(kind, t.BlockType):
            for pou in kind.pou.chain():
                for made in pou.body.references:
                    if isinstance(made.value, ir.AddressOf):
                        at, to = (fixed(place, offset) for place in (made.target, made.value.place))
                        image[at : at + 4] = to.to_bytes(4, "little")
            for var in kind.pou.instance_variables():
                if not var.by_reference:
                    self._references(image, var.type, offset + var.offset)
        elif isinstance(kind, t.ArrayType) and isinstance(kind.element, t.BlockType | t.StructType):
            for number in range(kind.count):
                self._references(image, kind.element, offset + number * kind.element.size)
        elif isinstance(kind, t.StructType):
            for member in kind.fields.values():
                self._references(image, member.type, offset + member.offset)

    def _retain(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []

        def walk(kind: t.Type, offset: int) -> None:
            if isinstance(kind, t.BlockType):
                for var in kind.pou.instance_variables():
                    if var.retain and not var.by_reference:
                        found.append((offset + var.offset, var.type.size))
                    else:
                        walk(var.type, offset + var.offset)
            elif isinstance(kind, t.ArrayType) and isinstance(kind.element, t.BlockType):
                for number in range(kind.count):
                    walk(kind.element, offset + number * kind.element.size)
            elif isinstance(kind, t.StructType):
                for member in kind.fields.values():
                    walk(member.type, offset + member.offset)

        for var in [*self.project.globals.values(), *self.instances]:
            if var.storage != "global" or var.decl is not None:
                continue
            if var.retain:
                found.append((var.offset, var.type.size))
            elif (
                var not in self.project.globals.values()
                or var.kind != "PROGRAM"
                or var in self.instances
            ):
                walk(var.type, var.offset)
        merged: list[tuple[int, int]] = []
        for offset, size in sorted(set(found)):
            if size and merged and merged[-1][0] + merged[-1][1] >= offset:
                last = merged.pop()
                merged.append((last[0], max(last[1], offset + size - last[0])))
            elif size:
                merged.append((offset, size))
        return merged

    def _tail(self, stacks: list[int], arena: int, symbols: dict[str, Any]) -> list[str]:
        retain = self._retain()
        image = self._image()
        lines: list[str] = []
        ranges: list[tuple[int, int, int]] = []  # offset, size, retained
        at = 0
        for offset, size in retain:
            ranges += [(at, offset - at, 0), (offset, size, 1)]
            at = offset + size
        ranges.append((at, arena - at, 0))
        segments = list(_segments(image, ranges))
        data = b"".join(image[offset : offset + size] for offset, size, _ in segments)
        lines.append(
            f"static const uint32_t init_ranges[][3] = {{{','.join(f'{{{a}u,{b}u,{r}u}}' for a, b, r in ranges)}}};"
        )
        lines.append(
            f"static const uint32_t init_segments[][3] = {{{','.join(f'{{{a}u,{b}u,{r}u}}' for a, b, r in segments) or '{0,0,0}'}}};"
        )
        lines.append(f"static const uint8_t init_data[] = {c_bytes(data or bytes(1))};")
        lines.append("static void vp_init(vplc_ctx *c, int warm) { uint32_t i, at = 0;")
        lines.append(
            f"for (i = 0; i < {len(ranges)}u; i++) if (!(warm && init_ranges[i][2])) memset(c->arena + init_ranges[i][0], 0, init_ranges[i][1]);"
        )
        lines.append(
            f"for (i = 0; i < {len(segments)}u; i++) {{ if (!(warm && init_segments[i][2])) memcpy(c->arena + init_segments[i][0], init_data + at, init_segments[i][1]); at += init_segments[i][1]; }}"
        )
        lines += self._located_values()
        lines.append("}")
        for number, task in enumerate(self.tasks):
            lines.append(f"static void task_{number}(vplc_ctx *c) {{ c->depth = 0;")
            if task.event is not None:
                looks = task.event
                lines.append(
                    f"c->file = {looks.node.pos >> 32}u; p{looks.number}(c, {stacks[number]}u, 0u); }}"
                )
                continue
            for name, pou in task.programs:
                var = next((v for v in self.instances if v.name.upper() == name.upper()), None)
                run = run_in_place(self.project, name, pou)
                if var is not None and not pou.broken and not run.broken:
                    # Connections have no variables of their own, and want no place.
                    at = var.offset if run is pou else 0
                    lines.append(
                        f"c->file = {run.node.pos >> 32}u; p{run.number}(c, {stacks[number]}u, {at}u);"
                    )
            lines.append("}")
        files = [file.path for file in self.project.files]
        lines.append(
            f"static const char *const files[] = {{{', '.join(c_string(path) for path in files)}}};"
        )
        rows = [
            f"{{{c_string(task.name)}, {task.interval_us * 1000}ULL, {task.priority}, {task.watchdog_us * 1000}ULL, task_{number}}}"
            for number, task in enumerate(self.tasks)
        ]
        lines.append(
            f"static const vplc_task tasks[] = {{{', '.join(rows) or '{0, 0, 0, 0, 0}'}}};"
        )
        lines.append(
            f"static const vplc_range retain[] = {{{', '.join(f'{{{a}u, {b}u}}' for a, b in retain) or '{0, 0}'}}};"
        )
        digest = ",".join(str(byte) for byte in bytes.fromhex(symbols["layout_hash"]))
        lines.append('#ifdef __GNUC__\n__attribute__((visibility("default")))\n#endif')
        lines.append(
            f"const vplc_program vplc_program_v1 = {{VPLC_ABI_VERSION, {c_string(self.name)}, {c_string(self.version)}, {{{digest}}}, {arena}u, "
            f"retain, {len(retain)}u, files, {len(files)}u, tasks, {len(self.tasks)}u, vp_init}};"
        )
        return lines

    def _located_values(self) -> list[str]:
        lines: list[str] = []
        names = {"I": "in", "Q": "out", "M": "mem"}
        owned = [
            var
            for instance in self.instances
            if isinstance(instance.type, t.BlockType)
            for var in instance.type.pou.variables.values()
        ]
        for var in [*self.project.globals.values(), *owned]:
            if var.storage != "image" or var.init is None or var.type is t.ERROR:
                continue
            target = f"c->{names[var.area]}"
            if var.bit is not None:
                lines.append(
                    f"{target}[{var.offset}] = (uint8_t)({target}[{var.offset}] & ~{1 << var.bit}u{' | ' + str(1 << var.bit) + 'u' if var.init else ''});"
                )
            else:
                lines += [
                    f"{target}[{var.offset + k}] = {byte};"
                    for k, byte in enumerate(encode(var.type, var.init))
                ]
        return lines

    def _symbols(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        blocks: list[dict[str, Any]] = []
        for var in self.project.globals.values():
            if var.kind == "VAR_GLOBAL" and var.type is not t.ERROR and var.decl is None:
                rows += variable_symbols(var.name, var, 0)
                blocks += instances(var.name, var.type)
        for instance in self.instances:
            if isinstance(instance.type, t.BlockType):
                program = instance.type.pou.name
                blocks.append({"path": instance.name, "type": program, "kind": "program"})
                for var in instance.type.pou.variables.values():
                    if (
                        not var.by_reference
                        and var.storage in ("self", "image")
                        and var.type is not t.ERROR
                    ):
                        rows += variable_symbols(
                            f"{instance.name}.{var.name}", var, instance.offset
                        )
                        blocks += instances(f"{instance.name}.{var.name}", var.type)
            if len(rows) > MAX_SYMBOLS:
                break
        layout = [
            [
                row["path"],
                row["type"],
                row["area"],
                row["offset"],
                row["bit"],
                row["size"],
                row["retain"],
            ]
            for row in rows
        ]
        digest = hashlib.sha256(
            json.dumps([self.data_end, layout], separators=(",", ":")).encode()
        ).hexdigest()
        tasks = [
            {
                "name": task.name,
                "interval_us": task.interval_us,
                "priority": task.priority,
                "watchdog_us": task.watchdog_us,
                "programs": [name for name, _ in task.programs],
            }
            for task in self.tasks
        ]
        return {
            "format": 1,
            "program": self.name,
            "version": self.version,
            "layout_hash": digest,
            "tasks": tasks,
            "instances": blocks[:MAX_SYMBOLS],
            "symbols": rows,
        }


def _segments(image: bytes, ranges: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Runs of the image that are not zero, cut at the borders of retained ranges."""
    for start, size, kept in ranges:
        end = min(start + size, len(image))
        at = start
        while at < end:
            if image[at] == 0:
                at += 1
                continue
            stop = at
            quiet = 0
            while stop < end and quiet < 16:
                quiet = quiet + 1 if image[stop] == 0 else 0
                stop += 1
            yield at, stop - quiet - at, kept
            at = stop


def _run(project: Project, task: Task) -> list[Pou]:
    """What a task calls by itself."""
    if task.event is not None:
        return [task.event]
    return [run_in_place(project, *row) for row in task.programs]


def reachable(project: Project, tasks: list[Task]) -> set[Pou]:
    """What the programs of the tasks can call, directly or through others."""
    found: set[Pou] = set()
    waiting = [pou for task in tasks for pou in _run(project, task)]
    while waiting:
        pou = waiting.pop()
        if pou in found:
            continue
        found.add(pou)
        for called in pou.calls:
            waiting += [called, *implementations(called)]
        if pou.base is not None:
            waiting.append(pou.base)
    return found


def recursive(pous: list[Pou]) -> set[Pou]:
    """POUs that can reach themselves."""
    edges = {pou: {one for called in pou.calls for one in implementations(called)} for pou in pous}
    found: set[Pou] = set()
    for pou in pous:
        seen: set[Pou] = set()
        stack = list(edges[pou])
        while stack:
            one = stack.pop()
            if one is pou:
                found.add(pou)
                break
            if one not in seen:
                seen.add(one)
                stack.extend(edges.get(one, ()))
    return found
