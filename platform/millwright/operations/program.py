"""Compiling an uploaded program."""

from __future__ import annotations

from uuid import UUID

from .errors import StepFailed
from .saga import Context, Step


def _compile(context: Context) -> str:
    store = context.ports.store
    version = UUID(str(context.operation.payload["program_version"]))
    if store.bundle(version) is not None:
        return "compiled already"
    name, number, files = store.program_sources(version)
    built = context.ports.builder.build(name, number, files)
    store.program_built(version, built)
    if not built.ok:
        wrong = len(built.diagnostics)
        raise StepFailed(
            built.error or f"{wrong} error{'s' if wrong != 1 else ''}; see the program's page"
        )
    return f"{len(built.bundle) // 1024} KiB, signed"


COMPILE = Step(
    "compile", "Compile and sign", _compile, no_undo="a compiled version is kept", timeout_s=120.0
)
