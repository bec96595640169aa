"""Timers, generators, meters."""

from __future__ import annotations

from typing import Any

from .base import Model


class Pulse(Model):
    """A pulse that each edge begins anew (TP_1)."""

    q, begun = False, 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("in", i["in"])
        if edge and not i["rst"]:
            self.q, self.begun = True, now
        elif i["rst"] or now - self.begun >= i["pt"]:
            self.q = False
        return {"Q": self.q}


class Off(Model):
    """An off-delay with a reset (TOF_1)."""

    q, begun = False, 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["rst"]:
            self.q = False
        elif i["in"]:
            self.q, self.begun = True, now
        elif now - self.begun >= i["pt"]:
            self.q = False
        return {"Q": self.q}


class Longest(Model):
    """Cuts what is TRUE for too long (TMAX)."""

    q, begun = False, 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge, cut = self.rises("in", i["in"]), False
        if edge:
            self.q, self.begun = True, now
        elif not i["in"]:
            self.q = False
        elif self.q and now - self.begun >= i["pt"]:
            self.q, cut = False, True
        return {"Q": self.q, "Z": cut}


class StandardPulse:
    """The standard's TP: an edge begins it where none runs; one in the scan in which it ends is lost."""

    def __init__(self) -> None:
        self.begun: int | None = None
        self.ended = self.was = False

    def scan(self, now: int, on: bool, pt: int) -> bool:
        """Whether the pulse lasts."""
        if self.begun is None:
            if on and not self.was:
                self.begun = now
        elif now - self.begun >= pt:
            self.ended = True
        if self.ended and not on:
            self.begun, self.ended = None, False
        self.was = on
        return self.begun is not None and not self.ended


class Shortest(Model):
    """Makes what is TRUE last (TMIN)."""

    def __init__(self) -> None:
        super().__init__()
        self.pulse = StandardPulse()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        return {"Q": self.pulse.scan(now, i["in"], i["pt"]) or i["in"]}


class OnOff(Model):
    """An on- and an off-delay in one (TONOF)."""

    q = old = mode = False
    begun: int | None = None
    wait = 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["in"] != self.old or self.begun is None:
            if i["in"] != self.old:
                self.mode = self.old = i["in"]
                self.wait = i["t_on"] if i["in"] else i["t_off"]
            self.begun = now
        if now - self.begun >= self.wait:
            self.q = self.mode
        return {"Q": self.q}


class Clicks(Model):
    """How many times a button was let go in a time that its first push began (CLICK_CNT)."""

    count = -1
    pushed = runs = False

    def __init__(self) -> None:
        super().__init__()
        self.pulse = StandardPulse()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        hit = False
        # The time is seen as the last scan left it.
        if i["in"] and not self.pushed and not self.runs:
            self.count = 0
        elif self.runs and self.pushed and not i["in"]:
            self.count += 1
        elif not self.runs:
            hit, self.count = self.count == i["n"], -1
        self.pushed = i["in"]
        self.runs = self.pulse.scan(now, i["in"], i["tc"])
        return {"Q": hit}


class Square(Model):
    """Half a period TRUE, half a period FALSE, without drift (GEN_SQ)."""

    q: bool = True
    turned: int | None = None

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if self.turned is None:
            self.turned = now
        elif now - self.turned >= i["pt"] // 2:
            self.q = not self.q
            self.turned += i["pt"] // 2
        return {"Q": self.q}


class Clock(Model):
    """A scan TRUE in each period, at once at first (CLK_PRG)."""

    last: int | None = None

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        due = self.last is None or now - self.last >= i["pt"]
        if due:
            self.last = now
        return {"Q": due}


class Bit(Model):
    """An edge with each change of a bit of the clock (CLK_N)."""

    last = 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        bit = now >> i["n"] & 1
        changed, self.last = bit != self.last, bit
        return {"Q": changed}


class Held(Model):
    """Sample and hold with an edge (SH)."""

    kept = 0.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("clk", i["clk"])
        if edge:
            self.kept = i["in"]
        return {"out": self.kept, "trig": edge}


class HeldByTime(Model):
    """Sample and hold every PT (SH_1)."""

    kept, last = 0.0, 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        due = now - self.last >= i["pt"]
        if due:
            self.kept, self.last = i["in"], now
        return {"out": self.kept, "Trig": due}


class Filtered(Model):
    """The last samples in order, some of the extremes left out (SH_2)."""

    last = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows = [0.0] * 16

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if now - self.last < i["pt"]:
            return {"trig": False}
        self.last = now
        self.rows = [i["in"], *self.rows[:-1]]
        kept = sorted(self.rows[: i["n"]])
        half, odd = divmod(i["disc"], 2)
        kept = kept[half + odd : len(kept) - half]
        return {
            "trig": True, "out": i["in"], "avg": sum(kept) / len(kept), "low": kept[0], "high": kept[-1],
        }  # fmt: skip


class HeldWhile(Model):
    """Follows while E is TRUE (SH_T)."""

    kept = 0.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["e"]:
            self.kept = i["in"]
        return {"OUT": self.kept}


class Trend(Model):
    """Where a value goes to."""

    last = 0.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        by, self.last = i["x"] - self.last, i["x"]
        return {"TU": by > 0, "TD": by < 0, "Q": by != 0, "D": by}


class Voted(Model):
    """Two of three, and a warning when one has differed for a time."""

    since: int | None = None

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        votes = i["in1"] + i["in2"] + i["in3"]
        if votes in (0, 3):
            self.since = None
        elif self.since is None:
            self.since = now
        return {"Q": votes >= 2, "W": self.since is not None and now - self.since >= i["td"]}


class Limits(Model):
    """Two pairs of thresholds with one hysteresis (ALARM_2)."""

    def __init__(self) -> None:
        super().__init__()
        self.q: dict[str, bool] = {}

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        for name in ("lo_1", "hi_1", "lo_2", "hi_2"):
            by = i["x"] - i[name]
            if abs(by) > i["hys"] / 2:
                self.q[name] = (by > 0) == name.startswith("hi")
        return {f"Q{n[-1]}_{n[:2]}": self.q.get(n, False) for n in ("lo_1", "hi_1", "lo_2", "hi_2")}


class Since(Model):
    """Milliseconds from scan to scan (TC_MS)."""

    last: int | None = None

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        passed = 0 if self.last is None else now - self.last
        self.last = now
        return {"TC": passed}


class SinceSeconds(Since):
    """The same in seconds."""

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        return {"TC": super().scan(now, i)["TC"] / 1000}


class Hours(Model):
    """Seconds in which an input was TRUE, and how often it became so (ONTIME)."""

    milliseconds = cycles = 0
    last: int | None = None

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("in", i["in"])
        if i["rst"]:
            self.milliseconds = self.cycles = 0
        elif i["in"]:
            self.milliseconds += 0 if self.last is None else now - self.last
            self.cycles += edge
        self.last = now
        return {"SECONDS": self.milliseconds // 1000, "CYCLES": self.cycles}


class Measured(Model):
    """How long an input is TRUE (M_T)."""

    begun, elapsed, kept = 0, 0, 0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        edge = self.rises("in", i["in"])
        if i["rst"] or self.elapsed >= i["tmax"]:
            self.elapsed = self.kept = 0
        elif i["in"]:
            self.begun = now if edge else self.begun
            self.elapsed = now - self.begun
        else:
            self.kept = self.elapsed
        return {"PT": self.kept, "ET": self.elapsed}


class Metered(Model):
    """The integral of two rates while their switches are TRUE, by steps (METER)."""

    total = 0.0
    last: int | None = None

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        passed = 0 if self.last is None else now - self.last
        self.last = now
        if i["rst"]:
            return {}
        rate = i["m1"] * i["i1"] + i["m2"] * i["i2"]
        self.total += rate / i["d"] * passed / 1000
        return {"MX": self.total}


class Calibrated(Model):
    """An offset and a factor that are taught."""

    offset, scale = 0.0, 1.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["co"]:
            self.offset = i["y_offset"] - i["x"]
        elif i["cs"]:
            self.scale = i["y_scale"] / (i["x"] + self.offset)
        return {"Y": (i["x"] + self.offset) * self.scale}
