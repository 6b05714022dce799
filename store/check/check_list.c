/*
 * check_list: what is in a segment and in a snapshot.
 *
 * A transaction names inodes; their paths are known where the state before it is: behind a snapshot, or from the first
 * transaction on. What came of a transaction is not in the log: it is decided when it is applied.
 */
#include "check.h"

#include "store/state_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {[NODE_FILE] = "file", [NODE_DIR] = "directory", [NODE_SYMLINK] = "symlink"};

bool check_lists(const struct check *c, bool listed, const char *name)
{
    if (!listed || c->n_files == 0) {
        return listed;
    }
    for (size_t i = 0; i < c->n_files; i++) {
        if (strcmp(c->files[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void out_path(struct out *o, const char *key, const struct node *n, const char *name, size_t name_len)
{
    size_t len = node_path(n, NULL, 0);
    char *path = malloc(len + 1 + name_len + 1);

    if (path == NULL) {
        abort();
    }
    (void)node_path(n, path, len + 1);
    if (name != NULL) {
        len = len == 1 ? 0 : len; /* the root ends with a slash already */
        path[len++] = '/';
        memcpy(path + len, name, name_len);
        len += name_len;
    }
    out_bytes(o, key, path, len);
    free(path);
}

/* A znode, or with a name its child, by path if that is known; the inode number always. */
static void out_place(struct check *c, const char *key, const char *ino_key, uint64_t ino, const char *name,
                      size_t name_len)
{
    const struct node *n = c->paths == NULL ? NULL : tree_by_ino(state_tree(c->paths), ino);

    if (n != NULL) {
        out_path(&c->out, key, n, name, name_len);
    } else if (name != NULL) {
        out_bytes(&c->out, key, name, name_len);
    }
    out_number(&c->out, ino_key, ino);
}

static uint64_t range_bytes(const struct op *op)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < op->n_ranges; i++) {
        bytes += op->ranges[i].len;
    }
    return bytes;
}

static void out_op(struct check *c, const struct op *op)
{
    struct out *o = &c->out;

    out_word(o, "op", op_kind_name(op->kind));
    switch (op->kind) {
    case OP_NOP:
    case OP_KIND_COUNT:
        break;
    case OP_ENSEMBLE:
        out_hex(o, "ensemble", op->id);
        break;
    case OP_SESSION_OPEN:
        out_hex(o, "opens", op->ino);
        out_number(o, "server", op->id);
        break;
    case OP_CREATE:
        out_place(c, "path", "parent", op->ino, op->name, op->name_len);
        out_word(o, "kind", kind_names[op->node_kind]);
        out_mode(o, "mode", op->mode);
        out_number(o, "bytes", op->data_len);
        break;
    case OP_WRITE:
        out_place(c, "path", "ino", op->ino, NULL, 0);
        out_number(o, "ranges", op->n_ranges);
        out_number(o, "bytes", range_bytes(op));
        break;
    case OP_APPEND:
        out_place(c, "path", "ino", op->ino, NULL, 0);
        out_number(o, "bytes", op->data_len);
        break;
    case OP_SETATTR:
        out_place(c, "path", "ino", op->ino, NULL, 0);
        out_hex(o, "mask", op->mask);
        break;
    case OP_REMOVE:
        out_place(c, "path", "parent", op->ino, op->name, op->name_len);
        break;
    case OP_RENAME:
        out_place(c, "path", "parent", op->ino, op->name, op->name_len);
        out_place(c, "to", "new_parent", op->new_ino, op->new_name, op->new_name_len);
        out_number(o, "flags", op->flags);
        break;
    case OP_SETXATTR:
    case OP_REMOVEXATTR:
        out_place(c, "path", "ino", op->ino, NULL, 0);
        out_bytes(o, "xattr", op->name, op->name_len);
        out_number(o, "bytes", op->data_len);
        break;
    }
}

/* Finds the state before the transaction, if a snapshot or the one before it leads there. */
static void find_paths(struct check *c, const struct txnlog_record *r)
{
    if (c->paths != NULL && state_zxid(c->paths) == r->zxid_prev) {
        return;
    }
    state_free(c->paths);
    c->paths = r->zxid_prev == 0 ? state_new() : NULL;
    for (size_t i = 0; i < c->n_snapshots; i++) {
        if (c->snapshots[i] == r->zxid_prev && snapshot_load(c->disk, r->zxid_prev, &c->paths, NULL) != 0) {
            c->paths = NULL;
        }
    }
}

static int list_record(void *arg, const struct txnlog_record *r)
{
    const struct request *request;
    struct txn_decoded decoded;
    struct check *c = arg;
    struct outcome outcome;
    char name[32];

    (void)snprintf(name, sizeof(name), "0x%" PRIx64, r->zxid);
    out_begin(&c->out, "txn", name);
    if (txn_decode(r->payload, r->len, &decoded) != 0) {
        out_number(&c->out, "undecodable", r->len);
        out_end(&c->out);
        return 0;
    }
    find_paths(c, r);
    request = &decoded.txn.request;
    out_time(&c->out, "time", decoded.txn.time_ns);
    out_hex(&c->out, "session", request->session);
    out_number(&c->out, "seq", request->seq);
    out_op(c, &request->op);
    out_end(&c->out);
    if (c->paths != NULL) {
        state_apply(c->paths, r->zxid, &decoded.txn, &outcome);
    }
    txn_decoded_release(&decoded);
    return 0;
}

void check_list_segment(struct check *c, struct scanner *s, bool is_last)
{
    struct segment_look look;

    /* It was looked at before: what is wrong with it has been told. */
    if (segment_look_header(s, is_last, &look, NULL) == 0 && !look.header_torn) {
        (void)segment_look_records(s, is_last, list_record, c, &look, NULL);
    }
}

static void list_node(struct check *c, const struct node *n)
{
    struct out *o = &c->out;

    out_begin(o, "znode", NULL);
    out_path(o, "path", n, NULL, 0);
    out_number(o, "ino", n->ino);
    out_word(o, "kind", kind_names[n->kind]);
    out_mode(o, "mode", n->mode);
    out_number(o, "uid", n->uid);
    out_number(o, "gid", n->gid);
    out_number(o, "bytes", n->data_len);
    out_number(o, "children", n->dir == NULL ? 0 : n->dir->n_children);
    out_number(o, "xattrs", node_xattr_count(n));
    out_number(o, "version", n->version);
    out_number(o, "cversion", n->cversion);
    out_number(o, "aversion", n->aversion);
    out_hex(o, "czxid", n->czxid);
    out_hex(o, "mzxid", n->mzxid);
    out_hex(o, "pzxid", n->pzxid);
    out_time(o, "ctime", n->btime_ns);
    out_time(o, "mtime", n->mtime_ns);
    out_end(o);
}

static void list_session(struct check *c, const struct session *s)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "0x%" PRIx64, s->id);
    out_begin(&c->out, "session", name);
    out_number(&c->out, "server", s->server);
    out_hex(&c->out, "used", s->zxid_used);
    out_number(&c->out, "lowest", s->lowest);
    out_number(&c->out, "outcomes", s->n);
    out_end(&c->out);
}

void check_list_state(struct check *c, const struct state *s)
{
    for (const struct session *session = s->sessions.oldest; session != NULL; session = session->next) {
        list_session(c, session);
    }
    for (const struct node *n = s->tree->root; n != NULL; n = tree_next(s->tree->root, n)) {
        list_node(c, n);
    }
}
