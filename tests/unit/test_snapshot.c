#include "state_fixture.h"
#include "store/le.h"
#include "store/snapshot_int.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

struct bytes {
    uint8_t *at;
    size_t len;
    size_t cap;
};

static int sink_cb(void *arg, const uint8_t *bytes, size_t len)
{
    struct bytes *b = arg;

    assert_true(len <= SNAPSHOT_CHUNK_MAX);
    if (b->cap - b->len < len) {
        b->cap = 2 * (b->len + len);
        b->at = realloc(b->at, b->cap);
        assert_non_null(b->at);
    }
    memcpy(b->at + b->len, bytes, len);
    b->len += len;
    return 0;
}

static struct bytes write_bytes(const struct state *s)
{
    struct bytes b = {0};

    assert_int_equal(snapshot_write(s, sink_cb, &b), 0);
    return b;
}

/* Feeds in pieces of `piece` bytes; NULL and an error when refused. */
static struct state *read_bytes(const uint8_t *bytes, size_t len, size_t piece, int *ret_rv, struct error *err)
{
    struct snapshot_reader *r = snapshot_reader_new();
    struct state *s = NULL;
    int rv = 0;

    for (size_t at = 0; at < len && rv == 0; at += piece) {
        rv = snapshot_reader_feed(r, bytes + at, len - at < piece ? len - at : piece, err);
    }
    if (rv == 0) {
        rv = snapshot_reader_finish(r, &s, err);
    }
    snapshot_reader_free(r);
    *ret_rv = rv;
    return s;
}

static struct state *must_read(const struct bytes *b, size_t piece)
{
    struct error err = {""};
    int rv;
    struct state *s = read_bytes(b->at, b->len, piece, &rv, &err);

    if (rv != 0) {
        print_error("%s\n", err.text);
    }
    assert_int_equal(rv, 0);
    return s;
}

static void assert_refused(const uint8_t *bytes, size_t len, int expected)
{
    struct error err = {""};
    int rv;

    assert_null(read_bytes(bytes, len, 4096, &rv, &err));
    assert_int_equal(rv, expected);
    assert_true(err.text[0] != '\0');
}

/* The same state gives the same bytes, and goes on in the same way. */
static void test_roundtrip_and_on(void **state)
{
    (void)state;
    for (uint64_t start = 1; start <= 3; start++) {
        struct fixture a;
        struct fixture b;
        uint64_t seed = start * 7777777;
        uint64_t seed_b;
        struct bytes first;
        struct bytes second;

        fixture_init(&a);
        for (int i = 0; i < 2500; i++) {
            fixture_random_op(&a, &seed);
        }
        first = write_bytes(a.s);
        b = a;
        b.s = must_read(&first, start == 1 ? 1 : 70000);
        assert_true(state_digest(b.s) == state_digest(a.s));
        assert_true(state_digest_slow(b.s) == state_digest(a.s));
        assert_true(state_zxid(b.s) == state_zxid(a.s));
        assert_true(tree_data_bytes(state_tree(b.s)) == tree_data_bytes(state_tree(a.s)));
        seed_b = seed;
        for (int i = 0; i < 1000; i++) {
            fixture_random_op(&a, &seed);
            fixture_random_op(&b, &seed_b);
            assert_int_equal(a.last.err, b.last.err);
            assert_true(state_digest(a.s) == state_digest(b.s));
        }
        free(first.at);
        first = write_bytes(a.s);
        second = write_bytes(b.s);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.at, second.at, first.len);
        free(first.at);
        free(second.at);
        fixture_release(&a);
        fixture_release(&b);
    }
}

static void test_record_of_outcomes_survives(void **state)
{
    struct fixture f;
    struct bytes b;
    struct state *s;
    struct request r = {.session = FIXTURE_SESSION, .seq = 4, .seq_lowest = 4};
    struct outcome first;
    struct outcome o;

    (void)state;
    fixture_init(&f);
    r.op.kind = OP_CREATE;
    r.op.ino = TREE_ROOT_INO;
    r.op.name = "x";
    r.op.name_len = 1;
    r.op.node_kind = NODE_FILE;
    first = fixture_request(&f, &r);
    b = write_bytes(f.s);
    s = f.s;
    f.s = must_read(&b, b.len);
    state_free(s);
    o = fixture_request(&f, &r);
    assert_int_equal(o.err, 0);
    assert_int_equal(o.zxid, first.zxid);
    assert_int_equal(o.ino, first.ino);
    r.seq = 3;
    assert_int_equal(fixture_request(&f, &r).err, EIO);
    free(b.at);
    fixture_release(&f);
}

static void test_empty_and_large(void **state)
{
    struct state *s = state_new();
    struct bytes b = write_bytes(s);
    struct state *again = must_read(&b, 3);
    struct fixture f;
    char *data = malloc(3 * SNAPSHOT_CHUNK_MAX + 2);

    (void)state;
    assert_true(state_digest(again) == state_digest(s));
    state_free(s);
    state_free(again);
    free(b.at);

    assert_non_null(data);
    memset(data, 'x', 3 * SNAPSHOT_CHUNK_MAX + 1);
    data[3 * SNAPSHOT_CHUNK_MAX + 1] = '\0';
    fixture_init(&f);
    f.data_max = 4 * SNAPSHOT_CHUNK_MAX;
    assert_int_equal(fixture_create(&f, TREE_ROOT_INO, "large", NODE_FILE, data), 0);
    assert_int_equal(fixture_append(&f, fixture_ino(&f, TREE_ROOT_INO, "large"), "and more"), 0);
    b = write_bytes(f.s);
    again = must_read(&b, 1000);
    assert_true(state_digest_slow(again) == state_digest(f.s));
    state_free(again);
    free(b.at);
    free(data);
    fixture_release(&f);
}

/* 100,000 levels: neither side may recurse. */
static void test_deep(void **state)
{
    struct fixture f;
    uint64_t parent = TREE_ROOT_INO;
    struct bytes b;
    struct state *s;

    (void)state;
    fixture_init(&f);
    for (int i = 0; i < 100000; i++) {
        struct txn txn = {.time_ns = i, .data_max = 1, .request = {.session = FIXTURE_SESSION, .seq = ++f.seq}};
        struct op *op = &txn.request.op;

        txn.request.seq_lowest = f.seq;
        op->kind = OP_CREATE;
        op->ino = parent;
        op->name = "d";
        op->name_len = 1;
        op->node_kind = NODE_DIR;
        state_apply(f.s, ++f.zxid, &txn, &f.last);
        assert_int_equal(f.last.err, 0);
        parent = f.last.ino;
    }
    b = write_bytes(f.s);
    s = must_read(&b, 1 << 16);
    assert_true(state_digest_slow(s) == state_digest(f.s));
    state_free(s);
    free(b.at);
    fixture_release(&f);
}

static struct bytes small_snapshot(void)
{
    struct fixture f;
    struct bytes b;
    uint64_t seed = 99;

    fixture_init(&f);
    for (int i = 0; i < 60; i++) {
        fixture_random_op(&f, &seed);
    }
    b = write_bytes(f.s);
    fixture_release(&f);
    return b;
}

static void test_cut_is_refused(void **state)
{
    struct bytes b = small_snapshot();

    (void)state;
    for (size_t len = 0; len < b.len; len++) {
        assert_refused(b.at, len, -EBADMSG);
    }
    assert_int_equal(sink_cb(&b, (const uint8_t *)"x", 1), 0);
    assert_refused(b.at, b.len, -EBADMSG);
    free(b.at);
}

static void test_flipped_bit_is_refused(void **state)
{
    struct bytes b = small_snapshot();

    (void)state;
    for (size_t at = 0; at < b.len; at++) {
        b.at[at] ^= (uint8_t)(1 << at % 8);
        assert_refused(b.at, b.len, -EBADMSG);
        b.at[at] ^= (uint8_t)(1 << at % 8);
    }
    free(b.at);
}

/* Makes the sums right again after the bytes were changed, as only an enemy or a bug does. */
static void seal(struct bytes *b)
{
    uint64_t sum = XXH3_64bits(b->at, 24);
    size_t at = SNAPSHOT_HEADER_LEN;

    le_put64(b->at + 24, sum);
    while (at + SNAPSHOT_FRAME_LEN <= b->len) {
        uint32_t len = le_get32(b->at + at) & ~SNAPSHOT_PACKED;
        size_t covered = len == 0 ? SNAPSHOT_TRAILER_LEN : len;

        sum = XXH3_64bits_withSeed(b->at + at + SNAPSHOT_FRAME_LEN, covered, sum);
        le_put64(b->at + at + 4, sum);
        at += SNAPSHOT_FRAME_LEN + covered;
    }
}

/* Bytes of the first chunk's payload are changed and sealed, again and again. */
static void damage_and_seal(const struct bytes *b, int times)
{
    uint8_t *copy = malloc(b->len);
    struct bytes damaged = {.at = copy, .len = b->len, .cap = b->len};
    size_t payload_begin = SNAPSHOT_HEADER_LEN + SNAPSHOT_FRAME_LEN;
    size_t payload_len = le_get32(b->at + SNAPSHOT_HEADER_LEN) & ~SNAPSHOT_PACKED;
    uint64_t seed = 4711;

    assert_non_null(copy);
    for (int i = 0; i < times; i++) {
        struct error err;
        struct state *s;
        int rv;

        memcpy(copy, b->at, b->len);
        for (uint64_t n = 1 + fixture_random(&seed) % 3; n > 0; n--) {
            copy[payload_begin + fixture_random(&seed) % payload_len] = (uint8_t)fixture_random(&seed);
        }
        seal(&damaged);
        s = read_bytes(copy, b->len, b->len, &rv, &err);
        /* The digest in the trailer stands against whatever the records let through. */
        assert_true((s == NULL) == (rv == -EBADMSG));
        assert_true(s == NULL || memcmp(copy + payload_begin, b->at + payload_begin, payload_len) == 0 ||
                    state_digest_slow(s) == state_digest(s));
        state_free(s);
    }
    free(copy);
}

/* Bytes whose sums are right are still not believed. */
static void test_sealed_damage(void **state)
{
    struct bytes b = small_snapshot();

    (void)state;
    damage_and_seal(&b, 20000);
    free(b.at);
}

/* A chunk of some size is compressed, and comes back from pieces of any size; damaged ones are refused. */
static void test_packed(void **state)
{
    struct fixture f;
    struct bytes b;
    struct state *again;
    uint32_t shown;

    (void)state;
    fixture_init(&f);
    for (int i = 0; i < 200; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "file-%d", i);
        assert_int_equal(fixture_create(&f, TREE_ROOT_INO, name, NODE_FILE, "some contents of a file"), 0);
    }
    b = write_bytes(f.s);
    shown = le_get32(b.at + SNAPSHOT_HEADER_LEN);
    assert_true((shown & SNAPSHOT_PACKED) != 0);
    again = must_read(&b, 7);
    assert_true(state_digest_slow(again) == state_digest(f.s));
    state_free(again);
    damage_and_seal(&b, 2000);

    le_put32(b.at + SNAPSHOT_HEADER_LEN, shown & ~SNAPSHOT_PACKED);
    seal(&b);
    assert_refused(b.at, b.len, -EBADMSG);
    le_put32(b.at + SNAPSHOT_HEADER_LEN, shown);
    le_put32(b.at + 8, 1); /* which had no compressed chunks */
    seal(&b);
    assert_refused(b.at, b.len, -EBADMSG);
    free(b.at);
    fixture_release(&f);
}

static void test_versions(void **state)
{
    struct bytes b = small_snapshot();

    (void)state;
    le_put32(b.at + 8, SNAPSHOT_VERSION + 1);
    seal(&b);
    assert_refused(b.at, b.len, -EPROTO);
    le_put32(b.at + 8, 0);
    seal(&b);
    assert_refused(b.at, b.len, -EBADMSG);
    free(b.at);
}

/* Every directory of a random state, written as a root: what is read is that directory's part, sound in itself. */
static void test_below(void **state)
{
    struct fixture f;
    uint64_t seed = 4711;
    uint64_t znodes = 0;

    (void)state;
    fixture_init(&f);
    for (int i = 0; i < 3000; i++) {
        fixture_random_op(&f, &seed);
    }
    for (const struct node *top = f.s->tree->root; top != NULL; top = tree_next(f.s->tree->root, top)) {
        struct bytes first = {0};
        struct bytes second = {0};
        const struct node *n = top;
        const struct node *copy;
        struct state *s;

        if (top->kind != NODE_DIR) {
            continue;
        }
        assert_int_equal(snapshot_write_below(f.s, top, sink_cb, &first), 0);
        s = must_read(&first, 70000);
        assert_true(state_zxid(s) == state_zxid(f.s) && state_ensemble(s) == state_ensemble(f.s));
        assert_true(state_digest(s) == state_digest_slow(s));
        assert_true(s->sessions.by_id.count == 0);
        for (copy = s->tree->root; copy != NULL; copy = tree_next(s->tree->root, copy)) {
            assert_true(copy->ino == (n == top ? TREE_ROOT_INO : n->ino));
            assert_true(copy->kind == n->kind && copy->mzxid == n->mzxid && copy->data_hash == n->data_hash);
            assert_true(n == top ? copy->name_len == 0 : strcmp(copy->name, n->name) == 0);
            n = tree_next(top, n);
            znodes++;
        }
        assert_null(n);
        assert_int_equal(snapshot_write_below(s, s->tree->root, sink_cb, &second), 0);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(first.at, second.at, first.len);
        free(first.at);
        free(second.at);
        state_free(s);
    }
    assert_true(znodes > tree_count(f.s->tree));
    fixture_release(&f);
}

static int full_sink_cb(void *arg, const uint8_t *bytes, size_t len)
{
    int *calls = arg;

    (void)bytes;
    (void)len;
    ++*calls;
    return *calls == 2 ? -ENOSPC : 0;
}

static void test_sink_stops(void **state)
{
    struct state *s = state_new();
    int calls = 0;

    (void)state;
    assert_int_equal(snapshot_write(s, full_sink_cb, &calls), -ENOSPC);
    assert_int_equal(calls, 2);
    state_free(s);
}

static void test_files(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct disk_file *file;
    struct fixture f;
    struct state *s;
    struct error err;
    uint64_t *zxids;
    size_t n;

    (void)state;
    fixture_init(&f);
    assert_int_equal(snapshot_list(d, &zxids, &n), 0);
    assert_int_equal(n, 0);
    free(zxids);
    assert_int_equal(snapshot_save(d, f.s, &err), 0);
    f.zxid = 0x3000000f;
    assert_int_equal(fixture_create(&f, TREE_ROOT_INO, "x", NODE_FILE, "x"), 0);
    assert_int_equal(snapshot_save(d, f.s, &err), 0);
    assert_int_equal(d->ops->open(d, "snapshot.00ff", DISK_CREATE, &file), 0);
    d->ops->close(file);
    assert_int_equal(d->ops->open(d, "snapshot.ff.tmp", DISK_CREATE, &file), 0);
    d->ops->close(file);
    crash_disk_restart(d);
    assert_int_equal(snapshot_list(d, &zxids, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(zxids[0], 0x30000010);
    assert_int_equal(zxids[1], 1);
    free(zxids);
    assert_int_equal(snapshot_load(d, 0x30000010, &s, &err), 0);
    assert_true(state_digest(s) == state_digest(f.s));
    state_free(s);
    assert_int_equal(snapshot_load(d, 7, &s, &err), -ENOENT);
    assert_int_equal(crash_disk_flip(d, "snapshot.30000010", 50, 4), 0);
    assert_int_equal(snapshot_load(d, 0x30000010, &s, &err), -EBADMSG);
    assert_string_equal(err.text, "load snapshot.30000010: bad checksum at offset 44");
    assert_int_equal(d->ops->rename(d, "snapshot.1", "snapshot.2"), 0);
    assert_int_equal(snapshot_load(d, 2, &s, &err), -EBADMSG);
    crash_disk_free(d);
    fixture_release(&f);
}

/* A crash anywhere in a save: the snapshot is there as a whole, or not at all. */
static void test_crash_while_saving(void **state)
{
    struct fixture f;

    (void)state;
    fixture_init(&f);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct disk *d = crash_disk_new(seed);
        struct error err;
        struct state *s;
        uint64_t *zxids;
        size_t n;
        int rv;

        crash_disk_crash_after(d, seed % 9);
        rv = snapshot_save(d, f.s, &err);
        crash_disk_restart(d);
        assert_int_equal(snapshot_list(d, &zxids, &n), 0);
        assert_true(rv != 0 || n == 1);
        if (n == 1) {
            assert_int_equal(snapshot_load(d, zxids[0], &s, &err), 0);
            state_free(s);
        }
        free(zxids);
        crash_disk_free(d);
    }
    fixture_release(&f);
}

static void test_full_disk(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct fixture f;
    struct error err;
    uint64_t *zxids;
    size_t n;

    (void)state;
    fixture_init(&f);
    crash_disk_set_free(d, 50);
    assert_int_equal(snapshot_save(d, f.s, &err), -ENOSPC);
    assert_int_equal(snapshot_list(d, &zxids, &n), 0);
    assert_int_equal(n, 0);
    free(zxids);
    crash_disk_set_free(d, 100000);
    assert_int_equal(snapshot_save(d, f.s, &err), 0);
    crash_disk_free(d);
    fixture_release(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roundtrip_and_on),   cmocka_unit_test(test_record_of_outcomes_survives),
        cmocka_unit_test(test_empty_and_large),    cmocka_unit_test(test_deep),
        cmocka_unit_test(test_cut_is_refused),     cmocka_unit_test(test_flipped_bit_is_refused),
        cmocka_unit_test(test_sealed_damage),      cmocka_unit_test(test_packed),
        cmocka_unit_test(test_versions),           cmocka_unit_test(test_below),
        cmocka_unit_test(test_sink_stops),         cmocka_unit_test(test_files),
        cmocka_unit_test(test_crash_while_saving), cmocka_unit_test(test_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
