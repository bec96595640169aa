/* SPDX-License-Identifier: Apache-2.0 */
/* vplc-scan: the process that owns the process image. Waits for a program, runs it, takes another over when told. */
#define _GNU_SOURCE
#include "engine.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define CRASH_LIMIT 5u          /* starts that did not last */
#define LASTING_NS 10000000000u /* one that did */
#define LOOK_NS 5000000         /* between two looks for an order */

static volatile sig_atomic_t ending;
static void on_end(int number) { (void)number; ending = 1; }

static vplc_shm *map(const char *path) {
    char scratch[PATH_MAX];
    snprintf(scratch, sizeof scratch, "%s.new", path);
    unlink(scratch);
    int file = open(scratch, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660);
    if (file < 0 || ftruncate(file, sizeof(vplc_shm)) != 0) { perror(scratch); return NULL; }
    fchmod(file, 0660);
    vplc_shm *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (s == MAP_FAILED) { perror("mmap"); return NULL; }
    s->version = VPLC_SHM_VERSION;
    s->scan_pid = (uint32_t)getpid();
    s->magic = VPLC_SHM_MAGIC;
    /* Complete before it has its name: whoever opens it finds a whole header. */
    if (rename(scratch, path) != 0) { perror(path); return NULL; }
    return s;
}

/* What lies beside the program: how it starts, and what becomes of the variables of the one before. */
static void beside(const char *program, const char *name, char *path, size_t size) {
    const char *slash = strrchr(program, '/');
    snprintf(path, size, "%.*s/%s", slash ? (int)(slash - program) : 1, slash ? program : ".", name);
}

static options read_options(const char *program) {
    char path[PATH_MAX + 32], key[32];
    options o = {VPLC_START_WARM, 0, 500};
    uint32_t value;
    beside(program, "engine.conf", path, sizeof path);
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%31s %9u", key, &value) == 2) {
        if (!strcmp(key, "start_mode") && value >= 1 && value <= 3) o.start_kind = value;
        else if (!strcmp(key, "input_timeout_ms") && value <= 600000u) o.input_timeout_ms = value;
        else if (!strcmp(key, "retain_period_ms") && value >= 100u && value <= 1000u) o.retain_period_ms = value;
    }
    if (file) fclose(file);
    return o;
}

static void refuse(engine *e, const char *path, const char *why) {
    fprintf(stderr, "vplc-scan: %s: %s\n", path, why);
    snprintf(e->shm->command_why, sizeof e->shm->command_why, "%s", why);
    atomic_store(&e->shm->command_result, 1);
}

static bool take(engine *e, const char *link, bool cold) {
    char path[PATH_MAX], plan_path[PATH_MAX + 32], why[512] = "";
    /* The link's target, not the link: each version is a file of its own, or the loader would give the old one. */
    if (!realpath(link, path)) return false;
    e->options = read_options(path);
    if (cold) e->options.start_kind = VPLC_START_COLD;
    beside(path, "carry.bin", plan_path, sizeof plan_path);
    carry *plan = carry_read(plan_path);
    bool runs = engine_load(e, path, why, sizeof why) == 0 && engine_start(e, plan) == 0;
    carry_free(plan);
    if (cold) e->options.start_kind = read_options(path).start_kind;
    if (!runs) {
        refuse(e, path, *why ? why : "its start failed");
        if (e->unit) { engine_stop(e); engine_unload(e); }
        atomic_store(&e->shm->state, VPLC_FAULTED);
        return false;
    }
    const vplc_program *p = e->unit->program;
    fprintf(stderr, "vplc-scan: %s %s runs, %s\n", p->name, p->version, atomic_load(&e->shm->fifo) ? "FIFO" : "without FIFO priority");
    return true;
}

/* Online: refused with a reason, or taken over between two scans. What ran goes on in either case. */
static void change(engine *e, const char *link) {
    char path[PATH_MAX], plan_path[PATH_MAX + 32], why[512] = "";
    if (!e->unit || !realpath(link, path)) { refuse(e, link, "no program runs that could be changed"); return; }
    beside(path, "carry.bin", plan_path, sizeof plan_path);
    carry *plan = carry_read(plan_path);
    unit *before = e->unit, *u = unit_load(e, path, why, sizeof why);
    if (!u || change_prepare(e, u, plan, why, sizeof why) != 0) {
        refuse(e, path, why);
        event(e, VPLC_EV_CHANGE_REFUSED, 0, 0);
        if (u) unit_free(u);
        carry_free(plan);
        return;
    }
    for (int n = 0; n < 5000 && atomic_load(&e->next); n++) usleep(1000);
    /* Under the lock that a swap holds from its beginning to its end: it has happened, or it never will. */
    pthread_mutex_lock(&e->boundary);
    bool taken = atomic_exchange(&e->next, NULL) == NULL;
    pthread_mutex_unlock(&e->boundary);
    if (!taken) {
        refuse(e, path, "no moment between two scans came within 5 s");
        event(e, VPLC_EV_CHANGE_REFUSED, 0, 0);
        before = u;
    } else e->options = read_options(path);
    unit_stop(before);
    unit_free(before);
    carry_free(plan);
}

static void role(engine *e, uint32_t wanted) {
    if (atomic_exchange(&e->shm->role, wanted) == wanted) return;
    atomic_fetch_add(&e->shm->epoch, 1);
    event(e, VPLC_EV_ROLE, wanted, 0);
}

static void run_again(engine *e) {
    uint32_t stopped = VPLC_STOP;
    atomic_store(&e->paused, false);
    if (e->unit && atomic_compare_exchange_strong(&e->shm->state, &stopped, VPLC_RUN)) event(e, VPLC_EV_RUN, 0, 0);
}

static void obey(engine *e, const char *link, uint32_t command) {
    vplc_shm *s = e->shm;
    uint32_t verb = command & 0xffu;
    atomic_store(&s->command_result, 0);
    s->command_why[0] = 0;
    switch (verb) {
    case VPLC_CMD_RUN: run_again(e); break;
    case VPLC_CMD_STOP:
        atomic_store(&e->paused, true);
        if (e->unit && atomic_load(&s->state) != VPLC_FAULTED) { atomic_store(&s->state, VPLC_STOP); event(e, VPLC_EV_STOP, 0, 0); }
        break;
    case VPLC_CMD_STEP: /* one cycle of every task; only while stopped */
        if (e->unit && atomic_load(&s->state) == VPLC_STOP)
            for (uint32_t i = 0; i < e->unit->n_tasks; i++) atomic_fetch_add(&e->unit->tasks[i].steps, 1);
        break;
    case VPLC_CMD_RELOAD:
    case VPLC_CMD_COLD:
        if (e->unit) { engine_stop(e); retain_save(e); engine_unload(e); }
        atomic_store(&s->state, VPLC_NO_PROGRAM);
        atomic_store(&e->paused, false);
        /* A start that was asked to be cold is not undone by a crash a moment later. */
        if (take(e, link, verb == VPLC_CMD_COLD) && verb == VPLC_CMD_COLD) retain_save(e);
        break;
    case VPLC_CMD_CHANGE: change(e, link); break;
    case VPLC_CMD_ACTIVE: role(e, VPLC_ROLE_ACTIVE); break;
    case VPLC_CMD_STANDBY: role(e, VPLC_ROLE_STANDBY); break;
    default: break;
    }
    atomic_store(&s->command_done, command);
}

/* What is mapped later is locked too where that is granted without a limit: the first scan must not wait for a page. */
static void lock_memory(void) {
    struct rlimit limit = {0, 0};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    int flags = MCL_CURRENT | (limit.rlim_cur == RLIM_INFINITY ? MCL_FUTURE : 0);
    if (mlockall(flags) != 0) fprintf(stderr, "vplc-scan: memory is not locked (%s)\n", strerror(errno));
}

/* After a start that did not last, and another and another, a person has to look: everything stays stopped, outputs safe. */
static void count_start(engine *e) {
    uint32_t before = starts_count(e);
    atomic_store(&e->shm->crashes, before);
    if (e->crash_limit == 0 || before < e->crash_limit) return;
    atomic_store(&e->paused, true);
    event(e, VPLC_EV_CRASH_LOOP, 0, before);
    fprintf(stderr, "vplc-scan: %u starts did not last: stopped until told to run\n", before);
}

static void once_a_second(engine *e) {
    struct timex state = {0};
    int answer = adjtimex(&state);
    clock_sync(e, answer >= 0 && answer != TIME_ERROR && !(state.status & STA_UNSYNC));
}

int main(int argc, char **argv) {
    const char *shm = "/run/vplc/shm", *program = "/var/lib/vplc/active/program.so", *retain = NULL;
    uint32_t crash_limit = CRASH_LIMIT;
    static const struct option options[] = {{"shm", 1, 0, 's'}, {"program", 1, 0, 'p'}, {"retain", 1, 0, 'r'}, {"crash-limit", 1, 0, 'c'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
    for (int c; (c = getopt_long(argc, argv, "s:p:r:c:h", options, NULL)) != -1;) {
        if (c == 's') shm = optarg; else if (c == 'p') program = optarg; else if (c == 'r') retain = optarg;
        else if (c == 'c') crash_limit = (uint32_t)strtoul(optarg, NULL, 10);
        else { fprintf(stderr, "usage: vplc-scan [--shm FILE] [--program FILE] [--retain FILE] [--crash-limit STARTS]\n"); return c == 'h' ? 0 : 2; }
    }
    struct sigaction end = {.sa_handler = on_end};
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    engine_fault_handlers();
    static engine e;
    e.retain_path = retain;
    pthread_mutexattr_t inherit;
    pthread_mutexattr_init(&inherit);
    pthread_mutexattr_setprotocol(&inherit, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&e.boundary, &inherit);
    if (!(e.shm = map(shm))) return 1;
    lock_memory();
    e.crash_limit = crash_limit;
    count_start(&e);
    once_a_second(&e);
    take(&e, program, false);
    uint64_t begun = now_ns(), saved = begun, looked = begun;
    bool lasted = false;
    while (!ending) {
        struct timespec pause = {0, LOOK_NS};
        nanosleep(&pause, NULL);
        uint64_t now = now_ns();
        /* With a program it is the dispatcher who says that it lives. */
        if (!e.dispatching) atomic_store(&e.shm->heartbeat_ns, now);
        uint32_t command = atomic_load(&e.shm->command);
        if (command != atomic_load(&e.shm->command_done)) obey(&e, program, command);
        if (now - saved > e.options.retain_period_ms * (uint64_t)1000000u) { retain_save(&e); saved = now; }
        if (now - looked > 1000000000u) { once_a_second(&e); looked = now; }
        if (!lasted && now - begun > LASTING_NS && !(atomic_load(&e.paused) && atomic_load(&e.shm->crashes) >= crash_limit)) {
            starts_clear(&e);
            lasted = true;
        }
    }
    starts_clear(&e); /* an end in order is none that counts */
    engine_stop(&e);
    retain_save(&e);
    return 0;
}
