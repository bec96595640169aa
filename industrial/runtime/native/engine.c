/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: absolute-time cycles, faults that end a task and never the process. After the start nothing on this
 * path allocates, and the only system calls are the clock and the wait. */
#define _GNU_SOURCE
#include "engine.h"
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static __thread task *current;

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
static int64_t wall_ns(void) { return clocks.realtime_ns(); }

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

static uint32_t bucket(uint64_t ns) {
    uint64_t us = ns / 1000;
    uint32_t n = 0;
    while (us && n < VPLC_BUCKETS - 1) { us >>= 1; n++; }
    return n;
}

static void raise_max(_Atomic uint64_t *slot, uint64_t value) {
    if (value > atomic_load_explicit(slot, memory_order_relaxed)) atomic_store_explicit(slot, value, memory_order_relaxed);
}

/* The inputs that the protocols staged; a half-written stage is left for the next scan. */
static void latch_inputs(engine *e) {
    vplc_shm *s = e->shm;
    for (int attempt = 0; attempt < 3; attempt++) {
        uint64_t before = atomic_load_explicit(&s->in_seq, memory_order_acquire);
        if (before & 1u) continue;
        uint8_t copy[VPLC_IN_SIZE];
        memcpy(copy, s->in_stage, sizeof copy);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&s->in_seq, memory_order_relaxed) == before) { memcpy(s->in, copy, sizeof copy); return; }
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

static void apply_journal(engine *e) {
    vplc_shm *s = e->shm;
    uint32_t tail = atomic_load_explicit(&s->journal_tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&s->journal_head, memory_order_acquire);
    for (; tail != head; tail++) {
        const vplc_write *w = &s->journal[tail & (VPLC_JOURNAL - 1)];
        switch (w->area) {
        case VPLC_AREA_OUT: put(s->out, VPLC_OUT_SIZE, w); break;
        case VPLC_AREA_MEM: put(s->mem, VPLC_MEM_SIZE, w); break;
        case VPLC_AREA_ARENA: put(e->arena, e->program->arena_size, w); break;
        default: break; /* inputs belong to the devices */
        }
    }
    atomic_store_explicit(&s->journal_tail, tail, memory_order_release);
}

/* The table of forces, if it has changed and is whole. */
static void take_forces(engine *e) {
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
}

/* Before the program, so that it sees them, and after it, so that nothing else leaves: force > program > client. */
static void apply_forces(task *t) {
    engine *e = t->engine;
    for (uint32_t i = 0; i < e->n_forces; i++) {
        const vplc_write *w = &e->forces[i];
        switch (w->area) {
        case VPLC_AREA_IN: put(t->in, VPLC_IN_SIZE, w); break;
        case VPLC_AREA_OUT: put(t->out, VPLC_OUT_SIZE, w); break;
        case VPLC_AREA_MEM: put(t->mem, VPLC_MEM_SIZE, w); break;
        case VPLC_AREA_ARENA: put(e->arena, e->program->arena_size, w); break;
        default: break;
        }
    }
}

static void trace(task *t) {
    engine *e = t->engine;
    vplc_shm *s = e->shm;
    uint64_t before = atomic_load_explicit(&s->trace_seq, memory_order_acquire);
    uint32_t count = s->n_traced < VPLC_TRACED ? s->n_traced : VPLC_TRACED;
    if (count == 0 || (before & 1u) || s->traced_task != t->index) return;
    uint64_t head = atomic_load_explicit(&s->trace_head, memory_order_relaxed);
    vplc_sample *sample = &s->trace[head & (VPLC_TRACE - 1)];
    sample->scan = t->ctx.scan;
    sample->now_ns = t->ctx.now_ns;
    for (uint32_t i = 0; i < count; i++) {
        const vplc_write *w = &s->traced[i];
        const uint8_t *base = w->area == VPLC_AREA_IN ? t->in : w->area == VPLC_AREA_OUT ? t->out : w->area == VPLC_AREA_MEM ? t->mem : e->arena;
        uint32_t limit = w->area == VPLC_AREA_IN ? VPLC_IN_SIZE : w->area == VPLC_AREA_OUT ? VPLC_OUT_SIZE : w->area == VPLC_AREA_MEM ? VPLC_MEM_SIZE : e->program->arena_size;
        uint32_t size = w->size ? w->size : 1;
        uint64_t value = 0;
        if (size <= 8 && w->offset <= limit && size <= limit - w->offset) memcpy(&value, base + w->offset, size);
        sample->values[i] = w->size ? value : value >> (w->bit & 7u) & 1u;
    }
    atomic_store_explicit(&s->trace_head, head + 1, memory_order_release);
}

/* One scan. Returns the fault's code, 0 when all is well. A faulted scan publishes nothing. */
static int scan(task *t) {
    engine *e = t->engine;
    vplc_shm *s = e->shm;
    int code = 0;
    uint64_t begun;
    pthread_mutex_lock(&e->boundary);
    begun = now_ns();
    atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
    latch_inputs(e);
    apply_journal(e);
    atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
    memcpy(t->in, s->in, sizeof t->in);
    memcpy(t->out, s->out, sizeof t->out);
    memcpy(t->mem, s->mem, sizeof t->mem);
    take_forces(e);
    memcpy(e->scratch, e->arena, e->program->arena_size);
    apply_forces(t);
    if (e->epoch_ns == 0) e->epoch_ns = begun;
    t->ctx.now_ns = begun - e->epoch_ns;
    t->ctx.wall_ns = wall_ns();
    t->ctx.flags = t->ctx.scan == 0 ? 1u : 0u;
    t->ctx.depth = 0;
    t->stop = 0;
    atomic_store_explicit(&t->running_since_ns, begun, memory_order_release);
    code = sigsetjmp(t->jump, 1);
    if (code == 0) {
        t->in_scan = 1;
        t->what->run(&t->ctx);
    }
    t->in_scan = 0;
    atomic_store_explicit(&t->running_since_ns, 0, memory_order_release);
    if (code == 0) {
        apply_forces(t);
        trace(t);
        atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
        memcpy(s->in, t->in, sizeof t->in); /* what clients see is what the program saw */
        memcpy(s->out, t->out, sizeof t->out);
        memcpy(s->mem, t->mem, sizeof t->mem);
        memcpy(s->arena, e->arena, e->program->arena_size);
        atomic_fetch_add_explicit(&s->seq, 1, memory_order_acq_rel);
        t->ctx.scan++;
        uint64_t took = now_ns() - begun;
        atomic_fetch_add_explicit(&t->stats->scans, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->stats->scan_ns_sum, took, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->stats->scan_buckets[bucket(took)], 1, memory_order_relaxed);
        raise_max(&t->stats->scan_ns_max, took);
    } else {
        memcpy(e->arena, e->scratch, e->program->arena_size);
        atomic_store(&s->fault_line, t->ctx.line);
        atomic_store(&s->fault_file, t->ctx.file);
        atomic_store(&s->fault_task, t->index);
        atomic_store(&s->fault_code, (uint32_t)code);
        atomic_store(&s->state, VPLC_FAULTED);
    }
    pthread_mutex_unlock(&e->boundary);
    return code;
}

static void *task_thread(void *argument) {
    task *t = argument;
    engine *e = t->engine;
    uint8_t *stack = malloc(64 * 1024);
    stack_t alternative = {.ss_sp = stack, .ss_size = 64 * 1024};
    if (stack) sigaltstack(&alternative, NULL);
    current = t;
    uint64_t interval = t->what->interval_ns, next = now_ns() + interval;
    while (!atomic_load(&e->quit)) {
        struct timespec at = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {}
        uint64_t woken = now_ns();
        uint64_t late = woken > next ? woken - next : 0;
        atomic_store_explicit(&t->stats->last_start_ns, woken, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->stats->late_ns_sum, late, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->stats->late_buckets[bucket(late)], 1, memory_order_relaxed);
        raise_max(&t->stats->late_ns_max, late);
        bool due = !atomic_load(&e->paused);
        if (!due && atomic_load(&t->steps) > 0) { atomic_fetch_sub(&t->steps, 1); due = true; }
        if (due && !atomic_load(&e->quit) && scan(t) != 0) break;
        next += interval;
        woken = now_ns();
        if (woken > next) {
            /* Counted and skipped, never piled up: the cycle stays on its own grid. */
            uint64_t missed = (woken - next) / interval + 1;
            atomic_fetch_add_explicit(&t->stats->overruns, missed, memory_order_relaxed);
            next += missed * interval;
        }
    }
    current = NULL;
    alternative.ss_flags = SS_DISABLE;
    sigaltstack(&alternative, NULL);
    free(stack);
    return NULL;
}

/* Called a few times a second: tells scans that take too long to stop, and pulls out those that do not listen. */
void engine_watch(engine *e) {
    uint64_t now = now_ns();
    for (uint32_t i = 0; i < e->n_tasks; i++) {
        task *t = &e->tasks[i];
        uint64_t since = atomic_load_explicit(&t->running_since_ns, memory_order_acquire);
        uint64_t limit = t->what->watchdog_ns ? t->what->watchdog_ns : 10 * t->what->interval_ns;
        if (limit < 50000000u) limit = 50000000u;
        /* A scan may have begun after the clock was read: its age is not negative, it is none. */
        if (since == 0 || since >= now || now - since < limit) continue;
        t->stop = 1;
        if (now - since > 3 * limit) pthread_kill(t->thread, SIGUSR2);
    }
}

int engine_load(engine *e, const char *path, char *why, size_t why_size) {
    e->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!e->library) { snprintf(why, why_size, "%s", dlerror()); return -1; }
    const vplc_program *p = dlsym(e->library, "vplc_program_v1");
    if (!p) { snprintf(why, why_size, "%s: no program in it", path); goto refuse; }
    if (p->abi_version != VPLC_ABI_VERSION) {
        snprintf(why, why_size, "abi_version = %u: this engine speaks %u", p->abi_version, VPLC_ABI_VERSION); goto refuse;
    }
    if (p->arena_size == 0 || p->arena_size > VPLC_MAX_ARENA) {
        snprintf(why, why_size, "arena_size = %u: 1 to %u bytes", p->arena_size, VPLC_MAX_ARENA); goto refuse;
    }
    if (p->n_tasks == 0 || p->n_tasks > VPLC_MAX_TASKS) {
        snprintf(why, why_size, "tasks = %u: 1 to %u", p->n_tasks, VPLC_MAX_TASKS); goto refuse;
    }
    for (uint32_t i = 0; i < p->n_tasks; i++)
        if (p->tasks[i].interval_ns < 100000u) {
            snprintf(why, why_size, "task %s: interval below 100 us", p->tasks[i].name); goto refuse;
        }
    for (uint32_t i = 0; i < p->n_retain; i++)
        if (p->retain[i].offset > p->arena_size || p->retain[i].size > p->arena_size - p->retain[i].offset) {
            snprintf(why, why_size, "retain range %u leaves the arena", i); goto refuse;
        }
    e->program = p;
    e->n_tasks = p->n_tasks;
    e->arena = calloc(1, p->arena_size);
    e->scratch = calloc(1, p->arena_size);
    e->tasks = calloc(p->n_tasks, sizeof *e->tasks);
    if (!e->arena || !e->scratch || !e->tasks) { snprintf(why, why_size, "not enough memory"); engine_unload(e); return -1; }
    memset(e->shm->tasks, 0, sizeof e->shm->tasks);
    for (uint32_t i = 0; i < p->n_tasks; i++) {
        task *t = &e->tasks[i];
        t->what = &p->tasks[i];
        t->engine = e;
        t->index = i;
        t->stats = &e->shm->tasks[i];
        snprintf(t->stats->name, sizeof t->stats->name, "%s", t->what->name);
        t->stats->interval_ns = t->what->interval_ns;
        t->ctx.arena = e->arena; t->ctx.arena_size = p->arena_size;
        t->ctx.in = t->in; t->ctx.in_size = VPLC_IN_SIZE;
        t->ctx.out = t->out; t->ctx.out_size = VPLC_OUT_SIZE;
        t->ctx.mem = t->mem; t->ctx.mem_size = VPLC_MEM_SIZE;
        t->ctx.stop = &t->stop;
        t->ctx.fault = fault;
    }
    return 0;
refuse:
    dlclose(e->library);
    e->library = NULL;
    return -1;
}

/* One scan of one task in the calling thread, which catches its faults meanwhile. */
int engine_step(engine *e, uint32_t index) {
    current = &e->tasks[index];
    int code = scan(current);
    current = NULL;
    return code;
}

static int initialise(engine *e) {
    task *t = &e->tasks[0];
    current = t;
    int code = sigsetjmp(t->jump, 1);
    if (code == 0) { t->in_scan = 1; e->program->init(&t->ctx, 0); }
    t->in_scan = 0;
    current = NULL;
    return code;
}

int engine_prepare(engine *e) {
    vplc_shm *s = e->shm;
    int code = initialise(e);
    if (code != 0) return code;
    retain_load(e);
    e->epoch_ns = 0;
    atomic_fetch_add(&s->seq, 1);
    memset(s->out, 0, sizeof s->out);
    memset(s->mem, 0, sizeof s->mem);
    memcpy(s->mem, e->tasks[0].mem, sizeof s->mem);
    memcpy(s->out, e->tasks[0].out, sizeof s->out);
    memcpy(s->arena, e->arena, e->program->arena_size);
    atomic_store(&s->arena_size, e->program->arena_size);
    memcpy(s->layout_hash, e->program->layout_hash, 32);
    atomic_store(&s->n_tasks, e->n_tasks);
    atomic_store(&s->fault_code, 0);
    atomic_fetch_add(&s->seq, 1);
    atomic_store(&e->quit, false);
    atomic_store(&s->state, VPLC_RUN);
    atomic_fetch_add(&s->generation, 1);
    return 0;
}

int engine_start(engine *e) {
    vplc_shm *s = e->shm;
    if (engine_prepare(e) != 0) return -1;
    for (uint32_t i = 0; i < e->n_tasks; i++) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, 512 * 1024);
        struct sched_param priority = {.sched_priority = 80 - (e->tasks[i].what->priority > 60 ? 60 : e->tasks[i].what->priority)};
        pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
        pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
        pthread_attr_setschedparam(&attributes, &priority);
        atomic_store(&s->fifo, 1);
        if (pthread_create(&e->tasks[i].thread, &attributes, task_thread, &e->tasks[i]) != 0) {
            /* Not granted: an ordinary thread, and said so. */
            atomic_store(&s->fifo, 0);
            pthread_attr_setinheritsched(&attributes, PTHREAD_INHERIT_SCHED);
            if (pthread_create(&e->tasks[i].thread, &attributes, task_thread, &e->tasks[i]) != 0) return -1;
        }
        pthread_attr_destroy(&attributes);
    }
    return 0;
}

void engine_stop(engine *e) {
    if (!e->program) return;
    atomic_store(&e->quit, true);
    for (uint32_t i = 0; i < e->n_tasks; i++) pthread_join(e->tasks[i].thread, NULL);
}

void engine_unload(engine *e) {
    free(e->arena); free(e->scratch); free(e->tasks);
    e->arena = e->scratch = NULL; e->tasks = NULL; e->program = NULL; e->n_tasks = 0;
    if (e->library) dlclose(e->library);
    e->library = NULL;
}
