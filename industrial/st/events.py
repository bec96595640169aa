"""Tasks that an event starts (IEC 61131-3 ed. 3, table 63): SINGLE, a BOOL whose rising edge runs the programs once.

    TASK Burst(SINGLE := Request, PRIORITY := 1);
    TASK Mixed(SINGLE := %IX0.0, INTERVAL := T#1s);     periodic as long as SINGLE is FALSE

becomes a hidden program that the task runs in the place of its programs: it looks at SINGLE, and calls them when an
edge was seen or the interval is over. The engine has tasks with intervals alone, so that an event is seen when the
task looks: as often as the fastest task of the configuration, and at least every 10 ms. What an event task remembers
are variables with a space in their names, which no source can write, so that values go along by name.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from . import nodes as n
from . import types as t
from .connect import is_source
from .lower_sfc import Hidden
from .model import Var
from .scope import Project

#: How long an event may wait to be seen, microseconds; less where a task is faster.
LOOK_US = 10_000


def event_programs(project: Project) -> None:
    """A hidden program for each task with SINGLE, to be checked and emitted with the others."""
    for task in project.tasks:
        single = task.settings.get("SINGLE")
        if single is None:
            continue
        if not is_source(single):
            project.error(
                single.pos,
                "task",
                f"task {task.name}: SINGLE wants a variable",
                hint="a global, an output of a program instance, or an address like %IX0.0",
            )
            continue
        name = f"events of {task.name}"
        node = n.Pou(task.pos, "PROGRAM", name, [], _body(project, task, single))
        project.events[task.name.upper()] = project.new_pou("PROGRAM", name, node)


def remembered(task: n.TaskDecl) -> list[Var]:
    """The variables of an event task: SINGLE as it was, and when the interval is over."""
    kinds = {"event": t.BOOL} | ({"due": t.LTIME} if "INTERVAL" in task.settings else {})
    return [
        Var(f"{what} of {task.name}", kind, "VAR_GLOBAL", task.pos, "global")
        for what, kind in kinds.items()
    ]


def _body(project: Project, task: n.TaskDecl, single: n.Expr) -> list[n.Stmt]:
    pos = single.pos
    was, due = (Hidden(pos, f"{what} of {task.name}") for what in ("event", "due"))
    interval = exactly(task.settings["INTERVAL"]) if "INTERVAL" in task.settings else None

    def calls() -> list[n.Stmt]:
        return [
            n.CallStmt(
                row.pos, n.Call(row.pos, n.Name(row.pos, row.name), deepcopy(row.connections))
            )
            for row in project.instances
            if row.task.upper() == task.name.upper()
        ]

    def assign(target: n.Expr, value: n.Expr) -> n.Stmt:
        return n.Assign(pos, deepcopy(target), deepcopy(value))

    now = n.Call(pos, n.Name(pos, "LTIME"), [])
    false = n.Literal(pos, "typed", "BOOL#FALSE")
    # An event that a program ends and another task raises again before the next look is one more.
    fired = [*calls(), assign(was, single)]
    idle = [assign(was, false)]
    if interval is not None:
        # After events that kept it waiting the interval begins anew: nothing is made up for.
        late = n.Binary(pos, ">=", n.Binary(pos, "-", now, due), deepcopy(interval))
        begun = n.If(
            pos,
            [(late, [assign(due, n.Binary(pos, "+", now, interval))])],
            [assign(due, n.Binary(pos, "+", due, interval))],
        )
        over = n.Binary(pos, ">=", deepcopy(now), due)
        # An INTERVAL of zero is none.
        some = n.Binary(pos, ">", deepcopy(interval), n.Literal(pos, "typed", "LTIME#0s"))
        idle.append(n.If(pos, [(n.Binary(pos, "AND", some, over), [begun, *calls()])], []))
    edge = n.If(pos, [(n.Unary(pos, "NOT", was), fired)], [])
    return [n.If(pos, [(deepcopy(single), [edge])], idle)]


def exactly(interval: n.Expr) -> n.Expr:
    """T#1ms500us as it is written, of which a TIME would keep the milliseconds alone."""
    if isinstance(interval, n.Literal) and interval.kind == "typed":
        prefix, _, text = interval.text.partition("#")
        if prefix.upper() in ("T", "TIME"):
            return replace(interval, text=f"LTIME#{text}")
    return interval
