"""Step: the people of the example, their project, and tokens in files of mode 0600."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

from millwright.cli.client import token_file

from .steps import Done, Plan

#: user → (full name, plant-wide role, role in the project)
PEOPLE = {
    "erin": ("Erin Engineer", "", "engineer"),
    "max": ("Max Manager", "", "approver"),
    "olga": ("Olga Operator", "operator", ""),
    "ada": ("Ada Administrator", "administrator", ""),
}
#: Who the command line of this machine is, and who discovers Prometheus' targets.
CLI_USER, DISCOVERY_USER = "ada", "prometheus"
DISCOVERY_TOKEN = "discovery.token"  # noqa: S105  # a file's name
TOKEN_LIFETIME = dt.timedelta(days=90)
#: A token with less left than this is replaced.
RENEW_BEFORE = dt.timedelta(days=7)


def write_secret(path: Path, text: str) -> None:
    """Write a secret file, mode 0600, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    scratch.replace(path)


def ensure_token(user: Any, path: Path, name: str, scope: str = "write") -> bool:
    """Have a usable token in a file; True if a new one was issued."""
    import hashlib

    from django.utils import timezone

    from millwright.accounts.actions import issue_token
    from millwright.accounts.models import ApiToken

    try:
        digest = hashlib.sha256(path.read_text(encoding="ascii").strip().encode()).hexdigest()
    except FileNotFoundError:
        digest = ""
    usable = ApiToken.objects.usable().filter(
        digest=digest, user=user, scope=scope, expires_at__gt=timezone.now() + RENEW_BEFORE
    )
    if digest and usable.exists():
        return False
    _row, secret = issue_token(None, user, name, scope=scope, lifetime=TOKEN_LIFETIME)
    write_secret(path, secret)
    return True


def prepare(plan: Plan) -> Done:
    """Have people without passwords, the project and its members, and tokens."""
    from millwright.accounts.actions import ensure_member, ensure_project, ensure_user
    from millwright.accounts.models import Membership, Project, User

    changes = []
    names = set(User.objects.values_list("username", flat=True))
    projects = set(Project.objects.values_list("slug", flat=True))
    members = Membership.objects.count()
    project = ensure_project(None, plan.project, "Line 1")
    if plan.project not in projects:
        changes.append(f"project {plan.project}")
    users = {}
    for name, (full, plant_role, role) in PEOPLE.items():
        users[name] = ensure_user(None, name, full_name=full, plant_role=plant_role)
        if role:
            ensure_member(None, project, users[name], role)
    service = ensure_user(None, DISCOVERY_USER, full_name="Service discovery", is_service=True)
    changes += [f"user {name}" for name in [*PEOPLE, DISCOVERY_USER] if name not in names]
    if Membership.objects.count() != members:
        changes.append(f"members of {plan.project}")
    for name, user in users.items():
        if ensure_token(user, token_file(plan.settings, name), f"millwright up ({name})"):
            changes.append(f"token of {name}")
    if ensure_token(users[CLI_USER], token_file(plan.settings), "command line"):
        changes.append("token of the command line")
    if ensure_token(
        service, plan.settings.secrets_dir / DISCOVERY_TOKEN, "service discovery", "discovery"
    ):
        changes.append("token of Prometheus")
    return Done.of(changes)


def invitations(plan: Plan, *, bare: bool = False) -> list[str]:
    """One-time sign-in links, and what to look at: loopback only, once, within 15 minutes."""
    from millwright.accounts.actions import make_login_link
    from millwright.accounts.models import User

    url = plan.settings.public_url
    lines = ["", "Open" if not bare else "The portal"]
    lines.append(f"  {url}/" if bare else f"  {url}/environments/{plan.environment}/")
    lines += [f"  http://127.0.0.1:{plan.settings.prometheus_port}/   Prometheus", ""]
    lines.append("Sign in (each link once, within 15 minutes; more: millwright user link NAME)")
    for name, (full, plant_role, role) in PEOPLE.items():
        _row, secret = make_login_link(None, User.objects.get(username=name))
        lines.append(f"  {full:<18} {plant_role or role:<14} {url}/enter/{secret}/")
    return lines
