#include "store/tree_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tree *new_tree(void)
{
    struct tree *t = tree_new();

    tree_insert(t, NULL, node_new(NODE_DIR, TREE_ROOT_INO, "", 0), 0);
    return t;
}

static struct node *add(struct tree *t, struct node *parent, enum node_kind kind, const char *name)
{
    struct node *n = node_new(kind, t->next_ino++, name, strlen(name));

    tree_insert(t, parent, n, 0);
    return n;
}

static struct node *add_number(struct tree *t, struct node *parent, unsigned number)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%u", number);
    return add(t, parent, NODE_FILE, name);
}

/* What the digest is when computed from scratch. */
static uint64_t slow_digest(const struct tree *t)
{
    uint64_t sum = 0;

    for (const struct node *n = t->root; n != NULL; n = tree_next(t->root, n)) {
        sum += node_digest(n);
    }
    return sum;
}

static void rehash_all(struct tree *t)
{
    for (const struct node *n = t->root; n != NULL; n = tree_next(t->root, n)) {
        tree_rehash(t, tree_get(t, n->ino));
    }
}

/* The table grows and shrinks through many sizes and never loses anything. */
static void test_many(void **state)
{
    enum { COUNT = 20000 };
    struct tree *t = new_tree();

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        struct node *n = add_number(t, t->root, i);

        assert_ptr_equal(tree_by_ino(t, n->ino), n);
    }
    assert_int_equal(tree_count(t), COUNT + 1);
    for (unsigned i = 0; i < COUNT; i++) {
        char name[32];
        struct node *n;

        (void)snprintf(name, sizeof(name), "%u", i);
        n = tree_get_child(t, t->root, name, strlen(name));
        assert_non_null(n);
        assert_string_equal(n->name, name);
        if (i % 97 != 0) {
            tree_remove(t, n);
            assert_null(tree_lookup(t, TREE_ROOT_INO, name, strlen(name)));
        }
    }
    assert_int_equal(tree_count(t), 1 + (COUNT + 96) / 97);
    assert_true(t->by_ino.n_buckets < COUNT / 8);
    assert_true(t->root->dir->n_slots <= 2 * t->root->dir->n_children + 16);
    for (unsigned i = 0; i < COUNT; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "%u", i);
        assert_int_equal(tree_lookup(t, TREE_ROOT_INO, name, strlen(name)) != NULL, i % 97 == 0);
    }
    rehash_all(t);
    assert_true(t->digest == slow_digest(t));
    tree_free(t);
}

/* A listing in steps, with creations and removals in between, sees every name that was there all the time, once. */
static void test_listing_under_change(void **state)
{
    enum { COUNT = 3000 };
    struct tree *t = new_tree();
    unsigned *seen = calloc(COUNT, sizeof(*seen));
    const struct node *n;
    uint64_t cookie = 0;
    uint64_t before = 0;
    unsigned added = COUNT;
    unsigned step = 0;

    (void)state;
    assert_non_null(seen);
    for (unsigned i = 0; i < COUNT; i++) {
        add_number(t, t->root, i);
    }
    while ((n = tree_child_after(t->root, cookie, &cookie)) != NULL) {
        unsigned number = (unsigned)strtoul(n->name, NULL, 10);
        char name[32];
        struct node *victim;

        assert_true(cookie > before);
        before = cookie;
        if (number < COUNT) {
            seen[number]++;
        }
        /* Two of three original files go, in an order that leaves holes before and behind. */
        (void)snprintf(name, sizeof(name), "%u", (step * 7919) % COUNT);
        victim = tree_get_child(t, t->root, name, strlen(name));
        if (victim != NULL && (step * 7919) % COUNT % 3 != 0) {
            tree_remove(t, victim);
        }
        if (step % 4 == 0) {
            add_number(t, t->root, added++);
        }
        step++;
    }
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(seen[i] <= 1);
        assert_true(i % 3 != 0 || seen[i] == 1);
    }
    free(seen);
    tree_free(t);
}

static void test_cookies_are_not_reused(void **state)
{
    struct tree *t = new_tree();
    uint64_t last = 0;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        struct node *n = add_number(t, t->root, i);

        assert_true(node_cookie(n) > last);
        last = node_cookie(n);
        tree_remove(t, n);
    }
    assert_int_equal(t->root->dir->n_slots, 0);
    assert_null(tree_child_after(t->root, 0, &last));
    tree_free(t);
}

static void test_move_keeps_what_is_below(void **state)
{
    struct tree *t = new_tree();
    struct node *a = add(t, t->root, NODE_DIR, "a");
    struct node *b = add(t, t->root, NODE_DIR, "b");
    struct node *file = add(t, a, NODE_FILE, "file");
    static const char long_name[] = "a name that is too long to be inline";
    uint64_t digest = file->digest;
    char path[64];

    (void)state;
    assert_int_equal(t->root->dir->n_subdirs, 2);
    tree_move(t, a, b, long_name, strlen(long_name));
    assert_int_equal(t->root->dir->n_subdirs, 1);
    assert_int_equal(b->dir->n_subdirs, 1);
    assert_ptr_equal(tree_lookup(t, a->ino, "file", 4), file);
    assert_ptr_equal(tree_lookup(t, b->ino, long_name, strlen(long_name)), a);
    assert_null(tree_lookup(t, TREE_ROOT_INO, "a", 1));
    assert_true(node_digest(file) == digest);
    assert_true(node_is_below(file, b));
    assert_false(node_is_below(b, a));
    assert_int_equal(node_path(file, path, sizeof(path)), strlen("/b//file") + strlen(long_name));
    assert_string_equal(path, "/b/a name that is too long to be inline/file");
    assert_int_equal(node_path(t->root, path, sizeof(path)), 1);
    assert_string_equal(path, "/");
    assert_int_equal(node_path(file, path, 4), strlen("/b//file") + strlen(long_name));
    assert_string_equal(path, "");
    tree_move(t, a, t->root, "s", 1);
    assert_string_equal(a->name, "s");
    assert_ptr_equal(a->name, a->name_inline);
    rehash_all(t);
    assert_true(t->digest == slow_digest(t));
    tree_free(t);
}

static void test_replace_and_exchange_keep_slots(void **state)
{
    struct tree *t = new_tree();
    struct node *a = add(t, t->root, NODE_FILE, "a");
    struct node *b = add(t, t->root, NODE_FILE, "b and more than fits inline");
    struct node *d = add(t, t->root, NODE_DIR, "d");
    struct node *c = add(t, d, NODE_FILE, "c");
    uint64_t cookie;

    (void)state;
    tree_exchange(t, a, b);
    assert_string_equal(b->name, "a");
    assert_string_equal(a->name, "b and more than fits inline");
    assert_ptr_equal(tree_child_after(t->root, 0, &cookie), b);
    assert_ptr_equal(tree_child_after(t->root, cookie, &cookie), a);
    tree_exchange(t, d, a);
    assert_int_equal(t->root->dir->n_subdirs, 1);
    assert_ptr_equal(tree_lookup(t, d->ino, "c", 1), c);
    tree_exchange(t, c, b);
    assert_ptr_equal(c->parent, t->root);
    assert_ptr_equal(tree_lookup(t, d->ino, "c", 1), b);
    tree_replace(t, b, c);
    assert_ptr_equal(b->parent, t->root);
    assert_string_equal(b->name, "a");
    assert_int_equal(node_cookie(b), 1);
    assert_int_equal(d->dir->n_children, 0);
    assert_int_equal(tree_count(t), 4);
    assert_int_equal(tree_data_bytes(t), strlen("a") + strlen("d") + strlen("b and more than fits inline"));
    rehash_all(t);
    assert_true(t->digest == slow_digest(t));
    tree_free(t);
}

/* Nothing that walks may recurse. */
static void test_deep(void **state)
{
    enum { DEPTH = 100000 };
    struct tree *t = new_tree();
    struct node *n = t->root;
    uint64_t count = 0;

    (void)state;
    for (int i = 0; i < DEPTH; i++) {
        n = add(t, n, NODE_DIR, "d");
    }
    assert_true(node_is_below(n, t->root));
    assert_int_equal(node_path(n, NULL, 0), 2 * DEPTH);
    for (const struct node *each = t->root; each != NULL; each = tree_next(t->root, each)) {
        count++;
    }
    assert_int_equal(count, DEPTH + 1);
    tree_free(t);
}

static void test_append_shares_the_buffer(void **state)
{
    struct tree *t = new_tree();
    struct node *n = add(t, t->root, NODE_FILE, "log");
    struct buf *held;

    (void)state;
    tree_append_data(t, n, (const uint8_t *)"12345678", 8, 1024);
    tree_append_data(t, n, (const uint8_t *)"9", 1, 1024);
    held = buf_ref(n->data);
    tree_append_data(t, n, (const uint8_t *)"abc", 3, 1024);
    assert_ptr_equal(n->data, held); /* in place */
    assert_memory_equal(held->bytes, "123456789", 9);
    assert_int_equal(n->data_len, 12);
    /* A version that ends before the buffer does may not write over the longer one's bytes. */
    tree_set_data(t, n, buf_ref(held), 9, 0);
    tree_append_data(t, n, (const uint8_t *)"XYZ", 3, 1024);
    assert_ptr_not_equal(n->data, held);
    assert_memory_equal(held->bytes, "123456789abc", 12);
    assert_memory_equal(n->data->bytes, "123456789XYZ", 12);
    assert_int_equal(tree_data_bytes(t), 3 + 12);
    buf_unref(held);
    tree_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_listing_under_change),
        cmocka_unit_test(test_cookies_are_not_reused),
        cmocka_unit_test(test_move_keeps_what_is_below),
        cmocka_unit_test(test_replace_and_exchange_keep_slots),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_append_shares_the_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
