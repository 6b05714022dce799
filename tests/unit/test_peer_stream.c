/* The state as a stream of bytes from a child: whole and exact while it changes, given up midway, many, at the end. */
#include "state_fixture.h"

#include "consensus/peer.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 60000
#define PIECE       100000 /* of a stream, so that it takes several reads */
#define DATA_LEN    (1024 * 1024)
#define FILES       8 /* more bytes than any pipe holds */
#define STREAMS     5

struct world {
    uv_loop_t loop;
    uv_timer_t deadline;
    uint64_t seed;
    bool late;
    char data_dir[64];
    struct peer *peer;
    struct replica_call call;
    bool answered;
    struct outcome outcome;
};

/* A stream while it is read into a state. */
struct taker {
    struct peer_stream *stream;
    struct snapshot_reader *reader;
    struct state *state; /* once it came whole */
    uint64_t digest;     /* of all the state when it was opened */
    uint64_t zxid;
    uint64_t bytes;
    bool ready;
    int rv;
};

static void on_log(void *arg, const char *text)
{
    (void)arg;
    (void)text;
}

static void on_ended(void *arg, const char *text)
{
    struct world *w = arg;

    assert_null(text);
    w->peer = NULL;
}

static void on_answered(struct replica_call *call, const struct outcome *outcome)
{
    struct world *w = (struct world *)((char *)call - offsetof(struct world, call));

    w->answered = true;
    w->outcome = *outcome;
}

static void on_deadline(uv_timer_t *timer)
{
    struct world *w = timer->data;

    w->late = true;
}

#define run_until(w, condition)                                                                                        \
    do {                                                                                                               \
        (w)->late = false;                                                                                             \
        assert_int_equal(uv_timer_start(&(w)->deadline, on_deadline, DEADLINE_MS, 0), 0);                              \
        while (!(condition)) {                                                                                         \
            (void)uv_run(&(w)->loop, UV_RUN_ONCE);                                                                     \
            if ((w)->late) {                                                                                           \
                fail_msg("not within %d ms: %s", DEADLINE_MS, #condition);                                             \
            }                                                                                                          \
        }                                                                                                              \
        assert_int_equal(uv_timer_stop(&(w)->deadline), 0);                                                            \
    } while (0)

static uint64_t make(struct world *w, uint64_t parent, const char *name, enum node_kind kind, uint32_t data_len)
{
    uint8_t *data = malloc(data_len + 1);
    struct op op = {.kind = OP_CREATE,
                    .ino = parent,
                    .name = name,
                    .name_len = strlen(name),
                    .node_kind = kind,
                    .mode = 0755,
                    .data = data,
                    .data_len = data_len};

    assert_non_null(data);
    for (uint32_t i = 0; i < data_len; i++) {
        data[i] = (uint8_t)fixture_random(&w->seed); /* nothing makes this smaller */
    }
    w->answered = false;
    w->call.done = on_answered;
    w->call.patience = REPLICA_HARD;
    replica_submit(peer_replica(w->peer), &w->call, &op);
    free(data);
    run_until(w, w->answered);
    assert_int_equal(w->outcome.err, 0);
    return w->outcome.ino;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct zab_server self = {.sid = 1};
    struct peer_callbacks cb = {.ended = on_ended, .log = on_log, .arg = w};
    struct error err = {{0}};
    struct peer_config config = {
        .replica = {.zab = {.sid = 1,
                            .servers = &self,
                            .n_servers = 1,
                            .tick_ms = 2000,
                            .init_limit = 10,
                            .sync_limit = 5,
                            .peer_timeout_ms = 1000,
                            .window_bytes = 1 << 20},
                    .timeo_ms = 5000,
                    .data_max = DATA_LEN,
                    .snap_count = 1000000,
                    .snap_bytes = 1 << 30,
                    .snap_retain = 3},
        .transport = {.sid = 1},
        .data_dir = w->data_dir,
    };
    char name[8];

    assert_non_null(w);
    w->seed = 4711;
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->deadline), 0);
    w->deadline.data = w;
    (void)snprintf(w->data_dir, sizeof(w->data_dir), "/tmp/test_peer_stream.XXXXXX");
    assert_non_null(mkdtemp(w->data_dir));
    if (peer_start(&w->loop, &config, &cb, &w->peer, &err) != 0) {
        fail_msg("start: %s", err.text);
    }
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof(name), "%c", 'a' + i);
        (void)make(w, TREE_ROOT_INO, name, NODE_FILE, DATA_LEN);
    }
    *state = w;
    return 0;
}

static int remove_cb(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *w = *state;

    if (w->peer != NULL) {
        peer_stop(w->peer);
    }
    uv_close((uv_handle_t *)&w->deadline, NULL);
    (void)uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_null(w->peer);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left, not even a zombie */
    assert_int_equal(errno, ECHILD);
    assert_int_equal(nftw(w->data_dir, remove_cb, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(w);
    return 0;
}

/* ---- taking ---- */

static void on_ready(void *arg)
{
    struct taker *t = arg;

    assert_false(t->ready);
    t->ready = true;
}

static void taker_open(struct world *w, struct taker *t, uint64_t top)
{
    const struct state *s = replica_state(peer_replica(w->peer));

    memset(t, 0, sizeof(*t));
    t->digest = state_digest(s);
    t->zxid = state_zxid(s);
    t->reader = snapshot_reader_new();
    t->rv = -EAGAIN;
    assert_int_equal(peer_stream_open(w->peer, s, top, on_ready, t, &t->stream), 0);
}

/* Takes what is there; false when it has to wait. */
static bool taker_take(struct taker *t)
{
    struct error err = {{0}};
    uint8_t bytes[PIECE];
    ssize_t n;

    t->ready = false;
    while ((n = peer_stream_read(t->stream, bytes, sizeof(bytes))) > 0) {
        assert_false(t->ready);
        t->bytes += (uint64_t)n;
        if (snapshot_reader_feed(t->reader, bytes, (size_t)n, &err) != 0) {
            fail_msg("%s", err.text);
        }
    }
    t->rv = (int)n;
    if (n == -EAGAIN) {
        return false;
    }
    if (n == 0 && snapshot_reader_finish(t->reader, &t->state, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return true;
}

static void taker_close(struct taker *t)
{
    peer_stream_close(t->stream);
    snapshot_reader_free(t->reader);
    state_free(t->state);
}

#define take_all(w, t)                                                                                                 \
    while (!taker_take(t)) {                                                                                           \
        run_until(w, (t)->ready);                                                                                      \
    }

/* ---- the tests ---- */

static void test_exact_while_it_changes(void **state)
{
    struct world *w = *state;
    struct taker t;

    taker_open(w, &t, 0);
    for (int i = 0; i < 20; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "later%d", i);
        (void)make(w, TREE_ROOT_INO, name, NODE_FILE, 10);
    }
    take_all(w, &t);
    assert_int_equal(t.rv, 0);
    assert_true(t.bytes > FILES * DATA_LEN);
    assert_true(state_digest(t.state) == t.digest && state_zxid(t.state) == t.zxid);
    assert_int_equal(tree_count(state_tree(t.state)), 1 + FILES);
    assert_int_equal(peer_stream_read(t.stream, &t, 1), 0); /* the end stays the end */
    taker_close(&t);
}

static void test_a_directory(void **state)
{
    struct world *w = *state;
    uint64_t dir = make(w, TREE_ROOT_INO, "dir", NODE_DIR, 3);
    uint64_t sub = make(w, dir, "sub", NODE_DIR, 0);
    struct taker t;

    (void)make(w, sub, "file", NODE_FILE, 1000);
    taker_open(w, &t, dir);
    take_all(w, &t);
    assert_int_equal(t.rv, 0);
    assert_int_equal(tree_count(state_tree(t.state)), 3);
    assert_int_equal(tree_by_ino(state_tree(t.state), TREE_ROOT_INO)->data_len, 3);
    assert_int_equal(tree_by_ino(state_tree(t.state), sub)->parent->ino, TREE_ROOT_INO);
    taker_close(&t);
}

static void test_several_at_once(void **state)
{
    struct world *w = *state;
    struct taker t[STREAMS];

    for (int i = 0; i < STREAMS; i++) {
        taker_open(w, &t[i], 0);
        (void)make(w, TREE_ROOT_INO, (char[]){(char)('A' + i), '\0'}, NODE_FILE, 1);
    }
    for (int i = STREAMS - 1; i >= 0; i--) {
        take_all(w, &t[i]);
        assert_int_equal(t[i].rv, 0);
        assert_true(state_digest(t[i].state) == t[i].digest);
        assert_int_equal(tree_count(state_tree(t[i].state)), 1 + FILES + i);
        taker_close(&t[i]);
    }
}

/* Before a byte, between two, while waiting; teardown sees that no child is left. */
static void test_given_up(void **state)
{
    struct world *w = *state;
    struct taker t;
    uint8_t byte;

    taker_open(w, &t, 0);
    taker_close(&t);
    taker_open(w, &t, 0);
    while (peer_stream_read(t.stream, &byte, 1) == -EAGAIN) {
        run_until(w, t.ready);
        t.ready = false;
    }
    taker_close(&t);
    taker_open(w, &t, 0);
    (void)taker_take(&t);
    taker_close(&t);
    (void)make(w, TREE_ROOT_INO, "after", NODE_FILE, 1);
}

/* The end of the peer ends the children; streams that are open then say so and can be closed later. */
static void test_the_peer_ends(void **state)
{
    struct world *w = *state;
    struct taker t[2];

    taker_open(w, &t[0], 0);
    taker_open(w, &t[1], 0);
    peer_stop(w->peer);
    run_until(w, w->peer == NULL);
    for (int i = 0; i < 2; i++) {
        take_all(w, &t[i]);
        assert_true(t[i].rv < 0);
        taker_close(&t[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_exact_while_it_changes), TEST(test_a_directory), TEST(test_several_at_once), TEST(test_given_up),
        TEST(test_the_peer_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
