"""Writing audit entries, and the frame of every action that changes something."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .models import AuditEntry


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change came from; set by the middleware, empty for workers."""

    address: str | None = None
    request_id: str = ""


#: The origin of the request being handled.
current_origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039 - frozen


def record(
    actor: Any,
    action: str,
    subject: Any,
    *,
    project: Any = None,
    reason: str = "",
    **details: Any,
) -> AuditEntry:
    """Write one entry. `subject` is a model instance; details must hold no secret."""
    origin = current_origin.get()
    return AuditEntry.objects.create(
        actor=actor if actor is not None and actor.pk else None,
        actor_name=str(actor) if actor is not None else "millwright",
        action=action,
        object_type=subject._meta.model_name,
        object_id=str(subject.pk),
        object_name=str(subject)[:200],
        project=project,
        reason=reason,
        details=details,
        address=origin.address,
        request_id=origin.request_id,
    )
