/* SPDX-License-Identifier: Apache-2.0 */
/* A program's life: loaded, given its initial or retained values, started, stopped. Faults end a task and never the process. */
#define _GNU_SOURCE
#include "engine.h"
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SIGNAL_STACK (64u * 1024u)
#define TASK_STACK (256u * 1024u)

__thread task *current;

static uint64_t monotonic_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int64_t realtime_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The machine's clocks, or a simulation's. */
engine_clocks clocks = {monotonic_ns, realtime_ns};

uint64_t now_ns(void) { return clocks.monotonic_ns(); }
int64_t wall_ns(void) { return clocks.realtime_ns(); }

void raise_max(_Atomic uint64_t *slot, uint64_t value) {
    if (value > atomic_load_explicit(slot, memory_order_relaxed)) atomic_store_explicit(slot, value, memory_order_relaxed);
}

void lower_min(_Atomic uint64_t *slot, uint64_t value) {
    uint64_t least = atomic_load_explicit(slot, memory_order_relaxed);
    if (least == 0 || value < least) atomic_store_explicit(slot, value, memory_order_relaxed);
}

void event(engine *e, uint32_t kind, uint32_t arg, int64_t value) {
    vplc_event *row = &e->shm->events[atomic_fetch_add(&e->shm->event_head, 1) & (VPLC_EVENTS - 1)];
    atomic_store(&row->kind, 0);
    row->at_ns = now_ns();
    row->wall_ns = wall_ns();
    row->arg = arg;
    row->value = value;
    atomic_store(&row->kind, kind);
}

static void fault(vplc_ctx *ctx, uint32_t code) {
    task *t = (task *)(void *)ctx;
    siglongjmp(t->jump, (int)(code ? code : VPLC_FAULT_REFERENCE));
}

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)info; (void)context;
    if (current && current->in_scan) {
        int code = number == SIGFPE ? VPLC_FAULT_DIV_ZERO : number == SIGUSR2 ? VPLC_FAULT_WATCHDOG : VPLC_FAULT_REFERENCE;
        siglongjmp(current->jump, code);
    }
    if (number == SIGUSR2) return;
    signal(number, SIG_DFL);
    raise(number);
}

void engine_fault_handlers(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGUSR2};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, NULL);
}

static uint64_t file_code(const char *path) { /* FNV-1a, 64 bits */
    uint64_t h = 14695981039346656037u;
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    uint8_t buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;)
        for (size_t i = 0; i < n; i++) h = (h ^ buffer[i]) * 1099511628211u;
    fclose(file);
    return h;
}

static bool acceptable(const vplc_program *p, char *why, size_t size) {
    if (p->abi_version != VPLC_ABI_VERSION) return snprintf(why, size, "abi_version = %u: this engine speaks %u", p->abi_version, VPLC_ABI_VERSION), false;
    if (p->arena_size == 0 || p->arena_size > VPLC_MAX_ARENA) return snprintf(why, size, "arena_size = %u: 1 to %u bytes", p->arena_size, VPLC_MAX_ARENA), false;
    if (p->n_tasks == 0 || p->n_tasks > VPLC_MAX_TASKS) return snprintf(why, size, "tasks = %u: 1 to %u", p->n_tasks, VPLC_MAX_TASKS), false;
    for (uint32_t i = 0; i < p->n_tasks; i++)
        if (p->tasks[i].interval_ns < 100000u) return snprintf(why, size, "task %s: interval below 100 us", p->tasks[i].name), false;
    for (uint32_t i = 0; i < p->n_retain; i++)
        if (p->retain[i].offset > p->arena_size || p->retain[i].size > p->arena_size - p->retain[i].offset)
            return snprintf(why, size, "retain range %u leaves the arena", i), false;
    if (retain_total(p) > VPLC_MAX_RETAIN) return snprintf(why, size, "retained variables = %u bytes: at most %u", retain_total(p), VPLC_MAX_RETAIN), false;
    return true;
}

static uint64_t gcd(uint64_t a, uint64_t b) {
    while (b) { uint64_t r = a % b; a = b; b = r; }
    return a;
}

static bool task_make(engine *e, unit *u, uint32_t i) {
    task *t = &u->tasks[i];
    uint32_t size = u->program->arena_size;
    t->what = &u->program->tasks[i];
    t->engine = e;
    t->unit = u;
    t->index = i;
    t->stats = &e->shm->tasks[i];
    t->more = &e->shm->more[i];
    t->late_fine = e->shm->late_fine[i];
    t->arena = calloc(1, size);
    t->arena_base = u->n_tasks > 1 ? calloc(1, size) : NULL;
    t->stack = calloc(1, SIGNAL_STACK);
    if (!t->arena || !t->stack || (u->n_tasks > 1 && !t->arena_base)) return false;
    sem_init(&t->go, 0, 0);
    t->ctx.arena = t->arena; t->ctx.arena_size = size;
    t->ctx.in = t->in; t->ctx.in_size = VPLC_IN_SIZE;
    t->ctx.out = t->out; t->ctx.out_size = VPLC_OUT_SIZE;
    t->ctx.mem = t->mem; t->ctx.mem_size = VPLC_MEM_SIZE;
    t->ctx.stop = &t->stop;
    t->ctx.fault = fault;
    t->ctx.quality = t->quality;
    t->ctx.stamp = t->stamp;
    u->gcd_ns = gcd(u->gcd_ns, t->what->interval_ns);
    return true;
}

unit *unit_load(engine *e, const char *path, char *why, size_t why_size) {
    unit *u = calloc(1, sizeof *u);
    if (!u) { snprintf(why, why_size, "not enough memory"); return NULL; }
    u->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!u->library) { snprintf(why, why_size, "%s", dlerror()); unit_free(u); return NULL; }
    const vplc_program *p = dlsym(u->library, "vplc_program_v1");
    if (!p) { snprintf(why, why_size, "%s: no program in it", path); unit_free(u); return NULL; }
    if (!acceptable(p, why, why_size)) { unit_free(u); return NULL; }
    u->program = p;
    u->code = file_code(path);
    u->n_tasks = p->n_tasks;
    u->tasks = calloc(p->n_tasks, sizeof *u->tasks);
    bool made = u->tasks != NULL;
    for (uint32_t i = 0; made && i < p->n_tasks; i++) made = task_make(e, u, i);
    if (!made) { snprintf(why, why_size, "not enough memory"); unit_free(u); return NULL; }
    return u;
}

void unit_free(unit *u) {
    for (uint32_t i = 0; u->tasks && i < u->n_tasks; i++) { free(u->tasks[i].arena); free(u->tasks[i].arena_base); free(u->tasks[i].stack); }
    free(u->tasks);
    if (u->library) dlclose(u->library);
    free(u);
}

int unit_initialise(unit *u) {
    task *t = &u->tasks[0];
    current = t;
    int code = sigsetjmp(t->jump, 0);
    if (code == 0) { t->in_scan = 1; u->program->init(&t->ctx, 0); }
    t->in_scan = 0;
    current = NULL;
    return code;
}

static void *task_thread(void *argument) {
    task *t = argument;
    stack_t alternative = {.ss_sp = t->stack, .ss_size = SIGNAL_STACK};
    sigaltstack(&alternative, NULL);
    for (;;) {
        while (sem_wait(&t->go) != 0) {}
        if (atomic_load(&t->unit->quit)) break;
        scan_wait(t);
        scan_late(t);
        scan_begin(t);
        scan_end(t, scan_run(t));
        atomic_store_explicit(&t->busy, false, memory_order_release);
    }
    current = NULL;
    alternative.ss_flags = SS_DISABLE;
    sigaltstack(&alternative, NULL);
    return NULL;
}

int unit_threads(engine *e, unit *u) {
    for (uint32_t i = 0; i < u->n_tasks; i++) {
        task *t = &u->tasks[i];
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, TASK_STACK);
        struct sched_param priority = {.sched_priority = 80 - (t->what->priority > 60 ? 60 : t->what->priority)};
        pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
        pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
        pthread_attr_setschedparam(&attributes, &priority);
        atomic_store(&e->shm->fifo, 1);
        int failed = pthread_create(&t->thread, &attributes, task_thread, t);
        if (failed) {
            /* Not granted: an ordinary thread, and said so. */
            atomic_store(&e->shm->fifo, 0);
            pthread_attr_setinheritsched(&attributes, PTHREAD_INHERIT_SCHED);
            failed = pthread_create(&t->thread, &attributes, task_thread, t);
        }
        pthread_attr_destroy(&attributes);
        if (failed) { unit_stop(u); return -1; }
        t->threaded = true;
    }
    return 0;
}

void unit_stop(unit *u) {
    atomic_store(&u->quit, true);
    for (uint32_t i = 0; i < u->n_tasks; i++)
        if (u->tasks[i].threaded) sem_post(&u->tasks[i].go);
    for (uint32_t i = 0; i < u->n_tasks; i++) {
        task *t = &u->tasks[i];
        if (!t->threaded) continue;
        /* A scan under way ends first, by itself or by the rules of its watchdog: nobody else watches any more. */
        struct timespec at;
        for (int attempt = 0;; attempt++) {
            clock_gettime(CLOCK_REALTIME, &at);
            at.tv_sec += 1;
            if (pthread_timedjoin_np(t->thread, NULL, &at) == 0) break;
            t->stop = 1;
            if (attempt > 0) pthread_kill(t->thread, SIGUSR2);
        }
        t->threaded = false;
    }
}

void unit_show(engine *e, unit *u, const unit *before) {
    vplc_shm *s = e->shm;
    vplc_task_stats stats[VPLC_MAX_TASKS];
    vplc_task_more more[VPLC_MAX_TASKS];
    uint64_t fine[VPLC_MAX_TASKS][VPLC_FINE];
    memcpy(stats, s->tasks, sizeof stats);
    memcpy(more, s->more, sizeof more);
    memcpy(fine, s->late_fine, sizeof fine);
    memset(s->tasks, 0, sizeof s->tasks);
    memset(s->more, 0, sizeof s->more);
    memset(s->late_fine, 0, sizeof s->late_fine);
    for (uint32_t i = 0; i < u->n_tasks; i++) {
        task *t = &u->tasks[i];
        for (uint32_t k = 0; before && k < before->n_tasks; k++)
            if (strcmp(before->tasks[k].what->name, t->what->name) == 0) {
                *t->stats = stats[k];
                *t->more = more[k];
                memcpy(t->late_fine, fine[k], sizeof fine[k]);
            }
        snprintf(t->stats->name, sizeof t->stats->name, "%s", t->what->name);
        t->stats->interval_ns = t->what->interval_ns;
        t->more->priority = t->what->priority;
        t->more->watchdog_ns = t->what->watchdog_ns;
        atomic_store(&t->more->fault_code, 0);
    }
    atomic_store(&s->gcd_us, (uint32_t)(u->gcd_ns / 1000u));
    atomic_store(&s->n_tasks, u->n_tasks);
    atomic_store(&s->arena_size, u->program->arena_size);
    memcpy(s->layout_hash, u->program->layout_hash, 32);
    atomic_store(&s->fault_code, 0);
    atomic_store(&s->fault_arena_size, 0);
}

int engine_load(engine *e, const char *path, char *why, size_t why_size) {
    e->unit = unit_load(e, path, why, why_size);
    return e->unit ? 0 : -1;
}

int engine_prepare(engine *e, const carry *plan) {
    vplc_shm *s = e->shm;
    unit *u = e->unit;
    int code = unit_initialise(u);
    if (code != 0) return code;
    e->epoch_ns = 0;
    e->recorded = 0;
    e->forces_changed = true;
    atomic_fetch_add(&s->seq, 1);
    memcpy(s->mem, u->tasks[0].mem, sizeof s->mem);
    memcpy(s->out, u->tasks[0].out, sizeof s->out);
    memcpy(s->arena, u->tasks[0].arena, u->program->arena_size);
    unit_show(e, u, NULL);
    retain_load(e, plan);
    uint64_t epoch = (uint64_t)(wall_ns() / 1000000), last = atomic_load(&s->epoch);
    atomic_store(&s->epoch, epoch > last ? epoch : last + 1);
    atomic_store(&s->out_scan, 0);
    e->history_due_ns = 0;
    history_note(e, now_ns(), wall_ns(), atomic_load(&s->generation) + 1);
    atomic_fetch_add(&s->seq, 1);
    atomic_store(&e->quit, false);
    e->placed_since = atomic_fetch_add(&s->generation, 1) + 1;
    e->wait_until_ns = e->options.input_timeout_ms ? now_ns() + e->options.input_timeout_ms * (uint64_t)1000000u : 0;
    atomic_store(&s->state, e->wait_until_ns ? VPLC_WAITING : atomic_load(&e->paused) ? VPLC_STOP : VPLC_RUN);
    event(e, VPLC_EV_START, atomic_load(&s->start_kind), 0);
    return 0;
}

int engine_start(engine *e, const carry *plan) {
    if (engine_prepare(e, plan) != 0) return -1;
    if (unit_threads(e, e->unit) != 0) return -1;
    return dispatch_start(e);
}

void engine_stop(engine *e) {
    if (!e->unit) return;
    atomic_store(&e->quit, true);
    if (e->dispatching) pthread_join(e->dispatcher, NULL);
    e->dispatching = false;
    unit_stop(e->unit);
}

void engine_unload(engine *e) {
    if (e->unit) unit_free(e->unit);
    e->unit = NULL;
}
