"""Codes of the ledger and their words."""

from __future__ import annotations

from enum import StrEnum

from django.utils.translation import gettext_lazy as _

from millwright.core.sla import Cause, Happened, Kind
from monitoring.objectives import Indicator, Level

#: Classes that a contract may be for: the levels of `monitoring.objectives`.
CLASSES = (
    (Level.REALTIME.value, _("realtime")),
    (Level.GUARANTEED.value, _("guaranteed")),
    (Level.SHARED.value, _("shared")),
    (Level.BEST_EFFORT.value, _("best effort")),
    (Level.EMULATED.value, _("emulated")),
)

#: What is promised to everybody: the portal and its API.
PLANT = Level.PLANT.value
#: What a contract without an environment may be for.
SCOPES = (*CLASSES, (PLANT, _("portal and API")))

#: What is counted by minutes.
QUALITIES = (
    (Indicator.DEVICE_LINK.value, _("links to devices")),
    (Indicator.RUN_QUEUE_WAIT.value, _("control cores hardly wait")),
    (Indicator.PORTAL_AVAILABILITY.value, _("portal and API answer")),
)

CAUSES = (
    (Cause.UNKNOWN.value, _("unclassified")),
    (Cause.UNPLANNED.value, _("unplanned")),
    (Cause.SMALL_STOP.value, _("small stop")),
    (Cause.PLANNED.value, _("planned")),
    (Cause.CHANGEOVER.value, _("changeover")),
    (Cause.EXCLUDED.value, _("excluded")),
    (Cause.VOID.value, _("was up after all")),
)

KINDS = ((Kind.DOWN.value, _("down")), (Kind.MISSING.value, _("no data")))


#: What explains an interval.
EVENTS = tuple((row.value, row.value.replace("_", " ")) for row in Happened)


class WindowState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    ACTIVE = "active"
    CLOSED = "closed"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


#: State → states that may follow.
WINDOW_FOLLOWS = {
    WindowState.REQUESTED: {WindowState.APPROVED, WindowState.REJECTED, WindowState.WITHDRAWN},
    # One that is approved afterwards is closed at once.
    WindowState.APPROVED: {WindowState.ACTIVE, WindowState.CLOSED, WindowState.WITHDRAWN},
    # A recurring one waits for its next time.
    WindowState.ACTIVE: {WindowState.APPROVED, WindowState.CLOSED},
    WindowState.CLOSED: set(),
    WindowState.REJECTED: set(),
    WindowState.WITHDRAWN: set(),
}

#: In these it excludes.
EXCLUDING = (WindowState.APPROVED, WindowState.ACTIVE, WindowState.CLOSED)

WINDOW_STATES = (
    (WindowState.REQUESTED.value, _("requested")),
    (WindowState.APPROVED.value, _("approved")),
    (WindowState.ACTIVE.value, _("active")),
    (WindowState.CLOSED.value, _("closed")),
    (WindowState.REJECTED.value, _("rejected")),
    (WindowState.WITHDRAWN.value, _("withdrawn")),
)
