/* A peer's life: its parts put together in order, the flush before the loop waits, and its end, in reverse. */
#include "peer_int.h"

#include "store/disk_null.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A replica whose callbacks keep asking for more lets the loop poll its descriptors in between. */
#define FLUSH_ROUNDS 8
#define LOG_TEXT_MAX 1024
/* How many peer timeouts a host may be silent before a connection to it is given up. */
#define PATIENCE 5

void peer_log(struct peer *p, const char *format, ...)
{
    char text[LOG_TEXT_MAX];
    va_list args;

    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0) {
        text[0] = '\0';
    }
    va_end(args);
    p->cb.log(p->cb.arg, text);
}

/* ---- the end ---- */

static void peer_free(struct peer *p)
{
    disk_thread_stop(&p->disk_thread);
    replica_free(p->replica);
    if (p->disk != NULL && p->disk->forgets) {
        disk_null_free(p->disk);
    } else {
        disk_posix_free(p->disk);
    }
    if (p->dir_fd >= 0) {
        (void)close(p->dir_fd);
    }
    free(p->piece);
    free(p->close_fds);
    free(p->fatal_text);
    free(p);
}

static void peer_handle_closed_cb(uv_handle_t *handle)
{
    struct peer *p = handle->data;

    p->handles--;
    if (p->handles == 0) {
        p->cb.ended(p->cb.arg, p->fatal_text);
        peer_free(p);
    }
}

static void peer_disconnected(void *arg)
{
    struct peer *p = arg;

    assert(p->phase == PEER_DISCONNECTING);
    p->phase = PEER_CLOSING;
    p->transport = NULL;
    uv_close((uv_handle_t *)&p->timer, peer_handle_closed_cb);
    uv_close((uv_handle_t *)&p->check, peer_handle_closed_cb);
    uv_close((uv_handle_t *)&p->prepare, peer_handle_closed_cb);
    uv_close((uv_handle_t *)&p->idle, peer_handle_closed_cb);
    p->disk_thread.done.data = p;
    uv_close((uv_handle_t *)&p->disk_thread.done, peer_handle_closed_cb);
}

static void peer_replica_stopped(void *arg)
{
    struct peer *p = arg;

    p->replica_stopped = true;
}

static void peer_begin_stop(struct peer *p)
{
    p->phase = PEER_STOPPING;
    peer_children_kill(p);
    replica_stop(p->replica, peer_replica_stopped, p);
}

void peer_stop(struct peer *p)
{
    p->stop_wanted = true;
    peer_wake(p);
}

/* ---- before the loop waits ---- */

static void peer_idle_cb(uv_idle_t *idle)
{
    (void)idle; /* its being active is what keeps the loop from waiting */
}

/* The prepare handle runs before every wait anyway; this is for what is wanted after it has run. */
void peer_wake(struct peer *p)
{
    if (p->phase != PEER_CLOSING) {
        int rv = uv_idle_start(&p->idle, peer_idle_cb);

        assert(rv == 0);
    }
}

static void peer_flush(struct peer *p)
{
    unsigned round;

    for (round = 0; round < FLUSH_ROUNDS && p->flush_wanted && !p->replica_stopped; round++) {
        p->flush_wanted = false;
        replica_flush(p->replica);
    }
    transport_flush(p->transport);
}

static void peer_prepare_cb(uv_prepare_t *prepare)
{
    struct peer *p = prepare->data;
    int rv;

    if (p->phase == PEER_DISCONNECTING) {
        return;
    }
    if (p->stop_wanted && p->phase == PEER_RUNNING) {
        peer_begin_stop(p);
    }
    if (p->phase == PEER_RUNNING) {
        peer_sends_run(p);
    }
    peer_flush(p);
    if (p->replica_stopped && p->children == NULL) {
        p->phase = PEER_DISCONNECTING;
        transport_stop(p->transport, peer_disconnected, p);
    }
    if (!p->flush_wanted && !peer_sends_waiting(p) && !uv_is_active((uv_handle_t *)&p->check) &&
        !(p->stop_wanted && p->phase == PEER_RUNNING)) {
        rv = uv_idle_stop(&p->idle);
        assert(rv == 0);
    }
}

/* ---- the start ---- */

static int open_data_dir(struct peer *p, const char *data_dir, struct error *err)
{
    size_t size = strlen(data_dir) + sizeof("/znodefs");
    char *path;
    int rv = 0;

    if (mkdir(data_dir, 0700) != 0 && errno != EEXIST) {
        rv = -errno;
        return error_set(err, rv, "dataDir %s: cannot be created: %s: create its parent directory, or correct dataDir",
                         data_dir, strerror(-rv));
    }
    path = malloc(size);
    if (path == NULL) {
        abort();
    }
    (void)snprintf(path, size, "%s/znodefs", data_dir);
    rv = disk_posix_new(path, true, &p->disk);
    if (rv == 0) {
        p->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rv = p->dir_fd < 0 ? -errno : 0;
    }
    free(path);
    if (rv == -EWOULDBLOCK) {
        return error_set(err, rv,
                         "dataDir %s is in use by another znodefs: stop that one, or give this one its own "
                         "dataDir",
                         data_dir);
    }
    if (rv != 0) {
        return error_set(err, rv,
                         "dataDir %s: cannot open its directory znodefs: %s: correct dataDir or its permissions",
                         data_dir, strerror(-rv));
    }
    return 0;
}

static int open_disk(struct peer *p, const char *data_dir, struct error *err)
{
    if (data_dir != NULL) {
        return open_data_dir(p, data_dir, err);
    }
    p->disk = disk_null_new();
    return 0;
}

/* The id of an observer that is not listed: the one its dataDir was begun with, else a new one. A dataDir of a listed
 * server is refused later, when what else is in it is looked at. */
static uint64_t unlisted_sid(struct peer *p)
{
    struct epochs epochs;
    struct error ignored; /* whatever is wrong with the file is found again, and told, by the recovery */
    uint64_t span = ZAB_SID_UNLISTED_MAX - ZAB_SID_UNLISTED_MIN + 1;

    if (epochs_load(p->disk, &epochs, &ignored) == 0 && zab_sid_is_unlisted(epochs.sid)) {
        return epochs.sid;
    }
    return ZAB_SID_UNLISTED_MIN + peer_random() % span;
}

static int open_replica(struct peer *p, const struct peer_config *config, struct error *err)
{
    struct replica_env env = peer_env(p);
    struct error warning = {{0}};
    int rv;

    rv = replica_new(&config->replica, &env, p->disk, &p->replica, &warning);
    if (rv != 0) {
        return error_set(err, rv, "dataDir %s: %s", config->data_dir != NULL ? config->data_dir : "(none)",
                         warning.text);
    }
    if (warning.text[0] != '\0') {
        peer_log(p, "dataDir %s: %s", config->data_dir, warning.text);
    }
    return 0;
}

/* A connection may be silent as long as the most patient user of it (zab, while it synchronizes a learner). */
static uint32_t silent_ms(uint32_t peer_timeout_ms)
{
    return peer_timeout_ms < TRANSPORT_SILENT_MS_MAX / PATIENCE ? peer_timeout_ms * PATIENCE : TRANSPORT_SILENT_MS_MAX;
}

static int open_transport(struct peer *p, const struct peer_config *config, struct error *err)
{
    struct transport_callbacks cb = peer_transport_callbacks(p);
    struct transport_config transport = config->transport;

    transport.nonce = peer_random();
    transport.silent_ms = silent_ms(config->replica.zab.peer_timeout_ms);
    return transport_start(p->loop, &transport, &cb, &p->transport, err);
}

static void open_handles(struct peer *p)
{
    int rv;

    rv = uv_timer_init(p->loop, &p->timer);
    assert(rv == 0);
    rv = uv_check_init(p->loop, &p->check);
    assert(rv == 0);
    rv = uv_prepare_init(p->loop, &p->prepare);
    assert(rv == 0);
    rv = uv_idle_init(p->loop, &p->idle);
    assert(rv == 0);
    p->timer.data = p;
    p->check.data = p;
    p->prepare.data = p;
    p->idle.data = p;
    disk_thread_attach(&p->disk_thread, p->loop);
    p->handles = 5;
    rv = uv_prepare_start(&p->prepare, peer_prepare_cb);
    assert(rv == 0);
}

int peer_start(uv_loop_t *loop, const struct peer_config *config, const struct peer_callbacks *cb,
               struct peer **ret_peer, struct error *err)
{
    struct peer *p = calloc(1, sizeof(*p));
    struct peer_config own = *config;
    int rv;

    if (p == NULL) {
        abort();
    }
    p->loop = loop;
    p->cb = *cb;
    p->dir_fd = -1;
    rv = open_disk(p, config->data_dir, err);
    if (rv == 0) {
        if (own.replica.zab.n_servers == 0) {
            own.replica.zab.sid = unlisted_sid(p);
            own.transport.sid = own.replica.zab.sid;
        }
        rv = open_replica(p, &own, err);
    }
    if (rv == 0) {
        rv = disk_thread_start(&p->disk_thread);
        rv = rv == 0 ? 0 : error_set(err, rv, "the thread for the disk: %s", uv_strerror(rv));
    }
    if (rv == 0) {
        rv = open_transport(p, &own, err);
    }
    if (rv != 0) {
        peer_free(p);
        return rv;
    }
    open_handles(p);
    replica_start(p->replica);
    *ret_peer = p;
    return 0;
}

/* ---- for the host ---- */

struct replica *peer_replica(struct peer *p)
{
    return p->replica;
}

void peer_transport_stats(const struct peer *p, struct transport_stats *ret_stats)
{
    memset(ret_stats, 0, sizeof(*ret_stats));
    if (p->transport != NULL) {
        transport_stats(p->transport, ret_stats);
    }
}

const char *peer_address(const struct peer *p, uint64_t sid)
{
    return p->transport != NULL ? transport_address(p->transport, sid) : NULL;
}

void peer_close_in_child(struct peer *p, const int *fds, size_t n)
{
    int *copy = calloc(n + 1, sizeof(*copy));
    size_t i;

    if (copy == NULL) {
        abort();
    }
    free(p->close_fds);
    p->close_fds = copy;
    p->n_close_fds = 0;
    for (i = 0; i < n; i++) {
        if (fds[i] >= 0) {
            p->close_fds[p->n_close_fds++] = fds[i];
        }
    }
}

const struct histogram *peer_job_times(const struct peer *p)
{
    return &p->disk_thread.job_times;
}
