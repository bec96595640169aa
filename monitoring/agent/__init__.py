"""The host agent: reads one host's libvirt and realtime facts, and shows them to Prometheus. Changes nothing."""

from .app import main
from .collector import HostCollector
from .hostfacts import HostFacts, read_facts
from .libvirt_reader import LibvirtReader, Reading

__all__ = ["HostCollector", "HostFacts", "LibvirtReader", "Reading", "main", "read_facts"]
