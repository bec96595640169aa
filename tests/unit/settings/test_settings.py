"""Settings: defaults by instance, errors that name the variable, secrets that stay put."""

import stat
from pathlib import Path

import pytest
from millwright.settings import SettingsError
from millwright.settings.settings import read_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("MILLWRIGHT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_defaults_are_the_contract(tmp_path: Path) -> None:
    settings = read_settings()
    assert settings.home == tmp_path / "state/millwright/mw0"
    assert (settings.portal_port, settings.prometheus_port) == (8480, 8490)
    assert settings.effective_database_url == f"sqlite:///{settings.home}/millwright.sqlite3"


def test_a_second_instance_has_ports_and_a_home_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MILLWRIGHT_INSTANCE", "mw2")
    settings = read_settings()
    assert settings.home == tmp_path / "state/millwright/mw2"
    assert settings.portal_port == 8680
    assert settings.public_url == "http://127.0.0.1:8680"


def test_an_explicit_port_is_not_shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWRIGHT_INSTANCE", "mw2")
    monkeypatch.setenv("MILLWRIGHT_PORTAL_PORT", "9000")
    assert read_settings().portal_port == 9000


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("MILLWRIGHT_INSTANCE", "lab", "must be mw0 to mw9"),
        ("MILLWRIGHT_TIME_ZONE", "Mars/Base", "IANA"),
        ("MILLWRIGHT_PORTAL_PORT", "70000", "65535"),
        ("MILLWRIGHT_DATABASE_URL", "mysql://x", "postgresql://"),
    ],
)
def test_an_error_names_variable_value_and_rule(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert variable in str(caught.value)
    assert value in str(caught.value)
    assert rule in str(caught.value)


def test_a_secret_is_made_once_and_readable_by_its_owner_only() -> None:
    settings = read_settings()
    first = settings.secret("example")
    assert len(first) >= 48
    assert settings.secret("example") == first
    assert stat.S_IMODE((settings.secrets_dir / "example").stat().st_mode) == 0o600
    assert [entry.name for entry in settings.secrets_dir.iterdir()] == ["example"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OIDC_ISSUER", "http://id.plant.example", "https://"),
        ("OIDC_ISSUER", "id.plant.example", "https://"),
        ("OIDC_ROLES", "shift=boss", "'shift=boss'"),
        ("OIDC_ROLES", "operator", "group=role"),
    ],
)
def test_a_wrong_identity_provider_is_named(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MILLWRIGHT_{variable}", value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    assert words in str(refused.value)
    assert variable in str(refused.value)


def test_groups_lead_to_roles_in_the_order_of_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWRIGHT_OIDC_ROLES", "boss = administrator, shift=operator")
    assert list(read_settings().oidc_role_of.items()) == [
        ("boss", "administrator"),
        ("shift", "operator"),
    ]
