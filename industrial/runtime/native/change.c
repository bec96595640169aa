/* SPDX-License-Identifier: Apache-2.0 */
/* Online change: another program prepared beside the running one, and taken over between two scans. Which variable goes where is
 * worked out beforehand (industrial/runtime/carry.py) and lies beside the program. */
#define _GNU_SOURCE
#include "engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_ENTRIES 400000u

carry *carry_read(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char magic[8];
    carry *plan = calloc(1, sizeof *plan);
    bool good = plan && fread(magic, 8, 1, file) == 1 && memcmp(magic, "VPLCCAR1", 8) == 0 && fread(plan->from, 32, 1, file) == 1 &&
                fread(plan->to, 32, 1, file) == 1 && fread(&plan->whole, 4, 1, file) == 1 && fread(&plan->n, 4, 1, file) == 1 && plan->n <= MOST_ENTRIES;
    if (good) {
        plan->entries = calloc(plan->n + 1, sizeof *plan->entries);
        good = plan->entries && fread(plan->entries, sizeof *plan->entries, plan->n, file) == plan->n;
    }
    fclose(file);
    if (good) return plan;
    if (plan) carry_free(plan);
    return NULL;
}

void carry_free(carry *plan) {
    if (!plan) return;
    free(plan->entries);
    free(plan);
}

static bool inside(uint32_t offset, uint32_t size, uint32_t limit) { return offset <= limit && size <= limit - offset; }

int change_prepare(engine *e, unit *u, carry *plan, char *why, size_t why_size) {
    const vplc_program *old = e->unit->program, *new = u->program;
    if (!plan) { snprintf(why, why_size, "there is no plan of what becomes of the variables"); return -1; }
    if (memcmp(plan->from, old->layout_hash, 32) != 0 || memcmp(plan->to, new->layout_hash, 32) != 0) {
        snprintf(why, why_size, "the plan of what becomes of the variables is for other programs"); return -1;
    }
    for (uint32_t i = 0; i < plan->n; i++) {
        const carry_entry *c = &plan->entries[i];
        uint32_t limit = c->kind == CARRY_ARENA ? new->arena_size : c->from == VPLC_AREA_OUT ? VPLC_OUT_SIZE : c->from == VPLC_AREA_MEM ? VPLC_MEM_SIZE : 0;
        if (!inside(c->to, c->size, limit) || (c->kind == CARRY_ARENA && !inside(c->from, c->size, old->arena_size)) || c->kind > CARRY_INITIAL) {
            snprintf(why, why_size, "entry %u of the plan leaves the memory", i); return -1;
        }
    }
    if (!e->old_arena && !(e->old_arena = malloc(VPLC_MAX_ARENA))) { snprintf(why, why_size, "not enough memory"); return -1; }
    int code = unit_initialise(u);
    if (code != 0) { snprintf(why, why_size, "initial values: fault %d", code); return -1; }
    if (unit_threads(e, u) != 0) { snprintf(why, why_size, "no threads for its tasks"); return -1; }
    e->next_carry = plan;
    atomic_store(&e->next, u);
    return 0;
}

/* Forces name places: those of the arena move with their variables, or end. */
static void carry_forces(engine *e, const carry *plan) {
    vplc_shm *s = e->shm;
    uint32_t kept = 0;
    take_forces(e);
    for (uint32_t i = 0; i < e->n_forces; i++) {
        vplc_write w = e->forces[i];
        bool found = w.area != VPLC_AREA_ARENA || plan->whole;
        for (uint32_t k = 0; !found && k < plan->n; k++) {
            const carry_entry *c = &plan->entries[k];
            uint32_t size = w.size ? w.size : 1;
            if (c->kind != CARRY_ARENA || w.offset < c->from || w.offset + size > c->from + c->size) continue;
            w.offset = c->to + (w.offset - c->from);
            found = true;
        }
        if (found) e->forces[kept++] = w; else event(e, VPLC_EV_FORCE_DROPPED, w.offset, 0);
    }
    e->n_forces = kept;
    e->forces_changed = true;
    atomic_fetch_or(&s->force_seq, 1);
    s->n_forces = kept;
    memcpy(s->forces, e->forces, kept * sizeof *e->forces);
    e->force_seq = atomic_fetch_add(&s->force_seq, 1) + 1;
}

static void carry_tasks(unit *u, const unit *old, uint64_t now) {
    for (uint32_t i = 0; i < u->n_tasks; i++) {
        task *t = &u->tasks[i];
        t->next_ns = now + t->what->interval_ns;
        for (uint32_t k = 0; k < old->n_tasks; k++) {
            const task *o = &old->tasks[k];
            if (strcmp(o->what->name, t->what->name) != 0) continue;
            t->ctx.scan = o->ctx.scan;
            if (o->what->interval_ns == t->what->interval_ns) t->next_ns = o->next_ns; /* no cycle is missed */
        }
    }
}

void change_swap(engine *e) {
    vplc_shm *s = e->shm;
    pthread_mutex_lock(&e->boundary);
    unit *old = e->unit, *u = atomic_load(&e->next);
    if (!u) { pthread_mutex_unlock(&e->boundary); return; }
    const carry *plan = e->next_carry;
    atomic_fetch_add(&s->seq, 1);
    apply_journal(e);
    e->recorded = 0;
    memcpy(e->old_arena, s->arena, old->program->arena_size);
    memcpy(s->arena, u->tasks[0].arena, u->program->arena_size);
    if (plan->whole) {
        uint32_t size = old->program->arena_size < u->program->arena_size ? old->program->arena_size : u->program->arena_size;
        memcpy(s->arena, e->old_arena, size);
    }
    for (uint32_t i = 0; !plan->whole && i < plan->n; i++) {
        const carry_entry *c = &plan->entries[i];
        if (c->kind == CARRY_ARENA) memcpy(s->arena + c->to, e->old_arena + c->from, c->size);
        else if (c->from == VPLC_AREA_OUT) memcpy(s->out + c->to, u->tasks[0].out + c->to, c->size);
        else memcpy(s->mem + c->to, u->tasks[0].mem + c->to, c->size);
    }
    carry_forces(e, plan);
    if (!plan->whole) { s->n_traced = 0; }
    carry_tasks(u, old, now_ns());
    unit_show(e, u, old);
    e->unit = u;
    uint32_t generation = atomic_fetch_add(&s->generation, 1) + 1;
    /* What is written meanwhile by the names of the program before is meant for this one as well. */
    if (memcmp(plan->from, plan->to, 32) != 0) e->placed_since = generation;
    history_note(e, now_ns(), wall_ns(), atomic_load(&s->generation));
    atomic_fetch_add(&s->changes, 1);
    uint32_t faulted = VPLC_FAULTED;
    atomic_compare_exchange_strong(&s->state, &faulted, atomic_load(&e->paused) ? VPLC_STOP : VPLC_RUN);
    atomic_fetch_add(&s->seq, 1);
    vplc_record r = {.kind = VPLC_REC_LAYOUT, .forces = ~(uint64_t)0, .epoch = atomic_load(&s->epoch)};
    uint64_t head = atomic_load(&s->recorder_head);
    for (uint32_t i = 0; i < 4; i++) memcpy(&s->recorder[(head + i) & (VPLC_RECORDER - 1)], (const uint8_t *)&r + 16 * i, 16);
    atomic_store(&s->recorder_head, head + 4);
    event(e, VPLC_EV_CHANGE, 0, 0);
    atomic_store(&e->next, NULL);
    pthread_mutex_unlock(&e->boundary);
}
