/* The linearizability checker of the simulator: what it must accept, and what it must not. */
#include "tests/sim/sim_lin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after these: */
#include <cmocka.h>

static uint64_t one(uint32_t value)
{
    return lin_contents(LIN_EMPTY, value);
}

static void test_one_after_the_other(void **state)
{
    struct lin_op ops[] = {
        {.kind = LIN_READ, .asked = 1, .answered = 2, .contents = LIN_ABSENT},
        {.kind = LIN_CREATE, .value = 7, .asked = 3, .answered = 4},
        {.kind = LIN_CREATE, .value = 8, .asked = 5, .answered = 6, .err = EEXIST},
        {.kind = LIN_APPEND, .value = 9, .asked = 7, .answered = 8},
        {.kind = LIN_READ, .asked = 9, .answered = 10, .contents = lin_contents(one(7), 9)},
        {.kind = LIN_SET, .value = 3, .asked = 11, .answered = 12},
        {.kind = LIN_READ, .asked = 13, .answered = 14, .contents = one(3)},
        {.kind = LIN_REMOVE, .asked = 15, .answered = 16},
        {.kind = LIN_REMOVE, .asked = 17, .answered = 18, .err = ENOENT},
    };

    (void)state;
    assert_int_equal(lin_check(ops, sizeof(ops) / sizeof(ops[0])), LIN_YES);
    ops[4].contents = one(7); /* a read that misses what was answered before */
    assert_int_equal(lin_check(ops, sizeof(ops) / sizeof(ops[0])), LIN_NO);
}

static void test_at_once(void **state)
{
    struct lin_op ops[] = {
        {.kind = LIN_CREATE, .value = 1, .asked = 1, .answered = 2},
        {.kind = LIN_SET, .value = 2, .asked = 3, .answered = 10},
        {.kind = LIN_SET, .value = 3, .asked = 4, .answered = 9},
        {.kind = LIN_READ, .asked = 5, .answered = 6, .contents = one(3)},
        {.kind = LIN_READ, .asked = 7, .answered = 8, .contents = one(2)},
    };

    (void)state;
    assert_int_equal(lin_check(ops, 5), LIN_YES);
    ops[4].contents = one(1); /* back to what was there before */
    assert_int_equal(lin_check(ops, 5), LIN_NO);
}

static void test_two_holders(void **state)
{
    struct lin_op ops[] = {
        {.kind = LIN_CREATE, .value = 1, .asked = 1, .answered = 4},
        {.kind = LIN_CREATE, .value = 2, .asked = 2, .answered = 3},
    };

    (void)state;
    assert_int_equal(lin_check(ops, 2), LIN_NO);
    ops[0].err = EEXIST;
    assert_int_equal(lin_check(ops, 2), LIN_YES);
}

/* Without an answer it may have happened or not, but once, and not before it was asked. */
static void test_without_an_answer(void **state)
{
    struct lin_op ops[] = {
        {.kind = LIN_CREATE, .value = 1, .asked = 1, .answered = 2},
        {.kind = LIN_READ, .asked = 3, .answered = 4, .contents = one(1)},
        {.kind = LIN_APPEND, .value = 2, .asked = 5, .answered = LIN_NEVER},
        {.kind = LIN_READ, .asked = 6, .answered = 7, .contents = one(1)},
        {.kind = LIN_READ, .asked = 8, .answered = 9, .contents = lin_contents(one(1), 2)},
    };

    (void)state;
    assert_int_equal(lin_check(ops, 5), LIN_YES);
    assert_int_equal(lin_check(ops, 4), LIN_YES);
    ops[4].contents = lin_contents(ops[4].contents, 2); /* twice */
    assert_int_equal(lin_check(ops, 5), LIN_NO);
    ops[4].contents = lin_contents(one(1), 2);
    ops[1].contents = ops[4].contents; /* before it was asked */
    assert_int_equal(lin_check(ops, 5), LIN_NO);
    ops[1].contents = one(1);
    ops[2].is_void = true;
    assert_int_equal(lin_check(ops, 5), LIN_NO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_two_holders),
        cmocka_unit_test(test_without_an_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
