/* A growing list of durations and their percentiles. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct samples {
    int64_t *values_ns;
    size_t count, capacity;
};

void samples_add(struct samples *samples, int64_t value_ns);

/*
 * Prints `,"name":{"p50":…,"p90":…,"p99":…,"max":…}` in microseconds, or nulls
 * when there are no samples; sorts them.
 */
void samples_print(struct samples *samples, const char *name);

#endif
