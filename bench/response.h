/* Reads one HTTP/1.1 response from bytes that arrive in arbitrary pieces. */
#ifndef BENCH_RESPONSE_H
#define BENCH_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum response_phase {
    STATUS_LINE,
    HEADER_LINE,
    SIZED_BODY,    /* Content-Length says where it ends */
    UNSIZED_BODY,  /* it ends with the connection */
    CHUNK_SIZE,    /* the line before a chunk */
    CHUNK_DATA,
    CHUNK_END,     /* the line break after a chunk */
    TRAILER_LINE,
    RESPONSE_COMPLETE,
    RESPONSE_MALFORMED,
};

struct response {
    enum response_phase phase;
    int status;
    bool chunked;
    bool closes;       /* the server closes the connection after it */
    int64_t remaining; /* bytes left of the body or of the chunk, -1 when not known */
    char line[256];    /* the line being read; what does not fit is of no interest here */
    size_t line_length;
};

/* Takes each piece of the body, free of chunk framing. */
typedef void (*body_sink)(void *context, const char *bytes, size_t length);

void response_reset(struct response *response);

/* Reads on; returns how many bytes it used. Less than `length` only when the response ended. */
size_t response_feed(struct response *response, const char *bytes, size_t length, body_sink sink,
                     void *context);

#endif
