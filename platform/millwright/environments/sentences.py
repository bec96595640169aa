"""Sentences that Millwright's processes write, with the words under which they are read: the table of `reasons`."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

#: What may stand in a hole that holds one word; every other hole takes anything.
ONE_WORD = frozenset(
    [
        *(
            "host",
            "machine",
            "state",
            "days",
            "name",
            "n",
            "size",
            "image",
            "address",
            "cell",
            "limit",
        ),
        *("day", "clock"),
    ]
)

#: As it is written → as it is read.
SENTENCES: tuple[tuple[str, Any], ...] = (
    # Why something changed.
    ("nobody decided in time", _("nobody decided in time")),
    ("nobody decided within %(days)s days", _("nobody decided within %(days)s days")),
    ("%(host)s does not answer", _("%(host)s does not answer")),
    ("%(host)s answers again", _("%(host)s answers again")),
    ("it answers", _("it answers")),
    ("the lease has ended", _("the lease has ended")),
    ("upload of %(version)s", _("upload of %(version)s")),
    (
        "request %(name)s by %(who)s, approved by %(by)s",
        _("request %(name)s by %(who)s, approved by %(by)s"),
    ),
    ("policy", _("policy")),
    # Why a round wants a move no longer.
    ("the machine is on no host any more", _("the machine is on no host any more")),
    ("the machine is on %(host)s now", _("the machine is on %(host)s now")),
    ("a later round wants it on %(host)s", _("a later round wants it on %(host)s")),
    ("another mode holds for it now: %(mode)s", _("another mode holds for it now: %(mode)s")),
    (
        "a later round wants it with other moves than before",
        _("a later round wants it with other moves than before"),
    ),
    ("what it was for is over", _("what it was for is over")),
    (
        "another machine of its plan is not there any more",
        _("another machine of its plan is not there any more"),
    ),
    ("balancing was switched off", _("balancing was switched off")),
    # Why a machine is not moved, as a drain or a plan keeps it.
    ("%(machine)s is on no host", _("%(machine)s is on no host")),
    ("%(machine)s is never moved, by its policy", _("%(machine)s is never moved, by its policy")),
    (
        "%(machine)s is moved only in an approved maintenance window, and none is open now",
        _("%(machine)s is moved only in an approved maintenance window, and none is open now"),
    ),
    (
        "%(machine)s is moved only when a person approves it",
        _("%(machine)s is moved only when a person approves it"),
    ),
    (
        "%(machine)s has a graphics card of its host: it cannot be moved while it runs",
        _("%(machine)s has a graphics card of its host: it cannot be moved while it runs"),
    ),
    (
        "%(machine)s is %(state)s: only a machine that runs or is off is moved",
        _("%(machine)s is %(state)s: only a machine that runs or is off is moved"),
    ),
    (
        "%(machine)s is off, and its disk lies on %(host)s alone: only while it runs is the disk copied",
        _(
            "%(machine)s is off, and its disk lies on %(host)s alone: only while it runs is the disk copied"
        ),
    ),
    (
        "%(machine)s is off, and %(host)s does not see its disk: only hosts with the same shared storage do",
        _(
            "%(machine)s is off, and %(host)s does not see its disk: only hosts with the same shared storage do"
        ),
    ),
    ("%(machine)s is on %(host)s already", _("%(machine)s is on %(host)s already")),
    # Why a host cannot take a machine.
    ("the host is down", _("the host is down")),
    ("the host does not answer at the moment", _("the host does not answer at the moment")),
    ("the host is falling asleep", _("the host is falling asleep")),
    ("the host is asleep", _("the host is asleep")),
    ("the host is waking", _("the host is waking")),
    (
        "the host is asleep and can be woken in about %(n)s s",
        _("the host is asleep and can be woken in about %(n)s s"),
    ),
    (
        "the host is falling asleep and can be woken in about %(n)s s",
        _("the host is falling asleep and can be woken in about %(n)s s"),
    ),
    ("the host is asleep and did not wake", _("the host is asleep and did not wake")),
    (
        "the host is waking once more, it did not wake",
        _("the host is waking once more, it did not wake"),
    ),
    (
        "the host is asleep and was left so by a person",
        _("the host is asleep and was left so by a person"),
    ),
    (
        "the host is cordoned: it takes nothing new",
        _("the host is cordoned: it takes nothing new"),
    ),
    ("the host is being drained", _("the host is being drained")),
    (
        "the host is being emptied so that it can sleep",
        _("the host is being emptied so that it can sleep"),
    ),
    ("the host is in maintenance", _("the host is in maintenance")),
    ("the host has no way into cell '%(cell)s'", _("the host has no way into cell '%(cell)s'")),
    (
        "memory: %(wanted)s wanted, %(free)s free of %(all)s",
        _("memory: %(wanted)s wanted, %(free)s free of %(all)s"),
    ),
    (
        "memory of resource pool '%(name)s': %(wanted)s wanted, %(free)s free of its limit of %(all)s",
        _(
            "memory of resource pool '%(name)s': %(wanted)s wanted, %(free)s free of its limit of %(all)s"
        ),
    ),
    ("disk: %(wanted)s wanted, %(free)s free", _("disk: %(wanted)s wanted, %(free)s free")),
    (
        "realtime cores: %(wanted)s wanted, %(free)s free of %(all)s",
        _("realtime cores: %(wanted)s wanted, %(free)s free of %(all)s"),
    ),
    (
        "shared CPUs: %(wanted)s vCPUs wanted on %(cpus)s, at most %(limit)s",
        _("shared CPUs: %(wanted)s vCPUs wanted on %(cpus)s, at most %(limit)s"),
    ),
    (
        "the host only emulates (no working KVM): timing cannot be promised",
        _("the host only emulates (no working KVM): timing cannot be promised"),
    ),
    (
        "the host cannot give FIFO priority to a vCPU",
        _("the host cannot give FIFO priority to a vCPU"),
    ),
    (
        "the host has no storage pool '%(name)s' that is active",
        _("the host has no storage pool '%(name)s' that is active"),
    ),
    (
        "hugepages of %(pages)s: %(wanted)s wanted, %(free)s free",
        _("hugepages of %(pages)s: %(wanted)s wanted, %(free)s free"),
    ),
    (
        "NUMA nodes: none has %(cores)s free cores and %(wanted)s free hugepages of %(pages)s",
        _("NUMA nodes: none has %(cores)s free cores and %(wanted)s free hugepages of %(pages)s"),
    ),
    (
        "the host's CPU has not all that is wanted: %(names)s",
        _("the host's CPU has not all that is wanted: %(names)s"),
    ),
    (
        "it was started with %(there)s and the host runs guests by %(here)s",
        _("it was started with %(there)s and the host runs guests by %(here)s"),
    ),
    (
        "it was started with the CPU %(there)s and the host has %(here)s",
        _("it was started with the CPU %(there)s and the host has %(here)s"),
    ),
    (
        "the host's CPU has not all that it was started with: %(names)s",
        _("the host's CPU has not all that it was started with: %(names)s"),
    ),
    (
        "graphics cards: %(wanted)s wanted, %(free)s free of %(kind)s",
        _("graphics cards: %(wanted)s wanted, %(free)s free of %(kind)s"),
    ),
    (
        "vGPU instances of %(kind)s: %(wanted)s wanted, %(free)s free",
        _("vGPU instances of %(kind)s: %(wanted)s wanted, %(free)s free"),
    ),
    (
        "the host has not told yet which vGPU profiles it has",
        _("the host has not told yet which vGPU profiles it has"),
    ),
    (
        "network bandwidth: %(wanted)s Mbit/s wanted, %(free)s Mbit/s free",
        _("network bandwidth: %(wanted)s Mbit/s wanted, %(free)s Mbit/s free"),
    ),
    (
        "the host has not told yet which graphics cards it has",
        _("the host has not told yet which graphics cards it has"),
    ),
    # Why a machine is where it is, and where it goes.
    ("%(host)s is being drained", _("%(host)s is being drained")),
    (
        "%(machine)s stays on %(host)s: no other host can take it",
        _("%(machine)s stays on %(host)s: no other host can take it"),
    ),
    (
        "%(machine)s stays on %(host)s: its best move, to %(name)s, is worth %(n)s core-seconds, of which %(limit)s must be exceeded",
        _(
            "%(machine)s stays on %(host)s: its best move, to %(name)s, is worth %(n)s core-seconds, of which %(limit)s must be exceeded"
        ),
    ),
    (
        "%(machine)s is on %(host)s, which is down: it is recovered, not moved",
        _("%(machine)s is on %(host)s, which is down: it is recovered, not moved"),
    ),
    (
        "%(machine)s is on %(host)s, which does not answer at the moment: nothing moves from there",
        _(
            "%(machine)s is on %(host)s, which does not answer at the moment: nothing moves from there"
        ),
    ),
    # What waits when a host is lost.
    (
        "%(machine)s starts after %(others)s, which cannot be started",
        _("%(machine)s starts after %(others)s, which cannot be started"),
    ),
    (
        "%(machine)s starts after %(name)s, whose host %(host)s is down",
        _("%(machine)s starts after %(name)s, whose host %(host)s is down"),
    ),
    (
        "%(machine)s starts after %(name)s, which has no host",
        _("%(machine)s starts after %(name)s, which has no host"),
    ),
    (
        "far from %(machine)s, which waits for %(host)s: a round mends that once it is back",
        _("far from %(machine)s, which waits for %(host)s: a round mends that once it is back"),
    ),
    (
        "too close to %(machine)s, which waits for %(host)s: a round mends that once it is back",
        _("too close to %(machine)s, which waits for %(host)s: a round mends that once it is back"),
    ),
    (
        "%(machine)s never moves: its policy forbids it",
        _("%(machine)s never moves: its policy forbids it"),
    ),
    (
        "%(machine)s moves only in a planned window, and none is open",
        _("%(machine)s moves only in a planned window, and none is open"),
    ),
    (
        "balancing is off for %(machine)s",
        _("balancing is off for %(machine)s"),
    ),
    (
        "%(machine)s moved a short time ago and rests",
        _("%(machine)s moved a short time ago and rests"),
    ),
    (
        "%(machine)s is autonomous: %(host)s starts it by itself when it returns; it is rebuilt elsewhere once a person states that the host cannot return with it",
        _(
            "%(machine)s is autonomous: %(host)s starts it by itself when it returns; it is rebuilt elsewhere once a person states that the host cannot return with it"
        ),
    ),
    # What of its class a machine goes without.
    ("emulated: timing is not promised", _("emulated: timing is not promised")),
    (
        "no core of its own for %(n)s control vCPU",
        _("no core of its own for %(n)s control vCPU"),
    ),
    ("no FIFO priority", _("no FIFO priority")),
    ("no FIFO priority for the control vCPU", _("no FIFO priority for the control vCPU")),
    (
        "its CPU is not isolated in the host's kernel",
        _("its CPU is not isolated in the host's kernel"),
    ),
    ("no CPU shares", _("no CPU shares")),
    ("memory is not locked", _("memory is not locked")),
    (
        "its memory may lie in another NUMA node than its cores",
        _("its memory may lie in another NUMA node than its cores"),
    ),
    ("no hugepages", _("no hugepages")),
    (
        "not known whether the host has it: %(names)s",
        _("not known whether the host has it: %(names)s"),
    ),
    ("its class is honoured in full", _("its class is honoured in full")),
    # What a step did.
    (
        "%(n)s registered pairs admitted, all else dropped",
        _("%(n)s registered pairs admitted, all else dropped"),
    ),
    ("%(host)s, address %(address)s", _("%(host)s, address %(address)s")),
    (
        "%(host)s, CPU %(cpus)s of its own, address %(address)s",
        _("%(host)s, CPU %(cpus)s of its own, address %(address)s"),
    ),
    ("%(image)s: %(size)s MiB sent", _("%(image)s: %(size)s MiB sent")),
    ("%(image)s: present", _("%(image)s: present")),
    ("%(size)s bytes", _("%(size)s bytes")),
    ("%(size)s KiB, signed", _("%(size)s KiB, signed")),
    ("%(size)s KiB, running", _("%(size)s KiB, running")),
    ("%(size)s KiB, running, begun anew", _("%(size)s KiB, running, begun anew")),
    (
        "%(size)s KiB, running, taken over between two scans, values kept",
        _("%(size)s KiB, running, taken over between two scans, values kept"),
    ),
    ("%(protocols)s answer at %(address)s", _("%(protocols)s answer at %(address)s")),
    (
        "its software was used and works, says %(address)s",
        _("its software was used and works, says %(address)s"),
    ),
    ("the guest agent answers", _("the guest agent answers")),
    ("this template has no guest agent", _("this template has no guest agent")),
    ("this template takes no configuration", _("this template takes no configuration")),
    ("no protocol to ask", _("no protocol to ask")),
    ("no program was asked for", _("no program was asked for")),
    ("no network wanted", _("no network wanted")),
    ("no disk wanted", _("no disk wanted")),
    ("compiled already", _("compiled already")),
    ("started", _("started")),
    ("was running", _("was running")),
    ("is off", _("is off")),
    ("was off", _("was off")),
    ("switched off", _("switched off")),
    ("powered off by itself", _("powered off by itself")),
    ("did not power off within 45 s", _("did not power off within 45 s")),
    ("the power was taken away", _("the power was taken away")),
    ("removed", _("removed")),
    ("there was none", _("there was none")),
    ("none there", _("none there")),
    ("forgotten", _("forgotten")),
    ("undone", _("undone")),
    ("was never built", _("was never built")),
    ("nothing was claimed", _("nothing was claimed")),
    ("claims given back", _("claims given back")),
    ("claims on %(host)s given back", _("claims on %(host)s given back")),
    # The longer ones first: a hole takes what follows too.
    (
        "runs on %(host)s after %(seconds)s s, pause %(pause)s, by the hosts' relays",
        _("runs on %(host)s after %(seconds)s s, pause %(pause)s, by the hosts' relays"),
    ),
    (
        "runs on %(host)s after %(seconds)s s, pause %(pause)s, encrypted by QEMU",
        _("runs on %(host)s after %(seconds)s s, pause %(pause)s, encrypted by QEMU"),
    ),
    (
        "runs on %(host)s after %(seconds)s s, pause %(pause)s",
        _("runs on %(host)s after %(seconds)s s, pause %(pause)s"),
    ),
    ("runs on %(host)s", _("runs on %(host)s")),
    ("%(host)s is clear of it", _("%(host)s is clear of it")),
    ("the disk stays", _("the disk stays")),
    (
        "it is defined on %(host)s alone, and off",
        _("it is defined on %(host)s alone, and off"),
    ),
    (
        "its definition is on %(host)s: it stays there",
        _("its definition is on %(host)s: it stays there"),
    ),
    ("both hosts see the same disk", _("both hosts see the same disk")),
    (
        "pins, address and firewall as claimed",
        _("pins, address and firewall as claimed"),
    ),
    (
        "pins and address as claimed; the firewall was another and has been set again",
        _("pins and address as claimed; the firewall was another and has been set again"),
    ),
    # Of hosts that sleep.
    ("its own alarm woke it", _("its own alarm woke it")),
    (
        "it answers, and nobody here has woken it",
        _("it answers, and nobody here has woken it"),
    ),
    ("its operation is over", _("its operation is over")),
    ("it did not wake: another try", _("it did not wake: another try")),
    ("it was to sleep until now", _("it was to sleep until now")),
    (
        "a machine has room on no host that is awake",
        _("a machine has room on no host that is awake"),
    ),
    (
        "machines of %(host)s have room on no host that is awake",
        _("machines of %(host)s have room on no host that is awake"),
    ),
    (
        "waiting for %(host)s, which is being woken: about %(n)s s more",
        _("waiting for %(host)s, which is being woken: about %(n)s s more"),
    ),
    (
        "waiting for %(host)s, which is being woken and should answer any moment",
        _("waiting for %(host)s, which is being woken and should answer any moment"),
    ),
    ("it was not put to sleep", _("it was not put to sleep")),
    ("it did not wake", _("it did not wake")),
    (
        "nothing is placed on %(host)s any more",
        _("nothing is placed on %(host)s any more"),
    ),
    ("%(host)s is awake", _("%(host)s is awake")),
    ("nothing runs on %(host)s", _("nothing runs on %(host)s")),
    ("%(host)s answers no longer", _("%(host)s answers no longer")),
    ("%(host)s sleeps", _("%(host)s sleeps")),
    ("%(host)s is woken", _("%(host)s is woken")),
    ("%(host)s is taken to sleep on", _("%(host)s is taken to sleep on")),
    ("%(host)s answers", _("%(host)s answers")),
    ("%(host)s has said what it has", _("%(host)s has said what it has")),
    (
        "%(host)s was told to sleep; its own alarm wakes it in %(n)s minutes",
        _("%(host)s was told to sleep; its own alarm wakes it in %(n)s minutes"),
    ),
    # What a rebuilt controller retains.
    ("retained values of %(day)s %(clock)s UTC", _("retained values of %(day)s %(clock)s UTC")),
    (
        "retained values of %(day)s %(clock)s UTC, %(n)s s before the host was lost",
        _("retained values of %(day)s %(clock)s UTC, %(n)s s before the host was lost"),
    ),
    (
        "retained values of %(day)s %(clock)s UTC are not given back: %(why)s",
        _("retained values of %(day)s %(clock)s UTC are not given back: %(why)s"),
    ),
    (
        "retained values of %(day)s %(clock)s UTC, %(n)s s before the host was lost are not given back: %(why)s",
        _(
            "retained values of %(day)s %(clock)s UTC, %(n)s s before the host was lost are not given back: %(why)s"
        ),
    ),
    (
        "no copy of retained values: it begins with initial values",
        _("no copy of retained values: it begins with initial values"),
    ),
    (
        "no copy of retained values can be used: it begins with initial values",
        _("no copy of retained values can be used: it begins with initial values"),
    ),
    (
        "it has retained values of its own: they stay",
        _("it has retained values of its own: they stay"),
    ),
    (
        "%(person)s chose initial values: %(why)s",
        _("%(person)s chose initial values: %(why)s"),
    ),
    ("this template retains nothing", _("this template retains nothing")),
    ("its disk has its retained values", _("its disk has its retained values")),
    ("it goes on with its retained values", _("it goes on with its retained values")),
    (
        "it goes on with those retained values that its program still has",
        _("it goes on with those retained values that its program still has"),
    ),
    (
        "its retained values are of a layout that nobody describes: it begins with initial values",
        _(
            "its retained values are of a layout that nobody describes: it begins with initial values"
        ),
    ),
    ("it begins with initial values", _("it begins with initial values")),
    (
        "the controller does not say what became of its retained values",
        _("the controller does not say what became of its retained values"),
    ),
    # Why a disk that was set aside was not removed.
    (
        "it could not be removed within an hour; ask again",
        _("it could not be removed within an hour; ask again"),
    ),
    ("it is not set aside any more", _("it is not set aside any more")),
    ("it is of its machine's placement now", _("it is of its machine's placement now")),
    (
        "an operation of its machine is under way; ask again when it has ended",
        _("an operation of its machine is under way; ask again when it has ended"),
    ),
    # Last: two words and a verb would take a sentence that has words of its own.
    ("%(machine)s is %(state)s", _("%(machine)s is %(state)s")),
)
