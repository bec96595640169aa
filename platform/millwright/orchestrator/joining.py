"""A host that may join: reached with the orchestrator's certificate, and asked what it is. Nothing is changed on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from millwright.desk import Refused
from millwright.hypervisor import Hypervisor, HypervisorError

from .hosts import connect

CHECK_S = 20.0


def checker(
    site: str, factory: Callable[[str, str, str], Hypervisor] = connect
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """What the desk does for `host_check`: `{"name", "uri"}` → what the host says of itself."""

    def check(words: Mapping[str, Any]) -> dict[str, Any]:
        host = factory(str(words["name"]), str(words["uri"]), site)
        try:
            facts = host.facts(deadline_s=CHECK_S)
        except HypervisorError as error:
            raise Refused(f"{words['uri']}: {error.message}") from None
        finally:
            host.close()
        return {
            "hostname": facts.hostname,
            "architecture": facts.architecture,
            "cpu_model": facts.cpu_model,
            "cpus": sorted(cpu.id for cpu in facts.cpus),
            "numa_nodes": len(facts.numa),
            "memory_bytes": facts.memory_bytes,
            "libvirt": facts.libvirt_version,
            "qemu": facts.hypervisor_version,
            "kvm": facts.kvm_declared,
        }

    return check
