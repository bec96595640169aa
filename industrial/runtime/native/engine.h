/* SPDX-License-Identifier: Apache-2.0 */
/* The scan engine's own parts. */
#ifndef VPLC_ENGINE_H
#define VPLC_ENGINE_H
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
#include "vplc_abi.h"
#include "vplc_shm.h"

typedef struct task {
    vplc_ctx ctx; /* first: the program's fault call hands it back */
    const vplc_task *what;
    vplc_task_stats *stats;
    struct engine *engine;
    pthread_t thread;
    uint32_t index;
    volatile uint32_t stop;             /* set by the watchdog, tested by the program's loops */
    _Atomic uint64_t running_since_ns;  /* 0 between scans */
    sigjmp_buf jump;
    volatile sig_atomic_t in_scan;
    _Atomic uint32_t steps;             /* single cycles that are still to be run while paused */
    uint8_t in[VPLC_IN_SIZE], out[VPLC_OUT_SIZE], mem[VPLC_MEM_SIZE];
} task;

typedef struct engine {
    vplc_shm *shm;
    void *library;
    const vplc_program *program;
    uint8_t *arena, *scratch; /* scratch: the arena as it was before the scan, for a fault */
    task *tasks;
    uint32_t n_tasks;
    pthread_mutex_t boundary; /* scans of different tasks do not overlap: one image, one truth */
    _Atomic bool quit, paused;
    uint64_t epoch_ns;
    const char *retain_path;
    vplc_write forces[VPLC_FORCES]; /* the last whole table */
    uint32_t n_forces;
    uint64_t force_seq;
} engine;

typedef struct engine_clocks {
    uint64_t (*monotonic_ns)(void);
    int64_t (*realtime_ns)(void);
} engine_clocks;

extern engine_clocks clocks;
uint64_t now_ns(void);
int engine_load(engine *e, const char *path, char *why, size_t why_size);
void engine_unload(engine *e);
int engine_prepare(engine *e); /* initial values and images; 0, or the fault's code */
int engine_start(engine *e);   /* the same, and the tasks' threads */
int engine_step(engine *e, uint32_t index);
void engine_stop(engine *e);
void engine_fault_handlers(void);
void engine_watch(engine *e);
int retain_load(engine *e);
int retain_save(engine *e);
#endif
