"""A season of hosts that sleep, written in bulk into a generated plant, and what is asked of it.

Every night of a hundred days hosts fell asleep and woke, each by an operation of rounds; some sleep now, one is being
emptied so that it can. Two sizes of machine have room on no host that is awake: one where that is called off, and one
only where a host is woken.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import F
from django.utils import timezone
from millwright.balancing import consolidating
from millwright.balancing.models import DemandHour, HostDrain
from millwright.catalog.models import TemplateVersion
from millwright.core.balancing import begins, parts_of, say
from millwright.core.lifecycle import OperationKind
from millwright.environments.models import Machine, Operation, Request, StateTransition
from millwright.inventory.models import Cell, CpuClaim, Host

from tests.bench.portal.generate import GIB, asleep_of, write

HOUR, DAY, MINUTE = dt.timedelta(hours=1), dt.timedelta(days=1), dt.timedelta(minutes=1)
NIGHTS = 100
#: The host that is being emptied, and machines that are still on it.
EMPTIED, LEFT = "host-0003", 4
#: Cores of its own of a machine that has room only there, and of one that has it only on a sleeping host.
WIDE, WHOLE = 24, 30
SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc", "wake_s": 180}


def season(seed: int = 2) -> dict[str, int]:
    """Write it; returns the number of rows by name. The plant's hosts that `asleep_of` names are empty."""
    dice = random.Random(seed)  # noqa: S311 - a plant to measure, no secret
    now = timezone.now()
    hosts = list(Host.objects.filter(name__startswith="host-").order_by("name"))
    sleepers = [host for n, host in enumerate(hosts) if asleep_of(n)]
    for n, host in enumerate(hosts):
        # Of some nobody knows what they take.
        watts = {"watts": 150 + n % 10 * 20} if n % 30 != 7 else {}
        host.policy = host.policy | {"sleep": SLEEP | watts, "overcommit_ratio": 100}
        host.accel = "kvm"
        host.capabilities = {name: {"verdict": "yes"} for name in ("kvm", "fifo")}
    for host in sleepers:
        host.power, host.power_since, host.power_until = "asleep", now - 2 * HOUR, now + 6 * HOUR
        host.power_reason = "not needed before 06:00"
    changed = (
        "policy",
        "accel",
        "capabilities",
        "power",
        "power_since",
        "power_until",
        "power_reason",
    )
    Host.objects.bulk_update(hosts, changed, batch_size=500)
    nights = [(host, n) for host in sleepers for n in range(NIGHTS)]
    written = {
        "changes of power": write(StateTransition, _changes(nights, now)),
        "operations of sleep": write(Operation, _orders(nights, now, dice)),
        "hours": write(DemandHour, _hours(now, dice)),
    }
    Operation.objects.filter(host__isnull=False).update(created_at=F("ended_at") - 2 * MINUTE)
    _empty(hosts, now)
    _told(hosts, now)
    version = TemplateVersion.objects.get(template__name="vplc-bench")
    (small, *_others) = version.spec["sizes"]
    for name, cores in (("wide", WIDE), ("whole", WHOLE)):
        roles = [{"role": "housekeeping"}, *({"role": "control"} for _core in range(cores))]
        version.spec["sizes"].append(small | {"name": name, "vcpus": roles})
    version.save()
    return written


def _night(n: int, now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """When it fell asleep and woke; the last one is under way."""
    begin = now - 2 * HOUR - n * DAY
    return begin, begin + 8 * HOUR


def _changes(nights: list[tuple[Host, int]], now: dt.datetime) -> Iterator[StateTransition]:
    for host, n in nights:
        fell, woke = _night(n, now)
        before = "awake"
        for at, after in (
            (fell - 2 * MINUTE, "falling_asleep"),
            (fell, "asleep"),
            (woke - 3 * MINUTE, "waking"),
            (woke, "awake"),
        ):
            if at <= now:
                yield StateTransition(
                    at=at, subject_type="host", subject_id=str(host.pk), subject_name=host.name,
                    aspect="power", before=before, after=after,
                )  # fmt: skip
            before = after


def _orders(
    nights: list[tuple[Host, int]], now: dt.datetime, dice: random.Random
) -> Iterator[Operation]:
    for host, n in nights:
        fell, woke = _night(n, now)
        told = {"host": host.name, "until": (woke + 15 * MINUTE).isoformat()}
        # Two minutes before each has ended it began.
        yield Operation(
            kind=OperationKind.SLEEP_HOST, state="succeeded", host=host, payload=told, ended_at=fell
        )
        if n:
            yield Operation(
                kind=OperationKind.WAKE_HOST,
                state="succeeded" if dice.randrange(50) else "failed",
                host=host,
                payload={"host": host.name},
                ended_at=woke,
            )


def _hours(now: dt.datetime, dice: random.Random) -> Iterator[DemandHour]:
    """As many as are kept; for the first week nothing was expected."""
    first = begins(now - consolidating.KEPT) + HOUR
    for n in range(int((begins(now) - first) / HOUR) + 1):
        at = first + n * HOUR
        cpus = 9000 + 4000 * (6 <= at.hour < 18) + dice.uniform(-500, 500)
        expected = cpus + dice.uniform(-300, 900) if n >= 7 * 24 else None
        yield DemandHour(
            at=at,
            cpus=cpus,
            memory_bytes=10_000 * GIB,
            expected_cpus=expected,
            expected_memory_bytes=10_000 * GIB if expected is not None else None,
            awake_cpus=27_000.0,
            awake_memory_bytes=200_000 * GIB,
            lacked=n % 200 == 199,
        )


def _empty(hosts: list[Host], now: dt.datetime) -> None:
    """One host is being emptied: all but a few have left it. Of every day of the season one is over."""
    host = next(row for row in hosts if row.name == EMPTIED)
    others = [row for n, row in enumerate(hosts) if row != host and n % 50 and not asleep_of(n)]
    machines = list(Machine.objects.filter(host=host).order_by("pk"))
    gone = [row.pk for row in machines[LEFT:]]
    Machine.objects.filter(host=host).exclude(pk__in=gone).update(movability="approval")
    for n, key in enumerate(gone):
        other = others[n % len(others)]
        Machine.objects.filter(pk=key).update(host=other)
        CpuClaim.objects.filter(machine=key).delete()
        taken = set(CpuClaim.objects.filter(host=other).values_list("cpu", flat=True))
        free = min(set(range(1, 32)) - taken)
        CpuClaim.objects.create(host=other, cpu=free, machine_id=key, vcpu=1, operation=host_key(n))
    Host.objects.filter(pk=host.pk).update(administration="draining")
    why = say("consolidate.emptying", host=host.name, until=f"{now + 8 * HOUR:%Y-%m-%d %H:%M}")
    off = say("empty.waited", minutes=30, why=say("empty.others"))
    HostDrain.objects.create(
        host=host, machines=len(machines), sleep_until=now + 8 * HOUR, reason=str(why), reason_parts=parts_of(why)
    )  # fmt: skip
    HostDrain.objects.bulk_create(
        HostDrain(
            host=hosts[n], machines=20, sleep_until=now - n * DAY, reason=str(why), reason_parts=parts_of(why),
            state="cancelled" if n % 3 else "done", note=str(off) if n % 3 else "",
            note_parts=parts_of(off) if n % 3 else [], ended_at=now - n * DAY - 3 * HOUR,
        )
        for n in range(1, min(NIGHTS, len(hosts)))
    )  # fmt: skip


def host_key(n: int) -> Any:
    """A key as operations have it."""
    import uuid

    return uuid.UUID(int=n + 1)


def _told(hosts: list[Host], now: dt.datetime) -> None:
    """What the last round has said."""
    row = consolidating.told()
    row.mode, row.last_round = "recommend", now
    going = say("consolidate.emptying", host=EMPTIED, until=f"{now + 8 * HOUR:%Y-%m-%d %H:%M}")
    rest = say("consolidate.others", count=len(hosts) - consolidating.SHOWN)
    kept = [
        (host.name, "kept", say("consolidate.stays", why=say("empty.settling")))
        for host in hosts[: consolidating.SHOWN]
    ]
    row.answer = [
        {
            "host": host, "what": what, "text": str(text), "parts": parts_of(text),
            "until": (now + 8 * HOUR).isoformat() if what == "emptying" else None,
        }
        for host, what, text in ((EMPTIED, "emptying", going), *kept, ("", "more", rest))
    ]  # fmt: skip
    row.save()


def pages() -> tuple[str, ...]:
    """Addresses of the portal, as the plant is now: also of the longest period that can be asked for."""
    now = timezone.now()
    month, whole = (f"from={now - days * DAY:%Y-%m-%d}" for days in (27, 99))
    version = TemplateVersion.objects.get(template__name="vplc-bench")
    cell = Cell.objects.get(slug="cell-1")
    asked = f"/requests/preview/?template_version={version.pk}&cell={cell.pk}"
    return (
        "/balancing/",
        "/balancing/sleep/",
        f"/balancing/sleep/?{month}",
        f"/balancing/sleep/?{whole}",
        f"/balancing/sleep/?{whole}&as=csv",
        f"/balancing/sleep/?{month}&as=hours",
        "/pool/host-0005/",
        f"/pool/{EMPTIED}/",
        "/pool/host-0007/",
        "/requests/new/?template=vplc-bench",
        *(f"{asked}&size={size}" for size in ("small", "wide", "whole")),
    )


def api() -> tuple[str, ...]:
    """Names below `/api/v1/`."""
    now = timezone.now()
    month, whole = (f"from={now - days * DAY:%Y-%m-%d}" for days in (27, 99))
    about = "recommendations/consolidation"
    return (
        about,
        f"{about}/savings",
        f"{about}/savings?{whole}",
        f"{about}/hours",
        f"{about}/hours?{month}",
        f"hosts/{EMPTIED}",
        "hosts/host-0007",
    )


def drafts(engineer: Any) -> dict[str, Request]:
    """By size a draft of theirs, whose project may have as much as it asks for."""
    from millwright.environments import actions

    project = engineer.memberships.get().project
    for name in ("vcpus", "realtime_cores", "environments"):
        setattr(project, f"quota_{name}", 10**6)
    project.quota_memory_bytes = project.quota_disk_bytes = 2**50
    project.save()
    written = {row.size: row for row in Request.objects.filter(name__startswith="asked-")}
    return written or {
        size: actions.create_request(
            engineer,
            project=project,
            template_version=TemplateVersion.objects.get(template__name="vplc-bench"),
            size=size,
            name=f"asked-{size}",
            lease_days=7,
            cell=Cell.objects.get(slug="cell-1"),
        )
        for size in ("small", "wide", "whole")
    }


def check(drafts: dict[str, Request]) -> None:
    """That the plant is what its figures are said of.

    Raises:
        AssertionError: a size has room elsewhere, or no host sleeps.
    """
    from millwright.environments.placement import preview

    for size, row in drafts.items():
        plan = preview(row.template_version.spec, size, cell="cell-1", strict=False).as_dict()
        found = (plan["chosen"] == EMPTIED, plan["emptied"], plan["wake_s"])
        wanted = {"small": (False, False, None), "wide": (True, True, None)}
        assert found == wanted.get(size, (False, False, 180.0)), (size, plan["chosen"], found)


def submitted(caller: Any, row: Request) -> Callable[[], Any]:
    """Its submission by the API, taken back each time."""
    from django.db import transaction

    def work() -> Any:
        with transaction.atomic():
            answer = caller.post(
                f"/api/v1/requests/{row.pk}/submit/", "{}", content_type="application/json"
            )
            transaction.set_rollback(True)
        return answer

    return work
