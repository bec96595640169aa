"""Who goes first: a force before the program, the program before a client."""

from __future__ import annotations

from pathlib import Path

from industrial.runtime.shm import Area, Write
from tests.support.engine import engine, two_tasks
from tests.support.vplc import until


def test_a_force_goes_before_the_program_and_before_a_client(tmp_path: Path) -> None:
    with engine(tmp_path) as made:
        made.install("p", two_tasks())
        shm = made.start()

        def scans() -> int:
            return shm.tasks()[0].scans if shm.tasks() else 0

        def for_some_scans() -> set[tuple[int, int, int]]:
            end, seen = scans() + 30, set()
            while scans() < end:
                images = shm.snapshot()
                seen.add((images.outputs[8], images.memory[200], images.memory[10]))
            return seen

        until(lambda: scans() > 3, "scans")
        # The program writes output 8 in every scan; memory 200 is only a client's, and 10 has an initial value.
        assert for_some_scans() == {(0, 0, 7)}
        shm.set_forces([Write(Area.OUT, 8, 1, 99), Write(Area.MEM, 200, 1, 5)])
        until(lambda: shm.snapshot().memory[200] == 5, "the forces")
        shm.write([Write(Area.MEM, 200, 1, 44), Write(Area.MEM, 10, 1, 8)])
        until(lambda: shm.snapshot().memory[10] == 8, "the client's write of what is not forced")
        assert for_some_scans() == {(99, 5, 8)}
        assert len(shm.forces()) == 2
        shm.set_forces([])
        until(lambda: shm.snapshot().outputs[8] == 0, "the program's own value")
        assert not shm.forces()
        shm.write([Write(Area.MEM, 200, 1, 45)])
        until(lambda: shm.snapshot().memory[200] == 45, "the client's")
