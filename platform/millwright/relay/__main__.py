"""`millwright-relay`: the relay of this host."""

from __future__ import annotations

import argparse
import errno
import logging
import pwd
import signal
import sys
from pathlib import Path
from types import FrameType

from .protocol import PORT
from .service import Certificates, Relay


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end; 0 if a relay is at this address already."""
    parser = argparse.ArgumentParser(prog="millwright-relay", description=__doc__)
    parser.add_argument("--address", required=True, help="address of the door")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--authority", type=Path, required=True, help="the plant's CA")
    parser.add_argument("--certificate", type=Path, required=True, help="this host's")
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument(
        "--orchestrator", action="append", required=True,
        help="common name of who may open passages; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--user", action="append", default=[],
        help="user beside root who may speak into a passage: the one QEMU runs as",
    )  # fmt: skip
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    relay = Relay(
        address=asked.address,
        port=asked.port,
        certificates=Certificates(asked.authority, asked.certificate, asked.key),
        orchestrators=frozenset(asked.orchestrator),
        users=frozenset({0, *(pwd.getpwnam(name).pw_uid for name in asked.user)}),
    )
    try:
        relay.listen()
    except OSError as error:
        logging.error("%s:%d: %s", asked.address, asked.port, error.strerror or error)
        return 0 if error.errno == errno.EADDRINUSE else 1

    def end(_signal: int, _frame: FrameType | None) -> None:
        relay.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    relay.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
