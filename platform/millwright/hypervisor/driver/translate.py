"""libvirt's error codes to our tree: one table, and a few texts where codes are too coarse."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator

import libvirt

from millwright.hypervisor.errors import (
    AccessDenied,
    AgentUnavailable,
    AlreadyExists,
    Busy,
    Conflict,
    Final,
    GuestCommandFailed,
    HostUnreachable,
    HypervisorError,
    InvalidSpec,
    NoSpace,
    NotFound,
    Retryable,
    Unsupported,
)

CODES: dict[int, type[HypervisorError]] = {
    libvirt.VIR_ERR_NO_CONNECT: HostUnreachable,
    libvirt.VIR_ERR_INVALID_CONN: HostUnreachable,
    libvirt.VIR_ERR_RPC: HostUnreachable,
    libvirt.VIR_ERR_GNUTLS_ERROR: HostUnreachable,
    libvirt.VIR_ERR_NO_DOMAIN: NotFound,
    libvirt.VIR_ERR_NO_NETWORK: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_POOL: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_VOL: NotFound,
    libvirt.VIR_ERR_NO_NWFILTER: NotFound,
    libvirt.VIR_ERR_NO_DOMAIN_METADATA: NotFound,
    libvirt.VIR_ERR_DOM_EXIST: AlreadyExists,
    libvirt.VIR_ERR_NETWORK_EXIST: AlreadyExists,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: AlreadyExists,
    libvirt.VIR_ERR_OPERATION_INVALID: Conflict,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: Busy,
    libvirt.VIR_ERR_OPERATION_ABORTED: Conflict,
    libvirt.VIR_ERR_RESOURCE_BUSY: Busy,
    libvirt.VIR_ERR_NO_MEMORY: NoSpace,
    libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_MIGRATE_UNSAFE: Unsupported,
    libvirt.VIR_ERR_XML_ERROR: InvalidSpec,
    libvirt.VIR_ERR_XML_DETAIL: InvalidSpec,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: InvalidSpec,
    libvirt.VIR_ERR_INVALID_ARG: InvalidSpec,
    libvirt.VIR_ERR_AUTH_FAILED: AccessDenied,
    libvirt.VIR_ERR_ACCESS_DENIED: AccessDenied,
    libvirt.VIR_ERR_OPERATION_DENIED: AccessDenied,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: AgentUnavailable,
    libvirt.VIR_ERR_AGENT_UNSYNCED: AgentUnavailable,
}

#: Consulted first: libvirt reports these as "internal error", "operation failed" or a system
#: error, and retryable or not depends on them.
TEXTS: tuple[tuple[re.Pattern[str], type[HypervisorError]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"client socket is closed|connection (reset|refused|closed)|broken pipe", HostUnreachable),
        (r"keepalive|end of file while reading data|no route to host", HostUnreachable),
        (r"unable to connect to server|cannot recv data|cannot send data", HostUnreachable),
        (r"no space left on device|disk quota exceeded", NoSpace),
        (r"cannot (set up guest memory|allocate memory)|out of memory", NoSpace),
        (r"unable to map backing store", NoSpace),
        (r"guest agent is not (connected|responding|available)", AgentUnavailable),
        (r"agent (not|is not) (connected|responding)|agent socket is not connected",
         AgentUnavailable),
        (r"guest agent command failed|agent command '.*' failed", GuestCommandFailed),
        (r"cannot acquire state change lock|has asynchronous jobs|pool .* is busy", Busy),
        (r"another migration job|migration in progress", Busy),
        (r"unable to execute qemu agent command 'guest-(exec|file).*no such file", NotFound),
        (r"unable to execute qemu agent command", GuestCommandFailed),
        (r"already exists|already in use by|is already defined", AlreadyExists),
        (r"is (in use|still in use|being used)|already active", Conflict),
        (r"cannot access storage file|no such file or directory", NotFound),
    )
)  # fmt: skip

#: With these codes the code is precise and the text may quote a user's value.
PRECISE = frozenset(
    {
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_NO_NWFILTER,
        libvirt.VIR_ERR_NO_DOMAIN_METADATA,
        libvirt.VIR_ERR_XML_INVALID_SCHEMA,
        libvirt.VIR_ERR_XML_ERROR,
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_NO_SUPPORT,
    }
)


def translate(error: libvirt.libvirtError, *, host: str, verb: str) -> HypervisorError:
    """The error of our tree for one of libvirt's. Unknown codes are final and say so."""
    code = error.get_error_code() or 0
    message = error.get_error_message() or str(error)
    kind: type[HypervisorError] | None = CODES.get(code)
    if code not in PRECISE:
        kind = next((k for pattern, k in TEXTS if pattern.search(message)), kind)
    if kind is None and code == libvirt.VIR_ERR_SYSTEM_ERROR:
        kind = _by_errno(error.get_int1() or 0)
    return (kind or Final)(
        f"{verb}: {message}",
        host=host,
        details={"libvirt_code": code, "libvirt_domain": error.get_error_domain() or 0},
    )


def _by_errno(number: int) -> type[HypervisorError] | None:
    if number in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT):
        return NoSpace
    if number in (errno.EAGAIN, errno.EBUSY, errno.EINTR):
        return Busy
    if number in (
        errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EPIPE,
    ):  # fmt: skip
        return HostUnreachable
    if number in (errno.EACCES, errno.EPERM):
        return AccessDenied
    if number == errno.EIO:
        return Retryable
    return None


@contextlib.contextmanager
def translated(host: str, verb: str) -> Iterator[None]:
    """Turn libvirt's exceptions into ours."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error, host=host, verb=verb) from error
