/*
 * state: the replicated state machine: the tree, the identities with their record of outcomes, and the digest.
 *
 * Deterministic: equal states that apply equal txns stay equal, and so do their outcomes (design: 2.2). The
 * digest is a 64-bit sum of one hash per znode and per recorded outcome, kept up with each change in O(change).
 */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include "tree.h"
#include "txn.h"

struct state;

/* What a txn did, told while it is applied; several per txn are possible (a rename that replaces). */
enum change_kind {
    CHANGE_CREATED,
    CHANGE_REMOVED, /* told before anything is changed: still linked to its parent */
    CHANGE_RENAMED, /* told after; old_parent_ino and old_name say where it was. A RENAME_EXCHANGE tells two. */
    CHANGE_DATA,    /* publish, append or truncation */
    CHANGE_ATTR,    /* mode, owner, times */
    CHANGE_XATTR,
};

struct change {
    enum change_kind kind;
    const struct node *node;
    uint64_t zxid;
    const struct request *request; /* who asked */
    uint64_t old_parent_ino;       /* CHANGE_RENAMED */
    const char *old_name;
};

typedef void (*state_change_cb)(void *arg, const struct change *change);

/* An empty state: a root directory (mode 0755, uid 0), no ensemble id, zxid 0. */
struct state *state_new(void);
void state_free(struct state *s);
/* Frees about `n` of its nodes; true once all of it is freed. Nothing else may be done with it from the first call on.
 */
bool state_free_some(struct state *s, size_t n);

/* Tells `cb` of every change from now on; NULL to stop. */
void state_on_change(struct state *s, state_change_cb cb, void *arg);

/*
 * Applies `txn` as the transaction `zxid`, which must be greater than state_zxid(). Always succeeds: what the
 * request gets is in *ret_outcome (err is 0 or an errno). A request whose (session, seq) has an outcome already
 * is not executed again and gets that outcome; one of an unknown session, with a seq below the trimmed record, or
 * of a session whose record is full, gets EIO and is not executed. Under session 0 only OP_NOP, OP_ENSEMBLE and
 * OP_SESSION_OPEN are executed, the others get EIO.
 */
void state_apply(struct state *s, uint64_t zxid, const struct txn *txn, struct outcome *ret_outcome);

const struct tree *state_tree(const struct state *s);
uint64_t state_zxid(const struct state *s);     /* last applied, 0 if none */
uint64_t state_ensemble(const struct state *s); /* 0 before the first transaction */
uint64_t state_digest(const struct state *s);
uint64_t state_digest_slow(const struct state *s); /* computed from scratch, for tests and the simulator */
bool state_has_session(const struct state *s, uint64_t session);

#endif
