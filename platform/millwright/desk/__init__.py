"""The orchestrator's desk: a local socket where pages have programs checked and rehearsed, and consoles opened.

What needs an unprivileged worker, or a host's certificate, happens in the orchestrator; web processes have neither. One request
is one line of JSON, one answer is one line; after the answer to `console` the connection carries the console's bytes.
"""

from .client import DeskError, ask, open_console
from .server import Desk, Refused

__all__ = ["Desk", "DeskError", "Refused", "ask", "open_console"]
