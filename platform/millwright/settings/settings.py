"""The settings object. Every process of the control plane reads it once at start."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import SettingsError

#: Distance between the ports of two instances on one machine.
PORT_SHIFT = 100


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


def gettext_noop(text: str) -> str:
    """Marks a text for translation, as Django's does, which this package does without."""
    return text


#: As in millwright.accounts.choices, which needs Django; a test holds them together.
ROLES = ("engineer", "approver", "operator", "administrator", "auditor")


class Settings(BaseSettings):
    """All settings, from `MILLWRIGHT_*` variables. Frozen: a change wants a restart.

    Ports left unset are the standard ones, shifted by 100 for each further instance on the machine.
    """

    model_config = SettingsConfigDict(env_prefix="MILLWRIGHT_", frozen=True, extra="ignore")

    instance: str = Field(
        "mw0", description=gettext_noop("name of this installation on this machine: mw0, mw1 …")
    )
    home: Path = Field(
        Path(), description=gettext_noop("state: database, certificates, secrets, logs")
    )
    cache_dir: Path = Field(
        Path(), description=gettext_noop("caches addressed by content; may be removed any time")
    )
    database_url: str = Field(
        "", description=gettext_noop("postgresql://… ; empty: SQLite in the home directory")
    )
    database_pool: int = Field(
        0,
        ge=0,
        le=200,
        description=gettext_noop(
            "connections of a portal process to PostgreSQL at most, and so many requests less one that it works on at once; 0: 12"
        ),
    )
    portal_host: str = Field("127.0.0.1", description=gettext_noop("address the portal listens on"))
    portal_port: int = Field(
        0,
        ge=0,
        le=65535,
        description=gettext_noop(
            "port the portal listens on; unset: 8480, and 100 more for each further instance"
        ),
    )
    portal_workers: int = Field(
        1, ge=1, le=64, description=gettext_noop("processes that answer people and programs")
    )
    public_url: str = Field(
        "", description=gettext_noop("how people reach the portal; empty: http://host:port")
    )
    orchestrator_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description=gettext_noop(
            "port where the orchestrator tells Prometheus its figures; unset: 8481, as above"
        ),
    )
    gateway_port: int = Field(
        0,
        ge=0,
        le=65535,
        description=gettext_noop(
            "port where the gateway tells Prometheus its figures; unset: 8482, as above"
        ),
    )
    prometheus_port: int = Field(
        0, ge=0, le=65535, description=gettext_noop("port of Prometheus; unset: 8490, as above")
    )
    alertmanager_port: int = Field(
        0, ge=0, le=65535, description=gettext_noop("port of Alertmanager; unset: 8491, as above")
    )
    agent_port: int = Field(
        9177,
        ge=1,
        le=65535,
        description=gettext_noop("port where hosts' agents tell Prometheus their figures"),
    )
    language: str = Field(
        "en", description=gettext_noop("the portal's language where a browser names none we have")
    )
    time_zone: str = Field(
        "UTC", description=gettext_noop("the plant's time zone, as in the IANA database")
    )
    two_factor_roles: str = Field(
        "",
        description=gettext_noop(
            "roles that must sign in with two factors, separated by commas, such as administrator,approver"
        ),
    )
    oidc_issuer: str = Field(
        "",
        description=gettext_noop(
            "address of the OpenID Connect provider that people sign in with; its client secret is the file secrets/oidc.secret"
        ),
    )
    oidc_client_id: str = Field(
        "millwright", description=gettext_noop("this portal's name at the provider")
    )
    oidc_name: str = Field(
        "Company account", description=gettext_noop("what the sign-in button says")
    )
    oidc_roles_claim: str = Field(
        "groups", description=gettext_noop("claim that lists a person's groups")
    )
    oidc_roles: str = Field(
        "",
        description=gettext_noop(
            "groups and their role on the whole plant, such as plant-admins=administrator,shift=operator; empty: roles are given here"
        ),
    )
    console_idle_minutes: int = Field(
        15,
        ge=1,
        le=480,
        description=gettext_noop("a console at which nobody typed for so long is closed"),
    )
    retained_copy_s: int = Field(
        60,
        ge=0,
        le=3600,
        description=gettext_noop(
            "seconds between two copies of what each controller retains, with which it is rebuilt when its disk is lost with its host; 5 to 3600, 0: none are taken"
        ),
    )
    fence_agent_path: str = Field(
        "/usr/sbin:/usr/bin:/sbin",
        description=gettext_noop("folders in which fence agents are looked for, with colons"),
    )
    ldap_url: str = Field(
        "",
        description=gettext_noop(
            "the plant's directory, such as ldaps://directory.plant.example; empty: none"
        ),
    )
    ldap_starttls: bool = Field(
        True, description=gettext_noop("encrypt ldap:// before anything is said")
    )
    ldap_base: str = Field(
        "", description=gettext_noop("where people are, such as ou=people,dc=plant")
    )
    ldap_group_base: str = Field("", description=gettext_noop("where groups are; empty: as people"))
    ldap_user_filter: str = Field(
        "(&(objectClass=person)(uid={name}))",
        description=gettext_noop("finds a person by what was typed"),
    )
    ldap_name_attribute: str = Field("uid", description=gettext_noop("the account's name"))
    ldap_bind_dn: str = Field(
        "",
        description=gettext_noop(
            "name under which the directory is asked; its password is the file secrets/ldap.password; empty: nobody's"
        ),
    )
    ldap_roles: str = Field(
        "",
        description=gettext_noop(
            "groups and their role, on the plant or in a project, such as admins=administrator,line-1-staff=line-1:engineer"
        ),
    )
    smtp_host: str = Field("", description=gettext_noop("mail server; empty: nothing is mailed"))
    smtp_port: int = Field(587, ge=1, le=65535, description=gettext_noop("port of the mail server"))
    smtp_security: str = Field(
        "starttls",
        description=gettext_noop("starttls, tls, or none: only for a server on this machine"),
    )
    smtp_user: str = Field(
        "",
        description=gettext_noop(
            "name at the mail server; its password is the file secrets/smtp.password"
        ),
    )
    mail_from: str = Field("millwright@localhost", description=gettext_noop("sender of mail"))
    ca_file: str = Field(
        "",
        description=gettext_noop(
            "certificates (PEM) that mail server and webhooks are checked with; empty: the system's"
        ),
    )
    webhook_networks: str = Field(
        "",
        description=gettext_noop(
            "networks inside the plant that webhooks may reach, such as 10.20.0.0/24; others only if public"
        ),
    )
    debug: bool = Field(
        False,
        description=gettext_noop(
            "for those who develop it: errors with their insides; never in a plant"
        ),
    )

    @field_validator("retained_copy_s")
    @classmethod
    def _copies_leave_time_to_take_them(cls, value: int) -> int:
        if 0 < value < 5:
            raise ValueError("must be 0 or at least 5: each copy is asked of the guest's agent")
        return value

    @field_validator("ldap_url")
    @classmethod
    def _directory_is_an_address(cls, value: str) -> str:
        if value and (
            urlsplit(value).scheme not in ("ldap", "ldaps") or not urlsplit(value).hostname
        ):
            raise ValueError("must begin with ldaps:// or ldap:// and name a host, or be empty")
        return value.rstrip("/")

    @field_validator("ldap_starttls")
    @classmethod
    def _directory_is_encrypted(cls, value: bool, info: ValidationInfo) -> bool:
        parts = urlsplit(info.data.get("ldap_url", ""))
        if not value and parts.scheme == "ldap" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):  # fmt: skip
            raise ValueError("may be off for a directory on this machine only; use ldaps://")
        return value

    @field_validator("ldap_user_filter")
    @classmethod
    def _filter_has_a_name(cls, value: str) -> str:
        if "{name}" not in value or value.count("(") != value.count(")"):
            raise ValueError("must be a filter in parentheses with {name} in it")
        return value

    @field_validator("ldap_roles")
    @classmethod
    def _directory_groups_lead_to_roles(cls, value: str) -> str:
        for part in filter(None, (entry.strip() for entry in value.split(","))):
            group, _equals, right = part.partition("=")
            if not group.strip() or right.rpartition(":")[2].strip() not in ROLES:
                raise ValueError(
                    f"{part!r}: write group=role or group=project:role; the roles are {', '.join(ROLES)}"
                )
        return value

    @property
    def ldap_role_of(self) -> list[tuple[str, str, str]]:
        """`ldap_roles` as (group, project or "", role), in the order of its writing."""
        found = []
        for entry in filter(None, (entry.strip() for entry in self.ldap_roles.split(","))):
            group, _equals, right = entry.partition("=")
            project, _colon, role = right.rpartition(":")
            found.append((group.strip(), project.strip(), role.strip()))
        return found

    @field_validator("smtp_security")
    @classmethod
    def _security_is_known(cls, value: str, info: ValidationInfo) -> str:
        if value not in ("starttls", "tls", "none"):
            raise ValueError("must be starttls, tls or none")
        host = info.data.get("smtp_host", "")
        if value == "none" and host not in ("", "127.0.0.1", "localhost", "::1"):
            raise ValueError("none is for a mail server on this machine; use starttls or tls")
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender_is_an_address(cls, value: str) -> str:
        if not re.fullmatch(r"[^@\s<>,;]+@[^@\s<>,;]+", value):
            raise ValueError("must be an e-mail address, such as millwright@plant.example")
        return value

    @field_validator("webhook_networks")
    @classmethod
    def _networks_are_networks(cls, value: str) -> str:
        for part in filter(None, (entry.strip() for entry in value.split(","))):
            ip_network(part)
        return value

    @property
    def webhook_network_list(self) -> list[IPv4Network | IPv6Network]:
        """`webhook_networks` as networks."""
        return [
            ip_network(part.strip()) for part in self.webhook_networks.split(",") if part.strip()
        ]

    @field_validator("two_factor_roles")
    @classmethod
    def _roles_exist(cls, value: str) -> str:
        if unknown := sorted({part.strip() for part in value.split(",")} - {"", *ROLES}):
            raise ValueError(f"{', '.join(unknown)}: the roles are {', '.join(ROLES)}")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer_is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        local = parts.hostname in {"127.0.0.1", "localhost", "::1"}
        if value and not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise ValueError("must begin with https:// (http:// on this machine only), or be empty")
        return value.rstrip("/")

    @field_validator("oidc_roles")
    @classmethod
    def _groups_lead_to_roles(cls, value: str) -> str:
        for part in filter(None, (entry.strip() for entry in value.split(","))):
            group, _equals, role = part.partition("=")
            if not group.strip() or role.strip() not in ROLES:
                raise ValueError(f"{part!r}: write group=role; the roles are {', '.join(ROLES)}")
        return value

    @property
    def oidc_role_of(self) -> dict[str, str]:
        """`oidc_roles` as group → role, in the order of its writing: the first that fits counts."""
        entries = [entry.partition("=") for entry in self.oidc_roles.split(",") if entry.strip()]
        return {group.strip(): role.strip() for group, _equals, role in entries}

    @property
    def two_factor_role_set(self) -> frozenset[str]:
        """`two_factor_roles` as a set."""
        return frozenset(part.strip() for part in self.two_factor_roles.split(",")) - {""}

    @field_validator("instance")
    @classmethod
    def _instance_is_short(cls, value: str) -> str:
        if not re.fullmatch(r"mw[0-9]", value):
            raise ValueError("must be mw0 to mw9")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("must be a name of the IANA time zone database, such as Europe/Berlin")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in {"postgresql", "sqlite"}:
            raise ValueError("must begin with postgresql:// or sqlite://, or be empty")
        return value

    def model_post_init(self, _context: object) -> None:
        """Fill in what depends on the instance."""
        shift = PORT_SHIFT * self.index
        fill = {
            "home": _xdg("XDG_STATE_HOME", ".local/state") / "millwright" / self.instance,
            "cache_dir": _xdg("XDG_CACHE_HOME", ".cache") / "millwright",
            "portal_port": 8480 + shift,
            "orchestrator_metrics_port": 8481 + shift,
            "gateway_port": 8482 + shift,
            "prometheus_port": 8490 + shift,
            "alertmanager_port": 8491 + shift,
        }
        for name, value in fill.items():
            if name not in self.model_fields_set:
                object.__setattr__(self, name, value)
        if not self.public_url:
            object.__setattr__(self, "public_url", f"http://{self.portal_host}:{self.portal_port}")

    @property
    def index(self) -> int:
        """The instance's number, 0 to 9."""
        return int(self.instance[2:])

    @property
    def plant_zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def run_dir(self) -> Path:
        """Sockets and pid files."""
        return self.home / "run"

    @property
    def log_dir(self) -> Path:
        return self.home / "logs"

    @property
    def secrets_dir(self) -> Path:
        """Files of mode 0600, one secret each."""
        return self.home / "secrets"

    @property
    def pki_dir(self) -> Path:
        return self.home / "pki"

    @property
    def lab_dir(self) -> Path:
        return self.home / "lab"

    @property
    def bundle_dir(self) -> Path:
        """Built control programs, by hash."""
        return self.home / "bundles"

    @property
    def gateway_socket(self) -> Path:
        return self.run_dir / "gateway.sock"

    @property
    def desk_socket(self) -> Path:
        """Where the active orchestrator is asked by this machine's web processes."""
        return self.run_dir / "desk.sock"

    @property
    def secret_key_file(self) -> Path:
        return self.secrets_dir / "django.key"

    @property
    def signing_key_file(self) -> Path:
        """Ed25519 private key (PEM) that signs control programs."""
        return self.pki_dir / "program-signing.key"

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'millwright.sqlite3'}"

    @property
    def is_sqlite(self) -> bool:
        return self.effective_database_url.startswith("sqlite")

    def secret(self, name: str, *, length_bytes: int = 48) -> str:
        """Return a secret kept in a file of mode 0600; made at first use, never shown elsewhere."""
        import secrets

        path = self.secrets_dir / name
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self.secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f".{name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(length_bytes))
        try:
            # A second process that made it meanwhile wins: link() refuses to overwrite.
            os.link(scratch, path)
        except FileExistsError:
            pass
        finally:
            scratch.unlink()
        return path.read_text(encoding="ascii").strip()


def read_settings() -> Settings:
    """Read the settings afresh.

    Raises:
        SettingsError: names every wrong variable, its value and the rule.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"MILLWRIGHT_{str(item['loc'][0]).upper()}={item['input']!r}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        ]
        raise SettingsError("wrong settings:\n  " + "\n  ".join(lines)) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read at the first call."""
    return read_settings()
