"""What carries a moving machine's memory and disks between two hosts, encrypted in large pieces.

Runs beside libvirt on every host (`millwright-relay`), the standard library only; see `docs/adr/0012-a-relay-carries-moves.md`.
"""

from .client import Passage, open_passage
from .protocol import PORT, RelayError
from .service import Relay

__all__ = ["PORT", "Passage", "Relay", "RelayError", "open_passage"]
