"""Where a reference would outlive what it leads to, on any way through variables, structures and calls.

What is direct (`kept := REF(x)` of a function's x) is refused where it stands (check_stmt). Here references are
followed: into local variables, through what a function returns, through inputs that a function keeps. Without regard
to the order of statements: a local reference that leads to a local variable anywhere counts as one everywhere.
Pointers of a block's own (POINTER TO) may be used within a call and set anew in the next, as in the direct case.
Libraries of codesys23 do as they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from . import ir
from . import types as t
from .emit_pou import implementations, needs_dispatch
from .model import Pou, Var
from .scope import Project

#: Where a reference comes from: a variable's own address ("local", "address" of what a VAR_IN_OUT stands for), or
#: what was in a parameter ("content").
Origin = tuple[str, Var]


@dataclass(slots=True)
class Summary:
    """What a POU does with the references that it is given."""

    returned: dict[Var | None, set[Origin]] = field(default_factory=dict)
    kept: set[Origin] = field(default_factory=set)
    #: what is written to where a parameter leads, or into what a VAR_IN_OUT stands for
    lent: dict[Var, set[Origin]] = field(default_factory=dict)

    def size(self) -> int:
        """Grows until nothing new is found."""
        return (
            len(self.kept)
            + sum(map(len, self.returned.values()))
            + sum(map(len, self.lent.values()))
        )


def refuse_escapes(project: Project) -> None:
    """Tell every place where a reference is kept longer than its variable."""
    if project.codesys:
        return
    pous = [pou for pou in project.all_pous if pou.checked and not pou.broken]
    if not any(_leads(var.type) for pou in pous for var in pou.variables.values()):
        return
    follower = _Follower()
    before = -1
    while follower.size() != before:
        before = follower.size()
        for pou in pous:
            follower.follow(pou)
    for pou in pous:
        found = follower.follow(pou)
        for pos, var in found.items():
            project.sink.pou = (pou.owner or pou).name
            project.error(
                pos,
                "access",
                f"{var.name} is gone when this call ends: a reference to it would be kept here",
                hint="it came by way of other references; refer to a variable of an instance, of a program or to a global",
            )
            pou.broken = True
    project.sink.pou = ""


def _leads(kind: t.Type, *, strictly: bool = False, seen: frozenset[int] = frozenset()) -> bool:
    """Whether a value holds references; `strictly`: others than pointers."""
    if isinstance(kind, t.InterfaceType):
        return True
    if isinstance(kind, t.PointerType):
        return kind.ref or not strictly
    if id(kind) in seen:
        return False
    seen |= {id(kind)}
    if isinstance(kind, t.ArrayType | t.OpenArrayType):
        return _leads(kind.element, strictly=strictly, seen=seen)
    if isinstance(kind, t.StructType):
        parts: Iterable[t.Type] = (member.type for member in kind.fields.values())
    elif isinstance(kind, t.BlockType):
        parts = (var.type for var in kind.pou.instance_variables())
    else:
        return False
    return any(_leads(part, strictly=strictly, seen=seen) for part in parts)


def _parts(e: ir.Expr) -> Iterator[ir.Expr]:
    """The expressions directly within one."""
    if isinstance(e, ir.Load | ir.AddressOf):
        yield from _of_place(e.place)
    elif isinstance(e, ir.Unary | ir.Convert | ir.Temp):
        yield e.operand
    elif isinstance(e, ir.Binary):
        yield from (e.left, e.right)
    elif isinstance(e, ir.Builtin):
        yield from e.args
    elif isinstance(e, ir.Select):
        yield from (e.condition, e.yes, e.no)
    elif isinstance(e, ir.Guarded):
        yield from (e.operand, e.enable, *([e.otherwise] if e.otherwise else []))
    elif isinstance(e, ir.Call):
        for _, value in e.args:
            yield from [value] if isinstance(value, ir.Expr) else _of_place(value)
        for part in (e.instance, e.enable, e.otherwise):
            if part is not None:
                yield part
        for _, place in e.outputs:
            yield from _of_place(place)


def _of_place(place: ir.Place) -> Iterator[ir.Expr]:
    while isinstance(place, ir.FieldPlace | ir.IndexPlace | ir.BitPlace):
        if isinstance(place, ir.IndexPlace):
            yield from place.indices
        place = place.base
    if isinstance(place, ir.DerefPlace):
        yield place.reference


def _calls(e: ir.Expr) -> Iterator[ir.Call]:
    for part in _parts(e):
        yield from _calls(part)
    if isinstance(e, ir.Call):
        yield e


def _bottom(place: ir.Place) -> ir.Place:
    while isinstance(place, ir.FieldPlace | ir.IndexPlace | ir.BitPlace):
        place = place.base
    return place


class _Follower:
    """Knows what each local variable may lead to, and what each POU does with what it is given."""

    def __init__(self) -> None:
        self.holds: dict[Var, set[Origin]] = {}
        self.summaries: dict[Pou, Summary] = {}
        self.found: dict[int, Var] = {}
        self.pou: Pou | None = None

    def size(self) -> int:
        """Grows until nothing new is found."""
        return sum(map(len, self.holds.values())) + sum(s.size() for s in self.summaries.values())

    def follow(self, pou: Pou) -> dict[int, Var]:
        """Once through a POU: by position, what would be kept there."""
        self.pou, self.found = pou, {}
        self.summaries.setdefault(pou, Summary())
        self._statements(pou.body.statements)
        for action in pou.body.actions.values():
            self._statements(action)
        return self.found

    # --- where references come from ---------------------------------------------------------------------------

    def _address(self, place: ir.Place) -> set[Origin]:
        bottom = _bottom(place)
        if isinstance(bottom, ir.DerefPlace):
            return self._origins(bottom.reference)
        if isinstance(bottom, ir.VarPlace) and bottom.var.by_reference:
            return {("address", bottom.var)}
        if isinstance(bottom, ir.VarPlace) and bottom.var.storage == "auto":
            return {("local", bottom.var)}
        return set()

    def _content(self, place: ir.Place) -> set[Origin]:
        bottom = _bottom(place)
        if isinstance(bottom, ir.DerefPlace):
            found: set[Origin] = set()
            for kind, var in self._origins(bottom.reference):
                found |= self._inside(var) if kind == "local" else {("content", var)}
            return found
        if isinstance(bottom, ir.VarPlace) and bottom.var.by_reference:
            return {("content", bottom.var)}
        if isinstance(bottom, ir.VarPlace) and bottom.var.storage == "auto":
            return self._inside(bottom.var)
        return set()

    def _inside(self, var: Var) -> set[Origin]:
        given: set[Origin] = {("content", var)} if var.kind == "VAR_INPUT" else set()
        return self.holds.get(var, set()) | given

    def _origins(self, e: ir.Expr) -> set[Origin]:
        if isinstance(e, ir.AddressOf):
            return self._address(e.place)
        if isinstance(e, ir.Load):
            return self._content(e.place) if _leads(e.type) else set()
        if isinstance(e, ir.Call):
            return self._returned(e, None)
        if isinstance(e, ir.Select):
            return self._origins(e.yes) | self._origins(e.no)
        found: set[Origin] = set()
        if isinstance(e, ir.Builtin | ir.Convert | ir.Temp | ir.Guarded | ir.Binary):
            # A pointer that was counted on, cast, chosen or held for a moment leads where its parts lead.
            for part in _parts(e):
                found |= self._origins(part)
        return found

    # --- what calls do with them ------------------------------------------------------------------------------

    def _reached(self, call: ir.Call | ir.CallBlock) -> list[Pou]:
        pou = call.pou
        if isinstance(call, ir.Call) and needs_dispatch(pou):
            return implementations(pou)
        return [pou]

    def _given(self, call: ir.Call, callee: Pou, origins: Iterable[Origin]) -> set[Origin]:
        """What origins of a callee are at the caller's: by the parameter's name, for methods have several bodies."""
        found: set[Origin] = set()
        given = {var.name.upper(): value for var, value in call.args}
        for kind, var in origins:
            value = given.get(var.name.upper())
            if isinstance(value, ir.Place):
                found |= self._address(value) if kind == "address" else self._content(value)
            elif isinstance(value, ir.Expr):
                found |= self._origins(value)
        return found

    def _returned(self, call: ir.Call, output: Var | None) -> set[Origin]:
        found: set[Origin] = set()
        for callee in self._reached(call):
            summary = self.summaries.get(callee, Summary())
            for var, origins in summary.returned.items():
                if (var and var.name.upper()) == (output and output.name.upper()):
                    found |= self._given(call, callee, origins)
        return found

    def _called(self, call: ir.Call, pos: int) -> None:
        for callee in self._reached(call):
            summary = self.summaries.get(callee, Summary())
            self._keep(self._given(call, callee, summary.kept), pos)
            given = {var.name.upper(): value for var, value in call.args}
            for var, origins in summary.lent.items():
                value = given.get(var.name.upper())
                into = (
                    self._address(value)
                    if isinstance(value, ir.Place) and var.by_reference
                    else self._origins(value)
                    if isinstance(value, ir.Expr)
                    else set()
                )
                self._store(into, self._given(call, callee, origins), pos)
        for var, place in call.outputs:
            if _leads(var.type):
                self._assign(place, self._returned(call, var), var.type, pos)

    # --- where they go ----------------------------------------------------------------------------------------

    def _keep(self, origins: set[Origin], pos: int) -> None:
        """Something that outlasts this call takes them."""
        assert self.pou is not None  # noqa: S101 - follow() has set it
        for kind, var in origins:
            if kind == "local":
                self.found.setdefault(pos, var)
            else:
                self.summaries[self.pou].kept.add((kind, var))

    def _store(
        self, into: set[Origin], origins: set[Origin], pos: int, *, strictly: bool = True
    ) -> None:
        """They are written to where a reference leads."""
        assert self.pou is not None  # noqa: S101 - follow() has set it
        if strictly and not into:
            self._keep(origins, pos)
        for kind, var in into:
            if kind == "local":
                self.holds.setdefault(var, set()).update(origins)
                continue
            if not strictly:
                continue
            self.summaries[self.pou].lent.setdefault(var, set()).update(
                origin for origin in origins if origin[0] != "local" and origin[1] is not var
            )
            for origin, lost in origins:
                if origin == "local":
                    self.found.setdefault(pos, lost)

    def _assign(self, target: ir.Place, origins: set[Origin], kind: t.Type, pos: int) -> None:
        if not origins:
            return
        assert self.pou is not None  # noqa: S101 - follow() has set it
        bottom = _bottom(target)
        if isinstance(bottom, ir.DerefPlace):
            strictly = _leads(kind, strictly=True)
            self._store(self._origins(bottom.reference), origins, pos, strictly=strictly)
        elif isinstance(bottom, ir.VarPlace) and bottom.var.by_reference:
            self._store({("address", bottom.var)}, origins, pos)
        elif isinstance(bottom, ir.VarPlace) and bottom.var.storage == "auto":
            self.holds.setdefault(bottom.var, set()).update(origins)
            if bottom.var.kind in ("RESULT", "VAR_OUTPUT"):
                output = bottom.var if bottom.var.kind == "VAR_OUTPUT" else None
                self.summaries[self.pou].returned.setdefault(output, set()).update(
                    origin for origin in origins if origin[0] != "local"
                )
                for origin, lost in origins:
                    if origin == "local":
                        self.found.setdefault(pos, lost)
        elif _leads(kind, strictly=True):
            self._keep(origins, pos)

    # --- statements -------------------------------------------------------------------------------------------

    def _statements(self, statements: Iterable[ir.Stmt]) -> None:
        for s in statements:
            for e in self._expressions(s):
                for call in _calls(e):
                    self._called(call, s.pos)
            if isinstance(s, ir.Assign):
                self._assignment(s)
            elif isinstance(s, ir.CallBlock):
                self._block(s)
            elif isinstance(s, ir.If | ir.Case):
                for _, body in s.branches:
                    self._statements(body)
                self._statements(s.otherwise)
            elif isinstance(s, ir.For | ir.While | ir.Repeat):
                self._statements(s.body)

    def _expressions(self, s: ir.Stmt) -> Iterator[ir.Expr]:
        if isinstance(s, ir.Assign):
            yield from (*_of_place(s.target), s.value)
        elif isinstance(s, ir.Evaluate):
            yield s.value
        elif isinstance(s, ir.CallBlock):
            yield from _of_place(s.instance)
            yield from (value for _, value in s.inputs)
            for place, value in s.outputs:
                yield from (*_of_place(place), value)
        elif isinstance(s, ir.If):
            yield from (condition for condition, _ in s.branches)
        elif isinstance(s, ir.Case):
            yield s.selector
        elif isinstance(s, ir.For):
            yield from (*_of_place(s.variable), s.start, s.end, s.step)
        elif isinstance(s, ir.While | ir.Repeat):
            yield s.condition

    def _assignment(self, s: ir.Assign) -> None:
        value = s.value
        while isinstance(value, ir.Convert):
            value = value.operand
        bottom = _bottom(s.target)
        own = isinstance(bottom, ir.VarPlace) and bottom.var.storage == "auto"
        origins = (
            self._origins(s.value)
            if _leads(s.value.type) or isinstance(value, ir.AddressOf)
            else set()
        )
        if isinstance(value, ir.AddressOf) and not (own or isinstance(bottom, ir.DerefPlace)):
            # What is direct was looked at where it stands.
            origins = {origin for origin in origins if origin[0] != "local"}
        self._assign(s.target, origins, s.target.type, s.pos)

    def _block(self, s: ir.CallBlock) -> None:
        for var, value in s.inputs:
            if _leads(var.type):
                self._assign(s.instance, self._origins(value), var.type, s.pos)
        summary = self.summaries.get(s.pou, Summary())
        places = {var.name.upper(): place for var, place in s.inouts}
        for kind, var in summary.kept:
            place = places.get(var.name.upper())
            if place is not None:
                self._keep(
                    self._address(place) if kind == "address" else self._content(place), s.pos
                )
        for place, value in s.outputs:
            self._assign(place, self._origins(value), place.type, s.pos)
