#include "sim_lin.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* What may be remembered: beyond that the history is too hard. A power of two. */
#define TRIED_MAX ((size_t)1 << 17)

struct tried {
    uint64_t done; /* which calls */
    uint64_t contents;
    bool used;
};

struct search {
    const struct lin_op *ops;
    size_t n;
    uint64_t answered; /* calls that must be in the order */
    struct tried *tried;
    size_t n_tried;
    bool too_hard;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t lin_contents(uint64_t before, uint32_t value)
{
    uint64_t contents = mix(before + mix(value + 0x9e3779b97f4a7c15u));

    return contents > LIN_EMPTY ? contents : contents + 2;
}

/* What the call does to the key; the errno that it is answered. */
static int effect(const struct lin_op *op, uint64_t *contents)
{
    bool is_there = *contents != LIN_ABSENT;

    switch (op->kind) {
    case LIN_CREATE:
        if (is_there) {
            return EEXIST;
        }
        *contents = lin_contents(LIN_EMPTY, op->value);
        return 0;
    case LIN_READ:
        return 0;
    default:
        break;
    }
    if (!is_there) {
        return ENOENT;
    }
    if (op->kind == LIN_REMOVE) {
        *contents = LIN_ABSENT;
    } else {
        *contents = lin_contents(op->kind == LIN_SET ? LIN_EMPTY : *contents, op->value);
    }
    return 0;
}

/* Could it happen now, with the answer that it got? */
static bool fits(const struct lin_op *op, uint64_t *contents)
{
    uint64_t before = *contents;
    int err = effect(op, contents);

    if (op->answered == LIN_NEVER) {
        return true;
    }
    return err == op->err && (op->kind != LIN_READ || op->contents == before);
}

/* False if this was tried before. */
static bool remember(struct search *s, uint64_t done, uint64_t contents)
{
    size_t at = (size_t)mix(done ^ mix(contents)) & (TRIED_MAX - 1);

    if (s->n_tried >= TRIED_MAX / 2) {
        s->too_hard = true;
        return false;
    }
    for (; s->tried[at].used; at = (at + 1) & (TRIED_MAX - 1)) {
        if (s->tried[at].done == done && s->tried[at].contents == contents) {
            return false;
        }
    }
    s->tried[at] = (struct tried){.done = done, .contents = contents, .used = true};
    s->n_tried++;
    return true;
}

/* At most LIN_OPS_MAX deep. */
static bool order(struct search *s, uint64_t done, uint64_t contents)
{
    uint64_t first_answer = LIN_NEVER;
    uint64_t next;
    size_t i;

    if ((done & s->answered) == s->answered) {
        return true;
    }
    for (i = 0; i < s->n; i++) {
        if ((done >> i & 1) == 0 && s->ops[i].answered < first_answer) {
            first_answer = s->ops[i].answered;
        }
    }
    /* Nothing that was asked after an answer may come before it. */
    for (i = 0; i < s->n; i++) {
        next = contents;
        if ((done >> i & 1) == 0 && s->ops[i].asked < first_answer && fits(&s->ops[i], &next) &&
            remember(s, done | UINT64_C(1) << i, next) && order(s, done | UINT64_C(1) << i, next)) {
            return true;
        }
    }
    return false;
}

enum lin_verdict lin_check(const struct lin_op *ops, size_t n)
{
    struct search s = {.ops = ops, .n = n};
    uint64_t done = 0;
    bool found;
    size_t i;

    assert(n <= LIN_OPS_MAX);
    for (i = 0; i < n; i++) {
        if (ops[i].is_void) {
            done |= UINT64_C(1) << i;
        } else if (ops[i].answered != LIN_NEVER) {
            s.answered |= UINT64_C(1) << i;
        }
    }
    s.tried = calloc(TRIED_MAX, sizeof(*s.tried));
    if (s.tried == NULL) {
        abort();
    }
    found = order(&s, done, LIN_ABSENT);
    free(s.tried);
    return found ? LIN_YES : s.too_hard ? LIN_TOO_HARD : LIN_NO;
}
