"""The one process of the control plane that speaks Modbus and OPC UA into the cells.

Others ask it over a local socket through `GatewayClient`; `python -m millwright.gateway` runs it.
"""

from .client import GatewayClient
from .errors import GatewayError, OutsideCells, TargetFailed, TargetTimeout, TooBusy
from .schedule import Target, write_targets

__all__ = [
    "GatewayClient",
    "GatewayError",
    "OutsideCells",
    "Target",
    "TargetFailed",
    "TargetTimeout",
    "TooBusy",
    "write_targets",
]
