"""When lines of the calendar begin, end and meet: as by looking at each minute of the weeks around."""

import datetime as dt
import random
from zoneinfo import ZoneInfo

import pytest
from millwright.core.balancing import Entry
from millwright.core.balancing.calendar import first_meeting, holds, next_change

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
        return draw.choice(["", at.replace(tzinfo=None).isoformat(), at.isoformat()])

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
