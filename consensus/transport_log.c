#include "transport_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#define REPEAT_MS  60000
#define LINE_BYTES 640

static uint64_t limiter_key(unsigned reason, const char *address)
{
    uint64_t key = XXH3_64bits_withSeed(address, strlen(address), (uint64_t)reason + 1);

    return key != 0 ? key : 1;
}

/* The slot of `key`; else the one that has been quiet for longest (a free one has said nothing since 0), unless it has
 * to be quiet for longer. */
static struct log_slot *limiter_slot(struct log_limiter *l, uint64_t key, bool refusal, uint64_t now_ms)
{
    struct log_slot *oldest = &l->slots[0];
    size_t i;

    for (i = 0; i < LOG_SLOTS; i++) {
        if (l->slots[i].key == key) {
            return &l->slots[i];
        }
        if (l->slots[i].said_ms < oldest->said_ms) {
            oldest = &l->slots[i];
        }
    }
    if (refusal && oldest->key != 0 && now_ms - oldest->said_ms < REPEAT_MS) {
        return NULL;
    }
    memset(oldest, 0, sizeof(*oldest));
    return oldest;
}

/* True if the line may be written now; *ret_repeats says how many were held back since the last. */
static bool limiter_admit(struct log_limiter *l, uint64_t key, bool refusal, uint64_t now_ms, uint64_t *ret_repeats)
{
    struct log_slot *slot = limiter_slot(l, key, refusal, now_ms);

    if (slot == NULL) {
        l->held++;
        return false;
    }
    if (slot->key == key && now_ms - slot->said_ms < REPEAT_MS) {
        slot->repeats++;
        return false;
    }
    *ret_repeats = slot->repeats;
    slot->key = key;
    slot->said_ms = now_ms;
    slot->repeats = 0;
    return true;
}

void log_limited(struct transport *t, unsigned reason, const char *address, const char *format, ...)
{
    char line[LINE_BYTES];
    bool refusal = reason < TRANSPORT_REFUSALS;
    uint64_t repeats;
    va_list args;
    int len;

    if (!limiter_admit(&t->limiter, limiter_key(reason, address), refusal, uv_now(t->loop), &repeats)) {
        return;
    }
    va_start(args, format);
    len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (len > 0 && (size_t)len < sizeof(line) && repeats > 0) {
        /* A cut line is still a line. */
        (void)snprintf(line + len, sizeof(line) - (size_t)len, " (and %llu times more since the last such line)",
                       (unsigned long long)repeats);
    }
    t->cb.log(t->cb.arg, line);
    if (refusal && t->limiter.held > 0) {
        (void)snprintf(line, sizeof(line), "refused %llu more from other addresses, without a line for each",
                       (unsigned long long)t->limiter.held);
        t->limiter.held = 0;
        t->cb.log(t->cb.arg, line);
    }
}
