"""Hard rules that no placement can satisfy, found before anything is planned."""

from __future__ import annotations

from dataclasses import dataclass

from .model import HostState, Plant, RuleKind


@dataclass(frozen=True, slots=True)
class Conflict:
    """Rules that cannot hold at once, and why."""

    rules: tuple[str, ...]
    message: str


def groups(plant: Plant) -> list[tuple[str, ...]]:
    """Machines that hard rules keep on one host, closed over chains of rules; sorted."""
    head = {vm.name: vm.name for vm in plant.vms}

    def find(name: str) -> str:
        while head[name] != name:
            name = head[name]
        return name

    for rule in plant.rules:
        if rule.hard and rule.kind is RuleKind.TOGETHER:
            for left, right in zip(rule.vms, rule.vms[1:], strict=False):
                head[find(left)] = find(right)
    members: dict[str, list[str]] = {}
    for vm in plant.vms:
        members.setdefault(find(vm.name), []).append(vm.name)
    return sorted(tuple(sorted(names)) for names in members.values())


def allowed_hosts(plant: Plant, names: tuple[str, ...]) -> tuple[set[str], tuple[str, ...]]:
    """Hosts that every hard host rule on these machines leaves, and the rules that spoke."""
    left = {host.name for host in plant.hosts}
    spoke = []
    for rule in plant.rules:
        if not rule.hard or not set(rule.vms) & set(names):
            continue
        if rule.kind is RuleKind.ON_HOSTS:
            left &= set(rule.hosts)
            spoke.append(rule.name)
        elif rule.kind is RuleKind.OFF_HOSTS:
            left -= set(rule.hosts)
            spoke.append(rule.name)
    return left, tuple(spoke)


def conflicts(plant: Plant) -> list[Conflict]:
    """Every conflict that can be seen from the rules alone; room is the planner's affair."""
    found = []
    joined = {name: unit for unit in groups(plant) for name in unit}
    for unit in sorted(set(joined.values())):
        left, spoke = allowed_hosts(plant, unit)
        if not left and spoke:
            found.append(Conflict(spoke, f"no host is left for {', '.join(unit)}"))
    found.extend(_near_and_far(plant))
    existing = [host for host in plant.hosts if host.state is not HostState.DOWN]
    for rule in plant.rules:
        if not rule.hard or rule.kind not in (RuleKind.APART, RuleKind.SPREAD):
            continue
        names = sorted(set(rule.vms))
        wanted = len(names) if rule.kind is RuleKind.APART else rule.minimum or len(names)
        if wanted > len(names):
            found.append(
                Conflict((rule.name,), f"{len(names)} machines over {wanted} failure domains")
            )
        for index, left_name in enumerate(names if wanted == len(names) else ()):
            for right in names[index + 1 :]:
                if right in joined[left_name]:
                    found.append(
                        Conflict(
                            (rule.name,),
                            f"{left_name} and {right} are kept together by another rule",
                        )
                    )
        places = (
            {host.name for host in existing}
            if rule.kind is RuleKind.APART
            else {host.domain or host.name for host in existing}
        )
        if wanted > len(places):
            word = "hosts" if rule.kind is RuleKind.APART else "failure domains"
            found.append(
                Conflict((rule.name,), f"{wanted} machines apart over {len(places)} {word}")
            )
    return found


def _near_and_far(plant: Plant) -> list[Conflict]:
    """Machines that must be in one failure domain by one rule and in different ones by another."""
    spread = [
        (rule, set(rule.vms))
        for rule in plant.rules
        if rule.hard and rule.kind is RuleKind.SPREAD and rule.minimum is None
    ]
    found = []
    for rule in plant.rules:
        if not rule.hard or rule.kind is not RuleKind.NEAR:
            continue
        for other, names in spread:
            both = sorted(names & set(rule.vms))
            if len(both) > 1:
                text = f"{both[0]} and {both[1]} are to be near and in different failure domains"
                found.append(Conflict((rule.name, other.name), text))
    return found
