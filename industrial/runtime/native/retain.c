/* SPDX-License-Identifier: Apache-2.0 */
/* Retained variables: written off the scan path from the published copy, in one rename, with layout and checksum. The file before it
 * stays as `.old`, for a disk that spoils one. A file says which ranges it holds, so that another layout can find its variables in it. */
#define _GNU_SOURCE
#include "engine.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct head {
    char magic[8];
    uint32_t kind, n, size, checksum; /* kind: vplc_start; a hot one holds all, and then memory and outputs */
    uint8_t layout[32];
    uint64_t code, scan;
    int64_t wall_ns;
} head;

#define IMAGES (VPLC_MEM_SIZE + VPLC_OUT_SIZE)
#define MOST_BYTES (VPLC_MAX_ARENA + IMAGES)
#define MOST_RANGES 200000u

static uint32_t checksum(uint32_t h, const void *data, size_t size) { /* FNV-1a, 32 bits */
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) { h ^= bytes[i]; h *= 16777619u; }
    return h;
}

static uint32_t whole_checksum(head h, const vplc_range *ranges, const uint8_t *data) {
    h.checksum = 0;
    return checksum(checksum(checksum(2166136261u, &h, sizeof h), ranges, h.n * sizeof *ranges), data, h.size);
}

uint32_t retain_total(const vplc_program *p) {
    uint32_t size = 0;
    for (uint32_t i = 0; i < p->n_retain; i++) size += p->retain[i].size;
    return size;
}

/* 1 and whole, 0 when there is none, -1 when it is damaged. */
static int read_file(const char *path, head *h, vplc_range **ranges, uint8_t **data) {
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    bool good = fread(h, sizeof *h, 1, file) == 1 && memcmp(h->magic, "VPLCRET2", 8) == 0 && h->n <= MOST_RANGES && h->size <= MOST_BYTES;
    if (good) {
        *ranges = calloc(h->n + 1u, sizeof **ranges);
        *data = malloc(h->size + 1u);
        good = *ranges && *data && fread(*ranges, sizeof **ranges, h->n, file) == h->n && fread(*data, 1, h->size, file) == h->size &&
               whole_checksum(*h, *ranges, *data) == h->checksum;
    }
    fclose(file);
    return good ? 1 : -1;
}

/* The newest file that is whole: 1; -1 when there are files and none is. */
static int read_newest(const char *path, head *h, vplc_range **ranges, uint8_t **data) {
    int found = read_file(path, h, ranges, data);
    if (found == 1) return 1;
    char old[4096];
    snprintf(old, sizeof old, "%s.old", path);
    free(*ranges);
    free(*data);
    *ranges = NULL;
    *data = NULL;
    int older = read_file(old, h, ranges, data);
    if (older == 1) fprintf(stderr, "vplc-scan: %s is damaged or gone: the one before it is taken\n", path);
    return older == 1 ? 1 : found < 0 || older < 0 ? -1 : 0;
}

/* The byte of the file that holds an offset of the old arena, if a whole span of it is there. */
static const uint8_t *held(const head *h, const vplc_range *ranges, const uint8_t *data, uint32_t offset, uint32_t size) {
    uint32_t at = 0;
    for (uint32_t i = 0; i < h->n; i++) {
        if (offset >= ranges[i].offset && offset + size <= ranges[i].offset + ranges[i].size) {
            uint32_t place = at + (offset - ranges[i].offset);
            return place + size <= h->size ? data + place : NULL;
        }
        at += ranges[i].size;
    }
    return NULL;
}

/* The part of one entry that is retained in both layouts: neighbours that are not may be in the same entry. */
static void migrate(engine *e, const head *h, const vplc_range *ranges, const uint8_t *data, const carry_entry *c) {
    const vplc_program *p = e->unit->program;
    uint32_t place = 0;
    for (uint32_t i = 0; i < h->n; place += ranges[i].size, i++) {
        uint64_t from = ranges[i].offset > c->from ? ranges[i].offset : c->from;
        uint64_t to = (uint64_t)ranges[i].offset + ranges[i].size;
        if (to > (uint64_t)c->from + c->size) to = (uint64_t)c->from + c->size;
        for (uint32_t k = 0; from < to && k < p->n_retain; k++) {
            /* In places of the new layout. */
            uint64_t first = from - c->from + c->to, last = to - c->from + c->to;
            uint64_t end = (uint64_t)p->retain[k].offset + p->retain[k].size;
            if (first < p->retain[k].offset) first = p->retain[k].offset;
            if (last > end) last = end;
            if (first >= last) continue;
            uint64_t at = place + (first - c->to + c->from - ranges[i].offset);
            if (at + (last - first) <= h->size) memcpy(e->shm->arena + first, data + at, last - first);
        }
    }
}

static uint32_t restore(engine *e, const head *h, const vplc_range *ranges, const uint8_t *data, const carry *plan) {
    const vplc_program *p = e->unit->program;
    vplc_shm *s = e->shm;
    if (memcmp(h->layout, p->layout_hash, 32) == 0) {
        for (uint32_t i = 0; i < p->n_retain; i++) {
            const uint8_t *from = held(h, ranges, data, p->retain[i].offset, p->retain[i].size);
            if (from) memcpy(s->arena + p->retain[i].offset, from, p->retain[i].size);
        }
        return VPLC_RETAINED_KEPT;
    }
    if (!plan || memcmp(plan->from, h->layout, 32) != 0 || memcmp(plan->to, p->layout_hash, 32) != 0) return VPLC_RETAINED_LOST;
    for (uint32_t i = 0; i < plan->n; i++) {
        const carry_entry *c = &plan->entries[i];
        if (c->kind == CARRY_ARENA && c->to <= p->arena_size && c->size <= p->arena_size - c->to) migrate(e, h, ranges, data, c);
    }
    return VPLC_RETAINED_MIGRATED;
}

int retain_load(engine *e, const carry *plan) {
    vplc_shm *s = e->shm;
    const vplc_program *p = e->unit->program;
    uint32_t size = retain_total(p), wanted = e->options.start_kind ? e->options.start_kind : VPLC_START_WARM, result = VPLC_RETAINED_NONE;
    head h;
    vplc_range *ranges = NULL;
    uint8_t *data = NULL;
    atomic_store(&s->retain_bytes, size);
    atomic_store(&s->start_kind, VPLC_START_COLD);
    atomic_store(&s->retained, VPLC_RETAINED_NONE);
    if (!e->retain_path || wanted == VPLC_START_COLD) return 0;
    int found = read_newest(e->retain_path, &h, &ranges, &data);
    if (found == 1 && wanted == VPLC_START_HOT && h.kind == VPLC_START_HOT && h.code == e->unit->code && h.size == p->arena_size + IMAGES &&
        memcmp(h.layout, p->layout_hash, 32) == 0) {
        memcpy(s->arena, data, p->arena_size);
        memcpy(s->mem, data + p->arena_size, VPLC_MEM_SIZE);
        memcpy(s->out, data + p->arena_size + VPLC_MEM_SIZE, VPLC_OUT_SIZE);
        atomic_store(&s->start_kind, VPLC_START_HOT);
        result = VPLC_RETAINED_KEPT;
    } else if (found == 1 && size > 0) {
        result = restore(e, &h, ranges, data, plan);
        if (result != VPLC_RETAINED_LOST) atomic_store(&s->start_kind, VPLC_START_WARM);
    } else if (found < 0) result = VPLC_RETAINED_LOST;
    atomic_store(&s->retained, result);
    if (result == VPLC_RETAINED_LOST) {
        /* Kept beside, for whoever wants to know what was in it. */
        char bad[4096];
        snprintf(bad, sizeof bad, "%s.lost", e->retain_path);
        rename(e->retain_path, bad);
        event(e, VPLC_EV_RETAIN_LOST, 0, 0);
        fprintf(stderr, "vplc-scan: retained values are of another layout or damaged: cold start\n");
    }
    free(ranges);
    free(data);
    return result == VPLC_RETAINED_LOST ? -1 : result != VPLC_RETAINED_NONE;
}

static bool write_all(int file, const void *data, size_t size) {
    ssize_t written = write(file, data, size);
    if (written >= 0 && (size_t)written < size) errno = ENOSPC; /* on a disk, half a write means a full one */
    return written == (ssize_t)size;
}

static void sync_folder(const char *path) {
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash) return;
    *slash = 0;
    int name = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (name >= 0) { fsync(name); close(name); } /* the new name outlives a power cut too */
}

/* A copy of one scan, or nothing: what is on the disk is older, and of one scan. */
static bool gather(const engine *e, const vplc_program *p, bool hot, uint8_t *data, uint64_t *scan) {
    const vplc_shm *s = e->shm;
    for (int attempt = 0; attempt < 1000; attempt++) {
        uint64_t before = atomic_load_explicit(&s->seq, memory_order_acquire);
        if (before & 1u) { usleep(50); continue; }
        uint32_t at = 0;
        for (uint32_t i = 0; !hot && i < p->n_retain; i++) {
            memcpy(data + at, s->arena + p->retain[i].offset, p->retain[i].size);
            at += p->retain[i].size;
        }
        if (hot) {
            memcpy(data, s->arena, p->arena_size);
            memcpy(data + p->arena_size, s->mem, VPLC_MEM_SIZE);
            memcpy(data + p->arena_size + VPLC_MEM_SIZE, s->out, VPLC_OUT_SIZE);
        }
        *scan = atomic_load_explicit(&s->out_scan, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&s->seq, memory_order_relaxed) == before) return true;
    }
    return false;
}

static int save(engine *e) {
    if (!e->unit || !e->retain_path) return 0;
    const vplc_program *p = e->unit->program;
    bool hot = e->options.start_kind == VPLC_START_HOT;
    uint32_t size = hot ? p->arena_size + IMAGES : retain_total(p);
    if (size == 0) return 0;
    head h = {.magic = "VPLCRET", .kind = hot ? VPLC_START_HOT : VPLC_START_WARM, .n = hot ? 1 : p->n_retain, .size = size, .code = e->unit->code, .wall_ns = wall_ns()};
    h.magic[7] = '2';
    memcpy(h.layout, p->layout_hash, 32);
    vplc_range all = {0, p->arena_size};
    const vplc_range *ranges = hot ? &all : p->retain;
    uint8_t *data = malloc(size);
    if (!data || !gather(e, p, hot, data, &h.scan)) { int wrong = data ? EBUSY : ENOMEM; free(data); errno = wrong; return -1; }
    h.checksum = whole_checksum(h, ranges, data);
    char scratch[4096];
    snprintf(scratch, sizeof scratch, "%s.new", e->retain_path);
    int file = open(scratch, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = file >= 0 && write_all(file, &h, sizeof h) && write_all(file, ranges, h.n * sizeof *ranges) && write_all(file, data, size) && fdatasync(file) == 0;
    int wrong = errno;
    if (file >= 0) close(file);
    free(data);
    if (!done) { errno = wrong; return -1; }
    char old[4096];
    snprintf(old, sizeof old, "%s.old", e->retain_path);
    unlink(old);
    if (link(e->retain_path, old) != 0 && errno != ENOENT) fprintf(stderr, "vplc-scan: %s: %s\n", old, strerror(errno));
    if (rename(scratch, e->retain_path) != 0) return -1;
    sync_folder(e->retain_path);
    atomic_fetch_add(&e->shm->retain_saves, 1);
    atomic_store(&e->shm->retain_saved_ns, now_ns());
    return 1;
}

/* What is on the disk stays when a save fails; that it failed is told, once for a row of failures. */
int retain_save(engine *e) {
    int done = save(e), wrong = done < 0 ? errno : 0;
    uint32_t before = atomic_exchange(&e->shm->retain_wrong, (uint32_t)wrong);
    if (wrong) atomic_fetch_add(&e->shm->retain_failed, 1);
    if (wrong && !before) {
        event(e, VPLC_EV_RETAIN_FAILED, (uint32_t)wrong, 0);
        fprintf(stderr, "vplc-scan: %s: retained values are not saved: %s\n", e->retain_path, strerror(wrong));
    }
    return done;
}

/* Starts that did not last, counted beside the retained values: one that lasts sets it back to nothing. */
static bool starts_path(const engine *e, char *path, size_t size) {
    return e->retain_path && snprintf(path, size, "%s.starts", e->retain_path) > 0;
}

static void starts_write(const engine *e, uint32_t count) {
    char path[4096], text[16];
    if (!starts_path(e, path, sizeof path)) return;
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return;
    int length = snprintf(text, sizeof text, "%u\n", count);
    if (write(file, text, (size_t)length) == length) fdatasync(file);
    close(file);
}

uint32_t starts_count(engine *e) {
    char path[4096];
    uint32_t count = 0;
    if (!starts_path(e, path, sizeof path)) return 0;
    FILE *file = fopen(path, "r");
    if (file) { if (fscanf(file, "%9u", &count) != 1) count = 0; fclose(file); }
    starts_write(e, count + 1);
    return count;
}

void starts_clear(engine *e) { starts_write(e, 0); }
