/*
 * Sends the requests of a file in turn, each over a connection of its own, from some threads that share the turn: with a
 * request for each of many keys, no key is used again before all others were.
 *
 *   cc -O2 -pthread -o keys_in_turn keys_in_turn.c && ./keys_in_turn SOCKET FILE THREADS SECONDS
 *
 * With 0 seconds every request is sent once. Prints {"requests": N, "rate": PER_SECOND, "p50_us": MICROSECONDS,
 * "p99_us": MICROSECONDS}. Any answer but success ends the program.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "requests.h"

enum { MOST_SAMPLES = 1 << 22 };

static float took[MOST_SAMPLES];
static atomic_size_t turn;
static double seconds, first;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void send_one(size_t number)
{
    uint8_t answer[8192];
    size_t got = 0;
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof address)) fail("connect");
    if (send(client, requests[number].start, requests[number].length, MSG_NOSIGNAL) < 0) fail("send");
    while (got < sizeof answer) {
        ssize_t part = read(client, answer + got, sizeof answer - got);
        if (part < 0) fail("read");
        if (!part) break;
        got += (size_t)part;
    }
    close(client);
    if (got < HEADER || little_endian(answer + STATUS, 2)) {
        fprintf(stderr, "keys_in_turn: status %zu\n", got < HEADER ? 0 : little_endian(answer + STATUS, 2));
        exit(1);
    }
}

static void *work(void *unused)
{
    for (;;) {
        double before = now();
        if (seconds > 0 && before - first >= seconds) return unused;
        size_t mine = atomic_fetch_add(&turn, 1);
        if (mine >= (seconds > 0 ? MOST_SAMPLES : count)) return unused;
        send_one(mine % count);
        took[mine] = (float)(now() - before);
    }
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    pthread_t threads[256];
    size_t n = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    if (!n || n > sizeof threads / sizeof *threads || strlen(argv[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, argv[1]);
    load(argv[2]);
    if (!count) return 2;
    seconds = strtod(argv[4], NULL);
    first = now();
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, work, NULL)) fail("pthread_create");
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    double span = now() - first;
    size_t sent = atomic_load(&turn) - (seconds > 0 ? 0 : n); /* every thread took a turn too much */
    qsort(took, sent, sizeof *took, by_value);
    printf("{\"requests\": %zu, \"rate\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", sent, (double)sent / span,
           took[sent / 2] * 1e6, took[sent * 99 / 100] * 1e6);
}
