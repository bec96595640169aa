"""The cluster's score, from nothing but the file and who is where.

Written from hbal(1) and htools(1), apart from the search in `descent`, so that each checks the
other. A node's shares are of free memory (counted, and as reported), of disk, of virtual to real
CPUs, of spindles, and of the memory kept free for the machines of one other node.
"""

from __future__ import annotations

import numpy as np

from .data import Cluster, Floats, Ints


def reserved(cluster: Cluster, primary: Ints, secondary: Ints) -> Floats:
    """N: memory that a node must keep for the worst loss of one other node, MiB."""
    count = len(cluster.nodes)
    has = secondary >= 0
    kept = np.zeros((count, count))
    np.add.at(kept, (secondary[has], primary[has]), cluster.size_kept[has])
    return kept.max(axis=1)


def _on(where: Ints, amount: Floats, count: int) -> Floats:
    has = where >= 0
    return np.bincount(where[has], amount[has], count)


def memory_left(cluster: Cluster, primary: Ints) -> Floats:
    """N: free memory once the machines run on `primary`, MiB."""
    count = len(cluster.nodes)
    before = _on(cluster.primary, cluster.size_up, count)
    return cluster.memory_left + before - _on(primary, cluster.size_up, count)


def score(cluster: Cluster, primary: Ints, secondary: Ints) -> float:
    """hbal's score of a placement: lower is better, 0 is even in everything."""
    count = len(cluster.nodes)
    one = np.ones(len(primary))

    def moved(amount: Floats, *, both: bool) -> Floats:
        gone = _on(cluster.primary, amount, count) - _on(primary, amount, count)
        if both:
            gone += _on(cluster.secondary, amount, count) - _on(secondary, amount, count)
        return gone

    on = ~cluster.offline
    left = memory_left(cluster, primary)
    kept = reserved(cluster, primary, secondary)
    disk = cluster.disk_left + moved(cluster.size_disk, both=True)
    first = _on(primary, one, count)
    machines = first + _on(secondary, one, count)
    spindles = _on(primary, cluster.spindles, count) + _on(secondary, cluster.spindles, count)
    vcpus = cluster.cpus_used - moved(cluster.vcpus, both=False)
    planned = cluster.memory_planned + moved(cluster.size, both=False)
    deviations = [
        (0.5, left / cluster.memory),
        (0.5, planned / cluster.memory),
        (1.0, np.where(cluster.disk > 0, disk / np.maximum(cluster.disk, 1.0), 1.0)),
        (1.0, kept / cluster.memory),
        (1.0, vcpus / cluster.cpus / cluster.speed),
        (1.0, spindles / cluster.spindle_limit),
        # Load on CPU, memory and network: nothing is known, so each machine counts 1.
        (3.0, first),
        (1.0, machines),
    ]
    total = (
        sum(weight * float(np.std(value[on])) for weight, value in deviations) if on.any() else 0
    )
    total += 0.25 * float((kept / cluster.memory)[on].sum())
    total += float(machines[on & (left <= kept)].sum())
    total += 4.0 * float(machines[~on].sum()) + 16.0 * float(first[~on].sum())
    return total + 2.0 * _conflicts(cluster, primary, on)


def _conflicts(cluster: Cluster, primary: Ints, on: np.ndarray) -> int:
    """Machines beyond the first with one exclusion tag on one node."""
    if not len(cluster.tag):
        return 0
    owner = np.repeat(np.arange(len(primary)), np.diff(cluster.tag_start))
    pairs = np.zeros((len(cluster.nodes), int(cluster.tag.max()) + 1), np.int64)
    np.add.at(pairs, (primary[owner], cluster.tag), 1)
    return int(np.maximum(pairs[on] - 1, 0).sum())
