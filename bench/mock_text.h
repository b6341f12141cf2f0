/* The bytes the mock backend sends. */
#ifndef BENCH_MOCK_TEXT_H
#define BENCH_MOCK_TEXT_H

#include "common.h"

#define MAX_EVENTS 999999 /* what six digits can count */
#define EVENT_BYTES 512   /* room for one event, or for the head of a stream */
#define TAIL_BYTES (4 * EVENT_BYTES)

/* Fills the templates; to be called before anything else here. */
void build_templates(void);

/* The whole response to a chat request without streaming. */
const char *chat_answer(void);

/* A whole stream of `events` content events, unstamped; valid until the next call. */
const char *whole_stream(int events, size_t *length);

/* Each writes its part of a stream and returns the length of what it wrote. */
size_t write_stream_head(char *into);
size_t write_event(char *into, int index, int64_t sent_ns);
size_t write_tail(char *into, int events); /* all that follows the last content event */

#endif
