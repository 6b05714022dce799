/*
 * snapshot_record: the records of a snapshot (drawn in snapshot.c) put into a state. Nothing gets in that state_apply()
 * could not have made: later ops rely on it.
 */
#include "snapshot_int.h"

#include <stdlib.h>

#define ERRNO_MAX 4095

/* Room is made ahead for so many znodes at most, whatever is claimed; the tables grow by themselves beyond. */
#define RESERVE_MAX (2u * 1024 * 1024)

/* The fields of one record. The first that does not fit sets `what`; all later ones read as zero. */
struct fields {
    const uint8_t *at;
    const uint8_t *end;
    const char *what;
};

static void refuse(struct fields *f, const char *what)
{
    if (f->what == NULL) {
        f->what = what;
    }
}

static const uint8_t *get_bytes(struct fields *f, uint64_t len)
{
    const uint8_t *bytes = f->at;

    if (f->what != NULL || len > (uint64_t)(f->end - f->at)) {
        refuse(f, "cut short");
        return NULL;
    }
    f->at += len;
    return bytes;
}

static uint64_t get_varint(struct fields *f, uint64_t max)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        const uint8_t *byte = get_bytes(f, 1);

        if (byte == NULL) {
            return 0;
        }
        if (shift == 63 && *byte > 1) {
            break;
        }
        value |= (uint64_t)(*byte & 0x7f) << shift;
        if (*byte < 0x80) {
            if (value > max) {
                break;
            }
            return value;
        }
    }
    refuse(f, "a number out of bounds");
    return 0;
}

static uint8_t get_u8(struct fields *f)
{
    const uint8_t *bytes = get_bytes(f, 1);

    return bytes == NULL ? 0 : *bytes;
}

static uint64_t get_u64(struct fields *f)
{
    const uint8_t *bytes = get_bytes(f, 8);

    return bytes == NULL ? 0 : le_get64(bytes);
}

static uint64_t get_difference(struct fields *f, uint64_t base)
{
    return base + unzigzag(get_varint(f, UINT64_MAX));
}

static void read_globals(struct snapshot_records *r, struct fields *f)
{
    uint64_t ensemble = get_u64(f);
    uint64_t next_ino = get_varint(f, UINT64_MAX);
    uint64_t znodes = get_varint(f, UINT64_MAX);

    if (f->what != NULL || r->globals_seen || next_ino <= TREE_ROOT_INO) {
        refuse(f, "globals twice or without inodes");
        return;
    }
    r->globals_seen = true;
    r->state->ensemble = ensemble;
    r->state->tree->next_ino = next_ino;
    tree_reserve(r->state->tree, znodes < RESERVE_MAX ? (size_t)znodes : RESERVE_MAX);
}

static void read_outcomes(struct snapshot_records *r, struct fields *f, struct session *s)
{
    uint32_t n = (uint32_t)get_varint(f, SESSION_RECORDS_MAX);
    uint64_t seq = 0;

    for (uint32_t i = 0; i < n && f->what == NULL; i++) {
        uint64_t step = get_varint(f, UINT64_MAX);
        struct outcome o;

        o.err = (int)get_varint(f, ERRNO_MAX);
        o.zxid = get_varint(f, r->state->zxid);
        o.ino = get_varint(f, UINT64_MAX);
        if ((i > 0 && step == 0) || step > UINT64_MAX - seq || seq + step < s->lowest) {
            refuse(f, "outcomes out of order");
        }
        seq += step;
        if (f->what == NULL) {
#ifdef ZNODEFS_MUTANT_FORGET_RECORD
            (void)o; /* Seeded fault. */
#else
            session_record(&r->state->sessions, s, seq, &o);
#endif
        }
    }
}

static void read_session(struct snapshot_records *r, struct fields *f)
{
    struct sessions *ss = &r->state->sessions;
    uint64_t id = get_u64(f);
    uint64_t server = get_varint(f, UINT64_MAX);
    uint64_t lowest = get_varint(f, UINT64_MAX);
    uint64_t zxid_used = get_varint(f, r->state->zxid);
    struct session *s;

    if (f->what != NULL) {
        return;
    }
    if (id == 0 || ss->by_id.count >= SESSIONS_MAX || (ss->newest != NULL && ss->newest->zxid_used >= zxid_used)) {
        refuse(f, "sessions out of order");
        return;
    }
    s = session_restore(ss, id, server, lowest, zxid_used);
    if (s == NULL) {
        refuse(f, "a session twice");
        return;
    }
    read_outcomes(r, f, s);
}

static struct node *find_parent(struct snapshot_records *r, struct fields *f, uint64_t ino, uint64_t cookie)
{
    struct tree *t = r->state->tree;
    const struct dir *d;

    if (r->parent == NULL || r->parent->ino != ino) {
        r->parent = tree_get(t, ino);
    }
    if (r->parent == NULL || r->parent->dir == NULL) {
        refuse(f, "a znode without a parent directory");
        return NULL;
    }
    d = r->parent->dir;
    if (cookie == 0 || cookie >= d->next_cookie || (d->n_slots > 0 && d->slots[d->n_slots - 1].cookie >= cookie)) {
        refuse(f, "cookies out of order");
    }
    return r->parent;
}

static void read_stat(struct fields *f, struct node *n)
{
    uint64_t btime;

    n->mode = (uint16_t)get_varint(f, 07777);
    n->uid = (uint32_t)get_varint(f, UINT32_MAX);
    n->gid = (uint32_t)get_varint(f, UINT32_MAX);
    n->version = (uint32_t)get_varint(f, UINT32_MAX);
    n->cversion = (uint32_t)get_varint(f, UINT32_MAX);
    n->aversion = (uint32_t)get_varint(f, UINT32_MAX);
    n->czxid = get_varint(f, UINT64_MAX);
    n->mzxid = get_difference(f, n->czxid);
    n->pzxid = get_difference(f, n->czxid);
    btime = get_difference(f, 0);
    n->btime_ns = (int64_t)btime;
    n->mtime_ns = (int64_t)get_difference(f, btime);
    n->ctime_ns = (int64_t)get_difference(f, btime);
    n->atime_ns = (int64_t)get_difference(f, btime);
}

static void read_name(struct fields *f, struct node *n, bool is_root)
{
    size_t len = (size_t)get_varint(f, TXN_NAME_MAX);
    const char *name = (const char *)get_bytes(f, len);

    if (name == NULL) {
        return;
    }
    if (is_root ? len != 0 : name_check(name, len) != 0) {
        refuse(f, "a name that cannot be");
        return;
    }
    node_set_name(n, name, len);
}

/* Xattrs go to a node in the tree, which counts their bytes; they lie before the data, which is hashed later. */
static void read_xattrs(struct tree *t, struct fields *f, struct node *n, uint32_t count)
{
    uint64_t total = 0;

    for (uint32_t i = 0; i < count && f->what == NULL; i++) {
        size_t name_len = (size_t)get_varint(f, TXN_NAME_MAX);
        const char *name = (const char *)get_bytes(f, name_len);
        uint32_t len = (uint32_t)get_varint(f, TXN_XATTR_VALUE_MAX);
        const uint8_t *value = get_bytes(f, len);

        total += name_len + len;
        if (name == NULL || value == NULL) {
            return;
        }
        if (name_len == 0 || memchr(name, '\0', name_len) != NULL || total > TXN_XATTRS_MAX ||
            node_get_xattr(n, name, name_len) != NULL) {
            refuse(f, "an xattr that cannot be");
            return;
        }
        tree_set_xattr(t, n, name, name_len, value, len);
    }
}

static void read_data(struct tree *t, struct fields *f, struct node *n, bool chained)
{
    uint64_t hash = chained ? get_u64(f) : 0;
    size_t len = f->what == NULL ? (size_t)(f->end - f->at) : 0;
    const uint8_t *data = get_bytes(f, len);

    if (f->what != NULL) {
        return;
    }
    if (len > TXN_DATA_MAX_LIMIT || (n->kind == NODE_SYMLINK && (len == 0 || len > TXN_SYMLINK_MAX)) ||
        (chained && len == 0)) {
        refuse(f, "data of a size that cannot be");
        return;
    }
    if (len > 0) {
        tree_set_data(t, n, buf_copy(data, len), (uint32_t)len, chained ? hash : data_hash(data, len));
    }
}

/* The fields before the xattrs, into a node that is in no tree yet. */
static struct node *read_node_head(struct fields *f, uint8_t *ret_flags, uint64_t *ret_parent, uint64_t *ret_cookie)
{
    uint64_t ino = get_varint(f, UINT64_MAX);
    uint64_t parent = get_varint(f, UINT64_MAX);
    uint64_t cookie = get_varint(f, UINT64_MAX);
    uint8_t kind = get_u8(f);
    uint8_t flags = get_u8(f);
    struct node *n;

    if (f->what != NULL || kind < NODE_FILE || kind > NODE_SYMLINK || (flags & ~SNAPSHOT_NODE_HASH) != 0) {
        refuse(f, "an unknown kind of znode");
        return NULL;
    }
    n = node_new((enum node_kind)kind, ino, "", 0);
    read_stat(f, n);
    if (n->dir != NULL) {
        n->dir->next_cookie = get_varint(f, UINT64_MAX);
    }
    read_name(f, n, parent == 0);
    *ret_flags = flags;
    *ret_parent = parent;
    *ret_cookie = cookie;
    return n;
}

/* Where the node belongs; NULL for the root. */
static struct node *check_place(struct snapshot_records *r, struct fields *f, const struct node *n, uint64_t parent_ino,
                                uint64_t cookie)
{
    struct tree *t = r->state->tree;
    struct node *parent;

    if (n->ino == 0 || n->ino >= t->next_ino || tree_get(t, n->ino) != NULL) {
        refuse(f, "an inode number that cannot be");
        return NULL;
    }
    if (parent_ino == 0) {
        if (t->root != NULL || n->ino != TREE_ROOT_INO || n->kind != NODE_DIR || cookie != 0) {
            refuse(f, "a root that cannot be");
        }
        return NULL;
    }
    parent = find_parent(r, f, parent_ino, cookie);
    if (parent != NULL && tree_get_child(t, parent, n->name, n->name_len) != NULL) {
        refuse(f, "a name twice");
    }
    return parent;
}

static void read_node(struct snapshot_records *r, struct fields *f)
{
    struct tree *t = r->state->tree;
    uint8_t flags;
    uint64_t parent_ino;
    uint64_t cookie;
    struct node *n = read_node_head(f, &flags, &parent_ino, &cookie);
    struct node *parent = NULL;

    if (n == NULL) {
        return;
    }
    if (f->what == NULL) {
        parent = check_place(r, f, n, parent_ino, cookie);
    }
    if (f->what != NULL) {
        node_free(n);
        return;
    }
    tree_insert(t, parent, n, cookie);
    read_xattrs(t, f, n, (uint32_t)get_varint(f, TXN_XATTR_COUNT_MAX));
    read_data(t, f, n, (flags & SNAPSHOT_NODE_HASH) != 0);
    tree_rehash(t, n);
}

size_t snapshot_record_whole(const uint8_t *bytes, size_t len, const char **ret_what)
{
    struct fields f = {.at = bytes, .end = bytes + len};
    uint64_t rest = get_varint(&f, SNAPSHOT_RECORD_MAX);

    if (f.what != NULL) {
        /* Either it goes on in the next chunk, or it never was a length. */
        if (f.at != f.end) {
            *ret_what = f.what;
        }
        return 0;
    }
    return rest > (uint64_t)(f.end - f.at) ? 0 : (size_t)(f.at - bytes) + (size_t)rest;
}

const char *snapshot_record_read(struct snapshot_records *r, const uint8_t *bytes, size_t len)
{
    struct fields f = {.at = bytes, .end = bytes + len};
    uint8_t type;

    (void)get_varint(&f, SNAPSHOT_RECORD_MAX); /* the length, seen by snapshot_record_whole() */
    type = get_u8(&f);
    if (type != SNAPSHOT_GLOBALS && !r->globals_seen) {
        refuse(&f, "globals are missing");
    }
    if (f.what == NULL) {
        switch (type) {
        case SNAPSHOT_GLOBALS:
            read_globals(r, &f);
            break;
        case SNAPSHOT_SESSION:
            read_session(r, &f);
            break;
        case SNAPSHOT_NODE:
            read_node(r, &f);
            break;
        default:
            refuse(&f, "an unknown type");
            break;
        }
    }
    if (f.at != f.end) {
        refuse(&f, "bytes left over");
    }
    return f.what;
}
