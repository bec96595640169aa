"""`millwright balance history` on the API of a real portal."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone
from millwright.balancing.models import BalanceRound, Recommendation
from millwright.environments import actions
from millwright.environments.models import Machine

from tests.integration.cli.test_nouns import Shell, plant, shell
from tests.support.plant import Plant

__all__ = ["plant", "shell"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_command_lists_what_page_and_api_list(plant: Plant, shell: Shell) -> None:
    made = actions.create_request(plant.engineer, **plant.request_fields("one"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    machine = Machine.objects.get()
    now = timezone.now()
    for number, (mode, state) in enumerate(
        [("automatic", "moved"), ("shadow", "shadow"), ("recommend", "failed")]
    ):
        Recommendation.objects.create(
            machine=machine, source=plant.hosts[0], destination=plant.hosts[1], why="contention",
            text=f"number {number}", seconds=1.0, mode=mode, state=state,
            created_at=now - dt.timedelta(days=number),
        )  # fmt: skip
        BalanceRound.objects.create(
            at=now - dt.timedelta(days=number), mode=mode, level=3, moves=1 - number % 2,
            counts={"no_host": 2},
        )  # fmt: skip

    def texts(*words: str) -> list[str]:
        return [row["text"] for row in shell.json(plant.operator, "balance", "history", *words)]

    assert texts() == ["number 0", "number 1", "number 2"]
    assert texts("--mode", "real", "--outcome", "failed") == ["number 2"]
    assert texts("--machine", str(machine), "--mode", "shadow", "--limit", "5") == ["number 1"]
    day = (now - dt.timedelta(hours=12)).isoformat()
    assert texts("--from", day) == ["number 0"]
    assert texts("--limit", "2") == ["number 0", "number 1"]
    rounds = shell(plant.operator, "balance", "history", "--rounds", "--outcome", "nothing")
    assert rounds.exit_code == 0, rounds.output
    assert "Machines that ought to move, and no host takes them (2)" in rounds.output
    wrong = shell(plant.operator, "balance", "history", "--from", "2026-13-01")
    assert wrong.exit_code != 0
    assert "'2026-13-01'" in wrong.output + str(wrong.exception)
    assert shell(plant.operator, "balance", "history", "--rounds", "--pool", "x").exit_code == 2
    assert shell(plant.engineer, "balance", "history").exit_code != 0
