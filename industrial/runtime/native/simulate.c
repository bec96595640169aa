/* SPDX-License-Identifier: Apache-2.0 */
/* The engine in virtual time: same scan, same faults, no threads but one that pulls out endless loops. */
#define _GNU_SOURCE
#include "engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The clocks are the process's: one simulation moves at a time. */
static uint64_t virtual_ns;
static int64_t wall_start_ns;
static uint64_t virtual_monotonic(void) { return virtual_ns + 1; } /* never 0, which means "not yet" to the engine */
static int64_t virtual_realtime(void) { return wall_start_ns + (int64_t)virtual_ns; }

typedef struct simulation {
    engine e;
    pthread_t scanner, guard;
    _Atomic uint64_t scanning_since; /* real time; 0 between scans */
    _Atomic uint32_t scanning_task;
    _Atomic bool closing;
    uint64_t limit_ns;
    stack_t alternative, before;
    char why[512];
} simulation;

static uint64_t real_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Virtual time stands still in a scan, so this limit is of the real one. */
static void *guard(void *argument) {
    simulation *x = argument;
    while (!atomic_load(&x->closing)) {
        struct timespec pause = {0, 10000000};
        nanosleep(&pause, NULL);
        uint64_t since = atomic_load(&x->scanning_since);
        if (since == 0) continue;
        uint64_t lasts = real_ns() - since;
        if (lasts < x->limit_ns) continue;
        x->e.unit->tasks[atomic_load(&x->scanning_task)].stop = 1;
        if (lasts > 2 * x->limit_ns) pthread_kill(x->scanner, SIGUSR2);
    }
    return NULL;
}

const char *simulation_why(simulation *x) { return x->why; }

simulation *simulation_open(const char *path, uint64_t limit_ns, int64_t wall_ns) {
    simulation *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    clocks.monotonic_ns = virtual_monotonic;
    clocks.realtime_ns = virtual_realtime;
    virtual_ns = 0;
    wall_start_ns = wall_ns;
    x->limit_ns = limit_ns;
    x->scanner = pthread_self();
    pthread_mutex_init(&x->e.boundary, NULL);
    x->e.shm = calloc(1, sizeof *x->e.shm);
    if (!x->e.shm) { snprintf(x->why, sizeof x->why, "not enough memory"); return x; }
    /* A quiet world: the clock is right, every input is good, whoever feeds them lives. */
    atomic_store(&x->e.shm->clock_trusted, 1);
    memset(x->e.shm->quality, 1, VPLC_IN_SIZE);
    memset(x->e.shm->quality_stage, 1, VPLC_IN_SIZE);
    atomic_store(&x->e.shm->protocols_heartbeat_ns, UINT64_MAX);
    engine_fault_handlers();
    x->alternative.ss_size = 64 * 1024;
    x->alternative.ss_sp = malloc(x->alternative.ss_size);
    if (x->alternative.ss_sp) sigaltstack(&x->alternative, &x->before);
    if (engine_load(&x->e, path, x->why, sizeof x->why) != 0) return x;
    pthread_create(&x->guard, NULL, guard, x);
    return x;
}

int simulation_prepare(simulation *x) { return engine_prepare(&x->e, NULL); }

void simulation_clock(uint64_t now_ns_) { virtual_ns = now_ns_; }

/* Whoever feeds good inputs answers at every moment. */
static void answer(simulation *x) {
    vplc_shm *s = x->e.shm;
    uint32_t now_ms = (uint32_t)(now_ns() / 1000000u);
    for (uint32_t i = 0; i < VPLC_IN_SIZE / 2; i++)
        if (s->quality_stage[2 * i] == 1 || s->quality_stage[2 * i + 1] == 1) s->stamp_stage[i] = now_ms;
    atomic_fetch_add(&s->in_seq, 2);
}

int simulation_scan(simulation *x, uint32_t index) {
    answer(x);
    atomic_store(&x->scanning_task, index);
    atomic_store(&x->scanning_since, real_ns());
    int code = engine_step(&x->e, index);
    atomic_store(&x->scanning_since, 0);
    return code;
}

/* Time and flags of the scan that begins next, as they were recorded. */
void simulation_replay(simulation *x, const vplc_record *record) { x->e.replay = record; }

/* A scan's two halves, for scans that overlapped when they were recorded. */
void simulation_begin(simulation *x, uint32_t index) { scan_begin(&x->e.unit->tasks[index]); }
int simulation_end(simulation *x, uint32_t index) {
    task *t = &x->e.unit->tasks[index];
    atomic_store(&x->scanning_task, index);
    atomic_store(&x->scanning_since, real_ns());
    int code = scan_run(t);
    current = NULL;
    atomic_store(&x->scanning_since, 0);
    scan_end(t, code);
    return code;
}
vplc_shm *simulation_shm(simulation *x) { return x->e.shm; }
uint64_t simulation_sum(simulation *x) { return outputs_sum(x->e.shm); }
/* What the dispatcher sees: the machine stood still for so long, the wall clock was set by so much. */
void simulation_clock_event(simulation *x, uint64_t gap_ns, int64_t step_ns) {
    clock_watch(&x->e, now_ns(), 0);
    wall_start_ns += step_ns;
    clock_watch(&x->e, now_ns(), gap_ns);
    clock_sync(&x->e, true);
}

uint32_t simulation_line(simulation *x) { return atomic_load(&x->e.shm->fault_line); }
uint32_t simulation_file(simulation *x) { return atomic_load(&x->e.shm->fault_file); }
uint32_t simulation_files(simulation *x) { return x->e.unit->program->n_files; }
const char *simulation_file_name(simulation *x, uint32_t n) { return x->e.unit->program->files[n]; }
uint32_t simulation_tasks(simulation *x) { return x->e.unit->n_tasks; }
const char *simulation_task_name(simulation *x, uint32_t n) { return x->e.unit->program->tasks[n].name; }
uint64_t simulation_interval_ns(simulation *x, uint32_t n) { return x->e.unit->program->tasks[n].interval_ns; }
int32_t simulation_priority(simulation *x, uint32_t n) { return x->e.unit->program->tasks[n].priority; }
uint32_t simulation_arena_size(simulation *x) { return x->e.unit->program->arena_size; }

/* Read from what was published; write to where the next scan takes it from. */
uint8_t *simulation_read(simulation *x, int area) {
    switch (area) {
    case VPLC_AREA_IN: return x->e.shm->in_stage;
    case VPLC_AREA_OUT: return x->e.shm->out;
    case VPLC_AREA_MEM: return x->e.shm->mem;
    default: return x->e.shm->arena;
    }
}

uint8_t *simulation_write(simulation *x, int area) {
    if (area == VPLC_AREA_IN) atomic_fetch_add(&x->e.shm->in_seq, 2); /* whole again at once: the next latch takes it */
    return simulation_read(x, area);
}

void simulation_close(simulation *x) {
    if (!x) return;
    if (x->e.unit) {
        atomic_store(&x->closing, true);
        pthread_join(x->guard, NULL);
        engine_unload(&x->e);
    }
    sigaltstack(&x->before, NULL);
    free(x->alternative.ss_sp);
    free(x->e.shm);
    free(x);
}
