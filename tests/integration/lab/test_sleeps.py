"""A real host falls asleep by its agent, is gone, is woken by a request that has room there alone, and takes it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from millwright.environments.models import Operation, StateTransition
from millwright.environments.placement import preview
from millwright.inventory.models import Drift, Host
from millwright.inventory.power import ask_sleep

from tests.support.lab import RunningLab
from tests.support.orchestrator import OrchestratorProcess
from tests.support.site import Site, lay_out

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[3]
#: The lab's own agent, for the lab of these tests.
AGENT = """#!/bin/sh
cd {root} && exec {python} -c '
import sys
from pathlib import Path
from millwright.lab import Lab
from millwright.lab.agent import answer
code, text = answer(Lab(Path("{lab}"), Path("{pki}"), {index}), sys.stdin)
print(text)
raise SystemExit(code)'
"""


@pytest.fixture
def site(transactional_db: None, real_lab: RunningLab) -> Iterator[Site]:
    yield lay_out(real_lab)
    real_lab.heal()


@pytest.fixture
def start(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], OrchestratorProcess]]:
    agents, lab = tmp_path / "agents", site.lab.lab
    agents.mkdir()
    words = {
        "root": ROOT,
        "python": sys.executable,
        "lab": lab.root,
        "pki": lab.root.parent / "pki",
    }
    (agents / "fence_mwlab").write_text(AGENT.format(**words, index=lab.index))
    (agents / "fence_mwlab").chmod(0o755)
    monkeypatch.setenv("MILLWRIGHT_FENCE_AGENT_PATH", f"{agents}:{os.environ['PATH']}")
    home = tmp_path / "home"
    home.mkdir()
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(OrchestratorProcess(home)))


def test_a_host_sleeps_is_gone_and_a_request_wakes_it_and_is_built_there(
    site: Site, start: Callable[[], OrchestratorProcess]
) -> None:
    for row in Host.objects.all():
        sleeps = {
            "fence": {"agent": "fence_mwlab", "options": {"plug": row.name}},
            "sleep": {"by": "agent", "wake": "agent", "wake_s": 60},
        }
        Host.objects.filter(pk=row.pk).update(policy=row.policy | sleeps)
    process = start()
    site.until(lambda: process.active, "active")
    site.hosts_up("hosts are up")

    def ended(operation: Operation) -> bool:
        operation.refresh_from_db()
        return operation.state in ("succeeded", "failed", "cancelled")

    sleeper, other = Host.objects.order_by("-name")[:2]
    operation = ask_sleep(site.plant.operator, sleeper, reason="night")
    site.until(lambda: ended(operation), f"asleep; {process.log()}", 240.0)
    assert operation.state == "succeeded", (operation.error, list(operation.steps.values()))
    sleeper.refresh_from_db()
    assert sleeper.power == "asleep"
    with pytest.raises(subprocess.CalledProcessError):
        site.virsh(sleeper.name, "list")
    # Nothing is placed there, and nobody says that it is lost.
    spec = site.plant.template.spec
    for verdict in preview(spec, "tiny", cell="line1", strict=False).verdicts:
        codes = {str(reason.code) for reason in verdict.reasons}
        assert ("host_asleep" in codes) == (verdict.host == sleeper.name)
    Host.objects.filter(pk=other.pk).update(administration="cordoned")
    sleeper.refresh_from_db()
    assert (sleeper.power, sleeper.health) == ("asleep", "up")
    assert not StateTransition.objects.filter(
        subject_id=str(sleeper.pk), aspect="health", after__in=("suspect", "down")
    ).exists()
    assert not Drift.objects.filter(host=sleeper).exists()

    # A request has room there alone: it has the host woken, waits for it and is built there.
    environment = site.request("woken")
    provision = Operation.objects.get(kind="provision", environment=environment)
    text = f"waiting for {sleeper.name}, which is being woken"
    site.until(lambda: provision.refresh_from_db() or text in provision.progress, "it waits")
    site.until(lambda: ended(provision), f"built; {process.log()}", 480.0)
    assert provision.state == "succeeded", (provision.error, list(provision.steps.values()))
    waking = Operation.objects.get(kind="wake_host")
    assert (waking.state, waking.requested_by, waking.host) == ("succeeded", None, sleeper)
    machine = environment.machines.get()
    assert machine.host == sleeper
    assert machine.domain_name in site.virsh(sleeper.name, "list", "--state-running", "--name")
    site.remove()
