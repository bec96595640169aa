"""Networks (a cell's part on this host) and filters."""

from __future__ import annotations

from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.errors import Conflict, OwnershipError
from millwright.hypervisor.filters import check_filter, normalise_filter, render_filter
from millwright.hypervisor.rules import check_network, object_uuid
from millwright.hypervisor.types import FilterSpec, NetworkSpec

from .base import Base
from .deadline import Deadline


def filters_of(domain: libvirt.virDomain) -> frozenset[str]:
    """The filters that a domain's interfaces name; none of one that has gone since it was listed."""
    try:
        root = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own answer
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return frozenset()
        raise
    return frozenset(row.get("filter", "") for row in root.iterfind("devices/interface/filterref"))


class NetworkVerbs(Base):
    """Network and filter verbs."""

    def ensure_network(self, spec: NetworkSpec, *, deadline_s: float | None = None) -> None:
        """See the port. A network somebody else defined is used when it is the same one."""
        check_network(spec)

        def work(conn: libvirt.virConnect, deadline: Deadline) -> None:
            with self._exclusive("network", spec.name, deadline):
                network = self._network(conn, spec.name)
                if network is None:
                    uuid = object_uuid(self.site, "network", spec.name)
                    network = conn.networkDefineXML(_network_xml(spec, uuid))
                elif _bridge(network) != spec.bridge:
                    raise Conflict(
                        f"network {spec.name!r} is on bridge {_bridge(network)!r}, "
                        f"not on {spec.bridge!r}",
                        host=self.name,
                    )
                if not network.isActive():
                    network.create()
                if not network.autostart():
                    network.setAutostart(1)

        self._call("ensure_network", deadline_s, work)

    def remove_network(self, name: str, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> bool:
            with self._exclusive("network", name, deadline):
                network = self._network(conn, name)
                if network is None:
                    return False
                self._check_uuid(network.UUIDString(), "network", name)
                root = ET.fromstring(network.XMLDesc(0))  # noqa: S314 - libvirt's own answer
                if int(root.get("connections", "0")):
                    raise Conflict(
                        f"network {name!r} has {root.get('connections')} nics", host=self.name
                    )
                if network.isActive():
                    network.destroy()
                network.undefine()
                return True

        return self._call("remove_network", deadline_s, work)

    def ensure_filter(self, spec: FilterSpec, *, deadline_s: float | None = None) -> bool:
        """See the port."""
        check_filter(spec)
        uuid = object_uuid(self.site, "filter", spec.name)
        xml = render_filter(spec, uuid)

        def work(conn: libvirt.virConnect, deadline: Deadline) -> bool:
            with self._exclusive("filter", spec.name, deadline):
                present = self._filter(conn, spec.name)
                if present is not None:
                    self._check_uuid(present.UUIDString(), "filter", spec.name)
                    # Every redefinition rebuilds the rules of each nic that uses it.
                    if normalise_filter(present.XMLDesc(0)) == normalise_filter(xml):
                        return False
                conn.nwfilterDefineXML(xml)
                return True

        return self._call("ensure_filter", deadline_s, work)

    def remove_filter(self, name: str, *, deadline_s: float | None = None) -> bool:
        """See the port."""

        def work(conn: libvirt.virConnect, deadline: Deadline) -> bool:
            with self._exclusive("filter", name, deadline):
                present = self._filter(conn, name)
                if present is None:
                    return False
                self._check_uuid(present.UUIDString(), "filter", name)
                # libvirt protects a filter in use only while its domain runs.
                for domain in conn.listAllDomains():
                    if name in filters_of(domain):
                        raise Conflict(
                            f"filter {name!r} is used by {domain.name()!r}", host=self.name
                        )
                present.undefine()
                return True

        return self._call("remove_filter", deadline_s, work)

    def _check_uuid(self, uuid: str, kind: str, name: str) -> None:
        if UUID(uuid) != object_uuid(self.site, kind, name):
            raise OwnershipError(f"{kind} {name!r} is not ours and is left alone", host=self.name)

    @staticmethod
    def _network(conn: libvirt.virConnect, name: str) -> libvirt.virNetwork | None:
        try:
            return conn.networkLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
                return None
            raise

    @staticmethod
    def _filter(conn: libvirt.virConnect, name: str) -> libvirt.virNWFilter | None:
        try:
            return conn.nwfilterLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_NWFILTER:
                return None
            raise


def _network_xml(spec: NetworkSpec, uuid: UUID) -> str:
    root = ET.Element("network")
    ET.SubElement(root, "name").text = spec.name
    ET.SubElement(root, "uuid").text = str(uuid)
    ET.SubElement(root, "forward", mode="bridge")
    ET.SubElement(root, "bridge", name=spec.bridge)
    return ET.tostring(root, encoding="unicode")


def _bridge(network: libvirt.virNetwork) -> str:
    root = ET.fromstring(network.XMLDesc(0))  # noqa: S314 - libvirt's own answer
    bridge = root.find("bridge")
    return "" if bridge is None else bridge.get("name", "")
