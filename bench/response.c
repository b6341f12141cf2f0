/* Reads one HTTP/1.1 response from bytes that arrive in arbitrary pieces. */
#define _GNU_SOURCE
#include "response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void response_reset(struct response *response)
{
    response->phase = STATUS_LINE;
    response->status = 0;
    response->chunked = false;
    response->closes = false;
    response->remaining = -1;
    response->line_length = 0;
}

/* Adds bytes to the current line; true when it is whole. `used` says how many it took. */
static bool take_line(struct response *response, const char *bytes, size_t length, size_t *used)
{
    const char *end = memchr(bytes, '\n', length);
    size_t piece = end == NULL ? length : (size_t)(end - bytes);
    size_t room = sizeof response->line - 1 - response->line_length;
    size_t kept = piece < room ? piece : room;
    memcpy(response->line + response->line_length, bytes, kept);
    response->line_length += kept;
    *used = end == NULL ? length : piece + 1;
    if (end == NULL)
        return false;
    if (response->line_length > 0 && response->line[response->line_length - 1] == '\r')
        response->line_length--;
    response->line[response->line_length] = '\0';
    return true;
}

static const char *header_value(const char *line, const char *name)
{
    size_t length = strlen(name);
    return strncasecmp(line, name, length) == 0 ? line + length : NULL;
}

static enum response_phase after_status(struct response *response)
{
    if (strncmp(response->line, "HTTP/1.", 7) != 0)
        return RESPONSE_MALFORMED;
    response->status = atoi(response->line + strcspn(response->line, " "));
    return HEADER_LINE;
}

static enum response_phase after_header(struct response *response)
{
    const char *value;
    if (response->line_length > 0) {
        if ((value = header_value(response->line, "content-length:")) != NULL)
            response->remaining = strtoll(value, NULL, 10);
        else if ((value = header_value(response->line, "transfer-encoding:")) != NULL)
            response->chunked = strcasestr(value, "chunked") != NULL;
        else if ((value = header_value(response->line, "connection:")) != NULL)
            response->closes = strcasestr(value, "close") != NULL;
        return HEADER_LINE;
    }
    if (response->status < 200) { /* "100 Continue" and the like: the real head follows */
        response_reset(response);
        return STATUS_LINE;
    }
    if (response->chunked)
        return CHUNK_SIZE;
    if (response->remaining < 0)
        return UNSIZED_BODY;
    return response->remaining == 0 ? RESPONSE_COMPLETE : SIZED_BODY;
}

static enum response_phase after_chunk_size(struct response *response)
{
    char *end;
    response->remaining = strtoll(response->line, &end, 16);
    if (end == response->line || response->remaining < 0)
        return RESPONSE_MALFORMED;
    return response->remaining == 0 ? TRAILER_LINE : CHUNK_DATA;
}

static enum response_phase after_line(struct response *response)
{
    switch (response->phase) {
    case STATUS_LINE:
        return after_status(response);
    case HEADER_LINE:
        return after_header(response);
    case CHUNK_SIZE:
        return after_chunk_size(response);
    case CHUNK_END:
        return response->line_length == 0 ? CHUNK_SIZE : RESPONSE_MALFORMED;
    default: /* TRAILER_LINE */
        return response->line_length == 0 ? RESPONSE_COMPLETE : TRAILER_LINE;
    }
}

/* Hands on what is there of the body or the chunk; returns how many bytes that was. */
static size_t take_body(struct response *response, const char *bytes, size_t length,
                        body_sink sink, void *context)
{
    size_t used = length;
    if (response->phase != UNSIZED_BODY) {
        if ((int64_t)used > response->remaining)
            used = (size_t)response->remaining;
        response->remaining -= (int64_t)used;
    }
    sink(context, bytes, used);
    if (response->phase != UNSIZED_BODY && response->remaining == 0)
        response->phase = response->phase == CHUNK_DATA ? CHUNK_END : RESPONSE_COMPLETE;
    return used;
}

size_t response_feed(struct response *response, const char *bytes, size_t length, body_sink sink,
                     void *context)
{
    size_t position = 0;
    while (position < length && response->phase < RESPONSE_COMPLETE) {
        size_t used;
        if (response->phase == SIZED_BODY || response->phase == UNSIZED_BODY ||
            response->phase == CHUNK_DATA) {
            used = take_body(response, bytes + position, length - position, sink, context);
        } else if (take_line(response, bytes + position, length - position, &used)) {
            response->phase = after_line(response);
            response->line_length = 0;
        }
        position += used;
    }
    return position;
}
