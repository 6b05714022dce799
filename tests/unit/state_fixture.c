#include "state_fixture.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DIGEST_CHECK_MAX 2000 /* znodes up to which every op is followed by a slow digest */

void fixture_init(struct fixture *f)
{
    struct request open = {.op = {.kind = OP_SESSION_OPEN, .ino = FIXTURE_SESSION, .id = 1}};

    memset(f, 0, sizeof(*f));
    f->s = state_new();
    f->now = 1700000000000000000;
    f->data_max = TXN_DATA_MAX_DEFAULT;
    fixture_request(f, &open);
}

void fixture_release(struct fixture *f)
{
    state_free(f->s);
}

struct outcome fixture_request(struct fixture *f, const struct request *r)
{
    struct buf *request = request_encode(r);
    struct buf *bytes = txn_encode(f->now, f->data_max, request->bytes, request->len);
    struct txn_decoded d;
    int rv = txn_decode(bytes->bytes, bytes->len, &d);

    assert(rv == 0);
    f->zxid++;
    f->now += 1000;
    state_apply(f->s, f->zxid, &d.txn, &f->last);
    txn_decoded_release(&d);
    buf_unref(bytes);
    buf_unref(request);
    if (tree_count(state_tree(f->s)) < DIGEST_CHECK_MAX) {
        assert(state_digest(f->s) == state_digest_slow(f->s));
    }
    return f->last;
}

int fixture_do(struct fixture *f, const struct op *op)
{
    struct request r = {.session = FIXTURE_SESSION, .op = *op};

    r.seq = ++f->seq;
    r.seq_lowest = r.seq > 8 ? r.seq - 8 : 0;
    return fixture_request(f, &r).err;
}

int fixture_create(struct fixture *f, uint64_t parent, const char *name, enum node_kind kind, const char *data)
{
    struct op op = {.kind = OP_CREATE, .ino = parent, .name = name, .name_len = strlen(name), .node_kind = kind};

    op.mode = 0644;
    if (data != NULL) {
        op.data = (const uint8_t *)data;
        op.data_len = (uint32_t)strlen(data);
    }
    return fixture_do(f, &op);
}

int fixture_write(struct fixture *f, uint64_t ino, const char *data)
{
    struct op_range range = {.bytes = (const uint8_t *)data, .len = (uint32_t)strlen(data)};
    struct op op = {.kind = OP_WRITE, .ino = ino, .ranges = &range, .n_ranges = 1};

    return fixture_do(f, &op);
}

int fixture_append(struct fixture *f, uint64_t ino, const char *data)
{
    struct op op = {.kind = OP_APPEND, .ino = ino, .data = (const uint8_t *)data, .data_len = (uint32_t)strlen(data)};

    return fixture_do(f, &op);
}

int fixture_remove(struct fixture *f, uint64_t parent, const char *name, enum node_kind kind)
{
    struct op op = {.kind = OP_REMOVE, .ino = parent, .name = name, .name_len = strlen(name), .node_kind = kind};

    return fixture_do(f, &op);
}

int fixture_rename(struct fixture *f, uint64_t parent, const char *name, uint64_t new_parent, const char *new_name,
                   uint32_t flags)
{
    struct op op = {.kind = OP_RENAME, .ino = parent, .new_ino = new_parent, .flags = flags};

    op.name = name;
    op.name_len = strlen(name);
    op.new_name = new_name;
    op.new_name_len = strlen(new_name);
    return fixture_do(f, &op);
}

int fixture_setxattr(struct fixture *f, uint64_t ino, const char *name, const void *value, uint32_t len, uint32_t flags)
{
    struct op op = {.kind = OP_SETXATTR, .ino = ino, .name = name, .name_len = strlen(name), .flags = flags};

    op.data = value;
    op.data_len = len;
    return fixture_do(f, &op);
}

const struct node *fixture_node(const struct fixture *f, uint64_t ino)
{
    return tree_by_ino(state_tree(f->s), ino);
}

uint64_t fixture_ino(const struct fixture *f, uint64_t parent, const char *name)
{
    const struct node *n = tree_lookup(state_tree(f->s), parent, name, strlen(name));

    return n == NULL ? 0 : n->ino;
}

uint64_t fixture_random(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545f4914f6cdd1d;
}

static void random_name(uint64_t *seed, char *name, size_t cap)
{
    uint64_t r = fixture_random(seed) % 24;

    (void)snprintf(name, cap, r % 3 == 0 ? "n%u-with-a-name-that-is-not-inline" : "n%u", (unsigned)r);
}

void fixture_random_op(struct fixture *f, uint64_t *seed)
{
    static const enum op_kind kinds[] = {OP_CREATE, OP_CREATE, OP_CREATE,   OP_CREATE,      OP_WRITE,
                                         OP_APPEND, OP_APPEND, OP_SETATTR,  OP_REMOVE,      OP_REMOVE,
                                         OP_RENAME, OP_RENAME, OP_SETXATTR, OP_REMOVEXATTR, OP_NOP};
    static const uint8_t bytes[300] = "some bytes";
    struct op_range ranges[2];
    char name[64];
    char new_name[64];
    struct op op = {.kind = kinds[fixture_random(seed) % (sizeof(kinds) / sizeof(kinds[0]))]};

    random_name(seed, name, sizeof(name));
    random_name(seed, new_name, sizeof(new_name));
    /* Inode numbers grow with the creates: most of these were given out, and about half of those are gone. */
    op.ino = 1 + fixture_random(seed) % (2 + f->seq / 6);
    op.ino = fixture_random(seed) % 4 == 0 ? TREE_ROOT_INO : op.ino;
    op.new_ino = 1 + fixture_random(seed) % (2 + f->seq / 6);
    op.name = name;
    op.name_len = strlen(name);
    op.new_name = new_name;
    op.new_name_len = strlen(new_name);
    op.flags = (uint32_t)(fixture_random(seed) % 4) & (op.kind == OP_RENAME ? 3 : 2);
    op.node_kind = (enum node_kind)(1 + fixture_random(seed) % 5 / 2);
    op.mask = (uint32_t)fixture_random(seed) & 0xff;
    op.mode = (uint32_t)fixture_random(seed) & 07777;
    op.uid = (uint32_t)fixture_random(seed) % 3;
    op.gid = (uint32_t)fixture_random(seed) % 3;
    op.size = fixture_random(seed) % 400;
    op.atime_ns = (int64_t)fixture_random(seed);
    op.mtime_ns = f->now + (int64_t)(fixture_random(seed) % 2000) - 1000;
    op.data = bytes;
    op.data_len = (uint32_t)(fixture_random(seed) % sizeof(bytes));
    if (op.kind == OP_WRITE) {
        op.keep = fixture_random(seed) % 2 == 0 ? TXN_KEEP_ALL : fixture_random(seed) % 200;
        op.size_min = fixture_random(seed) % 100;
        op.keep_times = fixture_random(seed) % 2 == 0;
        for (int i = 0; i < 2; i++) {
            ranges[i].offset = fixture_random(seed) % 500;
            ranges[i].bytes = bytes;
            ranges[i].len = (uint32_t)(fixture_random(seed) % sizeof(bytes));
        }
        op.ranges = ranges;
        op.n_ranges = (uint32_t)(fixture_random(seed) % 3);
    }
    (void)fixture_do(f, &op);
}
