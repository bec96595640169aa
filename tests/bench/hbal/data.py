"""Read Ganeti's text data (`htools -t`) into arrays.

Sections of lines with `|` between the columns, one empty line between two sections: groups, nodes,
instances, tags of the cluster, policies. The format is described in htools(1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Limits of a policy that the file does not give.
VCPU_RATIO, SPINDLE_RATIO = 4.0, 32.0
_NODE_DEFAULTS = ["1", "", "N", "0", "1", "1.0"]
_INSTANCE_DEFAULTS = ["1", "-", "N"]
_LOCAL = {"plain", "drbd"}
_ANYWHERE = {"sharedfile", "diskless", "blockdev", "rbd", "ext", "gluster"}
_TEMPLATES = _LOCAL | _ANYWHERE | {"file"}
#: Templates whose machines hbal moves.
_MOVABLE = (_ANYWHERE - {"diskless"}) | {"drbd"}
_UP = {"running", "ERROR_up", "ERROR_nodedown", "ERROR_nodeoffline", "ERROR_wrongnode"}
_STATES = _UP | {"ADMIN_down", "ADMIN_offline", "ERROR_down", "USER_down"}


class FileError(ValueError):
    """A file that is not what the format says, or that asks for what is not modelled."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """One node group: N nodes, V instances. Memory and disk in MiB.

    ``memory_left`` counts what the file does not explain as used; ``memory_planned`` is what the
    node itself reports, less the machines that are down.
    """

    nodes: tuple[str, ...]
    memory: Floats
    memory_left: Floats
    memory_planned: Floats
    disk: Floats
    disk_left: Floats
    cpus: Floats
    speed: Floats
    cpus_used: Floats
    spindle_limit: Floats
    vcpu_ratio: Floats
    offline: Bools
    #: N x N: may a machine be migrated from row to column?
    migrates: Bools
    instances: tuple[str, ...]
    #: V: memory, memory while it runs, memory kept for it on its secondary, disk, CPUs, spindles
    size: Floats
    size_up: Floats
    size_kept: Floats
    size_disk: Floats
    vcpus: Floats
    spindles: Floats
    primary: Ints
    #: -1: has none
    secondary: Ints
    movable: Bools
    #: uses the node's own disks
    local: Bools
    #: exclusion tags by instance: `tag[tag_start[i]:tag_start[i + 1]]`
    tag_start: Ints
    tag: Ints


def read(path: Path) -> Cluster:
    """The cluster of a file. Raises `FileError` for a broken file, `OSError` for none."""
    sections: list[list[str]] = [[]]
    for line in path.read_text().splitlines():
        if line:
            sections[-1].append(line)
        else:
            sections.append([])
    if len(sections) < 4:
        raise FileError(
            f"{path}: {len(sections)} sections, at least 4 wanted (an empty one is two empty lines)"
        )
    try:
        return _cluster(sections)
    except FileError as error:
        raise FileError(f"{path}: {error}") from None


def _rows(lines: Sequence[str], what: str, least: int, defaults: Sequence[str]) -> list[list[str]]:
    rows = []
    for number, line in enumerate(lines, 1):
        row = line.split("|")
        if len(row) < least:
            raise FileError(f"{what} {number}: {len(row)} columns, at least {least} wanted: {line}")
        rows.append(row + list(defaults[len(row) - least :]))
    return rows


def _number(text: str, what: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FileError(f"{name}: {what} is {text!r}, a number is wanted") from None


def _prefixed(tags: Sequence[str], prefix: str) -> list[str]:
    return [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix) and tag != prefix]


def _cluster(sections: list[list[str]]) -> Cluster:
    groups = _rows(sections[0], "group", 3, ["", ""])
    nodes = _rows(sections[1], "node", 9, _NODE_DEFAULTS)
    rows = _rows(sections[2], "instance", 10, _INSTANCE_DEFAULTS)
    tags = sections[3]
    if not nodes:
        raise FileError("there are no nodes")
    used = {row[8] for row in nodes}
    if len(used) > 1:
        raise FileError(f"nodes of {len(used)} groups; one group is balanced at a time")
    for prefix in ("htools:nlocation:", "htools:desiredlocation:"):
        if _prefixed(tags, prefix):
            raise FileError(f"cluster tag {prefix}…: locations are not modelled")
    names = {row[1]: row[0] for row in groups}
    if (uuid := nodes[0][8]) not in names:
        raise FileError(f"node {nodes[0][0]} names the group {uuid!r}, which is not there")
    ratios = _ratios(sections[4] if len(sections) > 4 else [], names[uuid])
    index = {row[0]: number for number, row in enumerate(nodes)}
    if len(index) < len(nodes):
        raise FileError("two nodes have the same name")
    table = np.zeros((len(nodes), 6))
    speed, own, spindle = np.ones(len(nodes)), np.zeros(len(nodes)), np.zeros(len(nodes))
    offline = np.zeros(len(nodes), np.bool_)
    titles = ["memory", "memory of the node", "free memory", "disk", "free disk", "CPUs"]
    for number, row in enumerate(nodes):
        if row[11] != "N":
            raise FileError(f"node {row[0]}: exclusive storage is not modelled")
        if "?" in row[1:7]:
            offline[number] = True
            continue
        table[number] = [_number(row[1 + k], titles[k], row[0]) for k in range(6)]
        if min(table[number, 0], table[number, 5]) <= 0:
            raise FileError(f"node {row[0]}: memory and CPUs must be above 0")
        offline[number] = row[7] == "Y"
        spindle[number] = _number(row[9], "spindles", row[0])
        own[number] = _number(row[13], "CPUs of the node", row[0])
        speed[number] = _number(row[14], "CPU speed", row[0])
    if not spindle[~offline].all():
        raise FileError("a node without spindles has no ratio of them")
    instances = _instances(rows, index)
    size, up, online, primary = (
        instances["size"], instances["up"], instances["online"], instances["primary"].astype(int)
    )  # fmt: skip

    def on_primary(amount: Floats) -> Floats:
        return np.bincount(primary, amount, len(nodes))

    size_up = np.where(up, size, 0.0)
    recorded = np.trunc(table[:, 0]) - table[:, 1] - on_primary(size_up)
    instance_tags = [row[9].split(",") for row in rows]
    starts, items = _exclusion(tags, instance_tags)
    return Cluster(
        nodes=tuple(row[0] for row in nodes),
        memory=np.maximum(table[:, 0], 1.0),
        memory_left=np.minimum(recorded, table[:, 2]),
        memory_planned=table[:, 2] - on_primary(np.where(up, 0.0, size)),
        disk=table[:, 3],
        disk_left=table[:, 4],
        cpus=np.maximum(table[:, 5], 1.0),
        speed=speed,
        cpus_used=own + on_primary(np.where(online, instances["vcpus"], 0.0)),
        spindle_limit=np.maximum(spindle, 1.0) * ratios[1],
        vcpu_ratio=np.full(len(nodes), ratios[0]),
        offline=offline,
        migrates=_migrations(tags, [row[10].split(",") for row in nodes]),
        instances=tuple(row[0] for row in rows),
        size=size,
        size_up=size_up,
        size_kept=np.where(online & instances["auto"], size, 0.0),
        size_disk=np.where(instances["local"], instances["disk"], 0.0),
        vcpus=np.where(online, instances["vcpus"], 0.0),
        spindles=np.where(instances["local"], instances["spindle_use"], 0.0),
        primary=primary.astype(np.int64),
        secondary=instances["secondary"].astype(np.int64),
        movable=instances["movable"] & instances["auto"],
        local=instances["local"],
        tag_start=starts,
        tag=items,
    )


def _instances(rows: list[list[str]], index: dict[str, int]) -> dict[str, NDArray]:  # type: ignore[type-arg]
    numbers = ("size", "disk", "vcpus", "spindle_use", "primary", "secondary")
    flags = ("up", "online", "auto", "local", "movable")
    found: dict[str, NDArray] = {key: np.zeros(len(rows)) for key in numbers}  # type: ignore[type-arg]
    found |= {key: np.zeros(len(rows), np.bool_) for key in flags}
    for number, row in enumerate(rows):
        name, state, auto, template = row[0], row[4], row[5], row[8]
        if state not in _STATES:
            raise FileError(f"instance {name}: status {state!r} is none of {sorted(_STATES)}")
        if template not in _TEMPLATES:
            raise FileError(f"instance {name}: disk type {template!r} is unknown")
        if auto not in ("Y", "N"):
            raise FileError(f"instance {name}: auto_balance is {auto!r}, Y or N is wanted")
        if row[12] == "Y":
            raise FileError(f"instance {name}: machines that are yet to come are not modelled")
        for key, column in (("size", 1), ("disk", 2), ("vcpus", 3), ("spindle_use", 10)):
            found[key][number] = _number(row[column], key, name)
        for key, column in (("primary", 6), ("secondary", 7)):
            if row[column] and row[column] not in index:
                raise FileError(f"instance {name}: {key} node {row[column]!r} is unknown")
            found[key][number] = index[row[column]] if row[column] else -1
        if found["primary"][number] < 0:
            raise FileError(f"instance {name}: has no primary node")
        mirrored = template == "drbd"
        if mirrored != (found["secondary"][number] >= 0):
            raise FileError(f"instance {name}: a drbd machine, and no other, has a secondary node")
        if found["primary"][number] == found["secondary"][number]:
            raise FileError(f"instance {name}: primary and secondary node are the same")
        found["up"][number] = state in _UP
        found["online"][number] = state != "ADMIN_offline"
        found["auto"][number] = auto == "Y"
        found["local"][number] = template in _LOCAL
        found["movable"][number] = template in _MOVABLE
    return found


def _ratios(lines: Sequence[str], group: str) -> tuple[float, float]:
    """How many virtual CPUs and spindles per real one: the group's policy."""
    ratios = (VCPU_RATIO, SPINDLE_RATIO)
    for row in _rows(lines, "policy", 6, []):
        if row[0] == group:
            ratios = (
                _number(row[4], "vcpu ratio", row[0]),
                _number(row[5], "spindle ratio", row[0]),
            )
    return ratios


def _exclusion(tags: Sequence[str], owned: list[list[str]]) -> tuple[Ints, Ints]:
    prefixes = tuple(_prefixed(tags, "htools:iextags:"))
    number: dict[str, int] = {}
    starts, items = [0], []
    for own in owned:
        for tag in own if prefixes else ():
            if tag.startswith(prefixes):
                items.append(number.setdefault(tag, len(number)))
        starts.append(len(items))
    return np.asarray(starts, np.int64), np.asarray(items, np.int64)


def _migrations(tags: Sequence[str], owned: list[list[str]]) -> Bools:
    """A machine goes where every migration tag of its node is received."""
    prefixes = tuple(f"{tag}:" for tag in _prefixed(tags, "htools:migration:"))
    pairs = [tag.split("::") for tag in _prefixed(tags, "htools:allowmigration:")]
    sends, receives = [], []
    for own in owned:
        mine = {tag for tag in own if prefixes and tag.startswith(prefixes)}
        sends.append(mine)
        receives.append(mine | {pair[0] for pair in pairs if len(pair) == 2 and pair[1] in mine})
    return np.array([[source <= target for target in receives] for source in sends])
