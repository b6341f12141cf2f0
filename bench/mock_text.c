/* The bytes the mock backend sends: built once where they are always the same. */
#include "mock_text.h"

#include <string.h>

#define CHUNK_HEAD "data: {\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\"," \
                   "\"created\":1700000000,\"model\":\"m1\",\"choices\":["

static const char stream_head[] = "HTTP/1.1 200 OK\r\n"
                                  "Content-Type: text/event-stream; charset=utf-8\r\n"
                                  "Cache-Control: no-cache\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n";

static char event_template[EVENT_BYTES]; /* one content event as an HTTP chunk */
static size_t event_length, marker_offset;
static char answer[2048]; /* the whole response without streaming */
static char *burst; /* a whole stream of `burst_events`, built once */
static size_t burst_length;
static int burst_events = -1;

/* Writes one SSE event as one HTTP chunk; returns its length. */
static size_t write_chunk(char *into, const char *event)
{
    return (size_t)sprintf(into, "%zx\r\n%s\r\n", strlen(event), event);
}

static void write_digits(char *into, int count, int64_t value)
{
    for (int i = count - 1; i >= 0; i--) {
        into[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

void build_templates(void)
{
    event_length = write_chunk(
        event_template, CHUNK_HEAD "{\"index\":0,\"delta\":{\"content\":\"@0000000000000000000#000000"
                                   " token\"},\"finish_reason\":null}]}\n\n");
    marker_offset = (size_t)(strchr(event_template, '@') - event_template);
    const char *body =
        "{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion\","
        "\"created\":1700000000,\"model\":\"m1\",\"choices\":[{\"index\":0,\"message\":{"
        "\"role\":\"assistant\",\"content\":\"A plain answer of a few hundred bytes, long enough to "
        "look like what a small model says to a short question, and always the same, so that the "
        "time spent here stays out of the measurement and only the way through the gateway, there "
        "and back again, is left to be seen by whoever reads the figures.\"},"
        "\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":64,\"total_tokens\":264}}";
    sprintf(answer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            "Content-Length: %zu\r\n\r\n%s",
            strlen(body), body);
}

size_t write_event(char *into, int index, int64_t sent_ns)
{
    memcpy(into, event_template, event_length);
    write_digits(into + marker_offset + 1, MARKER_TIME_DIGITS, sent_ns);
    write_digits(into + marker_offset + 2 + MARKER_TIME_DIGITS, MARKER_INDEX_DIGITS, index);
    return event_length;
}

size_t write_tail(char *into, int events)
{
    char usage[EVENT_BYTES];
    sprintf(usage,
            CHUNK_HEAD "],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":%d,"
                       "\"total_tokens\":%d}}\n\n",
            events, 200 + events);
    size_t length = write_chunk(
        into, CHUNK_HEAD "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    length += write_chunk(into + length, usage);
    length += write_chunk(into + length, "data: [DONE]\n\n");
    return length + (size_t)sprintf(into + length, "0\r\n\r\n");
}

const char *chat_answer(void)
{
    return answer;
}

size_t write_stream_head(char *into)
{
    memcpy(into, stream_head, sizeof stream_head - 1);
    return sizeof stream_head - 1;
}

const char *whole_stream(int events, size_t *length)
{
    if (burst_events != events) {
        burst = realloc(burst, EVENT_BYTES + (size_t)events * event_length + TAIL_BYTES);
        if (burst == NULL)
            die("realloc");
        burst_length = write_stream_head(burst);
        for (int index = 0; index < events; index++)
            burst_length += write_event(burst + burst_length, index, 0);
        burst_length += write_tail(burst + burst_length, events);
        burst_events = events;
    }
    *length = burst_length;
    return burst;
}
