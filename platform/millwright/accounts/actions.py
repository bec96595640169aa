"""People, projects, tokens and one-time links."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from millwright.audit.actions import record

from .models import ApiToken, LoginLink, Membership, Project, User
from .permissions import require

#: A one-time link ends after this long, used or not.
LINK_LIFETIME = dt.timedelta(minutes=15)
MAX_TOKEN_LIFETIME = dt.timedelta(days=366)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@transaction.atomic
def ensure_user(
    actor: Any,
    username: str,
    *,
    full_name: str = "",
    plant_role: str = "",
    is_service: bool = False,
) -> User:
    """Have a person without a usable password: entry is by one-time link, then by what he sets himself."""
    user, made = User.objects.get_or_create(
        username=username,
        defaults={
            "plant_role": plant_role,
            "is_service": is_service,
            "first_name": full_name.split(" ")[0],
            "last_name": " ".join(full_name.split(" ")[1:]),
        },
    )
    if made:
        user.set_unusable_password()
        user.save(update_fields=("password",))
        record(actor, "user.create", user, plant_role=plant_role)
    return user


@transaction.atomic
def ensure_project(actor: Any, slug: str, name: str, **quota: int) -> Project:
    project, made = Project.objects.get_or_create(slug=slug, defaults={"name": name, **quota})
    if made:
        record(actor, "project.create", project, project=project, **quota)
    return project


@transaction.atomic
def ensure_member(actor: Any, project: Project, user: User, role: str) -> Membership:
    membership, made = Membership.objects.get_or_create(project=project, user=user, role=role)
    if made:
        record(actor, "project.member", user, project=project, role=role)
    return membership


@transaction.atomic
def issue_token(
    actor: Any,
    user: User,
    name: str,
    *,
    scope: str = "write",
    lifetime: dt.timedelta = dt.timedelta(days=30),
) -> tuple[ApiToken, str]:
    """Make a token; the secret is returned once and never again.

    Raises:
        PermissionRefused: for another person's token without being an administrator.
        ValidationError: the lifetime is out of bounds.
    """
    if actor is not None and actor.pk != user.pk:
        require(actor, "administer")
    if not dt.timedelta(0) < lifetime <= MAX_TOKEN_LIFETIME:
        raise ValidationError(
            {
                "lifetime": f"{lifetime}: a token lives more than 0 and at most {MAX_TOKEN_LIFETIME.days} days"
            }
        )
    secret = f"mwt_{secrets.token_urlsafe(32)}"
    token = ApiToken.objects.create(
        user=user,
        name=name,
        digest=_digest(secret),
        scope=scope,
        expires_at=timezone.now() + lifetime,
    )
    record(actor, "token.issue", token, scope=scope)
    return token, secret


@transaction.atomic
def revoke_token(actor: Any, token: ApiToken) -> None:
    if token.user_id != actor.pk:
        require(actor, "administer")
    if token.revoked_at is None:
        ApiToken.objects.filter(pk=token.pk).update(revoked_at=timezone.now())
        record(actor, "token.revoke", token)


@transaction.atomic
def make_login_link(actor: Any, user: User) -> tuple[LoginLink, str]:
    """Make a single-use link's secret; only whoever runs Millwright on its machine may (actor None)."""
    if actor is not None:
        require(actor, "administer")
    secret = secrets.token_urlsafe(24)
    link = LoginLink.objects.create(
        user=user, digest=_digest(secret), expires_at=timezone.now() + LINK_LIFETIME
    )
    record(actor, "login_link.make", user)
    return link, secret


@transaction.atomic
def use_login_link(secret: str) -> User | None:
    """The link's user, once; None if it is unknown, used, or too old."""
    now = timezone.now()
    link = LoginLink.objects.select_related("user").filter(digest=_digest(secret)).first()
    if link is None or not link.user.is_active:
        return None
    # The condition in the update makes two clicks at once one sign-in.
    if not LoginLink.objects.filter(pk=link.pk, used_at=None, expires_at__gt=now).update(
        used_at=now
    ):
        return None
    record(link.user, "login_link.use", link.user)
    return link.user
