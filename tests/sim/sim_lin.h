/*
 * sim_lin: is a history of calls on one key linearizable? Is there an order of the calls, each between when it was
 * asked and when it was answered, in which each gets the answer that it got?
 *
 *   J. Wing, C. Gong: "Testing and verifying concurrent objects", 1993
 *   G. Lowe: "Testing for linearizability", 2017 (what was tried is remembered)
 *
 * A key is a file: absent, or its contents, which are the numbers that calls have put there.
 */
#ifndef TESTS_SIM_SIM_LIN_H
#define TESTS_SIM_SIM_LIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIN_OPS_MAX 64

enum lin_kind {
    LIN_CREATE, /* O_EXCL: EEXIST if it is there; contents [value] */
    LIN_REMOVE, /* ENOENT if it is not */
    LIN_SET,    /* contents [value]; ENOENT if it is absent */
    LIN_APPEND, /* contents + [value]; ENOENT if it is absent */
    LIN_READ,
};

#define LIN_NEVER UINT64_MAX

struct lin_op {
    enum lin_kind kind;
    uint32_t value;
    uint64_t asked;    /* of a clock that never stands still */
    uint64_t answered; /* LIN_NEVER: it may have happened at any time after, or not at all */
    int err;           /* what it was answered: 0 or an errno */
    uint64_t contents; /* and of a READ, what it saw: see lin_contents() */
    bool is_void;      /* it has certainly not happened */
};

#define LIN_ABSENT 0
/* The contents after `value` is put behind `before` (LIN_EMPTY: the first one). */
#define LIN_EMPTY 1
uint64_t lin_contents(uint64_t before, uint32_t value);

enum lin_verdict {
    LIN_YES,
    LIN_NO,
    LIN_TOO_HARD, /* after so many steps it is not known */
};

/* At most LIN_OPS_MAX calls; the key is absent at first. */
enum lin_verdict lin_check(const struct lin_op *ops, size_t n);

#endif
