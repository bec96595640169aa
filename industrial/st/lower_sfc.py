"""Sequential function charts, lowered to ordinary statements before anything is checked.

The evolution of a scan: the times of the active steps go on; the transitions whose steps are active are tested on
the situation that the last scan left; those that fire clear their steps, then set the following ones; then the actions run. The first scan only enters the
initial situation, so that every initial step's actions run at least once. Where transitions share a step, the one
with the lowest PRIORITY wins, then the one written first. Actions run while their control says so, without the
additional final scan that the standard leaves open. (IEC 61131-3:2013, 6.7; action control: figures 21 and 22.)
"""

from __future__ import annotations

from collections.abc import Iterable

from . import nodes as n
from .errors import Sink

#: Types that charts need, in Structured Text themselves; a name with two underscores in front is never a user's.
SUPPORT = """
TYPE __SFC_STEP : STRUCT X : BOOL; T : TIME; END_STRUCT END_TYPE

FUNCTION_BLOCK __SFC_CONTROL
VAR_INPUT N, R, S, L, D, P, SD, DS, SL : BOOL; T : TIME; END_VAR
VAR_OUTPUT Q : BOOL; END_VAR
VAR stored, delayed, limited, ds_stored : BOOL; l_timer, d_timer, sd_timer, ds_timer, sl_timer : TON; END_VAR
stored := NOT R AND (S OR stored);
delayed := NOT R AND (SD OR delayed);
limited := NOT R AND (SL OR limited);
l_timer(IN := L, PT := T);
d_timer(IN := D, PT := T);
sd_timer(IN := delayed, PT := T);
ds_timer(IN := DS, PT := T);
sl_timer(IN := limited, PT := T);
ds_stored := NOT R AND (ds_timer.Q OR ds_stored);
Q := NOT R AND (N OR P OR stored OR (L AND NOT l_timer.Q) OR d_timer.Q OR sd_timer.Q OR ds_stored
     OR (limited AND NOT sl_timer.Q));
END_FUNCTION_BLOCK
"""


class Hidden(n.Name):
    """A name that the lowering wrote, not the user."""

    __slots__ = ()


def lower(pou: n.Pou, sink: Sink) -> None:
    """Give a POU written as a chart its variables and statements; what is wrong goes to the sink."""
    if pou.sfc is None:
        return
    outer, sink.pou = sink.pou, pou.name
    _Lowering(pou, pou.sfc, sink).run()
    sink.pou = outer


def _any(pos: int, terms: Iterable[n.Expr], op: str = "OR") -> n.Expr:
    result: n.Expr | None = None
    for term in terms:
        result = term if result is None else n.Binary(pos, op, result, term)
    return result if result is not None else _bool(pos, value=False)


def _bool(pos: int, *, value: bool) -> n.Expr:
    return n.Literal(pos, "typed", f"BOOL#{'TRUE' if value else 'FALSE'}")


class _Lowering:
    def __init__(self, pou: n.Pou, chart: n.Sfc, sink: Sink) -> None:
        self.pou, self.chart, self.sink, self.pos = pou, chart, sink, chart.pos
        self.steps = {step.name.upper(): step for step in chart.steps}

    def run(self) -> None:
        """Check the chart's own rules, then add declarations and body."""
        if self.pou.kind not in ("PROGRAM", "FUNCTION_BLOCK"):
            self.sink.error(
                self.pos,
                "sfc",
                f"a {self.pou.kind.lower()} keeps nothing between its calls: no chart can stand in it",
            )
            return
        if self.pou.body:
            self.sink.error(
                self.pou.body[0].pos, "sfc", "statements beside a chart belong into an ACTION"
            )
            return
        if not self._check():
            return
        self._declare()
        self.pou.body = [*self._times(), *self._evolution(), *self._actions(), *self._keep()]

    # --- rules ------------------------------------------------------------------------------------------------

    def _check(self) -> bool:
        good = True
        seen: set[str] = set()
        for step in self.chart.steps:
            if step.name.upper() in seen:
                self.sink.error(
                    step.pos,
                    "duplicate",
                    f"step {step.name} stands in this chart twice",
                    length=len(step.name),
                )
                good = False
            seen.add(step.name.upper())
        if not any(step.initial for step in self.chart.steps):
            self.sink.error(self.pos, "sfc", "a chart has an INITIAL_STEP")
            good = False
        for transition in self.chart.transitions:
            for name in [*transition.sources, *transition.targets]:
                if name.upper() not in self.steps:
                    known = ", ".join(step.name for step in self.chart.steps[:8])
                    self.sink.error(
                        transition.pos,
                        "undeclared",
                        f"this transition names {name}: there is no such step",
                        hint=f"steps: {known}",
                    )
                    good = False
        reached = {name.upper() for row in self.chart.transitions for name in row.targets}
        for step in self.chart.steps:
            if not step.initial and step.name.upper() not in reached:
                self.sink.warning(
                    step.pos,
                    "sfc",
                    f"no transition leads to step {step.name}",
                    length=len(step.name),
                )
        return good and self._one_beginning()

    def _one_beginning(self) -> bool:
        """Steps that transitions connect are one network, and that begins with one step."""
        networks: dict[str, set[str]] = {name: {name} for name in self.steps}
        for transition in self.chart.transitions:
            names = [name.upper() for name in (*transition.sources, *transition.targets)]
            joined = set().union(*(networks[name] for name in names))
            for name in joined:
                networks[name] = joined
        begun: dict[int, str] = {}
        good = True
        for step in self.chart.steps:
            if not step.initial:
                continue
            first = begun.setdefault(id(networks[step.name.upper()]), step.name)
            if first != step.name:
                self.sink.error(
                    step.pos,
                    "sfc",
                    f"{step.name} is a second INITIAL_STEP of its network: it begins with {first}",
                    length=len(step.name),
                    hint="to begin with several steps, let a transition lead to all of them",
                )
                good = False
        return good

    # --- names ------------------------------------------------------------------------------------------------

    @staticmethod
    def _name(pos: int, text: str) -> n.Expr:
        return Hidden(pos, text)

    def _x(self, pos: int, step: str) -> n.Expr:
        return n.Member(pos, self._name(pos, self.steps[step.upper()].name), "X")

    def _before(self, pos: int, step: str) -> n.Expr:
        return self._name(pos, f"__B_{step.upper()}")

    def _declare(self) -> None:
        def variable(pos: int, name: str, kind: str) -> None:
            self.pou.variables.append(n.VarDecl(pos, name, n.NamedType(pos, kind), "VAR"))

        variable(self.pos, "__SFC_ON", "BOOL")
        for step in self.chart.steps:
            variable(step.pos, step.name, "__SFC_STEP")
            variable(step.pos, f"__B_{step.name.upper()}", "BOOL")
            variable(step.pos, f"__T_{step.name.upper()}", "TIME")
        for number, transition in enumerate(self.chart.transitions):
            variable(transition.pos, f"__F_{number}", "BOOL")
        for name, rows in self._associations().items():
            variable(rows[0][0], f"__A_{name}", "__SFC_CONTROL")

    # --- the evolution ----------------------------------------------------------------------------------------

    def _enter(self, pos: int, step: str) -> list[n.Stmt]:
        """Make a step active; one that is stays as it is."""
        enter: list[n.Stmt] = [
            n.Assign(pos, self._x(pos, step), _bool(pos, value=True)),
            n.Assign(
                pos, self._name(pos, f"__T_{step.upper()}"), n.Call(pos, Hidden(pos, "TIME"), [])
            ),
            n.Assign(
                pos,
                n.Member(pos, self._name(pos, self.steps[step.upper()].name), "T"),
                n.Literal(pos, "typed", "T#0s"),
            ),
        ]
        return [n.If(pos, [(n.Unary(pos, "NOT", self._x(pos, step)), enter)], [])]

    def _evolution(self) -> list[n.Stmt]:
        pos = self.pos
        started = self._name(pos, "__SFC_ON")
        first: list[n.Stmt] = [n.Assign(pos, started, _bool(pos, value=True))]
        for step in self.chart.steps:
            if step.initial:
                first += self._enter(step.pos, step.name)
        order = sorted(enumerate(self.chart.transitions), key=lambda row: (row[1].priority, row[0]))
        tests: list[n.Stmt] = []
        for place, (number, row) in enumerate(order):
            fires = self._name(row.pos, f"__F_{number}")
            sources = {name.upper() for name in row.sources}
            rivals = [
                n.Unary(row.pos, "NOT", self._name(row.pos, f"__F_{other}"))
                for other, earlier in order[:place]
                if sources & {name.upper() for name in earlier.sources}
            ]
            enabled = _any(row.pos, [*(self._x(row.pos, s) for s in row.sources), *rivals], "AND")
            tests += [
                n.Assign(row.pos, fires, _bool(row.pos, value=False)),
                n.If(row.pos, [(enabled, [n.Assign(row.pos, fires, row.condition)])], []),
            ]
        clear: list[n.Stmt] = []
        enter: list[n.Stmt] = []
        for number, row in enumerate(self.chart.transitions):
            fires = self._name(row.pos, f"__F_{number}")
            clear.append(
                n.If(
                    row.pos,
                    [
                        (
                            fires,
                            [
                                n.Assign(row.pos, self._x(row.pos, s), _bool(row.pos, value=False))
                                for s in row.sources
                            ],
                        )
                    ],
                    [],
                )
            )
            entering = [stmt for target in row.targets for stmt in self._enter(row.pos, target)]
            enter.append(n.If(row.pos, [(fires, entering)], []))
        return [n.If(pos, [(n.Unary(pos, "NOT", started), first)], [*tests, *clear, *enter])]

    def _times(self) -> list[n.Stmt]:
        """A step's T runs while it is active, and keeps its value afterwards."""
        rows: list[n.Stmt] = []
        for step in self.chart.steps:
            pos = step.pos
            passed = n.Binary(
                pos,
                "-",
                n.Call(pos, Hidden(pos, "TIME"), []),
                self._name(pos, f"__T_{step.name.upper()}"),
            )
            target = n.Member(pos, self._name(pos, step.name), "T")
            rows.append(n.If(pos, [(self._x(pos, step.name), [n.Assign(pos, target, passed)])], []))
        return rows

    def _keep(self) -> list[n.Stmt]:
        return [
            n.Assign(step.pos, self._before(step.pos, step.name), self._x(step.pos, step.name))
            for step in self.chart.steps
        ]

    # --- actions ------------------------------------------------------------------------------------------------

    def _associations(self) -> dict[str, list[tuple[int, str, str, str, n.Expr | None]]]:
        """By the action's name: (position, step, spelled, qualifier, time)."""
        found: dict[str, list[tuple[int, str, str, str, n.Expr | None]]] = {}
        for step in self.chart.steps:
            for pos, name, qualifier, time in step.actions:
                found.setdefault(name.upper(), []).append((pos, step.name, name, qualifier, time))
        return found

    def _actions(self) -> list[n.Stmt]:
        bodies = {action.name.upper() for action in self.pou.actions}
        result: list[n.Stmt] = []
        for name, rows in self._associations().items():
            pos = rows[0][0]
            control = self._name(pos, f"__A_{name}")
            result += [
                n.If(
                    at,
                    [(self._x(at, step), [n.Assign(at, n.Member(at, control, "T"), time)])],
                    [],
                )
                for at, step, _, _, time in rows
                if time is not None
            ]
            arguments = [
                n.Arg(pos, key, _any(pos, self._inputs(rows, key)))
                for key in ("N", "R", "S", "L", "D", "P", "SD", "DS", "SL")
            ]
            result.append(n.CallStmt(pos, n.Call(pos, control, arguments)))
            acts = n.Member(pos, control, "Q")
            if name in bodies:
                run = n.CallStmt(pos, n.Call(pos, n.Name(pos, rows[0][2]), []))
                result.append(n.If(pos, [(acts, [run])], []))
            else:  # a BOOL variable; the checker says so when it is none
                result.append(n.Assign(pos, n.Name(pos, rows[0][2]), acts))
        return result

    def _inputs(
        self, rows: list[tuple[int, str, str, str, n.Expr | None]], key: str
    ) -> list[n.Expr]:
        """The associations that drive one input of the action's control."""
        terms: list[n.Expr] = []
        for pos, step, _, qualifier, _ in rows:
            active, before = self._x(pos, step), self._before(pos, step)
            if key == "P" and qualifier in ("P", "P1"):
                terms.append(n.Binary(pos, "AND", active, n.Unary(pos, "NOT", before)))
            elif key == "P" and qualifier == "P0":
                terms.append(n.Binary(pos, "AND", n.Unary(pos, "NOT", active), before))
            elif key == qualifier:
                terms.append(active)
        return terms
