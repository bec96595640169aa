"""A controller whose disk died with its host: real scan and protocols, the real store, only the hosts are simulated.

From the copy that the orchestrator takes through the guest agent to the values that are back on the other host.
"""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.balancing import recovering
from millwright.balancing.models import HostRecovery
from millwright.catalog.models import TemplateVersion
from millwright.environments import actions
from millwright.environments.models import Environment, Machine, Operation
from millwright.hypervisor.fake import FakePool
from millwright.hypervisor.types import ExecResult, ProbeKind
from millwright.inventory.actions import ensure_site
from millwright.inventory.models import Host
from millwright.operations import Engine, Ports
from millwright.orchestrator.builder import WorkerBuilder
from millwright.orchestrator.retaining import Retaining
from millwright.orchestrator.service import SystemClock
from millwright.orchestrator.signing import signing_key
from millwright.orchestrator.store import DjangoStore
from millwright.shopfloor import actions as shopfloor
from millwright.shopfloor.models import Deployment, RetainedCopy
from pymodbus.client import ModbusTcpClient

from tests.support.floor import LiveHost
from tests.support.plant import Plant, build_plant, image_data
from tests.support.vplc import LocalVplc, until

TOML = 'format = 1\nname = "press"\nversion = "1"\n[[task]]\nname = "main"\ninterval_us = 10000\nprograms = ["Main"]\n'
#: Counts its starts, which is what it retains, and shows them in a register.
SOURCE = """PROGRAM Main
VAR RETAIN starts : INT; END_VAR
VAR turns AT %QW0 : INT; seen AT %QW1 : INT; once : BOOL; END_VAR
IF NOT once THEN starts := starts + 1; once := TRUE; END_IF;
turns := turns + 1;
seen := starts;
END_PROGRAM
"""
OTHER_LAYOUT = SOURCE.replace("VAR RETAIN starts", "VAR RETAIN more : LREAL; starts")


class Guest(LocalVplc):
    """A controller with a disk of its own, reached through its host's agent."""

    def start(self) -> None:
        self.start_scan()
        self.start_protocols()

    def stop(self) -> None:
        super().stop()
        self.process = self._loop = None

    def _place(self, path: str) -> Path:
        for prefix, here in (("/var/lib/vplc/", self.paths.state), ("/run/vplc/", self.paths.run)):
            if path.startswith(prefix):
                return here / path.removeprefix(prefix)
        raise AssertionError(path)

    def read(self, path: str) -> bytes | None:
        place = self._place(path)
        return place.read_bytes() if place.exists() else None

    def write(self, path: str, data: bytes) -> None:
        self._place(path).write_bytes(data)

    def command(self, *_words: str) -> ExecResult:
        raise AssertionError("nobody runs commands here")

    def seen(self) -> int:
        """Starts that its program counts, once it scans."""
        assert self.protocols is not None
        client = ModbusTcpClient("127.0.0.1", port=self.protocols.bound["modbus"])
        assert client.connect()
        try:
            turns = client.read_holding_registers(0, count=2).registers
            until(
                lambda: client.read_holding_registers(0, count=1).registers[0] > turns[0], "scans"
            )
            return int(client.read_holding_registers(1, count=1).registers[0])
        finally:
            client.close()


class Works:
    """A plant, its two hosts with a controller's disk each, and operations run here and now."""

    def __init__(self, plant: Plant, folder: Path) -> None:
        self.plant = plant
        site = str(ensure_site().pk)
        key = signing_key(folder / "signing.key")
        self.pool = FakePool(site=site)
        self.guests: dict[str, Guest] = {}
        for host in plant.hosts:
            made = LiveHost(
                host.name, site=site, clock=self.pool.clock, cpus=2, threads_per_core=1,
                numa_nodes=1, memory_bytes=8 * 2**30, pool_bytes=2**40, boot_s=0.0, abilities=frozenset(ProbeKind),
            )  # fmt: skip
            guest = self.guests[host.name] = Guest(folder / host.name, key)
            made.controller = guest  # type: ignore[assignment]
            self.pool._hosts[host.name] = made
        self.ports = Ports(
            DjangoStore(site, key, folder / "bundles"), self, SystemClock(), self, WorkerBuilder(key)
        )  # fmt: skip

    def get(self, name: str) -> Any:
        return self.pool.host(name)

    def answers(self, kind: str, address: str, port: int) -> str | None:
        return None if any(guest.process for guest in self.guests.values()) else "no route"

    def run(self, operation: Operation) -> Operation:
        Engine(self.ports).run(operation.pk)
        operation.refresh_from_db()
        return operation

    def program(self, source: str) -> Any:
        """A version, compiled and signed as the plant does it."""
        version = shopfloor.upload_program(
            self.plant.engineer, self.plant.project, "press", {"src/main.st": source, "vplc.toml": TOML}
        )  # fmt: skip
        operation = Operation.objects.get(
            kind="build_program", payload__program_version=str(version.pk)
        )
        assert self.run(operation).state == "succeeded", operation.error
        return version

    def built(self) -> Machine:
        fields = self.plant.request_fields("press-1", program_version=self.program(SOURCE))
        made = actions.create_request(self.plant.engineer, **fields)
        actions.approve_request(
            self.plant.approver, actions.submit_request(self.plant.engineer, made)
        )
        operation = self.run(Operation.objects.get(kind="provision"))
        assert operation.state == "succeeded", operation.error
        return Machine.objects.get()

    def copied(self) -> int:
        """One round of copies; how many were news."""
        return Retaining(self, 600, threading.Event()).round()

    def lose(self, machine: Machine, after_s: float) -> Host:
        """Its host burns, so long after the copy; the watcher says what it saw."""
        assert machine.host is not None
        name = machine.host.name
        self.guests[name].stop()
        shutil.rmtree(self.guests[name].paths.state)
        self.pool.host(name).kill()
        Host.objects.filter(name=name).update(health="down")
        machine.refresh_from_db()
        as_of = machine.retained_as_of or timezone.now()
        Machine.objects.update(
            observed="unknown", observed_at=as_of + dt.timedelta(seconds=after_s), recovery="recoverable"
        )  # fmt: skip
        Environment.objects.update(state="degraded")
        return Host.objects.get(name=name)

    def recovered(self, host: Host) -> tuple[Operation, Guest]:
        recovering.start(self.plant.operator, host, confirm_off=True, reason="burnt")
        assert recovering.recovery_round() == 1
        operation = self.run(Operation.objects.get(kind="recover"))
        assert operation.state == "succeeded", operation.error
        there = Machine.objects.get().host
        assert there is not None and there.name != host.name
        return operation, self.guests[there.name]

    def close(self) -> None:
        for guest in self.guests.values():
            guest.stop()


@pytest.fixture
def works(transactional_db: None, tmp_path: Path) -> Iterator[Works]:
    if shutil.which("gcc") is None:
        pytest.skip("the engine needs gcc")
    plant = build_plant()
    TemplateVersion.objects.update(image=image_data(tmp_path), image_state="ready")
    # Both hosts have a core for it.
    for host in plant.hosts:
        host.policy["realtime_cpus"] = "1"
        host.topology = {"cpus": [{"id": 0}, {"id": 1}]}
        host.save()
    for version in TemplateVersion.objects.all():
        # Without users nobody may come to its OPC UA.
        version.spec["outputs"] = {"modbus": 502, "metrics": 9400}
        version.save()
    made = Works(plant, tmp_path)
    try:
        yield made
    finally:
        made.close()


def _running_with_a_copy(works: Works) -> Machine:
    machine = works.built()
    assert machine.host is not None
    guest = works.guests[machine.host.name]
    assert guest.seen() == 1
    shm = guest.shm()
    saves = shm.retain.saves
    # One that is under way may have begun before the first scan.
    until(lambda: shm.retain.saves >= saves + 2, "two saves")
    shm.close()
    assert works.copied() == 1
    machine.refresh_from_db()
    return machine


def test_it_comes_back_with_its_values_and_everybody_is_told_of_when_they_are(
    works: Works, client: Client
) -> None:
    machine = _running_with_a_copy(works)
    client.force_login(works.plant.operator)
    page = client.get("/environments/press-1/").content.decode()
    assert "with it the controller is rebuilt" in page
    told = client.get(f"/api/v1/machines/{machine.pk}/").json()
    assert told["retained_as_of"] is not None
    host = works.lose(machine, 42.0)
    # Before anybody confirms: how old the copy is, and that the rest is lost.
    page = client.get(f"/pool/{host.name}/recover/").content.decode()
    assert "42.0 s before the host was lost; what they were after that is lost" in page
    (planned,) = client.get(f"/api/v1/hosts/{host.name}/recover/").json()["starts"]
    assert (planned["rebuild"], planned["retained_before_loss_s"]) == (True, 42.0)
    assert planned["retained_as_of"] == told["retained_as_of"]
    operation, guest = works.recovered(host)
    assert guest.seen() == 2
    kept = operation.result["retained"]
    assert (kept["outcome"], kept["result"], kept["start"]) == ("given", "kept", "warm")
    assert kept["before_loss_s"] == 42.0
    assert kept["sha256"] == RetainedCopy.objects.get().sha256
    words = operation.steps.get(name="retained").detail
    assert words.endswith("UTC, 42 s before the host was lost")
    page = client.get(f"/pool/{host.name}/recover/").content.decode()
    assert "42.0 s before the host was lost" in page.split("What was done")[1]
    assert "42.0 s before" in client.get(f"/operations/{operation.pk}/").content.decode()
    (recovery,) = client.get(f"/api/v1/recoveries/?host__name={host.name}").json()["results"]
    (started,) = recovery["machines"]
    assert started == {
        "machine": "press-1/vplc",
        "operation": str(operation.pk),
        "state": "succeeded",
        "retained": kept,
    }
    entry = AuditEntry.objects.get(action="machine.retained")
    assert (entry.details["outcome"], entry.details["generation"]) == ("given", 1)
    # From now on copies are of the new placement; the values stay out of every answer.
    until(lambda: works.copied() == 1, "a copy of the rebuilt controller")
    assert RetainedCopy.objects.first().generation == 2
    assert "data" not in kept


def test_of_another_layout_each_variable_is_found_by_its_name(works: Works) -> None:
    machine = _running_with_a_copy(works)
    # Delivered after the last copy.
    version = works.program(OTHER_LAYOUT)
    Deployment.objects.update(state="replaced")
    Deployment.objects.create(machine=machine, program_version=version, state="active")
    operation, guest = works.recovered(works.lose(machine, 3.0))
    assert guest.seen() == 2
    kept = operation.result["retained"]
    assert (kept["outcome"], kept["result"], kept["lost"]) == ("given", "migrated", [])


def test_a_damaged_copy_is_named_and_it_is_rebuilt_with_initial_values(
    works: Works, client: Client
) -> None:
    machine = _running_with_a_copy(works)
    row = RetainedCopy.objects.get()
    damaged = bytearray(row.data)
    damaged[-1] ^= 1
    RetainedCopy.objects.update(data=bytes(damaged))
    operation, guest = works.recovered(works.lose(machine, 3.0))
    assert guest.seen() == 1
    kept = operation.result["retained"]
    assert (kept["outcome"], kept["result"], kept["start"]) == ("refused", "none", "cold")
    assert "the kept copy is damaged: SHA-256" in kept["refused"][0]
    assert operation.steps.get(name="values").detail == "it begins with initial values"
    client.force_login(works.plant.operator)
    page = client.get(f"/operations/{operation.pk}/").content.decode()
    assert "it began with initial values" in page
    assert "the kept copy is damaged" in page


def test_a_person_chooses_initial_values_with_a_reason_and_the_copy_is_left(
    works: Works, client: Client
) -> None:
    machine = _running_with_a_copy(works)
    host = works.lose(machine, 3.0)
    client.force_login(works.plant.operator)
    path = f"/pool/{host.name}/recover/"
    # The copy is what is taken where nobody says anything: the box is there, and not ticked.
    box = client.get(path).content.decode().split('name="initial_values"')[1].split(">")[0]
    assert 'value="press-1/vplc"' in box
    assert "checked" not in box
    chosen = {"how": "person", "initial_values": "press-1/vplc"}
    refused = client.post(path, chosen).content.decode()
    assert "say why press-1/vplc begins with initial values" in refused
    assert not HostRecovery.objects.exists()
    client.post(path, chosen | {"reason": "the batch was thrown away"})
    row = HostRecovery.objects.get()
    assert row.initial_values == ["press-1/vplc"]
    assert "it begins with initial values, as was chosen" in client.get(path).content.decode()
    assert recovering.recovery_round() == 1
    operation = works.run(Operation.objects.get(kind="recover"))
    assert operation.state == "succeeded", operation.error
    there = Machine.objects.get().host
    assert there is not None
    assert works.guests[there.name].seen() == 1
    kept = operation.result["retained"]
    assert (kept["outcome"], kept["why"]) == ("initial", "the batch was thrown away")
    assert (kept["by"], kept["result"]) == (str(works.plant.operator), "none")
    # What was not used is there for a person who thinks better of it.
    assert RetainedCopy.objects.filter(generation=1).count() == 1
    entry = AuditEntry.objects.get(action="recovery.start")
    assert (entry.actor, entry.details["initial_values"]) == (
        works.plant.operator,
        ["press-1/vplc"],
    )
    assert entry.reason == "the batch was thrown away"
    entry = AuditEntry.objects.get(action="machine.retained")
    assert (entry.details["outcome"], entry.details["why"]) == ("initial", kept["why"])
    for page in (path, f"/operations/{operation.pk}/"):
        words = client.get(page).content.decode()
        assert f"{works.plant.operator} chose initial values: the batch was thrown away" in words


def test_without_a_copy_the_page_says_so_before(works: Works, client: Client) -> None:
    machine = works.built()
    client.force_login(works.plant.operator)
    assert "no copy: were its disk lost" in client.get("/environments/press-1/").content.decode()
    host = works.lose(machine, 3.0)
    page = client.get(f"/pool/{host.name}/recover/").content.decode()
    assert "no copy of its retained values: it begins with initial values" in page
    operation, guest = works.recovered(host)
    assert operation.result["retained"]["outcome"] == "none"
    assert guest.seen() == 1
