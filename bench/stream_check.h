/*
 * Checks one SSE stream of the mock as it arrives: every content event once and in order, a usage
 * event that counts them, and [DONE].
 */
#ifndef BENCH_STREAM_CHECK_H
#define BENCH_STREAM_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream_check {
    char *partial; /* an event whose end has not arrived */
    size_t partial_length, partial_capacity;
    int events;        /* content events so far */
    bool out_of_order; /* one was lost, repeated or moved */
    bool failed;       /* an error event came */
    bool done;         /* [DONE] came */
    int usage;         /* completion tokens by the usage event, -1 until it comes */
};

/* Takes each content event: when the mock sent it, 0 when the event does not say. */
typedef void (*event_sink)(void *context, int64_t sent_ns);

/* Forgets the stream before; keeps the buffer. A zeroed check must be reset before use. */
void stream_check_reset(struct stream_check *check);

void stream_check_feed(struct stream_check *check, const char *bytes, size_t length,
                       event_sink sink, void *context);

/* True when all of a stream of `events` content events has come. */
bool stream_check_is_whole(const struct stream_check *check, int events);

#endif
