"""A plant from JSON, each field checked: `millwright plan snapshot.json` reads this."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
import unicodedata
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from .answers import BalanceState
from .bounds import BOUNDS, MOST_DEPTH
from .calendar import minutes, moment
from .conflicts import conflicts
from .errors import SnapshotError
from .frame import page_bytes
from .model import Entry, Host, Plant, Pool, Rule, Settings, StoragePool, Vm

T = TypeVar("T")
_KINDS = {bool: "true or false", str: "a text"}
_POSITIVE = {"memory_bytes", "vcpus", "shares", "link_bytes_s", "horizon_s", "minimum"}
#: larger integers have no float
_LARGEST = 1e300
#: where the bounds alone would not say what they mean
_RULES = {
    "days": "0 (Monday) to 6 (Sunday) is wanted",
    "level": "must be 1 (conservative) to 5 (aggressive)",
}
#: control characters, halves of characters, ends of lines; and what turns the direction of writing
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def read_plant(data: object, *, strict: bool = True) -> Plant:
    """Turn decoded JSON into a plant.

    `strict`: refuse, too, what is out of bounds or senseless: signs that cannot be seen, a line of the calendar
    that ends before it begins, rules that cannot hold. Without, a plant is read as it runs, and lines that a calendar has kept are read, whatever rules have come since.
    Raises SnapshotError naming field, value and rule.
    """
    if strict:
        _check_values(data)
    if not isinstance(data, Mapping):
        raise SnapshotError("snapshot", data, "an object with hosts and vms is wanted")
    known = {"hosts", "vms", "pools", "rules", "storage", "calendar", "settings"}
    for key in data:
        if key not in known:
            raise SnapshotError(
                _name(str(key)), data[key], f"unknown; known are {', '.join(sorted(known))}"
            )
    plant = Plant(
        hosts=_many(Host, data, "hosts"),
        vms=_many(Vm, data, "vms"),
        pools=_many(Pool, data, "pools"),
        rules=_many(Rule, data, "rules"),
        storage=_many(StoragePool, data, "storage"),
        calendar=_many(Entry, data, "calendar"),
        settings=_one(Settings, data.get("settings", {}), "settings"),
    )
    _check_names(plant)
    _check_hosts(plant)
    _check_calendar(plant)
    if strict:
        _check_sense(plant)
    return plant


def read_state(data: object) -> BalanceState:
    """Turn decoded JSON into what a round has told the next.

    Raises SnapshotError naming field, value and rule.
    """
    _check_values(data, "state")
    return _one(BalanceState, data, "state")


def write_plant(plant: Plant) -> dict[str, Any]:
    """The plant as JSON values, without what is as it is anyway; `read_plant` gives it back."""
    return typing.cast("dict[str, Any]", _plain(plant))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        # Not `asdict`: of 20,000 machines it would copy a million values to leave most of them out.
        kind: type = type(value)
        names, usual = _usual(kind)
        return {
            name: _plain(entry)
            for name in names
            if (entry := getattr(value, name)) != usual.get(name, _NEVER)
        }
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, StrEnum) else value


_NEVER = object()


@functools.cache
def _usual(kind: type) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of its fields, and what those are that need not be given."""
    usual = {}
    for entry in dataclasses.fields(kind):
        if entry.default is not dataclasses.MISSING:
            usual[entry.name] = entry.default
        elif entry.default_factory is not dataclasses.MISSING:
            usual[entry.name] = entry.default_factory()
    return tuple(entry.name for entry in dataclasses.fields(kind)), usual


def _many(kind: type[T], data: Mapping[str, Any], key: str) -> tuple[T, ...]:
    rows = data.get(key, [])
    if not isinstance(rows, list):
        raise SnapshotError(key, rows, "a list is wanted")
    return tuple(_one(kind, row, f"{key}[{index}]") for index, row in enumerate(rows))


def _one(kind: type[T], row: object, where: str) -> T:
    if not isinstance(row, Mapping):
        raise SnapshotError(where, row, "an object is wanted")
    hints = typing.get_type_hints(kind)
    for key in row:
        if key not in hints:
            raise SnapshotError(
                f"{where}.{_name(str(key))}", row[key], f"unknown; known are {', '.join(hints)}"
            )
    values: dict[str, Any] = {}
    for entry in dataclasses.fields(kind):  # type: ignore[arg-type]  # T is always one of ours
        name = f"{where}.{entry.name}"
        if entry.name in row:
            values[entry.name] = _value(hints[entry.name], row[entry.name], name, entry.name)
        elif entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING:
            raise SnapshotError(name, None, "is required")
    return kind(**values)


def _value(hint: Any, value: Any, name: str, field: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is Mapping:
        inner = typing.get_args(hint)[1]
        nested = typing.get_origin(inner) is Mapping
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            what = "objects" if nested else "numbers"
            raise SnapshotError(name, value, f"an object of {what} is wanted")
        return {
            key: _value(inner, entry, f"{name}.{key}", field)
            if nested
            else _number(inner, entry, f"{name}.{key}", field)
            for key, entry in value.items()
        }
    if typing.get_origin(hint) is tuple and typing.get_args(hint)[0] is not str:
        inner = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise SnapshotError(name, value, "a list is wanted")
        if inner is int:
            return tuple(
                _number(int, entry, f"{name}[{i}]", field) for i, entry in enumerate(value)
            )
        return tuple(_one(inner, entry, f"{name}[{i}]") for i, entry in enumerate(value))
    if typing.get_origin(hint) in (tuple, frozenset):
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise SnapshotError(name, value, "a list of names is wanted")
        return typing.get_origin(hint)(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value not in list(hint):
            raise SnapshotError(name, value, f"one of {', '.join(hint)} is wanted")
        return hint(value)
    if hint in (int, float):
        return _number(hint, value, name, field)
    if not isinstance(value, hint):
        raise SnapshotError(name, value, f"{_KINDS.get(hint, hint.__name__)} is wanted")
    return value


def _check_values(data: object, where: str = "") -> None:
    """Numbers within the table's bounds, texts without what cannot be seen, wherever they stand.

    Such a text would pass for another one, or write over a terminal. Kinds are left to who reads the fields.
    """
    left: list[tuple[str, str, object]] = [(where, "", data)]
    while left:
        where, field, value = left.pop()
        inner: list[tuple[str, str, object]] = []
        if isinstance(value, str):
            if any(unicodedata.category(sign) in _UNSEEN or sign in _TURNING for sign in value):
                raise SnapshotError(
                    where or "snapshot", value, "must be without control characters"
                )
        elif isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(where, field, value)
        elif isinstance(value, list):
            # Objects of a list have fields of their own; numbers of one are all of its field.
            inner = [
                (f"{where}[{index}]", "" if isinstance(entry, Mapping) else field, entry)
                for index, entry in enumerate(value)
            ]
        elif isinstance(value, Mapping):
            for key, entry in value.items():
                name = f"{where}.{_name(str(key))}".lstrip(".")
                inner += [
                    (name, "", str(key)),
                    (name, field or (key if key in BOUNDS else ""), entry),
                ]
        left += reversed(inner)


def _check_number(where: str, field: str, value: float) -> None:
    low, high = BOUNDS.get(field, (-math.inf, math.inf))
    # Integers are compared as such: the largest have no float. What is no number is between none.
    if not low <= value <= high:
        rule = f"must be from {_plain_number(low)} to {_plain_number(high)}"
        raise SnapshotError(where, value, _RULES.get(field, rule))


def _name(field: str) -> str:
    """A field's name as it can be told: it came with the file, like the values."""
    plain = field.encode("unicode_escape").decode("ascii") if not field.isprintable() else field
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


def _number(hint: Any, value: Any, name: str, field: str) -> int | float:
    wanted = int if hint is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise SnapshotError(name, value, f"{'an integer' if hint is int else 'a number'} is wanted")
    if not abs(value) <= _LARGEST or (value < 0 and field != "priority"):
        raise SnapshotError(name, value, "must be finite and not negative")
    if field in _POSITIVE and value == 0:
        raise SnapshotError(name, value, "must be above 0")
    return typing.cast("int | float", hint(value))


def _plain_number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def _check_names(plant: Plant) -> None:
    lists: dict[str, tuple[Host | Vm | Pool | Rule | StoragePool | Entry, ...]] = {
        "hosts": plant.hosts,
        "vms": plant.vms,
        "pools": plant.pools,
        "rules": plant.rules,
        "storage": plant.storage,
        "calendar": plant.calendar,
    }
    for key, rows in lists.items():
        seen: set[str] = set()
        for index, row in enumerate(rows):
            if not row.name or row.name in seen:
                raise SnapshotError(
                    f"{key}[{index}].name", row.name, "must be unique and not empty"
                )
            seen.add(row.name)
    hosts = {host.name for host in plant.hosts}
    nodes = {host.name: max(1, len(host.nodes)) for host in plant.hosts}
    vms = {vm.name for vm in plant.vms}
    parents = {pool.name: pool.parent for pool in plant.pools}
    for vm in plant.vms:
        if vm.host is not None and vm.host not in hosts:
            raise SnapshotError(f"vm {vm.name}.host", vm.host, "no such host")
        if vm.pool and vm.pool not in parents:
            raise SnapshotError(f"vm {vm.name}.pool", vm.pool, "no such pool")
        if vm.cores > vm.vcpus:
            raise SnapshotError(f"vm {vm.name}.cores", vm.cores, f"more than its {vm.vcpus} vCPUs")
        if vm.node is not None and vm.host is not None and vm.node >= nodes[vm.host]:
            raise SnapshotError(
                f"vm {vm.name}.node", vm.node, f"{vm.host} has {nodes[vm.host]}, counted from 0"
            )
        for other in vm.after:
            if other not in vms:
                raise SnapshotError(f"vm {vm.name}.after", other, "no such vm")
        if vm.hugepage:
            _page(f"vm {vm.name}.hugepage", vm.hugepage)
    _check_order({vm.name: vm.after for vm in plant.vms})
    _check_pools(parents)
    for rule in plant.rules:
        for known, names, word in ((vms, rule.vms, "vm"), (hosts, rule.hosts, "host")):
            for missing in [entry for entry in names if entry not in known]:
                raise SnapshotError(f"rule {rule.name}", missing, f"no such {word}")


def _check_pools(parents: Mapping[str, str]) -> None:
    for name, parent in parents.items():
        if parent and parent not in parents:
            raise SnapshotError(f"pool {name}.parent", parent, "no such pool")
        seen = {name}
        while parent:
            if parent in seen:
                raise SnapshotError(f"pool {name}.parent", parents[name], "the tree has a circle")
            seen.add(parent)
            if len(seen) > MOST_DEPTH:
                raise SnapshotError(
                    f"pool {name}.parent", parents[name], f"more than {MOST_DEPTH} pools deep"
                )
            parent = parents.get(parent, "")


def _page(field: str, size: str) -> None:
    try:
        page_bytes(size)
    except ValueError as error:
        raise SnapshotError(field, size, "a page size like 2M or 1G is wanted") from error


def _check_order(after: Mapping[str, tuple[str, ...]]) -> None:
    """No machine may wait for itself, however long the chain."""
    done: set[str] = set()
    for first in after:
        path: dict[str, None] = {}
        stack = [(first, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop(name)
                done.add(name)
            elif name in path:
                raise SnapshotError(f"vm {name}.after", list(after[name]), "waits for itself")
            elif name not in done:
                path[name] = None
                stack.append((name, True))
                stack.extend((other, False) for other in after[name])


def _check_hosts(plant: Plant) -> None:
    for host in plant.hosts:
        for size in host.hugepages:
            _page(f"host {host.name}.hugepages", size)
        if host.cpus_aside > host.cpus:
            raise SnapshotError(
                f"host {host.name}.cpus_aside", host.cpus_aside, "more than its cpus"
            )
        paged = sum(count * page_bytes(size) for size, count in host.hugepages.items())
        if paged + host.memory_aside_bytes > host.memory_bytes:
            raise SnapshotError(
                f"host {host.name}.memory_bytes",
                host.memory_bytes,
                "less than its hugepages and what is set aside",
            )
        if not host.nodes:
            continue
        if sum(node.cores for node in host.nodes) != host.cores:
            raise SnapshotError(
                f"host {host.name}.nodes", host.cores, "their cores must add up to its"
            )
        for size in {*host.hugepages, *(size for node in host.nodes for size in node.hugepages)}:
            count = sum(node.hugepages.get(size, 0) for node in host.nodes)
            if count != host.hugepages.get(size, 0):
                raise SnapshotError(
                    f"host {host.name}.nodes", count, f"their pages of {size} must add up to its"
                )


def _check_calendar(plant: Plant) -> None:
    pools = {pool.name for pool in plant.pools}
    vms = {vm.name for vm in plant.vms}
    for entry in plant.calendar:
        where = f"calendar {entry.name}"
        for known, names, word in ((pools, entry.pools, "pool"), (vms, entry.vms, "vm")):
            for missing in [name for name in names if name not in known]:
                raise SnapshotError(where, missing, f"no such {word}")
        for day in entry.days:
            if day > 6:
                raise SnapshotError(f"{where}.days", day, _RULES["days"])
        for field in ("start", "end"):
            if getattr(entry, field):
                minutes(getattr(entry, field), f"{where}.{field}")
        for field in ("since", "until"):
            if getattr(entry, field):
                moment(getattr(entry, field), None, f"{where}.{field}")
        if not (entry.pools or entry.vms or entry.labels):
            raise SnapshotError(where, "", "names neither pools nor vms nor labels")


def _check_sense(plant: Plant) -> None:
    for vm in plant.vms:
        if vm.cpu_limit is not None and vm.cpu_limit < vm.cpu_reservation:
            raise SnapshotError(f"vm {vm.name}.cpu_limit", vm.cpu_limit, "below its reservation")
        if vm.memory_minimum_bytes is not None and vm.memory_minimum_bytes > vm.memory_bytes:
            raise SnapshotError(
                f"vm {vm.name}.memory_minimum_bytes",
                vm.memory_minimum_bytes,
                f"above its memory of {vm.memory_bytes} bytes",
            )
    for pool in plant.pools:
        if pool.limit is not None and pool.reservation > pool.limit:
            raise SnapshotError(
                f"pool {pool.name}.reservation",
                pool.reservation,
                f"above its limit of {pool.limit:g}",
            )
    _check_memory_of_pools(plant)
    for conflict in conflicts(plant):
        raise SnapshotError(f"rule {conflict.rules[0]}", list(conflict.rules), conflict.message)
    for entry in plant.calendar:
        where = f"calendar {entry.name}"
        if entry.since and entry.until and _backwards(entry.since, entry.until):
            raise SnapshotError(
                f"{where}.until", entry.until, f"must be after its since, {entry.since}"
            )
        if None not in (entry.reservation, entry.limit) and entry.reservation > entry.limit:  # type: ignore[operator]  # neither is None
            raise SnapshotError(
                f"{where}.reservation", entry.reservation, f"above its limit of {entry.limit:g}"
            )


def _check_memory_of_pools(plant: Plant) -> None:
    below: dict[str, int] = {}
    limits = {pool.name: pool.memory_limit_bytes for pool in plant.pools}
    for pool in plant.pools:
        limit, kept = pool.memory_limit_bytes, pool.memory_reservation_bytes
        below[pool.parent] = below.get(pool.parent, 0) + kept
        if limit is not None and kept > limit:
            raise SnapshotError(
                f"pool {pool.name}.memory_reservation_bytes", kept, f"above its limit of {limit}"
            )
        above = limits.get(pool.parent)
        if limit is not None and above is not None and limit > above:
            raise SnapshotError(
                f"pool {pool.name}.memory_limit_bytes",
                limit,
                f"above the limit of {pool.parent}, {above}",
            )
    for name, limit in limits.items():
        if limit is not None and below.get(name, 0) > limit:
            raise SnapshotError(
                f"pool {name}.memory_limit_bytes",
                limit,
                f"less than the {below[name]} that pools in it have reserved",
            )


def _backwards(since: str, until: str) -> bool:
    begin, end = moment(since), moment(until)
    if (begin.tzinfo is None) != (end.tzinfo is None):
        # The plant's own zone is not known here; no two are further apart than this.
        return begin.replace(tzinfo=None) - end.replace(tzinfo=None) > timedelta(days=1)
    return end <= begin
