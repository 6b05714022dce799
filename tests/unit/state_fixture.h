/*
 * state_fixture: one session that drives a state, one call per op, and a random driver that repeats from a seed.
 */
#ifndef TESTS_UNIT_STATE_FIXTURE_H
#define TESTS_UNIT_STATE_FIXTURE_H

#include "store/state.h"

#define FIXTURE_SESSION 0x5e5510

struct fixture {
    struct state *s;
    uint64_t zxid;
    uint64_t seq;
    int64_t now;
    uint32_t data_max;
    struct outcome last;
};

/* An empty state with the session open. */
void fixture_init(struct fixture *f);
void fixture_release(struct fixture *f);

/* Applies an op under the next seq, through its encoded form, as peers do; returns the outcome's errno. The incremental
 * digest must equal the one from scratch while the tree is small. */
int fixture_do(struct fixture *f, const struct op *op);

/* Applies a request as it is. */
struct outcome fixture_request(struct fixture *f, const struct request *r);

int fixture_create(struct fixture *f, uint64_t parent, const char *name, enum node_kind kind, const char *data);
int fixture_write(struct fixture *f, uint64_t ino, const char *data); /* whole new contents */
int fixture_append(struct fixture *f, uint64_t ino, const char *data);
int fixture_remove(struct fixture *f, uint64_t parent, const char *name, enum node_kind kind);
int fixture_rename(struct fixture *f, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
                   uint32_t flags);
int fixture_setxattr(struct fixture *f, uint64_t ino, const char *name, const void *value, uint32_t len,
                     uint32_t flags);

const struct node *fixture_node(const struct fixture *f, uint64_t ino);
uint64_t fixture_ino(const struct fixture *f, uint64_t parent, const char *name); /* 0 when absent */

/* xorshift64*: equal seeds, equal numbers. */
uint64_t fixture_random(uint64_t *seed);

/* One random op of any kind, often one that fails. */
void fixture_random_op(struct fixture *f, uint64_t *seed);

#endif
