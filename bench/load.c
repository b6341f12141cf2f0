/*
 * A load tool for OpenAI-style gateways: one thread, epoll. It sends one chat request again and
 * again (closed loop, or open loop at a fixed rate), or opens streams and holds them, checks every
 * answer to its last byte, and prints one JSON line. `load --help` tells the options.
 *
 * What becomes of a request:
 *   complete     status 200 and all of it came; for a stream every event in order, usage, [DONE]
 *   refused      another status
 *   incomplete   status 200, but the answer was cut short, has an error, or lacks something
 *   broken       the connection failed before there was a status
 *
 * Latency: in a closed loop from sending to the last byte, of answers that end in the measured
 * time. In an open loop from when the request was due, of requests due in the measured time,
 * however late they were sent or answered: a gateway that stalls cannot hide it by being asked
 * less (no "coordinated omission").
 */
#define _GNU_SOURCE
#include "common.h"
#include "load_options.h"
#include "response.h"
#include "samples.h"
#include "stream_check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RETRY_NS (10 * 1000 * NS_PER_US) /* before a failed connection is tried again */
#define RAMP 128                         /* hold mode: streams being opened at a time */
#define RAMP_LIMIT_NS (60 * NS_PER_S)    /* hold mode: to open all streams */

enum connection_state { CLOSED, CONNECTING, IDLE, BUSY };
enum outcome { COMPLETE, REFUSED, INCOMPLETE, BROKEN, OUTCOMES };

struct connection {
    int fd;
    enum connection_state state;
    size_t sent;       /* bytes of the request that the socket took */
    int64_t began_ns;  /* when the request was sent, or was due */
    bool has_event;    /* the first event of the stream came */
    struct response response;
    struct stream_check check;
};

static struct load_options options;
static const char *request;
static size_t request_length;
static int epoll;
static struct sockaddr_in gateway;
static struct connection *connections;

static int64_t measure_from_ns, measure_until_ns;
static int opened, connected; /* connections opened at least once; those that stand */
static int busy;              /* requests under way */
static int first_starts;      /* connections that may send: those below this number */
static int holding;           /* hold mode: streams that have begun and not ended */
static int64_t retry_ns = -1; /* when to reopen what is closed */
static int64_t next_due_ns;   /* open loop: when the next request is due */

static struct {
    unsigned long long outcomes[OUTCOMES], events, bytes;
    unsigned long long requests_in_time, events_in_time; /* in the measured time */
    unsigned long long unfinished, unsent;               /* when patience ended */
    char refusal[256];                                   /* the body of the first one */
} totals;
static struct samples latency, first_event, relay;

static void start_request(struct connection *connection, int64_t began_ns);

/* ---- connections ------------------------------------------------------------------------- */

static void watch(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll, operation, connection->fd, &event) != 0)
        die("epoll_ctl");
}

static void close_connection(struct connection *connection)
{
    if (connection->state == IDLE || connection->state == BUSY)
        connected--;
    close(connection->fd);
    connection->state = CLOSED;
}

/* Closes, to be opened again a little later. */
static void give_up_for_now(struct connection *connection)
{
    close_connection(connection);
    if (retry_ns < 0)
        retry_ns = now_ns() + RETRY_NS;
}

static void open_connection(struct connection *connection)
{
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        die("socket");
    int on = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->state = CONNECTING;
    if (connect(connection->fd, (struct sockaddr *)&gateway, sizeof gateway) != 0 &&
        errno != EINPROGRESS) {
        totals.outcomes[BROKEN]++;
        give_up_for_now(connection);
        return;
    }
    watch(connection, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

/* True when a connection that has nothing to do is to send its next request by itself. */
static bool sends_by_itself(const struct connection *connection)
{
    return options.mode != OPEN_LOOP && connection - connections < first_starts &&
           now_ns() < measure_until_ns;
}

static void become_idle(struct connection *connection)
{
    connection->state = IDLE;
    if (sends_by_itself(connection))
        start_request(connection, now_ns());
}

static void end_connecting(struct connection *connection)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        totals.outcomes[BROKEN]++;
        give_up_for_now(connection);
        return;
    }
    connected++;
    watch(connection, EPOLL_CTL_MOD, EPOLLIN);
    become_idle(connection);
}

static void reopen_closed(void)
{
    retry_ns = -1;
    for (int i = 0; i < opened; i++)
        if (connections[i].state == CLOSED)
            open_connection(&connections[i]);
}

/* ---- requests and answers ---------------------------------------------------------------- */

static enum outcome judge(const struct connection *connection)
{
    const struct response *response = &connection->response;
    if (response->status == 0)
        return BROKEN;
    if (response->status != 200)
        return REFUSED;
    if (response->phase != RESPONSE_COMPLETE && response->phase != UNSIZED_BODY)
        return INCOMPLETE;
    if (options.stream && !stream_check_is_whole(&connection->check, options.events))
        return INCOMPLETE;
    return COMPLETE;
}

static bool is_measured(int64_t at_ns)
{
    return at_ns >= measure_from_ns && at_ns <= measure_until_ns;
}

/* Books a request that has ended, one way or the other. */
static void finish_request(struct connection *connection)
{
    int64_t now = now_ns();
    enum outcome outcome = judge(connection);
    totals.outcomes[outcome]++;
    busy--;
    if (connection->has_event)
        holding--;
    if (outcome == COMPLETE && is_measured(now))
        totals.requests_in_time++;
    if (outcome == COMPLETE && is_measured(options.mode == OPEN_LOOP ? connection->began_ns : now))
        samples_add(&latency, now - connection->began_ns);
    if (outcome == BROKEN) {
        give_up_for_now(connection);
    } else if (options.mode == HOLD) { /* a stream that ends is not followed by another */
        close_connection(connection);
    } else if (connection->response.phase == RESPONSE_COMPLETE && !connection->response.closes) {
        become_idle(connection);
    } else {
        close_connection(connection);
        open_connection(connection);
    }
}

static void send_rest(struct connection *connection)
{
    ssize_t taken = send(connection->fd, request + connection->sent,
                         request_length - connection->sent, MSG_NOSIGNAL);
    if (taken > 0)
        connection->sent += (size_t)taken;
    if (connection->sent < request_length) /* an error, if it is one, is seen when reading */
        watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void start_request(struct connection *connection, int64_t began_ns)
{
    connection->state = BUSY;
    connection->began_ns = began_ns;
    connection->sent = 0;
    connection->has_event = false;
    response_reset(&connection->response);
    stream_check_reset(&connection->check);
    busy++;
    send_rest(connection);
}

/* What was received at one time, on one connection. */
struct arrival {
    struct connection *connection;
    int64_t at_ns;
};

static void take_event(void *context, int64_t sent_ns)
{
    struct arrival *arrival = context;
    bool measured = options.mode == HOLD || is_measured(arrival->at_ns);
    totals.events++;
    if (measured)
        totals.events_in_time++;
    if (measured && sent_ns > 0)
        samples_add(&relay, arrival->at_ns - sent_ns);
    if (arrival->connection->has_event)
        return;
    arrival->connection->has_event = true;
    holding++;
    if (measured)
        samples_add(&first_event, arrival->at_ns - arrival->connection->began_ns);
}

static void take_body(void *context, const char *bytes, size_t length)
{
    struct arrival *arrival = context;
    if (arrival->connection->response.status != 200) {
        if (totals.refusal[0] == '\0')
            snprintf(totals.refusal, sizeof totals.refusal, "%.*s", (int)length, bytes);
    } else if (options.stream) {
        stream_check_feed(&arrival->connection->check, bytes, length, take_event, arrival);
    }
}

static void receive(struct connection *connection)
{
    static char bytes[256 << 10];
    ssize_t taken = recv(connection->fd, bytes, sizeof bytes, 0);
    if (taken < 0 && errno == EAGAIN)
        return;
    if (connection->state != BUSY) { /* closed while idle, or bytes nobody asked for */
        give_up_for_now(connection);
        return;
    }
    if (taken <= 0) {
        finish_request(connection);
        return;
    }
    totals.bytes += (unsigned long long)taken;
    struct arrival arrival = {connection, now_ns()};
    response_feed(&connection->response, bytes, (size_t)taken, take_body, &arrival);
    if (connection->response.phase >= RESPONSE_COMPLETE)
        finish_request(connection);
}

static void handle(struct connection *connection, uint32_t happened)
{
    if (connection->state == CONNECTING) {
        end_connecting(connection);
        return;
    }
    if ((happened & EPOLLOUT) && connection->state == BUSY) {
        watch(connection, EPOLL_CTL_MOD, EPOLLIN);
        send_rest(connection);
    }
    if (happened & (EPOLLIN | EPOLLHUP | EPOLLERR))
        receive(connection);
}

/* Waits for what happens next, at most until `deadline_ns`, and handles it. */
static void turn(int64_t deadline_ns)
{
    struct epoll_event happened[256];
    if (retry_ns >= 0 && retry_ns < deadline_ns)
        deadline_ns = retry_ns;
    int count = wait_until(epoll, happened, 256, deadline_ns);
    for (int i = 0; i < count; i++)
        handle(happened[i].data.ptr, happened[i].events);
    if (retry_ns >= 0 && now_ns() >= retry_ns)
        reopen_closed();
}

/* ---- the three modes --------------------------------------------------------------------- */

/* Closed loop: lets connections send their first request; returns when the next one may. */
static int64_t start_first_requests(int64_t started_ns)
{
    /* Paced streams begin spread over one pace, or all their events would fall due together. */
    int64_t step_ns = options.pace_us * NS_PER_US / options.connections;
    while (first_starts < options.connections) {
        int64_t due_ns = started_ns + first_starts * step_ns;
        if (due_ns > now_ns())
            return due_ns;
        struct connection *connection = &connections[first_starts++];
        if (connection->state == IDLE)
            start_request(connection, now_ns());
    }
    return measure_until_ns;
}

/* Open loop: sends what is due while connections are free; returns when the next one is due. */
static int64_t start_due_requests(void)
{
    static int next;
    int64_t step_ns = (int64_t)((double)NS_PER_S / options.rate_per_s);
    int64_t now = now_ns();
    for (int tried = 0; next_due_ns <= now && next_due_ns < measure_until_ns; ) {
        struct connection *connection = &connections[next++ % options.connections];
        if (connection->state == IDLE) {
            start_request(connection, next_due_ns);
            next_due_ns += step_ns;
            tried = 0;
        } else if (++tried == options.connections) {
            return measure_until_ns; /* none is free: an answer will wake us */
        }
    }
    return next_due_ns;
}

static void run_loop(void)
{
    int64_t patience_ns = now_ns() + 5 * NS_PER_S;
    for (; opened < options.connections; opened++)
        open_connection(&connections[opened]);
    while (connected < options.connections && now_ns() < patience_ns)
        turn(patience_ns);
    int64_t started_ns = now_ns();
    next_due_ns = started_ns;
    measure_from_ns = started_ns + (int64_t)(options.warmup_s * NS_PER_S);
    measure_until_ns = measure_from_ns + (int64_t)(options.duration_s * NS_PER_S);
    while (now_ns() < measure_until_ns)
        turn(options.mode == OPEN_LOOP ? start_due_requests() : start_first_requests(started_ns));
    int64_t give_up_ns = measure_until_ns + (int64_t)(options.grace_s * NS_PER_S);
    for (;;) { /* answers under way, and what was due and could not be sent yet */
        if (options.mode == OPEN_LOOP)
            start_due_requests();
        bool backlog = options.mode == OPEN_LOOP && next_due_ns < measure_until_ns;
        if ((busy == 0 && !backlog) || now_ns() >= give_up_ns)
            break;
        turn(give_up_ns);
    }
    totals.unfinished = (unsigned long long)busy;
    totals.outcomes[INCOMPLETE] += totals.unfinished;
    if (options.mode == OPEN_LOOP)
        for (; next_due_ns < measure_until_ns; totals.unsent++)
            next_due_ns += (int64_t)((double)NS_PER_S / options.rate_per_s);
}

static void hold_streams(void)
{
    first_starts = options.connections;
    measure_until_ns = INT64_MAX;
    int64_t give_up_ns = now_ns() + RAMP_LIMIT_NS;
    unsigned long long *outcomes = totals.outcomes;
    for (;;) {
        int ended = (int)(outcomes[COMPLETE] + outcomes[REFUSED] + outcomes[INCOMPLETE]);
        while (opened < options.connections && opened - ended - holding < RAMP)
            open_connection(&connections[opened++]);
        if (holding + ended >= options.connections || now_ns() >= give_up_ns)
            break;
        turn(give_up_ns);
    }
    fprintf(stderr, "holding %d\n", holding);
    int64_t until_ns = now_ns() + (int64_t)(options.duration_s * NS_PER_S);
    while (now_ns() < until_ns)
        turn(until_ns);
}

static void report(void)
{
    static const char *const modes[] = {"closed", "open", "hold"};
    printf("{\"mode\":\"%s\",\"connections\":%d,\"seconds\":%g", modes[options.mode],
           options.connections, options.duration_s);
    printf(",\"complete\":%llu,\"refused\":%llu,\"incomplete\":%llu,\"broken\":%llu",
           totals.outcomes[COMPLETE], totals.outcomes[REFUSED], totals.outcomes[INCOMPLETE],
           totals.outcomes[BROKEN]);
    printf(",\"unfinished\":%llu,\"unsent\":%llu,\"holding\":%d", totals.unfinished, totals.unsent,
           options.mode == HOLD ? holding : 0);
    printf(",\"requests\":%llu,\"requests_per_s\":%.1f,\"bytes\":%llu", totals.requests_in_time,
           (double)totals.requests_in_time / options.duration_s, totals.bytes);
    samples_print(&latency, "latency_us");
    if (options.stream) {
        printf(",\"events\":%llu,\"events_per_s\":%.1f", totals.events,
               (double)totals.events_in_time / options.duration_s);
        samples_print(&first_event, "first_event_us");
        samples_print(&relay, "relay_us");
    }
    printf("}\n");
    if (totals.refusal[0] != '\0')
        fprintf(stderr, "first refusal: %s\n", totals.refusal);
}

int main(int argc, char **argv)
{
    read_options(&options, argc, argv);
    raise_file_limit();
    request = build_request(&options, &request_length);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    gateway = (struct sockaddr_in){.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)options.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    connections = calloc((size_t)options.connections, sizeof *connections);
    if (connections == NULL)
        die("calloc");
    if (options.mode == HOLD)
        hold_streams();
    else
        run_loop();
    report();
    return 0;
}
