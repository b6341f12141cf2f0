/*
 * A mock OpenAI backend that costs next to nothing: one thread, epoll, HTTP/1.1 keep-alive.
 *
 *   mock --port PORT            listens on 127.0.0.1
 *
 * POST .../chat/completions     without "stream": true, one fixed JSON answer. With it, an SSE
 *                               stream of `max_tokens` content events. `seed` is the pace in
 *                               microseconds: 0 or absent sends the whole stream in one write,
 *                               otherwise the first event leaves at once and each further one
 *                               that long after the one before, stamped with the time of sending.
 * GET /v1/models, /health       what a gateway asks before it uses a backend.
 * GET /stats                    what was served, how many streams were dropped, how many are open.
 *
 * Every stream ends with a finish reason, a usage event that counts the content events, [DONE].
 */
#define _GNU_SOURCE
#include "common.h"
#include "mock_text.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_DESCRIPTORS 16640 /* 16k connections and a few of our own */
#define MAX_REQUEST_BYTES (4 << 20)
#define FIRST_REQUEST_BYTES 4096
/* A stream that fell this far behind its pace starts anew from now instead of bursting. */
#define MAX_LATENESS_NS (50 * 1000 * NS_PER_US)

struct connection {
    int fd;
    bool close_after;    /* the client asked for "Connection: close" */
    bool wants_writable; /* EPOLLOUT is armed */
    char *request;       /* bytes received and not yet answered */
    size_t request_length, request_capacity;
    char *output; /* bytes the socket did not take yet */
    size_t output_length, output_sent, output_capacity;
    int events_total, events_sent; /* of the paced stream under way */
    int64_t pace_ns, due_ns;
    int timer; /* place in the heap of due times, -1 when no paced stream is under way */
};

static int epoll;
static struct connection *connections[MAX_DESCRIPTORS]; /* by descriptor */
static struct connection *timers[MAX_DESCRIPTORS];      /* binary heap, earliest due first */
static int timer_count;
static struct {
    unsigned long long requests, streams, events, dropped;
} served;

/* ---- due times: a binary heap ------------------------------------------------------------ */

static void place_timer(int at, struct connection *connection)
{
    timers[at] = connection;
    connection->timer = at;
}

/* Moves the entry at `at` to where its due time belongs. */
static void settle_timer(int at)
{
    struct connection *moved = timers[at];
    while (at > 0 && timers[(at - 1) / 2]->due_ns > moved->due_ns) {
        place_timer(at, timers[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        int child = 2 * at + 1;
        if (child + 1 < timer_count && timers[child + 1]->due_ns < timers[child]->due_ns)
            child++;
        if (child >= timer_count || timers[child]->due_ns >= moved->due_ns)
            break;
        place_timer(at, timers[child]);
        at = child;
    }
    place_timer(at, moved);
}

static void add_timer(struct connection *connection)
{
    timers[timer_count] = connection;
    settle_timer(timer_count++);
}

static void remove_timer(struct connection *connection)
{
    int at = connection->timer;
    connection->timer = -1;
    if (at == --timer_count)
        return;
    place_timer(at, timers[timer_count]);
    settle_timer(at);
}

/* ---- bytes out --------------------------------------------------------------------------- */

static void want_writable(struct connection *connection, bool wanted)
{
    if (connection->wants_writable == wanted)
        return;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.fd = connection->fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event);
    connection->wants_writable = wanted;
}

/* Sends, keeping what the socket does not take; false when the connection is gone. */
static bool put(struct connection *connection, const char *bytes, size_t length)
{
    if (connection->output_length == 0) {
        ssize_t taken = send(connection->fd, bytes, length, MSG_NOSIGNAL);
        if (taken < 0 && errno != EAGAIN)
            return false;
        if (taken > 0) {
            bytes += taken;
            length -= (size_t)taken;
        }
        if (length == 0)
            return true;
    }
    if (connection->output_length + length > connection->output_capacity) {
        connection->output_capacity = 2 * (connection->output_length + length);
        connection->output = realloc(connection->output, connection->output_capacity);
        if (connection->output == NULL)
            die("realloc");
    }
    memcpy(connection->output + connection->output_length, bytes, length);
    connection->output_length += length;
    want_writable(connection, true);
    return true;
}

/* Sends what `put` kept; false when the connection is gone. */
static bool flush(struct connection *connection)
{
    while (connection->output_sent < connection->output_length) {
        ssize_t taken = send(connection->fd, connection->output + connection->output_sent,
                             connection->output_length - connection->output_sent, MSG_NOSIGNAL);
        if (taken < 0)
            return errno == EAGAIN;
        connection->output_sent += (size_t)taken;
    }
    connection->output_sent = connection->output_length = 0;
    want_writable(connection, false);
    return true;
}

static bool put_json(struct connection *connection, const char *status, const char *body)
{
    char response[1024];
    int length = snprintf(response, sizeof response,
                          "HTTP/1.1 %s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s",
                          status, strlen(body), body);
    return put(connection, response, (size_t)length);
}

/* True when the client asked for the connection to be closed and has had its whole answer. */
static bool is_finished(const struct connection *connection)
{
    return connection->close_after && connection->timer < 0 && connection->output_length == 0;
}

/* ---- streams ----------------------------------------------------------------------------- */

static bool start_stream(struct connection *connection, int events, int64_t pace_us)
{
    served.streams++;
    if (pace_us <= 0) {
        served.events += (unsigned long long)events;
        size_t length;
        const char *stream = whole_stream(events, &length);
        return put(connection, stream, length);
    }
    char first[2 * EVENT_BYTES];
    int64_t now = now_ns();
    size_t length = write_stream_head(first);
    length += write_event(first + length, 0, now);
    served.events++;
    connection->events_total = events;
    connection->events_sent = 1;
    connection->pace_ns = pace_us * NS_PER_US;
    connection->due_ns = now + connection->pace_ns;
    add_timer(connection);
    return put(connection, first, length);
}

/* Sends the next piece of a paced stream that is due; false when the connection is gone. */
static bool continue_stream(struct connection *connection)
{
    char bytes[TAIL_BYTES];
    int64_t now = now_ns();
    if (connection->events_sent == connection->events_total) {
        remove_timer(connection);
        return put(connection, bytes, write_tail(bytes, connection->events_total));
    }
    size_t length = write_event(bytes, connection->events_sent++, now);
    served.events++;
    connection->due_ns += connection->pace_ns;
    if (connection->due_ns < now - MAX_LATENESS_NS)
        connection->due_ns = now;
    settle_timer(connection->timer);
    return put(connection, bytes, length);
}

/* ---- requests ---------------------------------------------------------------------------- */

/* The number after `"key":` in a JSON text, or `otherwise`. Enough for the bodies of a bench. */
static long find_number(const char *json, const char *key, long otherwise)
{
    const char *at = strstr(json, key);
    if (at == NULL)
        return otherwise;
    at += strlen(key);
    at += strspn(at, " :");
    return strtol(at, NULL, 10);
}

static bool asks_to_stream(const char *json)
{
    const char *at = strstr(json, "\"stream\"");
    if (at == NULL)
        return false;
    at += strlen("\"stream\"");
    return at[strspn(at, " :")] == 't';
}

static bool answer_chat(struct connection *connection, const char *body)
{
    served.requests++;
    if (!asks_to_stream(body))
        return put(connection, chat_answer(), strlen(chat_answer()));
    long events = find_number(body, "\"max_tokens\"", -1);
    if (events < 0)
        events = find_number(body, "\"max_completion_tokens\"", 128);
    if (events < 1 || events > MAX_EVENTS)
        return put_json(connection, "400 Bad Request", "{\"error\":{\"message\":\"max_tokens\"}}");
    return start_stream(connection, (int)events, find_number(body, "\"seed\"", 0));
}

static bool answer_stats(struct connection *connection)
{
    char body[256];
    snprintf(body, sizeof body,
             "{\"requests\":%llu,\"streams\":%llu,\"events\":%llu,\"dropped\":%llu,\"open\":%d}",
             served.requests, served.streams, served.events, served.dropped, timer_count);
    return put_json(connection, "200 OK", body);
}

/* Answers one whole request; head and body are each terminated by a NUL. */
static bool answer_request(struct connection *connection, const char *head, const char *body)
{
    size_t line_length = strcspn(head, "\r\n");
    if (memmem(head, line_length, "/chat/completions", 17) != NULL)
        return answer_chat(connection, body);
    if (memmem(head, line_length, "/models", 7) != NULL)
        return put_json(connection, "200 OK",
                        "{\"object\":\"list\",\"data\":[{\"id\":\"m1\",\"object\":\"model\","
                        "\"created\":1700000000,\"owned_by\":\"mock\",\"max_model_len\":8192}]}");
    if (memmem(head, line_length, "/health", 7) != NULL)
        return put_json(connection, "200 OK", "{\"status\":\"ok\"}");
    if (memmem(head, line_length, "/stats", 6) != NULL)
        return answer_stats(connection);
    return put_json(connection, "404 Not Found", "{\"error\":{\"message\":\"no such path\"}}");
}

/* Answers every whole request that has arrived; false when the connection is to be closed. */
static bool answer_requests(struct connection *connection)
{
    while (connection->timer < 0 && connection->request_length > 0) {
        char *head = connection->request;
        head[connection->request_length] = '\0';
        char *end = strstr(head, "\r\n\r\n");
        if (end == NULL)
            return connection->request_length < MAX_REQUEST_BYTES;
        *end = '\0';
        const char *length_line = strcasestr(head, "\r\ncontent-length:");
        const char *connection_line = strcasestr(head, "\r\nconnection: close");
        bool chunked = strcasestr(head, "\r\ntransfer-encoding:") != NULL;
        size_t body_length =
            length_line == NULL ? 0 : strtoul(strchr(length_line, ':') + 1, NULL, 10);
        char *body = end + 4;
        size_t total = (size_t)(body - head) + body_length;
        if (chunked || total > MAX_REQUEST_BYTES) { /* no client of the bench sends these */
            put_json(connection, "411 Length Required", "{}");
            return false;
        }
        if (connection->request_length < total) {
            *end = '\r';
            return true;
        }
        if (connection_line != NULL)
            connection->close_after = true;
        char after = head[total];
        head[total] = '\0';
        if (!answer_request(connection, head, body))
            return false;
        head[total] = after;
        connection->request_length -= total;
        memmove(head, head + total, connection->request_length);
        if (is_finished(connection))
            return false;
    }
    return true;
}

/* ---- connections ------------------------------------------------------------------------- */

static void accept_all(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (fd >= MAX_DESCRIPTORS) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        if (connection == NULL)
            die("calloc");
        connection->fd = fd;
        connection->timer = -1;
        connections[fd] = connection;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void close_connection(struct connection *connection)
{
    if (connection->timer >= 0) {
        remove_timer(connection);
        served.dropped++;
    }
    close(connection->fd);
    connections[connection->fd] = NULL;
    free(connection->request);
    free(connection->output);
    free(connection);
}

/* Takes what has arrived and answers it; false when the connection is to be closed. */
static bool receive(struct connection *connection)
{
    if (connection->request_length == connection->request_capacity) {
        size_t capacity = 2 * connection->request_capacity;
        if (capacity > 2 * MAX_REQUEST_BYTES)
            return false;
        connection->request_capacity = capacity == 0 ? FIRST_REQUEST_BYTES : capacity;
        /* One byte more than the capacity, for the NUL that ends the text. */
        connection->request = realloc(connection->request, connection->request_capacity + 1);
        if (connection->request == NULL)
            die("realloc");
    }
    ssize_t taken = recv(connection->fd, connection->request + connection->request_length,
                         connection->request_capacity - connection->request_length, 0);
    if (taken < 0)
        return errno == EAGAIN;
    connection->request_length += (size_t)taken;
    return taken > 0 && answer_requests(connection);
}

static void handle(struct connection *connection, uint32_t happened)
{
    bool alive = true;
    if (happened & (EPOLLIN | EPOLLHUP | EPOLLERR))
        alive = receive(connection);
    if (alive && (happened & EPOLLOUT))
        alive = flush(connection) && !is_finished(connection);
    if (!alive)
        close_connection(connection);
}

static void run_due_timers(void)
{
    int64_t now = now_ns();
    while (timer_count > 0 && timers[0]->due_ns <= now) {
        struct connection *connection = timers[0];
        bool alive = continue_stream(connection);
        if (alive && connection->timer < 0) /* the stream ended: a next request may be waiting */
            alive = !is_finished(connection) && answer_requests(connection);
        if (!alive)
            close_connection(connection);
    }
}

static int listen_on(int port)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0)
        die("bind");
    if (listen(listener, 8192) != 0)
        die("listen");
    return listener;
}

int main(int argc, char **argv)
{
    if (argc != 3 || strcmp(argv[1], "--port") != 0) {
        fprintf(stderr, "usage: mock --port PORT\n");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    build_templates();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on(atoi(argv[2]));
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        struct epoll_event happened[512];
        int count = wait_until(epoll, happened, 512, timer_count > 0 ? timers[0]->due_ns : -1);
        for (int i = 0; i < count; i++) {
            int fd = happened[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (connections[fd] != NULL)
                handle(connections[fd], happened[i].events);
        }
        run_due_timers();
    }
}
