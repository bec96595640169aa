"""When lines of the calendar begin, end and meet: as by looking at each minute of the weeks around."""

import datetime as dt
import random
from zoneinfo import ZoneInfo

import pytest
from millwright.core.balancing import Entry, Plant, SnapshotError, Vm, next_window
from millwright.core.balancing.calendar import first_meeting, holds, minutes, next_change

ZONE = ZoneInfo("Europe/Berlin")
#: A Monday without a change of clocks near it.
NOW = dt.datetime(2026, 5, 4, 12, 30, tzinfo=ZONE)
STEP, FAR = dt.timedelta(minutes=30), 3 * 7 * 48


def _drawn(draw: random.Random) -> Entry:
    def hour() -> str:
        return draw.choice(["", "", f"{draw.randrange(24):02}:{draw.choice((0, 30)):02}", "24:00"])

    def date() -> str:
        days = draw.randrange(-3, 8)
        at = NOW + dt.timedelta(days=days, hours=draw.randrange(24), minutes=draw.choice((0, 30)))
        return draw.choice(
            [
                "",
                at.replace(tzinfo=None).isoformat(),
                at.isoformat(),
                at.astimezone(dt.UTC).isoformat(),
                at.astimezone(dt.timezone(dt.timedelta(hours=-9))).isoformat(),
            ]
        )

    days = tuple(sorted(draw.sample(range(7), draw.randrange(4))))
    start, end = hour(), hour()
    return Entry(
        "x", days=days, start=start.replace("24:00", ""), end=end, since=date(), until=date()
    )


@pytest.mark.parametrize("seed", range(60))
def test_it_is_as_by_looking_at_each_half_hour(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - reproducible
    one, other = _drawn(draw), _drawn(draw)
    moments = [NOW + STEP * number for number in range(FAR)]
    held = holds(one, NOW)
    change = next((at for at in moments if holds(one, at) != held), None)
    assert next_change(one, NOW) == change
    meeting = next((at for at in moments if holds(one, at) and holds(other, at)), None)
    assert first_meeting((one, other), NOW) == meeting


def test_what_is_far_ahead_is_found_and_what_is_over_is_not() -> None:
    later = Entry("later", days=(5,), start="22:00", end="02:00", since="2031-01-01T00:00")
    assert next_change(later, NOW) == dt.datetime(2031, 1, 4, 22, tzinfo=ZONE)
    assert first_meeting((later, Entry("always")), NOW) == dt.datetime(2031, 1, 4, 22, tzinfo=ZONE)
    over = Entry("over", until="2026-05-04T12:30")
    assert next_change(over, NOW) is None
    assert first_meeting((over,), NOW) is None
    never = Entry("never", days=(2,), since="2026-05-04T00:00", until="2026-05-06T00:00")
    assert first_meeting((never,), NOW) is None
    assert next_change(Entry("always"), NOW) is None


@pytest.mark.parametrize("since", ["2026-05-04T22:30Z", "2026-05-05T05:30+07:00"])
def test_a_beginning_of_another_zone_is_read_on_the_plants_clock(since: str) -> None:
    # 00:30 in the plant, where the hours of that day begin at 20:00.
    line = Entry("x", start="20:00", end="23:00", since=since, window=True, vms=("a",))
    begin = dt.datetime(2026, 5, 5, 20, tzinfo=ZONE)
    assert next_change(line, NOW) == begin
    assert first_meeting((line,), NOW) == begin
    vm = Vm("a", 1, 1)
    assert next_window(Plant((), (vm,), calendar=(line,)), vm, NOW) == begin
    # Without hours it holds from that moment on, told in the plant's zone.
    at = next_change(Entry("y", since=since), NOW)
    assert at is not None
    assert at.isoformat() == "2026-05-05T00:30:00+02:00"


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Asia/Shanghai", "UTC"])
@pytest.mark.parametrize("offset", ["", "Z", "-12:00", "+14:00"])
def test_the_ends_of_all_dates_are_for_ever(zone: str, offset: str) -> None:
    now = NOW.astimezone(ZoneInfo(zone))
    first, last = f"0001-01-01T00:00{offset}", f"9999-12-31T23:59{offset}"
    for line in (
        Entry("x", until=last),
        Entry("x", since=first),
        Entry("x", since=first, until=last),
    ):
        assert holds(line, now)
        assert next_change(line, now) is None
        assert first_meeting((line,), now) == now
    over, late = Entry("x", until=first), Entry("x", since=last)
    assert not holds(over, now)
    assert not holds(late, now)
    assert first_meeting((over,), now) is None
    assert next_change(over, now) is None
    begin = next_change(late, now)
    assert begin is not None
    assert begin.year == 9999
    # Hours go on by the day, and what else is near the end is reckoned with.
    night = Entry("x", start="22:00", end="06:00", since=first, until=last)
    change = next_change(night, now)
    assert change is not None
    assert change - now < dt.timedelta(days=1)
    assert next_change(Entry("x", until=f"9998-12-31T23:59{offset}"), now) is not None


@pytest.mark.parametrize("text", ["²²:00", "22:0²", "2:00", "24:01", "22:60", "22-00", "-1:00"])
def test_what_is_no_time_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(SnapshotError, match="a time like 06:00"):
        minutes(text)
