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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

static bool take(engine *e, const char *link) {
    char path[PATH_MAX], why[512] = "";
    /* The link's target, not the link: each version is a file of its own, or the loader would give the old one. */
    if (!realpath(link, path)) return false;
    if (engine_load(e, path, why, sizeof why) != 0 || engine_start(e) != 0) {
        fprintf(stderr, "vplc-scan: %s: %s\n", path, *why ? why : "its start failed");
        if (e->program) engine_unload(e);
        atomic_store(&e->shm->state, VPLC_FAULTED);
        return false;
    }
    fprintf(stderr, "vplc-scan: %s %s runs, %s\n", e->program->name, e->program->version,
            atomic_load(&e->shm->fifo) ? "FIFO" : "without FIFO priority");
    return true;
}

static void obey(engine *e, const char *link, uint32_t command) {
    switch (command & 0xffu) {
    case VPLC_CMD_RUN: atomic_store(&e->paused, false); if (e->program && atomic_load(&e->shm->state) == VPLC_STOP) atomic_store(&e->shm->state, VPLC_RUN); break;
    case VPLC_CMD_STOP: atomic_store(&e->paused, true); if (e->program && atomic_load(&e->shm->state) == VPLC_RUN) atomic_store(&e->shm->state, VPLC_STOP); break;
    case VPLC_CMD_STEP: /* one cycle of every task; only while stopped */
        if (e->program && atomic_load(&e->shm->state) == VPLC_STOP)
            for (uint32_t i = 0; i < e->n_tasks; i++) atomic_fetch_add(&e->tasks[i].steps, 1);
        break;
    case VPLC_CMD_RELOAD:
        if (e->program) { engine_stop(e); retain_save(e); engine_unload(e); }
        atomic_store(&e->shm->state, VPLC_NO_PROGRAM);
        atomic_store(&e->paused, false);
        take(e, link);
        break;
    default: break;
    }
    atomic_store(&e->shm->command_done, command);
}

int main(int argc, char **argv) {
    const char *shm = "/run/vplc/shm", *program = "/var/lib/vplc/active/program.so", *retain = NULL;
    static const struct option options[] = {{"shm", 1, 0, 's'}, {"program", 1, 0, 'p'}, {"retain", 1, 0, 'r'}, {"help", 0, 0, 'h'}, {0, 0, 0, 0}};
    for (int c; (c = getopt_long(argc, argv, "s:p:r:h", options, NULL)) != -1;) {
        if (c == 's') shm = optarg; else if (c == 'p') program = optarg; else if (c == 'r') retain = optarg;
        else { fprintf(stderr, "usage: vplc-scan [--shm FILE] [--program FILE] [--retain FILE]\n"); return c == 'h' ? 0 : 2; }
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
    if (mlockall(MCL_CURRENT) != 0) fprintf(stderr, "vplc-scan: memory is not locked (%s)\n", strerror(errno));
    take(&e, program);
    uint64_t saved = now_ns();
    while (!ending) {
        struct timespec pause = {0, 20000000};
        nanosleep(&pause, NULL);
        atomic_store(&e.shm->heartbeat_ns, now_ns());
        engine_watch(&e);
        uint32_t command = atomic_load(&e.shm->command);
        if (command != atomic_load(&e.shm->command_done)) obey(&e, program, command);
        if (now_ns() - saved > 500000000u) { retain_save(&e); saved = now_ns(); }
    }
    engine_stop(&e);
    retain_save(&e);
    return 0;
}
