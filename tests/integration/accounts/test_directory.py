"""Signing in with a directory that is not ours: Debian's slapd on loopback, over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from ldap3 import MODIFY_REPLACE
from millwright.accounts import directory
from millwright.accounts.models import Membership, User
from millwright.audit.models import AuditEntry
from millwright.settings import get_settings

from tests.support.plant import Plant
from tests.support.slapd import SERVICE, SUFFIX, Slapd, running

pytestmark = pytest.mark.django_db

WORD = "a long word of hers"


@pytest.fixture(autouse=True)
def fresh_limits(settings: Any) -> None:
    """Each test has its own count of failed entries, and no slow hashing: the directory's is meant."""
    cache.clear()
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with running(tmp_path_factory.mktemp("slapd"), get_settings().secret("ldap.password")) as slapd:
        yield slapd


@pytest.fixture
def believed(server: Slapd, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings that lead to the directory; called again with what is different."""

    def believe(**changes: Any) -> None:
        settings = get_settings().model_copy(
            update={
                "ldap_url": server.ldaps,
                "ldap_base": f"ou=people,{SUFFIX}",
                "ldap_group_base": f"ou=groups,{SUFFIX}",
                "ldap_bind_dn": SERVICE,
                "ldap_roles": "shift=operator,line-1-staff=line-1:engineer",
                "ca_file": str(server.ca_file),
                **changes,
            }
        )
        monkeypatch.setattr(directory, "get_settings", lambda: settings)

    believe()
    return believe


def _enter(name: str, word: str) -> Client:
    browser = Client()
    browser.post("/accounts/login/", {"login": name, "password": word})
    return browser


def _is_in(browser: Client) -> bool:
    return browser.get("/").status_code == 200


def test_the_first_entry_makes_an_account_with_the_roles_of_its_groups(
    plant: Plant, believed: Any
) -> None:
    browser = _enter("Lena", WORD)
    assert _is_in(browser)
    lena = User.objects.get(username="lena")
    assert (str(lena), lena.email, lena.plant_role) == (
        "Lena Frey",
        "lena@plant.example",
        "operator",
    )
    assert not lena.has_usable_password()
    membership = Membership.objects.get(user=lena)
    assert (membership.project, membership.role) == (plant.project, "engineer")
    assert AuditEntry.objects.filter(action="user.create", details__by="ldap").count() == 1
    # The second entry is the same person, and changes nothing.
    entries = AuditEntry.objects.count()
    assert _is_in(_enter("lena", WORD))
    assert AuditEntry.objects.count() == entries


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("lena", "wrong"),
        ("lena", ""),
        ("*", WORD),
        ("lena)(uid=*", WORD),
        ("le*", WORD),
        ("nobody", WORD),
        (f"uid=lena,ou=people,{SUFFIX}", WORD),
    ],
)
def test_nobody_else_gets_in(plant: Plant, believed: Any, name: str, word: str) -> None:
    people = User.objects.count()
    assert not _is_in(_enter(name, word))
    assert User.objects.count() == people


def test_an_equal_name_takes_no_account_over(plant: Plant, believed: Any) -> None:
    """max is the approver here, and somebody else in the directory."""
    assert not _is_in(_enter("max", "a long word of his"))
    assert plant.approver.plant_role == ""


def test_roles_follow_groups_and_what_people_gave_stays(
    plant: Plant, believed: Any, server: Slapd
) -> None:
    _enter("lena", WORD)
    lena = User.objects.get(username="lena")
    Membership.objects.create(project=plant.project, user=lena, role="approver")
    believed(ldap_roles="gone=operator,gone=line-1:engineer")
    assert _is_in(_enter("lena", WORD))
    lena.refresh_from_db()
    assert lena.plant_role == ""
    assert [row.role for row in Membership.objects.filter(user=lena)] == ["approver"]
    assert AuditEntry.objects.filter(action="project.member_removed", details__by="ldap").exists()


def test_a_changed_password_and_a_closed_account(
    plant: Plant, believed: Any, server: Slapd
) -> None:
    server.change("uid=lena,ou=people", "userPassword", MODIFY_REPLACE, "another long word")
    try:
        assert not _is_in(_enter("lena", WORD))
        assert _is_in(_enter("lena", "another long word"))
        User.objects.filter(username="lena").update(is_active=False)
        assert not _is_in(_enter("lena", "another long word"))
    finally:
        server.change("uid=lena,ou=people", "userPassword", MODIFY_REPLACE, WORD)


def test_a_person_of_the_directory_sets_no_password_here(plant: Plant, believed: Any) -> None:
    browser = _enter("lena", WORD)
    word = "entirely-mine-4711"
    browser.post("/accounts/password/set/", {"password1": word, "password2": word})
    assert not User.objects.get(username="lena").has_usable_password()


def test_starttls_works_and_a_plain_or_unknown_server_is_not_spoken_to(
    plant: Plant, believed: Any, server: Slapd
) -> None:
    believed(ldap_url=server.ldap)
    assert directory.find("lena") is not None
    # slapd itself refuses a password over a plain connection.
    believed(ldap_url=server.ldap, ldap_starttls=False)
    with pytest.raises(directory.DirectoryError, match=r"(?i)confidential"):
        directory.find("lena")
    believed(ca_file="")
    with pytest.raises(directory.DirectoryError, match=r"(?i)certificate"):
        directory.find("lena")


def test_when_the_directory_is_away_local_accounts_go_on(plant: Plant, believed: Any) -> None:
    believed(ldap_url="ldaps://127.0.0.1:1")
    plant.approver.set_password("a local word 4711")
    plant.approver.save()
    assert not _is_in(_enter("lena", WORD))
    assert _is_in(_enter("max", "a local word 4711"))
