/* SPDX-License-Identifier: Apache-2.0 */
/* A client and a server that use libmodbus, for tests and benchmarks:
 *   load HOST PORT CONNECTIONS SECONDS REGISTERS   reads holding registers from 0 as fast as it can; prints the count
 *   server PORT                                    serves 4096 registers until it is killed; prints the port
 *   exercise HOST PORT                             every function, each answer as a line "name=value" */
#include <errno.h>
#include <modbus.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

typedef struct { const char *host; int port, registers; double seconds; long count, errors; } work;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (double)t.tv_sec + (double)t.tv_nsec / 1e9; }

static void *load(void *argument) {
    work *w = argument;
    modbus_t *bus = modbus_new_tcp(w->host, w->port);
    uint16_t values[125];
    if (bus == NULL || modbus_connect(bus) != 0) { w->errors = 1; return NULL; }
    for (double end = now() + w->seconds; now() < end;) {
        if (modbus_read_registers(bus, 0, w->registers, values) == w->registers) w->count++;
        else w->errors++;
    }
    modbus_close(bus);
    modbus_free(bus);
    return NULL;
}

static int run_load(char **words) {
    int n = atoi(words[4]);
    work *all = calloc((size_t)n, sizeof *all);
    pthread_t *threads = calloc((size_t)n, sizeof *threads);
    long count = 0, errors = 0;
    for (int i = 0; i < n; i++) {
        all[i] = (work){words[2], atoi(words[3]), atoi(words[6]), atof(words[5]), 0, 0};
        pthread_create(&threads[i], NULL, load, &all[i]);
    }
    for (int i = 0; i < n; i++) { pthread_join(threads[i], NULL); count += all[i].count; errors += all[i].errors; }
    printf("{\"requests\": %ld, \"errors\": %ld}\n", count, errors);
    return 0;
}

static int run_server(char **words) {
    modbus_t *bus = modbus_new_tcp("127.0.0.1", atoi(words[2]));
    modbus_mapping_t *map = modbus_mapping_new(4096, 4096, 4096, 4096);
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int listening = modbus_tcp_listen(bus, 16);
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    if (listening < 0 || map == NULL) { perror("listen"); return 1; }
    getsockname(listening, (struct sockaddr *)&bound, &size);
    printf("%d\n", ntohs(bound.sin_port));
    fflush(stdout);
    fd_set all;
    FD_ZERO(&all);
    FD_SET(listening, &all);
    for (int most = listening;;) {
        fd_set ready = all;
        if (select(most + 1, &ready, NULL, NULL, NULL) < 0) return 1;
        for (int fd = 0; fd <= most; fd++) {
            if (!FD_ISSET(fd, &ready)) continue;
            if (fd == listening) {
                int fresh = accept(listening, NULL, NULL);
                if (fresh < 0) continue;
                FD_SET(fresh, &all);
                if (fresh > most) most = fresh;
                continue;
            }
            modbus_set_socket(bus, fd);
            int length = modbus_receive(bus, query);
            if (length > 0) modbus_reply(bus, query, length, map);
            else if (length < 0) { close(fd); FD_CLR(fd, &all); }
        }
    }
}

static void say(const char *name, int done, const uint16_t *values, int count) {
    printf("%s=", name);
    if (done < 0) printf("%s", modbus_strerror(errno));
    else { printf("%d:", done); for (int i = 0; i < count; i++) printf(" %u", values[i]); }
    printf("\n");
}

static int exercise(char **words) {
    modbus_t *bus = modbus_new_tcp(words[2], atoi(words[3]));
    uint16_t v[125] = {0}, put[3] = {11, 22, 33};
    uint8_t bits[64], wide[64];
    int done;
    if (bus == NULL || modbus_connect(bus) != 0) { perror("connect"); return 1; }
    done = modbus_write_register(bus, 1024, 4711); say("write_register", done, NULL, 0);
    done = modbus_read_registers(bus, 1024, 1, v); say("read_back", done, v, 1);
    done = modbus_mask_write_register(bus, 1024, 0x00ff, 0x5500); say("mask", done, NULL, 0);
    done = modbus_read_registers(bus, 1024, 1, v); say("masked", done, v, 1);
    done = modbus_write_registers(bus, 1025, 3, put); say("write_registers", done, NULL, 0);
    done = modbus_write_and_read_registers(bus, 1026, 1, put, 1025, 3, v); say("write_and_read", done, v, 3);
    done = modbus_write_bit(bus, 4096, 1); say("write_bit", done, NULL, 0);
    memset(bits, 1, sizeof bits);
    done = modbus_write_bits(bus, 4097, 9, bits); say("write_bits", done, NULL, 0);
    done = modbus_read_bits(bus, 4095, 12, wide);
    for (int i = 0; i < 12; i++) v[i] = wide[i];
    say("read_bits", done, v, 12);
    done = modbus_read_input_bits(bus, 0, 8, wide); say("read_input_bits", done, NULL, 0);
    done = modbus_read_input_registers(bus, 0, 125, v); say("read_input_registers", done, NULL, 0);
    done = modbus_read_registers(bus, 36863, 1, v); say("last", done, NULL, 0);
    done = modbus_read_registers(bus, 36863, 2, v); say("beyond", done, NULL, 0);
    done = modbus_write_register(bus, 2000, 1); say("not_granted", done, NULL, 0);
    modbus_close(bus);
    modbus_free(bus);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 7 && strcmp(argv[1], "load") == 0) return run_load(argv);
    if (argc == 3 && strcmp(argv[1], "server") == 0) return run_server(argv);
    if (argc == 4 && strcmp(argv[1], "exercise") == 0) return exercise(argv);
    fprintf(stderr, "load HOST PORT CONNECTIONS SECONDS REGISTERS | server PORT | exercise HOST PORT\n");
    return 2;
}
