/* Reading the log while it is written: what follows a zxid, whole, in order, for as long as it is there. */
#include "store/txnlog.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PAYLOAD 300
#define ENDLESS SIZE_MAX

static const struct txnlog_config small = {.segment_bytes = 8192, .prealloc_bytes = 4096};

struct world {
    struct disk *disk;
    struct txnlog *log;
};

static int ignore_cb(void *arg, const struct txnlog_record *r)
{
    (void)arg;
    (void)r;
    return 0;
}

/* Record i has zxid 10 * i, so that there are zxids between two records. */
static void append(struct txnlog *log, uint64_t from, uint64_t to)
{
    uint8_t payload[PAYLOAD];
    uint64_t i;

    for (i = from; i <= to; i++) {
        struct txnlog_record r = {.zxid = 10 * i, .zxid_prev = 10 * (i - 1), .payload = payload, .len = PAYLOAD};

        memset(payload, (int)i, sizeof(payload));
        assert_int_equal(txnlog_append(log, &r, 1, NULL), 0);
        assert_int_equal(txnlog_sync(log, NULL), 0);
    }
}

static int setup(void **state)
{
    static struct world w;

    w.disk = crash_disk_new(1);
    assert_int_equal(txnlog_open(w.disk, &small, ignore_cb, NULL, &w.log, NULL), 0);
    append(w.log, 1, 200);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    txnlog_close(w->log);
    crash_disk_free(w->disk);
    return 0;
}

static int check_cb(void *arg, const struct txnlog_record *r)
{
    uint64_t *last = arg;

    assert_int_equal(r->zxid_prev, *last);
    assert_int_equal(r->zxid, *last + 10);
    assert_int_equal(r->len, PAYLOAD);
    assert_int_equal(r->payload[0], (uint8_t)(r->zxid / 10));
    *last = r->zxid;
    return 0;
}

/* Reads on until there is no more; where that is. */
static uint64_t read_all(struct txnlog *log, uint64_t from, size_t bytes_max)
{
    uint64_t last = from;
    uint64_t before;
    int rv;

    do {
        before = last;
        rv = txnlog_read(log, last, bytes_max, check_cb, &last, NULL);
        assert_true(rv == 0 ? last > before : rv == -ENOENT && last == before);
    } while (rv == 0);
    return last;
}

static void test_in_portions(void **state)
{
    struct world *w = *state;

    assert_int_equal(read_all(w->log, 0, ENDLESS), 2000);
    assert_int_equal(read_all(w->log, 0, 1), 2000);
    assert_int_equal(read_all(w->log, 1230, 1000), 2000);
    append(w->log, 201, 210);
    assert_int_equal(read_all(w->log, 2000, 1000), 2100);
    assert_true(txnlog_bytes_after(w->log, 0) == txnlog_bytes(w->log));
    assert_int_equal(txnlog_bytes_after(w->log, 2100), 0);
}

/* Two that read at the same time do not lose each other's place. */
static void test_side_by_side(void **state)
{
    struct world *w = *state;
    uint64_t a = 0;
    uint64_t b = 500;
    int i;

    for (i = 0; i < 100; i++) {
        assert_int_equal(txnlog_read(w->log, a, 1, check_cb, &a, NULL), 0);
        assert_int_equal(txnlog_read(w->log, b, 1, check_cb, &b, NULL), 0);
    }
    assert_int_equal(a, 1000);
    assert_int_equal(b, 1500);
}

static void test_not_there(void **state)
{
    struct world *w = *state;
    uint64_t last = 1235;

    assert_int_equal(txnlog_read(w->log, 1235, ENDLESS, check_cb, &last, NULL), -ENOENT);
    assert_int_equal(txnlog_read(w->log, 2000, ENDLESS, check_cb, &last, NULL), -ENOENT);
    assert_int_equal(txnlog_read(w->log, 5000, ENDLESS, check_cb, &last, NULL), -ENOENT);
    assert_int_equal(txnlog_purge(w->log, 1000, NULL), 0);
    assert_int_equal(txnlog_read(w->log, 10, ENDLESS, check_cb, &last, NULL), -ENOENT);
    assert_int_equal(read_all(w->log, 1000, 1000), 2000);
    assert_int_equal(txnlog_reset(w->log, 3000, NULL), 0);
    assert_int_equal(txnlog_read(w->log, 3000, ENDLESS, check_cb, &last, NULL), -ENOENT);
}

/* What was cut off is not found at the place where it was. */
static void test_after_a_truncation(void **state)
{
    struct world *w = *state;

    assert_int_equal(read_all(w->log, 1900, 1), 2000);
    assert_int_equal(txnlog_truncate(w->log, 1955, NULL), -EINVAL);
    assert_int_equal(txnlog_truncate(w->log, 1900, NULL), 0);
    assert_int_equal(read_all(w->log, 1800, 1), 1900);
    append(w->log, 191, 195);
    assert_int_equal(read_all(w->log, 1800, 1), 1950);
}

static void test_damage(void **state)
{
    struct world *w = *state;
    uint64_t last = 0;

    assert_int_equal(crash_disk_flip(w->disk, "log.000000000000000a", 4096 + 100, 1), 0);
    assert_int_equal(txnlog_read(w->log, 0, ENDLESS, check_cb, &last, NULL), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_in_portions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_after_a_truncation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
