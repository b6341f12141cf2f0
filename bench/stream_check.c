/* Checks one SSE stream of the mock as it arrives. */
#define _GNU_SOURCE
#include "stream_check.h"

#include "common.h"

#include <ctype.h>
#include <string.h>

void stream_check_reset(struct stream_check *check)
{
    check->partial_length = 0;
    check->events = 0;
    check->out_of_order = false;
    check->failed = false;
    check->done = false;
    check->usage = -1;
}

bool stream_check_is_whole(const struct stream_check *check, int events)
{
    return check->events == events && !check->out_of_order && !check->failed && check->done &&
           check->usage == events && check->partial_length == 0;
}

/* Reads `count` decimal digits; -1 when something else stands there. */
static int64_t read_digits(const char *text, int count)
{
    int64_t value = 0;
    for (int i = 0; i < count; i++) {
        if (!isdigit((unsigned char)text[i]))
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* Looks for the marker of a content event and reads it; false when there is none. */
static bool read_marker(const char *event, size_t length, int64_t *sent_ns, int64_t *index)
{
    const char *end = event + length;
    const char *at = memchr(event, '@', length);
    for (; at != NULL; at = memchr(at + 1, '@', (size_t)(end - at - 1))) {
        if (end - at < MARKER_LENGTH)
            return false;
        *sent_ns = read_digits(at + 1, MARKER_TIME_DIGITS);
        *index = read_digits(at + 2 + MARKER_TIME_DIGITS, MARKER_INDEX_DIGITS);
        if (*sent_ns >= 0 && *index >= 0 && at[1 + MARKER_TIME_DIGITS] == '#')
            return true;
    }
    return false;
}

static void take_event(struct stream_check *check, const char *event, size_t length,
                       event_sink sink, void *context)
{
    int64_t sent_ns, index;
    if (length == 0 || event[0] == ':') /* a comment: a keepalive, not an event */
        return;
    if (check->done) /* nothing may follow the end */
        check->out_of_order = true;
    if (read_marker(event, length, &sent_ns, &index)) {
        if (index != check->events)
            check->out_of_order = true;
        check->events++;
        sink(context, sent_ns);
        return;
    }
    if (memmem(event, length, "[DONE]", 6) != NULL)
        check->done = true;
    if (memmem(event, length, "\"error\"", 7) != NULL)
        check->failed = true;
    static const char tokens[] = "\"completion_tokens\":";
    const char *usage = memmem(event, length, tokens, sizeof tokens - 1);
    if (usage != NULL) /* a line break ends every event, so the number has an end */
        check->usage = atoi(usage + sizeof tokens - 1);
}

/* Where the event at `from` ends, NULL when its blank line is not there yet. */
static const char *find_end(const char *from, const char *limit, size_t *gap)
{
    for (const char *at = from; at < limit; at++) {
        at = memchr(at, '\n', (size_t)(limit - at));
        if (at == NULL)
            return NULL;
        *gap = limit - at >= 2 && at[1] == '\n' ? 2 : 3;
        if (*gap == 2 || (limit - at >= 3 && at[1] == '\r' && at[2] == '\n'))
            return at;
    }
    return NULL;
}

/* Takes every whole event; returns how many bytes they filled. */
static size_t take_events(struct stream_check *check, const char *bytes, size_t length,
                          event_sink sink, void *context)
{
    const char *position = bytes, *limit = bytes + length, *end;
    size_t gap;
    while ((end = find_end(position, limit, &gap)) != NULL) {
        take_event(check, position, (size_t)(end - position), sink, context);
        position = end + gap;
    }
    return (size_t)(position - bytes);
}

static void keep_partial(struct stream_check *check, const char *bytes, size_t length)
{
    size_t needed = check->partial_length + length;
    if (needed > check->partial_capacity) {
        check->partial_capacity = 2 * needed;
        check->partial = realloc(check->partial, check->partial_capacity);
        if (check->partial == NULL)
            die("realloc");
    }
    memcpy(check->partial + check->partial_length, bytes, length);
    check->partial_length = needed;
}

void stream_check_feed(struct stream_check *check, const char *bytes, size_t length,
                       event_sink sink, void *context)
{
    if (check->partial_length == 0) { /* the usual case: events are read where they lie */
        size_t used = take_events(check, bytes, length, sink, context);
        if (used < length)
            keep_partial(check, bytes + used, length - used);
        return;
    }
    keep_partial(check, bytes, length);
    size_t used = take_events(check, check->partial, check->partial_length, sink, context);
    check->partial_length -= used;
    memmove(check->partial, check->partial + used, check->partial_length);
}
