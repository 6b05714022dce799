/* The world as a replica sees it: its life, its clock, its disk thread, its snapshot child. */
#include "sim.h"

#include "store/disk_null.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long a process that ended is away. */
static uint64_t restart_delay_us(struct sim *s)
{
    if (s->phase >= SIM_PHASE_QUIET) {
        return sim_between(s, 1, 200) * SIM_MS;
    }
    return sim_chance(s, 80) ? sim_between(s, 1, 800) * SIM_MS : sim_between(s, 800, 5000) * SIM_MS;
}

/* ---- struct replica_env ---- */

/* What its clock has counted since the beginning. */
static uint64_t local_us(const struct sim_peer *p)
{
    int64_t now_us = (int64_t)p->sim->now_us;

    return (uint64_t)(now_us + now_us / 1000 * p->drift_ppm / 1000);
}

static uint64_t env_now_ms(void *arg)
{
    const struct sim_peer *p = arg;

    return p->clock_base_ms + local_us(p) / 1000;
}

static int64_t env_wall_ns(void *arg)
{
    const struct sim_peer *p = arg;

    return INT64_C(1700000000000000000) + (int64_t)p->sim->now_us * 1000 + p->wall_skew_ns;
}

static uint64_t env_random(void *arg)
{
    const struct sim_peer *p = arg;
    uint64_t x;

    do {
        x = sim_random(p->sim);
    } while (x == 0);
    return x;
}

static void env_timer(void *arg, uint64_t deadline_ms)
{
    struct sim_peer *p = arg;
    uint64_t now_ms = env_now_ms(arg);
    uint64_t delay_us = 0;

    p->timer_gen++;
    if (deadline_ms == UINT64_MAX) {
        return;
    }
    if (deadline_ms > now_ms) {
        delay_us = (deadline_ms - now_ms) * 1000 - local_us(p) % 1000;
        delay_us = (uint64_t)((int64_t)delay_us * 1000000 / (1000000 + p->drift_ppm));
    }
    sim_push(p->sim, delay_us + sim_jitter(p->sim, 1000),
             (struct sim_event){.kind = SIM_EV_TIMER, .peer = p->index, .gen = p->timer_gen});
}

/* Mostly as fast as the seed's disk is, now and then much slower, and slow for a while when a fault says so. */
static uint64_t disk_delay_us(struct sim_peer *p)
{
    struct sim *s = p->sim;
    uint64_t us = s->config.disk_us;

    if (s->script == NULL) {
        us = sim_between(s, us / 10, us) * (sim_chance(s, 2) ? 10 : 1);
    }
    if (p->slow_until_us > s->now_us) {
        us += sim_between(s, p->slow_us / 4, p->slow_us);
    }
    return us;
}

static void env_job(void *arg, struct replica_job *job)
{
    struct sim_peer *p = arg;

    assert(p->job == NULL);
    p->job = job;
    sim_push(p->sim, disk_delay_us(p),
             (struct sim_event){.kind = SIM_EV_JOB_RUN, .peer = p->index, .gen = p->incarnation});
}

static void env_want_flush(void *arg)
{
    struct sim_peer *p = arg;

    if (!p->flush_wanted) {
        p->flush_wanted = true;
        sim_push(p->sim, sim_jitter(p->sim, 200),
                 (struct sim_event){.kind = SIM_EV_FLUSH, .peer = p->index, .gen = p->incarnation});
    }
}

static void env_send(void *arg, uint64_t sid, const struct zab_packet *packet)
{
    sim_net_send(arg, sid, packet);
}

static void env_send_flush(void *arg)
{
    sim_net_flush(arg);
}

static void env_disconnect(void *arg, uint64_t sid, const char *reason)
{
    struct sim_peer *p = arg;

    sim_cover_branch(p->sim, SIM_BRANCH_DISCONNECT);
    sim_trace(p->sim, "p%" PRIu64 " disconnects %" PRIu64 ": %s", p->sid, sid, reason);
    sim_net_disconnect(p, sid);
}

static int copy_sink(void *arg, const uint8_t *bytes, size_t len)
{
    return snapshot_reader_feed(arg, bytes, len, NULL);
}

/* The child has the state as it is now, while the peer goes on: a copy through the snapshot's own format. */
static int env_snapshot(void *arg, const struct state *state)
{
    struct sim_peer *p = arg;
    struct snapshot_reader *reader = snapshot_reader_new();
    struct error err = {.text = ""};

    assert(p->snap == NULL);
    if (snapshot_write(state, copy_sink, reader) != 0 || snapshot_reader_finish(reader, &p->snap, &err) != 0) {
        sim_fail(p->sim, "server %" PRIu64 ": a snapshot can't be read back: %s", p->sid, err.text);
    }
    snapshot_reader_free(reader);
    if (state_digest(p->snap) != state_digest(state) || state_digest_slow(p->snap) != state_digest(state)) {
        sim_fail(p->sim, "server %" PRIu64 ": a snapshot read back is another state", p->sid);
    }
    sim_push(p->sim, disk_delay_us(p) * 2,
             (struct sim_event){.kind = SIM_EV_SNAP_SAVE, .peer = p->index, .gen = p->incarnation});
    return 0;
}

static void env_fatal(void *arg, const char *text)
{
    struct sim_peer *p = arg;

    if (p->ending) {
        sim_fail(p->sim, "server %" PRIu64 " called fatal() twice", p->sid);
    }
    p->ending = true;
    (void)snprintf(p->fatal, sizeof(p->fatal), "%s", text);
}

static void env_log(void *arg, const char *text)
{
    struct sim_peer *p = arg;

    sim_trace(p->sim, "p%" PRIu64 " says: %s", p->sid, text);
    if (strstr(text, "there is room on the disk again") != NULL) {
        sim_cover_branch(p->sim, SIM_BRANCH_ROOM_AGAIN);
    }
    if (strstr(text, "the disk fails") != NULL) {
        (void)snprintf(p->fatal, sizeof(p->fatal), "%s", text); /* should whoever looks after it see it so */
    }
}

static void on_changed(void *arg, const struct change *change)
{
    sim_check_change(arg, change);
}

/* ---- life ---- */

void sim_peer_init(struct sim *s, unsigned index)
{
    struct sim_peer *p = &s->peers[index];

    p->sim = s;
    p->index = index;
    p->sid = s->servers[index].sid;
    p->observer = s->servers[index].observer;
    p->disk = crash_disk_new(sim_random(s));
    if (p->observer && s->config.forgetful) {
        p->null_disk = disk_null_new();
    }
    p->drift_ppm = (int32_t)sim_below(s, 2 * s->config.drift_ppm + 1) - (int32_t)s->config.drift_ppm;
    p->wall_skew_ns = (int64_t)sim_below(s, 2000) * 1000000 - 1000000000;
    p->env = (struct replica_env){
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
        .stream_open = sim_stream_open,
        .stream_pull = sim_stream_pull,
        .stream_close = sim_stream_close,
        .fatal = env_fatal,
        .log = env_log,
    };
}

struct sim_peer *sim_peer_by_sid(struct sim *s, uint64_t sid)
{
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if (s->peers[i].sid == sid) {
            return &s->peers[i];
        }
    }
    return NULL;
}

static void forget_process(struct sim_peer *p)
{
    if (p->replica != NULL) {
        sim_clients_lost(p);
        sim_script_lost(p);
        replica_free(p->replica);
    }
    p->replica = NULL;
    p->incarnation++;
    p->timer_gen++;
    p->flush_wanted = false;
    p->job = NULL; /* freed with the replica */
    p->job_waits = false;
    p->ending = false;
    p->stopping = false;
    p->paused_until_us = 0;
    state_free(p->snap);
    p->snap = NULL;
}

void sim_peer_release(struct sim_peer *p)
{
    forget_process(p);
    crash_disk_free(p->disk);
    p->disk = NULL;
    disk_null_free(p->null_disk);
    p->null_disk = NULL;
}

static struct replica_config config_of(const struct sim_peer *p)
{
    const struct sim *s = p->sim;
    const struct sim_config *c = &s->config;

    return (struct replica_config){
        .zab =
            {
                .sid = p->sid,
                .observer = p->observer,
                .servers = p->alone ? &s->servers[p->index] : s->servers,
                .n_servers = p->alone       ? 1
                             : !c->unlisted ? s->n_peers
                             : p->observer  ? 0
                                            : c->n_participants,
                .tick_ms = c->tick_ms,
                .init_limit = 10,
                .sync_limit = 5,
                .peer_timeout_ms = c->peer_timeout_ms,
                .window_bytes = c->window_bytes,
            },
        .timeo_ms = c->timeo_ms,
        .data_max = TXN_DATA_MAX_DEFAULT,
        .snap_count = c->snap_count,
        .snap_bytes = c->snap_bytes,
        .snap_retain = c->snap_retain,
    };
}

void sim_peer_boot(struct sim_peer *p)
{
    struct sim *s = p->sim;
    struct replica_config config;
    struct error err = {.text = ""};
    int rv;

    assert(p->replica == NULL);
    if (crash_disk_is_dead(p->disk)) {
        crash_disk_restart(p->disk);
    }
    p->incarnation++;
    p->clock_base_ms = sim_below(s, 1000000);
    p->booted_us = s->now_us;
    p->fatal[0] = '\0';
    if (p->null_disk != NULL) {
        p->sid = ZAB_SID_UNLISTED_MIN + sim_below(s, UINT64_C(1) << 40);
        sim_check_wiped(p);
    }
    config = config_of(p);
    if (s->script == NULL && s->phase == SIM_PHASE_FAULTS && sim_chance(s, 3)) {
        crash_disk_crash_after(p->disk, sim_below(s, 10)); /* again, while it recovers or soon after */
    }
    rv = replica_new(&config, &p->env, p->null_disk != NULL ? p->null_disk : p->disk, &p->replica, &err);
    if (rv != 0) {
        p->replica = NULL;
        (void)snprintf(p->fatal, sizeof(p->fatal), "%s", err.text);
        if (!crash_disk_is_dead(p->disk) && !p->excused && s->script == NULL) {
            sim_fail(s, "server %" PRIu64 " does not start: %s (%s)", p->sid, err.text, strerror(-rv));
        }
        sim_trace(s, "p%" PRIu64 " does not start: %s", p->sid, err.text);
        sim_peer_crash(p, true, restart_delay_us(s));
        return;
    }
    p->listener = (struct replica_listener){.arg = p, .changed = on_changed};
    replica_listen(p->replica, &p->listener);
    sim_check_booted(p);
    sim_trace(s, "p%" PRIu64 " starts, zxid 0x%" PRIx64, p->sid, replica_zxid(p->replica));
    replica_start(p->replica);
    sim_net_boot(p);
}

void sim_peer_crash(struct sim_peer *p, bool power, uint64_t delay_us)
{
    struct sim *s = p->sim;
    bool was_up = p->replica != NULL;

    sim_trace(s, "p%" PRIu64 " %s", p->sid, power ? "loses power" : "is killed");
    forget_process(p);
    sim_net_crash(p, s->script == NULL && power && sim_chance(s, 50) ? 3 * SIM_S : 5 * SIM_MS);
    if (power) {
        crash_disk_crash_after(p->disk, CRASH_DISK_NEVER);
        crash_disk_fail_sync_after(p->disk, CRASH_DISK_NEVER);
        crash_disk_fail_op_after(p->disk, CRASH_DISK_NEVER);
        crash_disk_set_free(p->disk, CRASH_DISK_UNLIMITED);
        crash_disk_crash(p->disk);
        p->excused = false;
    }
    s->stats.crashes += was_up ? 1 : 0;
    if (delay_us == SIM_NEVER || s->script != NULL) {
        return; /* a scenario says when */
    }
    sim_push(s, delay_us, (struct sim_event){.kind = SIM_EV_BOOT, .peer = p->index, .gen = p->incarnation});
}

void sim_peer_wipe(struct sim_peer *p)
{
    sim_peer_crash(p, true, SIM_NEVER);
    crash_disk_free(p->disk);
    p->disk = crash_disk_new(sim_random(p->sim));
    sim_check_wiped(p);
    sim_trace(p->sim, "p%" PRIu64 " is wiped", p->sid);
}

static void stopped_cb(void *arg)
{
    struct sim_peer *p = arg;

    sim_push(p->sim, 0, (struct sim_event){.kind = SIM_EV_END, .peer = p->index, .gen = p->incarnation});
}

void sim_peer_stop(struct sim_peer *p)
{
    if (p->replica == NULL || p->stopping || p->ending) {
        return;
    }
    sim_trace(p->sim, "p%" PRIu64 " is asked to stop", p->sid);
    p->stopping = true;
    p->sim->current = p;
    replica_stop(p->replica, stopped_cb, p);
    sim_peer_after_step(p);
}

/* ---- events ---- */

static void on_job_run(struct sim_peer *p)
{
    assert(p->job != NULL);
    if (p->disk_held) {
        p->job_waits = true;
        return;
    }
    p->job->run(p->job);
    sim_push(p->sim, sim_jitter(p->sim, 300),
             (struct sim_event){.kind = SIM_EV_JOB_DONE, .peer = p->index, .gen = p->incarnation});
}

void sim_peer_hold_disk(struct sim_peer *p, bool hold)
{
    p->disk_held = hold;
    if (!hold && p->job_waits) {
        p->job_waits = false;
        sim_push(p->sim, 0, (struct sim_event){.kind = SIM_EV_JOB_RUN, .peer = p->index, .gen = p->incarnation});
    }
}

static void on_job_done(struct sim_peer *p)
{
    struct replica_job *job = p->job;

    assert(job != NULL);
    p->job = NULL;
    job->done(job);
}

static void on_snap_save(struct sim_peer *p)
{
    struct error err = {.text = ""};
    int rv;

    assert(p->snap != NULL);
    rv = snapshot_save(p->null_disk != NULL ? p->null_disk : p->disk, p->snap, &err);
    if (rv == 0) {
        sim_cover_branch(p->sim, SIM_BRANCH_SNAPSHOT);
    }
    state_free(p->snap);
    p->snap = NULL;
    sim_push(
        p->sim, sim_jitter(p->sim, 2000),
        (struct sim_event){.kind = SIM_EV_SNAP_DONE, .peer = p->index, .gen = p->incarnation, .arg = (uint64_t)-rv});
}

static void on_boot(struct sim_peer *p, const struct sim_event *e)
{
    /* Anything that happened since it was decided has made another decision. */
    if (p->replica == NULL && e->gen == p->incarnation &&
        (p->sim->lonely < 0 || p->sim->lonely == (int)p->index || p->sim->script != NULL)) {
        sim_peer_boot(p);
    }
}

void sim_peer_on_event(struct sim_peer *p, const struct sim_event *e)
{
    if (e->kind == SIM_EV_BOOT) {
        on_boot(p, e);
        return;
    }
    if (e->kind == SIM_EV_PIECE) {
        sim_stream_on_piece(p, e);
        return;
    }
    if (p->replica == NULL || (e->kind == SIM_EV_TIMER ? e->gen != p->timer_gen : e->gen != p->incarnation)) {
        return;
    }
    switch (e->kind) {
    case SIM_EV_TIMER:
        replica_on_timer(p->replica);
        return;
    case SIM_EV_FLUSH:
        p->flush_wanted = false;
        replica_flush(p->replica);
        return;
    case SIM_EV_JOB_RUN:
        on_job_run(p);
        return;
    case SIM_EV_JOB_DONE:
        on_job_done(p);
        return;
    case SIM_EV_SNAP_SAVE:
        on_snap_save(p);
        return;
    case SIM_EV_SNAP_DONE:
        replica_on_snapshot(p->replica, -(int)e->arg);
        return;
    case SIM_EV_END:
        sim_peer_crash(p, false, restart_delay_us(p->sim));
        return;
    default:
        assert(false);
    }
}

/* After a failed sync nobody knows what is on the disk and what only seems to be: such a machine starts anew. */
static void end_of_itself(struct sim_peer *p)
{
    if (!p->excused && p->sim->script == NULL) {
        sim_fail(p->sim, "server %" PRIu64 " ends by itself: %s", p->sid, p->fatal);
    }
    sim_cover_branch(p->sim, SIM_BRANCH_ENDED);
    sim_trace(p->sim, "p%" PRIu64 " ends by itself: %s", p->sid, p->fatal);
    sim_peer_crash(p, p->sim->script == NULL, restart_delay_us(p->sim));
}

/* It has left the ensemble for good; whoever looks after the machine sees that. */
static bool disk_failed(const struct sim_peer *p)
{
    struct replica_status st;

    replica_status(p->replica, &st);
    return strcmp(st.disk, "error") == 0;
}

void sim_peer_after_step(struct sim_peer *p)
{
    if (p->replica == NULL) {
        return;
    }
    if (crash_disk_is_dead(p->disk)) {
        sim_peer_crash(p, true, restart_delay_us(p->sim));
        return;
    }
    sim_check_peer(p);
    if (p->ending || disk_failed(p)) {
        end_of_itself(p);
    }
}
