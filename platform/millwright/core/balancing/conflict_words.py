"""Sentences that say why rules cannot hold, naming each rule and the machines that it is about.

Core speaks English; whoever has readers of other languages gives a translator. The words are marked
for translation by being arguments of a function named `_`.
"""

from __future__ import annotations

from collections.abc import Sequence

from .model import Host, HostState, Rule, RuleKind, Vm
from .sentences import STATES
from .words import NAMES, Translator, english


def listed(names: Sequence[str], _: Translator = english) -> str:
    """Names with commas; of many the first ones and how many more."""
    if len(names) <= NAMES:
        return ", ".join(names)
    return _("%(names)s and %(count)s more") % {
        "names": ", ".join(names[: NAMES - 1]),
        "count": len(names) - NAMES + 1,
    }


def clause(rule: Rule, _: Translator = english) -> str:
    """What one rule wants, with its name."""
    words = {
        RuleKind.TOGETHER: _("%(rule)s keeps %(vms)s on one host"),
        RuleKind.APART: _("%(rule)s keeps %(vms)s on different hosts"),
        RuleKind.SPREAD: _("%(rule)s wants %(vms)s in different failure domains"),
        RuleKind.NEAR: _("%(rule)s wants %(vms)s in one failure domain"),
        RuleKind.ON_HOSTS: _("%(rule)s lets %(vms)s run only on %(hosts)s"),
        RuleKind.OFF_HOSTS: _("%(rule)s keeps %(vms)s off %(hosts)s"),
    }[rule.kind]
    if rule.kind is RuleKind.SPREAD and rule.minimum is not None:
        words = _("%(rule)s wants %(vms)s in at least %(minimum)s failure domains")
    if rule.kind is RuleKind.ON_HOSTS and not rule.hosts:
        words = _("%(rule)s names no host that is still in the pool for %(vms)s")
    return words % {
        "rule": rule.name,
        "vms": listed(tuple(dict.fromkeys(rule.vms)), _),
        "hosts": listed(rule.hosts, _),
        "minimum": rule.minimum,
    }


def sentence(
    level: str,
    rules: Sequence[Rule],
    vms: Sequence[Vm],
    could: Sequence[Host],
    hosts: Sequence[Host] = (),
    _: Translator = english,
) -> str:
    """Why the rules cannot hold at this level.

    `could`: where the machines could be by the rules about hosts; `hosts`: all of the pool.
    """
    if level == "unknown":
        return _("%(rule)s: too many possibilities to say whether it can hold") % {
            "rule": rules[0].name
        }
    kinds = {rule.kind for rule in rules}
    parts = [clause(rule, _) for rule in rules]
    counted = len({vm.name for vm in vms})
    for rule in rules:
        if rule.minimum is not None and rule.minimum > len(set(rule.vms)):
            parts.append(_("those are only %(count)s machines") % {"count": len(set(rule.vms))})
    if _contradict(rules):
        pass  # where they could be does not matter
    elif not could:
        parts.append(_("no host is left"))
    elif RuleKind.SPREAD in kinds:
        domains = sorted({host.domain or host.name for host in could})
        parts.append(
            _("they can be in %(count)s failure domains: %(names)s")
            % {"count": len(domains), "names": listed(domains, _)}
        )
    elif kinds & {RuleKind.APART, RuleKind.ON_HOSTS, RuleKind.OFF_HOSTS} and counted:
        names = [host.name for host in could]
        parts.append(
            _("they can be on %(count)s hosts: %(names)s")
            % {"count": len(names), "names": listed(names, _)}
        )
    if level == "now":
        closed = [host for host in hosts if host.state is not HostState.UP]
        for host in closed[:NAMES]:
            parts.append(
                _("%(host)s is %(state)s") % {"host": host.name, "state": _(STATES[host.state])}
            )
    if level == "stays":
        for vm in [vm for vm in vms if vm.host and vm.moves == "never"][:NAMES]:
            parts.append(
                _("%(vm)s is on %(host)s and never moves by itself")
                % {"vm": vm.name, "host": vm.host}
            )
    end = {
        "never": _("this can never hold in this pool"),
        "now": _("this cannot hold now"),
        "stays": _("this cannot hold as long as they stay"),
        "vain": _("the soft rule among them can never be kept"),
    }[level]
    return f"{'; '.join(parts)}: {end}"


def _contradict(rules: Sequence[Rule]) -> bool:
    """Two rules want opposite things of the same two machines, wherever these are."""
    joined = [rule for rule in rules if rule.kind in (RuleKind.TOGETHER, RuleKind.NEAR)]
    parted = [rule for rule in rules if rule.kind in (RuleKind.APART, RuleKind.SPREAD)]
    return any(
        len(set(one.vms) & set(other.vms)) > 1
        for one in joined
        for other in parted
        if (one.kind is RuleKind.TOGETHER or other.kind is RuleKind.SPREAD)
        and other.minimum is None
    )
