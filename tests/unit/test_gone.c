/* gone: extended attributes of what is removed and still open. */
#include "fs/gone.h"

#include "store/txn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <cmocka.h>

static void test_set_and_remove(void **state)
{
    struct gone_xattr *list = NULL;
    const struct gone_xattr *x;

    (void)state;
    assert_null(gone_xattr_find(list, "user.a"));
    assert_int_equal(gone_xattr_remove(&list, "user.a"), ENODATA);
    assert_int_equal(gone_xattr_set(&list, "user.a", "1", 1, XATTR_REPLACE), ENODATA);
    assert_int_equal(gone_xattr_set(&list, "user.a", "1", 1, XATTR_CREATE), 0);
    assert_int_equal(gone_xattr_set(&list, "user.a", "2", 1, XATTR_CREATE), EEXIST);
    assert_int_equal(gone_xattr_set(&list, "user.a", "longer", 6, XATTR_REPLACE), 0);
    assert_int_equal(gone_xattr_set(&list, "user.b", NULL, 0, 0), 0);
    x = gone_xattr_find(list, "user.a");
    assert_non_null(x);
    assert_int_equal(x->len, 6);
    assert_memory_equal(x->value, "longer", 6);
    x = gone_xattr_find(list, "user.b");
    assert_non_null(x);
    assert_int_equal(x->len, 0);
    assert_int_equal(gone_xattr_remove(&list, "user.a"), 0);
    assert_null(gone_xattr_find(list, "user.a"));
    gone_xattrs_free(&list);
    assert_null(list);
}

static void test_bounds(void **state)
{
    struct gone_xattr *list = NULL;
    char *value = calloc(1, TXN_XATTR_VALUE_MAX);
    char name[TXN_NAME_MAX + 2];

    (void)state;
    assert_non_null(value);
    memset(name, 'n', sizeof(name));
    name[TXN_NAME_MAX + 1] = '\0';
    assert_int_equal(gone_xattr_set(&list, name, "", 0, 0), ERANGE);
    assert_int_equal(gone_xattr_set(&list, "", "", 0, 0), ERANGE);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "user.%d", i);
        assert_int_equal(gone_xattr_set(&list, name, value, TXN_XATTR_VALUE_MAX, 0), 0);
    }
    assert_int_equal(gone_xattr_set(&list, "user.3", value, TXN_XATTR_VALUE_MAX, 0), ENOSPC);
    assert_int_equal(gone_xattr_set(&list, "user.2", value, TXN_XATTR_VALUE_MAX, 0), 0);
    gone_xattrs_free(&list);
    for (int i = 0; i < TXN_XATTR_COUNT_MAX; i++) {
        (void)snprintf(name, sizeof(name), "user.%d", i);
        assert_int_equal(gone_xattr_set(&list, name, "", 0, 0), 0);
    }
    assert_int_equal(gone_xattr_set(&list, "user.more", "", 0, 0), ENOSPC);
    gone_xattrs_free(&list);
    free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_and_remove),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
