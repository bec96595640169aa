/* SPDX-License-Identifier: Apache-2.0 */
/* The scan engine's own parts. */
#ifndef VPLC_ENGINE_H
#define VPLC_ENGINE_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include "vplc_abi.h"
#include "vplc_shm.h"

#define GAP_NS 250000000u /* so late is not the scheduler: the machine was paused or moved */

struct engine;
struct unit;

/* A task works on copies of its own and publishes what it changed when its scan has ended: tasks of higher priority interrupt it,
 * a scan that faults leaves nothing behind. */
typedef struct task {
    vplc_ctx ctx; /* first: the program's fault call hands it back */
    const vplc_task *what;
    vplc_task_stats *stats;
    vplc_task_more *more;
    _Atomic uint64_t *late_fine;
    struct engine *engine;
    struct unit *unit;
    pthread_t thread;
    bool threaded;
    uint32_t index;
    volatile uint32_t stop;             /* set by the watchdog, tested by the program's loops */
    _Atomic uint64_t running_since_ns;  /* 0 between scans */
    _Atomic uint64_t excused_ns;        /* of the running scan: time in which the whole machine stood still */
    sigjmp_buf jump;
    volatile sig_atomic_t in_scan;
    sem_t go;
    _Atomic bool busy, faulted, gap;
    uint64_t due_ns, next_ns;           /* the dispatcher's: what was released last, what comes next */
    bool looked;                        /* the dispatcher's: it was still busy shortly before its next cycle */
    _Atomic uint32_t steps;             /* single cycles that are still to be run while paused */
    uint64_t started_ns;
    uint64_t judged_seq;                /* which latch the quality below is of */
    uint8_t *arena, *arena_base;
    uint8_t *stack;                     /* for signals: a program may have used up its own */
    uint8_t in[VPLC_IN_SIZE], out[VPLC_OUT_SIZE], mem[VPLC_MEM_SIZE];
    uint8_t out_base[VPLC_OUT_SIZE], mem_base[VPLC_MEM_SIZE];
    uint8_t quality[VPLC_IN_SIZE];
    uint32_t stamp[VPLC_IN_SIZE / 2];
} task;

/* A loaded program and its tasks. */
typedef struct unit {
    void *library;
    const vplc_program *program;
    uint64_t code; /* checksum of its file: the same code or another */
    task *tasks;
    uint32_t n_tasks;
    uint64_t gcd_ns;
    _Atomic bool quit;
} unit;

typedef struct options {
    uint32_t start_kind, input_timeout_ms, retain_period_ms;
} options;

/* How the variables of one layout become those of another. */
enum carry_kind { CARRY_ARENA = 0 /* arena to arena */, CARRY_INITIAL = 1 /* image area `from` takes its initial value at `to` */ };
typedef struct carry_entry { uint32_t kind, from, to, size; } carry_entry;
typedef struct carry { uint8_t from[32], to[32]; uint32_t whole /* the same code: all of it */, n; carry_entry *entries; } carry;

typedef struct engine {
    vplc_shm *shm;
    unit *unit;          /* what runs */
    _Atomic(unit *) next; /* prepared by a change, taken by the dispatcher at a boundary */
    carry *next_carry;
    uint8_t *old_arena;  /* room for a change */
    uint32_t placed_since; /* the first generation in whose arena everything lies where it does now */
    pthread_mutex_t boundary; /* held where scans begin and end, never while a program runs */
    pthread_t dispatcher;
    bool dispatching;
    _Atomic bool quit, paused;
    uint64_t epoch_ns;
    uint32_t epoch_ms;   /* the same as stamps count */
    const char *retain_path;
    options options;
    uint32_t crash_limit;
    uint64_t wait_until_ns; /* for good inputs; 0: no more */
    vplc_write forces[VPLC_FORCES]; /* the last whole table */
    uint32_t n_forces;
    uint64_t force_seq;
    bool forces_changed;
    uint8_t latched[VPLC_IN_SIZE], quality[VPLC_IN_SIZE];
    uint32_t stamp[VPLC_IN_SIZE / 2];
    uint8_t fresh_in[VPLC_IN_SIZE], fresh_quality[VPLC_IN_SIZE]; /* room for a latch that may have to be thrown away */
    uint32_t fresh_stamp[VPLC_IN_SIZE / 2];
    uint64_t in_seq;
    uint64_t history_due_ns; /* what fast tasks changed is kept from then on */
    uint64_t recorded; /* units written of the record that is being made */
    int64_t wall_offset_ns;
    uint64_t distrust_until_ns;
    const vplc_record *replay; /* a simulation's: time and flags of the scan that begins */
} engine;

typedef struct engine_clocks {
    uint64_t (*monotonic_ns)(void);
    int64_t (*realtime_ns)(void);
} engine_clocks;

extern engine_clocks clocks;
extern __thread task *current;
uint64_t now_ns(void);
int64_t wall_ns(void);
void event(engine *e, uint32_t kind, uint32_t arg, int64_t value);
void raise_max(_Atomic uint64_t *slot, uint64_t value);
void lower_min(_Atomic uint64_t *slot, uint64_t value);

/* engine.c: a program's life */
unit *unit_load(engine *e, const char *path, char *why, size_t why_size);
int unit_initialise(unit *u); /* initial values in the first task's copies; 0, or the fault's code */
int unit_threads(engine *e, unit *u);
void unit_stop(unit *u);
void unit_free(unit *u);
void unit_show(engine *e, unit *u, const unit *before); /* names and statistics where others look */
int engine_load(engine *e, const char *path, char *why, size_t why_size);
void engine_unload(engine *e);
int engine_prepare(engine *e, const carry *plan);
int engine_start(engine *e, const carry *plan);
void engine_stop(engine *e);
void engine_fault_handlers(void);

/* image.c: what goes in and out at a boundary; all of it under the boundary lock */
void latch_inputs(engine *e);
void apply_journal(engine *e);
void take_forces(engine *e);
void apply_forces(task *t);
void trace(task *t);
void record_begin(task *t);
void record_end(task *t, uint32_t code);
uint64_t outputs_sum(const vplc_shm *s);
bool inputs_live(const engine *e, uint64_t now);
void merge(uint8_t *target, const uint8_t *mine, const uint8_t *base, size_t size);

/* history.c; under the boundary lock, while the images are odd */
void history_note(engine *e, uint64_t at_ns, int64_t wall, uint32_t generation);
void history_scanned(task *t);

/* scan.c */
void scan_begin(task *t);
int scan_run(task *t);
void scan_end(task *t, int code);
void scan_wait(task *t);
void scan_late(task *t);
int engine_step(engine *e, uint32_t index);

/* dispatch.c */
int dispatch_start(engine *e);
void clock_watch(engine *e, uint64_t now, uint64_t gap_ns);
void clock_sync(engine *e, bool synchronised);

/* change.c */
carry *carry_read(const char *path);
void carry_free(carry *plan);
int change_prepare(engine *e, unit *u, carry *plan, char *why, size_t why_size);
void change_swap(engine *e); /* the dispatcher's, while no scan runs */

/* retain.c */
int retain_load(engine *e, const carry *plan);
int retain_save(engine *e);
uint32_t retain_total(const vplc_program *p);
uint32_t starts_count(engine *e); /* this start is one more */
void starts_clear(engine *e);
#endif
