#include "state_fixture.h"
#include "store/txn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct txn_decoded roundtrip(const struct request *r, struct buf **ret_bytes)
{
    struct buf *request = request_encode(r);
    struct txn_decoded d;
    struct txn_decoded bare;

    assert_int_equal(request_decode(request->bytes, request->len, &bare), 0);
    assert_int_equal(bare.txn.request.seq, r->seq);
    assert_int_equal(bare.txn.time_ns, 0);
    txn_decoded_release(&bare);
    *ret_bytes = txn_encode(-5, 1000, request->bytes, request->len);
    buf_unref(request);
    assert_int_equal(txn_decode((*ret_bytes)->bytes, (*ret_bytes)->len, &d), 0);
    assert_int_equal(d.txn.time_ns, -5);
    assert_int_equal(d.txn.data_max, 1000);
    assert_int_equal(d.txn.request.session, r->session);
    assert_int_equal(d.txn.request.seq, r->seq);
    assert_int_equal(d.txn.request.seq_lowest, r->seq_lowest);
    assert_int_equal(d.txn.request.op.kind, r->op.kind);
    return d;
}

static struct request request_of(enum op_kind kind)
{
    static const struct op_range ranges[] = {
        {.offset = 70000, .len = 3, .bytes = (const uint8_t *)"abc"},
        {.offset = UINT64_MAX, .len = 0, .bytes = NULL},
    };
    struct request r = {.session = UINT64_MAX, .seq = 1ull << 40, .seq_lowest = 200};

    r.op.kind = kind;
    r.op.ino = 0x1234567890;
    r.op.name = "na\0me";
    r.op.name_len = 5;
    r.op.new_ino = 77;
    r.op.new_name = "new";
    r.op.new_name_len = 3;
    r.op.flags = 2;
    r.op.node_kind = NODE_DIR;
    r.op.mask = SETATTR_MODE | SETATTR_MTIME;
    r.op.mode = 0755;
    r.op.uid = UINT32_MAX;
    r.op.gid = 5;
    r.op.size = UINT64_MAX;
    r.op.atime_ns = INT64_MIN;
    r.op.mtime_ns = INT64_MAX;
    r.op.data = (const uint8_t *)"data";
    r.op.data_len = 4;
    r.op.id = 0xabcdef;
    if (kind == OP_WRITE) {
        r.op.keep = TXN_KEEP_ALL;
        r.op.size_min = 12;
        r.op.keep_times = true;
        r.op.ranges = ranges;
        r.op.n_ranges = 2;
    }
    return r;
}

static void test_create(void **state)
{
    struct request r = request_of(OP_CREATE);
    struct buf *bytes;
    struct txn_decoded d = roundtrip(&r, &bytes);
    const struct op *op = &d.txn.request.op;

    (void)state;
    assert_int_equal(op->ino, r.op.ino);
    assert_int_equal(op->name_len, 5);
    assert_memory_equal(op->name, "na\0me", 5);
    assert_int_equal(op->node_kind, NODE_DIR);
    assert_int_equal(op->mode, 0755);
    assert_int_equal(op->uid, UINT32_MAX);
    assert_int_equal(op->gid, 5);
    assert_int_equal(op->data_len, 4);
    assert_memory_equal(op->data, "data", 4);
    txn_decoded_release(&d);
    buf_unref(bytes);
}

static void test_write(void **state)
{
    struct request r = request_of(OP_WRITE);
    struct buf *bytes;
    struct txn_decoded d = roundtrip(&r, &bytes);
    const struct op *op = &d.txn.request.op;

    (void)state;
    assert_true(op->keep == TXN_KEEP_ALL);
    assert_int_equal(op->size_min, 12);
    assert_true(op->keep_times);
    assert_int_equal(op->n_ranges, 2);
    assert_int_equal(op->ranges[0].offset, 70000);
    assert_int_equal(op->ranges[0].len, 3);
    assert_memory_equal(op->ranges[0].bytes, "abc", 3);
    assert_true(op->ranges[1].offset == UINT64_MAX);
    assert_int_equal(op->ranges[1].len, 0);
    txn_decoded_release(&d);
    buf_unref(bytes);
}

static void test_setattr_and_rename(void **state)
{
    struct request setattr = request_of(OP_SETATTR);
    struct request rename = request_of(OP_RENAME);
    struct buf *bytes;
    struct txn_decoded d = roundtrip(&setattr, &bytes);

    (void)state;
    assert_int_equal(d.txn.request.op.mask, setattr.op.mask);
    assert_true(d.txn.request.op.size == UINT64_MAX);
    assert_true(d.txn.request.op.atime_ns == INT64_MIN);
    assert_true(d.txn.request.op.mtime_ns == INT64_MAX);
    txn_decoded_release(&d);
    buf_unref(bytes);
    d = roundtrip(&rename, &bytes);
    assert_int_equal(d.txn.request.op.new_ino, 77);
    assert_memory_equal(d.txn.request.op.new_name, "new", 3);
    assert_int_equal(d.txn.request.op.flags, 2);
    txn_decoded_release(&d);
    buf_unref(bytes);
}

/* Cut at every byte, and with a byte more: refused. The copy is exact, so that a read behind it is seen. */
static void test_cut_and_longer(void **state)
{
    (void)state;
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        struct request r = request_of((enum op_kind)kind);
        struct buf *bytes;
        struct txn_decoded d = roundtrip(&r, &bytes);
        uint8_t *more = calloc(1, bytes->len + 1);

        txn_decoded_release(&d);
        assert_non_null(more);
        for (size_t len = 0; len < bytes->len; len++) {
            uint8_t *cut = malloc(len + 1);

            assert_non_null(cut);
            memcpy(cut + 1, bytes->bytes, len);
            assert_int_equal(txn_decode(cut + 1, len, &d), -EBADMSG);
            free(cut);
        }
        memcpy(more, bytes->bytes, bytes->len);
        assert_int_equal(txn_decode(more, bytes->len + 1, &d), -EBADMSG);
        free(more);
        buf_unref(bytes);
    }
}

/* Whatever the bytes: an error or a txn, never a crash or a huge allocation. */
static void test_mutated_bytes(void **state)
{
    uint64_t seed = 42;

    (void)state;
    for (int i = 0; i < 50000; i++) {
        struct request r = request_of((enum op_kind)(fixture_random(&seed) % OP_KIND_COUNT));
        struct buf *bytes = request_encode(&r);
        struct txn_decoded d;

        for (uint64_t n = 1 + fixture_random(&seed) % 3; n > 0; n--) {
            bytes->bytes[fixture_random(&seed) % bytes->len] = (uint8_t)fixture_random(&seed);
        }
        if (request_decode(bytes->bytes, bytes->len, &d) == 0) {
            txn_decoded_release(&d);
        }
        buf_unref(bytes);
    }
}

static void test_claimed_sizes(void **state)
{
    /* An op WRITE that claims 4 G ranges; an unknown kind; a version of the future. */
    static const uint8_t ranges[] = {0x94, 1, 1, 1, 0x96, 4, 1, 0, 0, 0xc2, 0xdd, 0xff, 0xff, 0xff, 0xfe};
    static const uint8_t unknown[] = {0x94, 1, 1, 1, 0x91, OP_KIND_COUNT};
    static const uint8_t future[] = {0x94, 2, 0, 0, 0x94, 1, 1, 1, 0x91, 0};
    struct txn_decoded d;

    (void)state;
    assert_int_equal(request_decode(ranges, sizeof(ranges), &d), -EBADMSG);
    assert_int_equal(request_decode(unknown, sizeof(unknown), &d), -EBADMSG);
    assert_int_equal(txn_decode(future, sizeof(future), &d), -EBADMSG);
    assert_int_equal(txn_decode(NULL, 0, &d), -EBADMSG);
}

static void test_names(void **state)
{
    (void)state;
    for (int kind = 0; kind < OP_KIND_COUNT; kind++) {
        assert_non_null(op_kind_name((enum op_kind)kind));
    }
    assert_string_equal(op_kind_name(OP_RENAME), "rename");
    assert_string_equal(op_kind_name((enum op_kind)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_setattr_and_rename),
        cmocka_unit_test(test_cut_and_longer),
        cmocka_unit_test(test_mutated_bytes),
        cmocka_unit_test(test_claimed_sizes),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
