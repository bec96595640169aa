"""A machine's screen for a VNC viewer of this computer: a socket of this user, and the portal behind it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import click
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from .console import ENDS
from .errors import CliError

#: The portal takes at most 64 KiB at once.
PIECE_BYTES = 16 * 1024


def serve(url: str, ask: Callable[[], tuple[str, str]], wait_s: float) -> None:
    """Wait for one viewer, open the screen with a ticket of its own, and carry bytes until one side ends.

    `ask` gives path and ticket; it is called when the viewer has come, since tickets are short-lived.

    Raises:
        CliError: nobody came, or the screen cannot be opened.
    """
    folder = Path(tempfile.mkdtemp(prefix="mw-screen-", dir=os.environ.get("XDG_RUNTIME_DIR")))
    place = folder / "vnc"
    try:
        # The folder is of mode 0700: no other user of this computer reaches the socket.
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place))
            listener.listen(1)
            listener.settimeout(wait_s)
            click.echo(f"waiting for a VNC viewer at {place}; for example: vncviewer {place}")
            try:
                viewer, _ = listener.accept()
            except TimeoutError:
                raise CliError(f"no viewer came in {wait_s:.0f} s") from None
        with viewer:
            viewer.settimeout(None)
            _carry(url, *ask(), viewer)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _carry(url: str, path: str, ticket: str, viewer: socket.socket) -> None:
    address = urljoin("ws" + url.removeprefix("http") + "/", path)
    try:
        with connect(address, max_size=None, proxy=None) as live:
            live.send(json.dumps({"ticket": ticket}))
            told = json.loads(live.recv(timeout=60))
            if "error" in told:
                raise CliError(told["error"])
            click.echo(f"{told['opened']['machine']} on {told['opened']['host']}")
            click.echo(f"screen: {ENDS.get(_pump(live, viewer), 'left')}")
    except ConnectionClosed as error:
        reason = error.rcvd.reason if error.rcvd else ""
        raise CliError(ENDS.get(reason, "the connection broke")) from None
    except (OSError, TimeoutError, WebSocketException) as error:
        raise CliError(f"the portal at {url} opens no screen ({type(error).__name__})") from None


def _pump(live: ClientConnection, viewer: socket.socket) -> str:
    """Bytes both ways; returns why it ended."""

    def outward() -> None:
        try:
            for data in live:
                if isinstance(data, bytes):
                    viewer.sendall(data)
        except (ConnectionClosed, OSError):
            pass
        finally:
            # Wakes the other direction.
            with contextlib.suppress(OSError):
                viewer.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=outward, daemon=True)
    thread.start()
    try:
        while data := viewer.recv(PIECE_BYTES):
            live.send(data)
    except (ConnectionClosed, OSError):
        pass
    live.close()
    thread.join(10)
    return live.close_reason or ""
