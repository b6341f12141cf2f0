/* A growing list of durations and their percentiles. */
#include "samples.h"

#include "common.h"

void samples_add(struct samples *samples, int64_t value_ns)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? 65536 : 2 * samples->capacity;
        samples->values_ns =
            realloc(samples->values_ns, samples->capacity * sizeof *samples->values_ns);
        if (samples->values_ns == NULL)
            die("realloc");
    }
    samples->values_ns[samples->count++] = value_ns;
}

static int compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The sample nearest to the given share of all, in microseconds. */
static double percentile_us(const struct samples *samples, double share)
{
    size_t rank = (size_t)(share * (double)(samples->count - 1) + 0.5);
    return (double)samples->values_ns[rank] / NS_PER_US;
}

void samples_print(struct samples *samples, const char *name)
{
    if (samples->count == 0) {
        printf(",\"%s\":{\"p50\":null,\"p90\":null,\"p99\":null,\"max\":null}", name);
        return;
    }
    qsort(samples->values_ns, samples->count, sizeof *samples->values_ns, compare);
    printf(",\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name,
           percentile_us(samples, 0.50), percentile_us(samples, 0.90),
           percentile_us(samples, 0.99), percentile_us(samples, 1.00));
}
