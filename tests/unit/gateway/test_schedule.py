"""Scheduled probes: from the file to answers, changes and metrics; a broken file changes nothing."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

from millwright.gateway.errors import TargetFailed
from millwright.gateway.metrics import Metrics
from millwright.gateway.schedule import Answer, Schedule, Target, parse_after, write_targets

FAST = {"modbus": 0.01, "opcua": 0.01}


def _target(kind: str = "modbus", host: str = "10.0.0.2") -> Target:
    number = uuid.uuid5(uuid.NAMESPACE_DNS, host)
    return Target(machine=number, environment="line", name="plc", kind=kind, host=host, port=502)  # type: ignore[arg-type]  # pydantic checks it


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def test_changes_are_told_once_and_in_order(tmp_path: Path) -> None:
    async def scenario() -> None:
        path, well, shown = tmp_path / "probes.json", True, []

        async def ask(target: Target) -> str:
            if not well:
                raise TargetFailed("connection refused")
            return "holding register 0 is 7"

        schedule = Schedule(
            path, ask, lambda target, answer: shown.append((target.kind, answer)), every_s=FAST
        )
        assert write_targets(path, [_target()]) is True
        assert write_targets(path, [_target()]) is False
        schedule.take_over()
        await _until(lambda: len(shown) > 3)
        well = False
        await _until(lambda: schedule.report()["number"] == 2)
        report = schedule.report()
        assert [row["ok"] for row in report["changes"]] == [True, False]
        assert report["changes"][1]["detail"] == "connection refused"
        assert report["changes"][0]["at"] <= report["changes"][1]["at"]
        assert [row["ok"] for row in schedule.report(1)["changes"]] == [False]
        assert schedule.report(2)["changes"] == [] and schedule.report(2)["missed"] == 0
        assert len(report["latest"]) == 1
        # A file that is half written leaves what was known; one that is gone asks nobody.
        path.write_text('{"targets": [')
        schedule.take_over()
        assert schedule.report()["latest"]
        path.unlink()
        schedule.take_over()
        assert schedule.report()["latest"] == []
        assert shown[-1] == ("modbus", None)

    asyncio.run(scenario())


def test_out_of_turn_each_question_goes_out_once_and_every_answer_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        path, asked, released = tmp_path / "probes.json", [], asyncio.Event()

        async def ask(target: Target) -> str:
            asked.append((target.host, target.kind))
            if len(asked) > 4 and target.kind == "opcua":
                await released.wait()
            return "it answers"

        schedule = Schedule(
            path, ask, lambda _target, _answer: None, every_s={"modbus": 3600, "opcua": 0.05}
        )
        lost, other = _target(host="10.0.0.2"), _target(host="10.0.0.3")
        slow = lost.model_copy(update={"kind": "opcua"})
        write_targets(path, [lost, slow, other])
        schedule.take_over()
        await _until(lambda: len(schedule.report()["latest"]) == 2)
        # The first hour's turn of the other targets is not due yet.
        number = schedule.report()["number"]
        assert schedule.ask_now([lost.machine]) == 2
        await _until(lambda: schedule.report()["number"] > number)
        told = schedule.report(number)["changes"]
        assert {(row["machine"], row["ok"]) for row in told} == {(str(lost.machine), True)}
        # What is still out is not asked again; a machine that nobody knows is nothing to ask.
        await _until(lambda: len(asked) > 4)
        schedule.ask_now([lost.machine])
        assert schedule.ask_now([lost.machine, uuid.uuid4()]) == 0
        assert ("10.0.0.3", "modbus") not in asked
        # One that is gone is forgotten, its question too.
        write_targets(path, [other])
        schedule.take_over()
        released.set()
        await asyncio.sleep(0.02)
        assert {row["machine"] for row in schedule.report()["latest"]} <= {str(other.machine)}
        assert schedule.ask_now([lost.machine]) == 0

    asyncio.run(scenario())


def test_one_that_hangs_or_breaks_holds_up_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        path, answers = tmp_path / "probes.json", []

        async def ask(target: Target) -> str:
            if target.host == "10.0.0.3":
                await asyncio.sleep(3600)
            if target.host == "10.0.0.4":
                raise ZeroDivisionError
            return "ok"

        schedule = Schedule(path, ask, lambda t, a: answers.append((t.host, a)), every_s=FAST)
        write_targets(path, [_target(host=f"10.0.0.{n}") for n in (2, 3, 4)])
        running = asyncio.create_task(schedule.run())
        await _until(lambda: len([host for host, _ in answers if host == "10.0.0.2"]) > 3)
        assert {host for host, _ in answers} >= {"10.0.0.2", "10.0.0.4"}
        broken = next(answer for host, answer in answers if host == "10.0.0.4")
        assert broken is not None and not broken.ok and "ZeroDivisionError" in broken.detail
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_lost_changes_are_counted(tmp_path: Path) -> None:
    schedule = Schedule(tmp_path / "x", None, lambda *_: None)  # type: ignore[arg-type]  # never asked
    for number in range(5000):
        schedule._number += 1
        schedule._changes.append((schedule._number, {"number": number}))
    report = schedule.report(10)
    assert report["missed"] == 5000 - 4096 - 10
    assert len(report["changes"]) == 4096


def test_an_answer_is_shown_and_a_target_that_is_gone_is_not() -> None:
    metrics = Metrics()
    metrics.probed(_target(), Answer(1.0, True, 0.02, "ok"))
    labels = {"environment": "line", "machine": "plc", "kind": "modbus"}
    value = metrics.registry.get_sample_value
    assert value("millwright_probe_success", labels) == 1
    assert value("millwright_probe_seconds", labels) == 0.02
    metrics.probed(_target(), Answer(2.0, False, 3.0, "no"))
    assert value("millwright_probe_success", labels) == 0
    metrics.probed(_target(), None)
    metrics.probed(_target(), None)
    assert value("millwright_probe_success", labels) is None


def test_the_number_after_which_is_read_from_the_query() -> None:
    assert [parse_after(text) for text in (b"after=7", b"x=1&after=12", b"after=x", b"")] == [
        7,
        12,
        0,
        0,
    ]


def test_what_does_not_answer_was_gone_when_it_was_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        path, clock = tmp_path / "probes.json", [1000.0]
        ends: list[asyncio.Future[str]] = []

        async def ask(_target: Target) -> str:
            ends.append(asyncio.get_running_loop().create_future())
            return await ends[-1]

        schedule = Schedule(
            path, ask, lambda _t, _a: None, every_s={"modbus": 3600.0}, clock=lambda: clock[0]
        )
        target = _target()
        write_targets(path, [target])
        schedule.take_over()
        await _until(lambda: len(ends) == 1)
        clock[0] = 1002.0
        ends[0].set_result("7")
        await _until(lambda: schedule.report()["number"] == 1)
        assert schedule.report()["latest"][0]["at"] == 1002.0
        schedule.ask_now([target.machine])
        await _until(lambda: len(ends) == 2)
        clock[0] = 1005.0
        ends[1].set_exception(TargetFailed("no answer in 3 s"))
        await _until(lambda: schedule.report()["number"] == 2)
        assert schedule.report()["latest"][0]["at"] == 1002.0
        # A question that is overtaken by an answer says nothing about the time before that answer.
        schedule.ask_now([target.machine])
        await _until(lambda: len(ends) == 3)
        clock[0] = 1007.0
        turn = asyncio.create_task(schedule._once(target))
        await _until(lambda: len(ends) == 4)
        clock[0] = 1008.0
        ends[3].set_result("8")
        await turn
        clock[0] = 1009.0
        ends[2].set_exception(TargetFailed("no answer in 3 s"))
        await _until(lambda: not schedule.report()["latest"][0]["ok"])
        assert schedule.report()["latest"][0]["at"] == 1008.0

    asyncio.run(scenario())
