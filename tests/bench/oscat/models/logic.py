"""Flip-flops, counters, shift registers, memories."""

from __future__ import annotations

from collections import deque
from typing import Any

from .base import Model, wrap


class FlipFlops(Model):
    """Takes over all D with the edge of the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.q: dict[str, Any] = {}

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("clk", i["clk"])
        names = [name for name in i if name[0] == "d" and name[1:].isdigit()]
        if i["rst"]:
            self.q = dict.fromkeys(names, False)
        elif edge:
            self.q = {name: i[name] for name in names}
        return {f"q{name[1:]}": self.q.get(name, False) for name in names}


class Dre(Model):
    """D with set and reset; reset is stronger."""

    q = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("clk", i["clk"])
        if i["rst"]:
            self.q = False
        elif i["set"]:
            self.q = True
        elif edge:
            self.q = i["d"]
        return {"Q": self.q}


class Jke(Model):
    """J sets, K resets, both toggle."""

    q = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("clk", i["clk"])
        if i["rst"]:
            self.q = False
        elif i["set"]:
            self.q = True
        elif edge:
            self.q = (i["j"] and not self.q) or (not i["k"] and self.q)
        return {"Q": self.q}


class Rse(Model):
    """Set and reset by edges."""

    q = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        on, off = self.rises("cs", i["cs"]), self.rises("cr", i["cr"])
        if i["rst"] or off:
            self.q = False
        elif on:
            self.q = True
        return {"Q": self.q}


class Toggle(Model):
    """Each edge turns the output over."""

    q = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("clk", i["clk"])
        self.q = False if i["rst"] else self.q ^ edge
        return {"Q": self.q}


class Shifter(Model):
    """A register of 4 or 8 bits, up or down, the free place from an input."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.bits = [False] * self.width

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("clk", i["clk"])
        if i["rst"] or i["set"]:
            self.bits = [not i["rst"]] * self.width
        elif edge and i.get("dn"):
            self.bits = [*self.bits[1:], i[f"d{self.width - 1}"]]
        elif edge:
            self.bits = [i["d0"], *self.bits[:-1]]
        return {f"Q{n}": bit for n, bit in enumerate(self.bits)}


class Shifter8(Shifter):
    """Of eight bits."""

    width = 8


class Loaded(Model):
    """A byte that is shifted out, loaded with the edge."""

    register = 0
    out = False
    armed = True

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["clk"] and self.armed and not i["rst"]:
            self.armed = False
            if i["up"]:
                self.register = wrap(self.register << 1, 8) | i["din"]
            else:
                self.register = self.register >> 1 | i["din"] << 7
            if i["load"]:
                self.register = i["dload"]
            self.out = bool(self.register >> (7 if i["up"] else 0) & 1)
        if not i["clk"]:
            self.armed = True
        if i["rst"]:
            self.register, self.out = 0, False
        return {"DOut": self.out}


class Counter(Model):
    """Up and down by steps, round at a maximum."""

    count = 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        up, down = self.rises("up", i["up"]), self.rises("dn", i["dn"])
        top = i["mx"]
        if i["rst"]:
            self.count = 0
        elif i["set"]:
            self.count = min(i["in"], top)
        elif up:
            self.count = (self.count + i["step"]) % (top + 1)
        elif down:
            self.count = (self.count - i["step"]) % (top + 1)
        return {"CNT": self.count}


class Select(Model):
    """One of eight outputs."""

    state = 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        up, down = self.rises("up", i["up"]), self.rises("dn", i["dn"])
        if i["rst"]:
            self.state = 0
        elif i["set"]:
            self.state = i["in"]
        else:
            self.state = (self.state + (1 if up else -1 if down else 0)) % 8
        return {"STATE": self.state} | {f"Q{n}": i["e"] and n == self.state for n in range(8)}


class Latch(Model):
    """Open while L is TRUE."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Any] = {}

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        names = [name for name in i if name[0] == "d"]
        if i["rst"]:
            self.kept = {}
        elif i["l"]:
            self.kept = {name: i[name] for name in names}
        return {f"Q{name[1:]}": self.kept.get(name, False) for name in names}


class Store(Model):
    """Keeps what was TRUE once; each edge of CLR forgets the lowest."""

    kept = 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["rst"] or i["set"]:
            self.kept = 0 if i["rst"] else 255
        else:
            for n in range(8):
                self.kept |= i[f"d{n}"] << n
            if self.rises("clr", i["clr"]):
                self.kept &= self.kept - 1
        return {f"Q{n}": self.kept >> n & 1 for n in range(8)}


class Fifo(Model):
    """First in, first out, with a place for 16."""

    size = 16

    def __init__(self) -> None:
        super().__init__()
        self.rows: deque[int] = deque()
        self.out = 0

    def take(self) -> int:
        """What is read next."""
        return self.rows.popleft()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["rst"]:
            self.rows.clear()
            self.out = 0
        elif i["e"]:
            if i["rd"] and self.rows:
                self.out = self.take()
            if i["wd"] and len(self.rows) < self.size:
                self.rows.append(i["din"])
        count = len(self.rows)
        return {"Dout": self.out, "EMPTY": count == 0, "FULL": count == self.size}


class Fifo32(Fifo):
    """With a place for 32."""

    size = 32


class Stack(Fifo):
    """Last in, first out."""

    def take(self) -> int:
        return self.rows.pop()


class Stack32(Stack):
    """With a place for 32."""

    size = 32


class ATrig(Model):
    """TRUE when an input has moved by more than RES."""

    last = 0.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        moved = abs(i["in"] - self.last) > i["res"]
        if moved:
            self.last = i["in"]
        return {"Q": moved, "D": i["in"] - self.last}


class BTrig(Model):
    """TRUE with either edge."""

    last = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        changed, self.last = i["clk"] != self.last, i["clk"]
        return {"Q": changed}


class DTrig(Model):
    """TRUE when a number has changed."""

    last = 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        by, self.last = wrap(i["in"] - self.last, 32), i["in"]
        return {"Q": by != 0, "X": by}


class Divider(Model):
    """Counts the scans in which CLK is TRUE; its bits divide by 2, 4, 8 …"""

    count = 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        self.count = 0 if i["rst"] else wrap(self.count + i["clk"], 8)
        return {f"Q{n}": self.count >> n & 1 for n in range(8)}


class Delayed(Model):
    """The input of N scans ago."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: deque[float] = deque()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["rst"] or not self.rows:
            self.rows = deque([i["in"]] * i["n"], maxlen=i["n"])
            return {"OUT": i["in"]}
        out = self.rows[0]
        self.rows.append(i["in"])
        return {"OUT": out}


class Delayed4(Model):
    """Four scans of the past."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = [0.0] * 5

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        self.rows = [i["in"], *self.rows[:4]]
        return {f"out{n}": self.rows[n] for n in range(1, 5)}


class Incremental(Model):
    """An encoder of two tracks: every edge of either counts, and the one that leads says where to."""

    count = 0
    phase = 0
    forwards = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        phase = {(0, 0): 0, (1, 0): 1, (1, 1): 2, (0, 1): 3}[(int(i["cha"]), int(i["chb"]))]
        turned = (phase - self.phase) % 4
        self.phase = phase
        if turned == 1:
            self.count, self.forwards = self.count + 1, True
        elif turned == 3:
            self.count, self.forwards = self.count - 1, False
        if i["rst"]:
            self.count = 0
        return {"cnt": self.count, "dir": self.forwards}


class MinMax(Model):
    """The least and the greatest since the reset."""

    def __init__(self) -> None:
        super().__init__()
        self.span: tuple[float, float] | None = None

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["rst"] or self.span is None:
            self.span = (i["in"], i["in"])
        self.span = (min(self.span[0], i["in"]), max(self.span[1], i["in"]))
        return {"mn": self.span[0], "mx": self.span[1]}
