/* SPDX-License-Identifier: Apache-2.0 */
/* One scan: begin at a boundary, run on copies, publish what changed. Nothing on this path allocates or calls the system. */
#define _GNU_SOURCE
#include "engine.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EARLY_NS 40000u

static uint32_t bucket(uint64_t ns) {
    uint64_t us = ns / 1000;
    uint32_t n = 0;
    while (us && n < VPLC_BUCKETS - 1) { us >>= 1; n++; }
    return n;
}

/* Twin of runtime/histogram.py. */
static uint32_t fine_bucket(uint64_t ns) {
    uint64_t us = ns / 1000;
    if (us < 8) return (uint32_t)us;
    uint32_t octave = 60u - (uint32_t)__builtin_clzll(us), n = 8 + 8 * octave + (uint32_t)((us >> octave) & 7u);
    return n < VPLC_FINE ? n : VPLC_FINE - 1;
}

static void stamp(task *t, uint64_t now) {
    engine *e = t->engine;
    vplc_ctx *c = &t->ctx;
    const vplc_record *r = e->replay;
    c->now_ns = r ? r->now_ns : now - e->epoch_ns;
    c->wall_ns = r ? r->wall_ns : wall_ns();
    c->now_ms = r ? VPLC_PROGRAM_MS + (uint32_t)(r->now_ns / 1000000u) : e->epoch_ms + (uint32_t)(c->now_ns / 1000000u);
    if (r) { c->flags = r->flags; c->scan = r->scan; return; }
    c->flags = (c->scan == 0 ? 1u : 0u) | (atomic_load_explicit(&e->shm->clock_trusted, memory_order_relaxed) ? 2u : 0u) |
               (atomic_exchange_explicit(&t->gap, false, memory_order_relaxed) ? 4u : 0u) | (inputs_live(e, now) ? 8u : 0u);
}

/* The boundary: inputs, clients' writes and forces, and the task's own copy of everything. */
void scan_begin(task *t) {
    engine *e = t->engine;
    vplc_shm *s = e->shm;
    pthread_mutex_lock(&e->boundary);
    uint64_t begun = now_ns();
    t->started_ns = begun;
    if (e->epoch_ns == 0) {
        e->epoch_ns = begun;
        e->epoch_ms = (uint32_t)(begun / 1000000u);
        atomic_store_explicit(&s->program_epoch_ms, e->epoch_ms, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
    latch_inputs(e);
    apply_journal(e);
    atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
    take_forces(e);
    memcpy(t->in, e->latched, sizeof t->in);
    if (t->judged_seq != e->in_seq) {
        memcpy(t->quality, e->quality, sizeof t->quality);
        memcpy(t->stamp, e->stamp, sizeof t->stamp);
        t->judged_seq = e->in_seq;
    }
    memcpy(t->out, s->out, sizeof t->out);
    memcpy(t->mem, s->mem, sizeof t->mem);
    memcpy(t->arena, s->arena, t->ctx.arena_size);
    if (t->unit->n_tasks > 1) { /* alone, a task's copy is the whole truth when it ends */
        memcpy(t->out_base, t->out, sizeof t->out);
        memcpy(t->mem_base, t->mem, sizeof t->mem);
        memcpy(t->arena_base, t->arena, t->ctx.arena_size);
    }
    stamp(t, begun);
    record_begin(t);
    apply_forces(t);
    pthread_mutex_unlock(&e->boundary);
    t->ctx.depth = 0;
    t->stop = 0;
    atomic_store_explicit(&t->excused_ns, 0, memory_order_relaxed);
}

/* Returns the fault's code, 0 when all is well. */
int scan_run(task *t) {
    current = t;
    atomic_store_explicit(&t->running_since_ns, t->started_ns, memory_order_release);
    /* Without the signal mask: handlers run with SA_NODEFER, and saving it would be a system call in every scan. */
    int code = sigsetjmp(t->jump, 0);
    if (code == 0) {
        t->in_scan = 1;
        t->what->run(&t->ctx);
    }
    t->in_scan = 0;
    atomic_store_explicit(&t->running_since_ns, 0, memory_order_release);
    return code;
}

static void publish(task *t) {
    engine *e = t->engine;
    vplc_shm *s = e->shm;
    atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
    memcpy(s->in, t->in, sizeof t->in); /* what clients see is what the program saw */
    if (t->unit->n_tasks > 1) {
        merge(s->out, t->out, t->out_base, sizeof t->out);
        merge(s->mem, t->mem, t->mem_base, sizeof t->mem);
        merge(s->arena, t->arena, t->arena_base, t->ctx.arena_size);
    } else {
        memcpy(s->out, t->out, sizeof t->out);
        memcpy(s->mem, t->mem, sizeof t->mem);
        memcpy(s->arena, t->arena, t->ctx.arena_size);
    }
    history_scanned(t);
    atomic_fetch_add_explicit(&s->out_scan, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
}

/* What the scan changed is thrown away; its variables stay to be looked at. */
static void keep_fault(task *t, uint32_t code) {
    engine *e = t->engine;
    vplc_shm *s = e->shm;
    const vplc_program *p = t->unit->program;
    const char *file = t->ctx.file < p->n_files ? p->files[t->ctx.file] : "";
    atomic_store(&s->fault_arena_size, 0);
    memcpy(s->fault_arena, t->arena, t->ctx.arena_size);
    atomic_store(&s->fault_arena_task, t->index);
    atomic_store(&s->fault_arena_size, t->ctx.arena_size);
    snprintf(t->more->fault_file_name, sizeof t->more->fault_file_name, "%s", file);
    atomic_store(&t->more->fault_scan, t->ctx.scan);
    atomic_store(&t->more->fault_now_ns, t->ctx.now_ns);
    atomic_store(&t->more->fault_line, t->ctx.line);
    atomic_store(&t->more->fault_file, t->ctx.file);
    atomic_store(&t->more->fault_code, code);
    atomic_store(&s->fault_line, t->ctx.line);
    atomic_store(&s->fault_file, t->ctx.file);
    atomic_store(&s->fault_task, t->index);
    atomic_store(&s->fault_code, code);
    atomic_store(&s->state, VPLC_FAULTED);
    event(e, VPLC_EV_FAULT, t->index, (int64_t)code);
}

void scan_end(task *t, int code) {
    engine *e = t->engine;
    pthread_mutex_lock(&e->boundary);
    if (code == 0) {
        apply_forces(t);
        trace(t);
        publish(t);
    } else keep_fault(t, (uint32_t)code);
    record_end(t, (uint32_t)code);
    if (code == 0) {
        t->ctx.scan++;
        uint64_t took = now_ns() - t->started_ns;
        atomic_fetch_add_explicit(&t->stats->scans, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->stats->scan_ns_sum, took, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->stats->scan_buckets[bucket(took)], 1, memory_order_relaxed);
        raise_max(&t->stats->scan_ns_max, took);
        lower_min(&t->more->scan_ns_min, took);
    } else atomic_store(&t->faulted, true);
    pthread_mutex_unlock(&e->boundary);
}

static void sleep_until(uint64_t ns) {
    struct timespec at = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {}
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The rest of the time until a released scan is due. What a wake-up takes on a busy machine is asked for beforehand: a task of
 * real-time priority is up that much earlier, at most a twenty-fifth of its interval, and looks at the clock until its time. */
void scan_wait(task *t) {
    uint64_t early = 0, woken;
    if (atomic_load_explicit(&t->engine->shm->fifo, memory_order_relaxed)) {
        uint64_t part = t->what->interval_ns / 25;
        early = part < EARLY_NS ? part : EARLY_NS;
    }
    sleep_until(t->due_ns - early);
    while ((woken = now_ns()) < t->due_ns) relax();
    /* The machine stood still in between: the dispatcher has to see that first, so that the scan is told. */
    if (woken > t->due_ns && woken - t->due_ns >= GAP_NS) sleep_until(woken + 1000000u);
}

/* How late a released scan begins. */
void scan_late(task *t) {
    uint64_t woken = now_ns(), late = woken > t->due_ns ? woken - t->due_ns : 0;
    atomic_store_explicit(&t->stats->last_start_ns, woken, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->stats->late_ns_sum, late, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->stats->late_buckets[bucket(late)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->late_fine[fine_bucket(late)], 1, memory_order_relaxed);
    raise_max(&t->stats->late_ns_max, late);
    lower_min(&t->more->late_ns_min, late ? late : 1);
}

/* One scan of one task in the calling thread, which catches its faults meanwhile. */
int engine_step(engine *e, uint32_t index) {
    task *t = &e->unit->tasks[index];
    scan_begin(t);
    int code = scan_run(t);
    scan_end(t, code);
    current = NULL;
    return code;
}
