"""What administrators change of people, projects and their members. One action per change."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.audit.actions import record

from .choices import Role
from .models import Delegation, Membership, Project, User
from .permissions import may, require

#: A delegation is for an absence, not for ever.
MAX_DELEGATION = dt.timedelta(days=92)
#: What an administrator may change of a project, with the least and greatest value.
PROJECT_LIMITS: dict[str, tuple[int, int]] = {
    "quota_vcpus": (0, 100_000),
    "quota_realtime_cores": (0, 100_000),
    "quota_memory_bytes": (0, 2**60),
    "quota_disk_bytes": (0, 2**60),
    "quota_environments": (0, 100_000),
    "auto_approve_vcpus": (0, 1024),
    "second_approval_vcpus": (0, 1024),
    "decide_after_days": (0, 29),
    "max_lease_days": (1, 3650),
}
_USERNAME = re.compile(r"[a-z][a-z0-9._-]{1,39}")
_SLUG = re.compile(r"[a-z][a-z0-9-]{0,46}[a-z0-9]")


def _refuse(field: str, text: str) -> ValidationError:
    return ValidationError({field: text})


def _role(value: str, field: str = "role") -> str:
    if value not in set(Role):
        raise _refuse(
            field,
            _("%(value)r: the roles are %(roles)s") % {"value": value, "roles": ", ".join(Role)},
        )
    return value


@transaction.atomic
def create_person(
    actor: Any,
    username: str,
    *,
    full_name: str = "",
    email: str = "",
    plant_role: str = "",
    is_service: bool = False,
    with_password: bool = True,
) -> tuple[User, str]:
    """Make a person, or a service account that only tokens enter.

    Returns the account and its temporary password, told once; "" for a service account and for
    somebody who comes by the identity provider (`with_password` False).

    Raises:
        PermissionRefused: the actor does not administer the plant.
        ValidationError: the name is taken or malformed, the address or the role is none.
    """
    require(actor, "administer")
    if not _USERNAME.fullmatch(username):
        raise _refuse(
            "username",
            _(
                "%(value)r: use 2 to 40 lower-case letters, digits, dots and hyphens, begin with a letter"
            )
            % {"value": username},
        )
    if User.objects.filter(username=username).exists():
        raise _refuse("username", _("%(value)r is taken; choose another") % {"value": username})
    if plant_role:
        _role(plant_role, "plant_role")
    if email:
        try:
            validate_email(email)
        except ValidationError as error:
            raise _refuse("email", f"{email!r}: {error.messages[0]}") from None
    first, _space, last = full_name.strip().partition(" ")
    user = User(
        username=username,
        first_name=first[:150],
        last_name=last[:150],
        email=email,
        plant_role=plant_role,
        is_service=is_service,
    )
    user.set_unusable_password()
    user.save(force_insert=True)
    record(actor, "user.create", user, plant_role=plant_role, is_service=is_service)
    if is_service or not with_password:
        return user, ""
    return user, _temporary_password(actor, user)


def _temporary_password(actor: Any, user: User) -> str:
    password = secrets.token_urlsafe(15)
    user.set_password(password)
    user.password_is_temporary = True
    user.save(update_fields=("password", "password_is_temporary"))
    record(actor, "user.password", user)
    return password


@transaction.atomic
def reset_password(actor: Any, user: User) -> str:
    """Give a person a temporary password, told once; his sessions end."""
    require(actor, "administer")
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.is_service:
        raise _refuse("username", _("a service account has no password; issue a token"))
    _end_sessions(user)
    return _temporary_password(actor, user)


@transaction.atomic
def update_person(actor: Any, user: User, **fields: Any) -> User:
    """Change role, name, address, whether he may enter, whether the account is for emergencies.

    Raises:
        ValidationError: an unknown role, or nobody would be left who administers the plant.
    """
    require(actor, "administer")
    user = User.objects.select_for_update().get(pk=user.pk)
    allowed = {"plant_role", "first_name", "last_name", "email", "is_active", "is_break_glass"}
    if unknown := sorted(set(fields) - allowed):
        raise ValidationError({name: _("cannot be changed") for name in unknown})
    if fields.get("plant_role"):
        _role(fields["plant_role"], "plant_role")
    if fields.get("email"):
        try:
            validate_email(fields["email"])
        except ValidationError as error:
            raise _refuse("email", f"{fields['email']!r}: {error.messages[0]}") from None
    changed = {
        name: [str(getattr(user, name)), str(value)]
        for name, value in fields.items()
        if getattr(user, name) != value
    }
    for name in changed:
        setattr(user, name, fields[name])
    if not changed:
        return user
    user.save(update_fields=list(changed))
    _require_an_administrator()
    if "is_active" in changed and not user.is_active:
        _end_sessions(user)
        user.api_tokens.filter(revoked_at=None).update(revoked_at=timezone.now())
    record(actor, "user.update", user, **changed)
    return user


def _require_an_administrator() -> None:
    active = User.objects.filter(is_active=True, is_service=False)
    if not (
        active.filter(plant_role=Role.ADMINISTRATOR).exists()
        or active.filter(is_superuser=True).exists()
    ):
        raise _refuse(
            "plant_role", _("nobody would be left to administer the plant; name another one first")
        )


def _end_sessions(user: User) -> None:
    rows = UserSession.objects.filter(user=user)
    Session.objects.filter(
        session_key__in=list(rows.values_list("session_key", flat=True))
    ).delete()
    rows.delete()


@transaction.atomic
def create_project(actor: Any, slug: str, name: str, **limits: Any) -> Project:
    """Make a project: a line or a department, with its quota and policy.

    Raises:
        ValidationError: the name is taken or malformed, or a limit is out of bounds.
    """
    require(actor, "administer")
    if not _SLUG.fullmatch(slug):
        raise _refuse(
            "slug",
            _("%(value)r: use 2 to 48 lower-case letters, digits and hyphens, begin with a letter")
            % {"value": slug},
        )
    if Project.objects.filter(slug=slug).exists():
        raise _refuse("slug", _("%(value)r is taken; choose another") % {"value": slug})
    project = Project(slug=slug, name=name.strip() or slug, **_limits(limits))
    project.save(force_insert=True)
    record(actor, "project.create", project, project=project, **limits)
    return project


@transaction.atomic
def update_project(actor: Any, project: Project, **fields: Any) -> Project:
    """Change a project's title, quota and policy; what exists already is never taken away."""
    require(actor, "administer")
    project = Project.objects.select_for_update().get(pk=project.pk)
    name = str(fields.pop("name", project.name)).strip()
    if not name:
        raise _refuse("name", _("give the project a title"))
    wanted = {"name": name, **_limits(fields)}
    changed = {
        key: [getattr(project, key), value]
        for key, value in wanted.items()
        if getattr(project, key) != value
    }
    if changed:
        Project.objects.filter(pk=project.pk).update(**{key: wanted[key] for key in changed})
        record(actor, "project.update", project, project=project, **changed)
        project.refresh_from_db()
    return project


def _limits(values: dict[str, Any]) -> dict[str, Any]:
    errors: dict[str, str] = {}
    clean: dict[str, Any] = {}
    for name, value in values.items():
        if name == "decide_after":
            if value not in ("approve", "reject"):
                errors[name] = _("%(value)r: approve or reject") % {"value": value}
            clean[name] = value
            continue
        bounds = PROJECT_LIMITS.get(name)
        if bounds is None:
            errors[name] = _("cannot be changed")
        elif isinstance(value, bool) or not isinstance(value, int) or not (bounds[0] <= value <= bounds[1]):  # fmt: skip
            errors[name] = _("%(value)s: a whole number from %(least)s to %(most)s") % {
                "value": value,
                "least": bounds[0],
                "most": bounds[1],
            }
        else:
            clean[name] = value
    if errors:
        raise ValidationError(errors)
    return clean


@transaction.atomic
def add_member(actor: Any, project: Project, user: User, role: str) -> Membership:
    """Give a person a role in a project; having it already changes nothing."""
    require(actor, "administer", project)
    _role(role)
    if not user.is_active:
        raise _refuse("user", _("%(user)s may not enter any more") % {"user": user})
    membership, made = Membership.objects.get_or_create(project=project, user=user, role=role)
    if made:
        record(actor, "project.member", user, project=project, role=role)
    return membership


@transaction.atomic
def remove_member(actor: Any, membership: Membership) -> None:
    """Take a role in a project away."""
    require(actor, "administer", membership.project)
    record(
        actor,
        "project.member_removed",
        membership.user,
        project=membership.project,
        role=membership.role,
    )
    membership.delete()


@transaction.atomic
def delegate(actor: Any, taker: User, ends_at: dt.datetime) -> Delegation:
    """Let another person decide in one's place until a moment.

    What is handed on is what the giver may decide at the time of the decision; it cannot be handed
    on further.

    Raises:
        ValidationError: to oneself, to somebody who may not enter, in the past, or for too long.
    """
    now = timezone.now()
    if taker.pk == actor.pk:
        raise _refuse("taker", _("choose somebody else"))
    if not taker.is_active or taker.is_service:
        raise _refuse("taker", _("%(user)s cannot decide") % {"user": taker})
    if not now < ends_at <= now + MAX_DELEGATION:
        raise _refuse(
            "ends_at",
            _("choose a moment within the next %(days)s days") % {"days": MAX_DELEGATION.days},
        )
    if not (may(actor, "decide") or actor.memberships.filter(role__in=DECIDERS).exists()):
        require(actor, "decide")
    Delegation.objects.in_force().filter(giver=actor, taker=taker).update(ended_at=now)
    row = Delegation.objects.create(giver=actor, taker=taker, ends_at=ends_at)
    record(actor, "delegation.give", taker, until=ends_at.isoformat())
    return row


#: Roles in a project that decide its requests.
DECIDERS = (Role.APPROVER, Role.ADMINISTRATOR)


@transaction.atomic
def end_delegation(actor: Any, delegation: Delegation) -> None:
    """Take it back; giver, taker and administrators may."""
    if actor.pk not in (delegation.giver_id, delegation.taker_id):
        require(actor, "administer")
    if Delegation.objects.filter(pk=delegation.pk, ended_at=None).update(ended_at=timezone.now()):
        record(actor, "delegation.end", delegation.taker)
