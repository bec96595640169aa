"""Names and marker volumes of a pool. Pure functions.

libvirt keeps no metadata of volumes, an aborted upload looks complete, and nothing can be
renamed. So what we know of a volume stands in the *names* of tiny marker volumes beside it:

- `<name>.mw-up.<sha256>`: an upload began; without the next one it never ended.
- `<name>.mw-ok.<sha256>`: the image was read back and had this hash.
- `<name>.mw-own.<site>.<machine>.<generation>`: an overlay of this machine, made for this placement.
- `<name>.mw-aside.<generation>`: an overlay of an earlier placement, set aside when this one was placed here. The
  later one lies beside it as `<stem>-g<generation>.<suffix>`. Left alone, or beside a later overlay, it says nothing.

One listing of the pool tells everything, and a marker is made before what it excuses (upload,
overlay), so that whatever a crash leaves behind is known to be ours.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .errors import InvalidSpec
from .types import VolumeInfo, VolumeOwner

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_MARKER = re.compile(
    r"(?P<name>.+)\.mw-(?:"
    r"up\.(?P<up>[0-9a-f]{64})"
    r"|ok\.(?P<ok>[0-9a-f]{64})"
    r"|aside\.(?P<aside>\d+)"
    r"|own\.(?P<site>[A-Za-z0-9_-]+)\.(?P<machine>[A-Za-z0-9_-]+)\.(?P<generation>\d+)"
    r")"
)
_PART = re.compile(r"[A-Za-z0-9_-]{1,63}")


@dataclass(slots=True)
class Marks:
    """All that the markers of one volume say."""

    uploads: set[str] = field(default_factory=set)
    verified: set[str] = field(default_factory=set)
    owners: set[VolumeOwner] = field(default_factory=set)
    #: the latest placement for which it was set aside
    aside: int = -1


def check_name(name: str) -> None:
    """Refuse volume names that could leave the pool's folder or pass for a marker.

    Raises:
        InvalidSpec: see the rule in the message.
    """
    if not _NAME.fullmatch(name) or ".mw-" in name:
        raise InvalidSpec.of(
            "volume name", name, "1 to 120 letters, digits, ._- and no '.mw-' inside"
        )


def uploading_marker(name: str, sha256: str) -> str:
    """Name of the marker of a begun upload."""
    return f"{name}.mw-up.{_digest(sha256)}"


def verified_marker(name: str, sha256: str) -> str:
    """Name of the marker of a verified image."""
    return f"{name}.mw-ok.{_digest(sha256)}"


def owner_marker(name: str, owner: VolumeOwner) -> str:
    """Name of the marker of a machine's overlay."""
    for part in ("site", "machine"):
        value = getattr(owner, part)
        if not _PART.fullmatch(value):
            raise InvalidSpec.of(f"owner.{part}", value, "letters, digits, _-; 1 to 63 characters")
    return f"{name}.mw-own.{owner.site}.{owner.machine}.{owner.generation}"


def aside_marker(name: str, generation: int) -> str:
    """Name of the marker of an overlay that was set aside when `generation` was placed."""
    return f"{name}.mw-aside.{generation}"


def generation_name(name: str, generation: int) -> str:
    """Name of the overlay of one placement where an earlier one's lies under `name`."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}-g{generation}{dot}{suffix}" if dot else f"{name}-g{generation}"


def overlay_name(
    name: str, overlays: Iterable[VolumeInfo], earlier: Iterable[VolumeInfo], owner: VolumeOwner
) -> str:
    """Under which name the overlay of `owner` lies or is made.

    `overlays`: all that lie there of `name`; `earlier`: those of earlier placements of its machine.
    """
    beside = generation_name(name, owner.generation)
    taken = any(row.name == name for row in earlier)
    made = any(row.name == beside and row.owner == owner for row in overlays)
    return beside if taken or made else name


def is_overlay_of(volume: str, name: str) -> bool:
    """Whether `volume` is `name` or one of its `generation_name`s."""
    stem, dot, suffix = name.rpartition(".")
    pattern = (
        rf"{re.escape(stem)}(-g\d+)?\.{re.escape(suffix)}" if dot else rf"{re.escape(name)}(-g\d+)?"
    )
    return re.fullmatch(pattern, volume) is not None


def _digest(sha256: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise InvalidSpec.of("sha256", sha256, "64 lower-case hexadecimal digits")
    return sha256


def read_markers(names: Iterable[str]) -> dict[str, Marks]:
    """What the marker names among `names` say, by the name of the volume they mark."""
    found: dict[str, Marks] = defaultdict(Marks)
    for name in names:
        match = _MARKER.fullmatch(name)
        if match is None:
            continue
        marks = found[match["name"]]
        if match["up"]:
            marks.uploads.add(match["up"])
        elif match["ok"]:
            marks.verified.add(match["ok"])
        elif match["aside"]:
            marks.aside = max(marks.aside, int(match["aside"]))
        else:
            marks.owners.add(
                VolumeOwner(
                    site=match["site"],
                    machine=match["machine"],
                    generation=int(match["generation"]),
                )
            )
    return dict(found)


def by_generation(overlays: Iterable[VolumeInfo]) -> tuple[VolumeInfo, ...]:
    """Overlays, the latest placement's first; what has no owner is none."""
    owned = [(row.owner.generation, row) for row in overlays if row.owner is not None]
    return tuple(row for _, row in sorted(owned, key=lambda pair: (-pair[0], pair[1].name)))


def is_marker(name: str) -> bool:
    """Whether a volume's name is a marker's."""
    return _MARKER.fullmatch(name) is not None


def fold(volumes: Iterable[VolumeInfo], pool: str, path: str) -> tuple[VolumeInfo, ...]:
    """Put what the markers say into the volumes; markers alone become absent volumes."""
    listed = {volume.name: volume for volume in volumes}
    marks = read_markers(listed)
    result = [
        _apply(volume, marks.get(name, Marks()))
        for name, volume in listed.items()
        if not is_marker(name)
    ]
    result += [
        _apply(
            VolumeInfo(
                pool=pool,
                name=name,
                path=f"{path}/{name}",
                capacity_bytes=0,
                allocation_bytes=0,
                format="",
                present=False,
            ),
            mark,
        )
        for name, mark in marks.items()
        if name not in listed and (mark.uploads or mark.verified or mark.owners)
    ]
    return tuple(sorted(result, key=lambda volume: volume.name))


def _apply(volume: VolumeInfo, marks: Marks) -> VolumeInfo:
    verified = min(marks.verified) if marks.verified and volume.present else None
    owner = max(marks.owners, key=lambda o: o.generation, default=None)
    return replace(
        volume,
        sha256=verified,
        uploading=verified is None and bool(marks.uploads),
        owner=owner,
        aside=volume.present and owner is not None and marks.aside > owner.generation,
    )
