"""A process dies between any two steps of emptying a host for sleep: whoever comes after goes on."""

from __future__ import annotations

from typing import Any

import pytest
from millwright.audit.models import AuditEntry
from millwright.balancing import consolidating, draining, emptying, recommending
from millwright.balancing.models import Consolidating, HostDrain
from millwright.core.lifecycle import HostPower, OperationKind
from millwright.environments.models import Operation
from millwright.inventory.models import Host

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_emptying import (
    MINUTE,
    NOW,
    arrive,
    begun,
    fresh,
    moves,
    quiet,
)
from tests.support.plant import Plant

__all__ = ["machines", "quiet"]


class Killed(Exception):
    """The process is gone."""


@pytest.mark.parametrize("seam", ["remember", "keep_blockers", "ask_sleep", "end", "record"])
def test_killed_between_any_two_steps_it_goes_on(
    plant: Plant, quiet: Host, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    """Each step is whole or not at all: whoever comes after finds a host that is emptied once, and sleeps."""
    where = {
        "remember": (recommending, "remember"),
        "keep_blockers": (draining, "keep_blockers"),
        "ask_sleep": (emptying, "ask_sleep"),
        "end": (draining, "end"),
        "record": (emptying, "record"),
    }[seam]
    row = None if seam == "record" else begun(plant, quiet)
    real, left = getattr(*where), [1]

    def dies(*given: Any, **more: Any) -> Any:
        made = real(*given, **more)
        if left[0]:
            left[0] -= 1
            raise Killed
        return made

    monkeypatch.setattr(*where, dies)
    deaths = 0
    for step in range(12):
        now = NOW + step * MINUTE
        try:
            if HostDrain.objects.count() == 0:
                Consolidating.objects.update(last_round=None)
                consolidating.consolidation_round(now)
            emptying.emptying_round(now)
        except Killed:
            deaths += 1
        arrive()
        going = Operation.objects.live().filter(kind=OperationKind.SLEEP_HOST)
        if going.exists() and step > 6:
            Host.objects.filter(pk=quiet.pk).update(power=HostPower.ASLEEP)
            going.update(state="succeeded")
    assert deaths == 1
    row = HostDrain.objects.get()
    assert (row.state, row.machines) == ("done", 2)
    assert moves().count() == 2
    assert Operation.objects.filter(kind=OperationKind.SLEEP_HOST).count() == 1
    assert (fresh(quiet).administration, fresh(quiet).power) == ("schedulable", "asleep")
    assert AuditEntry.objects.filter(action="emptying.done").count() == 1
