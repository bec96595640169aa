/* SPDX-License-Identifier: Apache-2.0 */
/* The contract between a compiled control program (a shared object emitted by
 * industrial.st) and the scan engine. Plain C99 without headers beyond
 * <stdint.h>, so that tcc and gcc read it alike. Append only; a change of
 * meaning raises VPLC_ABI_VERSION. */
#ifndef VPLC_ABI_H
#define VPLC_ABI_H
#include <stdint.h>

#define VPLC_ABI_VERSION 1u

/* Why a task stopped. */
enum vplc_fault {
    VPLC_FAULT_NONE = 0, VPLC_FAULT_DIV_ZERO = 1, VPLC_FAULT_BOUNDS = 2,
    VPLC_FAULT_REFERENCE = 3, VPLC_FAULT_STRING = 4, VPLC_FAULT_WATCHDOG = 5,
    VPLC_FAULT_STACK = 6, VPLC_FAULT_CONVERSION = 7
};

/* One execution context per task. The program's whole state lives in `arena`
 * and is addressed by 32-bit offsets, so it can be copied, moved and compared. */
typedef struct vplc_ctx {
    uint8_t *arena;          /* instance data of all programs, globals, FBs */
    uint32_t arena_size;
    uint8_t *in, *out, *mem; /* this scan's process image: %I %Q %M */
    uint32_t in_size, out_size, mem_size;
    uint64_t now_ns;         /* monotonic, frozen for the scan, 0 at first scan */
    int64_t  wall_ns;        /* UTC since 1970, frozen for the scan */
    uint64_t scan;           /* number of this scan of the task, from 0 */
    uint32_t line, file;     /* where the program is: index into files[], 1-based line */
    uint32_t depth;          /* call depth, guarded */
    volatile uint32_t *stop; /* set to non-zero by the watchdog: loops test it */
    /* never returns: unwinds to the engine, which discards this scan */
    void (*fault)(struct vplc_ctx *, uint32_t code);
    uint32_t flags;          /* bit 0: first scan; bit 1: wall clock trusted; bit 2: the machine stood still before this scan;
                              * bit 3: whoever feeds the inputs lives */
    const uint8_t *quality;  /* per byte of `in`: 1 is good */
    const uint32_t *stamp;   /* per 16 bits of `in`: when its device last answered, milliseconds modulo 2^32 */
    uint32_t now_ms;         /* the same clock, frozen for the scan */
} vplc_ctx;

typedef struct vplc_task {
    const char *name;
    uint64_t interval_ns;
    int32_t  priority;       /* 0 highest, as in the standard */
    uint64_t watchdog_ns;    /* 0: engine's default (the interval) */
    void (*run)(vplc_ctx *); /* one scan of all its programs, in order */
} vplc_task;

typedef struct vplc_range { uint32_t offset, size; } vplc_range;

typedef struct vplc_program {
    uint32_t abi_version;
    const char *name, *version;
    uint8_t  layout_hash[32];     /* SHA-256 of the variables' layout */
    uint32_t arena_size;
    const vplc_range *retain; uint32_t n_retain;
    const char *const *files; uint32_t n_files;
    const vplc_task *tasks; uint32_t n_tasks;
    void (*init)(vplc_ctx *, int warm); /* set initial values; warm: leave retain ranges */
} vplc_program;

/* The one symbol a program exports. */
extern const vplc_program vplc_program_v1;
#endif
