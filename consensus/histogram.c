#include "histogram.h"

#include <assert.h>

#define US 1000ull
#define MS (1000 * US)

static const uint64_t bounds_ns[HISTOGRAM_BOUNDS] = {
    50 * US, 100 * US, 250 * US, 500 * US, 1 * MS,    2 * MS,    5 * MS,    10 * MS,    20 * MS,
    50 * MS, 100 * MS, 200 * MS, 500 * MS, 1000 * MS, 2000 * MS, 5000 * MS, 10000 * MS,
};

uint64_t histogram_bound_ns(size_t i)
{
    assert(i < HISTOGRAM_BOUNDS);
    return bounds_ns[i];
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    size_t i = 0;

    while (i < HISTOGRAM_BOUNDS && ns > bounds_ns[i]) {
        i++;
    }
    h->counts[i]++;
    h->sum_ns += ns;
}
