/* What the load tool was asked to do, and the one request it sends again and again. */
#define _GNU_SOURCE
#include "load_options.h"

#include "common.h"

#include <getopt.h>
#include <string.h>

static const char usage[] =
    "usage: load --port PORT [options]\n"
    "  --connections N   connections, each with one request under way at most (1)\n"
    "  --duration S      seconds that are measured (3)\n"
    "  --warmup S        seconds before them that are not (0.5)\n"
    "  --grace S         seconds to wait at the end for what is under way (10)\n"
    "  --rate R          open loop: R requests a second over all connections, latency counted\n"
    "                    from when each was due; without it, a closed loop\n"
    "  --stream          ask for SSE streams, and check that each is whole\n"
    "  --events N        content events of a stream (128)\n"
    "  --pace-us U       microseconds between two events, 0: all at once (0)\n"
    "  --hold            open one stream per connection, say \"holding N\" on stderr once all\n"
    "                    have begun, keep them for the duration and drop them\n"
    "  --body-bytes B    size of the request body, about (1024)\n"
    "  --path, --model, --key   default: /v1/chat/completions, m1, sk-bench\n";

enum option_code {
    PORT = 1000,
    CONNECTIONS,
    DURATION,
    WARMUP,
    GRACE,
    RATE,
    STREAM,
    EVENTS,
    PACE,
    HOLD_OPTION,
    BODY_BYTES,
    PATH,
    MODEL,
    KEY,
};

static const struct option known[] = {
    {"port", required_argument, NULL, PORT},
    {"connections", required_argument, NULL, CONNECTIONS},
    {"duration", required_argument, NULL, DURATION},
    {"warmup", required_argument, NULL, WARMUP},
    {"grace", required_argument, NULL, GRACE},
    {"rate", required_argument, NULL, RATE},
    {"stream", no_argument, NULL, STREAM},
    {"events", required_argument, NULL, EVENTS},
    {"pace-us", required_argument, NULL, PACE},
    {"hold", no_argument, NULL, HOLD_OPTION},
    {"body-bytes", required_argument, NULL, BODY_BYTES},
    {"path", required_argument, NULL, PATH},
    {"model", required_argument, NULL, MODEL},
    {"key", required_argument, NULL, KEY},
    {NULL, 0, NULL, 0},
};

static void complain(const char *what)
{
    fprintf(stderr, "load: %s\n%s", what, usage);
    exit(1);
}

static void take_option(struct load_options *options, int code, const char *value)
{
    switch (code) {
    case PORT: options->port = atoi(value); break;
    case CONNECTIONS: options->connections = atoi(value); break;
    case DURATION: options->duration_s = atof(value); break;
    case WARMUP: options->warmup_s = atof(value); break;
    case GRACE: options->grace_s = atof(value); break;
    case RATE: options->mode = OPEN_LOOP; options->rate_per_s = atof(value); break;
    case STREAM: options->stream = true; break;
    case EVENTS: options->events = atoi(value); break;
    case PACE: options->pace_us = atol(value); break;
    case HOLD_OPTION: options->mode = HOLD; options->stream = true; break;
    case BODY_BYTES: options->body_bytes = atoi(value); break;
    case PATH: options->path = value; break;
    case MODEL: options->model = value; break;
    case KEY: options->key = value; break;
    default: complain("unknown option");
    }
}

void read_options(struct load_options *options, int argc, char **argv)
{
    *options = (struct load_options){.connections = 1,
                                     .duration_s = 3,
                                     .warmup_s = 0.5,
                                     .grace_s = 10,
                                     .events = 128,
                                     .body_bytes = 1024,
                                     .path = "/v1/chat/completions",
                                     .model = "m1",
                                     .key = "sk-bench"};
    int code;
    while ((code = getopt_long(argc, argv, "", known, NULL)) >= 0)
        take_option(options, code, optarg);
    if (optind < argc)
        complain("takes options only");
    if (options->port <= 0 || options->port > 65535)
        complain("--port is missing or wrong");
    if (options->connections < 1 || options->connections > 16384)
        complain("--connections must be 1 to 16384");
    if (options->duration_s <= 0 || options->events < 1 || options->pace_us < 0)
        complain("--duration and --events must be positive, --pace-us not negative");
    if (options->mode == OPEN_LOOP && options->rate_per_s <= 0)
        complain("--rate must be positive");
    if (options->mode == HOLD && options->pace_us == 0)
        complain("--hold needs a --pace-us, or the streams end at once");
}

/* Writes the chat request as JSON, its user message as long as the body size asks for. */
static void write_body(FILE *into, const struct load_options *options)
{
    fprintf(into,
            "{\"model\":\"%s\",\"messages\":[{\"role\":\"system\",\"content\":"
            "\"You answer briefly.\"},{\"role\":\"user\",\"content\":\"",
            options->model);
    for (int word = 0; ftell(into) < options->body_bytes - 110; word++)
        fprintf(into, "word%d ", word % 97);
    fprintf(into, "\"}],\"temperature\":0.7,\"max_tokens\":%d", options->events);
    if (options->stream)
        fprintf(into, ",\"seed\":%ld,\"stream\":true,\"stream_options\":{\"include_usage\":true}",
                options->pace_us);
    fputc('}', into);
}

/* A stream that writes to memory; `text` is valid once it is closed. */
static FILE *open_text(char **text, size_t *length)
{
    FILE *into = open_memstream(text, length);
    if (into == NULL)
        die("open_memstream");
    return into;
}

const char *build_request(const struct load_options *options, size_t *length)
{
    char *body, *request;
    size_t body_length;
    FILE *into = open_text(&body, &body_length);
    write_body(into, options);
    fclose(into);
    into = open_text(&request, length);
    fprintf(into,
            "POST %s HTTP/1.1\r\n"
            "Host: 127.0.0.1:%d\r\n"
            "Authorization: Bearer %s\r\n"
            "Content-Type: application/json\r\n"
            "Accept: application/json\r\n"
            "User-Agent: helexa-bench\r\n"
            "Content-Length: %zu\r\n\r\n%s",
            options->path, options->port, options->key, body_length, body);
    fclose(into);
    free(body);
    return request;
}
