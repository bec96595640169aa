"""A bundle is a gzip tar: manifest.json, manifest.sig, then the files that the manifest names.

The signature (Ed25519, 64 bytes) covers the exact bytes of manifest.json; the manifest holds size and
SHA-256 of every file. The same content gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT = 1
KINDS = ("program", "config", "retain")
#: A control program is small; more than this is refused before it is unpacked.
MAX_BYTES = 64 * 2**20
MAX_FILES = 2000
_PATH = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


class BundleError(ValueError):
    """The bundle is not what was agreed; the text names the part and the rule."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself."""

    kind: str
    name: str
    version: str
    files: Mapping[str, tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle."""

    manifest: Manifest
    files: Mapping[str, bytes]
    sha256: str


def pack(
    kind: str, name: str, version: str, files: Mapping[str, bytes], key: Ed25519PrivateKey
) -> bytes:
    """Make a signed bundle.

    Raises:
        BundleError: a path or the kind breaks a rule.
    """
    if kind not in KINDS:
        raise BundleError(f"kind = {kind!r}: one of {', '.join(KINDS)}")
    for path in files:
        _check_path(path)
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "name": name,
        "version": version,
        "files": {
            path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for path, data in sorted(files.items())
        },
    }
    head = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in (
            ("manifest.json", head),
            ("manifest.sig", key.sign(head)),
            *sorted(files.items()),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write(raw.getvalue())
    return packed.getvalue()


def unpack(data: bytes, keys: Iterable[Ed25519PublicKey]) -> Bundle:
    """Verify signature and hashes, and return the content.

    Raises:
        BundleError: it is damaged, or signed by none of the keys.
    """
    if len(data) > MAX_BYTES:
        raise BundleError(f"size = {len(data)} bytes: at most {MAX_BYTES}")
    parts = _read(data)
    try:
        head, signature = parts.pop("manifest.json"), parts.pop("manifest.sig")
    except KeyError as missing:
        raise BundleError(f"{missing} is missing") from None
    if not any(_signed_by(key, signature, head) for key in keys):
        raise BundleError("signature: not by a key this machine trusts")
    manifest = _manifest(head)
    if set(parts) != set(manifest.files):
        odd = sorted(set(parts) ^ set(manifest.files))
        raise BundleError(f"files: {', '.join(odd[:5])} stand in the manifest or the archive only")
    for path, content in parts.items():
        sha256, size = manifest.files[path]
        if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
            raise BundleError(f"{path}: the content is not the one that was signed")
    return Bundle(manifest, parts, hashlib.sha256(data).hexdigest())


def _read(data: bytes) -> dict[str, bytes]:
    parts: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for entry in archive:
                _check_path(entry.name)
                total += entry.size
                if not entry.isfile() or entry.name in parts:
                    raise BundleError(f"{entry.name}: not a plain file, or twice there")
                if total > MAX_BYTES or len(parts) > MAX_FILES:
                    raise BundleError(f"content: more than {MAX_BYTES} bytes or {MAX_FILES} files")
                stream = archive.extractfile(entry)
                parts[entry.name] = stream.read() if stream is not None else b""
    except BundleError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise BundleError(f"archive: {error}") from None
    return parts


def _check_path(path: str) -> None:
    if not _PATH.fullmatch(path) or ".." in path.split("/") or len(path) > 240:
        raise BundleError(
            f"path = {path!r}: relative, of letters, digits, dot, dash and underscore"
        )


def _signed_by(key: Ed25519PublicKey, signature: bytes, head: bytes) -> bool:
    try:
        key.verify(signature, head)
    except InvalidSignature:
        return False
    return True


def _manifest(head: bytes) -> Manifest:
    try:
        raw = json.loads(head)
        manifest = Manifest(
            str(raw["kind"]),
            str(raw["name"]),
            str(raw["version"]),
            {
                str(path): (str(row["sha256"]), int(row["size"]))
                for path, row in raw["files"].items()
            },
        )
        known = raw["format"] == FORMAT and manifest.kind in KINDS
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"manifest.json: {type(error).__name__}: {error}") from None
    if not known:
        raise BundleError(
            f"manifest.json: format {raw['format']!r}, kind {manifest.kind!r} are not known here"
        )
    return manifest
