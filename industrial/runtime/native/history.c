/* SPDX-License-Identifier: Apache-2.0 */
/* What the images were: after every scan of a slow task and ten times a second what has changed since the last time, kept for
 * readers that come late. Under the boundary lock, while the images are odd. Read by runtime/history.py. */
#include "engine.h"
#include <string.h>

#define PERIOD_NS 100000000u
/* Behind a slow task's scan: the next one comes first where it is on time, so that fast tasks are not told twice as often. */
#define LOOSE_NS 20000000u
/* Changes are looked for and kept in pieces of this size; neighbours are one run. */
#define PIECE 64u

static void place(vplc_shm *s, uint64_t at, const void *data, uint32_t size) {
    uint32_t first = (uint32_t)at & (VPLC_HISTORY - 1), room = (VPLC_HISTORY - first) * 16;
    const uint8_t *from = data;
    memcpy(s->history[first], from, size < room ? size : room);
    if (size > room) memcpy(s->history[0], from + room, size - room);
}

/* Where something is written is said before it is: a reader that looks there meanwhile throws away what it took. */
static uint64_t put(vplc_shm *s, uint64_t at, const void *data, uint32_t size) {
    uint64_t end = at + (size + 15) / 16;
    atomic_store_explicit(&s->history_claimed, end, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    place(s, at, data, size);
    return end;
}

static uint64_t runs(vplc_shm *s, uint64_t at, uint32_t base, const uint8_t *now, uint8_t *before, uint32_t size, uint32_t *n) {
    for (uint32_t i = 0; i < size;) {
        uint32_t end = i;
        while (end < size) {
            uint32_t piece = size - end < PIECE ? size - end : PIECE;
            if (memcmp(now + end, before + end, piece) == 0) break;
            end += piece;
        }
        if (end == i) { i += PIECE; continue; }
        while (end - i > 0) {
            /* A run that is longer than the ring would write over its own head. */
            uint32_t part = end - i < VPLC_HISTORY * 4 ? end - i : VPLC_HISTORY * 4;
            uint32_t head[4] = {base + i, part, 0, 0};
            at = put(s, at, head, sizeof head);
            at = put(s, at, now + i, part);
            memcpy(before + i, now + i, part);
            i += part;
            ++*n;
        }
    }
    return at;
}

/* What is another than the last time. Nothing is written when nothing is. */
void history_note(engine *e, uint64_t at_ns, int64_t wall, uint32_t generation) {
    vplc_shm *s = e->shm;
    uint64_t begun = atomic_load_explicit(&s->history_head, memory_order_relaxed), at = begun + 2;
    vplc_past head = {.at_ns = at_ns, .wall_ns = wall, .generation = generation};
    at = runs(s, at, 0, s->in, s->past, VPLC_IMAGES, &head.n); /* the three lie one behind the other */
    at = runs(s, at, VPLC_IMAGES, s->arena, s->past + VPLC_IMAGES, e->unit->program->arena_size, &head.n);
    s->past_generation = generation;
    memcpy(&head.layout, s->layout_hash, sizeof head.layout);
    s->past_layout = head.layout;
    if (head.n == 0) return;
    head.units = (uint32_t)(at - begun);
    place(s, begun, &head, sizeof head);
    atomic_store_explicit(&s->history_head, at, memory_order_release);
}

/* At the end of a scan. */
void history_scanned(task *t) {
    engine *e = t->engine;
    bool slow = t->what->interval_ns >= PERIOD_NS;
    if (!slow && t->started_ns < e->history_due_ns) return;
    e->history_due_ns = t->started_ns + PERIOD_NS + LOOSE_NS;
    if (!slow) e->history_due_ns = t->started_ns + PERIOD_NS - t->what->interval_ns / 2;
    history_note(e, t->started_ns, t->ctx.wall_ns, atomic_load_explicit(&e->shm->generation, memory_order_relaxed));
}
