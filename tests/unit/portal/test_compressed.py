"""Libraries are compressed when they are vendored, and sent so to whoever takes it."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from whitenoise import WhiteNoise

SCRIPT = Path(__file__).parents[3] / "scripts/vendor_frontend.py"


def _compress(folder: Path) -> int:
    spec = importlib.util.spec_from_file_location("vendor_frontend", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return int(module.compress(folder))


def _get(server: WhiteNoise, path: str, accepts: str) -> tuple[dict[str, str], bytes]:
    environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_ACCEPT_ENCODING": accepts}
    setup_testing_defaults(environ)
    head: dict[str, str] = {}
    body = server(environ, lambda _status, rows, *_more: head.update(rows))
    return head, b"".join(body)


def test_a_browser_that_takes_it_is_sent_the_compressed_file(tmp_path: Path) -> None:
    text = b".card { color: red }\n" * 500
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/big.css").write_bytes(text)
    (tmp_path / "big.js").write_bytes(b"let a = 1;\n" * 500)
    (tmp_path / "note.txt").write_text("left alone")
    assert _compress(tmp_path) == 2
    first = (tmp_path / "deep/big.css.gz").read_bytes()
    assert not (tmp_path / "note.txt.gz").exists()
    # Again, and nothing is compressed twice or differently.
    assert _compress(tmp_path) == 2
    assert (tmp_path / "deep/big.css.gz").read_bytes() == first
    server = WhiteNoise(
        lambda _environ, start: start("404 Not Found", []) or [], root=str(tmp_path)
    )
    head, body = _get(server, "/deep/big.css", "gzip, br")
    assert head["Content-Encoding"] == "gzip"
    assert head["Vary"] == "Accept-Encoding"
    assert gzip.decompress(body) == text
    assert len(body) < len(text) / 10
    head, body = _get(server, "/deep/big.css", "identity")
    assert "Content-Encoding" not in head
    assert body == text
