"""Every way a hypervisor call can fail, on one page.

The first branch is the decision a caller has to make: `Retryable` means the same call may
succeed later and nothing was decided; `Final` means that repeating it cannot help.
"""

from __future__ import annotations

from collections.abc import Mapping


class HypervisorError(Exception):
    """Base of all errors of this package.

    Args:
        message: what happened, for people; names the object and the rule.
        host: name of the host that was asked, when one was.
        details: machine-readable parts (field, value, rule, libvirt code).
    """

    #: Stable code for pages and the API; subclasses override it.
    code = "hypervisor_error"
    retryable = False

    def __init__(
        self, message: str, *, host: str | None = None, details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.host = host
        self.details: dict[str, object] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.host}: {self.message}" if self.host else self.message


class Retryable(HypervisorError):
    """The same call may succeed later; whether it had an effect is not known."""

    code = "retryable"
    retryable = True


class HostUnreachable(Retryable):
    """No connection to the host's libvirt daemon (refused, cut, handshake failed, lost)."""

    code = "host_unreachable"


class DeadlineExceeded(Retryable):
    """The call did not answer within its deadline; it may still take effect."""

    code = "deadline_exceeded"


class Busy(Retryable):
    """The object is held by another job (migration, block copy, another writer)."""

    code = "busy"


class AgentUnavailable(Retryable):
    """The guest agent does not answer: still booting, stopped, or its channel is blocked."""

    code = "agent_unavailable"


class VerificationFailed(Retryable):
    """What arrived on the host is not what was sent; sending it again may help."""

    code = "verification_failed"


class Final(HypervisorError):
    """Repeating the call cannot help: someone has to change something first."""

    code = "final"


class NotFound(Final):
    """The domain, volume, pool, network, filter or guest file does not exist."""

    code = "not_found"


class AlreadyExists(Final):
    """The name, uuid or address is taken by another object."""

    code = "already_exists"


class Conflict(Final):
    """The object's state or generation forbids the call."""

    code = "conflict"


class NoSpace(Final):
    """Not enough room in the pool or memory on the host."""

    code = "no_space"


class Unsupported(Final):
    """This host, driver or libvirt version cannot do it."""

    code = "unsupported"


class InvalidSpec(Final):
    """A value breaks a rule; `details` holds field, value and rule.

    Use `InvalidSpec.of(field, value, rule)`.
    """

    code = "invalid_spec"

    @classmethod
    def of(cls, field: str, value: object, rule: str, *, host: str | None = None) -> InvalidSpec:
        """Build the error with the message every refusal of ours has: field, value, rule."""
        return cls(
            f"{field} = {value!r}: {rule}",
            host=host,
            details={"field": field, "value": value, "rule": rule},
        )


class OwnershipError(Final):
    """The object does not carry our mark (site): it is not ours to change or destroy."""

    code = "not_ours"


class AccessDenied(Final):
    """The host's daemon knows us and refuses (certificate, ACL, missing privilege)."""

    code = "access_denied"


class GuestCommandFailed(Final):
    """The guest agent answered with an error of the guest (no such file, not permitted)."""

    code = "guest_command_failed"
