"""What a block takes and gives, as its own declaration says: names and types, nothing that was computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from industrial.st import nodes as n
from industrial.st.errors import Sink, SourceFile, decode_source
from industrial.st.parser import parse


@dataclass(frozen=True, slots=True)
class Interface:
    """A POU from outside. Types as Structured Text; "" is one that only its own declaration can spell."""

    name: str
    kind: str
    inputs: dict[str, str]
    shared: dict[str, str]
    returns: str = ""


def _spelled(spec: n.TypeSpec | None) -> str:
    if isinstance(spec, n.NamedType):
        return spec.name
    if isinstance(spec, n.StringSpec):
        return "STRING(250)"
    return ""


def interfaces(sources: Mapping[str, bytes]) -> dict[str, Interface]:
    """By name in upper case, of all POUs of the sources."""
    files = [
        SourceFile(path, decode_source(text), n) for n, (path, text) in enumerate(sources.items())
    ]
    sink = Sink(files)
    found = {}
    for file in files:
        for pou in parse(file, sink, codesys=True).pous:
            found[pou.name.upper()] = Interface(
                pou.name,
                pou.kind,
                {v.name.upper(): _spelled(v.spec) for v in pou.variables if v.kind == "VAR_INPUT"},
                {v.name.upper(): _spelled(v.spec) for v in pou.variables if v.kind == "VAR_IN_OUT"},
                _spelled(pou.returns),
            )
    return found
