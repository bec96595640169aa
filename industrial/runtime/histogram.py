"""Microseconds in buckets of which eight make an octave: exact below eight, within an eighth above. Twin of scan.c."""

from __future__ import annotations

from collections.abc import Sequence

#: Up to eight seconds; what is later counts in the last one.
FINE = 168


def bucket_of(us: int) -> int:
    """The bucket of so many microseconds."""
    if us < 8:
        return max(0, us)
    octave = us.bit_length() - 4
    return min(FINE - 1, 8 + 8 * octave + ((us >> octave) & 7))


def edges(number: int) -> tuple[int, int]:
    """The first microsecond of a bucket, and the first of the next one."""
    if number < 8:
        return number, number + 1
    octave, part = divmod(number - 8, 8)
    return (8 + part) << octave, (9 + part) << octave


def percentile(buckets: Sequence[int], share: float) -> float:
    """Microseconds below which so much lies, spread evenly inside of a bucket; 0 of an empty histogram."""
    wanted, seen = share * sum(buckets), 0
    for number, count in enumerate(buckets):
        if count and seen + count >= wanted:
            low, high = edges(number)
            return low + (high - low) * (wanted - seen) / count
        seen += count
    return 0.0
