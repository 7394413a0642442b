/*
 * The fairest service there can be: one thread that takes whatever has come, and answers one request of each uid in
 * turn, after so much work. What `./dev bench --fairness` finds with it is what processors and clients allow.
 *
 *   cc -O2 -o fair_floor fair_floor.c && ./fair_floor SOCKET WORK_US
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FLAGS = 9, KEEP_ALIVE = 0x80, UIDS = 1024, DEPTH = 4096, EVENTS = 256 };

static struct { unsigned uid; unsigned head, tail; int waiting[DEPTH]; } *turns;
static int known, listener, poller, turn_of[65536];
static uint8_t keep[65536];

static int turn_for(unsigned uid)
{
    for (int i = 0; i < known; i++)
        if (turns[i].uid == uid) return i;
    turns[known].uid = uid;
    return known < UIDS - 1 ? known++ : 0;
}

static void take_what_came(int wait)
{
    struct epoll_event events[EVENTS];
    uint8_t request[65536];
    int n = epoll_wait(poller, events, EVENTS, wait);
    for (int i = 0; i < n; i++) {
        int peer = events[i].data.fd;
        if (peer != listener) {
            ssize_t got = recv(peer, request, sizeof request, MSG_DONTWAIT);
            if (got <= 0) {
                close(peer);
                continue;
            }
            keep[peer] = request[FLAGS] & KEEP_ALIVE;
            int turn = turn_of[peer];
            turns[turn].waiting[turns[turn].tail++ % DEPTH] = peer;
            continue;
        }
        for (int client; (client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
            struct ucred peer_is;
            socklen_t size = sizeof peer_is;
            struct epoll_event event = {.events = EPOLLIN, .data.fd = client};
            getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer_is, &size);
            turn_of[client] = turn_for(peer_is.uid);
            epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
        }
    }
}

static int64_t used_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    static const char answer[38] = {0x10, (char)0xa7, (char)0xc0, 0x5e, 0x1e, 0, 1,
                                    [22] = 2, [28] = 1, [36] = 8, [37] = 1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, argv[1]);
    int64_t work_ns = atoll(argv[2]) * 1000;
    turns = calloc(UIDS, sizeof *turns);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (!turns || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) return 1;
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (int turn = 0, idle = 0;; turn = (turn + 1) % (known ? known : 1)) {
        if (!known || turns[turn].head == turns[turn].tail) {
            if (++idle > known) take_what_came(-1), idle = 0;
            continue;
        }
        idle = 0;
        int peer = turns[turn].waiting[turns[turn].head++ % DEPTH];
        for (int64_t end = used_ns() + work_ns; used_ns() < end;);
        (void)!send(peer, answer, sizeof answer, MSG_NOSIGNAL);
        if (!keep[peer]) close(peer);
        take_what_came(0);
    }
}
