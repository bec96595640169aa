/* SPDX-License-Identifier: Apache-2.0 */
/* The dispatcher: releases tasks on the grid of the greatest common divisor of their intervals, watches how long they run, sees when
 * the machine stood still and when the wall clock was set, and takes a prepared program over while no scan runs.
 *
 * A task that was woken at its time by another thread that was woken at that time would be late twice. So it is let go a little
 * before, while it is idle, and sleeps on to the very moment; only one that is busy until then is let go at its time. */
#define _GNU_SOURCE
#include "engine.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#define LONGEST_NS 10000000u     /* a wait: commands and heartbeats do not wait longer */
#define LEAD_NS 500000u          /* a task that is idle is let go so long before its time, and waits for that itself */
#define STEP_NS 50000000         /* a wall clock that moved so far against the other one was set */
#define DISTRUST_NS 10000000000u /* and is not trusted for so long */

void clock_sync(engine *e, bool synchronised) {
    bool trusted = synchronised && now_ns() >= e->distrust_until_ns;
    if (atomic_exchange(&e->shm->clock_trusted, trusted) != (uint32_t)trusted) event(e, VPLC_EV_CLOCK_TRUST, trusted, 0);
}

/* Steps of the wall clock, and time in which nothing ran. */
void clock_watch(engine *e, uint64_t now, uint64_t gap_ns) {
    vplc_shm *s = e->shm;
    int64_t offset = wall_ns() - (int64_t)now, step = offset - e->wall_offset_ns;
    if (e->wall_offset_ns != 0 && (step > STEP_NS || step < -STEP_NS)) {
        atomic_fetch_add(&s->clock_steps, 1);
        atomic_store(&s->last_step_ns, step);
        e->distrust_until_ns = now + DISTRUST_NS;
        event(e, VPLC_EV_CLOCK_STEP, 0, step);
        if (atomic_exchange(&s->clock_trusted, 0)) event(e, VPLC_EV_CLOCK_TRUST, 0, 0);
    }
    e->wall_offset_ns = offset; /* slewing is followed, not counted */
    if (gap_ns < GAP_NS) return;
    atomic_fetch_add(&s->gaps, 1);
    atomic_store(&s->last_gap_ns, gap_ns);
    event(e, VPLC_EV_GAP, 0, (int64_t)gap_ns);
    for (uint32_t i = 0; i < e->unit->n_tasks; i++) {
        task *t = &e->unit->tasks[i];
        atomic_store_explicit(&t->gap, true, memory_order_relaxed);
        if (atomic_load(&t->running_since_ns)) atomic_fetch_add(&t->excused_ns, gap_ns);
    }
}

static uint64_t limit_of(const task *t) {
    if (t->what->watchdog_ns) return t->what->watchdog_ns < 1000000u ? 1000000u : t->what->watchdog_ns;
    uint64_t limit = 10 * t->what->interval_ns;
    return limit < 50000000u ? 50000000u : limit;
}

/* Tells a scan that takes too long to stop, and pulls one out that does not listen. Returns when to look again, 0 for never. */
static uint64_t watch(task *t, uint64_t now) {
    uint64_t since = atomic_load_explicit(&t->running_since_ns, memory_order_acquire);
    /* A scan may have begun after the clock was read: its age is not negative, it is none. */
    if (since == 0) return 0;
    uint64_t limit = limit_of(t), age = since < now ? now - since : 0, excused = atomic_load(&t->excused_ns);
    age = age > excused ? age - excused : 0;
    if (age < limit) return now + (limit - age);
    t->stop = 1;
    if (age < 3 * limit) return now + (3 * limit - age);
    pthread_kill(t->thread, SIGUSR2);
    return now + limit;
}

static void release(engine *e, task *t, uint64_t now, uint64_t gap_ns) {
    uint64_t interval = t->what->interval_ns, missed = (now - t->next_ns) / interval;
    bool due = !atomic_load(&e->paused) && e->wait_until_ns == 0;
    if (!due && atomic_load(&t->steps) > 0) { atomic_fetch_sub(&t->steps, 1); due = true; }
    /* Counted and skipped, never piled up: the cycle stays on its own grid. */
    if (due && missed) {
        atomic_fetch_add_explicit(&t->stats->overruns, missed, memory_order_relaxed);
        if (gap_ns >= GAP_NS) atomic_fetch_add_explicit(&t->more->gaps_skipped, missed, memory_order_relaxed);
    }
    if (due && !atomic_load(&t->faulted)) {
        if (atomic_load_explicit(&t->busy, memory_order_acquire)) atomic_fetch_add_explicit(&t->stats->overruns, 1, memory_order_relaxed);
        else {
            t->due_ns = t->next_ns + missed * interval;
            atomic_store_explicit(&t->busy, true, memory_order_release);
            sem_post(&t->go);
        }
    }
    t->next_ns += (missed + 1) * interval;
    t->looked = false;
}

/* When to look at a task next: shortly before its time, or at it where it was busy then. */
static uint64_t look_at(const task *t) {
    uint64_t half = t->what->interval_ns / 2;
    return t->looked ? t->next_ns : t->next_ns - (half < LEAD_NS ? half : LEAD_NS);
}

static void look(engine *e, task *t, uint64_t now, uint64_t gap_ns) {
    if (look_at(t) > now) return;
    if (t->next_ns <= now) release(e, t, now, gap_ns);
    else if (atomic_load_explicit(&t->busy, memory_order_acquire)) t->looked = true;
    else release(e, t, t->next_ns, gap_ns);
}

static bool idle(const unit *u) {
    for (uint32_t i = 0; i < u->n_tasks; i++) if (atomic_load_explicit(&u->tasks[i].busy, memory_order_acquire)) return false;
    return true;
}

/* The first scan waits for good inputs, or for the time that was given. */
static void wait_for_inputs(engine *e, uint64_t now) {
    vplc_shm *s = e->shm;
    if (e->wait_until_ns == 0) return;
    bool ready = atomic_load(&s->inputs_ready) == atomic_load(&s->generation);
    if (!ready && now < e->wait_until_ns) return;
    if (!ready) event(e, VPLC_EV_INPUT_TIMEOUT, 0, 0);
    e->wait_until_ns = 0;
    uint32_t waiting = VPLC_WAITING;
    atomic_compare_exchange_strong(&s->state, &waiting, atomic_load(&e->paused) ? VPLC_STOP : VPLC_RUN);
}

static void *dispatch(void *argument) {
    engine *e = argument;
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < e->unit->n_tasks; i++) e->unit->tasks[i].next_ns = start + e->unit->tasks[i].what->interval_ns;
    uint64_t wake = start + LONGEST_NS;
    while (!atomic_load(&e->quit)) {
        struct timespec at = {(time_t)(wake / 1000000000u), (long)(wake % 1000000000u)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {}
        uint64_t now = now_ns(), gap = now > wake ? now - wake : 0;
        atomic_store_explicit(&e->shm->heartbeat_ns, now, memory_order_relaxed);
        /* A task is let go before anything else is looked at. */
        if (atomic_load(&e->next) && idle(e->unit)) change_swap(e);
        wait_for_inputs(e, now);
        unit *u = e->unit;
        for (uint32_t i = 0; i < u->n_tasks; i++) look(e, &u->tasks[i], now, gap);
        clock_watch(e, now, gap);
        wake = now + LONGEST_NS;
        for (uint32_t i = 0; i < u->n_tasks; i++) {
            uint64_t watched = watch(&u->tasks[i], now), next = look_at(&u->tasks[i]);
            if (watched && watched < wake) wake = watched;
            if (next < wake) wake = next;
        }
    }
    return NULL;
}

int dispatch_start(engine *e) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    struct sched_param priority = {.sched_priority = 85};
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    pthread_attr_setschedparam(&attributes, &priority);
    int failed = pthread_create(&e->dispatcher, &attributes, dispatch, e);
    if (failed) {
        pthread_attr_setinheritsched(&attributes, PTHREAD_INHERIT_SCHED);
        failed = pthread_create(&e->dispatcher, &attributes, dispatch, e);
    }
    pthread_attr_destroy(&attributes);
    e->dispatching = failed == 0;
    return failed ? -1 : 0;
}
