"""A machine's serial console in the terminal where the command runs."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from urllib.parse import urljoin

import click
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from .errors import CliError

#: Ctrl-], as in telnet and virsh.
LEAVE = b"\x1d"
ENDS = {
    "left": "left",
    "idle": "nobody typed for a long time",
    "forbidden": "you may no longer be here",
    "lost": "the machine stopped, or somebody else took the console over",
    "ticket": "the ticket is used or too old; try again",
    "refused": "the console cannot be had now",
}


def carry(url: str, path: str, ticket: str) -> None:
    """Carry bytes between this terminal and the console until one side ends.

    Raises:
        CliError: it cannot be opened.
    """
    address = urljoin("ws" + url.removeprefix("http") + "/", path)
    try:
        with connect(address, max_size=1 << 20, proxy=None) as live:
            live.send(json.dumps({"ticket": ticket}))
            told = json.loads(live.recv(timeout=60))
            if "error" in told:
                raise CliError(told["error"])
            click.echo(
                f"{told['opened']['machine']} on {told['opened']['host']}; Ctrl-] leaves", err=True
            )
            with _raw():
                _pump(live)
    except ConnectionClosed as error:
        reason = error.rcvd.reason if error.rcvd else ""
        raise CliError(ENDS.get(reason, "the connection broke")) from None
    except (OSError, TimeoutError, WebSocketException) as error:
        raise CliError(f"the portal at {url} opens no console ({type(error).__name__})") from None


def _pump(live: ClientConnection) -> None:
    ended = threading.Event()
    reason = ""

    def outward() -> None:
        nonlocal reason
        try:
            for data in live:
                if isinstance(data, bytes):
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
        except ConnectionClosed:
            pass
        finally:
            reason = live.close_reason or ""
            ended.set()

    reader = threading.Thread(target=outward, daemon=True)
    reader.start()
    typed = sys.stdin.fileno()
    while not ended.is_set():
        ready, _, _ = select.select([typed], [], [], 0.2)
        if not ready:
            continue
        data = os.read(typed, 4096)
        before, leave, _rest = data.partition(LEAVE)
        if before:
            live.send(before)
        if leave or not data:
            live.close()
            break
    reader.join(5)
    click.echo(f"\r\nconsole: {ENDS.get(reason, 'left')}", err=True)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Every key goes to the machine; the terminal is as before afterwards."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
