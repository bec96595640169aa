/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that the scan shares with the protocols. Fixed offsets, little-endian; its Python twin is
 * industrial/runtime/shm.py, and a test compares the two. Append only; a change of meaning raises the version. */
#ifndef VPLC_SHM_H
#define VPLC_SHM_H
#include <stdatomic.h>
#include <stdint.h>

#define VPLC_SHM_MAGIC 0x434c5056u /* "VPLC" */
#define VPLC_SHM_VERSION 2u
#define VPLC_MAX_TASKS 16u
#define VPLC_IN_SIZE 4096u
#define VPLC_OUT_SIZE 4096u
#define VPLC_MEM_SIZE 65536u
#define VPLC_MAX_ARENA (1u << 20)
#define VPLC_JOURNAL 1024u /* a power of two */
#define VPLC_FORCES 256u
#define VPLC_TRACED 16u     /* variables of a trace */
#define VPLC_TRACE 4096u    /* scans it remembers, a power of two */
#define VPLC_BUCKETS 24u   /* bucket n counts durations below 2^n microseconds; the last takes the rest */

enum vplc_state { VPLC_NO_PROGRAM = 0, VPLC_RUN = 1, VPLC_STOP = 2, VPLC_FAULTED = 3 };
enum vplc_command { VPLC_CMD_NONE = 0, VPLC_CMD_RUN = 1, VPLC_CMD_STOP = 2, VPLC_CMD_RELOAD = 3, VPLC_CMD_STEP = 4 };
enum vplc_area { VPLC_AREA_IN = 0, VPLC_AREA_OUT = 1, VPLC_AREA_MEM = 2, VPLC_AREA_ARENA = 3 };

/* One write of a client, applied at the next scan boundary. size 0 is one bit. */
typedef struct vplc_write { uint8_t area, size, bit, pad; uint32_t offset; uint64_t value; } vplc_write;

/* One scan in a trace: number of the scan, the program's time, the values. */
typedef struct vplc_sample { uint64_t scan, now_ns, values[VPLC_TRACED]; } vplc_sample;

typedef struct vplc_task_stats {
    char name[32];
    uint64_t interval_ns;
    _Atomic uint64_t scans, overruns;
    _Atomic uint64_t scan_ns_sum, scan_ns_max, late_ns_sum, late_ns_max;
    _Atomic uint64_t last_start_ns; /* CLOCK_MONOTONIC */
    _Atomic uint64_t scan_buckets[VPLC_BUCKETS], late_buckets[VPLC_BUCKETS];
} vplc_task_stats;

typedef struct vplc_shm {
    uint32_t magic, version;
    _Atomic uint32_t generation; /* raised when a program is taken over */
    _Atomic uint32_t state;
    uint32_t scan_pid;
    _Atomic uint32_t n_tasks, arena_size, fifo;
    uint8_t layout_hash[32];
    _Atomic uint64_t heartbeat_ns;           /* of the scan, CLOCK_MONOTONIC */
    _Atomic uint64_t seq;                    /* odd while the images below are written */
    _Atomic uint32_t command, command_done;  /* mailbox: number<<8 | verb; done echoes it */
    _Atomic uint32_t fault_code, fault_line, fault_file, fault_task;
    _Atomic uint64_t protocols_heartbeat_ns; /* of the protocols */
    _Atomic uint32_t journal_head, journal_tail; /* head: the protocols', tail: the scan's */
    _Atomic uint64_t in_seq;                 /* odd while the protocols write in_stage */
    uint8_t reserved[1024 - 128];
    vplc_task_stats tasks[VPLC_MAX_TASKS];
    uint8_t pad[20480 - 1024 - VPLC_MAX_TASKS * sizeof(vplc_task_stats)];
    uint8_t in[VPLC_IN_SIZE], out[VPLC_OUT_SIZE], mem[VPLC_MEM_SIZE];
    uint8_t in_stage[VPLC_IN_SIZE];
    vplc_write journal[VPLC_JOURNAL];
    uint8_t arena[VPLC_MAX_ARENA];
    /* Forces: written by one tool at a time, under force_seq; the scan takes a whole table or keeps the last. */
    _Atomic uint64_t force_seq; /* odd while the table is written */
    uint32_t n_forces, force_pad;
    vplc_write forces[VPLC_FORCES];
    /* Trace: chosen variables after every scan of one task. n_traced 0 is off. */
    _Atomic uint64_t trace_seq; /* odd while the choice is written */
    uint32_t n_traced, traced_task;
    vplc_write traced[VPLC_TRACED];
    _Atomic uint64_t trace_head; /* records ever written; the ring holds the last */
    vplc_sample trace[VPLC_TRACE];
} vplc_shm;
#include <stddef.h>
_Static_assert(offsetof(vplc_shm, heartbeat_ns) == 64 && offsetof(vplc_shm, command) == 80, "header");
_Static_assert(offsetof(vplc_shm, in_seq) == 120 && offsetof(vplc_shm, tasks) == 1024, "header");
_Static_assert(sizeof(vplc_task_stats) == 480, "task statistics");
_Static_assert(offsetof(vplc_shm, in) == 20480 && offsetof(vplc_shm, journal) == 20480 + 4096 * 3 + 65536, "images");
_Static_assert(offsetof(vplc_shm, force_seq) == 20480 + 4096 * 3 + 65536 + 16384 + (1 << 20), "forces");
_Static_assert(offsetof(vplc_shm, trace) == offsetof(vplc_shm, force_seq) + 16 + 4096 + 16 + 256 + 8, "trace");
#endif
