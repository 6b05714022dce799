/* Peers on loopback with real disks: an ensemble forms, agrees, snapshots in a child, ends and comes back. */
#include "consensus/peer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 30000
#define PEERS       3

/* One peer with all it told. Peer i has server id i + 1. */
struct host {
    struct peer *peer; /* NULL: ended */
    uint16_t port;
    char data_dir[96];
    bool ended;
    char ended_text[512]; /* empty: as asked */
    char *log;
    struct replica_call call;
    bool answered;
    struct outcome outcome;
};

struct world {
    uv_loop_t loop;
    uv_timer_t deadline;
    bool late;
    char root[64];
    size_t n;
    uint64_t snap_count;
    struct host hosts[PEERS];
};

static void on_log(void *arg, const char *text)
{
    struct host *h = arg;
    size_t old = h->log != NULL ? strlen(h->log) : 0;

    h->log = realloc(h->log, old + strlen(text) + 2);
    assert_non_null(h->log);
    (void)snprintf(h->log + old, strlen(text) + 2, "%s\n", text);
}

static void on_ended(void *arg, const char *text)
{
    struct host *h = arg;

    assert_false(h->ended);
    h->ended = true;
    h->peer = NULL;
    (void)snprintf(h->ended_text, sizeof(h->ended_text), "%s", text != NULL ? text : "");
}

static void on_answered(struct replica_call *call, const struct outcome *outcome)
{
    struct host *h = (struct host *)((char *)call - offsetof(struct host, call));

    h->answered = true;
    h->outcome = *outcome;
}

static void on_deadline(uv_timer_t *timer)
{
    struct world *w = timer->data;

    w->late = true;
}

/* Runs the loop until the condition holds. */
#define run_until(w, condition)                                                                                        \
    do {                                                                                                               \
        (w)->late = false;                                                                                             \
        assert_int_equal(uv_timer_start(&(w)->deadline, on_deadline, DEADLINE_MS, 0), 0);                              \
        while (!(condition)) {                                                                                         \
            (void)uv_run(&(w)->loop, UV_RUN_ONCE);                                                                     \
            if ((w)->late) {                                                                                           \
                world_print(w);                                                                                        \
                fail_msg("not within %d ms: %s", DEADLINE_MS, #condition);                                             \
            }                                                                                                          \
        }                                                                                                              \
        assert_int_equal(uv_timer_stop(&(w)->deadline), 0);                                                            \
    } while (0)

static void world_print(const struct world *w)
{
    size_t i;

    for (i = 0; i < w->n; i++) {
        print_message("peer %zu:\n%s", i + 1, w->hosts[i].log != NULL ? w->hosts[i].log : "");
    }
}

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(close(fd), 0);
    return ntohs(address.sin_port);
}

static int host_try_start(struct world *w, size_t index, struct error *err)
{
    struct host *h = &w->hosts[index];
    struct zab_server servers[PEERS];
    struct transport_peer others[PEERS];
    struct peer_callbacks cb = {.ended = on_ended, .log = on_log, .arg = h};
    struct peer_config config = {
        .replica = {.zab = {.sid = index + 1,
                            .servers = servers,
                            .n_servers = w->n,
                            .tick_ms = 2000,
                            .init_limit = 10,
                            .sync_limit = 5,
                            .peer_timeout_ms = 1000,
                            .window_bytes = 1 << 20},
                    .timeo_ms = 5000,
                    .data_max = 1 << 20,
                    .snap_count = w->snap_count,
                    .snap_bytes = 1 << 30,
                    .snap_retain = 3},
        .transport = {.sid = index + 1,
                      .listen_host = w->n > 1 ? "127.0.0.1" : NULL,
                      .listen_port = h->port,
                      .peers = others},
        .data_dir = h->data_dir,
    };
    size_t i;

    for (i = 0; i < w->n; i++) {
        servers[i] = (struct zab_server){.sid = i + 1};
        if (i != index) {
            others[config.transport.n_peers++] =
                (struct transport_peer){.sid = i + 1, .host = "127.0.0.1", .port = w->hosts[i].port};
        }
    }
    h->ended = false;
    return peer_start(&w->loop, &config, &cb, &h->peer, err);
}

static void host_start(struct world *w, size_t index)
{
    struct error err = {{0}};

    if (host_try_start(w, index, &err) != 0) {
        fail_msg("start: %s", err.text);
    }
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    size_t i;

    assert_non_null(w);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->deadline), 0);
    w->deadline.data = w;
    (void)snprintf(w->root, sizeof(w->root), "/tmp/test_peer.XXXXXX");
    assert_non_null(mkdtemp(w->root));
    w->snap_count = 1000000;
    for (i = 0; i < PEERS; i++) {
        w->hosts[i].port = free_port();
        (void)snprintf(w->hosts[i].data_dir, sizeof(w->hosts[i].data_dir), "%s/%zu", w->root, i + 1);
    }
    *state = w;
    return 0;
}

static void host_stop(struct world *w, size_t index)
{
    struct host *h = &w->hosts[index];

    if (h->peer != NULL) {
        peer_stop(h->peer);
        run_until(w, h->ended);
        assert_string_equal(h->ended_text, "");
    }
}

static int remove_cb(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    struct world *w = *state;
    size_t i;

    for (i = 0; i < PEERS; i++) {
        host_stop(w, i);
        free(w->hosts[i].log);
    }
    uv_close((uv_handle_t *)&w->deadline, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(nftw(w->root, remove_cb, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(w);
    return 0;
}

static bool has_quorum(const struct host *h)
{
    struct replica_status status;

    replica_status(peer_replica(h->peer), &status);
    return status.quorum;
}

/* Creates a file in the root through this peer, and waits for the outcome. */
static void create(struct world *w, size_t index, const char *name)
{
    struct host *h = &w->hosts[index];
    struct op op = {.kind = OP_CREATE,
                    .ino = TREE_ROOT_INO,
                    .name = name,
                    .name_len = strlen(name),
                    .node_kind = NODE_FILE,
                    .mode = 0644,
                    .data = (const uint8_t *)name,
                    .data_len = (uint32_t)strlen(name)};

    h->answered = false;
    h->call.done = on_answered;
    h->call.patience = REPLICA_HARD;
    replica_submit(peer_replica(h->peer), &h->call, &op);
    run_until(w, h->answered);
    assert_int_equal(h->outcome.err, 0);
}

static bool shows(const struct host *h, const char *name)
{
    return tree_lookup(replica_tree(peer_replica(h->peer)), TREE_ROOT_INO, name, strlen(name)) != NULL;
}

static void start_all(struct world *w, size_t n)
{
    size_t i;

    w->n = n;
    for (i = 0; i < n; i++) {
        host_start(w, i);
    }
    for (i = 0; i < n; i++) {
        run_until(w, has_quorum(&w->hosts[i]));
    }
}

/* ---- the tests ---- */

static void test_alone(void **state)
{
    struct world *w = *state;

    start_all(w, 1);
    create(w, 0, "a");
    host_stop(w, 0);
    host_start(w, 0);
    run_until(w, has_quorum(&w->hosts[0]));
    assert_true(shows(&w->hosts[0], "a"));
}

static void test_three_agree(void **state)
{
    struct world *w = *state;
    char name[32];
    size_t i;

    start_all(w, 3);
    for (i = 0; i < 60; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        create(w, i % 3, name);
        assert_true(shows(&w->hosts[i % 3], name)); /* its own write, at once */
    }
    run_until(w, shows(&w->hosts[0], "n59") && shows(&w->hosts[1], "n59") && shows(&w->hosts[2], "n59"));
    assert_non_null(peer_address(w->hosts[0].peer, 2));
    assert_null(peer_address(w->hosts[0].peer, 1));
}

static void test_each_in_turn_is_restarted(void **state)
{
    struct world *w = *state;
    struct transport_stats stats;
    char name[32];
    size_t i;

    start_all(w, 3);
    for (i = 0; i < 3; i++) {
        host_stop(w, i);
        (void)snprintf(name, sizeof(name), "without%zu", i);
        create(w, (i + 1) % 3, name);
        host_start(w, i);
        run_until(w, has_quorum(&w->hosts[i]));
        run_until(w, shows(&w->hosts[i], name));
    }
    peer_transport_stats(w->hosts[0].peer, &stats);
    assert_true(stats.frames_sent > 0);
}

/* How many files of dataDir/znodefs begin so. */
static size_t count_files(const struct host *h, const char *prefix)
{
    char path[128];
    struct dirent *entry;
    size_t n = 0;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/znodefs", h->data_dir);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);

        n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && strcmp(entry->d_name + len - 4, ".tmp") != 0;
    }
    assert_int_equal(closedir(dir), 0);
    return n;
}

static void test_snapshots_are_written_by_a_child(void **state)
{
    struct world *w = *state;
    struct replica_status status;
    char name[32];
    size_t i;

    w->snap_count = 10;
    start_all(w, 1);
    for (i = 0; i < 15; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        create(w, 0, name);
    }
    run_until(w, (replica_status(peer_replica(w->hosts[0].peer), &status), status.snapshots >= 1));
    assert_true(count_files(&w->hosts[0], "snapshot.") >= 1);
    assert_null(strstr(w->hosts[0].log != NULL ? w->hosts[0].log : "", "no snapshot"));
    host_stop(w, 0);
    host_start(w, 0);
    run_until(w, has_quorum(&w->hosts[0]));
    assert_true(shows(&w->hosts[0], "n0") && shows(&w->hosts[0], "n14"));
}

/* Its last transaction begins a snapshot: the end does not leave the child behind, nor wait for it for long. */
static void test_stop_during_a_snapshot(void **state)
{
    struct world *w = *state;
    char name[32];
    size_t i;

    w->snap_count = 1;
    start_all(w, 1);
    for (i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof(name), "n%zu", i);
        create(w, 0, name);
        host_stop(w, 0);
        host_start(w, 0);
        run_until(w, has_quorum(&w->hosts[0]));
        assert_true(shows(&w->hosts[0], name));
    }
}

/* A disk that fails ends the peer, with a sentence; its last call is answered. */
static bool disk_failed(const struct host *h)
{
    struct replica_status status;

    replica_status(peer_replica(h->peer), &status);
    return strcmp(status.disk, "error") == 0;
}

static void test_failing_disk(void **state)
{
    struct world *w = *state;
    struct host *h = &w->hosts[0];
    struct op op = {.kind = OP_CREATE, .ino = TREE_ROOT_INO, .name = "b", .name_len = 1, .node_kind = NODE_FILE};
    struct rlimit old;
    struct rlimit none = {0};
    void (*handler)(int);

    start_all(w, 1);
    create(w, 0, "a");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none.rlim_max = old.rlim_max;
    handler = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0); /* every write to a file: EFBIG */
    h->answered = false;
    replica_submit(peer_replica(h->peer), &h->call, &op);
    w->late = false;
    assert_int_equal(uv_timer_start(&w->deadline, on_deadline, DEADLINE_MS, 0), 0);
    while (!disk_failed(h) && !w->late) {
        (void)uv_run(&w->loop, UV_RUN_ONCE);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, handler);
    /* It is there, shows what it had, and acknowledges nothing until it is restarted. */
    assert_true(disk_failed(h));
    assert_false(h->ended);
    assert_true(shows(h, "a"));
    assert_false(has_quorum(h));
    assert_false(h->answered);
    assert_non_null(strstr(h->log, "the disk fails"));
    host_stop(w, 0);
    assert_true(h->answered);
    assert_int_equal(h->outcome.err, EIO);
    host_start(w, 0);
    run_until(w, has_quorum(h));
    assert_true(shows(h, "a"));
}

static void test_data_dir_in_use(void **state)
{
    struct world *w = *state;
    struct error err = {{0}};

    start_all(w, 3);
    memcpy(w->hosts[1].data_dir, w->hosts[0].data_dir, sizeof(w->hosts[0].data_dir));
    host_stop(w, 1);
    assert_int_equal(host_try_start(w, 1, &err), -EWOULDBLOCK);
    assert_non_null(strstr(err.text, "is in use by another znodefs"));
}

static void test_data_dir_of_another_server(void **state)
{
    struct world *w = *state;
    struct error err = {{0}};

    start_all(w, 3);
    create(w, 0, "a");
    host_stop(w, 0);
    memcpy(w->hosts[1].data_dir, w->hosts[0].data_dir, sizeof(w->hosts[0].data_dir));
    host_stop(w, 1);
    assert_int_equal(host_try_start(w, 1, &err), -EXDEV);
    assert_non_null(strstr(err.text, w->hosts[0].data_dir));
}

static void test_data_dir_without_parent(void **state)
{
    struct world *w = *state;
    struct error err = {{0}};

    w->n = 1;
    (void)snprintf(w->hosts[0].data_dir, sizeof(w->hosts[0].data_dir), "%s/no/such", w->root);
    assert_int_equal(host_try_start(w, 0, &err), -ENOENT);
    assert_non_null(strstr(err.text, "create its parent directory"));
}

static void test_port_in_use(void **state)
{
    struct world *w = *state;
    struct error err = {{0}};

    w->n = 2;
    host_start(w, 0);
    w->hosts[1].port = w->hosts[0].port;
    assert_int_equal(host_try_start(w, 1, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "change server.2's port"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_alone),
        TEST(test_three_agree),
        TEST(test_each_in_turn_is_restarted),
        TEST(test_snapshots_are_written_by_a_child),
        TEST(test_stop_during_a_snapshot),
        TEST(test_failing_disk),
        TEST(test_data_dir_in_use),
        TEST(test_data_dir_of_another_server),
        TEST(test_data_dir_without_parent),
        TEST(test_port_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
