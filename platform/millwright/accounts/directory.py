"""Signing in with the plant's directory (LDAP): an account at the first entry, roles by groups at each.

The directory is asked under the service's name where a person is and in which groups, then under the
person's own name and password; nothing of the password is kept. An account that an administrator made
is never taken over by an equal name in the directory.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.backends import BaseBackend
from django.db import transaction
from ldap3 import BASE, NONE, SUBTREE, Connection, Server, Tls
from ldap3.core.exceptions import LDAPException, LDAPInvalidCredentialsResult
from ldap3.utils.conv import escape_filter_chars

from millwright.audit.actions import record
from millwright.settings import Settings, get_settings

from .models import DirectoryAccount, Membership, Project, User

log = logging.getLogger(__name__)

#: For the connection, and for each answer.
WAIT_S = 5
#: What one person may be in.
MAX_GROUPS = 1000


class DirectoryError(Exception):
    """The directory does not answer, or not as it should."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A person, as the directory says."""

    dn: str
    #: What stays the same when the entry is renamed; the DN where the directory has nothing better.
    identity: str
    name: str
    full_name: str
    email: str
    groups: frozenset[str]


@contextmanager
def _connected(settings: Settings, name: str, password: str) -> Iterator[Connection]:
    """A connection bound under a name, encrypted before anything secret goes over it."""
    parts = urlsplit(settings.ldap_url)
    secure = parts.scheme == "ldaps"
    tls = Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=settings.ca_file or None)
    if not settings.ca_file:
        # The library trusts nobody without a file: the system's certificates then.
        tls = Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=ssl.get_default_verify_paths().cafile)
    server = Server(
        parts.hostname,
        port=parts.port or (636 if secure else 389),
        use_ssl=secure,
        tls=tls,
        get_info=NONE,
        connect_timeout=WAIT_S,
    )
    connection = Connection(
        server,
        user=name or None,
        password=password or None,
        raise_exceptions=True,
        auto_referrals=False,
        receive_timeout=WAIT_S,
    )
    try:
        connection.open()
        if not secure and settings.ldap_starttls:
            connection.start_tls()
        connection.bind()
        yield connection
    finally:
        try:
            connection.unbind()
        except (LDAPException, OSError):
            log.debug("the directory had closed the connection")


def _first(values: Any) -> str:
    value = values[0] if isinstance(values, list) and values else values
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if value else ""


def _service(settings: Settings) -> Any:
    password = settings.secret("ldap.password") if settings.ldap_bind_dn else ""
    return _connected(settings, settings.ldap_bind_dn, password)


def find(name: str) -> Entry | None:
    """What the directory says of a name; None: it knows nobody, or more than one.

    Raises:
        DirectoryError: it does not answer.
    """
    settings = get_settings()
    wanted = settings.ldap_user_filter.replace("{name}", escape_filter_chars(name))
    names = ["cn", "mail", "entryUUID", "objectGUID", settings.ldap_name_attribute]
    try:
        with _service(settings) as connection:
            connection.search(
                settings.ldap_base, wanted, SUBTREE, attributes=_asked(names), size_limit=2
            )
            rows = [row for row in connection.response if row["type"] == "searchResEntry"]
            if len(rows) != 1:
                return None
            dn, values = rows[0]["dn"], rows[0]["attributes"]
            member = escape_filter_chars(dn)
            uid = escape_filter_chars(_first(values.get(settings.ldap_name_attribute)) or name)
            connection.search(
                settings.ldap_group_base or settings.ldap_base,
                f"(|(member={member})(uniqueMember={member})(memberUid={uid}))",
                SUBTREE,
                attributes=["cn"],
                size_limit=MAX_GROUPS,
            )
            groups = {
                _first(row["attributes"].get("cn"))
                for row in connection.response
                if row["type"] == "searchResEntry"
            }
    except (LDAPException, OSError) as error:
        raise DirectoryError(f"{type(error).__name__}: {error}"[:300]) from None
    return Entry(
        dn=dn,
        identity=_first(values.get("entryUUID")) or _first(values.get("objectGUID")) or dn,
        name=_first(values.get(settings.ldap_name_attribute)) or name,
        full_name=_first(values.get("cn")),
        email=_first(values.get("mail")),
        groups=frozenset(groups),
    )


def _asked(names: list[str]) -> list[str]:
    return sorted(set(names))


def password_is_right(entry: Entry, password: str) -> bool:
    """Whether the directory lets the person in under the password.

    Raises:
        DirectoryError: it does not answer.
    """
    if not password:
        # A bind without a password succeeds as nobody: RFC 4513, 5.1.2.
        return False
    try:
        with _connected(get_settings(), entry.dn, password) as connection:
            connection.search(entry.dn, "(objectClass=*)", BASE, attributes=["1.1"])
            return True
    except LDAPInvalidCredentialsResult:
        return False
    except (LDAPException, OSError) as error:
        raise DirectoryError(f"{type(error).__name__}: {error}"[:300]) from None


def roles_of(groups: frozenset[str]) -> tuple[str, set[tuple[str, str]]]:
    """The role on the whole plant, and (project, role) pairs, that groups lead to by the settings."""
    plant, projects = "", set()
    for group, project, role in get_settings().ldap_role_of:
        if group not in groups:
            continue
        if project:
            projects.add((project, role))
        elif not plant:
            plant = role
    return plant, projects


@transaction.atomic
def account_for(entry: Entry) -> User | None:
    """The person's account, made at the first entry, with roles as the groups say now; None: refused."""
    known = DirectoryAccount.objects.select_related("user").filter(identity=entry.identity).first()
    if known is None:
        username = re.sub(r"[^a-z0-9._-]", "-", entry.name.lower())[:40]
        if User.objects.filter(username=username).exists():
            log.warning("directory: %s has an account that is not the directory's", username)
            return None
        first, _space, last = entry.full_name.partition(" ")
        user = User(
            username=username, first_name=first[:150], last_name=last[:150], email=entry.email[:254]
        )
        user.set_unusable_password()
        user.save()
        known = DirectoryAccount.objects.create(user=user, identity=entry.identity)
        record(None, "user.create", user, by="ldap")
    user = known.user
    if not user.is_active:
        return None
    _renew(known, user, *roles_of(entry.groups))
    return user


def _renew(
    known: DirectoryAccount, user: User, plant_role: str, wanted: set[tuple[str, str]]
) -> None:
    """Roles follow groups, where the settings map any; memberships that people gave stay."""
    if not get_settings().ldap_role_of:
        return
    if plant_role != user.plant_role:
        record(None, "user.update", user, plant_role=[user.plant_role, plant_role], by="ldap")
        user.plant_role = plant_role
        user.save(update_fields=("plant_role",))
    given = {(slug, role) for slug, role in known.memberships}
    projects = {
        row.slug: row for row in Project.objects.filter(slug__in={s for s, _r in given | wanted})
    }
    for slug, role in sorted(given - wanted):
        if slug in projects:
            gone, _by = Membership.objects.filter(
                project=projects[slug], user=user, role=role
            ).delete()
            if gone:
                record(
                    None,
                    "project.member_removed",
                    user,
                    project=projects[slug],
                    role=role,
                    by="ldap",
                )
    kept = given & wanted
    for slug, role in sorted(wanted - given):
        if slug not in projects:
            log.warning("directory: no project %s for %s", slug, user.username)
            continue
        _row, made = Membership.objects.get_or_create(project=projects[slug], user=user, role=role)
        if made:
            kept.add((slug, role))
            record(None, "project.member", user, project=projects[slug], role=role, by="ldap")
    if kept != given:
        known.memberships = sorted(kept)
        known.save(update_fields=("memberships",))


class DirectoryBackend(BaseBackend):
    """After the local accounts: whoever is not one of those is asked of the directory."""

    def authenticate(
        self, request: Any, username: str | None = None, password: str | None = None, **_more: Any
    ) -> User | None:
        if not (get_settings().ldap_url and username and password) or "\0" in username + password:
            return None
        local = User.objects.filter(username=username.lower(), directory_account=None)
        if local.exists():
            return None
        try:
            entry = find(username)
            if entry is None or not password_is_right(entry, password):
                return None
        except DirectoryError as error:
            # Local accounts, the emergency account among them, go on.
            log.error("the directory cannot be asked: %s", error)
            return None
        return account_for(entry)

    def get_user(self, user_id: Any) -> User | None:
        return User.objects.filter(pk=user_id, is_active=True).first()
