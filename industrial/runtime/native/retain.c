/* SPDX-License-Identifier: Apache-2.0 */
/* Retained variables: written off the scan path from the published copy, in one rename, with layout and checksum. */
#define _GNU_SOURCE
#include "engine.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct head { char magic[8]; uint32_t size, checksum; uint8_t layout[32]; } head;

static uint32_t checksum(const uint8_t *data, size_t size) { /* FNV-1a, 32 bits */
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < size; i++) { h ^= data[i]; h *= 16777619u; }
    return h;
}

static uint32_t total(const vplc_program *p) {
    uint32_t size = 0;
    for (uint32_t i = 0; i < p->n_retain; i++) size += p->retain[i].size;
    return size;
}

int retain_load(engine *e) {
    uint32_t size = total(e->program);
    if (!e->retain_path || size == 0) return 0;
    FILE *file = fopen(e->retain_path, "rb");
    if (!file) return 0;
    head h;
    uint8_t *data = malloc(size);
    int good = data && fread(&h, sizeof h, 1, file) == 1 && memcmp(h.magic, "VPLCRET1", 8) == 0 && h.size == size &&
               memcmp(h.layout, e->program->layout_hash, 32) == 0 && fread(data, 1, size, file) == size && checksum(data, size) == h.checksum;
    fclose(file);
    if (good) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < e->program->n_retain; i++) {
            memcpy(e->arena + e->program->retain[i].offset, data + at, e->program->retain[i].size);
            at += e->program->retain[i].size;
        }
    } else fprintf(stderr, "vplc-scan: retained values are of another layout or damaged: cold start\n");
    free(data);
    return good ? 1 : -1;
}

int retain_save(engine *e) {
    if (!e->program) return 0;
    uint32_t size = total(e->program);
    if (!e->retain_path || size == 0) return 0;
    uint8_t *data = malloc(size);
    if (!data) return -1;
    vplc_shm *s = e->shm;
    int whole = 0;
    for (int attempt = 0; attempt < 1000; attempt++) {
        uint64_t before = atomic_load_explicit(&s->seq, memory_order_acquire);
        if (before & 1u) { usleep(50); continue; }
        uint32_t at = 0;
        for (uint32_t i = 0; i < e->program->n_retain; i++) {
            memcpy(data + at, s->arena + e->program->retain[i].offset, e->program->retain[i].size);
            at += e->program->retain[i].size;
        }
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&s->seq, memory_order_relaxed) == before) { whole = 1; break; }
    }
    if (!whole) { free(data); return -1; } /* what is on the disk is older, and of one scan */
    head h = {.magic = "VPLCRET", .size = size, .checksum = checksum(data, size)};
    h.magic[7] = '1';
    memcpy(h.layout, e->program->layout_hash, 32);
    char scratch[4096];
    snprintf(scratch, sizeof scratch, "%s.new", e->retain_path);
    int file = open(scratch, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int done = file >= 0 && write(file, &h, sizeof h) == (ssize_t)sizeof h && write(file, data, size) == (ssize_t)size && fdatasync(file) == 0;
    if (file >= 0) close(file);
    free(data);
    if (!done || rename(scratch, e->retain_path) != 0) return -1;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", e->retain_path);
    char *slash = strrchr(folder, '/');
    if (slash) {
        *slash = 0;
        int name = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (name >= 0) { fsync(name); close(name); } /* the new name outlives a power cut too */
    }
    return 1;
}
