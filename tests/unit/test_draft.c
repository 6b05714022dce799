/* draft: random writes and truncations against a plain array of bytes, laid over random contents. */
#include "fs/draft.h"
#include "store/txn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL_MAX 512
#define RUNS      3000
#define STEPS     24

static uint64_t seed = 1;

static unsigned random_below(unsigned bound)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(seed >> 33) % bound;
}

static void random_bytes(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(1 + random_below(255));
    }
}

/* What a file system would hold. */
struct model {
    uint8_t bytes[MODEL_MAX];
    size_t len;
};

static void model_write(struct model *m, size_t offset, const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    if (offset > m->len) {
        memset(m->bytes + m->len, 0, offset - m->len);
    }
    memcpy(m->bytes + offset, bytes, len);
    if (offset + len > m->len) {
        m->len = offset + len;
    }
}

static void model_truncate(struct model *m, size_t len)
{
    if (len > m->len) {
        memset(m->bytes + m->len, 0, len - m->len);
    }
    m->len = len;
}

/* The contents that OP_WRITE leads to, step by step as txn.h says it. */
static void model_publish(struct model *m, const struct draft *d)
{
    if (d->keep < m->len) {
        m->len = (size_t)d->keep;
    }
    for (size_t i = 0; i < d->n_ranges; i++) {
        model_write(m, (size_t)d->ranges[i].offset, d->ranges[i].bytes, d->ranges[i].len);
    }
    if (m->len < d->size_min) {
        model_truncate(m, (size_t)d->size_min);
    }
}

static void check_ranges(const struct draft *d)
{
    for (size_t i = 0; i < d->n_ranges; i++) {
        assert_true(d->ranges[i].len > 0);
        if (i > 0) {
            assert_true(d->ranges[i - 1].offset + d->ranges[i - 1].len < d->ranges[i].offset);
        }
    }
}

static void check_reads(const struct draft *d, const struct model *base, const struct model *want)
{
    uint8_t out[MODEL_MAX];
    size_t offset = random_below(MODEL_MAX);
    size_t len = random_below(MODEL_MAX);
    size_t expected = offset >= want->len ? 0 : want->len - offset;

    assert_int_equal(draft_size(d, base->len), want->len);
    assert_int_equal(draft_read(d, base->bytes, base->len, 0, out, sizeof(out)), want->len);
    assert_memory_equal(out, want->bytes, want->len);
    if (expected > len) {
        expected = len;
    }
    assert_int_equal(draft_read(d, base->bytes, base->len, offset, out, len), expected);
    assert_memory_equal(out, want->bytes + offset, expected);
}

static void test_is_what_a_file_would_be(void **state)
{
    (void)state;
    for (int run = 0; run < RUNS; run++) {
        struct model base = {.len = random_below(MODEL_MAX / 2)};
        bool whole = random_below(3) == 0;
        struct draft *d = draft_new(whole);
        struct model want;
        struct model published;

        random_bytes(base.bytes, base.len);
        want = base;
        if (whole) {
            want.len = 0;
        }
        for (int step = 0; step < STEPS; step++) {
            size_t offset = random_below(MODEL_MAX - 64);
            if (random_below(8) == 0) {
                assert_int_equal(draft_truncate(d, offset, MODEL_MAX), 0);
                model_truncate(&want, offset);
            } else {
                uint8_t bytes[64];
                uint32_t len = random_below(sizeof(bytes));
                random_bytes(bytes, len);
                assert_int_equal(draft_write(d, offset, bytes, len, MODEL_MAX), 0);
                model_write(&want, offset, bytes, len);
            }
            check_ranges(d);
            check_reads(d, &base, &want);
        }
        published = base;
        model_publish(&published, d);
        assert_int_equal(published.len, want.len);
        assert_memory_equal(published.bytes, want.bytes, want.len);
        draft_free(d);
    }
}

/* What another mount wrote elsewhere in the file meanwhile stays: ranges hold nothing of what was there. */
static void test_ranges_leave_the_rest_alone(void **state)
{
    struct draft *d = draft_new(false);
    const uint8_t later[] = "0123456789ABCDEF";
    uint8_t out[32];

    (void)state;
    assert_int_equal(draft_write(d, 2, "xy", 2, MODEL_MAX), 0);
    assert_int_equal(draft_read(d, later, 16, 0, out, sizeof(out)), 16);
    assert_memory_equal(out, "01xy456789ABCDEF", 16);
    draft_free(d);
}

static void test_bounds(void **state)
{
    struct draft *d = draft_new(true);

    (void)state;
    assert_int_equal(draft_write(d, 8, "12345678", 8, 16), 0);
    assert_int_equal(draft_write(d, 9, "12345678", 8, 16), -EFBIG);
    assert_int_equal(draft_write(d, 17, "", 0, 16), -EFBIG);
    assert_int_equal(draft_write(d, UINT64_MAX - 2, "12345678", 8, 16), -EFBIG);
    assert_int_equal(draft_truncate(d, 17, 16), -EFBIG);
    assert_int_equal(draft_truncate(d, 16, 16), 0);
    assert_int_equal(draft_size(d, 0), 16);
    draft_free(d);
}

static void test_ranges_are_bounded(void **state)
{
    struct draft *d = draft_new(false);

    (void)state;
    for (uint64_t i = 0; i < TXN_RANGES_MAX; i++) {
        assert_int_equal(draft_write(d, 2 * i, "x", 1, UINT32_MAX), 0);
    }
    assert_int_equal(draft_write(d, 2ull * TXN_RANGES_MAX, "x", 1, UINT32_MAX), -EFBIG);
    assert_int_equal(draft_write(d, 1, "y", 1, UINT32_MAX), 0); /* joins two */
    assert_int_equal(d->n_ranges, TXN_RANGES_MAX - 1);
    draft_free(d);
}

/* Writes one behind the other, as programs make them, stay one range. */
static void test_a_stream_is_one_range(void **state)
{
    struct draft *d = draft_new(true);

    (void)state;
    for (uint64_t i = 0; i < 10000; i++) {
        assert_int_equal(draft_write(d, i * 7, "1234567", 7, UINT32_MAX), 0);
    }
    assert_int_equal(d->n_ranges, 1);
    assert_int_equal(draft_size(d, 123), 70000);
    draft_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_what_a_file_would_be),
        cmocka_unit_test(test_ranges_leave_the_rest_alone),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_ranges_are_bounded),
        cmocka_unit_test(test_a_stream_is_one_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
