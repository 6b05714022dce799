/* histogram: how long things took, in buckets as Prometheus wants them. Plain counters; one thread at a time. */
#ifndef CONSENSUS_HISTOGRAM_H
#define CONSENSUS_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Upper bounds from 50 us to 10 s; one bucket more is for what took longer. */
#define HISTOGRAM_BOUNDS 17

struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* each bucket's own, not cumulative */
    uint64_t sum_ns;
};

void histogram_add(struct histogram *h, uint64_t ns);

/* The i-th upper bound in nanoseconds, i < HISTOGRAM_BOUNDS. */
uint64_t histogram_bound_ns(size_t i);

#endif
