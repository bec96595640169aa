"""A project folder becomes a signed package, and a package goes into a controller's inbox."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from industrial.package import pack
from industrial.st import (
    BuildError,
    Compiled,
    Diagnostic,
    build_shared_object,
    read_folder,
)
from industrial.st.build import find_compiler

from .checks import compile_checked
from .paths import Paths

#: What of a project goes along with its program.
_PARTS = ("io", "src", "lib", "security.toml", "vplc.toml")


class LocalError(RuntimeError):
    """It does not start; the text says why."""


class CompileFailed(LocalError):
    """The project does not compile; what was found is in `diagnostics`."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__("\n".join(row.render() for row in diagnostics if row.severity == "error"))
        self.diagnostics = diagnostics


@dataclass(frozen=True, slots=True)
class Source:
    """A project as read and compiled to C: packages of it by any compiler are the same program."""

    name: str
    files: Mapping[str, str]
    compiled: Compiled

    @classmethod
    def read(cls, project: Path) -> Source:
        """Read and compile a folder, its settings checked.

        Raises:
            CompileFailed: with what was found.
        """
        files = read_folder(project)
        compiled = compile_checked(files)
        if not compiled.ok:
            raise CompileFailed(compiled.diagnostics)
        return cls(project.name, files, compiled)

    @property
    def stages(self) -> bool:
        """Whether both compilers are here: tcc at once, gcc when it is ready."""
        return shutil.which("tcc") is not None and shutil.which("gcc") is not None

    def bundle(
        self,
        key: Ed25519PrivateKey,
        compiler: str = "",
        *,
        idle: bool = False,
        given_up: threading.Event | None = None,
    ) -> bytes:
        """A signed package.

        Args:
            idle: compile with what other processes leave.
            given_up: ends the compiler when another thread sets it.

        Raises:
            LocalError: no C compiler.
        """
        with tempfile.TemporaryDirectory(prefix="vplc-build-") as scratch:
            target = Path(scratch) / "program.so"
            try:
                compiler = find_compiler(compiler)
                build_shared_object(
                    self.compiled.c_source, target, compiler, idle=idle, given_up=given_up
                )
            except BuildError as error:
                raise LocalError(str(error)) from None
            content = {"program.so": target.read_bytes()}
        symbols = self.compiled.symbols
        content["symbols.json"] = json.dumps(symbols).encode()
        digest = hashlib.sha256(self.compiled.c_source.encode()).hexdigest()
        content["build.json"] = json.dumps({"c_sha256": digest, "compiler": compiler}).encode()
        for path, text in self.files.items():
            if path.split("/", 1)[0] in _PARTS:
                content[path] = text.encode()
        name = str(symbols.get("program") or self.name)
        return pack("program", name, str(symbols.get("version") or "0"), content, key)


def announce(paths: Paths, bundle: bytes, mode: str = "auto") -> str:
    """Put a package into the inbox; the number by which it is answered."""
    digest = hashlib.sha256(bundle).hexdigest()
    (paths.inbox / f"{digest}.result").unlink(missing_ok=True)
    (paths.inbox / f"{digest}.bundle").write_bytes(bundle)
    ready = {"sha256": digest, "size": len(bundle), "mode": mode}
    (paths.inbox / f"{digest}.ready").write_text(json.dumps(ready))
    return digest


def announce_rollback(paths: Paths, mode: str = "auto") -> str:
    """Ask for the program that ran before."""
    number = secrets.token_hex(16)
    ready = {"rollback": True, "mode": mode}
    (paths.inbox / f"{number}.ready").write_text(json.dumps(ready))
    return number


def answer_to(
    paths: Paths,
    number: str,
    *,
    timeout_s: float = 60.0,
    given_up: threading.Event | None = None,
) -> dict[str, Any]:
    """Wait for the controller's answer and clear the delivery away.

    Args:
        given_up: ends the wait when another thread sets it.

    Raises:
        LocalError: it refused, with its reason, or said nothing in time.
    """
    result = paths.inbox / f"{number}.result"
    begun = time.monotonic()
    while not result.exists():
        if given_up is not None and given_up.is_set():
            raise LocalError("nobody waits for the controller's answer any more")
        waited = time.monotonic() - begun
        if waited > timeout_s:
            raise LocalError(f"the controller did not answer within {timeout_s:g} s")
        # Most answers come within moments; one that does not is not asked for all the time.
        time.sleep(0.002 if waited < 1 else 0.05)
    answer = dict(json.loads(result.read_text()))
    # The announcement first: one without a result is taken (again).
    for kind in ("ready", "bundle", "target", "result"):
        (paths.inbox / f"{number}.{kind}").unlink(missing_ok=True)
    if not answer["ok"]:
        raise LocalError(str(answer["message"]))
    return answer
