#include "store/epochs.h"
#include "store/le.h"
#include "tests/sim/crash_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

static const struct epochs one = {.sid = 3, .accepted_epoch = 7, .accepted_from = 2, .current_epoch = 6};
static const struct epochs two = {.sid = 3, .accepted_epoch = 8, .accepted_from = 1, .current_epoch = 8};

static void assert_epochs(const struct epochs *a, const struct epochs *b)
{
    assert_int_equal(a->sid, b->sid);
    assert_int_equal(a->accepted_epoch, b->accepted_epoch);
    assert_int_equal(a->accepted_from, b->accepted_from);
    assert_int_equal(a->current_epoch, b->current_epoch);
}

static void test_save_and_load(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct epochs e;
    struct error err;

    (void)state;
    assert_int_equal(epochs_load(d, &e, &err), -ENOENT);
    assert_int_equal(epochs_save(d, &one, &err), 0);
    assert_int_equal(epochs_load(d, &e, &err), 0);
    assert_epochs(&e, &one);
    crash_disk_free(d);
}

/* A promise that was saved is kept, whatever the crash. */
static void test_crash_at_every_operation(void **state)
{
    struct epochs e;
    struct error err;
    uint64_t seed;

    (void)state;
    for (seed = 0; seed < 300; seed++) {
        struct disk *d = crash_disk_new(seed);
        int rv;

        assert_int_equal(epochs_save(d, &one, &err), 0);
        crash_disk_crash_after(d, seed % 7);
        rv = epochs_save(d, &two, &err);
        crash_disk_restart(d);
        assert_int_equal(epochs_load(d, &e, &err), 0);
        assert_epochs(&e, rv == 0 || e.accepted_epoch == two.accepted_epoch ? &two : &one);
        crash_disk_free(d);
    }
}

static void test_every_flip_is_seen(void **state)
{
    struct disk *d = crash_disk_new(1);
    struct epochs e;
    struct error err;
    uint64_t i;

    (void)state;
    assert_int_equal(epochs_save(d, &one, &err), 0);
    for (i = 0; i < 48; i++) {
        assert_int_equal(crash_disk_flip(d, "epochs", i, 0x10), 0);
        assert_int_equal(epochs_load(d, &e, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "epochs is damaged"));
        assert_int_equal(crash_disk_flip(d, "epochs", i, 0x10), 0);
    }
    assert_int_equal(epochs_load(d, &e, &err), 0);
    assert_int_equal(disk_replace(d, "epochs", "ZNEPOCHS", 8), 0);
    assert_int_equal(epochs_load(d, &e, &err), -EBADMSG);
    assert_int_equal(disk_replace(d, "epochs", "", 0), 0);
    assert_int_equal(epochs_load(d, &e, &err), -EBADMSG);
    crash_disk_free(d);
}

static void test_newer_version(void **state)
{
    struct disk *d = crash_disk_new(1);
    uint8_t bytes[64] = "ZNEPOCHS";
    struct epochs e;
    struct error err;

    (void)state;
    le_put32(bytes + 8, 2);
    le_put64(bytes + 56, XXH3_64bits(bytes, 56));
    assert_int_equal(disk_replace(d, "epochs", bytes, sizeof(bytes)), 0);
    assert_int_equal(epochs_load(d, &e, &err), -EPROTO);
    assert_non_null(strstr(err.text, "version 2"));
    crash_disk_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_crash_at_every_operation),
        cmocka_unit_test(test_every_flip_is_seen),
        cmocka_unit_test(test_newer_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
