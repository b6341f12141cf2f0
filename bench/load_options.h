/* What the load tool was asked to do, and the one request it sends again and again. */
#ifndef BENCH_LOAD_OPTIONS_H
#define BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum mode {
    CLOSED_LOOP, /* every connection sends its next request when the answer is there */
    OPEN_LOOP,   /* requests fall due at a fixed rate, whatever the answers do */
    HOLD,        /* every connection opens one stream and keeps it */
};

struct load_options {
    enum mode mode;
    int port;
    int connections;
    double duration_s, warmup_s;
    double grace_s; /* how long to wait at the end for what is under way */
    double rate_per_s;
    bool stream;
    int events;   /* content events of a stream */
    long pace_us; /* between two events, 0: the whole stream at once */
    int body_bytes;
    const char *path, *model, *key;
};

/* Reads the command line; prints the usage and ends the program when it makes no sense. */
void read_options(struct load_options *options, int argc, char **argv);

/* The bytes of the HTTP request that the options describe; never freed. */
const char *build_request(const struct load_options *options, size_t *length);

#endif
