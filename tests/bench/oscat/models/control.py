"""Filters, integrators, controllers: difference equations with the time between scans."""

from __future__ import annotations

from collections import deque
from typing import Any

from .base import Model


class _Clocked(Model):
    """Knows how many seconds lie between this scan and the last."""

    last: int | None = None

    def seconds(self, now: int) -> float:
        """Since the last scan; 0 in the first."""
        passed = 0.0 if self.last is None else (now - self.last) / 1000
        self.last = now
        return passed


class Pt1(_Clocked):
    """A lag of the first order by Euler's rule, which begins at its input."""

    y: float | None = None

    def step(self, now: int, x: float, t_ms: float, k: float = 1.0) -> float:
        """The output."""
        passed = self.seconds(now)
        if self.y is None or t_ms == 0:
            self.y = k * x
        else:
            self.y += (k * x - self.y) * passed / (t_ms / 1000)
        return self.y

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        return {"out": self.step(now, i["in"], i["t"], i.get("k", 1.0))}


class Integrator(_Clocked):
    """By trapezoids; what stands still keeps its last value for the next trapezoid."""

    y = 0.0
    x: float | None = None

    def step(self, now: int, x: float, k: float = 1.0, on: bool = True) -> float:
        """The integral."""
        passed = self.seconds(now)
        if self.x is None:
            self.x = x
        elif on:
            self.y += k * (x + self.x) / 2 * passed
            self.x = x
        return self.y

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        return {"Y": self.step(now, i["x"], i["k"], i["e"])}


class Derivative(_Clocked):
    """Differences by time; what does not run gives nothing, and remembers what it saw last."""

    x: float | None = None

    def step(self, now: int, x: float, k: float = 1.0, on: bool = True) -> float:
        """The slope."""
        passed = self.seconds(now)
        if self.x is None:
            self.x = x
            return 0.0
        if not on or not passed:
            return 0.0
        slope = k * (x - self.x) / passed
        self.x = x
        return slope

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        return {"out": self.step(now, i["in"], i["k"], i["run"])}


class Bounded(Model):
    """An integrator between limits that can be reset."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Integrator()

    def step(
        self, now: int, x: float, k: float, on: bool, low: float, high: float, rst: bool
    ) -> bool:
        """Whether a limit is reached; the integral is `inner.y`."""
        if rst:
            # The block inside is not called at all, so that its clock and its last input stand still.
            self.inner.y = 0.0
        else:
            self.inner.step(now, x, k, on)
        self.inner.y = min(max(self.inner.y, low), high)
        return not low < self.inner.y < high

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        limited = self.step(now, i["in"], i["k"], i["run"], i["out_min"], i["out_max"], i["rst"])
        return {"OUT": self.inner.y, "LIM": limited}


class Pi(Model):
    """The sum of a proportional and a bounded integral part."""

    def __init__(self) -> None:
        super().__init__()
        self.integral = Bounded()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        lim = self.integral.step(now, i["in"], i["ki"], True, i["ilim_l"], i["ilim_h"], i["rst"])
        return {"Y": i["kp"] * i["in"] + self.integral.inner.y, "LIM": lim}


class Pid(Model):
    """In the ideal form."""

    def __init__(self) -> None:
        super().__init__()
        self.integral, self.slope = Bounded(), Derivative()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        lim = self.integral.step(
            now, i["in"], 1 / i["tn"], True, i["ilim_l"], i["ilim_h"], i["rst"]
        )
        slope = self.slope.step(now, i["in"], i["tv"])
        return {"Y": i["kp"] * (i["in"] + self.integral.inner.y + slope), "LIM": lim}


class Piw(Model):
    """Where the output is limited the integral waits, a scan later."""

    def __init__(self) -> None:
        super().__init__()
        self.integral, self.limited = Integrator(), False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        y = i["kp"] * i["in"] + self.integral.step(now, i["in"], i["ki"], not self.limited)
        self.limited = not i["lim_l"] <= y <= i["lim_h"]
        return {"Y": min(max(y, i["lim_l"]), i["lim_h"]), "LIM": self.limited}


class Pidw(Model):
    """PID whose integral waits while proportional and integral part are beyond a limit."""

    def __init__(self) -> None:
        super().__init__()
        self.integral, self.slope, self.limited = Integrator(), Derivative(), False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        integral = self.integral.step(now, i["in"], 1 / i["tn"], not self.limited)
        y = i["kp"] * (i["in"] + integral)
        self.limited = not i["lim_l"] < y < i["lim_h"]
        y += i["kp"] * self.slope.step(now, i["in"], i["tv"])
        return {"Y": min(max(y, i["lim_l"]), i["lim_h"]), "LIM": self.limited}


class Pd(Model):
    """Proportional and differential."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = Derivative()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        return {"Y": i["kp"] * (i["in"] + self.slope.step(now, i["in"], i["tv"]))}


class Impulse(Model):
    """What a lag has not followed yet."""

    def __init__(self) -> None:
        super().__init__()
        self.lag = Pt1()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        return {"out": (i["in"] - self.lag.step(now, i["in"], i["t"])) * i["k"]}


class Pt2(Model):
    """Of the second order: two integrators in a row, the second fed by the first."""

    def __init__(self) -> None:
        super().__init__()
        self.speed, self.place = Integrator(), Integrator()
        self.begun = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        t = i["t"] / 1000
        if not self.begun:
            self.begun = True
            self.place.y = i["k"] * i["in"]
        else:
            force = (i["k"] * i["in"] - self.place.y) / t**2 - self.speed.y * i["d"] / (2 * t)
            self.place.step(now, self.speed.step(now, force))
        return {"out": self.place.y}


class Mean(Model):
    """The mean of the last N inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: deque[float] = deque()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        n = i["n"]
        if i["rst"] or not self.rows:
            self.rows = deque([i["in"]] * n, maxlen=n)
        elif i["e"]:
            self.rows.append(i["in"])
        return {"AVG": sum(self.rows) / n}


class Samples(Model):
    """A delay line of eight, moved every eighth of a time."""

    count = 8

    def __init__(self) -> None:
        super().__init__()
        self.line: deque[float] = deque([0.0] * self.count, maxlen=self.count)
        self.last: int | None = None
        self.out = 0.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        due = self.last is not None and now - self.last >= i["t"] // self.count
        if self.last is None:
            self.line.append(i["in"])
        elif due:
            self.out = self.line[0]
            self.line.append(i["in"])
        if due or self.last is None:
            self.last = now
        return {"out": self.out, "trig": due}


class Samples16(Samples):
    """Of sixteen."""

    count = 16


class Samples64(Samples):
    """Of sixty-four."""

    count = 64


class Ramp(_Clocked):
    """Follows its input with limited speed, units per second."""

    y: float | None = None
    up = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        passed, x = self.seconds(now), i["in"]
        if self.y is None:
            self.y = x
        elif self.y > x:
            self.y = max(x, self.y - passed * i["kf"])
        else:
            self.y = min(x, self.y + passed * i["kr"])
        if self.y != x:
            self.up = self.y < x
        return {"out": self.y, "busy": self.y != x, "UD": self.up}


class Hysteresis(Model):
    """Two thresholds; between them the output stays."""

    q = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if "val" in i:
            high, low = i["val"] + i["hys"] / 2, i["val"] - i["hys"] / 2
        elif "high" in i:
            high, low = i["high"], i["low"]
        else:
            high, low = max(i["on"], i["off"]), min(i["on"], i["off"])
        falling = "on" in i and i["on"] < i["off"]
        inside = low <= i["in"] <= high
        if not inside:
            self.q = (i["in"] > high) != falling
        return {"Q": self.q, "WIN": inside}


class ThreePoints(Model):
    """One output below a value, another above a second, each with its hysteresis."""

    low = high = False

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        half = i["hyst"] / 2
        if abs(i["in"] - i["val1"]) > half:
            self.low = i["in"] < i["val1"]
        if abs(i["in"] - i["val2"]) > half:
            self.high = i["in"] > i["val2"]
        return {"Q1": self.low, "Q2": self.high}


class ControlPi(Model):
    """A dead zone, a PI with an integral between the limits, an offset, a hand."""

    def __init__(self) -> None:
        super().__init__()
        self.integral = Integrator()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        off = i["set"] - i["act"]
        off = off if abs(off) > i["sup"] else 0.0
        begun = self.integral.x is not None
        y = i["kp"] * off + self.integral.step(now, off, i["ki"])
        # The first scan only begins.
        y = y if begun else 0.0
        y = (i["m_i"] if i["man"] else y) + i["ofs"]
        return {"DIFF": off, "Y": min(max(y, i["ll"]), i["lh"]), "LIM": not i["ll"] < y < i["lh"]}


class Slow(Model):
    """The mean step that a moving weighted window makes, newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: deque[float] = deque(maxlen=16)

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if i["rst"] or not self.rows:
            self.rows = deque([i["x"]] * 16, maxlen=16)
        else:
            self.rows.appendleft(i["x"])
        return {"Y": sum(w * x for w, x in zip(i["w"], self.rows, strict=True))}


class DeadZone(Model):
    """Where the input is small the output stays at the edge on its side."""

    y = 0.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if abs(i["x"]) > i["l"]:
            self.y = i["x"]
        else:
            self.y = i["l"] if self.y > 0 else -i["l"]
        return {"Y": self.y}


class Stair(Model):
    """Moves by whole steps, and only when a step is full."""

    y = 0.0

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        if abs(i["x"] - self.y) >= i["d"]:
            self.y = i["x"] // i["d"] * i["d"]
        return {"Y": self.y}


class HeldPi(Model):
    """PI whose integral is set to what the limits leave (FT_PIWL)."""

    def __init__(self) -> None:
        super().__init__()
        self.i, self.x, self.now, self.y, self.limited = 0.0, 0.0, 0, 0.0, False
        self.begun = False

    def step(
        self, now: int, x: float, kp: float, ki: float, low: float, high: float, rst: bool
    ) -> float:
        """The output; where it begins or is reset the last one stays."""
        if rst or not self.begun:
            self.i, self.begun = 0.0, True
        else:
            self.i += ki * (x + self.x) / 2 * (now - self.now) / 1000
            free = kp * x + self.i
            self.y = min(max(free, low), high)
            self.limited = not low < free < high
            if self.limited:
                self.i = self.y - kp * x
        self.x, self.now = x, now
        return self.y

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        y = self.step(now, i["in"], i["kp"], i["ki"], i["lim_l"], i["lim_h"], i["rst"])
        return {"Y": y, "LIM": self.limited}


class HeldPid(Model):
    """The same with a differential part, without a reset (FT_PIDWL)."""

    def __init__(self) -> None:
        super().__init__()
        self.pi, self.slope = HeldPi(), Derivative()

    def step(self, now: int, x: float, i: dict[str, Any], low: float, high: float) -> float:
        """The sum before it is limited."""
        y = self.pi.step(now, x * i["kp"], 1.0, 1 / i["tn"], low, high, rst=False)
        return y + self.slope.step(now, x, i["kp"] * i["tv"])

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        y = self.step(now, i["in"], i, i["lim_l"], i["lim_h"])
        return {
            "Y": min(max(y, i["lim_l"]), i["lim_h"]),
            "LIM": not i["lim_l"] <= y <= i["lim_h"],
        }


class ControlPid(Model):
    """A dead zone, FT_PIDWL, an offset and a hand (CTRL_PID)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = HeldPid()

    def scan(self, now: int, i: dict[str, Any]) -> dict[str, Any]:
        off = i["set"] - i["act"]
        off = off if abs(off) > i["sup"] else 0.0
        y = min(max(self.inner.step(now, off, i, i["ll"], i["lh"]), i["ll"]), i["lh"])
        y = (i["m_i"] if i["man"] else y) + i["ofs"]
        return {"DIFF": off, "Y": min(max(y, i["ll"]), i["lh"]), "LIM": not i["ll"] < y < i["lh"]}
