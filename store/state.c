/*
 * state: one transaction after another: who asks (and whether that was answered before), then what it does.
 */
#include "state_int.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct state *state_new_bare(void)
{
    struct state *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        abort();
    }
    s->tree = tree_new();
    sessions_init(&s->sessions);
    return s;
}

struct state *state_new(void)
{
    struct state *s = state_new_bare();
    struct node *root = node_new(NODE_DIR, TREE_ROOT_INO, "", 0);

    root->mode = 0755;
    tree_insert(s->tree, NULL, root, 0);
    return s;
}

void state_free(struct state *s)
{
    if (s == NULL) {
        return;
    }
    tree_free(s->tree);
    sessions_release(&s->sessions);
    free(s);
}

bool state_free_some(struct state *s, size_t n)
{
    if (!tree_drain_some(s->tree, n)) {
        return false;
    }
    state_free(s);
    return true;
}

void state_on_change(struct state *s, state_change_cb cb, void *arg)
{
    s->change_cb = cb;
    s->change_arg = arg;
}

static void tell(const struct apply *a, const struct change *change)
{
    if (a->s->change_cb != NULL) {
        a->s->change_cb(a->s->change_arg, change);
    }
}

void tell_change(const struct apply *a, enum change_kind kind, const struct node *n)
{
    struct change change = {.kind = kind, .node = n, .zxid = a->zxid, .request = &a->txn->request};

    tell(a, &change);
}

void tell_renamed(const struct apply *a, const struct node *n, uint64_t old_parent_ino, const char *old_name)
{
    struct change change = {
        .kind = CHANGE_RENAMED,
        .node = n,
        .zxid = a->zxid,
        .request = &a->txn->request,
        .old_parent_ino = old_parent_ino,
        .old_name = old_name,
    };

    tell(a, &change);
}

/* The kernel drops cached pages when mtime differs, so two versions may never share one. */
static int64_t mtime_after(int64_t previous, int64_t now)
{
    if (now > previous) {
        return now;
    }
    return previous == INT64_MAX ? previous : previous + 1;
}

void touch_ctime(const struct apply *a, struct node *n)
{
    if (a->txn->time_ns > n->ctime_ns) {
        n->ctime_ns = a->txn->time_ns;
    }
}

void touch_data(const struct apply *a, struct node *n, bool set_mtime)
{
    n->version++;
    n->mzxid = a->zxid;
    if (set_mtime) {
        n->mtime_ns = mtime_after(n->mtime_ns, a->txn->time_ns);
    }
    touch_ctime(a, n);
}

void touch_parent(const struct apply *a, struct node *parent)
{
    parent->cversion++;
    parent->pzxid = a->zxid;
    parent->mtime_ns = mtime_after(parent->mtime_ns, a->txn->time_ns);
    touch_ctime(a, parent);
}

int name_check(const char *name, size_t name_len)
{
    if (name_len > TXN_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (name_len == 0 || (name_len == 1 && name[0] == '.') || (name_len == 2 && memcmp(name, "..", 2) == 0)) {
        return -EINVAL;
    }
    if (memchr(name, '/', name_len) != NULL || memchr(name, '\0', name_len) != NULL) {
        return -EINVAL;
    }
    return 0;
}

static int apply_ensemble(struct apply *a)
{
    if (a->op->id == 0) {
        return -EINVAL;
    }
    if (a->s->ensemble != 0) {
        return -EEXIST;
    }
    a->s->ensemble = a->op->id;
    return 0;
}

/* Never asked for under a session: one transaction uses one session only, which is what orders their list. */
static int apply_session_open(struct apply *a)
{
    if (a->op->ino == 0 || a->txn->request.session != 0) {
        return -EINVAL;
    }
    session_open(&a->s->sessions, a->op->ino, a->op->id, a->zxid);
    return 0;
}

static int apply_op(struct apply *a)
{
    switch (a->op->kind) {
    case OP_NOP:
        return 0;
    case OP_ENSEMBLE:
        return apply_ensemble(a);
    case OP_SESSION_OPEN:
        return apply_session_open(a);
    case OP_CREATE:
        return apply_create(a);
    case OP_WRITE:
        return apply_write(a);
    case OP_APPEND:
        return apply_append(a);
    case OP_SETATTR:
        return apply_setattr(a);
    case OP_REMOVE:
        return apply_remove(a);
    case OP_RENAME:
        return apply_rename(a);
    case OP_SETXATTR:
        return apply_setxattr(a);
    case OP_REMOVEXATTR:
        return apply_removexattr(a);
    case OP_KIND_COUNT:
        break;
    }
    return -EINVAL;
}

static void execute(struct state *s, uint64_t zxid, const struct txn *txn, struct outcome *ret_outcome)
{
    struct apply a = {.s = s, .t = s->tree, .txn = txn, .op = &txn->request.op, .zxid = zxid};
    int rv = apply_op(&a);

    assert(rv <= 0);
    ret_outcome->err = -rv;
    ret_outcome->zxid = zxid;
    ret_outcome->ino = rv == 0 ? a.ino : 0;
}

/* The replica's own requests, those that every peer may repeat: nothing else may be done without an identity. */
static bool needs_no_session(enum op_kind kind)
{
    return kind == OP_NOP || kind == OP_ENSEMBLE || kind == OP_SESSION_OPEN;
}

void state_apply(struct state *s, uint64_t zxid, const struct txn *txn, struct outcome *ret_outcome)
{
    const struct request *r = &txn->request;
    struct outcome refused = {.err = EIO, .zxid = zxid};
    const struct outcome *recorded;
    struct session *session;

    assert(zxid > s->zxid);
    s->zxid = zxid;
    if (r->session == 0) {
        if (needs_no_session(r->op.kind)) {
            execute(s, zxid, txn, ret_outcome);
        } else {
            *ret_outcome = refused;
        }
        return;
    }
    session = session_find(&s->sessions, r->session);
    if (session == NULL) {
        *ret_outcome = refused;
        return;
    }
    session_use(&s->sessions, session, r->seq_lowest, zxid);
    recorded = session_outcome(session, r->seq);
#ifdef ZNODEFS_MUTANT_EXECUTE_AGAIN
    if (recorded != NULL) {
        execute(s, zxid, txn, ret_outcome); /* Seeded fault. */
        return;
    }
#endif
    if (recorded != NULL) {
        *ret_outcome = *recorded;
        return;
    }
    if (r->seq < session->lowest || session->n == SESSION_RECORDS_MAX) {
        *ret_outcome = refused;
        return;
    }
    execute(s, zxid, txn, ret_outcome);
    /* An op under a session may have closed it. */
    session = session_find(&s->sessions, r->session);
    if (session != NULL) {
        session_record(&s->sessions, session, r->seq, ret_outcome);
    }
}

const struct tree *state_tree(const struct state *s)
{
    return s->tree;
}

uint64_t state_zxid(const struct state *s)
{
    return s->zxid;
}

uint64_t state_ensemble(const struct state *s)
{
    return s->ensemble;
}

/* What is neither in a node nor in a session. */
uint64_t state_globals_digest(const struct state *s)
{
    uint64_t words[] = {htole64(s->tree->next_ino), htole64(s->ensemble)};

    return XXH3_64bits(words, sizeof(words));
}

uint64_t state_digest(const struct state *s)
{
    return s->tree->digest + s->sessions.digest + state_globals_digest(s);
}

uint64_t state_digest_slow(const struct state *s)
{
    uint64_t sum = state_globals_digest(s) + sessions_digest_slow(&s->sessions);

    for (const struct node *n = s->tree->root; n != NULL; n = tree_next(s->tree->root, n)) {
        sum += node_digest(n);
    }
    return sum;
}

bool state_has_session(const struct state *s, uint64_t session)
{
    return session_find(&s->sessions, session) != NULL;
}
