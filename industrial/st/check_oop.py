"""What a function block promises: interfaces complete, overridden methods alike, abstract ones given."""

from __future__ import annotations

from . import types as t
from .model import Pou
from .scope import Project


def _required(interface: Pou) -> dict[str, Pou]:
    found: dict[str, Pou] = {}
    for parent in interface.interfaces:
        found |= _required(parent)
    return found | interface.methods


def _alike(one: Pou, other: Pou) -> bool:
    mine = [
        (v.kind, v.type)
        for v in one.variables.values()
        if v.kind in ("VAR_INPUT", "VAR_OUTPUT", "VAR_IN_OUT")
    ]
    theirs = [
        (v.kind, v.type)
        for v in other.variables.values()
        if v.kind in ("VAR_INPUT", "VAR_OUTPUT", "VAR_IN_OUT")
    ]
    return (
        len(mine) == len(theirs)
        and all(a == b and t.same(x, y) for (a, x), (b, y) in zip(mine, theirs, strict=True))
        and t.same(one.returns, other.returns)
    )


def check_contracts(project: Project, pou: Pou) -> None:
    """Tell every promise that is not kept."""
    for level in pou.chain():
        for interface in level.interfaces:
            for key, wanted in _required(interface).items():
                given = pou.method(key)
                if given is None:
                    project.error(
                        pou.node.pos,
                        "oop",
                        f"{pou.name} IMPLEMENTS {interface.name}: {wanted.name} is missing",
                        length=len(pou.name),
                    )
                elif not _alike(given, wanted):
                    project.error(
                        given.node.pos,
                        "oop",
                        f"{given.label} differs from {wanted.label}: parameters and result must be the same",
                        length=len(given.name),
                    )
    for key, method in pou.methods.items():
        inherited = pou.base.method(key) if pou.base else None
        if inherited is not None and inherited.node.access != "PRIVATE":
            if inherited.node.final:
                project.error(
                    method.node.pos,
                    "oop",
                    f"{inherited.label} is FINAL: it cannot be overridden",
                    length=len(method.name),
                )
            elif not _alike(method, inherited):
                project.error(
                    method.node.pos,
                    "oop",
                    f"{method.label} differs from {inherited.label}: parameters and result must be the same",
                    length=len(method.name),
                )
        elif method.node.override:
            project.error(
                method.node.pos,
                "oop",
                f"{method.label} is OVERRIDE: there is nothing to override",
                length=len(method.name),
            )
        if method.node.abstract and not pou.node.abstract:
            project.error(
                method.node.pos,
                "oop",
                f"{method.label} is ABSTRACT: {pou.name} must be ABSTRACT too",
                length=len(method.name),
            )
    if not pou.node.abstract:
        for level in pou.chain():
            for key, method in level.methods.items():
                chosen = pou.method(key)
                if (
                    method.node.abstract
                    and chosen is not None
                    and chosen.node.abstract
                    and level is not pou
                ):
                    project.error(
                        pou.node.pos,
                        "oop",
                        f"{pou.name} must give {method.name} a body: {method.label} is ABSTRACT",
                        length=len(pou.name),
                    )
