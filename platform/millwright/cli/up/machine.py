"""Step: is this machine fit, and which instance are we."""

from __future__ import annotations

import os

from millwright.cli.doctor import examine
from millwright.cli.errors import CliError
from millwright.cli.place import owner
from millwright.cli.supervision import Supervision

from .steps import Done, Plan


def take_instance() -> None:
    """Take an instance for this checkout, unless one is named or taken already; two clones never share one.

    Raises:
        CliError: the named one belongs to another, or all are taken.
    """
    from millwright.lab import LabError, claim_instance

    if os.geteuid() != 0:
        # The claims' folder is root's; alone without root there is no lab to share.
        return
    try:
        claim = claim_instance(owner(), wanted=os.environ.get("MILLWRIGHT_INSTANCE") or None)
    except LabError as error:
        raise CliError(str(error)) from None
    os.environ["MILLWRIGHT_INSTANCE"] = claim.instance


def give_instance_back() -> None:
    """After `down`: the number is free for another clone."""
    from millwright.lab.instance import Claim
    from millwright.settings import get_settings

    Claim(get_settings().instance, owner()).release()


def check(plan: Plan) -> Done:
    """Everything that would make a later step fail, said at once."""
    supervision = Supervision(plan.settings, plan.root)
    # Before anything else: they would hold the ports that are asked for below.
    ended = [] if supervision.running() else supervision.end_leftovers()
    wrong = [finding for finding in examine(plan.settings) if finding.verdict == "wrong"]
    if plan.pool:
        wrong = [finding for finding in wrong if finding.check not in ("memory",)]
    if wrong:
        lines = [
            f"{finding.check}: {finding.detail}" + (f"; {finding.mend}" if finding.mend else "")
            for finding in wrong
        ]
        raise CliError("this machine lacks something:\n  " + "\n  ".join(lines))
    for folder in (
        plan.settings.home,
        plan.settings.run_dir,
        plan.settings.log_dir,
        plan.settings.secrets_dir,
    ):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    changes = [f"ended {name}, left over by a killed supervisor" for name in ended]
    return Done.of(
        changes, detail=f"instance {plan.settings.instance}, state in {plan.settings.home}"
    )
