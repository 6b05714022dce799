/*
 * txn: the encoded forms, in msgpack. Names are bin: they may hold any byte.
 *
 *   txn      [ VERSION, time_ns, data_max, request ]
 *   request  [ session, seq, seq_lowest, op ]
 *   op       [ kind, ... ] by kind:
 *              NOP           [ 0 ]
 *              ENSEMBLE      [ 1, id ]
 *              SESSION_OPEN  [ 2, session, server id ]
 *              CREATE        [ 3, parent, name, node_kind, mode, uid, gid, data ]
 *              WRITE         [ 4, ino, keep, size_min, keep_times, [ offset, bytes, offset, bytes, ... ] ]
 *              APPEND        [ 5, ino, data ]
 *              SETATTR       [ 6, ino, mask, mode, uid, gid, size, atime_ns, mtime_ns ]
 *              REMOVE        [ 7, parent, name, node_kind ]
 *              RENAME        [ 8, parent, name, new parent, new name, flags ]
 *              SETXATTR      [ 9, ino, name, value, flags ]
 *              REMOVEXATTR   [ 10, ino, name ]
 *
 * A follower forwards a bare request; the leader wraps its bytes unchanged.
 */
#include "txn.h"

#include "unpack.h"

#include <assert.h>
#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#define TXN_VERSION 1

/* An upper bound for everything in a request but names, data and ranges; and for a range but its bytes. */
#define ENCODED_FIXED 160
#define ENCODED_RANGE 16

/* Elements of an op's array, by kind. */
static const uint32_t op_elements[OP_KIND_COUNT] = {
    [OP_NOP] = 1,    [OP_ENSEMBLE] = 2, [OP_SESSION_OPEN] = 3, [OP_CREATE] = 8,
    [OP_WRITE] = 6,  [OP_APPEND] = 3,   [OP_SETATTR] = 9,      [OP_REMOVE] = 4,
    [OP_RENAME] = 6, [OP_SETXATTR] = 5, [OP_REMOVEXATTR] = 3,
};

static const char *const op_names[OP_KIND_COUNT] = {
    [OP_NOP] = "nop",       [OP_ENSEMBLE] = "ensemble", [OP_SESSION_OPEN] = "session-open", [OP_CREATE] = "create",
    [OP_WRITE] = "write",   [OP_APPEND] = "append",     [OP_SETATTR] = "setattr",           [OP_REMOVE] = "remove",
    [OP_RENAME] = "rename", [OP_SETXATTR] = "setxattr", [OP_REMOVEXATTR] = "removexattr",
};

const char *op_kind_name(enum op_kind kind)
{
    return (unsigned)kind < OP_KIND_COUNT ? op_names[kind] : "unknown";
}

/* Room was computed before: a buffer that is too small is our own bug. */
static int pack_write_cb(void *arg, const char *bytes, size_t len)
{
    struct buf *b = arg;

    assert(len <= b->cap - b->len);
    memcpy(b->bytes + b->len, bytes, len);
    b->len += (uint32_t)len;
    return 0;
}

static void pack_array(msgpack_packer *pk, size_t n)
{
    int rv = msgpack_pack_array(pk, n);

    assert(rv == 0);
}

static void pack_uint(msgpack_packer *pk, uint64_t value)
{
    int rv = msgpack_pack_uint64(pk, value);

    assert(rv == 0);
}

static void pack_int(msgpack_packer *pk, int64_t value)
{
    int rv = msgpack_pack_int64(pk, value);

    assert(rv == 0);
}

static void pack_bool(msgpack_packer *pk, bool value)
{
    int rv = value ? msgpack_pack_true(pk) : msgpack_pack_false(pk);

    assert(rv == 0);
}

static void pack_bin(msgpack_packer *pk, const void *bytes, size_t len)
{
    int rv = msgpack_pack_bin(pk, len);

    assert(rv == 0);
    if (len > 0) {
        rv = msgpack_pack_bin_body(pk, bytes, len);
        assert(rv == 0);
    }
}

static void pack_create(msgpack_packer *pk, const struct op *op)
{
    pack_bin(pk, op->name, op->name_len);
    pack_uint(pk, op->node_kind);
    pack_uint(pk, op->mode);
    pack_uint(pk, op->uid);
    pack_uint(pk, op->gid);
    pack_bin(pk, op->data, op->data_len);
}

static void pack_write(msgpack_packer *pk, const struct op *op)
{
    pack_uint(pk, op->keep);
    pack_uint(pk, op->size_min);
    pack_bool(pk, op->keep_times);
    pack_array(pk, 2 * (size_t)op->n_ranges);
    for (uint32_t i = 0; i < op->n_ranges; i++) {
        pack_uint(pk, op->ranges[i].offset);
        pack_bin(pk, op->ranges[i].bytes, op->ranges[i].len);
    }
}

static void pack_setattr(msgpack_packer *pk, const struct op *op)
{
    pack_uint(pk, op->mask);
    pack_uint(pk, op->mode);
    pack_uint(pk, op->uid);
    pack_uint(pk, op->gid);
    pack_uint(pk, op->size);
    pack_int(pk, op->atime_ns);
    pack_int(pk, op->mtime_ns);
}

static void pack_op(msgpack_packer *pk, const struct op *op)
{
    assert((unsigned)op->kind < OP_KIND_COUNT);
    pack_array(pk, op_elements[op->kind]);
    pack_uint(pk, op->kind);
    if (op->kind != OP_NOP && op->kind != OP_ENSEMBLE) {
        pack_uint(pk, op->ino);
    }
    switch (op->kind) {
    case OP_NOP:
        break;
    case OP_ENSEMBLE:
    case OP_SESSION_OPEN:
        pack_uint(pk, op->id);
        break;
    case OP_CREATE:
        pack_create(pk, op);
        break;
    case OP_WRITE:
        pack_write(pk, op);
        break;
    case OP_APPEND:
        pack_bin(pk, op->data, op->data_len);
        break;
    case OP_SETATTR:
        pack_setattr(pk, op);
        break;
    case OP_REMOVE:
        pack_bin(pk, op->name, op->name_len);
        pack_uint(pk, op->node_kind);
        break;
    case OP_RENAME:
        pack_bin(pk, op->name, op->name_len);
        pack_uint(pk, op->new_ino);
        pack_bin(pk, op->new_name, op->new_name_len);
        pack_uint(pk, op->flags);
        break;
    case OP_SETXATTR:
        pack_bin(pk, op->name, op->name_len);
        pack_bin(pk, op->data, op->data_len);
        pack_uint(pk, op->flags);
        break;
    case OP_REMOVEXATTR:
        pack_bin(pk, op->name, op->name_len);
        break;
    case OP_KIND_COUNT:
        break;
    }
}

struct buf *request_encode(const struct request *r)
{
    const struct op *op = &r->op;
    size_t cap = ENCODED_FIXED + op->name_len + op->new_name_len + op->data_len;
    msgpack_packer pk;
    struct buf *b;

    for (uint32_t i = 0; i < op->n_ranges; i++) {
        cap += ENCODED_RANGE + (size_t)op->ranges[i].len;
    }
    b = buf_new(cap);
    msgpack_packer_init(&pk, b, pack_write_cb);
    pack_array(&pk, 4);
    pack_uint(&pk, r->session);
    pack_uint(&pk, r->seq);
    pack_uint(&pk, r->seq_lowest);
    pack_op(&pk, op);
    return b;
}

struct buf *txn_encode(int64_t time_ns, uint32_t data_max, const uint8_t *request, size_t request_len)
{
    struct buf *b = buf_new(ENCODED_FIXED + request_len);
    msgpack_packer pk;
    int rv;

    msgpack_packer_init(&pk, b, pack_write_cb);
    pack_array(&pk, 4);
    pack_uint(&pk, TXN_VERSION);
    pack_int(&pk, time_ns);
    pack_uint(&pk, data_max);
    rv = pack_write_cb(b, (const char *)request, request_len);
    assert(rv == 0);
    return b;
}

static void unpack_name(struct unpack *u, const char **ret_name, size_t *ret_len)
{
    *ret_name = (const char *)unpack_bin(u, TXN_NAME_WIRE_MAX, ret_len);
}

static void unpack_data(struct unpack *u, struct op *op)
{
    size_t len;

    op->data = unpack_bin(u, TXN_DATA_MAX_LIMIT, &len);
    op->data_len = (uint32_t)len;
}

static void unpack_create(struct unpack *u, struct op *op)
{
    unpack_name(u, &op->name, &op->name_len);
    op->node_kind = (enum node_kind)unpack_uint(u, NODE_SYMLINK);
    op->mode = (uint32_t)unpack_uint(u, UINT32_MAX);
    op->uid = (uint32_t)unpack_uint(u, UINT32_MAX);
    op->gid = (uint32_t)unpack_uint(u, UINT32_MAX);
    unpack_data(u, op);
    if (op->node_kind < NODE_FILE) {
        u->failed = true;
    }
}

static void unpack_setattr(struct unpack *u, struct op *op)
{
    op->mask = (uint32_t)unpack_uint(u, UINT32_MAX);
    op->mode = (uint32_t)unpack_uint(u, UINT32_MAX);
    op->uid = (uint32_t)unpack_uint(u, UINT32_MAX);
    op->gid = (uint32_t)unpack_uint(u, UINT32_MAX);
    op->size = unpack_uint(u, UINT64_MAX);
    op->atime_ns = unpack_int(u);
    op->mtime_ns = unpack_int(u);
}

static void unpack_write(struct unpack *u, struct txn_decoded *d)
{
    struct op *op = &d->txn.request.op;
    uint32_t n;

    op->keep = unpack_uint(u, UINT64_MAX);
    op->size_min = unpack_uint(u, UINT64_MAX);
    op->keep_times = unpack_bool(u);
    n = unpack_array(u, 2 * TXN_RANGES_MAX);
    if (n % 2 != 0) {
        u->failed = true;
    }
    if (u->failed || n == 0) {
        return;
    }
    d->ranges = calloc(n / 2, sizeof(*d->ranges));
    if (d->ranges == NULL) {
        abort();
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        size_t len;

        d->ranges[i].offset = unpack_uint(u, UINT64_MAX);
        d->ranges[i].bytes = unpack_bin(u, TXN_DATA_MAX_LIMIT, &len);
        d->ranges[i].len = (uint32_t)len;
    }
    op->ranges = d->ranges;
    op->n_ranges = n / 2;
}

static void unpack_fields(struct unpack *u, struct txn_decoded *d)
{
    struct op *op = &d->txn.request.op;

    switch (op->kind) {
    case OP_ENSEMBLE:
    case OP_SESSION_OPEN:
        op->id = unpack_uint(u, UINT64_MAX);
        break;
    case OP_CREATE:
        unpack_create(u, op);
        break;
    case OP_WRITE:
        unpack_write(u, d);
        break;
    case OP_APPEND:
        unpack_data(u, op);
        break;
    case OP_SETATTR:
        unpack_setattr(u, op);
        break;
    case OP_REMOVE:
        unpack_name(u, &op->name, &op->name_len);
        op->node_kind = (enum node_kind)unpack_uint(u, NODE_SYMLINK);
        break;
    case OP_RENAME:
        unpack_name(u, &op->name, &op->name_len);
        op->new_ino = unpack_uint(u, UINT64_MAX);
        unpack_name(u, &op->new_name, &op->new_name_len);
        op->flags = (uint32_t)unpack_uint(u, UINT32_MAX);
        break;
    case OP_SETXATTR:
        unpack_name(u, &op->name, &op->name_len);
        unpack_data(u, op);
        op->flags = (uint32_t)unpack_uint(u, UINT32_MAX);
        break;
    case OP_REMOVEXATTR:
        unpack_name(u, &op->name, &op->name_len);
        break;
    case OP_NOP:
    case OP_KIND_COUNT:
        break;
    }
}

static void unpack_request(struct unpack *u, struct txn_decoded *d)
{
    struct request *r = &d->txn.request;
    uint32_t n = unpack_array(u, 4);
    uint32_t elements;

    r->session = unpack_uint(u, UINT64_MAX);
    r->seq = unpack_uint(u, UINT64_MAX);
    r->seq_lowest = unpack_uint(u, UINT64_MAX);
    elements = unpack_array(u, UINT32_MAX);
    r->op.kind = (enum op_kind)unpack_uint(u, OP_KIND_COUNT - 1);
    if (u->failed || n != 4 || elements != op_elements[r->op.kind]) {
        u->failed = true;
        return;
    }
    if (r->op.kind != OP_NOP && r->op.kind != OP_ENSEMBLE) {
        r->op.ino = unpack_uint(u, UINT64_MAX);
    }
    unpack_fields(u, d);
}

/* Hands the result over, or frees it: a failed call leaves *ret untouched. */
static int decode_finish(const struct unpack *u, struct txn_decoded *d, struct txn_decoded *ret)
{
    if (!unpack_done(u)) {
        txn_decoded_release(d);
        return -EBADMSG;
    }
    *ret = *d;
    return 0;
}

int txn_decode(const uint8_t *bytes, size_t len, struct txn_decoded *ret)
{
    struct txn_decoded d = {0};
    struct unpack u;

    unpack_init(&u, bytes, len);
    if (unpack_array(&u, 4) != 4 || unpack_uint(&u, TXN_VERSION) != TXN_VERSION) {
        u.failed = true;
    }
    d.txn.time_ns = unpack_int(&u);
    d.txn.data_max = (uint32_t)unpack_uint(&u, TXN_DATA_MAX_LIMIT);
    unpack_request(&u, &d);
    return decode_finish(&u, &d, ret);
}

int request_decode(const uint8_t *bytes, size_t len, struct txn_decoded *ret)
{
    struct txn_decoded d = {0};
    struct unpack u;

    unpack_init(&u, bytes, len);
    unpack_request(&u, &d);
    return decode_finish(&u, &d, ret);
}

void txn_decoded_release(struct txn_decoded *d)
{
    if (d == NULL) {
        return;
    }
    free(d->ranges);
    d->ranges = NULL;
}
