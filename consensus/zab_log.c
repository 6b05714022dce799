#include "zab_int.h"

#include <stdlib.h>
#include <string.h>

void zab_log_init(struct zab_log *log, uint64_t base)
{
    memset(log, 0, sizeof(*log));
    log->base = base;
}

static void zab_log_drop_all(struct zab_log *log)
{
    size_t i;

    for (i = 0; i < log->n; i++) {
        buf_unref(log->entries[log->head + i].body);
    }
    log->head = 0;
    log->n = 0;
    log->bytes = 0;
}

void zab_log_release(struct zab_log *log)
{
    zab_log_drop_all(log);
    free(log->entries);
    log->entries = NULL;
    log->cap = 0;
}

void zab_log_reset(struct zab_log *log, uint64_t base)
{
    zab_log_drop_all(log);
    log->base = base;
}

uint64_t zab_log_last(const struct zab_log *log)
{
    if (log->n == 0) {
        return log->base;
    }
    return log->entries[log->head + log->n - 1].zxid;
}

/* Room for one more at the end: the dropped head is reused before anything is allocated. */
static void zab_log_make_room(struct zab_log *log)
{
    if (log->head + log->n < log->cap) {
        return;
    }
    if (log->head > log->cap / 2) {
        memmove(log->entries, log->entries + log->head, log->n * sizeof(*log->entries));
        log->head = 0;
        return;
    }
    log->cap = log->cap == 0 ? 64 : log->cap * 2;
    log->entries = realloc(log->entries, log->cap * sizeof(*log->entries));
    if (log->entries == NULL) {
        abort();
    }
}

void zab_log_append(struct zab_log *log, const struct zab_entry *entry)
{
    assert(entry->zxid_prev == zab_log_last(log));
    assert(entry->zxid > entry->zxid_prev);
    zab_log_make_room(log);
    log->entries[log->head + log->n] = *entry;
    log->entries[log->head + log->n].bytes_before = log->bytes_ever;
    log->bytes_ever += entry->body->len;
    buf_ref(entry->body);
    log->n++;
    log->bytes += entry->body->len;
}

size_t zab_log_after(const struct zab_log *log, uint64_t zxid)
{
    size_t low = 0;
    size_t high = log->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (log->entries[log->head + mid].zxid <= zxid) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static uint64_t bytes_before(const struct zab_log *log, size_t i)
{
    return i < log->n ? zab_log_at(log, i)->bytes_before : log->bytes_ever;
}

/* What was truncated in between is counted: it is only a bound. */
uint64_t zab_log_bytes(const struct zab_log *log, uint64_t zxid, uint64_t until)
{
    if (until <= zxid) {
        return 0;
    }
    return bytes_before(log, zab_log_after(log, until)) - bytes_before(log, zab_log_after(log, zxid));
}

const struct zab_entry *zab_log_at(const struct zab_log *log, size_t i)
{
    assert(i < log->n);
    return &log->entries[log->head + i];
}

bool zab_log_floor(const struct zab_log *log, uint64_t zxid, uint64_t *ret_floor)
{
    size_t after;

    if (zxid < log->base) {
        return false;
    }
    after = zab_log_after(log, zxid);
    *ret_floor = after == 0 ? log->base : zab_log_at(log, after - 1)->zxid;
    return true;
}

void zab_log_truncate(struct zab_log *log, uint64_t zxid)
{
    assert(zxid >= log->base);
    while (log->n > 0 && zab_log_last(log) > zxid) {
        struct zab_entry *last = &log->entries[log->head + log->n - 1];

        log->bytes -= last->body->len;
        buf_unref(last->body);
        log->n--;
    }
    assert(zab_log_last(log) == zxid);
}

void zab_log_trim(struct zab_log *log, uint64_t zxid, size_t bytes_max)
{
    while (log->n > 0 && log->bytes > bytes_max && log->entries[log->head].zxid <= zxid) {
        struct zab_entry *first = &log->entries[log->head];

        log->base = first->zxid;
        log->bytes -= first->body->len;
        buf_unref(first->body);
        log->head++;
        log->n--;
    }
}
