"""What the balancer says: the table of its sentences, by code. One for pages, API, commands and what is kept.

Codes of refusals (`answers.Code`) stand as they are; where one has several sentences they stand behind a point.
`at.CODE` says of one host why it cannot take a machine, `all.CODE` of all of them with how many it is so. Facts that
end in `_ratio` are percentages, in `_bytes` sizes, in `_s` whole seconds. The words are marked for translation by
being arguments of a function named `_`.
"""

from __future__ import annotations


def _(text: str) -> str:
    return text


#: A sentence of a later release, read by this one.
NOT_KNOWN = _("said by a later release: %(code)s")

#: How numbers and long lists are written.
NUMBERS = {
    "percent": _("%(number)s%%"),
    "size": _("%(number)s GiB"),
    "more": _("%(names)s and %(count)s more"),
}

#: States of hosts within a sentence.
STATES = {
    "up": _("up"),
    "cordoned": _("cordoned"),
    "draining": _("being drained"),
    "maintenance": _("in maintenance"),
    "suspect": _("not answering at the moment"),
    "down": _("down"),
    "schedulable": _("open for machines"),
    "awake": _("awake"),
    "falling_asleep": _("falling asleep"),
    "asleep": _("asleep"),
    "waking": _("waking"),
}

#: Modes of balancing within a sentence.
MODES = {
    "off": _("off"),
    "shadow": _("shadow: note only"),
    "recommend": _("recommend: a person decides"),
    "automatic": _("automatic"),
}

#: What runs out first on a host (`capacity.Capacity.limited_by`), whole names and beginnings of names.
RUNS_OUT = {
    "memory": _("memory"),
    "dedicated cores": _("cores of their own"),
    "cpu reservation": _("CPUs to reserve"),
    "network": _("network bandwidth"),
    "vCPUs of the shared CPUs": _("vCPUs that may be promised"),
    "NUMA nodes or cards": _("NUMA nodes or graphics cards that hold it whole"),
    "host state or rules": _("hosts that take it: closed, not suited, or forbidden by rules"),
    "nothing": _("nothing"),
    "hugepages of ": _("hugepages of %(name)s"),
    "storage pool ": _("room in the storage pool %(name)s"),
    "device ": _("devices of the kind %(name)s"),
}

_ON_ONE_HOST = {
    "at.host_state": _("%(host)s takes nothing new: it is %(state)s"),
    "at.service_class": _("%(host)s does not take machines of class %(wanted)s"),
    "at.cpu_model": _("it asks for the CPU model %(wanted)s, which %(host)s cannot show"),
    "at.cpu_features": _("it asks for CPU features that %(host)s lacks: %(names)s"),
    "at.labels": _("it asks for labels that %(host)s does not have: %(names)s"),
    "at.host_rule": _("by rule %(names)s it may not be on %(host)s"),
    "at.storage_unreached": _("%(host)s does not reach storage pool %(names)s"),
    "at.storage": _(
        "it asks for %(wanted_bytes)s of storage pool %(name)s, %(free_bytes)s are free on %(host)s"
    ),
    "at.storage_shared": _(
        "it asks for %(wanted_bytes)s of storage pool %(name)s, in which %(free_bytes)s are free"
    ),
    "at.devices": _("it asks for %(wanted)s × %(name)s, %(free)s are free on %(host)s"),
    "at.gpu": _("it asks for graphics (%(names)s) that the free cards of %(host)s do not hold"),
    "at.cpu_reservation": _("it reserves %(wanted)s CPUs, %(free)s can be reserved on %(host)s"),
    "at.memory": _("it asks for %(wanted_bytes)s of memory, %(free_bytes)s are free on %(host)s"),
    "at.pool_memory": _(
        "it asks for %(wanted_bytes)s of memory, of which its resource pool %(name)s has %(free_bytes)s left within its limit"
    ),
    "at.hugepages": _(
        "it asks for %(wanted)s hugepages of %(name)s, %(free)s are free on %(host)s"
    ),
    "at.cores": _("it asks for %(wanted)s cores of its own, %(free)s are free on %(host)s"),
    "at.vcpus": _("it asks for %(wanted)s vCPUs, %(free)s are free on %(host)s"),
    "at.numa": _(
        "it asks for one NUMA node with %(wanted)s free cores and its hugepages, which %(host)s does not have"
    ),
    "at.nic": _(
        "it asks for %(wanted)s Mbit/s of network bandwidth, %(free)s Mbit/s are free on %(host)s"
    ),
    "at.apart": _("a machine that it must be kept apart from is on %(host)s (rule %(names)s)"),
    "at.together": _("a machine that it must be kept together with is not on %(host)s"),
    "at.spread": _(
        "with it on %(host)s its group would be in too few failure domains (rule %(names)s)"
    ),
    "at.near": _(
        "the machines that it must be near are in another failure domain than %(host)s (rule %(names)s)"
    ),
}

_ON_ALL_HOSTS = {
    "all.host_state": _("hosts that take nothing new: %(count)s"),
    "all.service_class": _("hosts that do not take class %(wanted)s: %(count)s"),
    "all.cpu_model": _("hosts that cannot show the CPU model %(wanted)s: %(count)s"),
    "all.cpu_features": _("hosts that lack CPU features (%(names)s): %(count)s"),
    "all.labels": _("hosts without the labels %(names)s: %(count)s"),
    "all.host_rule": _("hosts that rule %(names)s forbids: %(count)s"),
    "all.storage_unreached": _("hosts that do not reach storage pool %(names)s: %(count)s"),
    "all.storage": _(
        "it asks for %(wanted_bytes)s of storage pool %(name)s, at most %(free_bytes)s are free (on %(host)s)"
    ),
    "all.devices": _("it asks for %(wanted)s × %(name)s, at most %(free)s are free (on %(host)s)"),
    "all.gpu": _("hosts whose free cards do not hold its graphics (%(names)s): %(count)s"),
    "all.cpu_reservation": _(
        "it reserves %(wanted)s CPUs, at most %(free)s can be reserved (on %(host)s)"
    ),
    "all.memory": _(
        "it asks for %(wanted_bytes)s of memory, at most %(free_bytes)s are free (on %(host)s)"
    ),
    "all.pool_memory": _(
        "it asks for %(wanted_bytes)s of memory, of which its resource pool %(name)s has %(free_bytes)s left within its limit"
    ),
    "all.hugepages": _(
        "it asks for %(wanted)s hugepages of %(name)s, at most %(free)s are free (on %(host)s)"
    ),
    "all.cores": _(
        "it asks for %(wanted)s cores of its own, at most %(free)s are free (on %(host)s)"
    ),
    "all.vcpus": _("it asks for %(wanted)s vCPUs, at most %(free)s are free (on %(host)s)"),
    "all.numa": _(
        "hosts without a NUMA node with %(wanted)s free cores and its hugepages: %(count)s"
    ),
    "all.nic": _(
        "it asks for %(wanted)s Mbit/s of network bandwidth, at most %(free)s Mbit/s are free (on %(host)s)"
    ),
    "all.apart": _(
        "hosts with a machine that it must be kept apart from (rule %(names)s): %(count)s"
    ),
    "all.together": _("hosts without the machine that it must be kept together with: %(count)s"),
    "all.spread": _(
        "hosts on which its group would be in too few failure domains (rule %(names)s): %(count)s"
    ),
    "all.near": _(
        "hosts in another failure domain than the machines that it must be near (rule %(names)s): %(count)s"
    ),
}

_REFUSALS = {
    "never_moves": _("%(machine)s never moves: its policy forbids it"),
    "window_closed": _("%(machine)s moves only in a planned window, and none is open"),
    "needs_approval": _("%(machine)s moves only when a person approves it"),
    "mode_off": _("balancing is off for %(machine)s"),
    "mode_off.ought": _("%(machine)s ought to move (%(why)s), but its balancing is off"),
    "rejected": _("%(machine)s: a person said no to its move to %(host)s"),
    "cooldown": _("%(machine)s moved a short time ago and rests"),
    "no_host": _("no host takes %(machine)s: %(why)s"),
    "no_host.other": _("no other host takes %(machine)s: %(why)s"),
    "no_host.now": _("%(machine)s: %(reason)s; no host takes it now: %(why)s"),
    "no_host.alone": _("there is no other host"),
    "no_host.rejected": _("a person said no to its moves to the hosts that could take it"),
    "no_host.would": _("%(machine)s would find no host"),
    "no_host.died": _("%(machine)s would find no host if %(hosts)s died"),
    "no_host.nobody": _("%(machine)s finds no host: none is alive"),
    "limit": _(
        "%(machine)s: %(reason)s; the %(count)s machines that move together are more than this round may still move"
    ),
    "limit.round": _(
        "a round decides %(count)s moves at most, and they are used up: the next one goes on"
    ),
    "source_down": _("%(host)s is down: its machines are recovered, not moved"),
    "source_down.nowhere": _("%(machine)s runs nowhere to move from"),
    "source_suspect": _("%(host)s does not answer at the moment: nothing moves from there"),
    "source_asleep": _("%(host)s is asleep: it is woken before anything is done there"),
    "autonomous": _(
        "%(machine)s is autonomous: %(host)s starts it by itself when it returns; it is rebuilt elsewhere once a person states that the host cannot return with it"
    ),
    "unprotected": _("%(machine)s is not protected: it waits for %(host)s"),
    "together": _("%(machine)s waits for a machine with which it is kept together"),
    "together.move": _("%(names)s must move together to one host"),
    "dependency": _("%(machine)s starts after %(names)s, which cannot be started"),
    "dependency.no_host": _("%(machine)s starts after %(name)s, which has no host"),
    "dependency.down": _("%(machine)s starts after %(name)s, whose host %(host)s is down"),
    "no_gain": _("%(why)s, and no move that is allowed is worth its cost and risk"),
    "no_gain.cpus": _("%(names)s above %(threshold_ratio)s of its CPUs"),
    "no_gain.memory": _("%(names)s above %(threshold_ratio)s of its memory"),
    "no_gain.uneven": _("the hosts are unevenly loaded"),
    "spare": _("%(machine)s to %(host)s would leave no room for %(count)s hosts to die"),
    "spare.waits": _(
        "%(machine)s to %(host)s: a machine would wait for another if %(count)s hosts died"
    ),
    # Machines with room that wait; `why` is one of those below.
    "waits": _("%(machine)s would wait for %(other)s, which %(why)s: it starts after it"),
    "waits.together": _(
        "%(machine)s would wait for %(other)s, with which it is kept together and which %(why)s"
    ),
    "waits.died": _("if %(hosts)s died, %(text)s"),
    "waits.no_host": _("has no host"),
    "waits.down": _("is on %(host)s, which is down"),
    "waits.unprotected": _("is not protected"),
    "waits.mixed": _("is kept together with a machine that is not protected"),
    "waits.no_room": _("would find no host"),
    "waits.autonomous": _("is autonomous and waits for %(host)s"),
    "waits.itself": _("waits itself"),
    # Of a machine that starts where a rule toward one that waits for its host does not hold.
    "far": _("far from %(machine)s, which waits for %(host)s: a round mends that once it is back"),
    "close": _(
        "too close to %(machine)s, which waits for %(host)s: a round mends that once it is back"
    ),
    "not_sustained": _("the imbalance has lasted %(count)s of %(limit)s rounds"),
    "moves_running": _("moves under way: %(count)s; the next round decides"),
    "blocked": _("%(machine)s to %(host)s: %(why)s"),
    "blocked.order": _("no order of moves makes room for it in time"),
    "blocked.failed": _("%(machine)s: its migration failed and is not tried again"),
}

_MOVES = {
    "move.drain": _("%(host)s is being drained"),
    "move.room": _("makes room for %(machine)s"),
    "move.rule": _("it must not be on %(host)s: %(why)s"),
    "move.apart": _("kept apart from another machine on %(host)s"),
    "move.spread": _("its group is in too few failure domains"),
    "move.near": _("it is far from the machines that it must be near"),
    "move.together": _("it is kept together with a machine on another host"),
    "move.hot_cpus": _(
        "%(host)s has been above %(threshold_ratio)s of its CPUs for %(count)s rounds"
    ),
    "move.hot_memory": _(
        "%(host)s has been above %(threshold_ratio)s of its memory for %(count)s rounds"
    ),
    "move.uneven_cpus": _("%(host)s carries more than its share"),
    "move.uneven_memory": _("%(host)s carries more than its share of memory"),
    "move.promised": _(
        "%(host)s has promised more than %(threshold_ratio)s of its memory for %(count)s rounds, and would be full if guests took what is theirs"
    ),
    "move.cpus": _(
        "%(machine)s takes %(taken)s cores to %(host)s: %(before_ratio)s → %(after_ratio)s here, %(then_before_ratio)s → %(then_after_ratio)s there"
    ),
    "move.memory": _(
        "%(machine)s takes %(taken_bytes)s in use to %(host)s: %(before_ratio)s → %(after_ratio)s here, %(then_before_ratio)s → %(then_after_ratio)s there"
    ),
    "move.memory_promised": _(
        "%(machine)s takes %(taken_bytes)s of it to %(host)s: %(before_ratio)s → %(after_ratio)s here, %(then_before_ratio)s → %(then_after_ratio)s there"
    ),
    "move.suffered": _("%(suffered_s)s core-seconds of its cost are what its users suffer"),
    "move.even": _("%(host)s and %(other)s both end more even"),
    "move.exchange": _("%(machine)s goes to %(host)s and %(other)s comes from there"),
    "move.exchange_aside": _(
        "%(machine)s goes to %(host)s and %(other)s comes from there, %(why)s, since neither host holds both"
    ),
    "move.by_way_of": _("%(machine)s by way of %(host)s"),
    "overcommit.cpu_reservation": _(
        "%(host)s has %(wanted)s CPUs reserved of %(free)s that can be reserved"
    ),
    "overcommit.memory": _(
        "%(host)s has promised %(wanted_bytes)s of memory, it has %(free_bytes)s"
    ),
    "overcommit.cores": _(
        "%(host)s has promised %(wanted)s cores to single machines, it has %(free)s"
    ),
    "overcommit.nic": _(
        "%(host)s has promised %(wanted)s Mbit/s of network bandwidth, it has %(free)s Mbit/s"
    ),
    "overcommit.hugepages": _(
        "%(host)s has promised %(wanted)s hugepages of %(name)s, it has %(free)s"
    ),
    "overcommit.storage": _(
        "%(host)s has promised %(wanted_bytes)s of storage pool %(name)s, it has %(free_bytes)s"
    ),
    "overcommit.devices": _("%(host)s has promised %(wanted)s × %(name)s, it has %(free)s"),
    "overcommit.vcpus": _("%(host)s has promised %(wanted)s vCPUs, its owner allows %(free)s"),
    "overcommit.numa": _("%(host)s: its machines do not fit its NUMA nodes"),
    "overcommit.gpu": _(
        "%(host)s: its graphics cards do not hold what its machines have: %(names)s"
    ),
}

_RULES = {
    "rule.together": _("rule %(rule)s: kept together, and on %(count)s hosts"),
    "rule.apart": _("rule %(rule)s: kept apart, and two are on one host"),
    "rule.spread": _("rule %(rule)s: in %(count)s of %(wanted)s failure domains"),
    "rule.near": _("rule %(rule)s: kept near, and in %(count)s failure domains"),
    "rule.on_hosts": _("rule %(rule)s: on %(names)s, which it does not name"),
    "rule.off_hosts": _("rule %(rule)s: on %(names)s, which it forbids"),
    "suits.service_class": _("%(machine)s is on %(host)s, which does not take class %(wanted)s"),
    "suits.cpu_model": _("%(machine)s is on %(host)s, which cannot show the CPU model %(wanted)s"),
    "suits.cpu_features": _("%(machine)s is on %(host)s, which lacks its CPU features: %(names)s"),
    "suits.labels": _("%(machine)s is on %(host)s, which does not have the labels %(names)s"),
    "suits.storage": _("%(machine)s is on %(host)s, which does not reach storage pool %(names)s"),
}

_WHY_HERE = {
    "why.no_host": _("%(machine)s has no host; %(host)s would be cheapest"),
    "why.nowhere": _("%(machine)s has no host, and none takes it"),
    "why.stays": _("%(machine)s stays on %(host)s: no other host can take it"),
    "why.best": _(
        "%(machine)s stays on %(host)s: its best move, to %(name)s, is worth %(n_s)s core-seconds, of which %(limit_s)s must be exceeded"
    ),
    "why.better": _(
        "%(machine)s would be better on %(host)s, by %(n_s)s core-seconds over %(minutes)s minutes"
    ),
    "why.down": _("%(machine)s is on %(host)s, which is down: it is recovered, not moved"),
    "why.suspect": _(
        "%(machine)s is on %(host)s, which does not answer at the moment: nothing moves from there"
    ),
}

_NOTES = {
    "note.link": _("%(machine)s: as many moves as the plant lets go over its link are under way"),
    "note.no_host": _("the machine is on no host any more"),
    "note.on_host": _("the machine is on %(host)s now"),
    "note.later_host": _("a later round wants it on %(host)s"),
    "note.mode": _("another mode holds for it now: %(mode)s"),
    "note.other_moves": _("a later round wants it with other moves than before"),
    "note.over": _("what it was for is over"),
    "note.plan_gone": _("another machine of its plan is not there any more"),
    "note.off": _("balancing was switched off"),
    "note.of": _("%(machine)s: %(why)s"),
    "note.waits": _("it waits for other moves; a later round decides anew"),
    "note.stopped": _("stopped by %(person)s"),
    "note.gone": _("on no host any more: %(names)s"),
    "note.others": _("other moves are under way: %(names)s"),
    "note.not_automatic": _("its machines are not moved automatically any more"),
    "note.for_person": _("a move waits for a person: %(names)s"),
    "note.in_shadow": _("shadow only notes the move: %(names)s"),
    "note.mended": "%(names)s",
    "note.host_state": _("%(host)s is %(state)s: machines leave only a host that answers"),
    "note.not_in_pool": _("%(host)s is no longer in the pool"),
    "note.not_yet": _("%(host)s does not answer yet"),
    "note.woken_first": _("%(host)s sleeps: it is woken first"),
    "note.wake_ended": _("the waking of %(host)s was ended by hand"),
    "note.not_waking": _("%(host)s does not wake: %(why)s"),
    "note.arriving": _("%(machine)s is on its way to %(host)s: it arrives first, or is called off"),
    "note.no_keeper": _(
        "%(person)s, who began it, does not keep the pool any more: whoever pauses it and lets it go on takes it over"
    ),
    "note.taken_back": _("%(host)s was taken back by hand"),
    "note.once_awake": _(
        "%(machine)s starts on %(host)s, which is woken for it: no host that is awake has room"
    ),
    "note.if_woken": _("%(why)s; on %(host)s, which sleeps, it would have room"),
    "note.can_wake": _("%(host)s is asleep and can be woken in about %(wake_s)s s"),
    "note.emptied": _("%(host)s takes nothing new: it is being emptied so that it can sleep"),
    "note.falls_asleep": _("%(host)s is falling asleep and can be woken in about %(wake_s)s s"),
    "note.wakes": _("%(host)s is waking and takes machines in about %(wake_s)s s"),
    "note.to_be_stopped": _("%(machine)s is to be stopped: it waits for its host"),
    "note.to_be_absent": _("%(machine)s is to be removed: it waits for its host"),
}

#: Why a host is not put to sleep, or woken.
_POWER = {
    "power.not_configured": _("%(host)s does not sleep: its policy says nothing about it"),
    "power.may_not": _("%(host)s does not sleep: its policy forbids it"),
    "power.not_awake": _("%(host)s is %(state)s already"),
    "power.is_awake": _("%(host)s is awake"),
    "power.not_up": _("%(host)s is %(state)s: only a host that answers is put to sleep"),
    "power.draining": _("%(host)s is being drained: it sleeps once that is done"),
    "power.busy": _("%(host)s is busy: %(kind)s"),
    "power.not_empty": _("%(host)s is not empty: %(names)s (in all %(count)s)"),
}

#: Which hosts sleep, are emptied for it or are woken, and why others are not.
_SLEEP = {
    "consolidate.sleep": _(
        "%(host)s is empty and not needed before %(until)s: it sleeps for %(hours)s hours"
    ),
    "consolidate.empty": _(
        "%(host)s is not needed before %(until)s: %(count)s moves (%(cost_s)s core-seconds) empty it, and it sleeps for %(hours)s hours (%(saved_s)s core-seconds)"
    ),
    "consolidate.until": _("%(host)s was to be awake by now"),
    "consolidate.keep": _("%(count)s hosts are kept awake"),
    "consolidate.kept": _("no more hosts are awake than are kept awake: %(count)s"),
    "consolidate.more": _(
        "at %(at)s %(cpus)s CPUs and %(wanted_bytes)s are expected and %(headroom_ratio)s more are kept free: hosts that are awake have %(free)s CPUs and %(free_bytes)s"
    ),
    "consolidate.needed": _(
        "it is needed at %(at)s: %(cpus)s CPUs and %(wanted_bytes)s are expected and %(headroom_ratio)s more are kept free, and the others have %(free)s CPUs and %(free_bytes)s"
    ),
    "consolidate.ready": _("enough is known from %(at)s on"),
    "consolidate.danger": _("those awake alone do not survive the loss of %(count)s hosts"),
    "consolidate.busy": _("hosts are on their way to sleep or from it, or moves run"),
    "consolidate.lost": _("%(name)s is lost with machines on it: every host is wanted awake"),
    "consolidate.settling": _("a host woke less than an hour ago"),
    "consolidate.no_history": _("less than a week is known of what the plant wants"),
    "consolidate.hours": _("hosts may sleep from %(begin)s to %(end)s"),
    "consolidate.lately": _("its power changed less than %(hours)s hours ago"),
    "consolidate.control": _("%(machine)s is on it, which does not move by itself"),
    "consolidate.rule": _("rule %(name)s needs it awake"),
    "consolidate.spare": _("the others alone would not survive the loss of %(count)s hosts"),
    "consolidate.stays": _("it cannot be emptied: %(why)s"),
    "consolidate.no_gain": _(
        "to empty it costs %(cost_s)s core-seconds, and %(hours)s hours of sleep save %(saved_s)s"
    ),
    "consolidate.crowded": _("%(name)s would have more than %(limit_ratio)s of its CPUs wanted"),
    "consolidate.wanted": _("%(name)s needs it"),
    "consolidate.others": _("and %(count)s more"),
    "consolidate.mode": _("%(machine)s is on it, and its balancing is %(mode)s"),
    "consolidate.room": _("%(machine)s would have to make room, and its balancing is %(mode)s"),
    "consolidate.rests": _("%(machine)s is on it, which has moved only lately"),
    "consolidate.returns": _("%(machine)s would go back to %(host)s, which it left only lately"),
    "consolidate.emptying": _("%(host)s is being emptied and not needed before %(until)s"),
    "consolidate.emptied": _("%(host)s was emptied and sleeps until %(until)s"),
}

#: Why no host is emptied for sleep now, and why one that was being emptied takes machines again.
_EMPTYING = {
    "empty.others": _("drains, recoveries or plans of moves are under way: they come first"),
    "empty.settling": _("emptying a host was called off less than an hour ago"),
    "empty.called_off": _("emptying it was called off less than %(hours)s hours ago: %(why)s"),
    "empty.busy": _("%(machine)s is busy: %(kind)s"),
    "empty.mode": _("hosts that are not needed are not put to sleep any more: %(mode)s"),
    "empty.taken": _("a person has taken it in hand: it is %(state)s"),
    "empty.drained": _("a person drains it"),
    "empty.placed": _("%(machine)s has room nowhere else and was placed on it"),
    "empty.failed": _("the move of %(machine)s failed: %(why)s"),
    "empty.late": _("it would be needed again before it sleeps"),
    "empty.waited": _("it did not go on for %(minutes)s minutes: %(why)s"),
    "empty.not_asleep": _("it did not fall asleep: %(why)s"),
}

#: A sentence of nobody's table: an error of a host, a person's words.
_OTHERS = {"text": "%(text)s"}

SENTENCES: dict[str, str] = (
    _ON_ONE_HOST
    | _ON_ALL_HOSTS
    | _REFUSALS
    | _MOVES
    | _RULES
    | _WHY_HERE
    | _NOTES
    | _POWER
    | _SLEEP
    | _EMPTYING
    | _OTHERS
)
