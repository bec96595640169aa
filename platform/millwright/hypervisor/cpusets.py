"""CPU lists as libvirt and the kernel write them: "0-3,7"."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import InvalidSpec


def format_cpuset(cpus: Iterable[int]) -> str:
    """Write CPU numbers as a list with ranges: {0, 1, 2, 5} becomes "0-2,5"."""
    parts: list[str] = []
    ordered = sorted(set(cpus))
    start = 0
    for index, cpu in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] != cpu + 1:
            first = ordered[start]
            parts.append(str(first) if first == cpu else f"{first}-{cpu}")
            start = index + 1
    return ",".join(parts)


def parse_cpuset(text: str) -> frozenset[int]:
    """Read "0-3,^2,7"; libvirt's exclusions ("^2") are honoured.

    Raises:
        InvalidSpec: the text is not a CPU list.
    """
    found: set[int] = set()
    excluded: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        target = excluded if part.startswith("^") else found
        first, dash, last = part.lstrip("^").partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise InvalidSpec.of("cpuset", text, 'a list like "0-3,7"')
        target.update(range(int(first), int(last or first) + 1))
    return frozenset(found - excluded)
