"""Who may do what, as predicates. Actions and querysets ask here and nowhere else."""

from __future__ import annotations

from typing import Any

from .choices import Role

#: Plant-wide roles that read everything.
_READERS = frozenset({Role.OPERATOR, Role.ADMINISTRATOR, Role.AUDITOR, Role.APPROVER})

#: verb → project roles that may, and plant-wide roles that may.
_VERBS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "request": (
        frozenset({Role.ENGINEER, Role.APPROVER, Role.ADMINISTRATOR}),
        frozenset({Role.ADMINISTRATOR}),
    ),
    "decide": (
        frozenset({Role.APPROVER, Role.ADMINISTRATOR}),
        frozenset({Role.APPROVER, Role.ADMINISTRATOR}),
    ),
    "operate": (
        frozenset({Role.ENGINEER, Role.OPERATOR, Role.ADMINISTRATOR}),
        frozenset({Role.OPERATOR, Role.ADMINISTRATOR}),
    ),
    "engineer": (frozenset({Role.ENGINEER, Role.ADMINISTRATOR}), frozenset({Role.ADMINISTRATOR})),
    "administer": (frozenset({Role.ADMINISTRATOR}), frozenset({Role.ADMINISTRATOR})),
    "pool": (frozenset(), frozenset({Role.OPERATOR, Role.ADMINISTRATOR})),
    "audit": (
        frozenset({Role.AUDITOR, Role.ADMINISTRATOR}),
        frozenset({Role.AUDITOR, Role.ADMINISTRATOR}),
    ),
}


class PermissionRefused(PermissionError):
    """The person may not do this; names person, verb and project."""

    def __init__(self, user: Any, verb: str, project: Any = None) -> None:
        self.verb = verb
        where = f" in project {project.slug!r}" if project is not None else " on the plant"
        super().__init__(f"{user} may not {verb}{where}")


def sees_everything(user: Any) -> bool:
    """Superusers and plant-wide readers."""
    return bool(
        user.is_authenticated
        and user.is_active
        and (user.is_superuser or user.plant_role in _READERS)
    )


def project_roles(user: Any) -> dict[int, set[str]]:
    """Project id → roles, read once per user object."""
    cached: dict[int, set[str]] | None = getattr(user, "_project_roles", None)
    if cached is None:
        cached = {}
        for project_id, role in user.memberships.values_list("project_id", "role"):
            cached.setdefault(project_id, set()).add(role)
        user._project_roles = cached
    return cached


def own_projects(user: Any) -> list[int]:
    """Ids of the person's projects, in order.

    Lists are filtered by these numbers, not by a subquery: of numbers the database knows how many rows they
    have, and takes an index on them; of a subquery it does not, and read everybody's newest rows until a page
    was full.
    """
    return sorted(project_roles(user))


def _own(user: Any, verb: str, project: Any) -> bool:
    in_project, plant_wide = _VERBS[verb]
    if user.is_superuser or user.plant_role in plant_wide:
        return True
    return project is not None and bool(project_roles(user).get(project.pk, set()) & in_project)


def givers(user: Any) -> list[Any]:
    """The people in whose place the person may decide now, read once per user object."""
    cached: list[Any] | None = getattr(user, "_givers", None)
    if cached is None:
        rows = user.delegations_taken.in_force().select_related("giver")
        cached = [row.giver for row in rows]
        user._givers = cached
    return cached


def may(user: Any, verb: str, project: Any = None) -> bool:
    """Whether the person may do `verb`, in the project or plant-wide; decisions also by delegation."""
    if not (user.is_authenticated and user.is_active):
        return False
    if _own(user, verb, project):
        return True
    return verb == "decide" and any(_own(giver, verb, project) for giver in givers(user))


def deciding_as(user: Any, project: Any, not_as: Any = None) -> list[Any]:
    """By whose right the person may decide in the project: his own, else those who delegated theirs.

    `not_as`: the id of somebody whose right does not count, since nobody decides his own request.
    """
    holders = [user, *givers(user)]
    return [row for row in holders if row.pk != not_as and _own(row, "decide", project)]


def require(user: Any, verb: str, project: Any = None) -> None:
    """Raise `PermissionRefused` unless the person may."""
    if not may(user, verb, project):
        raise PermissionRefused(user, verb, project)


def projects_with(user: Any, verb: str) -> list[int] | None:
    """Ids of the projects where the person may do `verb`; None means all of them."""
    if may(user, verb):
        return None
    if not user.is_authenticated:
        return []
    in_project, _ = _VERBS[verb]
    holders = [user, *(givers(user) if verb == "decide" else [])]
    return sorted(
        {
            project_id
            for holder in holders
            for project_id, roles in project_roles(holder).items()
            if roles & in_project
        }
    )
