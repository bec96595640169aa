"""The running plant as a snapshot: what `millwright plan`, `balance`, `drain`, `capacity` and `recover` read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.core.balancing import Entry, Host, Mode, Plant, SnapshotError, Vm, write_plant
from millwright.core.balancing.calendar import YEARS, bounds, moment
from millwright.core.balancing.frame import page_bytes

from .hours import known, laid, own_time
from .models import Balancer
from .plant import bound, unlaid


def moment_of(text: str) -> dt.datetime | None:
    """What was asked with `at`: "now", or a time, without a zone in the plant's own; nothing: no time.

    Raises ValidationError.
    """
    if not text:
        return None
    here = own_time(timezone.now())
    if text == "now":
        return here
    try:
        at = moment(text, here)
    except SnapshotError:
        words = _("%(value)r: a moment like 2026-05-04T06:00 is wanted")
        raise ValidationError({"at": words % {"value": text}}) from None
    if at.year not in YEARS:
        words = _("%(value)s: a year from %(low)s to %(high)s")
        words %= {"value": text, "low": YEARS.start, "high": YEARS.stop - 1}
        raise ValidationError({"at": words})
    return own_time(at)


def snapshot(at: dt.datetime | None = None) -> dict[str, Any]:
    """The plant as JSON values that `core.balancing.read_plant` reads, with the plant's mode, level and spare hosts.

    `at`: as the calendar and windows of maintenance have it then, without the calendar's lines; nothing: with the
    lines, and windows of maintenance as they are now. What machines use is always that of now.
    """
    now = timezone.now()
    plant, lines = unlaid(now, at or now)
    row = Balancer.objects.filter(pk=1).first() or Balancer()
    settings = replace(plant.settings, mode=Mode(row.mode), level=row.level)
    plant = replace(
        plant,
        settings=settings,
        hosts=tuple(_host(host) for host in plant.hosts),
        vms=tuple(_vm(vm) for vm in plant.vms),
    )
    if at is None:
        plant = replace(plant, calendar=tuple(_present(known(lines), plant, own_time(now))))
    else:
        plant = replace(laid(plant, lines, at), calendar=())
    return write_plant(bound(plant))


def _host(host: Host) -> Host:
    """A host that has not told its memory yet has none to give: what is set aside is all of it."""
    least = max(1, host.memory_aside_bytes + _pages(host))
    return replace(host, memory_bytes=least) if host.memory_bytes < least else host


def _pages(host: Host) -> int:
    return sum(count * page_bytes(size) for size, count in host.hugepages.items())


def _vm(vm: Vm) -> Vm:
    """What QEMU takes beside is counted at the host of a machine in hugepages: its memory is its own alone."""
    if vm.memory_minimum_bytes is None or vm.memory_minimum_bytes <= vm.memory_bytes:
        return vm
    return replace(vm, memory_minimum_bytes=vm.memory_bytes)


def _present(entries: tuple[Entry, ...], plant: Plant, now: dt.datetime) -> Iterator[Entry]:
    """Lines that concern somebody who is still there, and that can hold at all."""
    vms, pools = {vm.name for vm in plant.vms}, {pool.name for pool in plant.pools}
    for entry in entries:
        since, until = bounds(entry.since, entry.until, now)
        left = replace(
            entry,
            name="".join(sign if sign.isprintable() else "?" for sign in entry.name),
            vms=tuple(name for name in entry.vms if name in vms),
            pools=tuple(name for name in entry.pools if name in pools),
        )
        holds = since is None or until is None or since < until
        if holds and (left.vms or left.pools):
            yield left
