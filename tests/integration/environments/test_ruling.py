"""Placement rules: who writes them, what is refused and why, the page while it is typed, the next round."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import recommending, ruling
from millwright.balancing.models import PlacementRule, Recommendation
from millwright.balancing.ruling import Draft
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import ConflictLevel
from millwright.environments import actions, moving
from millwright.environments.models import Machine, Operation
from millwright.inventory.models import Host
from millwright.operations import StepFailed
from millwright.orchestrator.store import DjangoStore

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant, image_data

__all__ = ["machines"]
APART = Draft("apart", "apart", ("one/vplc", "two/vplc"))


@pytest.fixture
def three(plant: Plant, machines: list[Machine]) -> list[Machine]:
    """A third machine: with two hosts there is something that cannot be."""
    made = actions.create_request(plant.engineer, **plant.request_fields("three"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    Machine.objects.update(service_class="shared", movability="free", cpu_assignment={})
    Machine.objects.update(host=plant.hosts[0], observed="running")
    return list(Machine.objects.order_by("environment__name"))


def test_writing_changing_switching_and_removing_leave_their_trail(
    plant: Plant, machines: list[Machine]
) -> None:
    row = ruling.save_rule(plant.operator, APART, reason="redundant pair")
    assert [str(machine) for machine in row.machines.all()] == ["one/vplc", "two/vplc"]
    softer = Draft("pair", "spread", ("one", "two"), hard=False, weight=2.5, purpose="racks")
    changed = ruling.save_rule(plant.administrator, softer, row)
    assert (changed.pk, changed.name, changed.weight) == (row.pk, "pair", 2.5)
    ruling.set_enabled(plant.operator, changed, False)
    ruling.set_enabled(plant.operator, changed, True)
    ruling.remove_rule(plant.operator, changed, "line is gone")
    assert not PlacementRule.objects.exists()
    told = AuditEntry.objects.filter(action__startswith="rule.").order_by("pk")
    assert [entry.action for entry in told] == [
        "rule.create",
        "rule.change",
        "rule.disable",
        "rule.enable",
        "rule.remove",
    ]
    assert told[1].details["before"]["kind"] == "apart"
    assert told[4].details["before"]["machines"] == ["one/vplc", "two/vplc"]


@pytest.mark.parametrize(
    ("draft", "field", "words"),
    [
        (Draft("No Good", "apart", APART.machines), "name", "small letters"),
        (Draft("x", "beside", APART.machines), "kind", "one of together"),
        (Draft("x", "apart", ("one", "nobody")), "machines", "no machine is named 'nobody'"),
        (Draft("x", "apart", ("one",)), "machines", "at least two machines"),
        (Draft("x", "on_hosts", ("one",)), "hosts", "at least one host"),
        (Draft("x", "on_hosts", ("one",), ("h9",)), "hosts", "no host of the pool is named 'h9'"),
        (Draft("x", "apart", APART.machines, ("mw0-h1",)), "hosts", "only rules about hosts"),
        (Draft("x", "apart", APART.machines, hard=False, weight=0), "weight", "above 0"),
        (Draft("x", "apart", APART.machines, minimum=2), "minimum", "only a spread"),
        (Draft("x", "spread", APART.machines, minimum=3), "minimum", "from 2 to"),
        (Draft("x", "apart", APART.machines, purpose="x" * 301), "purpose", "at most 300"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(
    plant: Plant, machines: list[Machine], draft: Draft, field: str, words: str
) -> None:
    with pytest.raises(ValidationError) as told:
        ruling.save_rule(plant.operator, draft)
    assert words in " ".join(told.value.message_dict[field])


def test_a_name_is_taken_once_and_only_keepers_of_the_pool_write(
    plant: Plant, machines: list[Machine]
) -> None:
    row = ruling.save_rule(plant.operator, APART)
    with pytest.raises(ValidationError, match="already"):
        ruling.save_rule(plant.operator, APART)
    for person in (plant.engineer, plant.approver, plant.stranger):
        for change in (
            lambda who=person: ruling.save_rule(who, APART, row),
            lambda who=person: ruling.set_enabled(who, row, False),
            lambda who=person: ruling.remove_rule(who, row),
        ):
            with pytest.raises(PermissionRefused):
                change()


def test_what_can_never_hold_is_refused_with_rules_and_machines_unless_it_is_kept_out_of_force(
    plant: Plant, three: list[Machine]
) -> None:
    crowd = Draft("crowd", "apart", ("one", "two", "three"))
    with pytest.raises(ValidationError) as told:
        ruling.save_rule(plant.operator, crowd)
    (text,) = told.value.message_dict["rules"]
    assert "crowd keeps one/vplc, two/vplc, three/vplc on different hosts" in text
    assert "2 hosts: mw0-h1, mw0-h2" in text
    kept = ruling.save_rule(plant.operator, Draft("crowd", "apart", crowd.machines, enabled=False))
    with pytest.raises(ValidationError, match="can never hold"):
        ruling.set_enabled(plant.operator, kept, True)
    # Another rule makes no difference to it, and takes no blame.
    ruling.save_rule(plant.operator, Draft("pair", "together", ("one", "two")))
    verdict = ruling.check(Draft("split", "apart", ("one", "two")))
    assert verdict.refused
    assert set(verdict.conflicts[0].rules) == {"pair", "split"}


def test_a_host_that_is_away_or_gone_is_named(plant: Plant, three: list[Machine]) -> None:
    Host.objects.filter(name="mw0-h2").update(health="down")
    (away,) = ruling.check(APART).conflicts
    assert away.level is ConflictLevel.NOW
    assert "mw0-h2 is down" in away.message
    row = ruling.save_rule(plant.operator, Draft("on", "on_hosts", ("one",), ("mw0-h1", "mw0-h2")))
    plant.hosts[1].delete()
    row.refresh_from_db()
    assert row.gone == ["mw0-h2"]
    assert ruling.check(ruling.draft_of(row), row).errors["hosts"] == [
        "no host of the pool is named 'mw0-h2'"
    ]


def test_the_list_filters_pages_and_shows_others_no_names(
    plant: Plant,
    three: list[Machine],
    client: Client,
    django_assert_max_num_queries: Any,
) -> None:
    client.force_login(plant.operator)
    assert "No rules" in client.get("/rules/").content.decode()
    for number in range(30):
        draft = Draft(f"wish-{number:02}", "apart", ("one", "two"), hard=False)
        ruling.save_rule(plant.operator, draft)
    ruling.save_rule(plant.operator, Draft("on-h1", "on_hosts", ("three",), ("mw0-h1",)))
    with django_assert_max_num_queries(14):
        first = client.get("/rules/").content.decode()
    assert "1 to 25 of 31" in first
    assert "not kept now" in first
    assert "wish-29" in client.get("/rules/?page=2").content.decode()
    assert "wish-" not in client.get("/rules/?kind=on_hosts").content.decode()
    assert "wish-" not in client.get("/rules/?q=mw0-h1").content.decode()
    assert "on-h1" in client.get("/rules/?q=three").content.decode()
    assert "No rule is like that" in client.get("/rules/?force=off").content.decode()
    # Somebody of another project sees the rules about his own machines, and no foreign name.
    Machine.objects.get(environment__name="two").environment.__class__.objects.filter(
        name="two"
    ).update(project=plant.other)
    client.force_login(plant.stranger)
    page = client.get("/rules/").content.decode()
    assert "wish-00" in page
    assert "two/vplc" in page
    assert "one/vplc" not in page
    assert "and 1 of another project" in page
    assert "on-h1" not in page
    assert 'href="/rules/new/"' not in page


def test_conflicts_come_while_it_is_typed(
    plant: Plant, three: list[Machine], client: Client, django_assert_max_num_queries: Any
) -> None:
    client.force_login(plant.operator)
    ruling.save_rule(plant.operator, Draft("pair", "together", ("one", "two")))
    fields: dict[str, Any] = {"name": "", "kind": "apart", "machine": ["one/vplc"], "hard": "1"}
    told = client.post("/rules/check/", fields).content.decode()
    assert "name at least two machines" in told
    fields["machine"] = ["one/vplc", "two/vplc"]
    with django_assert_max_num_queries(16):
        told = client.post("/rules/check/", fields).content.decode()
    assert "impossible" in told
    assert "pair keeps one/vplc, two/vplc on one host" in told
    assert 'href="/rules/pair/edit/"' in told
    fields["machine"] = ["one/vplc", "three/vplc"]
    assert "can hold together" in client.post("/rules/check/", fields).content.decode()
    found = client.post("/rules/choices/", {**fields, "find": "tw"}).content.decode()
    assert found.index("one/vplc") < found.index("two/vplc")
    assert found.count("checked") == 2
    # Without scripts the same form finds machines and saves.
    page = client.post("/rules/new/", {**fields, "find": "two", "verb": "find"}).content.decode()
    assert "two/vplc" in page
    refused = client.post(
        "/rules/new/",
        {
            **fields,
            "name": "no",
            "machine": ["one/vplc", "two/vplc"],
            "verb": "save",
            "enabled": "1",
        },
    )
    assert refused.status_code == 422
    assert "It was not taken" in refused.content.decode()
    saved = client.post("/rules/new/", {**fields, "name": "yes", "verb": "save", "enabled": "1"})
    assert saved.status_code == 302
    assert PlacementRule.objects.get(name="yes").enabled
    client.post("/rules/yes/act/", {"verb": "disable"})
    assert not PlacementRule.objects.get(name="yes").enabled
    assert "one/vplc, three/vplc" in client.get("/rules/yes/remove/").content.decode()
    client.post("/rules/yes/remove/")
    assert not PlacementRule.objects.filter(name="yes").exists()


def test_the_interface_for_programs(plant: Plant, three: list[Machine], client: Client) -> None:
    client.force_login(plant.operator)
    body = {"name": "apart", "kind": "apart", "machines": ["one", "two"]}

    def call(verb: str, path: str, data: Any = None) -> Any:
        return getattr(client, verb)(f"/api/v1/rules/{path}", data, "application/json")

    made = call("post", "", body)
    assert made.status_code == 201, made.content
    assert made.json()["machines"] == ["one/vplc", "two/vplc"]
    verdict = call("post", "check/", {**body, "name": "t", "kind": "together"}).json()
    assert verdict["refused"]
    assert sorted(verdict["conflicts"][0]["rules"]) == ["apart", "t"]
    assert verdict["conflicts"][0]["machines"] == ["one/vplc", "two/vplc"]
    refused = call("post", "", {**body, "name": "t", "kind": "together"})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "rules"
    changed = call("put", "apart/", {**body, "hard": False, "weight": 3})
    assert changed.json()["weight"] == 3
    assert call("post", "apart/disable/").json()["enabled"] is False
    listed = client.get("/api/v1/rules/?enabled=false&machines__environment__name=one").json()
    assert [row["name"] for row in listed["results"]] == ["apart"]
    assert call("delete", "apart/").status_code == 204
    client.force_login(plant.engineer)
    assert call("post", "", body).status_code == 403
    assert client.get("/api/v1/rules/").json()["results"] == []


def test_the_next_round_keeps_it(plant: Plant, three: list[Machine], client: Client) -> None:
    client.force_login(plant.operator)
    recommending.set_mode(plant.operator, "recommend", level=1)
    now = timezone.now()
    assert recommending.balance_round(now) == 0
    form = {"name": "apart", "kind": "apart", "machine": ["one/vplc", "two/vplc"], "hard": "1"}
    client.post("/rules/new/", {**form, "enabled": "1", "verb": "save"})
    assert recommending.balance_round(now + dt.timedelta(minutes=6)) == 1
    row = Recommendation.objects.get(state="open")
    assert str(row.machine) in ("one/vplc", "two/vplc")
    assert "kept apart" in row.text
    # Out of force, the wish is gone with the next round.
    client.post("/rules/apart/act/", {"verb": "disable"})
    assert recommending.balance_round(now + dt.timedelta(minutes=12)) == 0
    assert not Recommendation.objects.filter(state="open").exists()


def test_nothing_is_moved_or_placed_against_it(
    plant: Plant, three: list[Machine], tmp_path: Path
) -> None:
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    store = DjangoStore("site-1", Ed25519PrivateKey.generate(), tmp_path)
    one, _third, two = three
    Machine.objects.filter(pk=two.pk).update(host=plant.hosts[1])
    ruling.save_rule(plant.operator, APART)
    move = moving.move_machine(plant.operator, one, plant.hosts[1])
    with pytest.raises(StepFailed, match="mw0-h2: placement rule apart forbids it"):
        store.prepare_move(move.pk, one.pk, "mw0-h2")
    with pytest.raises(StepFailed, match="no host can take it"):
        store.prepare_move(move.pk, one.pk, None)
    # Built anew, it goes where the rule lets it.
    Machine.objects.filter(pk=one.pk).update(host=None)
    store.claim(one.pk, uuid4())
    assert Machine.objects.get(pk=one.pk).host == plant.hosts[0]
