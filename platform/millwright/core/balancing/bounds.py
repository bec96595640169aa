"""What each number of a snapshot may be at least and at most: one table, for files and for the portal.

Generous for any plant that will be built, and small enough that no sum, product or quotient of them leaves what
a float or a 64-bit integer holds: a rate of next to nothing would make a move that never ends.
"""

from __future__ import annotations

from typing import Final

#: 1 EiB; 1,000,000 CPUs; 1 TB/s; a leap year
_MOST_BYTES, _MOST_CPUS, _MOST_RATE, _YEAR_S = 2**60, 1_000_000, 1e12, 366 * 86_400.0
_PIECES: Final = (0, 1_000_000)
_ROUNDS: Final = (0, 2**53)

#: Field of the model → least and greatest, both allowed, in the field's own unit.
BOUNDS: Final[dict[str, tuple[float, float]]] = {
    # bytes
    "memory_bytes": (1, _MOST_BYTES),
    "memory_aside_bytes": (0, _MOST_BYTES),
    "memory_active_bytes": (0, _MOST_BYTES),
    "memory_minimum_bytes": (0, _MOST_BYTES),
    "memory_reservation_bytes": (0, _MOST_BYTES),
    "memory_limit_bytes": (0, _MOST_BYTES),
    "copied_bytes": (0, _MOST_BYTES),
    "capacity_bytes": (0, _MOST_BYTES),
    "storage": (0, _MOST_BYTES),
    "disks": (0, _MOST_BYTES),
    # bytes per second; over a link of less than a kilobyte nothing arrives in anybody's time
    "link_bytes_s": (1e3, _MOST_RATE),
    "nic_bytes_s": (0, _MOST_RATE),
    "dirty_bytes_s": (0, _MOST_RATE),
    # CPUs and cores
    "cpus": (0, _MOST_CPUS),
    "cpus_aside": (0, _MOST_CPUS),
    "cores": (0, _MOST_CPUS),
    "housekeeping": (0, _MOST_CPUS),
    "vcpus": (1, _MOST_CPUS),
    "most_vcpus": (0, 1_000_000_000),
    "cpu_reservation": (0, _MOST_CPUS),
    "cpu_limit": (0, _MOST_CPUS),
    "reservation": (0, _MOST_CPUS),
    "limit": (0, _MOST_CPUS),
    "demand_short": (0, _MOST_CPUS),
    "demand_long": (0, _MOST_CPUS),
    "demand_peak": (0, _MOST_CPUS),
    "weight": (0, _MOST_CPUS),
    # pieces
    "hugepages": (0, 2**40),
    "gpus": _PIECES,
    "devices": _PIECES,
    "profiles": _PIECES,
    # core-seconds
    "disruption": (0, 1e9),
    # seconds
    "horizon_s": (1, _YEAR_S),
    "work_s": (0, _YEAR_S),
    # plain counts
    "shares": (1, 100_000),
    "memory_shares": (1, 100_000),
    "priority": (-1000, 1000),
    "node": (0, 1023),
    "minimum": (1, 1_000_000),
    "days": (0, 6),
    "level": (1, 5),
    "max_moves": _PIECES,
    "cooldown_rounds": _PIECES,
    "sustain_rounds": _PIECES,
    "moves_running": _PIECES,
    "spare_hosts": _PIECES,
    "link_moves": _PIECES,
    # what one round tells the next
    "number": _ROUNDS,
    "imbalanced": _ROUNDS,
    "imbalanced_memory": _ROUNDS,
    "hot": _ROUNDS,
    "hot_memory": _ROUNDS,
    "hot_promised": _ROUNDS,
    "moved": _ROUNDS,
    "left": _ROUNDS,
}

#: Pools below each other, the topmost included.
MOST_DEPTH: Final = 32


def within(field: str, value: float) -> float:
    """The nearest value that the model may have: for what is measured and not typed.

    Raises KeyError for a field that is not in the table.
    """
    low, high = BOUNDS[field]
    return min(max(value, low), high)
