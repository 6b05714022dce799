#include "draft.h"

#include "store/txn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct draft *draft_new(bool whole)
{
    struct draft *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        abort();
    }
    d->keep = whole ? 0 : TXN_KEEP_ALL;
    return d;
}

static void ranges_drop(struct draft *d, size_t from, size_t to)
{
    assert(from <= to && to <= d->n_ranges);
    for (size_t i = from; i < to; i++) {
        free(d->ranges[i].bytes);
    }
    if (from != to) {
        memmove(&d->ranges[from], &d->ranges[to], (d->n_ranges - to) * sizeof(d->ranges[0]));
        d->n_ranges -= to - from;
    }
}

void draft_free(struct draft *d)
{
    if (d == NULL) {
        return;
    }
    ranges_drop(d, 0, d->n_ranges);
    free(d->ranges);
    free(d);
}

static uint64_t range_end(const struct draft_range *r)
{
    return r->offset + r->len;
}

/* The first range that ends at or after `offset`: the first that a write there could touch. */
static size_t range_at(const struct draft *d, uint64_t offset)
{
    size_t low = 0;
    size_t high = d->n_ranges;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (range_end(&d->ranges[mid]) < offset) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* False when memory is out: the size is the writer's choice, so it fails the write and not the daemon. */
static bool range_reserve(struct draft_range *r, uint32_t len)
{
    uint64_t cap = r->cap < 64 ? 64 : r->cap;
    uint8_t *bytes;

    if (len <= r->cap) {
        return true;
    }
    while (cap < len) {
        cap *= 2;
    }
    if (cap > UINT32_MAX) {
        cap = UINT32_MAX;
    }
    bytes = realloc(r->bytes, cap);
    if (bytes == NULL) {
        return false;
    }
    r->bytes = bytes;
    r->cap = (uint32_t)cap;
    return true;
}

static int range_insert(struct draft *d, size_t at, uint64_t offset, const void *bytes, uint32_t len)
{
    struct draft_range r = {.offset = offset, .len = len};

    if (d->n_ranges == TXN_RANGES_MAX) {
        return -EFBIG;
    }
    if (d->n_ranges == d->cap) {
        size_t cap = d->cap == 0 ? 4 : d->cap * 2;
        struct draft_range *ranges = realloc(d->ranges, cap * sizeof(ranges[0]));
        if (ranges == NULL) {
            return -ENOMEM;
        }
        d->ranges = ranges;
        d->cap = cap;
    }
    if (!range_reserve(&r, len)) {
        return -ENOMEM;
    }
    memcpy(r.bytes, bytes, len);
    memmove(&d->ranges[at + 1], &d->ranges[at], (d->n_ranges - at) * sizeof(d->ranges[0]));
    d->ranges[at] = r;
    d->n_ranges++;
    return 0;
}

/* Joins the ranges first..last-1, which all touch the new bytes, and the new bytes into one range. */
static int range_merge(struct draft *d, size_t first, size_t last, uint64_t offset, const void *bytes, uint32_t len)
{
    struct draft_range *r = &d->ranges[first];
    const struct draft_range *tail = &d->ranges[last - 1];
    uint64_t start = r->offset < offset ? r->offset : offset;
    uint64_t end = range_end(tail) > offset + len ? range_end(tail) : offset + len;

    if (end - start > UINT32_MAX) {
        return -EFBIG;
    }
    if (!range_reserve(r, (uint32_t)(end - start))) {
        return -ENOMEM;
    }
    memmove(r->bytes + (r->offset - start), r->bytes, r->len);
    for (size_t i = first + 1; i < last; i++) {
        memcpy(r->bytes + (d->ranges[i].offset - start), d->ranges[i].bytes, d->ranges[i].len);
    }
    memcpy(r->bytes + (offset - start), bytes, len);
    r->offset = start;
    r->len = (uint32_t)(end - start);
    ranges_drop(d, first + 1, last);
    return 0;
}

int draft_write(struct draft *d, uint64_t offset, const void *bytes, uint32_t len, uint64_t size_max)
{
    size_t first;
    size_t last;

    if (offset > size_max || len > size_max - offset) {
        return -EFBIG;
    }
    if (len == 0) {
        return 0;
    }
    first = range_at(d, offset);
    last = first;
    while (last < d->n_ranges && d->ranges[last].offset <= offset + len) {
        last++;
    }
    if (first == last) {
        return range_insert(d, first, offset, bytes, len);
    }
    return range_merge(d, first, last, offset, bytes, len);
}

int draft_truncate(struct draft *d, uint64_t size, uint64_t size_max)
{
    size_t at;

    if (size > size_max) {
        return -EFBIG;
    }
    at = range_at(d, size);
    if (at < d->n_ranges && d->ranges[at].offset < size) {
        struct draft_range *r = &d->ranges[at];
        if (range_end(r) > size) {
            r->len = (uint32_t)(size - r->offset);
        }
        at++;
    }
    ranges_drop(d, at, d->n_ranges);
    if (size < d->keep) {
        d->keep = size;
    }
    d->size_min = size;
    return 0;
}

static uint64_t base_kept(const struct draft *d, uint64_t base_len)
{
    return base_len < d->keep ? base_len : d->keep;
}

uint64_t draft_size(const struct draft *d, uint64_t base_len)
{
    uint64_t size = base_kept(d, base_len);

    if (size < d->size_min) {
        size = d->size_min;
    }
    if (d->n_ranges > 0 && size < range_end(&d->ranges[d->n_ranges - 1])) {
        size = range_end(&d->ranges[d->n_ranges - 1]);
    }
    return size;
}

size_t draft_read(const struct draft *d, const uint8_t *base, uint64_t base_len, uint64_t offset, void *out, size_t len)
{
    uint64_t size = draft_size(d, base_len);
    uint64_t kept = base_kept(d, base_len);
    uint8_t *to = out;

    if (offset >= size) {
        return 0;
    }
    if (len > size - offset) {
        len = (size_t)(size - offset);
    }
    memset(to, 0, len);
    if (offset < kept) {
        memcpy(to, base + offset, len < kept - offset ? len : (size_t)(kept - offset));
    }
    for (size_t i = range_at(d, offset); i < d->n_ranges && d->ranges[i].offset < offset + len; i++) {
        const struct draft_range *r = &d->ranges[i];
        uint64_t start = r->offset > offset ? r->offset : offset;
        uint64_t end = range_end(r) < offset + len ? range_end(r) : offset + len;
        if (start < end) {
            memcpy(to + (start - offset), r->bytes + (start - r->offset), (size_t)(end - start));
        }
    }
    return len;
}
