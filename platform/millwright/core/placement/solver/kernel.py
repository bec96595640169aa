"""The inner loops, compiled by numba at the first call and cached on disk.

Only `solve`, `steps` and `place_one` import this module, and only when they are called: importing
numba takes longer than most commands run. All kernels live in this one file because numba's cache
watches only the file of the function that is called.

They allocate nothing, so numba's counting of references is switched off (`_nrt`): its atomic counts
on some thirty arrays made an annealing step five times slower, and threads wait for each other.
"""

from __future__ import annotations

from math import inf, log

import numpy as np
from numba import njit  # no stubs; see pyproject.toml

from .tables import NONE, State, Tables, Walls

_A = np.uint64(12)
_B = np.uint64(25)
_C = np.uint64(27)
_D = np.uint64(11)
_E = np.uint64(32)
#: multiplier of xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's generators", 2016)
_STAR = np.uint64(2685821657736338717)
_UNIT = 2.0**-53
#: An overflow that costs more than so many times what chance allows is refused before the rest is priced.
_WAY_OVER = 3.0


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _draw(s: State) -> int:
    x = s.random[0]
    x ^= x >> _A
    x ^= x << _B
    x ^= x >> _C
    s.random[0] = x
    return x * _STAR


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _unit(s: State) -> float:
    return (_draw(s) >> _D) * _UNIT


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _below(s: State, n: int) -> np.int64:
    return np.int64(((_draw(s) >> _E) * np.uint64(n)) >> _E)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _above(x: float) -> float:
    # Not max(): that looks for NaN at every call.
    return x if x > 0.0 else 0.0


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _allowed(t: Tables, p: int, b: int) -> bool:
    return not t.has_eligible or t.eligible[p, b]


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _room_for(t: Tables, s: State, p: int, q: int, b: int) -> bool:
    """Does host b hold p once q (or -1) has left it? Never makes an overfull resource worse."""
    p_home = t.home[p] == b
    if q < 0:
        for r in range(t.demand.shape[1]):
            need = t.demand[p, r]
            if need > s.free[b, r] and need > 0.0 and not (p_home and t.transient[r]):
                return False
        return True
    q_home = t.home[q] == b
    for r in range(t.demand.shape[1]):
        need = 0.0 if p_home and t.transient[r] else t.demand[p, r]
        if not (q_home and t.transient[r]):
            need -= t.demand[q, r]
        if need > s.free[b, r] and need > 0.0:
            return False
    return True


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _load_delta(t: Tables, s: State, p: int, q: int, a: int, b: int) -> float:
    """Change of load, deviation and balance prices when p goes a → b and q (or -1) b → a.

    a is -1 for a machine that comes from nowhere.
    """
    delta = 0.0
    for r in range(t.demand.shape[1]):
        w = t.load_weight[r]
        if w == 0.0:
            continue
        d = t.demand[p, r]
        if q >= 0:
            d -= t.demand[q, r]
        room = s.room[b, r]
        delta += w * (_above(d - room) - _above(-room))
        if a >= 0:
            room = s.room[a, r]
            delta += w * (_above(-room - d) - _above(-room))
    if t.has_even:
        for r in range(t.demand.shape[1]):
            d = t.demand[p, r]
            if q >= 0:
                d -= t.demand[q, r]
            used = t.capacity[b, r] - s.left[b, r]
            delta += t.even_price[b, r] * d * (2.0 * used + d)
            if a >= 0:
                used = t.capacity[a, r] - s.left[a, r]
                delta += t.even_price[a, r] * d * (d - 2.0 * used)
    for k in range(t.balance.shape[0]):
        first = np.int64(t.balance[k, 0])
        second = np.int64(t.balance[k, 1])
        target = t.balance[k, 2]
        d1 = t.demand[p, first]
        d2 = t.demand[p, second]
        if q >= 0:
            d1 -= t.demand[q, first]
            d2 -= t.demand[q, second]
        d = target * d1 - d2
        now = target * s.left[b, first] - s.left[b, second]
        change = _above(now - d) - _above(now)
        if a >= 0:
            now = target * s.left[a, first] - s.left[a, second]
            change += _above(now + d) - _above(now)
        delta += t.balance[k, 3] * change
    return delta


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _own_price(t: Tables, p: int, b: int) -> float:
    """What it costs that p is on b, whoever else is there."""
    price = 0.0
    home = t.home[p]
    if home >= 0 and home != b:
        price += t.move_price[p]
        if t.has_distance:
            price += t.distance_weight * t.distance[home, b]
    if t.has_affinity:
        price += t.affinity[p, b]
    return price


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _pair_delta(t: Tables, s: State, p: int, q: int, a: int, b: int) -> float:
    delta = 0.0
    for i in range(t.pair_start[p], t.pair_start[p + 1]):
        other = t.pair[i]
        if other != q:
            if s.at[other] == b:
                delta += t.pair_price[i]
            elif s.at[other] == a and a >= 0:
                delta -= t.pair_price[i]
    return delta


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _bump(t: Tables, s: State, p: int, a: int, b: int) -> None:
    """Count in p's group that p went a → b."""
    g = t.counted[p]
    home = t.home[p]
    if g < 0 or home < 0 or a < 0:
        return
    change = (1 if b != home else 0) - (1 if a != home else 0)
    if change == 0:
        return
    old = s.moved[g]
    s.moved[g] = old + change
    s.histogram[old] -= 1
    s.histogram[old + change] += 1
    if old + change > s.most[0] or s.histogram[s.most[0]] == 0:
        s.most[0] = old + change


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _delta(t: Tables, s: State, p: int, q: int, a: int, b: int) -> float:
    """Change of the whole cost when p goes a → b and q (or -1) comes back."""
    delta = _load_delta(t, s, p, q, a, b) + _own_price(t, p, b)
    if a >= 0:
        delta -= _own_price(t, p, a)
    if q >= 0:
        delta += _own_price(t, q, a) - _own_price(t, q, b)
    if t.pair.shape[0]:
        delta += _pair_delta(t, s, p, q, a, b)
        if q >= 0:
            delta += _pair_delta(t, s, q, p, b, a)
    if t.group_price > 0.0:
        most = s.most[0]
        _bump(t, s, p, a, b)
        if q >= 0:
            _bump(t, s, q, b, a)
        delta += t.group_price * (s.most[0] - most)
        if q >= 0:
            _bump(t, s, q, a, b)
        _bump(t, s, p, b, a)
    return delta


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _rules_hold(t: Tables, s: State, p: int, a: int, b: int) -> bool:
    """May p go a → b as far as its groups are concerned?"""
    for i in range(t.exclusive_start[p], t.exclusive_start[p + 1]):
        if s.present[t.exclusive[i], b] > 0:
            return False
    if a >= 0:
        la = t.location[a]
        lb = t.location[b]
        if la != lb:
            for i in range(t.spread_start[p], t.spread_start[p + 1]):
                g = t.spread[i]
                if (
                    s.in_location[g, la] == 1
                    and s.in_location[g, lb] > 0
                    and s.locations[g] <= t.spread_min[g]
                ):
                    return False
    nb = t.neighbourhood[b]
    na = t.neighbourhood[a] if a >= 0 else -1
    if na != nb:
        for i in range(t.near_start[p], t.near_start[p + 1]):
            g = t.near[i]
            for j in range(t.needs_start[g], t.needs_start[g + 1]):
                if s.in_area[t.needs[j], nb] == 0:
                    return False
            if na >= 0 and s.in_area[g, na] == 1:
                for j in range(t.needed_start[g], t.needed_start[g + 1]):
                    if s.in_area[t.needed[j], na] > 0:
                        return False
    return True


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _recount(t: Tables, s: State, p: int, a: int, b: int) -> None:
    """Group counters of p's going a → b (either may be -1)."""
    for i in range(t.exclusive_start[p], t.exclusive_start[p + 1]):
        g = t.exclusive[i]
        if a >= 0:
            s.present[g, a] -= 1
        if b >= 0:
            s.present[g, b] += 1
    for i in range(t.spread_start[p], t.spread_start[p + 1]):
        g = t.spread[i]
        if a >= 0:
            la = t.location[a]
            s.in_location[g, la] -= 1
            if s.in_location[g, la] == 0:
                s.locations[g] -= 1
        if b >= 0:
            lb = t.location[b]
            s.in_location[g, lb] += 1
            if s.in_location[g, lb] == 1:
                s.locations[g] += 1
    for i in range(t.near_start[p], t.near_start[p + 1]):
        g = t.near[i]
        if a >= 0:
            s.in_area[g, t.neighbourhood[a]] -= 1
        if b >= 0:
            s.in_area[g, t.neighbourhood[b]] += 1


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _carry(t: Tables, s: State, p: int, a: int, b: int) -> None:
    """Amounts and position of p's going a → b (either may be -1)."""
    home = t.home[p]
    for r in range(t.demand.shape[1]):
        d = t.demand[p, r]
        if a >= 0:
            s.room[a, r] += d
            s.left[a, r] += d
            if not (t.transient[r] and a == home):
                s.free[a, r] += d
        if b >= 0:
            s.room[b, r] -= d
            s.left[b, r] -= d
            if not (t.transient[r] and b == home):
                s.free[b, r] -= d
    s.at[p] = b
    if b >= 0:
        _bump(t, s, p, a, b)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _try_swap_rules(t: Tables, s: State, p: int, q: int, a: int, b: int) -> bool:
    """Change the counters for the exchange if the rules hold after it."""
    if not _rules_hold(t, s, p, a, b):
        return False
    _recount(t, s, p, a, b)
    if not _rules_hold(t, s, q, b, a):
        _recount(t, s, p, b, a)
        return False
    _recount(t, s, q, b, a)
    return True


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _overflow_delta(t: Tables, s: State, w: Walls, p: int, q: int, a: int, b: int) -> float:
    """Change of the priced overflow when p goes a → b and q (or -1) comes back."""
    p_home = t.home[p]
    q_home = t.home[q] if q >= 0 else -1
    delta = 0.0
    for r in range(t.demand.shape[1]):
        in_b = t.demand[p, r]
        out_a = in_b
        if t.transient[r]:
            # At home nothing is freed by leaving, nor taken by coming back.
            if p_home == b:
                in_b = 0.0
            elif p_home == a:
                out_a = 0.0
        if q >= 0:
            d = t.demand[q, r]
            if not (t.transient[r] and q_home == b):
                in_b -= d
            if not (t.transient[r] and q_home == a):
                out_a -= d
        over = w.floor[b, r] - s.free[b, r]
        change = s.press[b, r] * (_above(over + in_b) - _above(over))
        over = w.floor[a, r] - s.free[a, r]
        change += s.press[a, r] * (_above(over - out_a) - _above(over))
        delta += w.price[r] * change
    return delta


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _partner(t: Tables, s: State, w: Walls, i: int, near: bool) -> np.int64:
    """Another machine to exchange the i-th of `w.pick` with; -1 for none. Near ones are of like size."""
    count = w.pick.shape[0]
    if not near:
        return np.int64(w.pick[_below(s, count)])
    j = i + _below(s, 2 * w.window) - w.window
    return np.int64(w.pick[j]) if 0 <= j < count else NONE


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _try_place(t: Tables, s: State, p: int, b: int) -> None:
    """A host for a machine that has none yet: taken at any price, as soon as the rules allow it."""
    if _allowed(t, p, b) and _room_for(t, s, p, NONE, b) and _rules_hold(t, s, p, NONE, b):
        delta = _delta(t, s, p, NONE, NONE, b)
        _recount(t, s, p, NONE, b)
        _carry(t, s, p, NONE, b)
        s.cost[0] += delta


@njit(cache=True, nogil=True, _nrt=False)
def anneal(
    t: Tables, s: State, w: Walls,
    temperature: float, steep: float, rounds: int, near: float, swaps: float, homing: float,
) -> int:  # fmt: skip
    """So many proposals of a shift or an exchange at one temperature. Returns those accepted.

    With `steep` 0 capacity is a hard rule. Otherwise a host may overflow, at `steep` times the
    walls' prices, which are no part of the running cost. `near` and `swaps` are the shares of
    exchanges between machines of like size and of all exchanges.
    """
    count = w.pick.shape[0]
    hosts = t.capacity.shape[0]
    hard = steep == 0.0
    accepted = 0
    for _ in range(rounds):
        i = _below(s, count)
        p = np.int64(w.pick[i])
        a = np.int64(s.at[p])
        if a < 0:
            _try_place(t, s, p, _below(s, hosts))
            continue
        kind = _unit(s)
        q = NONE
        if kind < swaps:
            q = _partner(t, s, w, i, kind < near)
            if q < 0:
                continue
            b = np.int64(s.at[q])
            if b < 0 or a == b or not (_allowed(t, p, b) and _allowed(t, q, a)):
                continue
        else:
            b = np.int64(t.home[p]) if kind > 1.0 - homing else _below(s, hosts)
            if b < 0 or a == b or not _allowed(t, p, b):
                continue
        limit = -temperature * log(1.0 - _unit(s))
        over = 0.0
        if hard:
            if not _room_for(t, s, p, q, b) or (q >= 0 and not _room_for(t, s, q, p, a)):
                continue
        else:
            over = steep * _overflow_delta(t, s, w, p, q, a, b)
            if over > _WAY_OVER * limit:
                continue
        delta = _delta(t, s, p, q, a, b)
        if delta + over > limit:
            continue
        if q >= 0:
            if not _try_swap_rules(t, s, p, q, a, b):
                continue
            _carry(t, s, p, a, b)
            _carry(t, s, q, b, a)
        else:
            if not _rules_hold(t, s, p, a, b):
                continue
            _recount(t, s, p, a, b)
            _carry(t, s, p, a, b)
        s.cost[0] += delta
        accepted += 1
    return accepted


@njit(cache=True, nogil=True, _nrt=False)
def overflows(s: State, w: Walls, dearer: float) -> bool:
    """Is any host fuller than it may be? Makes overflow so many times `dearer` there."""
    over = False
    for m in range(s.free.shape[0]):
        for r in range(s.free.shape[1]):
            if s.free[m, r] < w.floor[m, r]:
                s.press[m, r] *= dearer
                over = True
    return over


@njit(cache=True, nogil=True, _nrt=False)
def _best_host(t: Tables, s: State, p: int) -> tuple[int, float]:
    """The cheapest host for p other than its own, by price change; ties to the lowest number."""
    a = np.int64(s.at[p])
    best = NONE
    least = inf
    for b in range(t.capacity.shape[0]):
        if b == a or not _allowed(t, p, b) or not _room_for(t, s, p, NONE, b):
            continue
        delta = _delta(t, s, p, NONE, a, b)
        if delta < least and _rules_hold(t, s, p, a, b):
            least = delta
            best = b
    return best, least


@njit(cache=True, nogil=True, _nrt=False)
def price_hosts(t: Tables, s: State, p: int, prices: np.ndarray) -> None:
    """Price change of p's going to each host: inf where it may not, 0 where it is."""
    a = np.int64(s.at[p])
    for b in range(t.capacity.shape[0]):
        prices[b] = inf
        if b == a:
            prices[b] = 0.0
        elif _allowed(t, p, b) and _room_for(t, s, p, NONE, b) and _rules_hold(t, s, p, a, b):
            prices[b] = _delta(t, s, p, NONE, a, b)


@njit(cache=True, nogil=True, _nrt=False)
def descend(
    t: Tables, s: State, limit: int, least_gain: float,
    moves: np.ndarray, target: np.ndarray, gain: np.ndarray,
) -> int:  # fmt: skip
    """Steepest descent by single shifts: always the best one left, at most `limit`.

    The best target of every machine is kept. A step renews those that can have become better (on
    the fuller host, or towards one of the two); what became worse is found when it is picked. Writes (machine, from, to) into `moves`;
    `target` and `gain` are room to work in, one entry a movable machine.
    """
    count = t.movable.shape[0]
    number = 0
    for i in range(count):
        target[i], least = _best_host(t, s, np.int64(t.movable[i]))
        gain[i] = -least
    while number < limit:
        i = int(np.argmax(gain)) if count else 0
        if count == 0 or gain[i] <= least_gain:
            break
        p = np.int64(t.movable[i])
        a = np.int64(s.at[p])
        b = np.int64(target[i])
        # Rules of groups may have changed since the target was noted.
        renewed, least = _best_host(t, s, p)
        if renewed != b or -least < gain[i] - 1e-9 * max(1.0, abs(gain[i])):
            target[i] = renewed
            gain[i] = -least
            continue
        _recount(t, s, p, a, b)
        _carry(t, s, p, a, b)
        s.cost[0] += least
        moves[number, 0] = p
        moves[number, 1] = a
        moves[number, 2] = b
        number += 1
        for j in range(count):
            q = np.int64(t.movable[j])
            home = np.int64(s.at[q])
            if j == i or home == b:
                target[j], least = _best_host(t, s, q)
                gain[j] = -least
                continue
            for k in range(2):
                c = a if k == 0 else b
                if _allowed(t, q, c) and _room_for(t, s, q, NONE, c):
                    delta = _delta(t, s, q, NONE, home, c)
                    if -delta > gain[j] and _rules_hold(t, s, q, home, c):
                        gain[j] = -delta
                        target[j] = c
    return number


@njit(cache=True, nogil=True, _nrt=False)
def _settle(t: Tables, s: State, p: int, b: int) -> None:
    a = np.int64(s.at[p])
    s.cost[0] += _delta(t, s, p, NONE, a, b)
    _recount(t, s, p, a, b)
    _carry(t, s, p, a, b)


@njit(cache=True, nogil=True, _nrt=False)
def _make_room(t: Tables, s: State, p: int) -> bool:
    """Put p on a host from which one other machine can be sent away; the cheapest such pair."""
    for b in range(t.capacity.shape[0]):
        if b == s.at[p] or not _allowed(t, p, b):
            continue
        for i in range(t.movable.shape[0]):
            q = np.int64(t.movable[i])
            if q == p or s.at[q] != b or not _room_for(t, s, p, q, b):
                continue
            c, _ = _best_host(t, s, q)
            if c < 0:
                continue
            _settle(t, s, q, c)
            if _room_for(t, s, p, NONE, b) and _rules_hold(t, s, p, np.int64(s.at[p]), b):
                _settle(t, s, p, b)
                return True
            _settle(t, s, q, b)
    return False


@njit(cache=True, nogil=True, _nrt=False)
def settle(t: Tables, s: State, order: np.ndarray, hosts: np.ndarray) -> int:
    """Give each machine of `order` a host, making room where needed. Returns how many got none.

    A machine without a place keeps where it was. `hosts` overfull are relieved afterwards.
    """
    failed = 0
    for i in range(order.shape[0]):
        p = np.int64(order[i])
        b, _ = _best_host(t, s, p)
        if b >= 0:
            _settle(t, s, p, b)
        elif not _make_room(t, s, p):
            failed += 1
    for i in range(hosts.shape[0]):
        m = hosts[i]
        while True:
            over = -1
            for r in range(t.demand.shape[1]):
                if s.free[m, r] < 0.0:
                    over = r
            if over < 0:
                break
            chosen = NONE
            place = NONE
            least = inf
            for j in range(t.movable.shape[0]):
                q = np.int64(t.movable[j])
                relieves = t.demand[q, over] > 0.0
                if t.transient[over] and t.home[q] == m:
                    relieves = False
                if s.at[q] == m and relieves:
                    b, delta = _best_host(t, s, q)
                    if b >= 0 and delta < least:
                        chosen, place, least = q, b, delta
            if chosen < 0:
                break
            _settle(t, s, chosen, place)
    return failed


@njit(cache=True, nogil=True, _nrt=False)
def recall(t: Tables, s: State, w: Walls) -> bool:
    """Send guests of overfull hosts home, the cheapest first, until nothing overflows. Did that do?

    Everything at home is the start, which overflows nothing, and who is home stays there: only rules of groups
    can stand in the way.
    """
    for _ in range(t.movable.shape[0] + 1):
        m = NONE
        over = NONE
        for h in range(s.free.shape[0]):
            for r in range(s.free.shape[1]):
                if s.free[h, r] < w.floor[h, r]:
                    m, over = h, r
        if m < 0:
            return True
        chosen = NONE
        least = inf
        for i in range(t.movable.shape[0]):
            p = np.int64(t.movable[i])
            home = np.int64(t.home[p])
            if s.at[p] != m or home == m or home < 0 or t.demand[p, over] <= 0.0:
                continue
            if _allowed(t, p, home) and _rules_hold(t, s, p, m, home):
                price = _delta(t, s, p, NONE, m, home) + _overflow_delta(t, s, w, p, NONE, m, home)
                if price < least:
                    chosen, least = p, price
        if chosen < 0:
            return False
        _settle(t, s, chosen, np.int64(t.home[chosen]))
    return False
