"""The one process of the control plane that speaks Modbus and OPC UA into the cells.

Others ask it over a local socket through `GatewayClient`; `python -m millwright.gateway` runs it.
"""

from .client import GatewayClient
from .errors import GatewayError, OutsideCells, TargetFailed, TargetTimeout, TooBusy

__all__ = [
    "GatewayClient",
    "GatewayError",
    "OutsideCells",
    "TargetFailed",
    "TargetTimeout",
    "TooBusy",
]
