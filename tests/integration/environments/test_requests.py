"""From draft to approval: what is written, what is refused, and with which words."""

import pytest
from django.core.exceptions import ValidationError
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.core.lifecycle import LifecycleError
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Operation, StateTransition
from millwright.inventory.models import Host

from tests.support.plant import Plant


def submitted(plant: Plant, name: str = "filling-line-1", **changes):
    request = actions.create_request(plant.engineer, **plant.request_fields(name, **changes))
    return actions.submit_request(plant.engineer, request)


def test_an_approved_request_becomes_an_environment_and_an_operation(plant: Plant) -> None:
    request = submitted(plant)
    assert request.state == "submitted"
    assert request.placement["chosen"] == "mw0-h1"
    actions.approve_request(plant.approver, request, "go")
    environment = Environment.objects.get()
    machine = Machine.objects.get()
    operation = Operation.objects.get()
    assert (environment.name, environment.state, environment.owner) == (
        "filling-line-1",
        "reserved",
        plant.engineer,
    )
    assert (machine.domain_name, machine.recovery, machine.realtime_cores) == (
        "mw-filling-line-1-vplc",
        "autonomous",
        1,
    )
    assert (operation.kind, operation.state, operation.machine) == ("provision", "queued", machine)
    assert "approved by max" in operation.reason
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))[-3:] == [
        "request.create",
        "request.submit",
        "request.approve",
    ]
    assert list(StateTransition.objects.order_by("pk").values_list("before", "after")) == [
        ("draft", "submitted"),
        ("submitted", "approved"),
    ]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": "Line 1"}, "name", "lower-case letters"),
        ({"size": "huge"}, "size", "there are: small"),
        ({"lease_days": 9999}, "lease_days", "1 to 365"),
        ({"cell": None}, "cell", "needs a cell"),
    ],
)
def test_a_wrong_request_names_field_value_and_rule(
    plant: Plant, changes: dict, field: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        actions.create_request(plant.engineer, **{**plant.request_fields(), **changes})
    assert words in " ".join(caught.value.message_dict[field])


def test_the_quota_is_refused_with_resource_and_numbers(plant: Plant) -> None:
    for name in ("one", "two"):
        actions.approve_request(plant.approver, submitted(plant, name))
    with pytest.raises(ValidationError) as caught:
        submitted(plant, "three")
    assert caught.value.message_dict["quota"] == ["line-1: environments would be 3 of 2 (2 in use)"]


def test_what_cannot_be_placed_is_refused_with_the_reasons_per_host(plant: Plant) -> None:
    Host.objects.filter(name="mw0-h1").update(administration="cordoned")
    with pytest.raises(ValidationError) as caught:
        submitted(plant, strict_realtime=True)
    message = caught.value.message_dict["placement"][0]
    assert "mw0-h1: the host is cordoned" in message
    assert "mw0-h2: realtime cores: 1 wanted, 0 free of 0" in message


def test_nobody_decides_his_own_request(plant: Plant) -> None:
    from millwright.accounts.models import Membership

    Membership.objects.create(project=plant.project, user=plant.engineer, role="approver")
    with pytest.raises(ValidationError, match="nobody decides his own"):
        actions.approve_request(plant.engineer, submitted(plant))


def test_an_engineer_does_not_approve(plant: Plant) -> None:
    request = submitted(plant)
    with pytest.raises(PermissionRefused, match="erin may not decide in project 'line-1'"):
        actions.approve_request(plant.engineer, request)


def test_a_stranger_may_not_request_in_another_project(plant: Plant) -> None:
    with pytest.raises(PermissionRefused):
        actions.create_request(plant.stranger, **plant.request_fields())


def test_a_rejection_wants_a_reason_and_is_final(plant: Plant) -> None:
    request = submitted(plant)
    with pytest.raises(ValidationError, match="say why"):
        actions.reject_request(plant.approver, request, " ")
    actions.reject_request(plant.approver, request, "no budget")
    with pytest.raises(LifecycleError):
        actions.approve_request(plant.approver, request)


def test_small_requests_are_approved_by_policy(plant: Plant) -> None:
    spec = {
        **plant.template.spec,
        "name": "tool",
        "class": "shared",
        "sizes": [{"name": "small", "vcpus": 1, "memory_bytes": 2**29, "disk_bytes": 2**30}],
    }
    from millwright.catalog.actions import sync_template

    plant.project.auto_approve_vcpus = 2
    plant.project.save()
    request = submitted(plant, template_version=sync_template(None, spec))
    assert (request.state, request.decided_by) == ("approved", None)
    assert Operation.objects.get().kind == "provision"


def test_a_machine_has_one_operation_at_a_time(plant: Plant) -> None:
    actions.approve_request(plant.approver, submitted(plant))
    with pytest.raises(ValidationError, match="is busy: provision is queued"):
        actions.remove_environment(plant.engineer, Environment.objects.get())


def test_a_decision_is_taken_once(plant: Plant) -> None:
    """Not even after its environment is gone does an old approval build another."""
    request = submitted(plant)
    actions.approve_request(plant.approver, request)
    Environment.objects.update(state="removed")
    with pytest.raises(LifecycleError, match="'approved' may not follow 'approved'"):
        actions.approve_request(plant.approver, request)
    refused = submitted(plant, "second")
    actions.reject_request(plant.approver, refused, "no budget")
    with pytest.raises(LifecycleError):
        actions.reject_request(plant.approver, refused, "another reason")
    refused.refresh_from_db()
    assert refused.decision_reason == "no budget"
    assert Environment.objects.count() == 1
