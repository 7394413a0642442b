/* What the clients in C share: the requests that they send, from a file that has one after the other. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { HEADER = 36, BODY_LENGTH = 22, AUTH_LENGTH = 26, STATUS = 32, MOST_REQUESTS = 1 << 16 };

struct request { uint8_t *start; size_t length; };
static struct request requests[MOST_REQUESTS];
static size_t count;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t little_endian(const uint8_t *at, int bytes)
{
    size_t number = 0;
    while (bytes--) number = number << 8 | at[bytes];
    return number;
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    size_t size = (size_t)ftell(file), at = 0;
    uint8_t *all = malloc(size + HEADER);
    rewind(file);
    if (!all || fread(all, 1, size, file) != size) fail(path);
    fclose(file);
    while (at + HEADER <= size && count < MOST_REQUESTS) {
        uint8_t *start = all + at;
        size_t length = HEADER + little_endian(start + BODY_LENGTH, 4) + little_endian(start + AUTH_LENGTH, 2);
        requests[count++] = (struct request){start, length};
        at += length;
    }
}
