"""Checked tree to C: one self-contained file that gcc and tcc read alike.

All state lies in the arena at fixed offsets; what a source says reaches C only as numbers and mangled names.
"""

from __future__ import annotations

from .types import Type

HEAD = r"""#include "vplc_abi.h"
#include <math.h>
#include <string.h>
#define LOOP(c) do { if (*(c)->stop) (c)->fault((c), VPLC_FAULT_WATCHDOG); } while (0)
#define AT(T, p, o) (*(T *)(void *)((p) + (o)))
static uint32_t mw_index(vplc_ctx *c, int64_t i, int64_t lo, int64_t hi) {
    if (i < lo || i > hi) c->fault(c, VPLC_FAULT_BOUNDS);
    return (uint32_t)(i - lo);
}
static int64_t mw_div(vplc_ctx *c, int64_t a, int64_t b) {
    if (b == 0) c->fault(c, VPLC_FAULT_DIV_ZERO);
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}
static int64_t mw_mod(vplc_ctx *c, int64_t a, int64_t b) {
    if (b == 0) c->fault(c, VPLC_FAULT_DIV_ZERO);
    return b == -1 ? 0 : a % b;
}
static uint64_t mw_udiv(vplc_ctx *c, uint64_t a, uint64_t b) { if (b == 0) c->fault(c, VPLC_FAULT_DIV_ZERO); return a / b; }
static uint64_t mw_umod(vplc_ctx *c, uint64_t a, uint64_t b) { if (b == 0) c->fault(c, VPLC_FAULT_DIV_ZERO); return a % b; }
static double mw_fdiv(vplc_ctx *c, double a, double b) { if (b == 0.0) c->fault(c, VPLC_FAULT_DIV_ZERO); return a / b; }
static int64_t mw_round(vplc_ctx *c, double x) { /* to the nearest, halves to even */
    if (!(x > -9.2e18 && x < 9.2e18)) c->fault(c, VPLC_FAULT_CONVERSION);
    double f = floor(x), d = x - f;
    int64_t n = (int64_t)f;
    if (d > 0.5 || (d == 0.5 && (n & 1))) n++;
    return n;
}
static int64_t mw_trunc(vplc_ctx *c, double x) { if (!(x > -9.2e18 && x < 9.2e18)) c->fault(c, VPLC_FAULT_CONVERSION); return (int64_t)x; }
static void mw_enter(vplc_ctx *c) { if (++c->depth > 64) c->fault(c, VPLC_FAULT_STACK); }
"""


def literal(value: int | float | bool, kind: Type) -> str:
    """A constant of the type as C."""
    if kind.kind == "real":
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError("not a finite number")
        return f"(({kind.c}){number.hex()})" if False else f"(({kind.c}){number!r})"
    if kind.kind == "bool":
        return "1" if value else "0"
    number = int(value)
    if number < -(2**63) + 1:
        return f"(({kind.c})(-9223372036854775807LL-1))"
    return f"(({kind.c}){number}{'ULL' if number > 2**63 - 1 else 'LL'})"
