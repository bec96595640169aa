"""Placement rules: written, switched off and on, removed; what stands against one while it is typed.

A rule that can never hold in this pool is not taken while it is in force; one that cannot hold now,
or is wished in vain, is, and says so. Rounds read the rules as they are: the next one keeps them.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import (
    Conflict,
    ConflictLevel,
    Host,
    Movability,
    Plant,
    Rule,
    RuleKind,
    Vm,
    barred,
    conflicts_of,
    unkept,
)
from millwright.core.lifecycle import HostHealth, ServiceClass
from millwright.environments.models import Machine, Move
from millwright.inventory.models import Cell
from millwright.inventory.models import Host as HostRow

from .models import PlacementRule
from .plant import host_labels, host_state

#: Bounds: machines and hosts of one rule, and what a soft rule may be worth.
MOST_NAMES, MOST_WEIGHT = 200, 1000.0
HOST_KINDS = (RuleKind.ON_HOSTS, RuleKind.OFF_HOSTS)


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule as somebody writes it. Machines go by "environment/machine", hosts by name."""

    name: str = ""
    kind: str = "apart"
    machines: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    hard: bool = True
    weight: float = 1.0
    minimum: int | None = None
    enabled: bool = True
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a draft, field by field, and the rules that stand against it."""

    errors: Mapping[str, list[str]] = field(default_factory=dict)
    conflicts: Sequence[Conflict] = ()
    #: how the conflicts call the draft
    name: str = ""

    @property
    def told(self) -> list[tuple[Conflict, list[str]]]:
        """Each conflict with the other rules that have a part in it."""
        return [(row, [name for name in row.rules if name != self.name]) for row in self.conflicts]

    @property
    def refused(self) -> bool:
        """Whether it would not be taken while it is in force."""
        return bool(self.errors) or any(row.level is ConflictLevel.NEVER for row in self.conflicts)


def draft_of(row: PlacementRule) -> Draft:
    """A kept rule as it was written; hosts that have left the pool are still named."""
    return Draft(
        row.name,
        row.kind,
        tuple(str(machine) for machine in row.machines.all()),
        tuple(dict.fromkeys([*row.host_names, *(host.name for host in row.hosts.all())])),
        row.hard,
        row.weight,
        row.minimum,
        row.enabled,
        row.purpose,
    )


def check(draft: Draft, row: PlacementRule | None = None) -> Verdict:
    """What stands against a draft, which may be half written. A fixed number of queries.

    `row`: the rule that it changes. Conflicts are looked for as soon as machines are named.
    """
    errors, machines, hosts = _judge(draft, row)
    usable = not {"kind", "machines", "hosts", "minimum", "weight"} & set(errors)
    found = _conflicts(draft, machines, hosts, row) if usable else []
    return Verdict(errors, found, _called(draft))


@transaction.atomic
def save_rule(
    actor: Any, draft: Draft, row: PlacementRule | None = None, reason: str = ""
) -> PlacementRule:
    """Write a rule, or change one (`row`). The next round keeps it.

    Raises:
        PermissionRefused: rules are for those who keep the pool.
        ValidationError: field by field what is wrong, or the rules with which it can never hold.
    """
    require(actor, "pool")
    if row is not None:
        row = PlacementRule.objects.select_for_update().get(pk=row.pk)
    errors, machines, hosts = _judge(draft, row)
    if errors:
        raise ValidationError({name: list(texts) for name, texts in errors.items()})
    if draft.enabled:
        _refuse_the_impossible(draft, machines, hosts, row)
    before = _contents(draft_of(row)) if row is not None else {}
    made = row or PlacementRule()
    made.name, made.kind, made.hard = draft.name, draft.kind, draft.hard
    made.weight, made.minimum = draft.weight, draft.minimum
    made.enabled, made.purpose = draft.enabled, draft.purpose.strip()
    made.host_names = [host.name for host in hosts]
    made.save()
    made.machines.set(machines)
    made.hosts.set(hosts)
    after = _contents(draft_of(made))
    verb = "rule.change" if row is not None else "rule.create"
    record(actor, verb, made, reason=reason, before=before, after=after)
    return made


@transaction.atomic
def set_enabled(actor: Any, row: PlacementRule, enabled: bool, reason: str = "") -> PlacementRule:
    """Put a rule in force or out of it; it is kept either way.

    Raises:
        PermissionRefused: rules are for those who keep the pool.
        ValidationError: with the rules in force it can never hold.
    """
    require(actor, "pool")
    row = PlacementRule.objects.select_for_update().get(pk=row.pk)
    if enabled and not row.enabled:
        draft = draft_of(row)
        _refuse_the_impossible(draft, list(row.machines.all()), list(row.hosts.all()), row)
    row.enabled = enabled
    row.save(update_fields=("enabled", "changed_at"))
    record(actor, "rule.enable" if enabled else "rule.disable", row, reason=reason)
    return row


@transaction.atomic
def remove_rule(actor: Any, row: PlacementRule, reason: str = "") -> None:
    """Remove a rule; the trail keeps what it said."""
    require(actor, "pool")
    row = PlacementRule.objects.select_for_update().get(pk=row.pk)
    record(actor, "rule.remove", row, reason=reason, before=_contents(draft_of(row)))
    row.delete()


def broken_now(rows: Iterable[PlacementRule]) -> set[int]:
    """Rules in force, soft ones too, that do not hold where the machines are now."""
    listed = [row for row in rows if row.enabled]
    machines = {m.pk: m for row in listed for m in row.machines.all() if m.host_id is not None}
    plant = Plant(
        tuple(_host(row, frozenset()) for row in _hosts()),
        tuple(_vm(machine) for machine in machines.values()),
        rules=tuple(
            _rule(
                row.name, row, [m for m in row.machines.all() if m.pk in machines], row.hosts.all()
            )
            for row in listed
        ),
    )
    names = unkept(plant)
    return {row.pk for row in listed if row.name in names}


def barred_hosts(machine: Machine) -> dict[str, str]:
    """Hosts where the machine would break a hard rule in force, and which. A fixed number of queries.

    Where its own host is down it is started elsewhere, and machines that wait for a dead host are not there: the
    plan of a recovery holds rules toward them where it can.
    """
    rows = machine.placement_rules.filter(enabled=True, hard=True)
    rules = list(rows.prefetch_related("machines__environment", "machines__host", "hosts"))
    if not rules:
        return {}
    around = {row.pk: row for rule in rules for row in rule.machines.all()}
    under_way = Move.objects.filter(machine__in=list(around), state="prepared")
    coming = {
        str(around[move.machine_id]): move.destination.name
        for move in under_way.select_related("destination")
        if move.machine_id != machine.pk
    }
    lost = machine.host is not None and machine.host.health == HostHealth.DOWN
    absent = {
        row.pk
        for row in around.values()
        if lost and row.host and row.host.health == HostHealth.DOWN
    }
    plant = Plant(
        tuple(_host(row, frozenset()) for row in _hosts()),
        tuple(
            replace(_vm(row), host=None) if row.pk in absent else _vm(row)
            for row in around.values()
        ),
        rules=tuple(_rule(row.name, row, row.machines.all(), row.hosts.all()) for row in rules),
    )
    return barred(plant, str(machine), coming)


def soft_prices(machine: Machine) -> tuple[dict[str, float], dict[str, float]]:
    """CPUs that soft rules in force ask for the machine's being on each host, and in each failure domain; negative
    attracts. As rounds price them (`State.soft_price`). A fixed number of queries, one where there are none.
    """
    rows = machine.placement_rules.filter(enabled=True, hard=False)
    hosts: dict[str, float] = defaultdict(float)
    domains: dict[str, float] = defaultdict(float)
    for row in rows.prefetch_related("machines__host", "hosts"):
        if row.kind in HOST_KINDS:
            sign = -1 if row.kind == RuleKind.ON_HOSTS else 1
            for host in row.hosts.all():
                hosts[host.name] += sign * row.weight
            continue
        others = [each.host for each in row.machines.all() if each.pk != machine.pk and each.host]
        sign = -1 if row.kind in (RuleKind.TOGETHER, RuleKind.NEAR) else 1
        by_domain = row.kind in (RuleKind.SPREAD, RuleKind.NEAR)
        for host in others:
            # A host of no domain is one of its own.
            domain = str(host.labels.get("domain", "")) if by_domain else ""
            where, name = (domains, domain) if domain else (hosts, host.name)
            where[name] += sign * row.weight / len(others)
    return dict(hosts), dict(domains)


def machines_called(names: Iterable[str]) -> tuple[list[Machine], list[str]]:
    """Machines by "environment/machine" or by their environment's name alone; and what is unknown."""
    wanted = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    environments = {name.partition("/")[0] for name in wanted}
    rows = (
        Machine.objects.present()
        .filter(environment__name__in=environments)
        .select_related("environment", "host", "cell")
    )
    known: dict[str, list[Machine]] = {}
    for row in rows.order_by("environment__name", "name"):
        known.setdefault(row.environment.name, []).append(row)
        known[str(row)] = [row]
    found: dict[Any, Machine] = {}
    unknown = []
    for name in wanted:
        if name in known:
            found |= {row.pk: row for row in known[name]}
        else:
            unknown.append(name)
    return list(found.values()), unknown


def _judge(
    draft: Draft, row: PlacementRule | None
) -> tuple[dict[str, list[str]], list[Machine], list[HostRow]]:
    """Errors by field, and the machines and hosts that were found."""
    errors: dict[str, list[str]] = {}

    def wrong(name: str, text: str) -> None:
        errors.setdefault(name, []).append(text)

    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,47}", draft.name):
        text = _("%(value)r: small letters, digits, - and _, at most 48, not - or _ first")
        wrong("name", text % {"value": draft.name})
    elif PlacementRule.objects.filter(name=draft.name).exclude(pk=row.pk if row else None).exists():
        wrong("name", _("a rule is named %(name)r already") % {"name": draft.name})
    if draft.kind not in set(RuleKind):
        text = _("%(value)r: one of %(known)s")
        wrong("kind", text % {"value": draft.kind, "known": ", ".join(RuleKind)})
    if len(draft.purpose) > 300:
        wrong("purpose", _("at most 300 characters"))
    machines, unknown = machines_called(draft.machines)
    for name in unknown:
        wrong("machines", _("no machine is named %(name)r") % {"name": name})
    least = 1 if draft.kind in HOST_KINDS else 2
    if not unknown and len(machines) < least:
        text = _("name at least two machines") if least == 2 else _("name at least one machine")
        wrong("machines", text)
    hosts: list[HostRow] = []
    if draft.kind in HOST_KINDS:
        rows = {host.name: host for host in HostRow.objects.filter(name__in=draft.hosts)}
        hosts = list(rows.values())
        for name in dict.fromkeys(draft.hosts):
            if name not in rows:
                wrong("hosts", _("no host of the pool is named %(name)r") % {"name": name})
        if not draft.hosts:
            wrong("hosts", _("name at least one host"))
    elif draft.hosts:
        wrong("hosts", _("only rules about hosts name hosts"))
    for name, count in (("machines", len(machines)), ("hosts", len(hosts))):
        if count > MOST_NAMES:
            wrong(name, _("%(count)s: at most %(most)s") % {"count": count, "most": MOST_NAMES})
    if not (math.isfinite(draft.weight) and 0 < draft.weight <= MOST_WEIGHT):
        text = _("%(value)s: above 0 and at most %(most)s")
        wrong("weight", text % {"value": draft.weight, "most": f"{MOST_WEIGHT:g}"})
    if draft.minimum is not None:
        if draft.kind != RuleKind.SPREAD:
            wrong("minimum", _("only a spread says over how many failure domains"))
        elif not 2 <= draft.minimum <= max(len(machines), 2):
            text = _("%(value)s: from 2 to the number of machines, %(most)s")
            wrong("minimum", text % {"value": draft.minimum, "most": len(machines)})
    return errors, machines, hosts


def _refuse_the_impossible(
    draft: Draft, machines: list[Machine], hosts: list[HostRow], row: PlacementRule | None
) -> None:
    found = _conflicts(draft, machines, hosts, row)
    never = [conflict.message for conflict in found if conflict.level is ConflictLevel.NEVER]
    if never:
        raise ValidationError({"rules": never})


def _conflicts(
    draft: Draft, machines: list[Machine], hosts: list[HostRow], row: PlacementRule | None
) -> list[Conflict]:
    """The draft among the rules in force, as core sees it."""
    others = list(
        PlacementRule.objects.filter(enabled=True)
        .exclude(pk=row.pk if row else None)
        .prefetch_related("machines", "hosts")
    )
    keys = {m.pk for m in machines} | {m.pk for other in others for m in other.machines.all()}
    rows = (
        Machine.objects.present()
        .filter(Q(pk__in=keys))
        .select_related("environment", "host", "cell")
    )
    present = {machine.pk: machine for machine in rows}
    cells = frozenset(Cell.objects.values_list("slug", flat=True))
    mine = _called(draft)
    rules = [
        _rule(
            other.name,
            other,
            [present[m.pk] for m in other.machines.all() if m.pk in present],
            other.hosts.all(),
        )
        for other in others
        if other.name != mine
    ]
    plant = Plant(
        tuple(_host(host, cells) for host in _hosts()),
        tuple(_vm(machine) for machine in present.values()),
        rules=(*(rule for rule in rules if rule.vms), _rule(mine, draft, machines, hosts)),
    )
    return conflicts_of(plant, mine, _)


def _called(draft: Draft) -> str:
    """A name in any case, so that the sentences can speak of it."""
    return draft.name or _("this rule")


def _rule(
    name: str, source: Draft | PlacementRule, machines: Iterable[Machine], hosts: Iterable[HostRow]
) -> Rule:
    return Rule(
        name,
        RuleKind(source.kind),
        tuple(str(machine) for machine in machines),
        tuple(host.name for host in hosts),
        source.hard,
        source.weight,
        source.minimum,
    )


def _hosts() -> Any:
    columns = ("name", "labels", "health", "administration", "power", "policy", "accel")
    return HostRow.objects.only(*columns)


def _host(row: HostRow, cells: frozenset[str]) -> Host:
    """A host as far as rules ask: no amounts."""
    return Host(
        row.name,
        cpus=0.0,
        memory_bytes=0,
        state=host_state(row),
        domain=str(row.labels.get("domain", "")),
        labels=host_labels(row, cells),
    )


def _vm(row: Machine) -> Vm:
    """A machine as far as rules ask."""
    return Vm(
        name=str(row),
        vcpus=row.vcpus,
        memory_bytes=0,
        host=row.host.name if row.host else None,
        service_class=ServiceClass(row.service_class),
        movability=Movability(row.movability),
        requires=frozenset({f"cell:{row.cell.slug}"} if row.cell else ()),
    )


def _contents(draft: Draft) -> dict[str, Any]:
    """What the trail keeps of a rule."""
    return {
        "kind": str(draft.kind),
        "machines": list(draft.machines),
        "hosts": list(draft.hosts),
        "hard": draft.hard,
        "weight": draft.weight,
        "minimum": draft.minimum,
        "enabled": draft.enabled,
        "purpose": draft.purpose,
    }
