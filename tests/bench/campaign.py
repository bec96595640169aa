"""A fault campaign on a whole installation: `python -m tests.bench.campaign [--controller]`, as root.

What was done to it, with exact times, against what it said of it: real hosts and guests, the gateway's probes,
Prometheus and Alertmanager with the generated rules, the portal's own wall, ledger and report. Every fault is undone
before the next one. Without an option: a tiny guest that is placed like a controller is killed, cut off, frozen,
killed while Prometheus is stopped, its core overloaded, its host killed. With `--controller`: the example's
controller, whose device is stopped.

With `--pictures`, the wall as each fault stood on it, and in the end the pages of that day.

Prints the table of `tests.support.campaign` and how long each thing took; ends with 1 if anything differs. Limits of
time are wide, since what a busy machine takes is no fault: what is wanted stands in docs/SPECIFICATION.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from millwright.cli.errors import CliError
from millwright.cli.nouns.environments import LIVE
from millwright.cli.up.processes import SIMULATOR
from millwright.gateway import GatewayClient, GatewayError

from tests.support.campaign import (
    Injection,
    Reported,
    Wanted,
    compare,
    detection,
    differences,
    table,
)
from tests.support.campaign_pictures import Pictures
from tests.support.postgres import private_server
from tests.support.running import Running, eventually
from tests.support.witness import Witness, now

#: An emulated guest boots on a busy machine.
BOOT_LIMIT_S = 900.0
#: Seconds for what is wanted in 10 s, 60 s and 1 s.
TILE_S, ALERT_S, ROW_S = 60.0, 240.0, 5.0
#: A host's death closes its connection: that is known at once, on a busy machine too.
LOST_S = 1.0
#: A probe every 5 s and its limit of time, on a machine that is itself late.
PROBE_S = 30.0
#: Said of a machine that is down or unreachable, and silenced by that.
FOLLOW = frozenset({"VplcUnscraped", "VplcNotScanning", "DeviceDown"})
#: Of a host that does not answer.
HOST_FOLLOW = FOLLOW | {"HostAgentDown", "LibvirtHangs", "EnvironmentUnmeasured"}
#: A busy machine is late at any time: with cycles, with the control plane's own answers.
BUSY = frozenset(
    {"CycleStreak", "CycleDeadlineFastBurn", "CycleDeadlineSlowBurn", "PortalDown"}
    | {f"PortalAvailability{speed}Burn" for speed in ("Fast", "Slow", "Steady")}
)


class Campaign:
    """Does a thing to the plant, holds it, undoes it, waits until all is well; keeps the times."""

    def __init__(
        self,
        running: Running,
        environment: str,
        ports: dict[str, int],
        only: Sequence[str],
        pictures: Path | None,
    ) -> None:
        self.running, self.environment, self._ports = running, environment, ports
        self._only = only
        self.pictures = Pictures(running, environment, pictures)
        self.witness = Witness(running, environment)
        self.done: list[Injection] = []
        self.calm()
        self.since = now()

    def machine(self) -> dict[str, object]:
        return self.running.machine(self.environment)

    @property
    def host(self) -> str:
        return str(self.machine()["host"])

    def inject(
        self,
        name: str,
        do: Callable[[], dt.datetime | None],
        undo: Callable[[], None],
        wanted: Wanted,
        hold: Callable[[], bool] | None = None,
        limit_s: float = ALERT_S,
    ) -> None:
        """Hold until what is wanted was seen (or `limit_s` is over: then the comparison says what lacks).

        `do` may say itself when it happened. Faults that were not asked for are passed over.
        """
        if self._only and name not in self._only:
            return
        before = now()
        begin = do() or before
        seen = hold or (lambda: self._seen(wanted))
        end_of_hold = time.monotonic() + limit_s
        while not seen() and time.monotonic() < end_of_hold:
            time.sleep(0.3)
        self._picture(lambda: self.pictures.wall(name.replace(" ", "-")))
        end = now()
        undo()
        well = self.well()
        made = Injection(name, begin, end, well, wanted)
        self.done.append(made)
        print(
            f"{name}: {begin:%H:%M:%S.%f} to {end:%H:%M:%S.%f}, well at {well:%H:%M:%S.%f}",
            flush=True,
        )
        self.calm()
        self.tell([made], begin - dt.timedelta(seconds=1))

    def tell(self, injections: Sequence[Injection], since: dt.datetime) -> int:
        """Print what was injected beside what was reported since; returns how much differs."""
        witness = self.witness
        reported = Reported(
            [tile for tile in witness.tiles if tile.at >= since],
            [
                alert
                for alert in witness.alerts(since)
                if alert.begin >= since and alert.name not in BUSY
            ],
            witness.rows(since),
            witness.report(),
        )
        findings = compare(injections, reported)
        print(table(findings))
        for fault, what, took_s in detection(injections, reported):
            print(f"{fault}: {what} {took_s:+.1f} s")
        sys.stdout.flush()
        return len(differences(findings))

    def _picture(self, take: Callable[[], None]) -> None:
        """A picture that cannot be taken is a fault of the pages; the fault in the plant is undone all the same."""
        try:
            take()
        except Exception as error:
            self.pictures.faults.append(f"{type(error).__name__}: {error}")

    def pages(self) -> list[str]:
        """Pictures of the pages of this day; returns what is wrong with them by itself."""
        self._picture(self.pictures.pages)
        return self.pictures.faults

    def _seen(self, wanted: Wanted) -> bool:
        tile = wanted.tile == "up" or self.witness.state() == wanted.tile
        return tile and set(wanted.alerts) <= self.witness.standing()

    def answers(self) -> bool:
        """What is asked from outside answers: asked anew, not the product's own probes."""
        address = str(self.machine()["address"])
        try:
            with GatewayClient(self.running.settings.gateway_socket) as gateway:
                for kind, port in self._ports.items():
                    gateway.probe(kind, address, port, "/health")
            return True
        except GatewayError:
            return False

    def well(self) -> dt.datetime:
        """Wait until it answers; returns when that was."""
        eventually(self._quietly(self.answers), BOOT_LIMIT_S, "the controller's answer")
        return now()

    def calm(self) -> None:
        """Wait until the product has seen that all is well, and alerts are over."""
        quiet = {"Watchdog", *BUSY}
        eventually(
            self._quietly(
                lambda: (
                    self.witness.state() == "up"
                    and self.machine()["state"] == "running"
                    and not self.witness.standing() - quiet
                )
            ),
            BOOT_LIMIT_S,
            f"a calm plant ({self.witness.state()}, {self.witness.standing()})",
        )

    @staticmethod
    def _quietly(look: Callable[[], bool]) -> Callable[[], bool]:
        def quiet() -> bool:
            with contextlib.suppress(CliError):
                return bool(look())
            return False

        return quiet

    def start_guest(self) -> None:
        """Start what is down, as its engineer would."""
        api = self.running.api("erin")

        def idle() -> bool:
            return not any(
                row["state"] in LIVE
                for row in api.rows("operations/", environment__name=self.environment)
            )

        eventually(self._quietly(idle), BOOT_LIMIT_S, "the end of operations")
        eventually(
            self._quietly(lambda: self.machine()["state"] != "unknown"),
            BOOT_LIMIT_S,
            "the host's word about the machine",
        )
        if self.machine()["state"] != "running":
            api.post(f"environments/{self.environment}/start/", {"reason": "after a fault"})
            eventually(self._quietly(idle), BOOT_LIMIT_S, "the start")


def _qemu(domain: str) -> tuple[int, dict[str, tuple[int, set[int]]]]:
    """QEMU's process of the machine, and thread name → (thread, CPUs)."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"qemu-system" not in words[0] or not any(
                f"guest={domain},".encode() in word for word in words
            ):
                continue
            return int(folder.name), {
                (task / "comm").read_text().strip(): (
                    int(task.name),
                    os.sched_getaffinity(int(task.name)),
                )
                for task in (folder / "task").iterdir()
            }
        except (OSError, ProcessLookupError):
            continue
    raise AssertionError(f"no QEMU of {domain}")


#: Takes nine tenths of a CPU before anything else, the control vCPU too; ends with its parent.
_HOG = """
import ctypes, os, signal, sys, time
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(int(sys.argv[2])))
while True:
    end = time.monotonic() + 0.18
    while time.monotonic() < end:
        pass
    time.sleep(0.02)
"""


class Hog:
    """Overloads the core that the control vCPU has."""

    def __init__(self, domain: str) -> None:
        _pid, threads = _qemu(domain)
        (found,) = (row for name, row in threads.items() if re.fullmatch(r"CPU 1/\w+", name))
        thread, cpus = found
        self._cpu = min(cpus)
        self._priority = os.sched_getparam(thread).sched_priority + 5
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _HOG, str(self._cpu), str(self._priority)]
        )

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)


#: The tiny guest as a controller would be placed: a control vCPU with a core of its own, a fifth of it in use.
TINY = """
from millwright.catalog.actions import sync_template
from millwright.settings import get_settings
from vmtemplates import build_image, load_templates
tiny = load_templates()["tiny"]
image = build_image(tiny, get_settings().cache_dir / "images").as_dict()
image["cmdline"] += " mw.burn=20 mw.burn_cpu=1"
size = {"name": "tiny", "vcpus": [{"role": "housekeeping"}, {"role": "control"}],
        "memory_bytes": 192 * 2**20, "disk_bytes": 0}
spec = tiny.as_spec() | {"name": "campaign", "title": "Campaign", "offered": True, "class": "realtime",
                         "sizes": [size], "outputs": {"health": 80}}
sync_template(None, spec, image=image)
"""


def _provision(running: Running, name: str) -> None:
    running.script(TINY)
    erin, max_ = running.api("erin"), running.api("max")
    body = {
        "name": name,
        "project": "line-1",
        "template": "campaign",
        "size": "tiny",
        "cell": "line1",
    }
    row = erin.post("requests/", {**body, "lease_days": 30, "justification": "A campaign"})
    erin.post(f"requests/{row['id']}/submit/")
    max_.post(f"requests/{row['id']}/approve/", {"reason": "a campaign"})

    def runs() -> bool:
        with contextlib.suppress(CliError):
            return str(erin.get(f"environments/{name}/")["state"]) == "running"
        return False

    eventually(runs, BOOT_LIMIT_S, "the environment")


@contextlib.contextmanager
def _campaign(
    running: Running, environment: str, ports: dict[str, int], asked: argparse.Namespace
) -> Iterator[Campaign]:
    """A campaign; whatever it was about when it ended, the plant is well afterwards."""
    made = Campaign(running, environment, ports, asked.only, asked.pictures)
    try:
        yield made
    finally:
        made.witness.close()
        for host in running.lab.plan().hosts:
            running.lab.restore(host.name)
        for name, row in running.supervision.states().items():
            if row["state"] != "running":
                running.supervision.start(name)


def _compared(campaign: Campaign) -> int:
    """All of it once more, with what nobody injected: how many differences there are."""
    if not campaign.witness.pdf().startswith(b"%PDF-"):
        raise AssertionError("the report is no PDF")
    found = campaign.tell(campaign.done, campaign.since)
    faults = campaign.pages()
    for fault in faults:
        print(f"pages: {fault}", flush=True)
    return found + len(faults)


def hosts_guests_and_networks(bare: Running, asked: argparse.Namespace) -> int:
    _provision(bare, "line-7")
    lab, supervision = bare.lab, bare.supervision
    with _campaign(bare, "line-7", {"http": 80}, asked) as campaign:
        domain = f"mw-line-7-{campaign.machine()['name']}"

        def kill_guest() -> dt.datetime:
            pid = _qemu(domain)[0]
            at = now()
            os.kill(pid, signal.SIGKILL)
            return at

        campaign.inject(
            "guest killed",
            kill_guest,
            campaign.start_guest,
            Wanted(
                tile="down",
                tile_s=TILE_S,
                causes=frozenset({"unplanned"}),
                begin_s=ROW_S,
                alerts={"EnvironmentDown": ALERT_S},
                may=BUSY,
                why="crashed",
            ),
        )
        campaign.inject(
            "cell network cut",
            lambda: told(lab.cut(campaign.host, only="cell")),
            lambda: told(lab.restore(campaign.host)),
            Wanted(
                tile="down",
                tile_s=TILE_S,
                # Nothing that the control plane did or saw explains it: people are asked.
                causes=frozenset({"unknown", "small_stop"}),
                begin_s=PROBE_S,
                alerts={"EnvironmentDown": ALERT_S},
                may=BUSY,
            ),
        )
        campaign.inject(
            "host frozen",
            lambda: told(lab.freeze(campaign.host)),
            lambda: told(lab.restore(campaign.host)),
            Wanted(
                tile="down",
                tile_s=TILE_S,
                causes=frozenset({"unplanned"}),
                begin_s=PROBE_S,
                alerts={"HostDown": ALERT_S, "EnvironmentDown": ALERT_S},
                silenced=frozenset({"EnvironmentDown"}),
                may=HOST_FOLLOW | BUSY,
                why=campaign.host,
            ),
        )

        def without_prometheus() -> dt.datetime:
            supervision.stop("prometheus")
            return kill_guest()

        def with_prometheus() -> None:
            supervision.start("prometheus")
            campaign.start_guest()

        campaign.inject(
            "Prometheus stopped, guest killed meanwhile",
            without_prometheus,
            with_prometheus,
            Wanted(
                tile="down",
                tile_s=TILE_S,
                causes=frozenset({"unplanned"}),
                begin_s=ROW_S,
                alerts={"PrometheusDown": ALERT_S},
                may=BUSY | {"EnvironmentDown"},
                why="crashed",
            ),
        )
        hog = Hog(domain)
        campaign.inject(
            "pinned core overloaded",
            hog.start,
            hog.end,
            Wanted(alerts={"RunQueueWait": 480.0}, may=BUSY),
            limit_s=480.0,
        )
        campaign.inject(
            "host killed",
            lambda: told(lab.kill(campaign.host)),
            lambda: told(lab.restore(campaign.host), campaign.start_guest()),
            Wanted(
                tile="down",
                tile_s=TILE_S,
                causes=frozenset({"unplanned"}),
                begin_s=LOST_S,
                alerts={"HostDown": ALERT_S, "EnvironmentDown": ALERT_S},
                silenced=frozenset({"EnvironmentDown"}),
                may=HOST_FOLLOW | BUSY,
                why=campaign.host,
            ),
        )
        return _compared(campaign)


def told(*_words: object) -> None:
    """What the lab says of a fault is not what is compared."""


def a_controller_and_its_device(running: Running, asked: argparse.Namespace) -> int:
    name, supervision = "filling-line-1", running.supervision
    with _campaign(running, name, {"modbus": 502, "opcua": 4840}, asked) as campaign:
        campaign.inject(
            "device stopped",
            lambda: supervision.stop(SIMULATOR),
            lambda: supervision.start(SIMULATOR),
            Wanted(alerts={"DeviceDown": ALERT_S}, may=BUSY | {"RunQueueWait"}),
        )
        return _compared(campaign)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.campaign", description=__doc__)
    parser.add_argument("--controller", action="store_true", help="the example's, and its device")
    parser.add_argument("--only", action="append", default=[], help="this fault, by its name")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the pages")
    asked = parser.parse_args()
    with private_server() as postgres:
        running = Running(postgres, "_campaign")
        try:
            running.start(*([] if asked.controller else ["--bare"]))
            part = a_controller_and_its_device if asked.controller else hosts_guests_and_networks
            found = part(running, asked)
        finally:
            running.command("down")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
