/* SPDX-License-Identifier: Apache-2.0 */
/* What goes in and out at a scan's boundaries: inputs, writes of clients, forces, the trace, the recorder. */
#include "engine.h"
#include <string.h>

/* The protocols are taken for dead after this long without a word of them. */
#define PROTOCOLS_LIVE_NS 2000000000u

static void unit16(vplc_shm *s, uint64_t at, const void *data) { memcpy(&s->recorder[at & (VPLC_RECORDER - 1)], data, 16); }

static void note(engine *e, uint8_t area, uint8_t size, uint8_t bit, uint32_t offset, uint64_t value) {
    vplc_write w = {area, size, bit, 0, offset, value};
    unit16(e->shm, atomic_load_explicit(&e->shm->recorder_head, memory_order_relaxed) + 4 + e->recorded, &w);
    e->recorded++;
}

/* Quality and stamps that are others than before, as runs: a device answers for many inputs at once. */
static void note_quality(engine *e) {
    const uint8_t *quality = e->fresh_quality;
    for (uint32_t i = 0; i < VPLC_IN_SIZE; i++) {
        if (quality[i] == e->quality[i]) continue;
        uint32_t first = i;
        while (i + 1 < VPLC_IN_SIZE && quality[i + 1] == quality[first]) i++;
        note(e, VPLC_AREA_QUALITY, 0, 0, first, (uint64_t)(i + 1 - first) << 32 | quality[first]);
    }
    const uint32_t *stamp = e->fresh_stamp;
    for (uint32_t i = 0; i < VPLC_IN_SIZE / 2; i++) {
        if (stamp[i] == e->stamp[i]) continue;
        uint32_t first = i;
        while (i + 1 < VPLC_IN_SIZE / 2 && stamp[i + 1] == stamp[first]) i++;
        uint32_t told = stamp[first] ? stamp[first] - e->epoch_ms + VPLC_PROGRAM_MS : 0;
        note(e, VPLC_AREA_STAMP, 0, 0, first, (uint64_t)(i + 1 - first) << 32 | told);
    }
}

/* The inputs that the protocols staged; a half-written stage is left for the next scan. */
void latch_inputs(engine *e) {
    vplc_shm *s = e->shm;
    for (int attempt = 0; attempt < 3; attempt++) {
        uint64_t before = atomic_load_explicit(&s->in_seq, memory_order_acquire);
        if (before & 1u) continue;
        if (before == e->in_seq) return;
        memcpy(e->fresh_in, s->in_stage, sizeof e->fresh_in);
        memcpy(e->fresh_quality, s->quality_stage, sizeof e->fresh_quality);
        memcpy(e->fresh_stamp, s->stamp_stage, sizeof e->fresh_stamp);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&s->in_seq, memory_order_relaxed) != before) continue;
        for (uint32_t i = 0; i < VPLC_IN_SIZE; i += 8) {
            uint64_t word;
            memcpy(&word, e->fresh_in + i, 8);
            if (memcmp(e->latched + i, e->fresh_in + i, 8) != 0) note(e, VPLC_AREA_IN, 8, 0, i, word);
        }
        note_quality(e);
        memcpy(e->latched, e->fresh_in, sizeof e->latched);
        memcpy(s->latched, e->fresh_in, sizeof s->latched);
        memcpy(e->quality, e->fresh_quality, sizeof e->quality);
        memcpy(s->quality, e->fresh_quality, sizeof s->quality);
        memcpy(e->stamp, e->fresh_stamp, sizeof e->stamp);
        memcpy(s->stamp, e->fresh_stamp, sizeof s->stamp);
        e->in_seq = before;
        return;
    }
}

static void put(uint8_t *base, uint32_t limit, const vplc_write *w) {
    uint32_t size = w->size ? w->size : 1;
    if (w->offset > limit || size > limit - w->offset || size > 8 || w->bit > 7) return;
    if (w->size == 0) {
        uint8_t mask = (uint8_t)(1u << w->bit);
        base[w->offset] = (uint8_t)(w->value ? base[w->offset] | mask : base[w->offset] & ~mask);
    } else memcpy(base + w->offset, &w->value, size);
}

void apply_journal(engine *e) {
    vplc_shm *s = e->shm;
    uint32_t tail = atomic_load_explicit(&s->journal_tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&s->journal_head, memory_order_acquire);
    uint32_t generation = atomic_load_explicit(&s->generation, memory_order_relaxed);
    for (; tail != head; tail++) {
        const vplc_write *w = &s->journal[tail & (VPLC_JOURNAL - 1)];
        switch (w->area) {
        case VPLC_AREA_OUT: put(s->out, VPLC_OUT_SIZE, w); break;
        case VPLC_AREA_MEM: put(s->mem, VPLC_MEM_SIZE, w); break;
        case VPLC_AREA_ARENA:
            /* Meant for another program's layout: it would hit another variable. A program before this one with the same is none. */
            if ((uint8_t)(generation - w->pad) > generation - e->placed_since) { atomic_fetch_add_explicit(&s->journal_refused, 1, memory_order_relaxed); continue; }
            put(s->arena, e->unit->program->arena_size, w);
            break;
        default: continue; /* inputs belong to the devices */
        }
        note(e, w->area, w->size, w->bit, w->offset, w->value);
    }
    atomic_store_explicit(&s->journal_tail, tail, memory_order_release);
}

/* The table of forces, if it has changed and is whole. */
void take_forces(engine *e) {
    vplc_shm *s = e->shm;
    uint64_t before = atomic_load_explicit(&s->force_seq, memory_order_acquire);
    if (before == e->force_seq || (before & 1u)) return;
    uint32_t count = s->n_forces < VPLC_FORCES ? s->n_forces : VPLC_FORCES;
    vplc_write copy[VPLC_FORCES];
    memcpy(copy, s->forces, count * sizeof *copy);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&s->force_seq, memory_order_relaxed) != before) return;
    memcpy(e->forces, copy, count * sizeof *copy);
    e->n_forces = count;
    e->force_seq = before;
    e->forces_changed = true;
}

/* Before the program, so that it sees them, and after it, so that nothing else leaves: force > program > client. */
void apply_forces(task *t) {
    engine *e = t->engine;
    for (uint32_t i = 0; i < e->n_forces; i++) {
        const vplc_write *w = &e->forces[i];
        switch (w->area) {
        case VPLC_AREA_IN: put(t->in, VPLC_IN_SIZE, w); break;
        case VPLC_AREA_OUT: put(t->out, VPLC_OUT_SIZE, w); break;
        case VPLC_AREA_MEM: put(t->mem, VPLC_MEM_SIZE, w); break;
        case VPLC_AREA_ARENA: put(t->arena, t->ctx.arena_size, w); break;
        default: break;
        }
    }
}

void trace(task *t) {
    vplc_shm *s = t->engine->shm;
    uint64_t before = atomic_load_explicit(&s->trace_seq, memory_order_acquire);
    uint32_t count = s->n_traced < VPLC_TRACED ? s->n_traced : VPLC_TRACED;
    if (count == 0 || (before & 1u) || s->traced_task != t->index) return;
    const uint8_t *bases[] = {t->in, t->out, t->mem, t->arena};
    const uint32_t limits[] = {VPLC_IN_SIZE, VPLC_OUT_SIZE, VPLC_MEM_SIZE, t->ctx.arena_size};
    uint64_t head = atomic_load_explicit(&s->trace_head, memory_order_relaxed);
    vplc_sample *sample = &s->trace[head & (VPLC_TRACE - 1)];
    sample->scan = t->ctx.scan;
    sample->now_ns = t->ctx.now_ns;
    for (uint32_t i = 0; i < count; i++) {
        const vplc_write *w = &s->traced[i];
        uint32_t area = w->area & 3u, size = w->size ? w->size : 1;
        uint64_t value = 0;
        if (size <= 8 && w->offset <= limits[area] && size <= limits[area] - w->offset) memcpy(&value, bases[area] + w->offset, size);
        sample->values[i] = w->size ? value : value >> (w->bit & 7u) & 1u;
    }
    atomic_store_explicit(&s->trace_head, head + 1, memory_order_release);
}

static void record(engine *e, const vplc_record *r) {
    uint64_t head = atomic_load_explicit(&e->shm->recorder_head, memory_order_relaxed);
    for (uint32_t i = 0; i < 4; i++) unit16(e->shm, head + i, (const uint8_t *)r + 16 * i);
    atomic_store_explicit(&e->shm->recorder_head, head + 4 + r->n, memory_order_release);
    e->recorded = 0;
}

/* The changes were noted behind the head's place as they were made. */
void record_begin(task *t) {
    engine *e = t->engine;
    vplc_record r = {.kind = VPLC_REC_BEGIN, .task = (uint8_t)t->index, .scan = t->ctx.scan, .now_ns = t->ctx.now_ns, .wall_ns = t->ctx.wall_ns,
                     .flags = t->ctx.flags, .epoch = atomic_load_explicit(&e->shm->epoch, memory_order_relaxed), .forces = ~(uint64_t)0};
    if (e->forces_changed) {
        for (uint32_t i = 0; i < e->n_forces; i++) note(e, e->forces[i].area, e->forces[i].size, e->forces[i].bit, e->forces[i].offset, e->forces[i].value);
        r.forces = e->n_forces;
        e->forces_changed = false;
    }
    r.n = (uint32_t)e->recorded;
    record(e, &r);
}

static uint64_t sum(uint64_t h, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return h;
}

uint64_t outputs_sum(const vplc_shm *s) { return sum(1469598103934665603u, s->out, sizeof s->out); }

void record_end(task *t, uint32_t code) {
    engine *e = t->engine;
    vplc_shm *s = e->shm;
    vplc_record r = {.kind = VPLC_REC_END, .task = (uint8_t)t->index, .scan = t->ctx.scan, .now_ns = t->ctx.now_ns, .wall_ns = t->ctx.wall_ns,
                     .flags = t->ctx.flags, .code = code, .epoch = atomic_load_explicit(&s->epoch, memory_order_relaxed), .forces = ~(uint64_t)0};
    r.sum = outputs_sum(s);
    record(e, &r);
}

/* What a scan changed, byte for byte: what others changed meanwhile stays. */
void merge(uint8_t *target, const uint8_t *mine, const uint8_t *base, size_t size) {
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t a, b;
        memcpy(&a, mine + i, 8);
        memcpy(&b, base + i, 8);
        if (a == b) continue;
        for (size_t k = i; k < i + 8; k++) if (mine[k] != base[k]) target[k] = mine[k];
    }
    for (; i < size; i++) if (mine[i] != base[i]) target[i] = mine[i];
}

bool inputs_live(const engine *e, uint64_t now) {
    uint64_t said = atomic_load_explicit(&e->shm->protocols_heartbeat_ns, memory_order_relaxed);
    return said != 0 && (said >= now || now - said < PROTOCOLS_LIVE_NS);
}
