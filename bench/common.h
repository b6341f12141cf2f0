/*
 * What the mock backend and the load tool share: the clock, waiting, the file limit, and the
 * marker that travels inside every streamed event.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#define NS_PER_US 1000LL
#define NS_PER_S 1000000000LL

/*
 * Each content event carries "@<19 digits>#<6 digits>": when the mock sent it (CLOCK_MONOTONIC,
 * nanoseconds; 0 when the event was built ahead of time) and its index in the stream. The load
 * tool computes the relay latency from the first and finds lost, repeated and reordered events
 * by the second.
 */
#define MARKER_TIME_DIGITS 19
#define MARKER_INDEX_DIGITS 6
#define MARKER_LENGTH (1 + MARKER_TIME_DIGITS + 1 + MARKER_INDEX_DIGITS)

static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* Ends the program: `what` could not be done, for the reason in errno. */
static inline void die(const char *what)
{
    perror(what);
    exit(2);
}

/* Waits for socket events until `deadline_ns` (forever when negative); returns their number. */
static inline int wait_until(int epoll, struct epoll_event *events, int capacity,
                             int64_t deadline_ns)
{
    struct timespec timeout = {0, 0};
    if (deadline_ns >= 0) {
        int64_t left_ns = deadline_ns - now_ns();
        if (left_ns > 0) {
            timeout.tv_sec = left_ns / NS_PER_S;
            timeout.tv_nsec = left_ns % NS_PER_S;
        }
    }
    int count = epoll_pwait2(epoll, events, capacity, deadline_ns >= 0 ? &timeout : NULL, NULL);
    if (count < 0 && errno != EINTR)
        die("epoll_pwait2");
    return count < 0 ? 0 : count;
}

/* Raises the soft limit of open files to the hard one. */
static inline void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

#endif
