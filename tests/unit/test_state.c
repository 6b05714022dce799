#include "state_fixture.h"
#include "store/session.h"

#include <errno.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cmocka.h>

#define ROOT TREE_ROOT_INO

static int set_up(void **state)
{
    struct fixture *f = malloc(sizeof(*f));

    if (f == NULL) {
        return -1;
    }
    fixture_init(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_release(*state);
    free(*state);
    return 0;
}

static void assert_data(const struct fixture *f, uint64_t ino, const char *data)
{
    const struct node *n = fixture_node(f, ino);

    assert_non_null(n);
    assert_int_equal(n->data_len, strlen(data));
    if (n->data_len > 0) {
        assert_memory_equal(n->data->bytes, data, n->data_len);
    } else {
        assert_null(n->data);
    }
}

static uint64_t must_create(struct fixture *f, uint64_t parent, const char *name, enum node_kind kind, const char *data)
{
    assert_int_equal(fixture_create(f, parent, name, kind, data), 0);
    assert_int_equal(f->last.ino, fixture_ino(f, parent, name));
    return f->last.ino;
}

static void test_create(void **state)
{
    struct fixture *f = *state;
    uint64_t file = must_create(f, ROOT, "file", NODE_FILE, "abc");
    uint64_t dir = must_create(f, ROOT, "dir", NODE_DIR, NULL);
    uint64_t link = must_create(f, dir, "link", NODE_SYMLINK, "../file");
    const struct node *root = fixture_node(f, ROOT);
    const struct node *n = fixture_node(f, file);

    assert_data(f, file, "abc");
    assert_data(f, link, "../file");
    assert_int_equal(n->mode, 0644);
    assert_int_equal(n->version, 0);
    assert_int_equal(n->czxid, 2);
    assert_int_equal(n->mzxid, 2);
    assert_int_equal(root->cversion, 2);
    assert_int_equal(root->pzxid, 3);
    assert_int_equal(root->dir->n_children, 2);
    assert_int_equal(root->dir->n_subdirs, 1);
    assert_true(root->mtime_ns == fixture_node(f, dir)->btime_ns);
    assert_int_equal(tree_count(state_tree(f->s)), 4);
    assert_int_equal(tree_data_bytes(state_tree(f->s)), 4 + 3 + 3 + 4 + 7);
}

static void test_create_errors(void **state)
{
    struct fixture *f = *state;
    char long_name[300];
    uint64_t file = must_create(f, ROOT, "file", NODE_FILE, NULL);
    struct op nul = {.kind = OP_CREATE, .ino = ROOT, .name = "a\0b", .name_len = 3, .node_kind = NODE_FILE};
    static char target[5000];

    memset(long_name, 'x', sizeof(long_name));
    long_name[256] = '\0';
    assert_int_equal(fixture_create(f, ROOT, long_name, NODE_FILE, NULL), ENAMETOOLONG);
    long_name[255] = '\0';
    assert_int_equal(fixture_create(f, ROOT, long_name, NODE_FILE, NULL), 0);
    assert_int_equal(fixture_create(f, 999, "x", NODE_FILE, NULL), ENOENT);
    assert_int_equal(fixture_create(f, file, "x", NODE_FILE, NULL), ENOTDIR);
    assert_int_equal(fixture_create(f, ROOT, "file", NODE_DIR, NULL), EEXIST);
    assert_int_equal(fixture_create(f, ROOT, "", NODE_FILE, NULL), EINVAL);
    assert_int_equal(fixture_create(f, ROOT, ".", NODE_FILE, NULL), EINVAL);
    assert_int_equal(fixture_create(f, ROOT, "..", NODE_FILE, NULL), EINVAL);
    assert_int_equal(fixture_create(f, ROOT, "a/b", NODE_FILE, NULL), EINVAL);
    assert_int_equal(fixture_create(f, ROOT, ".znodefs", NODE_DIR, NULL), EINVAL);
    assert_int_equal(fixture_create(f, ROOT, "...", NODE_DIR, NULL), 0);
    assert_int_equal(fixture_do(f, &nul), EINVAL);
    assert_int_equal(fixture_create(f, ROOT, "link", NODE_SYMLINK, ""), ENOENT);
    memset(target, 'x', 4096);
    assert_int_equal(fixture_create(f, ROOT, "link", NODE_SYMLINK, target), ENAMETOOLONG);
    f->data_max = 10;
    assert_int_equal(fixture_create(f, ROOT, "big", NODE_FILE, "0123456789a"), EFBIG);
    assert_int_equal(fixture_create(f, ROOT, "big", NODE_FILE, "0123456789"), 0);
    assert_int_equal(f->last.zxid, f->zxid);
}

static void test_create_in_setgid_directory(void **state)
{
    struct fixture *f = *state;
    uint64_t dir = must_create(f, ROOT, "dir", NODE_DIR, NULL);
    struct op chown = {.kind = OP_SETATTR, .ino = dir, .mask = SETATTR_MODE | SETATTR_GID, .mode = 02755, .gid = 42};
    uint64_t sub;
    uint64_t file;

    assert_int_equal(fixture_do(f, &chown), 0);
    sub = must_create(f, dir, "sub", NODE_DIR, NULL);
    file = must_create(f, sub, "file", NODE_FILE, NULL);
    assert_int_equal(fixture_node(f, sub)->gid, 42);
    assert_int_equal(fixture_node(f, sub)->mode, 02644);
    assert_int_equal(fixture_node(f, file)->gid, 42);
    assert_int_equal(fixture_node(f, file)->mode, 0644);
}

static void test_write(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = must_create(f, ROOT, "file", NODE_FILE, "0123456789");
    struct op_range ranges[] = {
        {.offset = 2, .len = 2, .bytes = (const uint8_t *)"ab"},
        {.offset = 3, .len = 2, .bytes = (const uint8_t *)"XY"},
    };
    struct op op = {.kind = OP_WRITE, .ino = ino, .keep = TXN_KEEP_ALL, .ranges = ranges, .n_ranges = 2};
    const struct node *n = fixture_node(f, ino);

    assert_int_equal(fixture_do(f, &op), 0);
    assert_data(f, ino, "01aXY56789");
    assert_int_equal(n->version, 1);
    assert_true(n->mzxid == f->zxid);
    op.keep = 1;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_int_equal(n->data_len, 5);
    assert_memory_equal(n->data->bytes, "0\0aXY", 5);
    op.size_min = 7;
    op.keep = 0;
    op.n_ranges = 0;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_int_equal(n->data_len, 7);
    assert_memory_equal(n->data->bytes, "\0\0\0\0\0\0\0", 7);
    op.size_min = 0;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_data(f, ino, "");
    assert_int_equal(n->version, 4);
}

static void test_write_errors(void **state)
{
    struct fixture *f = *state;
    uint64_t dir = must_create(f, ROOT, "dir", NODE_DIR, NULL);
    uint64_t link = must_create(f, ROOT, "link", NODE_SYMLINK, "x");
    uint64_t file = must_create(f, ROOT, "file", NODE_FILE, "0123456789");
    struct op_range range = {.offset = UINT64_MAX, .len = 1, .bytes = (const uint8_t *)"a"};
    struct op op = {.kind = OP_WRITE, .ino = file, .keep = TXN_KEEP_ALL, .ranges = &range, .n_ranges = 1};

    assert_int_equal(fixture_write(f, 999, "x"), ENOENT);
    assert_int_equal(fixture_write(f, link, "x"), EINVAL);
    assert_int_equal(fixture_write(f, dir, "own data"), 0);
    assert_data(f, dir, "own data");
    assert_int_equal(fixture_do(f, &op), EFBIG);
    range.offset = 1u << 20;
    assert_int_equal(fixture_do(f, &op), EFBIG);
    range.len = 0;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_data(f, file, "0123456789");
    op.n_ranges = 0;
    op.size_min = UINT64_MAX;
    assert_int_equal(fixture_do(f, &op), EFBIG);
    /* The limit was lowered: what is larger may stay and shrink, but not grow. */
    f->data_max = 5;
    assert_int_equal(fixture_append(f, file, "x"), EFBIG);
    assert_int_equal(fixture_write(f, file, "12345678"), 0);
    assert_int_equal(fixture_write(f, file, "123456789"), EFBIG);
    assert_data(f, file, "12345678");
}

static void test_times(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = must_create(f, ROOT, "file", NODE_FILE, NULL);
    const struct node *n = fixture_node(f, ino);
    struct op keep = {.kind = OP_WRITE, .ino = ino, .keep = TXN_KEEP_ALL, .keep_times = true};
    struct op utimens = {.kind = OP_SETATTR, .ino = ino, .mask = SETATTR_MTIME | SETATTR_ATIME_NOW, .mtime_ns = 5};
    int64_t mtime = n->mtime_ns;
    int64_t ctime = n->ctime_ns;

    f->now -= 1000000; /* a new leader's clock is behind */
    assert_int_equal(fixture_write(f, ino, "a"), 0);
    assert_true(n->mtime_ns == mtime + 1);
    assert_true(n->ctime_ns == ctime);
    assert_int_equal(fixture_append(f, ino, "a"), 0);
    assert_true(n->mtime_ns == mtime + 2);
    assert_int_equal(fixture_do(f, &utimens), 0);
    assert_int_equal(n->mtime_ns, 5);
    assert_true(n->atime_ns == f->now - 1000);
    assert_int_equal(n->version, 2);
    assert_int_equal(n->aversion, 0);
    assert_int_equal(fixture_do(f, &keep), 0);
    assert_int_equal(n->mtime_ns, 5);
    assert_int_equal(n->version, 3);
    utimens.mtime_ns = INT64_MAX;
    assert_int_equal(fixture_do(f, &utimens), 0);
    assert_int_equal(fixture_write(f, ino, "b"), 0);
    assert_true(n->mtime_ns == INT64_MAX);
}

static void test_append(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = must_create(f, ROOT, "file", NODE_FILE, NULL);
    uint64_t dir = must_create(f, ROOT, "dir", NODE_DIR, NULL);
    const struct node *n = fixture_node(f, ino);
    char expected[1001] = "";
    struct buf *held[200];
    uint32_t held_len[200];

    for (int i = 0; i < 200; i++) {
        char word[16];

        (void)snprintf(word, sizeof(word), "%04d\n", i);
        memcpy(expected + 5 * i, word, 6);
        assert_int_equal(fixture_append(f, ino, word), 0);
        held[i] = buf_ref(n->data);
        held_len[i] = n->data_len;
    }
    assert_data(f, ino, expected);
    assert_int_equal(n->version, 200);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(held_len[i], 5 * (i + 1));
        assert_memory_equal(held[i]->bytes, expected, held_len[i]);
        buf_unref(held[i]);
    }
    assert_int_equal(fixture_append(f, ino, ""), 0);
    assert_int_equal(n->version, 200);
    assert_int_equal(fixture_append(f, dir, "x"), EISDIR);
    assert_int_equal(fixture_append(f, 999, "x"), ENOENT);
    f->data_max = 1001;
    assert_int_equal(fixture_append(f, ino, "xy"), EFBIG);
    assert_int_equal(fixture_append(f, ino, "x"), 0);
}

static void test_setattr(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = must_create(f, ROOT, "file", NODE_FILE, "0123456789");
    uint64_t dir = must_create(f, ROOT, "dir", NODE_DIR, NULL);
    const struct node *n = fixture_node(f, ino);
    struct op op = {.kind = OP_SETATTR, .ino = ino, .mode = 0170600, .uid = 7, .gid = 8, .size = 4};

    op.mask = SETATTR_MODE | SETATTR_UID | SETATTR_GID;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_int_equal(n->mode, 0600);
    assert_int_equal(n->uid, 7);
    assert_int_equal(n->gid, 8);
    assert_int_equal(n->aversion, 1);
    assert_int_equal(n->version, 0);
    op.mask = SETATTR_SIZE;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_data(f, ino, "0123");
    assert_int_equal(n->version, 1);
    assert_true(n->mzxid == f->zxid);
    op.size = 6;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_memory_equal(n->data->bytes, "0123\0\0", 6);
    op.size = TXN_DATA_MAX_DEFAULT + 1;
    assert_int_equal(fixture_do(f, &op), EFBIG);
    op.mask = 0x8000;
    assert_int_equal(fixture_do(f, &op), EINVAL);
    op.mask = SETATTR_SIZE;
    op.ino = dir;
    assert_int_equal(fixture_do(f, &op), EISDIR);
    op.ino = 999;
    assert_int_equal(fixture_do(f, &op), ENOENT);
}

static void test_set_id_bits_are_taken_away(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = must_create(f, ROOT, "file", NODE_FILE, "0123456789");
    const struct node *n = fixture_node(f, ino);
    struct op op = {.kind = OP_SETATTR, .ino = ino, .mask = SETATTR_MODE, .mode = 06751};

    assert_int_equal(fixture_do(f, &op), 0);
    op.mask = SETATTR_KILL_SUID;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_int_equal(n->mode, 02751);
    op.mask = SETATTR_KILL_SGID | SETATTR_SIZE;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_int_equal(n->mode, 0751);
    assert_data(f, ino, "");
    /* After whatever mode comes with it. */
    op.mask = SETATTR_MODE | SETATTR_KILL_SUID;
    assert_int_equal(fixture_do(f, &op), 0);
    assert_int_equal(n->mode, 02751);
}

static void test_remove(void **state)
{
    struct fixture *f = *state;
    uint64_t dir = must_create(f, ROOT, "dir", NODE_DIR, NULL);
    uint64_t file = must_create(f, dir, "file", NODE_FILE, "x");

    assert_int_equal(fixture_remove(f, ROOT, "none", NODE_FILE), ENOENT);
    assert_int_equal(fixture_remove(f, 999, "none", NODE_FILE), ENOENT);
    assert_int_equal(fixture_remove(f, file, "none", NODE_FILE), ENOTDIR);
    assert_int_equal(fixture_remove(f, ROOT, "dir", NODE_FILE), EISDIR);
    assert_int_equal(fixture_remove(f, ROOT, "dir", NODE_DIR), ENOTEMPTY);
    assert_int_equal(fixture_remove(f, dir, "file", NODE_DIR), ENOTDIR);
    assert_int_equal(fixture_remove(f, dir, "file", NODE_FILE), 0);
    assert_int_equal(f->last.ino, file);
    assert_int_equal(fixture_node(f, dir)->cversion, 2);
    assert_true(fixture_node(f, dir)->pzxid == f->zxid);
    assert_null(fixture_node(f, file));
    assert_int_equal(fixture_remove(f, ROOT, "dir", NODE_DIR), 0);
    assert_int_equal(tree_count(state_tree(f->s)), 1);
    assert_int_equal(tree_data_bytes(state_tree(f->s)), 0);
    assert_true(must_create(f, ROOT, "new", NODE_FILE, NULL) > file);
}

static void test_rename(void **state)
{
    struct fixture *f = *state;
    uint64_t a = must_create(f, ROOT, "a", NODE_DIR, NULL);
    uint64_t b = must_create(f, ROOT, "b", NODE_DIR, NULL);
    uint64_t sub = must_create(f, a, "sub", NODE_DIR, NULL);
    uint64_t file = must_create(f, sub, "file", NODE_FILE, "x");
    uint32_t a_cversion = fixture_node(f, a)->cversion;

    assert_int_equal(fixture_rename(f, a, "sub", b, "moved", 0), 0);
    assert_int_equal(f->last.ino, sub);
    assert_int_equal(fixture_ino(f, b, "moved"), sub);
    assert_int_equal(fixture_ino(f, sub, "file"), file);
    assert_int_equal(fixture_ino(f, a, "sub"), 0);
    assert_int_equal(fixture_node(f, a)->cversion, a_cversion + 1);
    assert_int_equal(fixture_node(f, b)->cversion, 1);
    assert_true(fixture_node(f, b)->pzxid == f->zxid);
    assert_int_equal(fixture_rename(f, ROOT, "b", sub, "loop", 0), EINVAL);
    assert_int_equal(fixture_rename(f, ROOT, "b", b, "loop", 0), EINVAL);
    assert_int_equal(fixture_rename(f, b, "moved", ROOT, "b", 0), ENOTEMPTY);
    assert_int_equal(fixture_rename(f, b, "moved", ROOT, "b", RENAME_EXCHANGE), EINVAL);
    assert_int_equal(fixture_rename(f, ROOT, "a", ROOT, "a", 0), 0);
    assert_int_equal(fixture_rename(f, ROOT, "a", ROOT, "a", RENAME_NOREPLACE), EEXIST);
    assert_int_equal(fixture_rename(f, ROOT, "none", ROOT, "x", 0), ENOENT);
    assert_int_equal(fixture_rename(f, 999, "a", ROOT, "x", 0), ENOENT);
    assert_int_equal(fixture_rename(f, ROOT, "a", file, "x", 0), ENOTDIR);
    assert_int_equal(fixture_rename(f, ROOT, "a", ROOT, ".znodefs", 0), EINVAL);
    assert_int_equal(fixture_rename(f, ROOT, "a", ROOT, "x", 4), EINVAL);
    assert_int_equal(fixture_rename(f, ROOT, "a", ROOT, "b", RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
}

static void test_rename_replaces(void **state)
{
    struct fixture *f = *state;
    uint64_t a = must_create(f, ROOT, "a", NODE_FILE, "a");
    uint64_t empty = must_create(f, ROOT, "empty", NODE_DIR, NULL);
    uint64_t full = must_create(f, ROOT, "full", NODE_DIR, NULL);
    uint64_t b = must_create(f, full, "b", NODE_FILE, "b");

    assert_int_equal(fixture_rename(f, ROOT, "a", ROOT, "empty", 0), EISDIR);
    assert_int_equal(fixture_rename(f, ROOT, "empty", ROOT, "a", 0), ENOTDIR);
    assert_int_equal(fixture_rename(f, ROOT, "empty", ROOT, "full", 0), ENOTEMPTY);
    assert_int_equal(fixture_rename(f, ROOT, "a", full, "b", RENAME_NOREPLACE), EEXIST);
    assert_int_equal(fixture_rename(f, ROOT, "a", full, "b", 0), 0);
    assert_null(fixture_node(f, b));
    assert_int_equal(fixture_ino(f, full, "b"), a);
    assert_data(f, a, "a");
    assert_int_equal(fixture_rename(f, ROOT, "full", ROOT, "empty", 0), 0);
    assert_null(fixture_node(f, empty));
    assert_int_equal(fixture_ino(f, ROOT, "empty"), full);
    assert_int_equal(fixture_node(f, ROOT)->dir->n_subdirs, 1);
    assert_int_equal(fixture_ino(f, full, "b"), a);
}

static void test_rename_exchange(void **state)
{
    struct fixture *f = *state;
    uint64_t dir = must_create(f, ROOT, "dir", NODE_DIR, NULL);
    uint64_t sub = must_create(f, dir, "sub", NODE_DIR, NULL);
    uint64_t in_sub = must_create(f, sub, "in", NODE_FILE, NULL);
    uint64_t file = must_create(f, ROOT, "file", NODE_FILE, "x");

    assert_int_equal(fixture_rename(f, ROOT, "file", ROOT, "none", RENAME_EXCHANGE), ENOENT);
    assert_int_equal(fixture_rename(f, ROOT, "file", dir, "sub", RENAME_EXCHANGE), 0);
    assert_int_equal(fixture_ino(f, ROOT, "file"), sub);
    assert_int_equal(fixture_ino(f, dir, "sub"), file);
    assert_int_equal(fixture_ino(f, sub, "in"), in_sub);
    assert_int_equal(fixture_node(f, ROOT)->dir->n_subdirs, 2);
    assert_int_equal(fixture_node(f, dir)->dir->n_subdirs, 0);
    assert_int_equal(fixture_rename(f, ROOT, "file", ROOT, "dir", RENAME_EXCHANGE), 0);
    assert_int_equal(fixture_ino(f, ROOT, "file"), dir);
}

static void test_xattrs(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = must_create(f, ROOT, "file", NODE_FILE, NULL);
    const struct node *n = fixture_node(f, ino);
    struct op remove = {.kind = OP_REMOVEXATTR, .ino = ino, .name = "user.a", .name_len = 6};
    char *big = calloc(1, TXN_XATTR_VALUE_MAX + 1);
    char long_name[300];

    assert_non_null(big);
    memset(long_name, 'x', sizeof(long_name));
    long_name[256] = '\0';
    assert_int_equal(fixture_do(f, &remove), ENODATA);
    assert_int_equal(fixture_setxattr(f, ino, "user.a", "1", 1, XATTR_REPLACE), ENODATA);
    assert_int_equal(fixture_setxattr(f, ino, "user.a", "1", 1, 0), 0);
    assert_int_equal(fixture_setxattr(f, ino, "user.b", NULL, 0, XATTR_CREATE), 0);
    assert_int_equal(fixture_setxattr(f, ino, "user.a", "2", 1, XATTR_CREATE), EEXIST);
    assert_int_equal(fixture_setxattr(f, ino, "user.a", "two", 3, XATTR_REPLACE), 0);
    assert_int_equal(fixture_setxattr(f, ino, "user.a", "2", 1, 8), EINVAL);
    assert_int_equal(fixture_setxattr(f, ino, "", "2", 1, 0), ERANGE);
    assert_int_equal(fixture_setxattr(f, ino, long_name, "2", 1, 0), ERANGE);
    assert_int_equal(fixture_setxattr(f, 999, "user.a", "2", 1, 0), ENOENT);
    assert_int_equal(node_xattr(n, "user.a")->len, 3);
    assert_memory_equal(node_xattr(n, "user.a")->value, "two", 3);
    assert_string_equal(n->xattrs->name, "user.a");
    assert_string_equal(n->xattrs->next->name, "user.b");
    assert_int_equal(fixture_setxattr(f, ino, "user.c", big, TXN_XATTR_VALUE_MAX + 1, 0), E2BIG);
    assert_int_equal(fixture_setxattr(f, ino, "user.c", big, TXN_XATTR_VALUE_MAX, 0), 0);
    assert_int_equal(fixture_setxattr(f, ino, "user.d", big, TXN_XATTR_VALUE_MAX, 0), 0);
    assert_int_equal(fixture_setxattr(f, ino, "user.e", big, TXN_XATTR_VALUE_MAX, 0), 0);
    assert_int_equal(fixture_setxattr(f, ino, "user.f", big, TXN_XATTR_VALUE_MAX, 0), ENOSPC);
    assert_int_equal(fixture_setxattr(f, ino, "user.c", big, TXN_XATTR_VALUE_MAX, 0), 0);
    assert_int_equal(fixture_do(f, &remove), 0);
    assert_null(node_xattr(n, "user.a"));
    assert_int_equal(n->version, 0);
    free(big);
}

static void test_xattrs_are_bounded(void **state)
{
    struct fixture *f = *state;
    uint64_t ino = must_create(f, ROOT, "file", NODE_FILE, NULL);
    char name[32];

    for (int i = 0; i < TXN_XATTR_COUNT_MAX; i++) {
        (void)snprintf(name, sizeof(name), "user.%d", i);
        assert_int_equal(fixture_setxattr(f, ino, name, NULL, 0, 0), 0);
    }
    assert_int_equal(fixture_setxattr(f, ino, "user.x", NULL, 0, 0), ENOSPC);
    assert_int_equal(fixture_setxattr(f, ino, name, "x", 1, 0), 0);
}

static void test_ensemble(void **state)
{
    struct fixture *f = *state;
    struct request r = {.op = {.kind = OP_ENSEMBLE, .id = 0}};

    assert_int_equal(fixture_request(f, &r).err, EINVAL);
    r.op.id = 77;
    assert_int_equal(fixture_request(f, &r).err, 0);
    r.op.id = 78;
    assert_int_equal(fixture_request(f, &r).err, EEXIST);
    assert_int_equal(state_ensemble(f->s), 77);
}

static struct request nth_create(uint64_t seq, uint64_t lowest, const char *name)
{
    struct request r = {.session = FIXTURE_SESSION, .seq = seq, .seq_lowest = lowest};

    r.op.kind = OP_CREATE;
    r.op.ino = ROOT;
    r.op.name = name;
    r.op.name_len = strlen(name);
    r.op.node_kind = NODE_FILE;
    return r;
}

static void test_duplicates(void **state)
{
    struct fixture *f = *state;
    struct request one = nth_create(1, 1, "one");
    struct request again = nth_create(2, 1, "one");
    struct request five = nth_create(5, 1, "five");
    struct request three = nth_create(3, 1, "three");
    struct request six = nth_create(6, 3, "six");
    struct outcome first = fixture_request(f, &one);
    struct outcome exists = fixture_request(f, &again);
    struct outcome o;

    assert_int_equal(first.err, 0);
    assert_int_equal(exists.err, EEXIST);
    o = fixture_request(f, &one);
    assert_int_equal(o.err, 0);
    assert_int_equal(o.zxid, first.zxid);
    assert_int_equal(o.ino, first.ino);
    /* The file is gone since, and the failed request would work now: the first outcomes stand. */
    assert_int_equal(fixture_request(f, &five).err, 0);
    assert_int_equal(fixture_request(f, &three).err, 0);
    assert_int_equal(fixture_request(f, &again).err, EEXIST);
    assert_int_equal(fixture_request(f, &again).zxid, exists.zxid);
    assert_int_equal(fixture_request(f, &six).err, 0);
    /* Trimmed below 3: neither answered nor executed. */
    assert_int_equal(fixture_request(f, &one).err, EIO);
    assert_int_equal(fixture_request(f, &again).err, EIO);
    assert_int_equal(fixture_request(f, &three).zxid, fixture_node(f, fixture_ino(f, ROOT, "three"))->czxid);
    assert_int_equal(tree_count(state_tree(f->s)), 5);
}

static void test_sessions(void **state)
{
    struct fixture *f = *state;
    struct request open = {.op = {.kind = OP_SESSION_OPEN, .ino = 99, .id = 1}};
    struct request other = {.op = {.kind = OP_SESSION_OPEN, .ino = 100, .id = 0}};
    struct request create = nth_create(1, 1, "x");
    struct request replica = {.op = create.op};

    assert_int_equal(fixture_request(f, &replica).err, EIO); /* nothing is done without an identity */
    assert_true(state_has_session(f->s, FIXTURE_SESSION));
    assert_int_equal(fixture_request(f, &open).err, 0);
    assert_false(state_has_session(f->s, FIXTURE_SESSION)); /* of the same server: it restarted */
    assert_int_equal(fixture_request(f, &create).err, EIO);
    assert_int_equal(fixture_ino(f, ROOT, "x"), 0);
    create.session = 99;
    assert_int_equal(fixture_request(f, &create).err, 0);
    assert_int_equal(fixture_request(f, &open).err, 0); /* a duplicate changes nothing */
    assert_int_equal(fixture_request(f, &other).err, 0);
    other.op.ino = 101;
    assert_int_equal(fixture_request(f, &other).err, 0);
    assert_true(state_has_session(f->s, 99));
    assert_true(state_has_session(f->s, 100)); /* server id 0: of nobody, both stay */
    assert_int_equal(fixture_request(f, &create).err, 0);
    other.op.ino = 0;
    assert_int_equal(fixture_request(f, &other).err, EINVAL);
}

/* Two sessions used by one transaction could not be told apart by age: snapshots refuse that. */
static void test_session_under_a_session(void **state)
{
    struct op op = {.kind = OP_SESSION_OPEN, .ino = 7, .id = 0};
    struct fixture *f = *state;

    assert_int_equal(fixture_do(f, &op), EINVAL);
    assert_false(state_has_session(f->s, 7));
    assert_true(state_has_session(f->s, FIXTURE_SESSION));
}

/* A session that never says what it has seen is bounded. */
static void test_record_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct request r = {.session = FIXTURE_SESSION, .seq_lowest = 1, .op = {.kind = OP_NOP}};
    struct txn txn = {.time_ns = 1, .data_max = 1, .request = r};
    struct outcome o;

    for (uint64_t seq = 1; seq <= SESSION_RECORDS_MAX; seq++) {
        txn.request.seq = seq;
        state_apply(f->s, ++f->zxid, &txn, &o);
        assert_int_equal(o.err, 0);
    }
    txn.request.seq++;
    state_apply(f->s, ++f->zxid, &txn, &o);
    assert_int_equal(o.err, EIO);
    txn.request.seq_lowest = 60000;
    state_apply(f->s, ++f->zxid, &txn, &o);
    assert_int_equal(o.err, 0);
    assert_true(state_digest(f->s) == state_digest_slow(f->s));
}

/* One session too many drops the one that has not been used for longest. */
static void test_sessions_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct txn open = {.time_ns = 1, .request = {.op = {.kind = OP_SESSION_OPEN}}};
    struct txn use = {.time_ns = 1, .request = {.session = FIXTURE_SESSION, .seq = 1, .op = {.kind = OP_NOP}}};
    struct outcome o;

    for (uint64_t id = 1; id < SESSIONS_MAX; id++) {
        open.request.op.ino = id;
        state_apply(f->s, ++f->zxid, &open, &o);
    }
    state_apply(f->s, ++f->zxid, &use, &o);
    assert_int_equal(o.err, 0);
    assert_true(state_has_session(f->s, 1));
    open.request.op.ino = SESSIONS_MAX;
    state_apply(f->s, ++f->zxid, &open, &o);
    assert_int_equal(o.err, 0);
    assert_false(state_has_session(f->s, 1));
    assert_true(state_has_session(f->s, 2));
    assert_true(state_has_session(f->s, FIXTURE_SESSION));
    assert_true(state_digest(f->s) == state_digest_slow(f->s));
}

struct told {
    const struct state *s;
    char text[1000];
};

/* Writes down what it is told, looking at the tree as it is at that moment. */
static void told_cb(void *arg, const struct change *c)
{
    static const char *const words[] = {"created", "removed", "renamed", "data", "attr", "xattr"};
    struct told *t = arg;
    size_t len = strlen(t->text);
    bool linked = tree_lookup(state_tree(t->s), c->node->parent->ino, c->node->name, c->node->name_len) == c->node;

    (void)snprintf(t->text + len, sizeof(t->text) - len, "%s %s%s%s%s; ", words[c->kind], c->node->name,
                   c->old_name == NULL ? "" : " was ", c->old_name == NULL ? "" : c->old_name,
                   linked ? "" : " (not linked)");
}

static void test_changes_are_told(void **state)
{
    struct fixture *f = *state;
    struct told told = {.s = f->s};
    struct op setattr = {.kind = OP_SETATTR, .mask = SETATTR_SIZE | SETATTR_MODE, .size = 1};
    uint64_t ino;

    state_on_change(f->s, told_cb, &told);
    ino = must_create(f, ROOT, "a", NODE_FILE, NULL);
    must_create(f, ROOT, "b", NODE_FILE, NULL);
    (void)fixture_create(f, ROOT, "b", NODE_FILE, NULL);
    (void)fixture_write(f, ino, "x");
    (void)fixture_append(f, ino, "x");
    setattr.ino = ino;
    (void)fixture_do(f, &setattr);
    (void)fixture_setxattr(f, ino, "user.x", "x", 1, 0);
    (void)fixture_rename(f, ROOT, "b", ROOT, "a", RENAME_EXCHANGE);
    (void)fixture_rename(f, ROOT, "a", ROOT, "a", 0);
    (void)fixture_rename(f, ROOT, "a", ROOT, "b", 0);
    (void)fixture_remove(f, ROOT, "b", NODE_FILE);
    assert_string_equal(told.text, "created a; created b; data a; data a; data a; attr a; xattr a; "
                                   "renamed a was b; renamed b was a; removed b; renamed b was a; removed b; ");
    state_on_change(f->s, NULL, NULL);
    (void)fixture_create(f, ROOT, "c", NODE_FILE, NULL);
}

/* Thousands of ops: the fixture compares the digests after each, and two states stay equal. */
static void test_random_ops(void **state)
{
    (void)state;
    for (uint64_t start = 1; start <= 4; start++) {
        struct fixture a;
        struct fixture b;
        uint64_t seed_a = start * 1000003;
        uint64_t seed_b = start * 1000003;

        fixture_init(&a);
        fixture_init(&b);
        for (int i = 0; i < 3000; i++) {
            fixture_random_op(&a, &seed_a);
            fixture_random_op(&b, &seed_b);
            assert_int_equal(a.last.err, b.last.err);
            assert_int_equal(a.last.ino, b.last.ino);
            assert_true(state_digest(a.s) == state_digest(b.s));
        }
        assert_true(tree_count(state_tree(a.s)) > 30);
        fixture_release(&a);
        fixture_release(&b);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_create),
        TEST(test_create_errors),
        TEST(test_create_in_setgid_directory),
        TEST(test_write),
        TEST(test_write_errors),
        TEST(test_times),
        TEST(test_append),
        TEST(test_setattr),
        TEST(test_set_id_bits_are_taken_away),
        TEST(test_remove),
        TEST(test_rename),
        TEST(test_rename_replaces),
        TEST(test_rename_exchange),
        TEST(test_xattrs),
        TEST(test_xattrs_are_bounded),
        TEST(test_ensemble),
        TEST(test_duplicates),
        TEST(test_sessions),
        TEST(test_session_under_a_session),
        TEST(test_record_is_bounded),
        TEST(test_sessions_are_bounded),
        TEST(test_changes_are_told),
        cmocka_unit_test(test_random_ops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
