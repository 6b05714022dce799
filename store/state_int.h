/*
 * state_int: the inside of the state machine, shared by state_*.c and the snapshot.
 */
#ifndef STORE_STATE_INT_H
#define STORE_STATE_INT_H

#include "session.h"
#include "state.h"
#include "tree_int.h"

#define STATE_RESERVED_NAME ".znodefs" /* the control directory of every directory: nothing may be created there */

struct state {
    struct tree *tree;
    struct sessions sessions;
    uint64_t zxid;
    uint64_t ensemble;
    state_change_cb change_cb;
    void *change_arg;
};

/* One transaction while it is applied. */
struct apply {
    struct state *s;
    struct tree *t;
    const struct txn *txn;
    const struct op *op;
    uint64_t zxid;
    uint64_t ino; /* becomes the outcome's, unless the op fails */
};

/* A state without a root, for the snapshot reader. */
struct state *state_new_bare(void);

/* The digest's part of what belongs to neither a znode nor a session. */
uint64_t state_globals_digest(const struct state *s);

/* The ops: 0 or a negative errno; one that fails has changed nothing. */
int apply_create(struct apply *a);
int apply_remove(struct apply *a);
int apply_rename(struct apply *a);
int apply_write(struct apply *a);
int apply_append(struct apply *a);
int apply_setattr(struct apply *a);
int apply_setxattr(struct apply *a);
int apply_removexattr(struct apply *a);

/* -EINVAL for "", ".", ".." and names with '/' or NUL; -ENAMETOOLONG. */
int name_check(const char *name, size_t name_len);

/* Marks a change of the node's data, at the txn's time: version, mzxid, ctime and, with `set_mtime`, mtime. */
void touch_data(const struct apply *a, struct node *n, bool set_mtime);

/* Marks a change among a directory's children: cversion, pzxid and both times. */
void touch_parent(const struct apply *a, struct node *parent);

/* ctime never goes backwards. */
void touch_ctime(const struct apply *a, struct node *n);

void tell_change(const struct apply *a, enum change_kind kind, const struct node *n);
void tell_renamed(const struct apply *a, const struct node *n, uint64_t old_parent_ino, const char *old_name);

#endif
