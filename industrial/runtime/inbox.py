"""Takes deliveries over: verify, unpack beside, switch by one rename, tell the result."""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from industrial.devices import DeviceError, load_devices
from industrial.modbus.access import AccessError, AccessList
from industrial.modbus.settings import ModbusSettings
from industrial.package import Bundle, BundleError, unpack
from industrial.security.policy import OpcUaPolicy

from .paths import Paths

#: An announcement that is not whole after this long never will be, and is answered as damaged.
ANNOUNCING_S = 10.0


def trusted_keys(text: str) -> list[Ed25519PublicKey]:
    """Public keys from the credential: a JSON list of base64 texts of 32 bytes."""
    return [
        Ed25519PublicKey.from_public_bytes(base64.b64decode(entry)) for entry in json.loads(text)
    ]


def write_atomic(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)


def _announced(ready: Path) -> bool:
    """Whether the announcement is written to its end: the guest agent creates the file first."""
    try:
        text = ready.read_text()
        if text.endswith("}"):
            return True
        return time.time() - ready.stat().st_mtime > ANNOUNCING_S
    except OSError:
        return False


class Inbox:
    """Looks for announced deliveries. `take_all` returns the kinds that became active."""

    def __init__(self, paths: Paths, keys: Iterable[Ed25519PublicKey]) -> None:
        self.paths = paths
        self._keys = list(keys)

    def take_all(self) -> list[str]:
        """Handle every delivery that has no result yet."""
        taken = []
        for ready in sorted(self.paths.inbox.glob("*.ready")):
            result = ready.with_suffix(".result")
            if result.exists() or not _announced(ready):
                continue
            try:
                bundle = self._verify(ready)
                self._activate(bundle)
                answer = {
                    "ok": True,
                    "message": f"{bundle.manifest.kind} {bundle.manifest.name} {bundle.manifest.version} is active",
                }
                taken.append(bundle.manifest.kind)
            except (BundleError, AccessError, DeviceError, OSError, ValueError, KeyError) as error:
                answer = {"ok": False, "message": str(error)}
            answer["active"] = {"program": self.active_program()}
            # The bundle goes first: a result that is there means that nothing is left to do.
            ready.with_suffix(".bundle").unlink(missing_ok=True)
            write_atomic(result, json.dumps(answer).encode())
        return taken

    def _verify(self, ready: Path) -> Bundle:
        announced = json.loads(ready.read_text())
        data = ready.with_suffix(".bundle").read_bytes()
        if len(data) != int(announced["size"]):
            raise BundleError(f"size: {len(data)} bytes came, {announced['size']} were announced")
        bundle = unpack(data, self._keys)
        if bundle.sha256 != announced["sha256"] or bundle.sha256 != ready.stem:
            raise BundleError("the bundle is not the one announced")
        symbols = (
            json.loads(bundle.files["symbols.json"])
            if bundle.manifest.kind == "program"
            else self._active_symbols()
        )["symbols"]
        if bundle.manifest.kind == "program" and "program.so" not in bundle.files:
            raise BundleError("program.so is missing")
        if "vplc.toml" in bundle.files:
            ModbusSettings.parse(tomllib.loads(bundle.files["vplc.toml"].decode()))
        if "security.toml" in bundle.files:
            AccessList.parse(bundle.files["security.toml"].decode())
            OpcUaPolicy.parse(bundle.files["security.toml"].decode())
        devices = {
            path: data.decode() for path, data in bundle.files.items() if path.startswith("io/")
        }
        if bundle.manifest.kind == "program" or self.paths.active.exists():
            load_devices(devices, symbols)
        return bundle

    def _active_symbols(self) -> dict[str, list[dict[str, object]]]:
        try:
            return dict(json.loads((self.paths.active / "symbols.json").read_text()))
        except FileNotFoundError:
            return {"symbols": []}

    def _activate(self, bundle: Bundle) -> None:
        target = self.paths.packages / bundle.sha256
        if not target.exists():
            scratch = self.paths.packages / f".{bundle.sha256}.{os.getpid()}"
            shutil.rmtree(scratch, ignore_errors=True)
            for path, data in bundle.files.items():
                place = scratch / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
            manifest = bundle.manifest
            about = {
                "kind": manifest.kind,
                "name": manifest.name,
                "version": manifest.version,
                "sha256": bundle.sha256,
            }
            (scratch / "about.json").write_text(json.dumps(about))
            os.sync()
            scratch.rename(target)
        link = self.paths.active if bundle.manifest.kind == "program" else self.paths.config
        before = link.resolve() if link.is_symlink() else None
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.rename(link)
        self._forget_old({target, before})

    def _forget_old(self, keep: set[Path | None]) -> None:
        """Keep what runs, what ran before, and the other kind's."""
        keep |= {
            link.resolve() for link in (self.paths.active, self.paths.config) if link.is_symlink()
        }
        for folder in self.paths.packages.iterdir():
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)

    def active_program(self) -> dict[str, str] | None:
        """What runs: name, version, sha256."""
        try:
            about = json.loads((self.paths.active / "about.json").read_text())
        except FileNotFoundError:
            return None
        return {key: str(about[key]) for key in ("name", "version", "sha256")}
