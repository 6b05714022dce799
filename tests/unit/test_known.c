/* known: the directories that the kernel remembers. */
#include "fs/known.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_added_and_dropped(void **state)
{
    static const uint64_t inos[] = {1, 2, 63, 64, 4095, 4096, 1ull << 40, (1ull << 40) + 1};
    const size_t n = sizeof(inos) / sizeof(inos[0]);
    struct known k = {0};

    (void)state;
    for (size_t i = 0; i < n; i++) {
        assert_false(known_has(&k, inos[i]));
        known_add(&k, inos[i]);
        known_add(&k, inos[i]); /* as often as it is looked up */
        assert_true(known_has(&k, inos[i]));
    }
    assert_false(known_has(&k, 3));
    assert_false(known_has(&k, 8192));
    known_drop(&k, 3);
    known_drop(&k, 8192);
    for (size_t i = 0; i < n; i++) {
        known_drop(&k, inos[i]); /* which forgets all of it at once */
        assert_false(known_has(&k, inos[i]));
    }
    assert_null(k.pages);
}

static void test_released(void **state)
{
    struct known k = {0};

    (void)state;
    for (uint64_t ino = 1; ino < 100000; ino += 3) {
        known_add(&k, ino);
    }
    known_release(&k);
    assert_null(k.pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_added_and_dropped),
        cmocka_unit_test(test_released),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
