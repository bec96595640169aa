"""What hosts lack for a machine, said with figures: of one host, or of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .answers import Code
from .frame import BIT, Frame
from .model import Host, HostState, RuleKind, Vm
from .state import State
from .words import Said, overcommitted, say, together

_MIB = 2**20
_GROUPS = {Code.APART: RuleKind.APART, Code.SPREAD: RuleKind.SPREAD, Code.NEAR: RuleKind.NEAR}


def lacks_on(state: State, unit: int, host: int, codes: Iterable[Code]) -> tuple[Said, ...]:
    """A sentence with the numbers for each code that a host has against a unit."""
    name = state.frame.host_names[host]
    told: list[Said] = []
    for code in codes:
        rows = [row for row in _rows(state, unit, code) if _short(state, unit, row, host)]
        told.extend(
            say(f"at.{code}", host=name, **_amounts(state, unit, row, host)) for row in rows
        )
        if not rows:
            key, facts = _facts(state, unit, host, code)
            told.append(say(f"at.{key}", host=name, **facts))
    return tuple(told)


def lacks_of_all(state: State, unit: int, codes: Iterable[Code]) -> Said:
    """Why no host takes a unit: of amounts what the best host has free, of the rest how many hosts it is."""
    frame = state.frame
    told: list[Said] = []
    bits = state.codes(unit)
    if state.at[unit] >= 0:
        bits[state.at[unit]] = 0
    for code in codes:
        where = np.flatnonzero(bits & BIT[code]).tolist()
        # What a closed host has free helps nobody.
        open_ = [host for host in where if not state.closed[host]] or where
        rows = [
            row
            for row in _rows(state, unit, code)
            if any(_short(state, unit, row, host) for host in where)
        ]
        for row in rows:
            best = open_[int(np.argmax(state.free[row, open_]))]
            facts = _amounts(state, unit, row, best)
            told.append(say(f"all.{code}", host=frame.host_names[best], **facts))
        if where and not rows:
            key, facts = _facts(state, unit, where[0], code)
            told.append(say(f"all.{key}", count=len(where), **facts))
    if not told:
        return say("no_host.alone" if len(frame.hosts) < 2 else "no_host.rejected")
    return together(told)


def promised(frame: Frame, row: int, host: int, used: int) -> Said:
    """That a host has promised more of a resource than it has, in the frame's units."""
    resource, has = frame.resources[row], int(frame.capacity[row, host])
    factor = {"MiB": float(_MIB), "millicores": 1e-3}.get(resource.unit, 1.0)
    return overcommitted(
        str(resource.code), frame.host_names[host], used * factor, has * factor, resource.which
    )


def _rows(state: State, unit: int, code: Code) -> list[int]:
    return [row for row in state.frame.wanted[unit] if state.frame.resources[row].code is code]


def _short(state: State, unit: int, row: int, host: int) -> bool:
    return bool(state.free[row, host] < state.frame.need[row, unit])


def _amounts(state: State, unit: int, row: int, host: int) -> dict[str, Any]:
    """What is wanted and what is free. Where more is promised than there is, nothing is free."""
    resource = state.frame.resources[row]
    wanted, free = int(state.frame.need[row, unit]), max(0, int(state.free[row, host]))
    which = {"name": resource.which} if resource.which else {}
    if resource.unit == "MiB":
        return {"wanted_bytes": float(wanted * _MIB), "free_bytes": float(free * _MIB), **which}
    if resource.unit in ("millicores", "bytes/s"):
        factor = 1e-3 if resource.unit == "millicores" else 8e-6
        return {"wanted": f"{wanted * factor:g}", "free": f"{free * factor:g}", **which}
    return {"wanted": wanted, "free": free, **which}


def _facts(state: State, unit: int, host: int, code: Code) -> tuple[str, dict[str, Any]]:
    """The sentence of a code that is no lack of an amount, with its facts."""
    frame = state.frame
    vms = [frame.vms[member] for member in frame.units[unit]]
    there = frame.hosts[host]
    facts: dict[str, Any] = {}
    if code is Code.HOST_STATE:
        # A host that is up and closed all the same is being emptied on paper.
        draining = there.state is HostState.UP
        facts = {"state": str(HostState.DRAINING if draining else there.state)}
    elif code is Code.CLASS:
        facts = {"wanted": ", ".join(sorted({str(vm.service_class) for vm in vms}))}
    elif code is Code.CPU_MODEL:
        facts = {"wanted": ", ".join(sorted({vm.cpu_model for vm in vms if vm.cpu_model}))}
    elif code is Code.CPU_FEATURES:
        facts = {
            "names": sorted({name for vm in vms for name in vm.cpu_features - there.cpu_features})
        }
    elif code is Code.LABELS:
        facts = {"names": sorted({name for vm in vms for name in vm.requires - there.labels})}
    elif code is Code.HOST_RULE:
        facts = {"names": _host_rules(frame, vms, there)}
    elif code is Code.STORAGE:
        shared = {pool.name for pool in frame.plant.storage}
        away = {pool for vm in vms for pool in vm.disks if pool in shared - there.storage.keys()}
        return "storage_unreached", {"names": sorted(away)}
    elif code is Code.GPU:
        need = frame.gpu_need.get(unit, {})
        facts = {"names": [f"{count} × {name}" for name, count in sorted(need.items())]}
    elif code is Code.NUMA:
        facts = {"wanted": sum(vm.cores for vm in vms)}
    elif code in _GROUPS:
        facts = {"names": _group_rules(frame, unit, _GROUPS[code])}
    return str(code), facts


def _host_rules(frame: Frame, vms: list[Vm], there: Host) -> list[str]:
    """Hard rules that keep one of the machines off the host."""
    names = {vm.name for vm in vms}
    return [
        rule.name
        for rule in frame.plant.rules
        if rule.hard
        and names & set(rule.vms)
        and (
            (rule.kind is RuleKind.ON_HOSTS and there.name not in rule.hosts)
            or (rule.kind is RuleKind.OFF_HOSTS and there.name in rule.hosts)
        )
    ]


def _group_rules(frame: Frame, unit: int, kind: RuleKind) -> list[str]:
    """Hard rules of this kind that the unit is in."""
    tables = {
        RuleKind.APART: frame.apart_of,
        RuleKind.SPREAD: frame.spread_of,
        RuleKind.NEAR: frame.near_of,
    }
    return [frame.rule_names[kind][number] for number in tables[kind].get(unit, ())]
