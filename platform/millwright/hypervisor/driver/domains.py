"""The life of a domain."""

from __future__ import annotations

import contextlib
from uuid import UUID

import libvirt

from millwright.hypervisor.domain.spec import DomainSpec
from millwright.hypervisor.domain.xml import render_domain
from millwright.hypervisor.errors import Conflict
from millwright.hypervisor.rules import ACTIVE, check_define, check_generation, check_owned
from millwright.hypervisor.types import DomainInfo, DomainState, Pins

from . import vgpus
from .base import Base, state_of
from .deadline import Deadline

UNDEFINE_ALL = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class DomainVerbs(Base):
    """`define`, `undefine`, `start`, `shutdown`, `destroy`, `domain`, `set_autostart`, `pins`."""

    def define(self, spec: DomainSpec, *, deadline_s: float | None = None) -> DomainInfo:
        """See the port."""
        xml = render_domain(spec)

        def work(conn: libvirt.virConnect, deadline: Deadline) -> DomainInfo:
            with self._exclusive("domain", str(spec.uuid), deadline):
                present = self._find(conn, spec.uuid)
                same_uuid = None
                if present is not None:
                    stored = self._mark(present, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
                    same_uuid = (present.name(), stored)
                same_name: UUID | None = None
                with contextlib.suppress(libvirt.libvirtError):
                    same_name = UUID(bytes=conn.lookupByName(spec.name).UUID())
                check_define(
                    spec,
                    site=self.site,
                    host=self.name,
                    same_uuid=same_uuid,
                    same_name=same_name,
                )
                if spec.vgpus:
                    vgpus.ensure(conn, spec.uuid, spec.vgpus)
                domain = conn.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
                if bool(domain.autostart()) != spec.autostart:
                    domain.setAutostart(int(spec.autostart))
                return self._info(domain)

        return self._call("define", deadline_s, work)

    def undefine(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> bool:
            with self._exclusive("domain", str(uuid), deadline):
                domain = self._find(conn, uuid)
                if domain is None:
                    with contextlib.suppress(libvirt.libvirtError):
                        # Made for a domain that was never defined; most hosts have no such devices.
                        vgpus.remove(conn, uuid)
                    return False
                what = f"domain {domain.name()!r}"
                check_owned(self._mark(domain), self.site, what, self.name)
                # libvirt would make a running domain transient, which forgets it half.
                state, _ = state_of(*domain.state())
                if state in ACTIVE:
                    raise Conflict(f"{what} is {state.value}", host=self.name)
                if "type='mdev'" in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE):
                    # Before it is forgotten: who is stopped here finds the domain, and them, again.
                    vgpus.remove(conn, uuid)
                try:
                    domain.undefineFlags(UNDEFINE_ALL)
                except libvirt.libvirtError as error:
                    if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                        return False
                    # Drivers without snapshots refuse the flags, not the wish.
                    if error.get_error_code() not in (
                        libvirt.VIR_ERR_INVALID_ARG,
                        libvirt.VIR_ERR_NO_SUPPORT,
                    ):
                        raise
                    domain.undefine()
                return True

        return self._call("undefine", deadline_s, work)

    def start(
        self, uuid: UUID, *, generation: int | None = None, deadline_s: float | None = None
    ) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> bool:
            with self._exclusive("domain", str(uuid), deadline):
                domain = self._known(conn, uuid)
                what = f"domain {domain.name()!r}"
                mark = check_owned(self._mark(domain), self.site, what, self.name)
                check_generation(mark, generation, what, self.name)
                if domain.isActive():
                    return False
                try:
                    domain.create()
                except libvirt.libvirtError:
                    if domain.isActive():
                        return False  # autostart or another orchestrator was quicker
                    raise
                return True

        return self._call("start", deadline_s, work)

    def shutdown(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> bool:
            domain = self._owned(conn, uuid)
            if not domain.isActive():
                return False
            try:
                domain.shutdown()
            except libvirt.libvirtError:
                if not domain.isActive():
                    return False
                raise
            return True

        return self._call("shutdown", deadline_s, work)

    def destroy(self, uuid: UUID, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> bool:
            domain = self._find(conn, uuid)
            if domain is None:
                return False
            check_owned(self._mark(domain), self.site, f"domain {domain.name()!r}", self.name)
            if not domain.isActive():
                return False
            try:
                domain.destroy()
            except libvirt.libvirtError:
                if self._find(conn, uuid) is None or not domain.isActive():
                    return False
                raise
            return True

        return self._call("destroy", deadline_s, work)

    def domain(self, uuid: UUID, *, deadline_s: float | None = None) -> DomainInfo | None:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> DomainInfo | None:
            domain = self._find(conn, uuid)
            try:
                return None if domain is None else self._info(domain)
            except libvirt.libvirtError as error:
                # Undefined, or migrated away, since it was found.
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise

        return self._call("domain", deadline_s, ask)

    def _info(self, domain: libvirt.virDomain) -> DomainInfo:
        state, reason = state_of(*domain.state())
        persistent = bool(domain.isPersistent())
        return DomainInfo(
            uuid=UUID(bytes=domain.UUID()),
            name=domain.name(),
            state=state,
            metadata=self._mark(domain),
            autostart=bool(persistent and domain.autostart()),
            persistent=persistent,
            xml=domain.XMLDesc(0),
            reason=reason,
        )

    def set_autostart(self, uuid: UUID, enabled: bool, *, deadline_s: float | None = None) -> None:
        """See the port."""

        def work(conn: libvirt.virConnect, _: Deadline) -> None:
            domain = self._owned(conn, uuid)
            if bool(domain.autostart()) != enabled:
                domain.setAutostart(int(enabled))

        self._call("set_autostart", deadline_s, work)

    def pins(self, uuid: UUID, *, deadline_s: float | None = None) -> Pins:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> Pins:
            domain = self._known(conn, uuid)
            active = bool(domain.isActive())
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE if active else libvirt.VIR_DOMAIN_AFFECT_CONFIG
            vcpus = domain.vcpuPinInfo(flags)
            everything = frozenset(range(conn.getCPUMap()[0]))
            try:
                emulator = _cpus(domain.emulatorPinInfo(flags))
                iothreads = {int(entry[0]): _cpus(entry[1]) for entry in domain.ioThreadInfo(flags)}
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                    raise
                emulator, iothreads = everything, {}
            return Pins(
                vcpus={number: _cpus(pin) for number, pin in enumerate(vcpus)},
                emulator=emulator,
                iothreads=iothreads,
            )

        return self._call("pins", deadline_s, ask)

    def _require_running(self, domain: libvirt.virDomain) -> None:
        state, _ = state_of(*domain.state())
        if state is not DomainState.RUNNING:
            raise Conflict(f"domain {domain.name()!r} is {state.value}", host=self.name)


def _cpus(mask: object) -> frozenset[int]:
    assert isinstance(mask, list | tuple)  # noqa: S101 - libvirt's tuple of booleans
    return frozenset(number for number, allowed in enumerate(mask) if allowed)
