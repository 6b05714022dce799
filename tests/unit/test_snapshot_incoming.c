/* A snapshot that comes in pieces: it counts when it is whole, durable and at the zxid announced, and not before. */
#include "state_fixture.h"
#include "store/snapshot.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct world {
    struct fixture f;
    struct disk *disk;
    uint8_t bytes[1 << 20];
    size_t len;
};

static int sink_cb(void *arg, const uint8_t *bytes, size_t len)
{
    struct world *w = arg;

    assert_true(len <= sizeof(w->bytes) - w->len);
    memcpy(w->bytes + w->len, bytes, len);
    w->len += len;
    return 0;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint64_t seed = 5;

    assert_non_null(w);
    w->disk = crash_disk_new(3);
    fixture_init(&w->f);
    for (int i = 0; i < 60; i++) {
        fixture_random_op(&w->f, &seed);
    }
    assert_int_equal(snapshot_write(w->f.s, sink_cb, w), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    fixture_release(&w->f);
    crash_disk_free(w->disk);
    free(w);
    return 0;
}

static int feed(const struct world *w, struct snapshot_incoming *in, size_t from, size_t to)
{
    struct error err;
    int rv = 0;

    for (; from < to && rv == 0; from += 100) {
        rv = snapshot_incoming_feed(in, w->bytes + from, to - from < 100 ? to - from : 100, &err);
    }
    return rv;
}

static size_t n_snapshots(const struct world *w)
{
    uint64_t *zxids;
    size_t n;

    assert_int_equal(snapshot_list(w->disk, &zxids, &n), 0);
    free(zxids);
    return n;
}

static void test_whole(void **state)
{
    struct world *w = *state;
    struct snapshot_incoming *in = snapshot_incoming_new(w->disk);
    struct error err;
    struct state *s;

    assert_int_equal(feed(w, in, 0, w->len), 0);
    assert_int_equal(n_snapshots(w), 0);
    assert_int_equal(snapshot_incoming_finish(in, state_zxid(w->f.s), &s, &err), 0);
    assert_int_equal(state_digest_slow(s), state_digest(w->f.s));
    state_free(s);
    snapshot_incoming_free(in);
    crash_disk_crash(w->disk);
    crash_disk_restart(w->disk);
    assert_int_equal(snapshot_load(w->disk, state_zxid(w->f.s), &s, &err), 0);
    assert_int_equal(state_digest(s), state_digest(w->f.s));
    while (!state_free_some(s, 3)) {
    }
}

static void test_part_counts_for_nothing(void **state)
{
    struct world *w = *state;
    struct error err;
    struct state *s;

    for (size_t len = 0; len < w->len; len += w->len / 10 + 1) {
        struct snapshot_incoming *in = snapshot_incoming_new(w->disk);

        assert_int_equal(feed(w, in, 0, len), 0);
        assert_int_equal(snapshot_incoming_finish(in, state_zxid(w->f.s), &s, &err), -EBADMSG);
        snapshot_incoming_free(in);
    }
    assert_int_equal(n_snapshots(w), 0);
    assert_int_equal(snapshot_incoming_remove(w->disk), 0);
    assert_int_equal(snapshot_incoming_remove(w->disk), 0);
}

static void test_wrong(void **state)
{
    struct world *w = *state;
    struct snapshot_incoming *in = snapshot_incoming_new(w->disk);
    struct error err;
    struct state *s;

    assert_int_equal(feed(w, in, 0, w->len), 0);
    assert_int_equal(snapshot_incoming_finish(in, state_zxid(w->f.s) + 1, &s, &err), -EBADMSG);
    snapshot_incoming_free(in);
    in = snapshot_incoming_new(w->disk);
    w->bytes[w->len / 2] ^= 4;
    assert_int_equal(feed(w, in, 0, w->len), -EBADMSG);
    snapshot_incoming_free(in);
    assert_int_equal(n_snapshots(w), 0);
}

static void test_full_disk(void **state)
{
    struct world *w = *state;
    struct snapshot_incoming *in = snapshot_incoming_new(w->disk);

    crash_disk_set_free(w->disk, w->len / 2);
    assert_int_equal(feed(w, in, 0, w->len), -ENOSPC);
    snapshot_incoming_free(in);
    assert_int_equal(snapshot_incoming_remove(w->disk), 0);
    assert_int_equal(n_snapshots(w), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_part_counts_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
