/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a process: keeps beside POWERCUT (a folder) what a disk would still hold after the power was cut. A file's bytes are
 * kept by fdatasync and fsync of it, a folder's names by fsync of the folder; everything else is in the cache and may be gone. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void keep(int file) {
    const char *folder = getenv("POWERCUT");
    struct stat about;
    if (!folder || fstat(file, &about) != 0) return;
    char scratch[4096], place[4096], from[64];
    snprintf(scratch, sizeof scratch, "%s/.new", folder);
    snprintf(from, sizeof from, "/proc/self/fd/%d", file);
    FILE *to = fopen(scratch, "wb");
    if (!to) return;
    if (S_ISDIR(about.st_mode)) {
        snprintf(place, sizeof place, "%s/names", folder);
        DIR *names = opendir(from);
        for (struct dirent *row; names && (row = readdir(names));)
            if (row->d_type == DT_REG) fprintf(to, "%lu %s\n", (unsigned long)row->d_ino, row->d_name);
        if (names) closedir(names);
    } else {
        snprintf(place, sizeof place, "%s/%lu", folder, (unsigned long)about.st_ino);
        FILE *source = fopen(from, "rb");
        char buffer[65536];
        for (size_t n; source && (n = fread(buffer, 1, sizeof buffer, source)) > 0;) fwrite(buffer, 1, n, to);
        if (source) fclose(source);
    }
    fclose(to);
    rename(scratch, place);
}

int fsync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int done = real(file);
    if (done == 0) keep(file);
    return done;
}

int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int done = real(file);
    if (done == 0) keep(file);
    return done;
}
