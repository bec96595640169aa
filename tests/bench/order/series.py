"""Exchanges one by one: what is found of each, kept in a file so that a series can be made in parts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from millwright.core.balancing import Limits, order, verify

from .exchanges import numbered
from .optimum import least
from .refute import Verdict, within

#: of a bound that an order may last, as the issue wants it
WANTED = 1.25
LIMITS = Limits(2, 8)


@dataclass(frozen=True)
class Asked:
    """Which exchanges, and what is asked of each.

    `larger`, `proven`: more than so many moves, and at most so many, are looked at beside CP-SAT; 0: none are.
    `work`: CP-SAT's work for each.
    """

    room: int = 0
    seed: int = 1
    larger: int = 0
    proven: int = 0
    refute: bool = False
    work: float = 20.0


@dataclass(frozen=True)
class Found:
    """One exchange: `took` is the processor's seconds for the order, `seconds` are those that it lasts."""

    room: int
    seed: int
    number: int
    hosts: int
    moves: int
    detours: int
    dropped: int
    broken: bool
    seconds: float
    bound_s: float
    took: float
    #: whether an order ends within ours / 1.25; nothing: not asked
    shorter: str = ""
    work: float = 0.0
    proof_took: float = 0.0
    #: what CP-SAT proves at least, whether an order is so short, and the shortest it found
    least_s: float = 0.0
    optimal: bool = False
    found_s: float = 0.0

    @property
    def ratio(self) -> float:
        """Of its bound; 0 where it has none, or where moves were left."""
        return 0.0 if self.dropped or not self.bound_s else self.seconds / self.bound_s

    @property
    def within(self) -> str:
        """By what it is within 1.25 of what is proven, or that this is open."""
        if self.ratio <= WANTED:
            return "by_bound"
        return {Verdict.NONE: "by_proof", Verdict.SOME: "shorter"}.get(
            Verdict(self.shorter or Verdict.OPEN), "open"
        )


def look(asked: Asked, number: int) -> Found | None:
    """What is found of this exchange; nothing where it has not as many moves as are asked for."""
    plant, wanted = numbered(number, asked.room, asked.seed)
    if asked.proven and not asked.larger < len(wanted) <= asked.proven:
        return None
    begun = time.process_time()
    made = order(plant, wanted, LIMITS)
    took = time.process_time() - begun
    found = Found(
        asked.room,
        asked.seed,
        number,
        len(plant.hosts),
        len(wanted),
        sum(leg.detour for leg in made.legs),
        len(made.dropped),
        bool(verify(plant, made)),
        made.makespan_s,
        made.bound_s,
        round(took, 3),
    )
    if not found.ratio:
        return found
    more: dict[str, object] = {}
    if asked.proven:
        more |= least(plant, wanted, LIMITS, made, asked.work)._asdict()
    if asked.refute and found.ratio > WANTED:
        begun = time.process_time()
        verdict, spent = within(plant, wanted, LIMITS, made, found.seconds / WANTED, asked.work)
        took = time.process_time() - begun
        more |= {"shorter": verdict.value, "work": round(spent, 2), "proof_took": round(took, 1)}
    return Found(**(asdict(found) | more))


def series(
    asked: Asked, numbers: Sequence[int], keep: Path | None, workers: int
) -> Iterator[tuple[Found, bool]]:
    """What is found of each, and whether it is new; what stands in the file is not looked at again."""
    known = dict(_kept(asked, keep)) if keep else {}
    yield from ((known[number], False) for number in numbers if number in known)
    left = [number for number in numbers if number not in known]
    for found in _looked(asked, left, workers):
        if keep:
            with keep.open("a") as file:
                file.write(json.dumps(asdict(found)) + "\n")
        yield found, True


def _looked(asked: Asked, numbers: Sequence[int], workers: int) -> Iterator[Found]:
    _warm(asked)
    if workers < 2:
        yield from (found for number in numbers if (found := look(asked, number)))
        return
    with ProcessPoolExecutor(workers, initializer=partial(_warm, asked)) as pool:
        for made in as_completed([pool.submit(look, asked, number) for number in numbers]):
            if found := made.result():
                yield found


def _warm(asked: Asked) -> None:
    """Loads what is compiled, which would count as the time of the first order."""
    order(*numbered(0, asked.room, asked.seed), LIMITS)


def _kept(asked: Asked, keep: Path) -> Iterable[tuple[int, Found]]:
    for line in keep.read_text().splitlines() if keep.exists() else ():
        found = Found(**json.loads(line))
        if (found.room, found.seed) != (asked.room, asked.seed):
            continue
        if asked.refute and found.within == "open" and found.work < asked.work:
            continue
        if not asked.proven or found.found_s:
            yield found.number, found


def summary(asked: Asked, all_found: Sequence[Found]) -> dict[str, object]:
    """Of all that were looked at: how long beside the bound, how many are within 1.25 of it and by what."""
    ratios = np.array([found.ratio for found in all_found if found.ratio])
    took = np.array([found.took for found in all_found])
    told: dict[str, object] = {
        "exchanges": len(all_found),
        "moves": sum(found.moves for found in all_found),
        "dropped": sum(found.dropped for found in all_found),
        "detours": sum(found.detours for found in all_found),
        "broken": sum(found.broken for found in all_found),
        **_spread("ratio", ratios),
        "within_1_25": round(float((ratios <= WANTED).mean()), 3),
        **_spread("took", took),
        "took_sum": round(float(took.sum()), 1),
    }
    if asked.proven:
        looked = [found for found in all_found if found.ratio]
        beside = np.array([found.seconds / min(found.seconds, found.found_s) for found in looked])
        proofs = np.array([found.seconds / max(found.bound_s, found.least_s) for found in looked])
        told |= {
            **_spread("proven", proofs),
            "proven_within_1_25": round(float((proofs <= WANTED).mean()), 3),
            "optimal": sum(found.optimal for found in looked),
            **_spread("found", beside),
        }
    if asked.refute:
        for kind in ("by_bound", "by_proof", "open", "shorter"):
            told[kind] = sum(found.within == kind for found in all_found)
        for kind in ("open", "shorter"):
            told[f"{kind}_numbers"] = sorted(f.number for f in all_found if f.within == kind)
    return told


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
    return {
        f"{name}_{what}": round(float(value), 3)
        for what, value in (
            ("mean", values.mean()),
            ("median", np.median(values)),
            ("p95", np.quantile(values, 0.95)),
            ("worst", values.max()),
        )
    }
