"""Machines that the watcher lost sight of are asked at once, and either answer reaches the ledger."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from millwright.core.lifecycle import HostHealth, MachineObserved
from millwright.environments.models import Machine
from millwright.gateway import GatewayError
from millwright.hypervisor import HostUnreachable
from millwright.inventory.models import Host
from millwright.orchestrator import outside
from millwright.orchestrator.outside import Outside
from millwright.orchestrator.promises import Promises
from millwright.orchestrator.watcher import Watcher
from millwright.service_levels import ledger
from millwright.service_levels.models import Interval
from millwright.settings import get_settings

from tests.support.history import machine_of, put_in_service, second, write
from tests.support.plant import Plant

pytestmark = pytest.mark.django_db


class Gateway:
    """Answers what the test says, once it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.ok, self.at, self.away = True, 0.0, False

    def __call__(self, _socket: Any) -> Gateway:
        return self

    def __enter__(self) -> Gateway:
        if self.away:
            raise GatewayError("no socket")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def probe_now(self, machines: list[str]) -> int:
        self.asked.append(machines)
        return len(machines)

    def probes(self, _after: int) -> dict[str, Any]:
        told = [
            {"machine": key, "kind": "modbus", "ok": self.ok, "at": self.at, "detail": "timed out"}
            for keys in self.asked
            for key in keys
        ]
        return {"life": "one", "number": 1, "missed": 0, "changes": told, "latest": []}


class Dead:
    """Hosts of which none answers."""

    site = "s"

    def get(self, name: str) -> Any:
        raise HostUnreachable("connection refused", host=name)


@pytest.mark.parametrize("answers", [True, False])
def test_out_of_sight_they_are_asked_at_once(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    machine = machine_of(plant)
    put_in_service(machine)
    gateway = Gateway()
    monkeypatch.setattr(outside, "GatewayClient", gateway)
    stop = threading.Event()
    probes = Outside(get_settings(), Promises(reader=lambda _now: ()), stop)
    # The watcher itself finds that the host does not answer.
    Watcher(Dead(), stop, probes.lost_sight).look("mw0-h1")  # type: ignore[arg-type]  # no more is asked
    assert Machine.objects.get(pk=machine.pk).observed == MachineObserved.UNKNOWN
    assert Host.objects.get(name="mw0-h1").health == HostHealth.SUSPECT

    gateway.away = True
    probes._ask_lost()  # it is asked in its turn then
    gateway.away = False
    probes._ask_lost()
    assert gateway.asked == []
    probes.lost_sight([machine.pk])
    probes._ask_lost()
    probes._ask_lost()
    assert gateway.asked == [[str(machine.pk)]]

    # The same in the past, so that the ledger can be read.
    write(machine, 1000, "unknown", cause="mw0-h1 does not answer")
    Machine.objects.filter(pk=machine.pk).update(observed_at=second(1000))
    gateway.ok, gateway.at = answers, second(1003).timestamp()
    assert probes.fetch() == 1
    ledger.read_history(second(1010))
    rows = Interval.objects.current().filter(begin=second(1000)).values_list("kind", "end")
    # Up all the same, since it answered; or down since it was lost.
    assert list(rows) == [("missing", second(1003)) if answers else ("down", None)]
