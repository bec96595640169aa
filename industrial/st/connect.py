"""Program instances of a CONFIGURATION and what they are connected with (IEC 61131-3 ed. 3, 2.7 and table 62).

`PROGRAM P1 WITH Fast : Main(x := G, y => %QW3);` becomes a hidden program with the one statement
`P1(x := G, y => %QW3);`, which the task runs in the place of P1: inputs are taken at the beginning of each
run and outputs given at its end, and the types, places and rules are those of any call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import nodes as n
from .model import Pou, Var
from .scope import Project

if TYPE_CHECKING:
    from .declare import Resolver


def hidden_programs(project: Project) -> None:
    """A program for each instance that is connected, to be checked and emitted with the others."""
    seen: dict[str, n.ProgramInstance] = {}
    for instance in project.instances:
        up = instance.name.upper()
        if up in seen:
            project.error(
                instance.pos,
                "duplicate",
                f"program instance {instance.name} is declared twice",
                length=len(instance.name),
            )
            continue
        seen[up] = instance
        if instance.connections and _good(project, instance):
            call = n.Call(instance.pos, n.Name(instance.pos, instance.name), instance.connections)
            # No name of a source has a space.
            name = f"connections of {instance.name}"
            body: list[n.Stmt] = [n.CallStmt(instance.pos, call)]
            node = n.Pou(instance.pos, "PROGRAM", name, [], body)
            project.connections[up] = project.new_pou("PROGRAM", name, node)


def reach_instances(resolver: Resolver) -> None:
    """Let hidden programs see the instances of the configuration, which no other program does."""
    from .events import remembered

    project = resolver.project
    if not (project.connections or project.events):
        return
    found: dict[str, Var] = {}
    for instance in project.instances:
        up, program = instance.name.upper(), project.pous.get(instance.type_name.upper())
        if program is None or program.kind != "PROGRAM":
            continue  # told where tasks are made
        namesake = project.pous.get(up)
        if namesake is not None and namesake is not program and namesake.kind == "PROGRAM":
            project.error(
                instance.pos,
                "duplicate",
                f"program instance {instance.name} has the name of another program",
                length=len(instance.name),
            )
            continue
        kind = resolver.block_type(program)
        resolver.layout(program)
        key = "%" + up
        if key not in project.globals:
            project.globals[key] = Var(instance.name, kind, "PROGRAM", instance.pos, "global")
        found[up] = project.globals[key]
    for hidden in (*project.connections.values(), *project.events.values()):
        resolver.resolve(hidden)
        resolver.layout(hidden)
        hidden.variables.update(found)
    for task in project.tasks:
        if (events := project.events.get(task.name.upper())) is not None:
            for var in remembered(task):
                project.globals[var.name.upper()] = events.variables[var.name.upper()] = var


def _good(project: Project, instance: n.ProgramInstance) -> bool:
    """Whether each connection is of a kind that the standard has."""
    good = True
    targets: set[str] = set()
    for arg in instance.connections:
        text = hint = ""
        if not arg.name:
            text = f"a connection of {instance.name} needs the name of its input"
            hint = "write input := value, or output => variable"
        elif arg.output and (arg.negated or not _variable(arg.value)):
            text = f"{arg.name} => wants a variable"
            hint = "a global, an input of another program instance, or an address like %QW3"
        elif not arg.output and not is_source(arg.value):
            text = f"{arg.name} := wants a constant or a variable"
            hint = "compute it in the program; globals, addresses and outputs of other instances are variables"
        elif arg.name.upper() in targets:
            text = f"{arg.name} is connected twice"
        if text:
            project.error(arg.pos, "connection", text, hint=hint, length=max(len(arg.name), 1))
            good = False
        targets.add(arg.name.upper())
    return good


def _variable(node: n.Expr | None) -> bool:
    if isinstance(node, n.Member):
        return _variable(node.base)
    if isinstance(node, n.Index):
        return _variable(node.base) and all(is_source(index) for index in node.indices)
    return isinstance(node, n.Name | n.Direct)


def is_source(node: n.Expr | None) -> bool:
    """Whether an expression is what the standard calls a data source: a constant or a variable."""
    if isinstance(node, n.Unary):
        return node.op == "-" and isinstance(node.operand, n.Literal | n.Name)
    return isinstance(node, n.Literal) or _variable(node)


def run_in_place(project: Project, name: str, program: Pou) -> Pou:
    """What a task runs for an instance: its connections, which call it, or the program itself."""
    return project.connections.get(name.upper(), program)
