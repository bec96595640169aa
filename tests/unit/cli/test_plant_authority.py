"""A portal whose certificate comes from the plant's own authority, from a person's machine."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from millwright.cli import cli
from millwright.cli.client import Api
from millwright.cli.errors import CliError
from millwright.pki import Authority


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"environments": [], "results": [], "next": null}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Its URL, and the authority's certificate."""
    authority = Authority(tmp_path / "ca")
    authority.ensure()
    pair = authority.issue("portal", hosts=["127.0.0.1"], server=True)
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    both = tmp_path / "pair.pem"
    both.write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    root = tmp_path / "plant-ca.pem"
    root.write_bytes(authority.certificate)
    yield f"https://127.0.0.1:{server.server_port}", root
    server.shutdown()
    server.server_close()


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def test_login_keeps_the_plants_authority_and_commands_trust_it(
    portal: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    url, root = portal
    refused = run("login", url, "--token", "mwt_x")
    assert isinstance(refused.exception, CliError)
    done = run("login", url, "--token", "mwt_x", "--ca", str(root))
    assert done.exit_code == 0, done.output
    assert list(Api.from_settings().rows("projects/")) == []


def test_a_file_without_certificates_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate\n")
    with pytest.raises(CliError, match=r"wrong\.pem"):
        Api("https://127.0.0.1:1", "t", ca=str(wrong))
