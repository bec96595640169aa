"""Takes deliveries over: verify, unpack beside, switch by one rename, order the scan, tell the result.

An announcement may say how a program is taken over (`mode`): `auto` changes it between two scans where its variables
can be carried over and starts it anew where not; `online` refuses instead; `restart` and `cold` start it anew, with
what is retained or without. One that says `"rollback": true` brings the program before back, and has no bundle.

A package of kind "retain" is a copy of retained values for a controller whose disk was lost: it lies there for the
first program's start. Where a program or retained values are, they stay, and the answer says so (`"how": "own"`).
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from industrial.devices import DeviceError, load_devices
from industrial.modbus.access import AccessError, AccessList
from industrial.modbus.settings import ModbusSettings
from industrial.package import Bundle, BundleError, unpack
from industrial.security.policy import OpcUaPolicy

from .carry import Carry, plan
from .paths import Paths
from .retained import VALUES, check_package, has_own, is_given
from .settings import RuntimeSettings
from .shm import Command, ShmError

MODES = ("auto", "online", "restart", "cold")
#: An announcement that is not whole after this long never will be, and is answered as damaged.
ANNOUNCING_S = 10.0
#: Files that the disk is asked for at a time.
_SYNCING = 8


def trusted_keys(text: str) -> list[Ed25519PublicKey]:
    """Public keys from the credential: a JSON list of base64 texts of 32 bytes."""
    return [
        Ed25519PublicKey.from_public_bytes(base64.b64decode(entry)) for entry in json.loads(text)
    ]


def write_atomic(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """A file that is there whole or not at all; `lasting`: after a power cut too, which waits for the disk."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        file.write(data)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    scratch.rename(path)


def make_lasting(paths: Iterable[Path]) -> None:
    """Wait until files and folders would be there after a power cut; together, so that the disk is asked a few times only."""

    def sync(path: Path) -> None:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    with ThreadPoolExecutor(_SYNCING) as pool:
        list(pool.map(sync, paths))


#: Announcements that are remembered before those that are gone are forgotten.
_REMEMBERED = 256


def _announced(ready: Path) -> bool:
    """Whether the announcement is written to its end: the guest agent creates the file first."""
    try:
        text = ready.read_text()
        if text.endswith("}"):
            return True
        return time.time() - ready.stat().st_mtime > ANNOUNCING_S
    except OSError:
        return False


def _read(path: Path) -> dict[str, Any]:
    """A file's JSON object; empty where there is none, or none yet."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Inbox:
    """Looks for announced deliveries. `take_all` returns the kinds that became active."""

    def __init__(self, paths: Paths, keys: Iterable[Ed25519PublicKey]) -> None:
        self.paths = paths
        self._keys = list(keys)
        #: What has its answer, by both files' times: it is not read again whenever somebody looks.
        self._answered: dict[str, tuple[int, int]] = {}
        #: What was taken, by its announcement's time: it is not taken again because its result was cleared away first.
        self._taken: dict[str, int] = {}
        #: Gives the scan process an order and returns why it refused; without it, whoever starts the scan does.
        self.order: Callable[[Command], str] | None = None

    def waiting(self) -> bool:
        """Whether a delivery has no result yet."""
        return any(self._due(ready) for ready in self.paths.inbox.glob("*.ready"))

    def _due(self, ready: Path) -> bool:
        """Whether an announcement has no result: none at all, or one of an earlier delivery of the same package."""
        result = ready.with_suffix(".result")
        try:
            announced_ns = ready.stat().st_mtime_ns
            seen = (announced_ns, result.stat().st_mtime_ns)
        except FileNotFoundError:
            return ready.exists() and self._taken.get(ready.name) != announced_ns
        if self._answered.get(ready.name) == seen:
            return False
        announced = _read(ready)
        if "delivery" in announced and _read(result).get("delivery") != announced["delivery"]:
            return True
        if announced:
            self._answered[ready.name] = seen
        return False

    def take_all(self) -> list[str]:
        """Handle every delivery that has no result yet."""
        taken = []
        if len(self._taken) > _REMEMBERED:
            self._taken = {
                name: at for name, at in self._taken.items() if (self.paths.inbox / name).exists()
            }
        for ready in sorted(self.paths.inbox.glob("*.ready")):
            result = ready.with_suffix(".result")
            if not self._due(ready) or not _announced(ready):
                continue
            announced: dict[str, Any] = {}
            # Before it is read: one that is announced anew meanwhile is another.
            at = ready.stat().st_mtime_ns
            try:
                announced = json.loads(ready.read_text())
                if _read(result).get("ok") and self._in_force(ready.stem, announced):
                    answer: dict[str, Any] = {"ok": True, "message": "is active already"}
                else:
                    answer, kind = self._take(ready, announced)
                    # Values alone change nothing that is served: the program that follows them does.
                    taken += [kind] if kind != "retain" else []
            except (BundleError, AccessError, DeviceError, OSError, ValueError, KeyError) as error:
                answer = {"ok": False, "message": str(error)}
            answer["active"] = {"program": self.active_program()}
            if "delivery" in announced:
                answer["delivery"] = announced["delivery"]
            # The bundle goes first: a result that is there means that nothing is left to do.
            ready.with_suffix(".bundle").unlink(missing_ok=True)
            write_atomic(result, json.dumps(answer).encode())
            self._taken[ready.name] = at
            ready.with_suffix(".target").unlink(missing_ok=True)
        return taken

    def _in_force(self, digest: str, announced: dict[str, Any]) -> bool:
        """Whether a package that is delivered again is the one that counts now, and nothing more is asked of it."""
        if str(announced.get("mode", "auto")) != "auto" or announced.get("rollback"):
            return False
        if self._switching.exists():
            return False
        package = (self.paths.packages / digest).resolve()
        return any(
            link.is_symlink() and link.resolve() == package
            for link in (self.paths.active, self.paths.config)
        )

    def _take(self, ready: Path, announced: dict[str, Any]) -> tuple[dict[str, Any], str]:
        mode = str(announced.get("mode", "auto"))
        if mode not in MODES:
            raise BundleError(f"mode = {mode!r}: one of {', '.join(MODES)}")
        if announced.get("rollback"):
            target = self._back_to(ready.with_suffix(".target"))
            kind, about = "program", read_about(target)
        else:
            target, kind, about = self._delivered(ready, announced)
        answer: dict[str, Any] = {"ok": True}
        if kind == "retain":
            answer |= self._give_back(target)
            self._forget_old(target)
            return answer, kind
        if kind == "program":
            answer |= self._switch_program(target, mode)
        else:
            self._point(self.paths.config, target)
        self._forget_old(target)
        answer["message"] = f"{kind} {about['name']} {about['version']} is active"
        return answer, kind

    def _give_back(self, package: Path) -> dict[str, Any]:
        """Lay a copy of retained values where the first start looks for its own; never over those that are there."""
        if not is_given(self.paths, package):
            if has_own(self.paths):
                why = "this controller has a program or retained values of its own: they stay"
                return {"how": "own", "message": why}
            write_atomic(self.paths.retain, (package / VALUES).read_bytes())
        make_lasting([self.paths.retain.parent])
        return {"how": "given", "message": "retained values lie ready for the next start"}

    def _back_to(self, noted: Path) -> Path:
        """The program before. Which one that was is noted first: killed on the way, going back is not done twice.

        Raises:
            BundleError: there is none.
        """
        if noted.exists():
            return self.paths.packages / noted.read_text()
        target = self.paths.previous.resolve()
        if not self.paths.previous.is_symlink() or not target.is_dir():
            raise BundleError("there is no program before this one to go back to")
        write_atomic(noted, target.name.encode())
        return target

    def _delivered(self, ready: Path, announced: dict[str, Any]) -> tuple[Path, str, Any]:
        """The package, its kind, and what it is called.

        One that was unpacked and whose bundle has gone was taken by this or an earlier delivery, whose answer was
        not written any more.
        """
        target = self.paths.packages / ready.stem
        if not ready.with_suffix(".bundle").exists() and target.is_dir():
            about = read_about(target)
            return target, str(about["kind"]), about
        bundle = self._verify(ready, announced)
        manifest = bundle.manifest
        return (
            self._unpacked(bundle),
            manifest.kind,
            {"name": manifest.name, "version": manifest.version},
        )

    @property
    def _switching(self) -> Path:
        """Is there from before the active program is named until the scan has obeyed: in between, what is named may
        not be what runs."""
        return self.paths.active.with_name("switching")

    def _switch_program(self, target: Path, mode: str) -> dict[str, Any]:
        """Make a package the program that runs.

        Raises:
            BundleError: it cannot be, in this mode; what ran goes on.
        """
        link = self.paths.active
        before = link.resolve() if link.is_symlink() else None
        carry = brought = None
        if before is None:
            brought = self._plan_brought(target)
        elif before != target:
            carry = self._plan(before, target)
            if mode == "online" and not carry.online:
                raise BundleError(f"not while it runs: {'; '.join(carry.reasons[:5])}")
        if mode == "online" and before is None:
            raise BundleError("not while it runs: nothing runs yet")
        self._switching.touch()
        self._point(link, target)
        try:
            how = self._obeyed(carry, mode, again=before == target)
        except BundleError:
            if before is None:
                link.unlink(missing_ok=True)
            else:
                self._point(link, before)
                if mode != "online":
                    self._order(Command.RELOAD)
            self._switching.unlink(missing_ok=True)
            raise
        self._switching.unlink(missing_ok=True)
        if before is not None and not _same_contents(before, target):
            self._point(self.paths.previous, before)
        planned = carry or brought
        return {"how": how, **({"carry": planned.as_dict()} if planned else {})}

    def _obeyed(self, carry: Carry | None, mode: str, *, again: bool) -> str:
        """How the scan process took the active program over: online, restart, or at its next start.

        Raises:
            BundleError: it refused; the reason.
        """
        if mode == "online" and again:
            return "online"
        if carry is not None and carry.online and mode in ("auto", "online"):
            refused = self._order(Command.CHANGE)
            if refused == "":
                return "online"
            if mode == "online":
                raise BundleError(f"not while it runs: {refused or 'there is no scan process'}")
        refused = self._order(Command.COLD if mode == "cold" else Command.RELOAD)
        if refused is None:
            return "start"
        if refused:
            raise BundleError(f"the controller does not take it: {refused}")
        return "restart"

    def _order(self, verb: Command) -> str | None:
        """Why the scan process refused, empty when it obeyed; None when there is none that could."""
        if self.order is None:
            return None
        try:
            return self.order(verb)
        except ShmError:
            return None

    def _plan(self, before: Path, target: Path) -> Carry:
        """Work out what becomes of the variables, and lay it beside the new program."""
        if self.order is None:
            before = self._retained_by(before)
        return self._carry(before, target)

    def _plan_brought(self, target: Path) -> Carry | None:
        """Of values that were given to a new disk with the variables of their layout; None where nothing is to plan."""
        layout = retained_layout(self.paths.retain)
        if layout in ("", _layout(target)):
            return None
        origin = self._retained_by(target)
        return None if origin == target else self._carry(origin, target)

    def _carry(self, before: Path, target: Path) -> Carry:
        old, new = (json.loads((at / "symbols.json").read_text()) for at in (before, target))
        carry = plan(old, new, same_code=_same_code(before, target))
        if carry.data:
            write_atomic(target / "carry.bin", carry.data)
        else:
            (target / "carry.bin").unlink(missing_ok=True)
        # For people: whoever reads it takes a broken one for none.
        write_atomic(target / "carry.json", json.dumps(carry.as_dict()).encode(), lasting=False)
        return carry

    def _retained_by(self, before: Path) -> Path:
        """The package whose values are on the disk: programs may have come and gone while nothing was scanned."""
        layout = retained_layout(self.paths.retain)
        for package in (before, *sorted(self.paths.packages.iterdir())):
            if layout and _layout(package) == layout:
                return package
        return before

    def _verify(self, ready: Path, announced: dict[str, Any]) -> Bundle:
        data = ready.with_suffix(".bundle").read_bytes()
        if len(data) != int(announced["size"]):
            raise BundleError(f"size: {len(data)} bytes came, {announced['size']} were announced")
        bundle = unpack(data, self._keys)
        if bundle.sha256 != announced["sha256"] or bundle.sha256 != ready.stem:
            raise BundleError("the bundle is not the one announced")
        if bundle.manifest.kind == "retain":
            check_package(bundle.files)
            return bundle
        symbols = (
            json.loads(bundle.files["symbols.json"])
            if bundle.manifest.kind == "program"
            else self._active_symbols()
        )["symbols"]
        if bundle.manifest.kind == "program" and "program.so" not in bundle.files:
            raise BundleError("program.so is missing")
        if "vplc.toml" in bundle.files:
            manifest = tomllib.loads(bundle.files["vplc.toml"].decode())
            ModbusSettings.parse(manifest)
            RuntimeSettings.parse(manifest)
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

    def _unpacked(self, bundle: Bundle) -> Path:
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
            text = bundle.files.get("vplc.toml", b"").decode()
            conf = RuntimeSettings.parse(tomllib.loads(text)).engine_conf()
            (scratch / "engine.conf").write_text(conf)
            make_lasting([*scratch.rglob("*"), scratch])
            scratch.rename(target)
        return target

    @staticmethod
    def _point(link: Path, target: Path) -> None:
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.rename(link)

    def _forget_old(self, *keep: Path) -> None:
        """Keep what runs, what ran before, and the other kind's."""
        links = (self.paths.active, self.paths.previous, self.paths.config)
        kept = {*keep, *(link.resolve() for link in links if link.is_symlink())}
        if not self.paths.active.is_symlink():
            # Of values that wait for the first program: the variables of their layout.
            kept.update(path for path in self.paths.packages.iterdir() if self._lies_ready(path))
        elif self.order is None:
            kept.add(self._retained_by(self.paths.active.resolve()))
        for folder in self.paths.packages.iterdir():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _lies_ready(self, package: Path) -> bool:
        layout = retained_layout(self.paths.retain)
        return bool(layout) and _layout(package) == layout

    def active_program(self) -> dict[str, str] | None:
        """What runs: name, version, sha256."""
        try:
            about = json.loads((self.paths.active / "about.json").read_text())
        except FileNotFoundError:
            return None
        return {key: str(about[key]) for key in ("name", "version", "sha256")}


def read_about(package: Path) -> dict[str, str]:
    """Kind, name and version of an unpacked package."""
    about = json.loads((package / "about.json").read_text())
    return {key: str(about[key]) for key in ("kind", "name", "version")}


def retained_layout(path: Path) -> str:
    """The layout hash of retained values on the disk; empty when there are none (twin of native/retain.c)."""
    try:
        with path.open("rb") as file:
            head = file.read(56)
    except OSError:
        return ""
    return head[24:56].hex() if len(head) == 56 and head[:8] == b"VPLCRET2" else ""


def _layout(package: Path) -> str:
    try:
        return str(json.loads((package / "symbols.json").read_text()).get("layout_hash", ""))
    except (OSError, ValueError):
        return ""


def _same_code(one: Path, other: Path) -> bool:
    """Whether two packages are the same source, compiled by other compilers."""
    digests = []
    for package in (one, other):
        try:
            digests.append(str(json.loads((package / "build.json").read_text())["c_sha256"]))
        except (OSError, ValueError, KeyError):
            return False
    return digests[0] == digests[1]


#: What belongs to one compiler's package, or is made where it is unpacked.
_OWN = frozenset(
    ["program.so", "build.json", "about.json", "carry.bin", "carry.json", "engine.conf"]
)


def _same_contents(one: Path, other: Path) -> bool:
    """Whether two packages are the same program and configuration: nothing to go back to."""
    if one == other:
        return True
    first, second = (
        {
            str(path.relative_to(package)): path.read_bytes()
            for path in package.rglob("*")
            if path.is_file() and path.name not in _OWN
        }
        for package in (one, other)
    )
    return _same_code(one, other) and first == second
