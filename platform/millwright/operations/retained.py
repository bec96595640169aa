"""A controller that is rebuilt goes on with the plant's last copy of its retained values, where it has none itself.

The copies go in a package of their own before the program, newest first until one is taken; what is damaged or
refused is named and the next is tried. Without any the controller begins with initial values, and that is said: no copy
and no question after one is worth a rebuild that fails.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millwright.hypervisor import HypervisorError

from . import deliver
from .errors import NotYet, StepFailed
from .ports import RetainedOffer
from .saga import Context, Step

#: How long copies are offered, and how long it is waited between two tries, in seconds.
OFFERED_S, PAUSE_S, PAUSE_MOST_S = 300.0, 0.5, 5.0
#: How long a controller that runs is asked what became of its values, in seconds.
TOLD_S, ASK_S = 60.0, 1.0
#: What the controller says of its start → words.
RESULTS = {
    "kept": "it goes on with its retained values",
    "migrated": "it goes on with those retained values that its program still has",
    "lost": "its retained values are of a layout that nobody describes: it begins with initial values",
    "none": "it begins with initial values",
}
#: Why a rebuilt controller begins with initial values.
WITHOUT = {
    "none": "no copy of retained values: it begins with initial values",
    "refused": "no copy of retained values can be used: it begins with initial values",
}


def merged(before: Mapping[str, Any], note: Mapping[str, Any]) -> dict[str, Any]:
    """What an operation keeps of retained values: a copy that was given stays named when it is asked again."""
    if before.get("outcome") == "given" and note.get("outcome") == "own":
        # What lies there by now is this copy, or what the program made of it.
        return dict(before)
    if before.get("outcome") == "given" and note.get("outcome") == "refused":
        # Should something lie there, it is what was given before: its name stays.
        note = {"outcome": "refused", "refused": note.get("refused", [])}
    after = {**before, **note}
    if after.get("outcome") == "refused" and note.get("result") in ("kept", "migrated"):
        # No answer came in time, and it was taken nevertheless; or what lies there is of an earlier attempt.
        after["outcome"] = "given" if "sha256" in after else "own"
    return after


def _spoken(offer: RetainedOffer) -> str:
    at = f"retained values of {offer.as_of:%Y-%m-%d %H:%M:%S} UTC"
    if offer.before_loss_s is None:
        return at
    return f"{at}, {offer.before_loss_s:.0f} s before the host was lost"


def _sent(context: Context, bundle: bytes, end: float) -> dict[str, Any]:
    """Have an offer in the guest; returns what the guest made of it.

    Raises:
        StepFailed: the guest refuses it, or it cannot be written there.
        NotYet: there was no answer until `end`.
    """
    clock, pause = context.ports.clock, PAUSE_S
    while True:
        context.ports.fence()
        try:
            return deliver.send(context, bundle)
        except (NotYet, HypervisorError) as error:
            if not error.retryable:
                raise StepFailed(str(error)) from error
            if clock.now() + pause > end:
                raise NotYet(f"not within {OFFERED_S:.0f} s: {error}") from error
        clock.sleep(pause)
        pause = min(pause * 1.5, PAUSE_MOST_S)


def _give(context: Context) -> str:
    store = context.ports.store
    move = store.move(context.operation.id)
    machine = context.machine()
    if machine.health.get("probe") == "none" or "modbus" not in machine.outputs:
        return "this template retains nothing"
    if machine.image.disk is None or (move is not None and move.shared_storage):
        return "its disk has its retained values"
    if chosen := context.operation.payload.get("initial_values"):
        note = {"outcome": "initial", "by": chosen["by"], "why": chosen["reason"], "refused": []}
        store.retained_outcome(context.operation.id, note)
        return f"{chosen['by']} chose initial values: {chosen['reason']}"
    refused: list[str] = []
    late: Mapping[str, Any] = {}
    end = context.ports.clock.now() + OFFERED_S
    for offer in store.retained_offers(context.operation.id, context.machine_id):
        why = offer.wrong
        if not why:
            try:
                answer = _sent(context, offer.bundle, end)
            except NotYet as error:
                # It may be taken yet; which one it would be stays named until the controller tells.
                why, late = str(error), offer.named()
            except StepFailed as error:
                why = str(error)
            else:
                own = answer.get("how") == "own"
                note = {"outcome": "own" if own else "given", "refused": refused}
                store.retained_outcome(context.operation.id, note if own else offer.named() | note)
                if own:
                    return "it has retained values of its own: they stay"
                return "; ".join([_spoken(offer), *refused])
        refused.append(f"{_spoken(offer)} are not given back: {why}")
        if late:
            break
    outcome = "refused" if refused else "none"
    store.retained_outcome(context.operation.id, {**late, "outcome": outcome, "refused": refused})
    return "; ".join([WITHOUT[outcome], *refused])


def _told(context: Context) -> str:
    """What the controller itself says of its start: the copy may have been of another layout."""
    store = context.ports.store
    machine = context.machine()
    if machine.health.get("probe") == "none" or "modbus" not in machine.outputs:
        return "this template retains nothing"
    if not context.operation.payload.get("program_version"):
        return "no program was asked for"
    clock = context.ports.clock
    end = clock.now() + TOLD_S
    while True:
        context.ports.fence()
        try:
            _, host = context.host()
            status = json.loads(host.agent_read_file(context.machine_id, deliver.STATUS))
        except (HypervisorError, ValueError):
            # It runs by now: what cannot be asked is said, and fails nothing.
            status = {}
        retain = status.get("retain") if status.get("program") else None
        if isinstance(retain, dict) or clock.now() >= end:
            break
        # It is written when the program has been taken over, a moment after the answer.
        clock.sleep(ASK_S)
    if not isinstance(retain, dict):
        return "the controller does not say what became of its retained values"
    result, lost = str(retain.get("result")), [str(row) for row in retain.get("lost", ())]
    note = {"start": str(status.get("start", "")), "result": result, "lost": lost[:20]}
    store.guest_status(context.machine_id, status)
    store.retained_outcome(context.operation.id, note)
    return "; ".join([RESULTS.get(result, f"it says {result}"), *lost[:5]])


GIVE = Step(
    "retained",
    "Retained values",
    _give,
    no_undo="they lie on the disk that is removed",
    timeout_s=OFFERED_S,
    cancels=False,
)
TOLD = Step(
    "values",
    "What became of retained values",
    _told,
    no_undo="asking changes nothing",
    timeout_s=120.0,
    cancels=False,
)
