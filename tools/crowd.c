/*
 * The clients of one uid, as a victim and as attackers: `./dev bench --fairness` runs one such program for each uid.
 *
 *   cc -O2 -pthread -o crowd crowd.c
 *   crowd SOCKET MODE FILE CONNECTIONS SECONDS [CYCLE [PAUSE_US [FIRST_UID]]]
 *
 * FILE holds whole requests. Each connection has CYCLE of them (default 1) for its own, and sends these in turn: the
 * first connection the first CYCLE requests of the file, and so on from the front again when the file ends.
 *
 *   ask      a connection for each request, after a random pause of PAUSE_US on average
 *   try      the same, but connect(2) does not wait: a full queue is a failed connect
 *   keep     a connection that stays open (the requests have to ask for that)
 *   pipe     the same, with 32 requests on the way at once
 *   connect  connects and hangs up
 *   silent   connections that send nothing, each of a uid of its own from FIRST_UID on; opened again when closed
 *   slow     connections that send a byte each half second; opened again when closed
 *   hold     connections that send all but the last byte of a request; opened again when closed
 *   spin     no connections, but as many threads that use a processor
 *
 * With FIRST_UID, `ask` takes another uid for each request, from this one on, and writes it into the last four bytes of
 * the request, where UnixPeerCredentials has it. Runs for SECONDS or until SIGTERM, with 0 seconds for one request, and
 * prints one line of JSON. A failed request is one that was not answered, or not with success. A request that still
 * waits at the end is no answer, but its time counts if it is the longest.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "requests.h"

enum {
    MOST_SAMPLES = 1 << 20, MOST_CONNECTIONS = 4096, PIPED = 32, CHUNK = 1 << 16, RETRY_US = 1000, SLOW_US = 500000, SLOW_STEP = 10
};

static size_t cycle = 1;
static float took[MOST_SAMPLES];
static _Atomic double asked[MOST_CONNECTIONS];
static atomic_size_t answers, failed_connects, failed_requests;
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static double started;
static long pause_us;
static unsigned first_uid;
static int connections, may_wait = 1, once;

static int comparison(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

static _Noreturn void finish(void)
{
    struct rusage used;
    double end = now(), seconds = end - started;
    size_t n = atomic_load(&answers), kept = n < MOST_SAMPLES - MOST_CONNECTIONS ? n : MOST_SAMPLES - MOST_CONNECTIONS;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    qsort(took, kept, sizeof *took, comparison);
    float most = kept ? took[kept - 1] : 0;
    for (int i = 0; i < connections; i++) {
        float waited = asked[i] > 0 ? (float)((end - asked[i]) * 1e3) : 0;
        if (waited > most) took[kept++] = waited;
    }
    qsort(took, kept, sizeof *took, comparison);
    printf("{\"seconds\": %.3f, \"answers\": %zu, \"failed_connects\": %zu, \"failed_requests\": %zu, \"cpu_s\": %.3f, "
           "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"most_ms\": %.4f}\n",
           seconds, n, atomic_load(&failed_connects), atomic_load(&failed_requests), cpu,
           kept ? took[kept / 2] : 0, kept ? took[kept * 99 / 100] : 0, kept ? took[kept - 1] : 0);
    fflush(stdout);
    _exit(0);
}

static void note(double since)
{
    size_t at = atomic_fetch_add(&answers, 1);
    if (at < MOST_SAMPLES - MOST_CONNECTIONS) took[at] = (float)((now() - since) * 1e3);
}

/* Returns a connection, or -1 and counts. */
static int dial(void)
{
    int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (may_wait ? 0 : SOCK_NONBLOCK), 0);
    if (peer < 0) fail("socket");
    if (connect(peer, (struct sockaddr *)&address, sizeof address)) {
        atomic_fetch_add(&failed_connects, 1);
        close(peer);
        usleep(RETRY_US);
        return -1;
    }
    if (!may_wait) fcntl(peer, F_SETFL, 0);
    return peer;
}

static int put(int peer, const uint8_t *data, size_t length)
{
    while (length) {
        ssize_t sent = send(peer, data, length, MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        length -= (size_t)sent;
    }
    return 0;
}

/* Takes one response off a connection; returns its status, or -1. */
static int take(int peer)
{
    uint8_t buffer[CHUNK];
    size_t got = 0, rest;
    while (got < HEADER) {
        ssize_t n = recv(peer, buffer + got, HEADER - got, 0);
        if (n <= 0) return -1;
        got += (size_t)n;
    }
    int status = (int)little_endian(buffer + STATUS, 2);
    for (rest = little_endian(buffer + BODY_LENGTH, 4); rest;) {
        ssize_t n = recv(peer, buffer, rest < CHUNK ? rest : CHUNK, 0);
        if (n <= 0) return -1;
        rest -= (size_t)n;
    }
    return status;
}

static void settle(int status, double since)
{
    if (status)
        atomic_fetch_add(&failed_requests, 1);
    else
        note(since);
}

static void as_next_uid(struct request *request)
{
    static atomic_uint turn;
    unsigned uid = first_uid + atomic_fetch_add(&turn, 1);
    if (seteuid(0) || seteuid(uid)) fail("seteuid");
    for (int byte = 0; byte < 4; byte++) request->start[request->length - 4 + (size_t)byte] = (uint8_t)(uid >> 8 * byte);
}

static void *ask(void *argument)
{
    size_t first = (size_t)argument * cycle, turn = 0;
    unsigned seed = (unsigned)(first + 1) * 2654435761u ^ (unsigned)getpid();
    int peer;
    for (;;) {
        struct request *request = &requests[(first + turn++ % cycle) % count];
        if (pause_us) usleep((unsigned)(rand_r(&seed) % (2 * pause_us)));
        if (first_uid) as_next_uid(request);
        double since = asked[(size_t)argument] = now();
        while ((peer = dial()) < 0);
        settle(put(peer, request->start, request->length) ? -1 : take(peer), since);
        asked[(size_t)argument] = 0;
        close(peer);
        if (once) finish();
    }
}

static void *keep(void *argument)
{
    size_t first = (size_t)argument * cycle, turn = 0;
    int peer = -1;
    for (;;) {
        struct request *request = &requests[(first + turn++ % cycle) % count];
        double since = now();
        while (peer < 0) peer = dial();
        int status = put(peer, request->start, request->length) ? -1 : take(peer);
        settle(status, since);
        if (status) {
            close(peer);
            peer = -1;
        }
    }
}

static void *pipe_requests(void *argument)
{
    struct request *request = &requests[(size_t)argument * cycle % count];
    uint8_t *all = malloc(PIPED * request->length);
    if (!all) fail("malloc");
    for (int i = 0; i < PIPED; i++) memcpy(all + (size_t)i * request->length, request->start, request->length);
    for (int peer = -1;;) {
        while (peer < 0) peer = dial();
        double since = now();
        int status = put(peer, all, PIPED * request->length) ? -1 : 0;
        for (int i = 0; i < PIPED && status >= 0; i++) settle(status = take(peer), since);
        if (status < 0) {
            close(peer);
            peer = -1;
        }
    }
}

static void *only_connect(void *argument)
{
    (void)argument;
    for (;;) {
        int peer = dial();
        if (peer < 0) continue;
        note(now());
        close(peer);
    }
}

static int is_closed(int peer)
{
    uint8_t byte[HEADER];
    ssize_t n = recv(peer, byte, sizeof byte, MSG_DONTWAIT);
    return n >= 0 || errno != EAGAIN;
}

static void *silent(void *argument)
{
    static int peers[MOST_CONNECTIONS];
    (void)argument;
    for (;;) {
        for (int i = 0; i < connections; i++) {
            if (peers[i] && !is_closed(peers[i])) continue;
            if (peers[i]) close(peers[i]);
            if (seteuid(0) || seteuid(first_uid + (unsigned)i)) fail("seteuid");
            while ((peers[i] = dial()) < 0);
            note(now());
        }
        usleep(50000);
    }
}

static void *slow(void *argument)
{
    static int peers[MOST_CONNECTIONS];
    static size_t sent[MOST_CONNECTIONS];
    (void)argument;
    for (;;)
        for (int i = 0; i < connections; i++) {
            if (peers[i] && is_closed(peers[i])) {
                close(peers[i]);
                peers[i] = 0;
            }
            if (!peers[i]) {
                while ((peers[i] = dial()) < 0);
                note(now());
                sent[i] = 0;
            }
            if (sent[i] + 1 < requests[0].length) sent[i] += send(peers[i], requests[0].start + sent[i], 1, MSG_NOSIGNAL) > 0;
            if (i % SLOW_STEP == SLOW_STEP - 1) usleep((unsigned)(SLOW_US / connections * SLOW_STEP));
        }
}

static void *hold(void *argument)
{
    uint8_t byte;
    for (;;) {
        struct request *request = &requests[(size_t)argument * cycle % count];
        int peer = dial();
        if (peer < 0) continue;
        if (!put(peer, request->start, request->length - 1)) {
            note(now());
            (void)!recv(peer, &byte, 1, 0);
        } else
            atomic_fetch_add(&failed_requests, 1);
        close(peer);
        usleep(RETRY_US);
    }
}

static void *spin(void *argument)
{
    for (volatile size_t turn = (size_t)argument;; turn++);
}

static const struct { const char *name; void *(*run)(void *); int alone; } modes[] = {
    {"ask", ask, 0}, {"try", ask, 0}, {"keep", keep, 0}, {"pipe", pipe_requests, 0}, {"connect", only_connect, 0},
    {"silent", silent, 1}, {"slow", slow, 1}, {"hold", hold, 0}, {"spin", spin, 0},
};

int main(int argc, char **argv)
{
    void *(*run)(void *) = NULL;
    int threads = 0;
    pthread_attr_t small;
    pthread_t thread;
    sigset_t ending;
    struct rlimit files;

    if (argc < 6 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, argv[1]);
    connections = atoi(argv[4]);
    double seconds = atof(argv[5]);
    if (connections < 1 || connections > MOST_CONNECTIONS) return 2;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(argv[2], modes[i].name)) {
            run = modes[i].run;
            threads = modes[i].alone ? 1 : connections;
        }
    if (!run) return 2;
    may_wait = strcmp(argv[2], "try") != 0;
    once = seconds <= 0;
    load(argv[3]);
    if (!count) return 2;
    if (argc > 6) cycle = (size_t)atoi(argv[6]);
    if (argc > 7) pause_us = atol(argv[7]);
    if (argc > 8) first_uid = (unsigned)atoi(argv[8]);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ending, NULL);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 4 * CHUNK);
    started = now();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&thread, &small, run, (void *)(size_t)i)) fail("pthread_create");
    if (once) seconds = 60;
    for (double left; (left = started + seconds - now()) > 0;) {
        struct timespec wait = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
        /* seteuid(3) of a thread interrupts it. */
        if (sigtimedwait(&ending, NULL, &wait) > 0) break;
    }
    finish();
}
