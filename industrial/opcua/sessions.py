"""Who may open a session, and what it may do: sessions of asyncua with our rules in between.

A channel with security wants an application certificate that is trusted; there is no trust on first use. A channel
without security is there only where security.toml opens reading in words, and then reads; nobody signs in over it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.address_space import AttributeService
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager

from industrial.security import (
    OpcUaPolicy,
    Role,
    TrustStore,
    UserEntry,
    fingerprint_of,
    verify_password,
)

from .subscriptions import OwnSubscriptions

log = logging.getLogger(__name__)
#: asyncua's own defaults: for its internal session, and for calls without one.
_ANONYMOUS, _ADMIN = User(role=UserRole.Anonymous), User(role=UserRole.Admin)

#: The name with which a one-time token is used.
TOKEN_USER = "trust"  # noqa: S105 - a name


@dataclass
class PlcUser(User):  # type: ignore[misc]
    """A session's user. Without a role it reads only, as an anonymous one does."""

    role: UserRole = UserRole.User
    name: str | None = None
    plc_role: Role | None = None
    #: What security.toml said of it when it signed in.
    entry: UserEntry | None = None

    @classmethod
    def of(cls, entry: UserEntry) -> PlcUser:
        """Who signed in by this entry."""
        return cls(name=entry.name, plc_role=entry.role, entry=entry)


class _X509Token(bytes):
    """The certificate of an X.509 user token, whose private key the client has shown to have."""


class Users(UserManager):  # type: ignore[misc]  # asyncua is untyped
    """Signs sessions in."""

    def __init__(self, policy: Callable[[], OpcUaPolicy], trust: Callable[[], TrustStore]) -> None:
        self._policy, self._trust = policy, trust
        self.refused = 0

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> PlcUser | None:
        """The user, or None."""
        policy = self._policy()
        user: PlcUser | None = None
        if isinstance(certificate, _X509Token):
            entry = policy.user_of_certificate(fingerprint_of(certificate))
            user = PlcUser.of(entry) if entry else None
        elif username is not None:
            entry = policy.user(username)
            if (
                entry is not None
                and entry.password
                and verify_password(password or "", entry.password)
            ):
                user = PlcUser.of(entry)
        elif certificate is None and policy.anonymous_read:
            user = PlcUser(name="anonymous")
        if user is None:
            self.refused += 1
            log.warning("OPC UA: refused to sign %s in", username or "a session without a name")
        return user


class PlcSession(OwnSubscriptions):
    """A session that looks at its channel before it looks at its user."""

    users: Users
    trust: Callable[[], TrustStore]

    def is_welcome(self, policy: OpcUaPolicy) -> bool:
        """Whether what let it in would let it in now."""
        if self.application and not self.iserver.trust().is_trusted(self.application):
            return False
        entry = getattr(self.user, "entry", None)
        if entry is None:
            return bool(policy.anonymous_read)
        return bool(policy.user(entry.name) == entry)

    def activate_session(
        self, params: ua.ActivateSessionParameters, peer_certificate: bytes | None
    ) -> ua.ActivateSessionResult:
        """Refuse applications that are not trusted, and users on channels without security."""
        # A channel without security has none, or an empty one.
        peer_certificate = peer_certificate or None
        token = params.UserIdentityToken
        named = isinstance(token, ua.UserNameIdentityToken)
        if self.external and peer_certificate is not None:
            self._known_application(peer_certificate, token if named else None)
        self.application = peer_certificate
        if (
            self.external
            and peer_certificate is None
            and (named or isinstance(token, ua.X509IdentityToken))
        ):
            # Whoever sits between could read along, and write in the user's name.
            raise ServiceError(ua.StatusCodes.BadIdentityTokenRejected)
        if named and getattr(token, "UserName", "") == TOKEN_USER:
            # The application is trusted now; who uses it signs in with the next session.
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        return super().activate_session(params, peer_certificate)

    async def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        """Access levels and executability are told as they are for this session's role."""
        values: list[ua.DataValue] = await super().read(params)
        if not self.external:
            return values
        role = getattr(self.user, "plc_role", None)
        attributes = self.iserver.attribute_service
        for number, wanted in enumerate(params.NodesToRead):
            if wanted.AttributeId == ua.AttributeIds.UserAccessLevel:
                symbol = attributes.symbols.get(wanted.NodeId)
                if symbol is not None and not attributes.may_write(role, symbol):
                    values[number] = _told(ua.AccessLevel.CurrentRead.mask, ua.VariantType.Byte)
            elif (
                wanted.AttributeId == ua.AttributeIds.UserExecutable
                and wanted.NodeId in self.iserver.guarded
            ):
                values[number] = _told(role is Role.ENGINEER, ua.VariantType.Boolean)
        return values

    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        """Methods that change the controller want an engineer."""
        engineer = getattr(self.user, "plc_role", None) is Role.ENGINEER
        results: list[ua.CallMethodResult] = []
        for method in params:
            if method.MethodId in self.iserver.guarded and not engineer:
                refused = ua.CallMethodResult()
                refused.StatusCode = ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
                results.append(refused)
            else:
                results += await super().call([method])
        return results

    def _known_application(self, der: bytes, token: ua.UserNameIdentityToken | None) -> None:
        store = self.iserver.trust()
        if store.is_trusted(der):
            return
        if token is not None and token.UserName == TOKEN_USER:
            try:
                _, secret = self.iserver.decrypt_user_token(self, token)
            except Exception:
                secret = ""
            if store.use_token(str(secret)):
                log.warning("OPC UA: %s is trusted by its token", store.trust_certificate(der))
                return
        log.warning("OPC UA: rejected the application certificate %s", store.reject(der))
        raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)


class PlcInternalServer(InternalServer):  # type: ignore[misc]
    """Makes our sessions and our attribute service."""

    def __init__(self, users: Users, trust: Callable[[], TrustStore]) -> None:
        super().__init__(user_manager=users)
        self.trust = trust
        self.guarded: set[ua.NodeId] = set()
        #: Connections that the port has ended.
        self.turned_away = 0
        self.attribute_service = PlcAttributes(self.aspace)

    def create_session(
        self, name: str, user: User = _ANONYMOUS, external: bool = False
    ) -> InternalSession:
        return PlcSession(
            self, self.aspace, self.subscription_service, name, user=user, external=external
        )

    def verify_x509_token(self, isession: Any, token: Any, signature: Any) -> bytes:
        return _X509Token(super().verify_x509_token(isession, token, signature))


#: Writes a value of a program's variable: symbol and value; the status code.
Writer = Callable[[Mapping[str, Any], Any], ua.StatusCode]


class PlcAttributes(AttributeService):  # type: ignore[misc]
    """Reads honour IndexRange; writes of variables go to the program's journal, by role."""

    def __init__(self, aspace: Any) -> None:
        super().__init__(aspace)
        self.symbols: dict[ua.NodeId, Mapping[str, Any]] = {}
        self.may_write: Callable[[Role | None, Mapping[str, Any]], bool] = lambda _role, _row: False
        self.writer: Writer | None = None

    def read(self, params: ua.ReadParameters) -> list[ua.DataValue]:
        values: list[ua.DataValue] = super().read(params)
        return [
            _ranged(value, wanted.IndexRange) if wanted.IndexRange else value
            for value, wanted in zip(values, params.NodesToRead, strict=True)
        ]

    async def write(self, params: ua.WriteParameters, user: User = _ADMIN) -> list[ua.StatusCode]:
        results: list[ua.StatusCode] = []
        for wanted in params.NodesToWrite:
            symbol = self.symbols.get(wanted.NodeId)
            if symbol is None or user.role is UserRole.Admin:
                one = ua.WriteParameters()
                one.NodesToWrite = [wanted]
                base: Callable[..., Awaitable[list[ua.StatusCode]]] = super().write
                results += await base(one, user=user)
                continue
            results.append(self._write(wanted, symbol, getattr(user, "plc_role", None)))
        return results

    def _write(
        self, wanted: ua.WriteValue, symbol: Mapping[str, Any], role: Role | None
    ) -> ua.StatusCode:
        if wanted.AttributeId != ua.AttributeIds.Value or not self.may_write(role, symbol):
            return ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
        if wanted.IndexRange:
            return ua.StatusCode(ua.StatusCodes.BadWriteNotSupported)
        if wanted.Value.Value is None or self.writer is None:
            return ua.StatusCode(ua.StatusCodes.BadTypeMismatch)
        return self.writer(symbol, wanted.Value.Value)


def _told(value: Any, kind: ua.VariantType) -> ua.DataValue:
    return ua.DataValue(ua.Variant(value, kind))


def _ranged(value: ua.DataValue, text: str) -> ua.DataValue:
    """An element or a range of a list: "3" or "2:5", both ends included."""
    first, colon, last = text.partition(":")
    if not first.isdigit() or (colon and (not last.isdigit() or int(last) <= int(first))):
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeInvalid))
    variant = value.Value
    items = None if variant is None else variant.Value
    start, end = int(first), int(last) if colon else int(first)
    if not isinstance(items, list) or start >= len(items):
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadIndexRangeNoData))
    return ua.DataValue(
        Value=ua.Variant(items[start : end + 1], variant.VariantType),
        StatusCode=value.StatusCode,
        SourceTimestamp=value.SourceTimestamp,
        ServerTimestamp=value.ServerTimestamp,
    )
