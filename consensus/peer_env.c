/* The replica's world: clock, randomness, timer, disk thread, network, log. None of it calls the replica back. */
#include "peer_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Not uv_now(), which stands still for the length of a loop iteration. */
static uint64_t env_now_ms(void *arg)
{
    (void)arg;
    return uv_hrtime() / 1000000;
}

static int64_t env_wall_ns(void *arg)
{
    struct timespec now;
    int rv = clock_gettime(CLOCK_REALTIME, &now);

    (void)arg;
    assert(rv == 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

uint64_t peer_random(void)
{
    uint64_t value = 0;

    while (value == 0) {
        ssize_t n = getrandom(&value, sizeof(value), 0);

        if (n != (ssize_t)sizeof(value)) {
            /* Reads this short are never cut, only interrupted while the kernel still gathers its first entropy. */
            assert(n < 0);
            assert(errno == EINTR);
            value = 0;
        }
    }
    return value;
}

static uint64_t env_random(void *arg)
{
    (void)arg;
    return peer_random();
}

static void env_check_cb(uv_check_t *check)
{
    struct peer *p = check->data;
    int rv = uv_check_stop(check);

    assert(rv == 0);
    if (p->phase == PEER_RUNNING) {
        replica_on_timer(p->replica);
    }
}

/* Who was late himself (a busy machine, SIGSTOP, a long step) must not hold others to be silent before he has read what
 * they have sent: libuv runs timers before it polls. */
static void env_timer_cb(uv_timer_t *timer)
{
    struct peer *p = timer->data;
    int rv = uv_check_start(&p->check, env_check_cb);

    assert(rv == 0);
    peer_wake(p);
}

static void env_timer(void *arg, uint64_t deadline_ms)
{
    struct peer *p = arg;
    uint64_t now_ms = uv_now(p->loop); /* what libuv adds the delay to; the same clock as env_now_ms() */
    int rv;

    if (deadline_ms == UINT64_MAX) {
        rv = uv_timer_stop(&p->timer);
    } else {
        rv = uv_timer_start(&p->timer, env_timer_cb, deadline_ms > now_ms ? deadline_ms - now_ms : 0, 0);
    }
    assert(rv == 0);
}

static void env_job(void *arg, struct replica_job *job)
{
    struct peer *p = arg;

    disk_thread_put(&p->disk_thread, job);
}

static void env_want_flush(void *arg)
{
    struct peer *p = arg;

    p->flush_wanted = true;
    peer_wake(p);
}

static void env_send(void *arg, uint64_t sid, const struct zab_packet *packet)
{
    struct peer *p = arg;

    transport_send(p->transport, sid, packet);
}

static void env_send_flush(void *arg)
{
    struct peer *p = arg;

    transport_flush(p->transport);
}

static void env_disconnect(void *arg, uint64_t sid, const char *reason)
{
    struct peer *p = arg;

    transport_disconnect(p->transport, sid, reason);
}

static int env_snapshot(void *arg, const struct state *state)
{
    return peer_snapshot_begin(arg, state);
}

static int env_stream_open(void *arg, uint64_t sid, const struct state *state)
{
    return peer_send_open(arg, sid, state);
}

static void env_stream_pull(void *arg, uint64_t sid)
{
    peer_send_pull(arg, sid);
}

static void env_stream_close(void *arg, uint64_t sid)
{
    peer_send_close(arg, sid);
}

static void env_fatal(void *arg, const char *text)
{
    struct peer *p = arg;

    assert(p->fatal_text == NULL);
    p->fatal_text = strdup(text);
    if (p->fatal_text == NULL) {
        abort();
    }
    p->cb.log(p->cb.arg, text);
    p->stop_wanted = true;
    peer_wake(p);
}

static void env_log(void *arg, const char *text)
{
    struct peer *p = arg;

    p->cb.log(p->cb.arg, text);
}

struct replica_env peer_env(struct peer *p)
{
    struct replica_env env = {
        .arg = p,
        .now_ms = env_now_ms,
        .wall_ns = env_wall_ns,
        .random = env_random,
        .timer = env_timer,
        .job = env_job,
        .want_flush = env_want_flush,
        .send = env_send,
        .send_flush = env_send_flush,
        .disconnect = env_disconnect,
        .snapshot = env_snapshot,
        .stream_open = env_stream_open,
        .stream_pull = env_stream_pull,
        .stream_close = env_stream_close,
        .fatal = env_fatal,
        .log = env_log,
    };

    return env;
}

/* ---- what the transport tells ---- */

static void net_up(void *arg, uint64_t sid, bool observer, const char *address)
{
    struct peer *p = arg;

    if (p->phase == PEER_RUNNING) {
        peer_log(p, "connected with server.%llu at %s", (unsigned long long)sid, address);
        replica_on_peer_up(p->replica, sid, observer);
    }
}

static void net_down(void *arg, uint64_t sid)
{
    struct peer *p = arg;

    if (p->phase == PEER_RUNNING) {
        replica_on_peer_down(p->replica, sid);
    }
}

static void net_packet(void *arg, uint64_t sid, const struct zab_packet *packet)
{
    struct peer *p = arg;

    if (p->phase == PEER_RUNNING) {
        replica_on_packet(p->replica, sid, packet);
    }
}

static uint64_t net_ensemble(void *arg)
{
    struct peer *p = arg;

    return replica_ensemble(p->replica);
}

struct transport_callbacks peer_transport_callbacks(struct peer *p)
{
    struct transport_callbacks cb = {
        .up = net_up,
        .down = net_down,
        .packet = net_packet,
        .ensemble = net_ensemble,
        .log = env_log,
        .arg = p,
    };

    return cb;
}
