"""Making sure that a lost host is off: by its fence agent, else by a person who has seen it."""

from __future__ import annotations

from millwright.hypervisor import HypervisorError

from .errors import FenceRefused, Question, StepFailed
from .saga import Context, Step


def _fence(context: Context) -> str:
    name = str(context.operation.payload.get("host") or "")
    if not name:
        raise StepFailed("no host was named")
    answer = context.answer()
    if answer == "stop":
        raise StepFailed(f"nobody knows that {name} is off: nothing is started elsewhere")
    if answer == "is_off":
        return f"a person has seen that {name} has no power"
    try:
        context.ports.hypervisors.get(name).bulk_state(deadline_s=5.0)
    except HypervisorError as error:
        if not error.retryable:
            raise
    else:
        raise StepFailed(f"{name} answers again: it is not switched off")
    try:
        return context.ports.fencer.off(name)
    except FenceRefused as error:
        raise Question(
            f"{name} is not known to be off: {error}. Has somebody seen that it has no power? "
            "A machine that still runs there would run twice.",
            {
                "is_off": f"{name} has no power: I have made sure",
                "stop": "Nobody knows: start nothing elsewhere",
            },
        ) from error


STEPS: tuple[Step, ...] = (
    Step(
        "fence",
        "Take the host's power away",
        _fence,
        no_undo="a person switches it on again",
        timeout_s=300.0,
        pause_max_s=15.0,
    ),
)
