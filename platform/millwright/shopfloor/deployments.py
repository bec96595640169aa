"""Programs on their way to machines: deploy, and where the project demands it, somebody else's approval."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.lifecycle import OperationKind
from millwright.environments.enqueue import enqueue, lock_machine
from millwright.environments.models import Machine, Operation

from .models import Deployment, DeploymentPolicy, ProgramVersion


def needs_approval(project: Any) -> bool:
    """Whether a program goes to this project's machines only after somebody else agreed."""
    return DeploymentPolicy.objects.filter(project=project, approval=True).exists()


@transaction.atomic
def set_policy(actor: Any, project: Any, *, approval: bool) -> DeploymentPolicy:
    """Demand approval of deployments in a project, or no longer."""
    require(actor, "administer", project)
    policy, _made = DeploymentPolicy.objects.get_or_create(project=project)
    if policy.approval != approval:
        policy.approval = approval
        policy.save()
        record(actor, "program.policy", project, project=project, approval=approval)
    return policy


@transaction.atomic
def deploy(
    actor: Any, machine: Machine, version: ProgramVersion, reason: str = ""
) -> Operation | Deployment:
    """Send a built version to a machine; rolling back is deploying an older version.

    Returns the operation that delivers it, or the deployment that waits for approval.
    """
    project = machine.environment.project
    require(actor, "engineer", project)
    _deliverable(machine, version)
    # Before the deployment refers to the machine: a weak lock that grows to a strong one
    # is how two deployments and a stop came to wait for each other.
    lock_machine(machine.pk)
    if len(reason) > 500:
        raise ValidationError({"reason": _("at most 500 characters")})
    asks = needs_approval(project)
    deployment = Deployment.objects.create(
        machine=machine,
        program_version=version,
        deployed_by=actor,
        reason=reason,
        state="asked" if asks else "pending",
    )
    if asks:
        # The newest wish counts; an earlier one that nobody decided is off.
        machine.deployments.filter(state="asked").exclude(pk=deployment.pk).update(
            state="refused", message="replaced by a newer wish", decided_at=timezone.now()
        )
        record(actor, "program.ask", machine, project=project, reason=reason, version=str(version))
        return deployment
    record(actor, "program.deploy", machine, project=project, reason=reason, version=str(version))
    return _deliver(actor, deployment)


@transaction.atomic
def approve(actor: Any, deployment: Deployment) -> Operation:
    """Agree to somebody else's deployment; it is delivered at once."""
    deployment = _asked(actor, deployment)
    version, machine = deployment.program_version, deployment.machine
    _deliverable(machine, version)
    lock_machine(machine.pk)
    deployment.state = "pending"
    deployment.save()
    record(
        actor,
        "program.approve",
        machine,
        project=machine.environment.project,
        version=str(version),
        asked_by=str(deployment.deployed_by),
    )
    return _deliver(actor, deployment)


@transaction.atomic
def refuse(actor: Any, deployment: Deployment, reason: str) -> Deployment:
    """Say no to a deployment, and why."""
    if not reason.strip():
        raise ValidationError({"reason": _("say why")})
    deployment = _asked(actor, deployment)
    deployment.state, deployment.message = "refused", reason.strip()
    deployment.save()
    record(
        actor,
        "program.refuse",
        deployment.machine,
        project=deployment.machine.environment.project,
        reason=reason,
        version=str(deployment.program_version),
    )
    return deployment


def _asked(actor: Any, deployment: Deployment) -> Deployment:
    """The deployment, locked and marked as decided by this person, who may do so."""
    row = (
        Deployment.objects.select_for_update(of=("self",))
        .select_related("machine__environment__project", "program_version__program", "deployed_by")
        .get(pk=deployment.pk)
    )
    require(actor, "decide", row.machine.environment.project)
    if row.state != "asked":
        raise ValidationError(
            {
                "deployment": _("it was decided already: %(state)s")
                % {"state": row.get_state_display()}
            }
        )
    if row.deployed_by_id == actor.pk:
        raise ValidationError({"deployment": _("somebody else has to decide on your own wish")})
    row.decided_by, row.decided_at = actor, timezone.now()
    return row


def _deliverable(machine: Machine, version: ProgramVersion) -> None:
    if version.program.project_id != machine.environment.project_id:
        raise ValidationError({"program_version": _("the program belongs to another project")})
    if version.state != "ready":
        raise ValidationError(
            {
                "program_version": _(
                    "%(version)s is %(state)s; only a version that compiled can be deployed"
                )
                % {"version": version, "state": version.get_state_display()}
            }
        )
    if machine.host_id is None:
        raise ValidationError({"machine": _("%(machine)s is not built yet") % {"machine": machine}})


def _deliver(actor: Any, deployment: Deployment) -> Operation:
    version, machine = deployment.program_version, deployment.machine
    return enqueue(
        OperationKind.DELIVER_PROGRAM,
        actor=actor,
        reason=deployment.reason or f"deploy {version}",
        environment=machine.environment,
        machine=machine,
        program_version=str(version.pk),
        deployment=str(deployment.pk),
    )
