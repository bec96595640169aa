/* SPDX-License-Identifier: Apache-2.0 */
/* What emitted programs stand on: checked arithmetic, references, texts. C99 that tcc and gcc read alike; no
 * allocation, no system call. References are 32 bits: the area above (0 arena, 1 %I, 2 %Q, 3 %M), the offset below. */

void *memcpy(void *, const void *, unsigned long);
void *memmove(void *, const void *, unsigned long);
void *memset(void *, int, unsigned long);
int snprintf(char *, unsigned long, const char *, ...);
double strtod(const char *, char **);
double pow(double, double), sqrt(double), exp(double), log(double), log10(double), sin(double), cos(double), tan(double);
double asin(double), acos(double), atan(double), atan2(double, double), fabs(double), rint(double), trunc(double), floor(double);

/* Values lie where the layout puts them; a pointer of the program may lie anywhere: no alignment is assumed. */
#ifdef __TINYC__
#define VP_ANY
#define VP_SMALL static
#define VP_RARE(x) (x)
#else
#define VP_ANY __attribute__((aligned(1), may_alias))
/* Checks in the middle of everything: -O1 inlines only what it is told to. */
#define VP_SMALL static inline __attribute__((always_inline))
#define VP_RARE(x) __builtin_expect(!!(x), 0)
#endif
typedef uint8_t vp_u8 VP_ANY; typedef uint16_t vp_u16 VP_ANY; typedef uint32_t vp_u32 VP_ANY; typedef uint64_t vp_u64 VP_ANY;
typedef int8_t vp_i8 VP_ANY; typedef int16_t vp_i16 VP_ANY; typedef int32_t vp_i32 VP_ANY; typedef int64_t vp_i64 VP_ANY;
typedef float vp_f32 VP_ANY; typedef double vp_f64 VP_ANY;

#ifndef __TINYC__
__attribute__((noreturn, noinline, cold))
#endif
static void vp_fault(vplc_ctx *c, uint32_t code) { c->fault(c, code); for (;;) {} }

#define VP_LOOP(c) do { if (VP_RARE(*(c)->stop)) vp_fault((c), VPLC_FAULT_WATCHDOG); } while (0)
#define VP_NULL_ZONE 16u

VP_SMALL uint8_t *vp_at(vplc_ctx *c, uint32_t ref, uint32_t add, uint32_t size) {
    uint32_t offset = ref & 0x3fffffffu, limit;
    uint8_t *base;
    switch (ref >> 30) {
    case 0: base = c->arena; limit = c->arena_size; if (offset < VP_NULL_ZONE) vp_fault(c, VPLC_FAULT_REFERENCE); break;
    case 1: base = c->in; limit = c->in_size; break;
    case 2: base = c->out; limit = c->out_size; break;
    default: base = c->mem; limit = c->mem_size; break;
    }
    if ((uint64_t)offset + add + size > limit) vp_fault(c, VPLC_FAULT_REFERENCE);
    return base + offset + add;
}

/* An instance of a block behind a reference: it must lie in the arena as a whole. */
VP_SMALL uint32_t vp_instance(vplc_ctx *c, uint32_t ref, uint32_t size) {
    if (ref >> 30 || ref < VP_NULL_ZONE || (uint64_t)ref + size > c->arena_size) vp_fault(c, VPLC_FAULT_REFERENCE);
    return ref;
}

/* Of an input: whether all of its bytes are good; and milliseconds since its device answered, the most there are for never. */
static uint8_t vp_input_good(vplc_ctx *c, uint32_t ref, uint32_t size) {
    uint32_t i = ref & 0x3fffffffu, end = i + size;
    for (; i < end && i < c->in_size; i++) if (c->quality[i] != 1) return 0;
    return 1;
}
static uint32_t vp_input_age(vplc_ctx *c, uint32_t ref, uint32_t size) {
    uint32_t oldest = 0, at = ref & 0x3fffffffu, end = at + size;
    for (uint32_t i = at / 2; 2 * i < end && 2 * i < c->in_size; i++) {
        if (c->stamp[i] == 0 && c->quality[2 * i] != 1 && c->quality[2 * i + 1] != 1) return 0xffffffffu;
        uint32_t age = c->now_ms - c->stamp[i];
        if (age < 0xffff0000u && age > oldest) oldest = age; /* a little below 0: it answered after this scan's time was taken */
    }
    return oldest;
}

VP_SMALL uint32_t vp_index(vplc_ctx *c, int64_t i, int64_t low, uint32_t count) {
    uint64_t k = (uint64_t)i - (uint64_t)low;
    if (VP_RARE(k >= count)) vp_fault(c, VPLC_FAULT_BOUNDS);
    return (uint32_t)k;
}

VP_SMALL int64_t vp_within(vplc_ctx *c, int64_t v, int64_t low, int64_t high) {
    if (VP_RARE(v < low || v > high)) vp_fault(c, VPLC_FAULT_CONVERSION);
    return v;
}

static void vp_frame(vplc_ctx *c, uint32_t sp, uint32_t size) {
    if (c->depth > 100u || (uint64_t)sp + size > c->arena_size) vp_fault(c, VPLC_FAULT_STACK);
    c->depth++;
}

#define VP_SIGNED(S, T, U, N) \
    VP_SMALL T vp_div_##S(vplc_ctx *c, T a, T b) { if (VP_RARE(b == 0)) vp_fault(c, VPLC_FAULT_DIV_ZERO); return b == -1 ? (T)(0 - (U)a) : (T)(a / b); } \
    VP_SMALL T vp_mod_##S(vplc_ctx *c, T a, T b) { (void)c; return b == 0 || b == -1 ? 0 : (T)(a % b); } \
    VP_SMALL T vp_abs_##S(T a) { return a < 0 ? (T)(0 - (U)a) : a; } \
    VP_SMALL T vp_shl_##S(T a, int64_t n) { return n < 0 || n >= N ? 0 : (T)((U)a << n); } \
    VP_SMALL T vp_shr_##S(T a, int64_t n) { return (T)(n < 0 ? 0 : a >> (n >= N ? N - 1 : n)); } \
    VP_SMALL T vp_rol_##S(T a, int64_t n) { U u = (U)a; n = ((n % N) + N) % N; return n ? (T)(U)((u << n) | (u >> (N - n))) : a; } \
    VP_SMALL T vp_ror_##S(T a, int64_t n) { return vp_rol_##S(a, N - ((n % N) + N) % N); }
#define VP_UNSIGNED(S, T, N) \
    VP_SMALL T vp_div_##S(vplc_ctx *c, T a, T b) { if (VP_RARE(b == 0)) vp_fault(c, VPLC_FAULT_DIV_ZERO); return (T)(a / b); } \
    VP_SMALL T vp_mod_##S(vplc_ctx *c, T a, T b) { (void)c; return b == 0 ? 0 : (T)(a % b); } \
    VP_SMALL T vp_abs_##S(T a) { return a; } \
    VP_SMALL T vp_shl_##S(T a, int64_t n) { return n < 0 || n >= N ? 0 : (T)(a << n); } \
    VP_SMALL T vp_shr_##S(T a, int64_t n) { return n < 0 || n >= N ? 0 : (T)(a >> n); } \
    VP_SMALL T vp_rol_##S(T a, int64_t n) { n = ((n % N) + N) % N; return n ? (T)((T)(a << n) | (T)(a >> (N - n))) : a; } \
    VP_SMALL T vp_ror_##S(T a, int64_t n) { return vp_rol_##S(a, N - ((n % N) + N) % N); }
VP_SIGNED(i8, int8_t, uint8_t, 8) VP_SIGNED(i16, int16_t, uint16_t, 16) VP_SIGNED(i32, int32_t, uint32_t, 32) VP_SIGNED(i64, int64_t, uint64_t, 64)
VP_UNSIGNED(u8, uint8_t, 8) VP_UNSIGNED(u16, uint16_t, 16) VP_UNSIGNED(u32, uint32_t, 32) VP_UNSIGNED(u64, uint64_t, 64)

VP_SMALL float vp_div_f32(vplc_ctx *c, float a, float b) { if (b == 0.0f) vp_fault(c, VPLC_FAULT_DIV_ZERO); return (float)(a / b); }
VP_SMALL double vp_div_f64(vplc_ctx *c, double a, double b) { if (b == 0.0) vp_fault(c, VPLC_FAULT_DIV_ZERO); return a / b; }

/* Real to whole number. VP_ROUND is rint (half to even) or vp_half_away, by dialect. NaN and what 64 bits cannot hold is a fault. */
VP_SMALL double vp_half_away(double v) { double r = trunc(v); return fabs(v - r) < 0.5 ? r : v < 0 ? r - 1.0 : r + 1.0; }
VP_SMALL int64_t vp_whole(vplc_ctx *c, double v) {
    if (!(v >= -9223372036854775808.0 && v < 9223372036854775808.0)) vp_fault(c, VPLC_FAULT_CONVERSION);
    return (int64_t)v;
}
static uint64_t vp_whole_u(vplc_ctx *c, double v) {
    if (!(v >= 0.0 && v < 18446744073709551616.0)) vp_fault(c, VPLC_FAULT_CONVERSION);
    return v >= 9223372036854775808.0 ? (uint64_t)(int64_t)(v - 9223372036854775808.0) + 9223372036854775808ull : (uint64_t)(int64_t)v;
}
/* tcc 0.9.27 converts 64-bit unsigned numbers to reals wrongly above 2^63: both compilers take this way. */
static float vp_real_u32(uint64_t v) { return v >> 63 ? 2.0f * (float)(int64_t)((v >> 1) | (v & 1)) : (float)(int64_t)v; }
static double vp_real_u64(uint64_t v) { return v >> 63 ? 2.0 * (double)(int64_t)((v >> 1) | (v & 1)) : (double)(int64_t)v; }

static int32_t vp_mux(vplc_ctx *c, int64_t k, int32_t n) { if (k < 0 || k >= n) vp_fault(c, VPLC_FAULT_BOUNDS); return (int32_t)k; }
static int32_t vp_mux_last(vplc_ctx *c, int64_t k, int32_t n) { (void)c; return k < 0 || k >= n ? n - 1 : (int32_t)k; }

static uint64_t vp_from_bcd(vplc_ctx *c, uint64_t v) {
    uint64_t r = 0, scale = 1;
    for (; v; v >>= 4, scale *= 10) { if ((v & 15) > 9) vp_fault(c, VPLC_FAULT_CONVERSION); r += (v & 15) * scale; }
    return r;
}
static uint64_t vp_to_bcd(vplc_ctx *c, uint64_t v, int32_t digits) {
    uint64_t r = 0; int32_t i;
    for (i = 0; i < 16 && v; i++, v /= 10) r |= (v % 10) << (4 * i);
    if (v || (digits < 16 && r >> (4 * digits))) vp_fault(c, VPLC_FAULT_CONVERSION);
    return r;
}

static uint8_t vp_is_bcd(uint64_t v) { for (; v; v >>= 4) if ((v & 15) > 9) return 0; return 1; }
static uint64_t vp_swap(uint64_t v, int32_t size) { uint64_t r = 0; for (; size > 0; size--, v >>= 8) r = r << 8 | (v & 255); return r; }

/* --- texts: a pointer and a length, never beyond the variable they lie in -------------------------------------- */
#define VP_TEXT(X, CH) \
    typedef struct vp_##X { const CH *p; uint32_t n; } vp_##X; \
    static vp_##X vp_##X##_make(const CH *p, uint32_t n) { vp_##X r; r.p = p; r.n = n; return r; } \
    static vp_##X vp_##X##_load(const uint8_t *at, uint32_t cap) { const CH *p = (const CH *)at; uint32_t n = 0; while (n < cap && p[n]) n++; return vp_##X##_make(p, n); } \
    static void vp_##X##_store(vplc_ctx *c, uint8_t *at, uint32_t cap, vp_##X s, int strict) { \
        CH *d = (CH *)at; \
        if (s.n > cap) { if (strict) vp_fault(c, VPLC_FAULT_STRING); s.n = cap; } \
        memmove(d, s.p, s.n * sizeof(CH)); d[s.n] = 0; } \
    static vp_##X vp_##X##_keep(vplc_ctx *c, uint8_t *at, uint32_t cap, vp_##X s) { vp_##X##_store(c, at, cap, s, 0); return vp_##X##_make((CH *)at, s.n > cap ? cap : s.n); } \
    static int vp_##X##_compare(vp_##X a, vp_##X b) { uint32_t i; \
        for (i = 0; i < a.n && i < b.n; i++) if (a.p[i] != b.p[i]) return a.p[i] < b.p[i] ? -1 : 1; \
        return a.n == b.n ? 0 : a.n < b.n ? -1 : 1; } \
    static vp_##X vp_##X##_left(vp_##X s, int64_t n) { if (n < 0) n = 0; if (n < s.n) s.n = (uint32_t)n; return s; } \
    static vp_##X vp_##X##_right(vp_##X s, int64_t n) { if (n < 0) n = 0; if (n < s.n) { s.p += s.n - n; s.n = (uint32_t)n; } return s; } \
    static vp_##X vp_##X##_from(vp_##X s, int64_t k) { if (k < 0) k = 0; if (k > s.n) k = s.n; s.p += k; s.n -= (uint32_t)k; return s; } \
    static vp_##X vp_##X##_mid(vp_##X s, int64_t n, int64_t p) { if (p < 1) return vp_##X##_left(s, 0); return vp_##X##_left(vp_##X##_from(s, p - 1), n); } \
    static vp_##X vp_##X##_join(uint8_t *at, uint32_t cap, vp_##X a, vp_##X b, vp_##X e) { \
        CH *d = (CH *)at; uint32_t n = 0, i; \
        for (i = 0; i < a.n && n < cap; i++) d[n++] = a.p[i]; \
        for (i = 0; i < b.n && n < cap; i++) d[n++] = b.p[i]; \
        for (i = 0; i < e.n && n < cap; i++) d[n++] = e.p[i]; \
        d[n] = 0; return vp_##X##_make(d, n); } \
    static vp_##X vp_##X##_concat(uint8_t *at, uint32_t cap, vp_##X a, vp_##X b) { return vp_##X##_join(at, cap, a, b, vp_##X##_left(a, 0)); } \
    static vp_##X vp_##X##_insert(uint8_t *at, uint32_t cap, vp_##X a, vp_##X b, int64_t p) { return vp_##X##_join(at, cap, vp_##X##_left(a, p), b, vp_##X##_from(a, p)); } \
    static vp_##X vp_##X##_delete(uint8_t *at, uint32_t cap, vp_##X a, int64_t n, int64_t p) { \
        if (p < 1 || n < 1) return vp_##X##_join(at, cap, a, vp_##X##_left(a, 0), vp_##X##_left(a, 0)); \
        return vp_##X##_join(at, cap, vp_##X##_left(a, p - 1), vp_##X##_from(vp_##X##_from(a, p - 1), n), vp_##X##_left(a, 0)); } \
    static vp_##X vp_##X##_replace(uint8_t *at, uint32_t cap, vp_##X a, vp_##X b, int64_t n, int64_t p) { \
        if (p < 1) p = 1; if (n < 0) n = 0; \
        return vp_##X##_join(at, cap, vp_##X##_left(a, p - 1), b, vp_##X##_from(vp_##X##_from(a, p - 1), n)); } \
    static int16_t vp_##X##_find(vp_##X a, vp_##X b) { uint32_t i, k; \
        if (b.n == 0 || b.n > a.n) return 0; \
        for (i = 0; i + b.n <= a.n; i++) { for (k = 0; k < b.n && a.p[i + k] == b.p[k]; k++) {} if (k == b.n) return (int16_t)(i + 1); } \
        return 0; } \
    static vp_##X vp_##X##_char(uint8_t *at, CH ch) { CH *d = (CH *)at; d[0] = ch; d[1] = 0; return vp_##X##_make(d, ch ? 1 : 0); }
VP_TEXT(s, uint8_t) VP_TEXT(w, uint16_t)

static vp_s vp_w_to_s(uint8_t *at, uint32_t cap, vp_w v) { uint32_t i; for (i = 0; i < v.n && i < cap; i++) at[i] = v.p[i] < 256 ? (uint8_t)v.p[i] : '?'; at[i] = 0; return vp_s_make(at, i); }
static vp_w vp_s_to_w(uint8_t *at, uint32_t cap, vp_s v) { uint16_t *d = (uint16_t *)at; uint32_t i; for (i = 0; i < v.n && i < cap; i++) d[i] = v.p[i]; d[i] = 0; return vp_w_make(d, i); }

/* --- numbers as texts; `at` has room for 41 bytes ---------------------------------------------------------------- */
static vp_s vp_u64_to_string(uint8_t *at, uint64_t v) {
    uint8_t b[24]; uint32_t n = 0, i;
    do { b[n++] = (uint8_t)('0' + v % 10); v /= 10; } while (v);
    for (i = 0; i < n; i++) at[i] = b[n - 1 - i];
    at[n] = 0; return vp_s_make(at, n);
}
static vp_s vp_i64_to_string(uint8_t *at, int64_t v) {
    vp_s s;
    if (v >= 0) return vp_u64_to_string(at, (uint64_t)v);
    at[0] = '-'; s = vp_u64_to_string(at + 1, 0 - (uint64_t)v);
    return vp_s_make(at, s.n + 1);
}
static vp_s vp_real_text(uint8_t *at, double v, int digits) {
    int n = snprintf((char *)at, 38, "%.*g", digits, v), i;
    for (i = 0; i < n; i++) if (at[i] == '.' || at[i] == 'e' || at[i] == 'n' || at[i] == 'i') return vp_s_make(at, (uint32_t)n);
    at[n] = '.'; at[n + 1] = '0'; at[n + 2] = 0;
    return vp_s_make(at, (uint32_t)n + 2);
}
static vp_s vp_f32_to_string(uint8_t *at, float v) { return vp_real_text(at, v, 7); }
static vp_s vp_f64_to_string(uint8_t *at, double v) { return vp_real_text(at, v, 15); }
static vp_s vp_bool_to_string(uint8_t *at, uint8_t v) { memcpy(at, v ? "TRUE" : "FALSE", 6); return vp_s_make(at, v ? 4 : 5); }

static uint32_t vp_put(uint8_t *at, uint32_t n, const char *s) { while (*s) at[n++] = (uint8_t)*s++; at[n] = 0; return n; }
static uint32_t vp_put_number(uint8_t *at, uint32_t n, uint64_t v, uint32_t width) {
    uint8_t b[24]; uint32_t k = 0;
    do { b[k++] = (uint8_t)('0' + v % 10); v /= 10; } while (v);
    while (k < width) b[k++] = '0';
    while (k) at[n++] = b[--k];
    at[n] = 0; return n;
}
static vp_s vp_duration_text(uint8_t *at, uint64_t ns, int negative, const char *prefix) {
    static const char *const units[] = {"d", "h", "m", "s", "ms", "us", "ns"};
    static const uint64_t sizes[] = {86400000000000ull, 3600000000000ull, 60000000000ull, 1000000000ull, 1000000ull, 1000ull, 1ull};
    uint32_t n = vp_put(at, 0, prefix), i, first = 1;
    if (negative) n = vp_put(at, n, "-");
    for (i = 0; i < 7; i++) {
        uint64_t k = ns / sizes[i];
        if (k) { n = vp_put_number(at, n, k, 1); n = vp_put(at, n, units[i]); ns -= k * sizes[i]; first = 0; }
    }
    if (first) n = vp_put(at, n, prefix[0] == 'L' ? "0s" : "0ms");
    return vp_s_make(at, n);
}
static vp_s vp_time_to_string(uint8_t *at, uint32_t v) { return vp_duration_text(at, (uint64_t)v * 1000000u, 0, "T#"); }
static vp_s vp_ltime_to_string(uint8_t *at, int64_t v) { return vp_duration_text(at, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0, "LTIME#"); }

static int64_t vp_floor_div(int64_t a, int64_t b) { int64_t q = a / b; return a % b < 0 ? q - 1 : q; }
/* Days since 1970 to the civil calendar and back (proleptic Gregorian, eras of 400 years). */
static uint32_t vp_put_date(uint8_t *at, uint32_t n, int64_t days) {
    int64_t z = days + 719468, era = vp_floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t d = doy - (153 * mp + 2) / 5 + 1, m = mp < 10 ? mp + 3 : mp - 9, y = yoe + era * 400 + (m <= 2);
    n = vp_put_number(at, n, (uint64_t)(y < 0 ? 0 : y), 4); n = vp_put(at, n, "-");
    n = vp_put_number(at, n, (uint64_t)m, 2); n = vp_put(at, n, "-");
    return vp_put_number(at, n, (uint64_t)d, 2);
}
static int64_t vp_days(int64_t y, int64_t m, int64_t d) {
    int64_t era, yoe, doy, doe;
    y -= m <= 2; era = vp_floor_div(y, 400); yoe = y - era * 400;
    doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1; doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}
static uint32_t vp_put_clock(uint8_t *at, uint32_t n, uint64_t ns, int digits) {
    n = vp_put_number(at, n, ns / 3600000000000ull, 2); n = vp_put(at, n, ":");
    n = vp_put_number(at, n, ns / 60000000000ull % 60, 2); n = vp_put(at, n, ":");
    n = vp_put_number(at, n, ns / 1000000000ull % 60, 2);
    if (digits == 3) { n = vp_put(at, n, "."); n = vp_put_number(at, n, ns / 1000000ull % 1000, 3); }
    if (digits == 9) { n = vp_put(at, n, "."); n = vp_put_number(at, n, ns % 1000000000ull, 9); }
    return n;
}
#define VP_DAY 86400000000000ll
static vp_s vp_ldate_text(uint8_t *at, int64_t ns, const char *p) { return vp_s_make(at, vp_put_date(at, vp_put(at, 0, p), vp_floor_div(ns, VP_DAY))); }
static vp_s vp_ltod_text(uint8_t *at, int64_t ns, const char *p, int digits) { return vp_s_make(at, vp_put_clock(at, vp_put(at, 0, p), (uint64_t)ns, digits)); }
static vp_s vp_ldt_text(uint8_t *at, int64_t ns, const char *p, int digits) {
    int64_t day = vp_floor_div(ns, VP_DAY);
    uint32_t n = vp_put_date(at, vp_put(at, 0, p), day);
    n = vp_put(at, n, "-");
    return vp_s_make(at, vp_put_clock(at, n, (uint64_t)(ns - day * VP_DAY), digits));
}
static vp_s vp_date_to_string(uint8_t *at, uint32_t v) { return vp_ldate_text(at, (int64_t)v * 1000000000, "D#"); }
static vp_s vp_tod_to_string(uint8_t *at, uint32_t v) { return vp_ltod_text(at, (int64_t)v * 1000000, "TOD#", 3); }
static vp_s vp_dt_to_string(uint8_t *at, uint32_t v) { return vp_ldt_text(at, (int64_t)v * 1000000000, "DT#", 0); }
static vp_s vp_ldate_to_string(uint8_t *at, int64_t v) { return vp_ldate_text(at, v, "LD#"); }
static vp_s vp_ltod_to_string(uint8_t *at, int64_t v) { return vp_ltod_text(at, v, "LTOD#", 9); }
static vp_s vp_ldt_to_string(uint8_t *at, int64_t v) { return vp_ldt_text(at, v, "LDT#", 9); }

/* --- texts as numbers: what cannot be read gives 0, as the older tools do ------------------------------------------ */
static uint32_t vp_skip(vp_s s) { uint32_t i = 0; while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t')) i++; return i; }
static uint64_t vp_string_to_u64(vp_s s) {
    uint32_t i = vp_skip(s), base = 10, k; uint64_t v = 0;
    for (k = i; k < s.n && s.p[k] != '#'; k++) {}
    if (k < s.n) { uint32_t b = 0; for (; i < k; i++) b = b * 10 + (uint32_t)(s.p[i] - '0'); if (b == 2 || b == 8 || b == 16) base = b; i = k + 1; }
    if (i < s.n && s.p[i] == '+') i++;
    for (; i < s.n; i++) {
        uint32_t ch = s.p[i], d = ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10 : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : 99;
        if (ch == '_') continue;
        if (d >= base) break;
        v = v * base + d;
    }
    return v;
}
static int64_t vp_string_to_i64(vp_s s) {
    uint32_t i = vp_skip(s);
    if (i < s.n && s.p[i] == '-') return (int64_t)(0 - vp_string_to_u64(vp_s_from(s, i + 1)));
    return (int64_t)vp_string_to_u64(s);
}
static double vp_string_to_f64(vp_s s) {
    char b[64], *end; double v; uint32_t i = vp_skip(s), n = 0;
    while (i < s.n && n < 63 && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.' || s.p[i] == '-' || s.p[i] == '+' || s.p[i] == 'e' || s.p[i] == 'E')) b[n++] = (char)s.p[i++];
    b[n] = 0; v = strtod(b, &end);
    return end == b ? 0.0 : v;
}
static uint8_t vp_string_to_bool(vp_s s) {
    uint32_t i = vp_skip(s);
    return (uint8_t)(i < s.n && (s.p[i] == '1' || ((s.p[i] == 'T' || s.p[i] == 't') && s.n - i == 4 && (s.p[i + 1] == 'R' || s.p[i + 1] == 'r'))));
}
static uint8_t vp_s_first(vp_s s) { return s.n ? s.p[0] : 0; }
static uint16_t vp_w_first(vp_w s) { return s.n ? s.p[0] : 0; }
/* Digits, then what stands behind them; -1 when there is no digit. */
static int64_t vp_digits(vp_s s, uint32_t *i) { int64_t v = -1; while (*i < s.n && s.p[*i] >= '0' && s.p[*i] <= '9' && v < 1000000000000000ll) v = (v < 0 ? 0 : v) * 10 + (s.p[(*i)++] - '0'); return v; }
static uint32_t vp_after_mark(vp_s s) { uint32_t i; for (i = 0; i < s.n; i++) if (s.p[i] == '#') return i + 1; return vp_skip(s); }
static int64_t vp_string_to_ltime(vp_s s) {
    uint32_t i = vp_after_mark(s); int64_t total = 0; int negative = 0;
    if (i < s.n && s.p[i] == '-') { negative = 1; i++; }
    for (;;) {
        int64_t v = vp_digits(s, &i), unit, part = 0, scale = 1;
        if (v < 0) break;
        if (i < s.n && s.p[i] == '.') { i++; while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') { if (scale < 1000000000) { part = part * 10 + (s.p[i] - '0'); scale *= 10; } i++; } }
        if (i >= s.n) break;
        {
            uint8_t a = s.p[i] | 32, b = i + 1 < s.n ? s.p[i + 1] | 32 : 0;
            if (a == 'm' && b == 's') { unit = 1000000; i += 2; } else if (a == 'u') { unit = 1000; i += 2; } else if (a == 'n') { unit = 1; i += 2; }
            else if (a == 'd') { unit = VP_DAY; i++; } else if (a == 'h') { unit = 3600000000000ll; i++; } else if (a == 'm') { unit = 60000000000ll; i++; } else if (a == 's') { unit = 1000000000ll; i++; } else break;
        }
        total += v * unit + (scale > 1 ? (unit >= scale ? part * (unit / scale) : part * unit / scale) : 0);
        if (i < s.n && s.p[i] == '_') i++;
    }
    return negative ? -total : total;
}
static int64_t vp_read_date(vp_s s, uint32_t *i) {
    int64_t y = vp_digits(s, i), m, d;
    if (*i < s.n) ++*i;
    m = vp_digits(s, i);
    if (*i < s.n) ++*i;
    d = vp_digits(s, i);
    return y < 0 || m < 1 || m > 12 || d < 1 || d > 31 ? 0 : vp_days(y, m, d) * VP_DAY;
}
static int64_t vp_read_clock(vp_s s, uint32_t *i) {
    int64_t h = vp_digits(s, i), m, sec, part = 0, unit = 100000000;
    if (*i < s.n) ++*i;
    m = vp_digits(s, i);
    if (*i < s.n) ++*i;
    sec = vp_digits(s, i);
    if (*i < s.n && s.p[*i] == '.') for (++*i; *i < s.n && s.p[*i] >= '0' && s.p[*i] <= '9'; ++*i) { part += (s.p[*i] - '0') * unit; unit /= 10; }
    return (h < 0 ? 0 : h) * 3600000000000ll + (m < 0 ? 0 : m) * 60000000000ll + (sec < 0 ? 0 : sec) * 1000000000ll + part;
}
static int64_t vp_string_to_ldate(vp_s s) { uint32_t i = vp_after_mark(s); return vp_read_date(s, &i); }
static int64_t vp_string_to_ltod(vp_s s) { uint32_t i = vp_after_mark(s); return vp_read_clock(s, &i); }
static int64_t vp_string_to_ldt(vp_s s) { uint32_t i = vp_after_mark(s); int64_t d = vp_read_date(s, &i); if (i < s.n) i++; return d + vp_read_clock(s, &i); }
static uint32_t vp_string_to_time(vp_s s) { return (uint32_t)(vp_string_to_ltime(s) / 1000000); }
static uint32_t vp_string_to_date(vp_s s) { return (uint32_t)(vp_string_to_ldate(s) / 1000000000); }
static uint32_t vp_string_to_tod(vp_s s) { return (uint32_t)(vp_string_to_ltod(s) / 1000000); }
static uint32_t vp_string_to_dt(vp_s s) { return (uint32_t)(vp_string_to_ldt(s) / 1000000000); }
