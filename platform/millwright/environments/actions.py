"""Every change of requests, environments and operations: permission, validation, change, audit, one transaction."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.models import Project
from millwright.accounts.permissions import deciding_as, may, require
from millwright.audit.actions import record
from millwright.core.lifecycle import (
    LIVE_OPERATION_STATES,
    OFFERED_POWER,
    TRANSITIONS,
    EnvironmentState,
    LifecycleError,
    MachineDesired,
    Movability,
    OperationKind,
    OperationState,
    Recovery,
    RequestState,
    ServiceClass,
    check_transition,
)
from millwright.core.placement import MOST_TOLD

from .briefs import BRIEFS
from .devices import odd_devices
from .enqueue import enqueue, lock_machine
from .history import environment_transition, transition
from .models import Environment, Machine, Operation, Request
from .placement import preview
from .quota import require_quota
from .reasons import said
from .sizes import size_of

#: What one request form asks for at most.
MAX_COPIES = 10
#: What an approver may grant differently; everything else is the requester's to say.
APPROVER_MAY_CHANGE = ("size", "lease_days", "strict_realtime")
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


def _locked(queryset: Any, pk: Any) -> Any:
    """The row, locked until the transaction's end (SQLite's transactions already are exclusive).

    Without its key: rows that refer to it may be written meanwhile, or two actions that lock the
    environment and its machine in different order would wait for each other for ever.
    """
    return queryset.select_for_update(no_key=True).get(pk=pk)


def validate_request(request: Request, *, devices: bool = True) -> None:
    """Check everything that can be known before submission. `devices`: those that it names, too.

    Raises:
        ValidationError: field by field, with value and rule.
    """
    errors: dict[str, Any] = {}
    if not _NAME.fullmatch(request.name or ""):
        errors["name"] = _(
            "%(value)r: use lower-case letters, digits and hyphens, begin with a letter, at most 40."
        ) % {"value": request.name}
    elif Environment.objects.present().filter(name=request.name).exclude(request=request).exists():
        errors["name"] = _("an environment %(name)r exists already; choose another name") % {
            "name": request.name
        }
    if not 1 <= request.lease_days <= request.project.max_lease_days:
        errors["lease_days"] = _("%(value)s days: the project allows 1 to %(most)s") % {
            "value": request.lease_days,
            "most": request.project.max_lease_days,
        }
    spec = request.template_version.spec
    try:
        size_of(spec, request.size)
    except ValidationError as error:
        errors |= error.error_dict
    if request.cell is None and (spec.get("class") == ServiceClass.REALTIME or spec.get("outputs")):
        errors["cell"] = _("this template needs a cell: the shop-floor network its devices are in")
    if request.program_version is not None:
        if request.program_version.program.project_id != request.project_id:
            errors["program_version"] = _("the program belongs to another project")
        elif request.program_version.state == "failed":
            errors["program_version"] = _(
                "%(program)s did not compile; upload a mended version"
            ) % {"program": request.program_version}
    if devices and (text := odd_devices(request)):
        errors["devices"] = text
    if errors:
        raise ValidationError(errors)


@transaction.atomic
def create_request(actor: Any, **fields: Any) -> Request:
    """Write a draft."""
    require(actor, "request", fields["project"])
    request = Request(requester=actor, **fields)
    validate_request(request)
    request.save(force_insert=True)
    record(
        actor,
        "request.create",
        request,
        project=request.project,
        template=str(request.template_version),
    )
    return request


@transaction.atomic
def update_request(actor: Any, request: Request, **fields: Any) -> Request:
    """Change a draft; only its requester may, and only while it is one."""
    request = _locked(Request.objects, request.pk)
    _require_own(actor, request)
    if request.state != RequestState.DRAFT:
        raise ValidationError(
            {
                "state": _("only a draft can be changed; this request is %(state)s")
                % {"state": request.state}
            }
        )
    for name, value in fields.items():
        setattr(request, name, value)
    require(actor, "request", request.project)
    validate_request(request, devices=not fields.keys().isdisjoint(("devices", "project", "cell")))
    request.save()
    record(actor, "request.update", request, project=request.project, fields=sorted(fields))
    return request


@transaction.atomic
def submit_request(actor: Any, request: Request) -> Request:
    """Ask for approval. Refused when the quota or the pool cannot hold it; may be approved by policy."""
    from millwright.balancing.on_request import decided
    from millwright.balancing.sparing import standing_request

    request = _locked(Request.objects, request.pk)
    _require_own(actor, request)
    _require_step(request, RequestState.SUBMITTED)
    validate_request(request)
    size = size_of(request.template_version.spec, request.size)
    require_quota(request.project, size)
    plan = preview(
        request.template_version.spec,
        request.size,
        cell=request.cell.slug if request.cell else "",
        strict=request.strict_realtime,
        name=request.name,
        wakes=False,
    )
    plan, short = decided(plan, standing_request(request, size))
    if plan.chosen is None:
        raise ValidationError(
            {
                "placement": _("no host can take it: %(why)s")
                % {"why": short or plan.explain(said, BRIEFS) or _("the pool has no hosts")}
            }
        )
    transition(
        request,
        "request",
        RequestState.SUBMITTED,
        cause=str(actor),
        submitted_at=timezone.now(),
        placement=plan.as_dict(MOST_TOLD),
    )
    record(
        actor,
        "request.submit",
        request,
        project=request.project,
        host=plan.chosen.host,
        wakes=plan.chosen.wake is not None,
        **({"emptied": True} if plan.chosen.emptied else {}),
    )
    limit = request.project.auto_approve_vcpus
    if limit and size.vcpus <= limit and size.realtime_cores == 0:
        _approve(None, request, _("within the project's limit for automatic approval"))
    return request


@transaction.atomic
def request_copies(actor: Any, copies: int, *, submit: bool, **fields: Any) -> list[Request]:
    """Ask for several identical environments, `name-1`, `name-2`, …: all of them or none.

    Raises:
        ValidationError: the number, a field, or the quota after all of them.
    """
    if not 1 <= copies <= MAX_COPIES:
        raise ValidationError(
            {
                "copies": _("%(value)s: ask for 1 to %(most)s at once")
                % {"value": copies, "most": MAX_COPIES}
            }
        )
    base = fields.pop("name")
    names = [base] if copies == 1 else [f"{base}-{number}" for number in range(1, copies + 1)]
    together = uuid.uuid4() if copies > 1 else None
    made = [create_request(actor, name=name, alike=together, **fields) for name in names]
    if submit:
        # Each alone may fit where all of them do not.
        size = size_of(fields["template_version"].spec, fields["size"])
        require_quota(fields["project"], size, environments=copies)
        made = [submit_request(actor, request) for request in made]
    return made


@transaction.atomic
def approve_request(
    actor: Any, request: Request, reason: str = "", changes: dict[str, Any] | None = None
) -> Request:
    """Approve: the environment, its machine and the operation that builds it are written at once.

    Where the project wants two approvers for that size, the first approval is kept and the request
    goes on waiting for another person. `changes` are what the approver grants in place of what was
    asked (of `APPROVER_MAY_CHANGE`).
    """
    request = _locked(Request.objects, request.pk)
    holder = _require_decider(actor, request)
    _require_step(request, RequestState.APPROVED)
    changed = {
        name: [getattr(request, name), value]
        for name, value in (changes or {}).items()
        if value is not None and getattr(request, name) != value
    }
    if unknown := sorted(set(changed) - set(APPROVER_MAY_CHANGE)):
        raise ValidationError(
            {name: _("an approver cannot change this; reject with a reason") for name in unknown}
        )
    if changed:
        for name, (_asked, granted) in changed.items():
            setattr(request, name, granted)
        # Its devices are for the environment to map: one that has gone meanwhile keeps nobody from deciding.
        validate_request(request, devices=False)
        # Another size is another question: whoever agreed to the first is asked again.
        request.first_approval_by = request.first_approval_at = None
        request.save(update_fields=[*changed, "first_approval_by", "first_approval_at"])
        record(actor, "request.change", request, project=request.project, **changed)
    if needs_second_approval(request) and request.first_approval_by_id is None:
        Request.objects.filter(pk=request.pk).update(
            first_approval_by=holder, first_approval_at=timezone.now()
        )
        record(actor, "request.first_approval", request, project=request.project, reason=reason, **_for(actor, holder))  # fmt: skip
        request.refresh_from_db()
        return request
    _approve(actor, request, reason, **_for(actor, holder))
    return request


def needs_second_approval(request: Request) -> bool:
    """Whether the project wants two approvers for what is asked."""
    limit = request.project.second_approval_vcpus
    return bool(limit) and size_of(request.template_version.spec, request.size).vcpus > limit


def _for(actor: Any, holder: Any) -> dict[str, str]:
    """For the audit trail: in whose place a delegate decided."""
    return {} if holder is None or holder.pk == actor.pk else {"in_place_of": str(holder)}


def _approve(actor: Any, request: Request, reason: str, **details: str) -> None:
    _require_step(request, RequestState.APPROVED)
    spec = request.template_version.spec
    size = size_of(spec, request.size)
    # Locked, so that two approvals at once cannot both count the project's last free place.
    require_quota(Project.objects.select_for_update(no_key=True).get(pk=request.project_id), size)
    if Environment.objects.present().filter(name=request.name).exists():
        raise ValidationError(
            {"name": _("an environment %(name)r exists by now") % {"name": request.name}}
        )
    environment = Environment.objects.create(
        name=request.name,
        project=request.project,
        owner=request.requester,
        lease_until=timezone.now() + dt.timedelta(days=request.lease_days),
    )
    service_class = ServiceClass(spec["class"])
    machine = Machine.objects.create(
        environment=environment,
        name=spec["name"],
        template_version=request.template_version,
        size=size.name,
        service_class=service_class,
        strict_realtime=request.strict_realtime,
        recovery=Recovery.AUTONOMOUS
        if service_class is ServiceClass.REALTIME
        else Recovery.RECOVERABLE,
        # A controller does not move by itself: a person says so, each time.
        movability=Movability.APPROVAL
        if service_class is ServiceClass.REALTIME
        else Movability.FREE,
        vcpus=size.vcpus,
        realtime_cores=size.realtime_cores,
        memory_bytes=size.memory_bytes,
        disk_bytes=size.disk_bytes,
        cell=request.cell,
    )
    why = f"request {request.name} by {request.requester}, approved by {actor or 'policy'}"
    payload = (
        {"program_version": str(request.program_version_id)} if request.program_version_id else {}
    )
    enqueue(
        OperationKind.PROVISION,
        actor=request.requester,
        reason=why,
        environment=environment,
        machine=machine,
        **payload,
    )
    transition(
        request,
        "request",
        RequestState.APPROVED,
        cause=str(actor or "policy"),
        decided_at=timezone.now(),
        decided_by=actor,
        decision_reason=reason,
        environment=environment,
    )
    record(actor, "request.approve", request, project=request.project, reason=reason, **details)


@transaction.atomic
def reject_request(actor: Any, request: Request, reason: str) -> Request:
    """Reject, with the reason that the requester reads."""
    request = _locked(Request.objects, request.pk)
    holder = _require_decider(actor, request)
    _require_step(request, RequestState.REJECTED)
    if not reason.strip():
        raise ValidationError({"reason": _("say why: the requester reads it")})
    transition(
        request,
        "request",
        RequestState.REJECTED,
        cause=str(actor),
        decided_at=timezone.now(),
        decided_by=actor,
        decision_reason=reason,
    )
    record(actor, "request.reject", request, project=request.project, reason=reason, **_for(actor, holder))  # fmt: skip
    return request


@transaction.atomic
def withdraw_request(actor: Any, request: Request) -> Request:
    """Take one's own request back before anything was built."""
    request = _locked(Request.objects, request.pk)
    _require_own(actor, request)
    if request.environment_id is not None:
        raise ValidationError(
            {"state": _("the environment exists; remove it in place of withdrawing the request")}
        )
    _require_step(request, RequestState.WITHDRAWN)
    transition(request, "request", RequestState.WITHDRAWN, cause=str(actor))
    record(actor, "request.withdraw", request, project=request.project)
    return request


def _require_step(request: Request, wanted: RequestState) -> None:
    """Each step of a request is taken once: unlike what was observed of a machine, a decision does not repeat."""
    if request.state == wanted:
        raise LifecycleError(
            "request", str(request.state), str(wanted), TRANSITIONS["request"][str(request.state)]
        )
    check_transition("request", request.state, wanted)


def _require_own(actor: Any, request: Request) -> None:
    if request.requester_id != actor.pk:
        require(actor, "administer", request.project)


def _require_decider(actor: Any, request: Request) -> Any:
    """By whose right the actor decides: his own or that of whoever delegated to him.

    Nobody decides his own request, neither by another's right nor another by his; two approvals
    come from two people, and from the rights of two.
    """
    require(actor, "decide", request.project)
    if request.requester_id == actor.pk:
        raise ValidationError(
            {"decided_by": _("nobody decides his own request; another approver must")}
        )
    holders = deciding_as(actor, request.project, not_as=request.requester_id)
    if not holders:
        raise ValidationError(
            {"decided_by": _("the requester's own right was delegated; another approver must")}
        )
    left = [row for row in holders if row.pk != request.first_approval_by_id]
    if request.first_approval_by_id == actor.pk or not left:
        raise ValidationError(
            {"decided_by": _("the first approval is yours; another approver must give the second")}
        )
    return left[0]


@transaction.atomic
def decide_by_policy(request: Request) -> Request:
    """What the project's policy says of a request that nobody decided in its time."""
    request = _locked(Request.objects, request.pk)
    project = request.project
    # In English, as all that processes write: whoever reads it has it in his own language (reasons.said).
    reason = f"nobody decided within {project.decide_after_days} days"
    if project.decide_after == "approve":
        _approve(None, request, reason)
        return request
    _require_step(request, RequestState.REJECTED)
    transition(
        request,
        "request",
        RequestState.REJECTED,
        cause="policy",
        decided_at=timezone.now(),
        decision_reason=reason,
    )
    record(None, "request.reject", request, project=project, reason=reason)
    return request


_POWER = {
    OperationKind.START: (MachineDesired.RUNNING, "environment.start"),
    OperationKind.STOP: (MachineDesired.STOPPED, "environment.stop"),
    OperationKind.RESTART: (MachineDesired.RUNNING, "environment.restart"),
}


@transaction.atomic
def power(
    actor: Any, environment: Environment, kind: OperationKind, reason: str = ""
) -> list[Operation]:
    """Start, stop or restart every machine of an environment."""
    environment = _locked(Environment.objects, environment.pk)
    require(actor, "operate", environment.project)
    desired, action = _POWER[kind]
    if environment.state not in OFFERED_POWER:
        raise ValidationError(
            {
                "state": _("%(name)s is %(state)s: wait until it is built")
                % {"name": environment, "state": environment.state}
            }
        )
    operations = []
    for machine in environment.machines.select_for_update(no_key=True, of=("self",)).order_by("pk"):
        if machine.host_id is None:
            raise ValidationError(
                {
                    "machine": _("%(machine)s was never built; retry its provisioning")
                    % {"machine": machine}
                }
            )
        Machine.objects.filter(pk=machine.pk).update(desired=desired)
        operations.append(
            enqueue(
                kind, actor=actor, reason=reason or action, environment=environment, machine=machine
            )
        )
    record(actor, action, environment, project=environment.project, reason=reason)
    return operations


@transaction.atomic
def remove_environment(actor: Any, environment: Environment, reason: str = "") -> list[Operation]:
    """Remove an environment with its disks. A build under way is cancelled first, by its own undo."""
    environment = _locked(Environment.objects, environment.pk)
    if environment.owner_id != actor.pk:
        require(actor, "administer", environment.project)
    else:
        require(actor, "operate", environment.project)
    if environment.state in (EnvironmentState.REMOVED, EnvironmentState.REMOVING):
        raise ValidationError(
            {
                "state": _("%(name)s is %(state)s already")
                % {"name": environment, "state": environment.state}
            }
        )
    operations = []
    for machine in environment.machines.select_for_update(no_key=True, of=("self",)).order_by("pk"):
        Machine.objects.filter(pk=machine.pk).update(desired=MachineDesired.ABSENT)
        operations.append(
            enqueue(
                OperationKind.REMOVE,
                actor=actor,
                reason=reason or "environment.remove",
                environment=environment,
                machine=machine,
            )
        )
    environment_transition(environment, EnvironmentState.REMOVING, reason=reason)
    record(actor, "environment.remove", environment, project=environment.project, reason=reason)
    return operations


@transaction.atomic
def extend_lease(actor: Any, environment: Environment, days: int) -> Environment:
    """Give an environment more time, up to the project's longest lease from now."""
    environment = _locked(Environment.objects, environment.pk)
    require(actor, "engineer", environment.project)
    most = environment.project.max_lease_days
    if not 1 <= days <= most:
        raise ValidationError(
            {
                "days": _("%(value)s days: the project allows 1 to %(most)s")
                % {"value": days, "most": most}
            }
        )
    if environment.state in (EnvironmentState.REMOVED, EnvironmentState.REMOVING):
        raise ValidationError(
            {
                "state": _("%(name)s is %(state)s")
                % {"name": environment, "state": environment.state}
            }
        )
    now = timezone.now()
    until = max(environment.lease_until or now, now) + dt.timedelta(days=days)
    if until > now + dt.timedelta(days=most):
        raise ValidationError(
            {
                "days": _(
                    "the lease would end %(day)s; the project allows %(most)s days from today"
                )
                % {"day": f"{until:%F}", "most": most}
            }
        )
    environment.lease_until, environment.lease_ending = until, False
    environment.save(update_fields=("lease_until", "lease_ending"))
    record(
        actor,
        "environment.extend",
        environment,
        project=environment.project,
        until=until.isoformat(),
    )
    return environment


@transaction.atomic
def cancel_operation(actor: Any, operation: Operation) -> Operation:
    """Ask a live operation to stop at its next step; a queued one ends at once."""
    operation = _locked(Operation.objects, operation.pk)
    _require_operation(actor, operation)
    if operation.state not in LIVE_OPERATION_STATES:
        raise ValidationError(
            {"state": _("the operation is %(state)s already") % {"state": operation.state}}
        )
    operation.cancel_requested = True
    operation.save(update_fields=("cancel_requested",))
    record(actor, "operation.cancel", operation, project=operation.project)
    return operation


@transaction.atomic
def retry_operation(actor: Any, operation: Operation) -> Operation:
    """Try a failed operation again from its first step; every step is an "ensure"."""
    operation = _locked(Operation.objects, operation.pk)
    _require_operation(actor, operation)
    check_transition("operation", operation.state, OperationState.QUEUED)
    if operation.machine_id is not None:
        lock_machine(operation.machine_id)
    if (
        operation.machine is not None
        and Operation.objects.live().filter(machine=operation.machine).exists()
    ):
        raise ValidationError(
            {
                "machine": _("another operation of %(machine)s is at work")
                % {"machine": operation.machine}
            }
        )
    operation.attempt += 1
    operation.state, operation.error, operation.ended_at = OperationState.QUEUED, "", None
    operation.cancel_requested = False
    operation.save()
    record(
        actor, "operation.retry", operation, project=operation.project, attempt=operation.attempt
    )
    return operation


def _require_operation(actor: Any, operation: Operation) -> None:
    if operation.project is not None and may(actor, "operate", operation.project):
        return
    require(actor, "pool")
