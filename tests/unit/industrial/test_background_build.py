"""The second stage beside a controller that runs: gcc gets idle priority and limits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from industrial.st import BuildError, build_shared_object
from industrial.st.build import IDLE_BYTES, IDLE_CPU_S

#: Says under which limits it was started, and refuses.
GCC = """#!/bin/sh
{ chrt -p $$; ulimit -t; ulimit -v; echo "$@"; } > "$TOLD"
exit 1
"""


@pytest.mark.skipif(not (shutil.which("chrt") and shutil.which("prlimit")), reason="util-linux")
@pytest.mark.parametrize("idle", [True, False])
def test_gcc_in_the_background_takes_what_others_leave_and_not_all_of_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    (tmp_path / "gcc").write_text(GCC)
    (tmp_path / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    with pytest.raises(BuildError):
        build_shared_object("int x;", tmp_path / "p.so", "gcc", idle=idle)
    policy, _, seconds, kib, words = (tmp_path / "told").read_text().splitlines()
    assert "-O1" in words.split()
    # Whoever runs these tests may have idle priority himself.
    assert policy.endswith("SCHED_IDLE") or not idle
    assert (seconds == str(IDLE_CPU_S)) is idle
    assert (kib == str(IDLE_BYTES // 1024)) is idle
    assert not (tmp_path / "p.so").exists()
