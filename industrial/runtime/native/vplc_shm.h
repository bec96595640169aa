/* SPDX-License-Identifier: Apache-2.0 */
/* The memory that the scan shares with the protocols. Fixed offsets, little-endian; its Python twin is
 * industrial/runtime/shm.py, and a test compares the two. Append only; a change of meaning raises the version. */
#ifndef VPLC_SHM_H
#define VPLC_SHM_H
#include <stdatomic.h>
#include <stdint.h>

#define VPLC_SHM_MAGIC 0x434c5056u /* "VPLC" */
#define VPLC_SHM_VERSION 3u
#define VPLC_MAX_TASKS 16u
#define VPLC_IN_SIZE 4096u
#define VPLC_OUT_SIZE 4096u
#define VPLC_MEM_SIZE 65536u
#define VPLC_MAX_ARENA (1u << 20)
#define VPLC_JOURNAL 1024u /* a power of two */
#define VPLC_FORCES 256u
#define VPLC_TRACED 16u     /* variables of a trace */
#define VPLC_TRACE 4096u    /* scans it remembers, a power of two */
#define VPLC_RECORDER 65536u /* units of 16 bytes, a power of two */
#define VPLC_HISTORY 32768u /* units of 16 bytes, a power of two */
#define VPLC_IMAGES (VPLC_IN_SIZE + VPLC_OUT_SIZE + VPLC_MEM_SIZE)
#define VPLC_EVENTS 64u     /* a power of two */
#define VPLC_MAX_RETAIN (256u << 10) /* bytes of retained variables */
#define VPLC_FINE 168u     /* eight buckets an octave, exact below eight microseconds */
#define VPLC_BUCKETS 24u   /* bucket n counts durations below 2^n microseconds; the last takes the rest */

enum vplc_state { VPLC_NO_PROGRAM = 0, VPLC_RUN = 1, VPLC_STOP = 2, VPLC_FAULTED = 3, VPLC_WAITING = 4 /* for good inputs */ };
enum vplc_command { VPLC_CMD_NONE = 0, VPLC_CMD_RUN = 1, VPLC_CMD_STOP = 2, VPLC_CMD_RELOAD = 3, VPLC_CMD_STEP = 4,
                    VPLC_CMD_CHANGE = 5 /* take the active program over at a scan boundary */, VPLC_CMD_COLD = 6 /* reload without retained values */,
                    VPLC_CMD_ACTIVE = 7, VPLC_CMD_STANDBY = 8 };
enum vplc_role { VPLC_ROLE_ACTIVE = 0, VPLC_ROLE_STANDBY = 1 /* scans, but no device is written */ };
enum vplc_start { VPLC_START_NONE = 0, VPLC_START_COLD = 1, VPLC_START_WARM = 2, VPLC_START_HOT = 3 };
enum vplc_event_kind {
    VPLC_EV_START = 1, VPLC_EV_FAULT = 2 /* arg task, value code */, VPLC_EV_CLOCK_STEP = 3 /* value ns */, VPLC_EV_GAP = 4 /* value ns */,
    VPLC_EV_INPUT_TIMEOUT = 5, VPLC_EV_STOP = 6, VPLC_EV_RUN = 7, VPLC_EV_CHANGE = 8, VPLC_EV_CHANGE_REFUSED = 9, VPLC_EV_CRASH_LOOP = 10,
    VPLC_EV_RETAIN_LOST = 11, VPLC_EV_CLOCK_TRUST = 12 /* arg 0 or 1 */, VPLC_EV_ROLE = 13, VPLC_EV_FORCE_DROPPED = 14,
    VPLC_EV_RETAIN_FAILED = 15 /* arg errno */
};
enum vplc_retained { VPLC_RETAINED_NONE = 0, VPLC_RETAINED_KEPT = 1, VPLC_RETAINED_MIGRATED = 2, VPLC_RETAINED_LOST = 3 };
enum vplc_area { VPLC_AREA_IN = 0, VPLC_AREA_OUT = 1, VPLC_AREA_MEM = 2, VPLC_AREA_ARENA = 3 };

/* One write of a client, applied at the next scan boundary. size 0 is one bit. pad: the low byte of the generation whose
 * layout the writer means; a write to the arena of another layout is dropped and counted. */
typedef struct vplc_write { uint8_t area, size, bit, pad; uint32_t offset; uint64_t value; } vplc_write;

/* What the recorder holds of a scan: one head when it begins, with n changes of its images (as vplc_write), one when it ends.
 * Given these and a state to begin with, the scans can be repeated bit for bit. */
enum vplc_recorded_area { VPLC_AREA_QUALITY = 4, /* of inputs, from `offset` on: value is bytes << 32 | quality */
                          VPLC_AREA_STAMP = 5    /* pairs of inputs, from `offset` on: value is pairs << 32 | stamp, see VPLC_PROGRAM_MS */ };
/* Stamps are recorded in the program's time, which begins here: a stamp of 0 is "never". */
#define VPLC_PROGRAM_MS 0x40000000u
enum vplc_record_kind { VPLC_REC_BEGIN = 1, VPLC_REC_END = 2, VPLC_REC_LAYOUT = 3 /* another program: begin anew */ };
typedef struct vplc_record {
    uint8_t kind, task; uint16_t pad; uint32_t n;
    uint64_t scan, now_ns; int64_t wall_ns;
    uint32_t flags, code; /* code of an end: why the scan was thrown away, 0 for published */
    uint64_t sum;         /* of an end: checksum of the outputs as published */
    uint64_t epoch, forces; /* forces: how many of the n entries are the table of forces, the last ones; ~0: unchanged */
} vplc_record;

/* One moment in the history: so many runs follow, each a unit {offset, size, 0, 0} and its bytes, filled up to whole units. Offsets
 * count from the inputs through outputs and memory, and on through the arena. `units`: with this head and all that follows.
 * `layout`: the first bytes of the layout's hash. */
typedef struct vplc_past { uint64_t at_ns; int64_t wall_ns; uint32_t generation, n, units, layout; } vplc_past;

typedef struct vplc_event { uint64_t at_ns; int64_t wall_ns, value; _Atomic uint32_t kind; uint32_t arg; } vplc_event;

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

typedef struct vplc_task_more {
    _Atomic uint64_t scan_ns_min, late_ns_min; /* 0: none yet */
    _Atomic uint64_t gaps_skipped;             /* cycles lost because the machine stood still; among the overruns too */
    uint64_t watchdog_ns;
    _Atomic uint64_t fault_scan, fault_now_ns;
    _Atomic uint32_t fault_code, fault_line, fault_file;
    int32_t priority;
    char fault_file_name[128];
} vplc_task_more;

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
    _Atomic uint64_t epoch;                  /* raised at every start and change of role: whose outputs these are */
    _Atomic uint64_t out_scan;               /* scans published in this epoch; written with the images */
    _Atomic uint32_t role, start_kind;
    _Atomic uint32_t inputs_ready;           /* the protocols': the generation whose inputs are all good */
    _Atomic uint32_t clock_trusted, clock_steps, gaps;
    _Atomic int64_t last_step_ns;
    _Atomic uint64_t last_gap_ns, event_head;
    _Atomic uint32_t crashes;                /* starts that did not last; 0 after one that did */
    _Atomic uint32_t retained, retain_bytes, retain_saves;
    _Atomic uint64_t retain_saved_ns;
    _Atomic uint32_t command_result, changes; /* result: 0 obeyed, 1 refused: command_why says why */
    _Atomic uint32_t journal_refused, gcd_us;
    char command_why[512];
    _Atomic uint32_t retain_failed, retain_wrong; /* saves that failed since the start; errno of the last one, 0 after one that went well */
    _Atomic uint32_t program_epoch_ms;       /* when the program's time was 0, as stamps count */
    uint8_t reserved[1024 - 756];
    vplc_task_stats tasks[VPLC_MAX_TASKS];
    vplc_task_more more[VPLC_MAX_TASKS];
    vplc_event events[VPLC_EVENTS];
    uint8_t pad[20480 - 1024 - VPLC_MAX_TASKS * (sizeof(vplc_task_stats) + sizeof(vplc_task_more)) - VPLC_EVENTS * sizeof(vplc_event)];
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
    /* Per byte of the inputs: 0 nobody feeds it, 1 good, 2 bad; and per 16 bits when its device last answered, in milliseconds
     * of CLOCK_MONOTONIC modulo 2^32. Staged and latched with the inputs. */
    uint8_t quality_stage[VPLC_IN_SIZE], quality[VPLC_IN_SIZE];
    uint32_t stamp_stage[VPLC_IN_SIZE / 2], stamp[VPLC_IN_SIZE / 2];
    _Atomic uint64_t recorder_head; /* units ever written */
    vplc_write recorder[VPLC_RECORDER];
    /* The variables of the task that faulted last, as they were at the fault: never published as values. */
    _Atomic uint32_t fault_arena_size, fault_arena_task;
    uint8_t fault_arena[VPLC_MAX_ARENA];
    uint8_t latched[VPLC_IN_SIZE]; /* the inputs that the next scan sees, without forces: a recording begins with them */
    _Atomic uint64_t late_fine[VPLC_MAX_TASKS][VPLC_FINE]; /* start lateness in eighths of an octave (runtime/histogram.py) */
    /* The images at the last moment of the history, and what changed at each moment. Head: units ever written; claimed: units that
     * are written or being written, so that what lies VPLC_HISTORY before it may be gone. */
    _Atomic uint64_t history_head, history_claimed;
    uint32_t past_generation, past_layout, past_pad[2];
    uint8_t past[VPLC_IMAGES + VPLC_MAX_ARENA];
    uint8_t history[VPLC_HISTORY][16];
} vplc_shm;
#include <stddef.h>
_Static_assert(offsetof(vplc_shm, heartbeat_ns) == 64 && offsetof(vplc_shm, command) == 80, "header");
_Static_assert(offsetof(vplc_shm, in_seq) == 120 && offsetof(vplc_shm, tasks) == 1024, "header");
_Static_assert(offsetof(vplc_shm, epoch) == 128 && offsetof(vplc_shm, command_why) == 232 && offsetof(vplc_shm, retain_failed) == 744, "header");
_Static_assert(sizeof(vplc_task_stats) == 480 && sizeof(vplc_task_more) == 192, "task statistics");
_Static_assert(sizeof(vplc_record) == 64 && sizeof(vplc_event) == 32 && sizeof(vplc_write) == 16, "records");
_Static_assert(offsetof(vplc_shm, in) == 20480 && offsetof(vplc_shm, journal) == 20480 + 4096 * 3 + 65536, "images");
_Static_assert(offsetof(vplc_shm, force_seq) == 20480 + 4096 * 3 + 65536 + 16384 + (1 << 20), "forces");
_Static_assert(offsetof(vplc_shm, quality_stage) == offsetof(vplc_shm, trace) + 4096 * 144, "quality");
_Static_assert(offsetof(vplc_shm, recorder_head) == offsetof(vplc_shm, quality_stage) + 2 * 4096 + 2 * 8192, "recorder");
_Static_assert(offsetof(vplc_shm, fault_arena) == offsetof(vplc_shm, recorder_head) + 8 + (1 << 20) + 8, "fault");
_Static_assert(offsetof(vplc_shm, late_fine) == offsetof(vplc_shm, fault_arena) + (1 << 20) + 4096, "lateness");
_Static_assert(offsetof(vplc_shm, history_head) == offsetof(vplc_shm, late_fine) + 16 * 168 * 8, "history");
_Static_assert(offsetof(vplc_shm, mem) == offsetof(vplc_shm, in) + 8192 && sizeof(vplc_past) == 32, "history");
_Static_assert(offsetof(vplc_shm, trace) == offsetof(vplc_shm, force_seq) + 16 + 4096 + 16 + 256 + 8, "trace");
#endif
