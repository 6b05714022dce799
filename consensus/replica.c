/* The life of a replica: recovered, started, told by its host what happens, stopped. */
#include "replica_int.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- helpers ---- */

void *replica_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

void *replica_realloc(void *old, size_t n, size_t size)
{
    void *p = reallocarray(old, n, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

void replica_log(struct replica *r, const char *format, ...)
{
    char text[REPLICA_TEXT_MAX];
    va_list args;

    va_start(args, format);
    if (vsnprintf(text, sizeof(text), format, args) < 0) {
        text[0] = '\0';
    }
    va_end(args);
    r->env.log(r->env.arg, text);
}

void replica_fail(struct replica *r, const char *format, ...)
{
    va_list args;

    if (r->failed) {
        return;
    }
    r->failed = true;
    va_start(args, format);
    if (vsnprintf(r->failed_text, sizeof(r->failed_text), format, args) < 0) {
        r->failed_text[0] = '\0';
    }
    va_end(args);
}

void replica_want_flush(struct replica *r)
{
    if (r->flush_wanted) {
        return;
    }
    r->flush_wanted = true;
    if (!r->flushing) {
        r->env.want_flush(r->env.arg);
    }
}

/* ---- recovery ---- */

static int check_owner(uint64_t sid, const struct epochs *e, struct error *err)
{
    if (e->sid == 0 || e->sid == sid) {
        return 0;
    }
    return error_set(err, -EXDEV,
                     "dataDir belongs to server %llu, this is server %llu: use the dataDir of server %llu, or an empty "
                     "one, or correct myid",
                     (unsigned long long)e->sid, (unsigned long long)sid, (unsigned long long)sid);
}

int replica_check_owner(const struct replica *r, const struct epochs *e, struct error *err)
{
    return check_owner(r->config.zab.sid, e, err);
}

struct zab *replica_new_zab(const struct replica *r, uint64_t zxid)
{
    const struct store *store = &r->store;
    struct zab_recovered recovered;
    struct zab_entry *entries;
    struct zab *zab;
    size_t i;

    entries = replica_alloc((store->n_entries + 1) * sizeof(*entries));
    for (i = 0; i < store->n_entries; i++) {
        entries[i].zxid = store->entries[i].zxid;
        entries[i].zxid_prev = store->entries[i].zxid_prev;
        entries[i].body = store->entries[i].body;
    }
    /* What is applied is committed. */
    if (state_zxid(store->state) > zxid) {
        zxid = state_zxid(store->state) < store->zxid_logged ? state_zxid(store->state) : store->zxid_logged;
    }
    memset(&recovered, 0, sizeof(recovered));
    recovered.accepted_epoch = store->epochs.accepted_epoch;
    recovered.accepted_from = store->epochs.accepted_from;
    recovered.current_epoch = store->epochs.current_epoch;
    recovered.sole = store->epochs.sole;
    recovered.zxid_committed = zxid;
    recovered.zxid_base = store->n_entries > 0 ? store->entries[0].zxid_prev : store->zxid_logged;
    recovered.entries = entries;
    recovered.n_entries = store->n_entries;
    zab = zab_new(&r->config.zab, &recovered);
    free(entries);
    return zab;
}

/* 0 when there is none, or when that can't be seen: then a snapshot comes sooner than it must. */
static uint64_t newest_snapshot(struct disk *disk)
{
    uint64_t *zxids;
    uint64_t newest = 0;
    size_t n;

    if (snapshot_list(disk, &zxids, &n) != 0) {
        return 0;
    }
    if (n > 0) {
        newest = zxids[0];
    }
    free(zxids);
    return newest;
}

/* The newest time in the log: a leader's clock goes on from there. And what was logged since the last snapshot, as far
 * as the window shows it: it counts towards the next one, else a peer that is often restarted would never write any. */
void replica_read_window(struct replica *r)
{
    uint64_t newest = newest_snapshot(r->store.disk);
    const struct store_entry *last;
    struct txn_decoded decoded;
    size_t i;

    r->snap.txns = 0;
    r->snap.bytes = 0;
    for (i = 0; i < r->store.n_entries; i++) {
        if (r->store.entries[i].zxid > newest) {
            r->snap.txns++;
            r->snap.bytes += r->store.entries[i].body->len;
        }
    }
    if (r->store.n_entries == 0) {
        return;
    }
    last = &r->store.entries[r->store.n_entries - 1];
    if (txn_decode(last->body->bytes, last->body->len, &decoded) == 0) {
        r->time_ns = decoded.txn.time_ns;
        txn_decoded_release(&decoded);
    }
}

static int open_store(const struct replica_config *config, const struct replica_env *env, struct disk *disk,
                      struct store *ret_store, struct error *err)
{
    const struct txnlog_config *log = config->log.segment_bytes != 0 ? &config->log : NULL;
    struct error own = {.text = ""};
    struct store store;
    int rv;

    rv = store_open(disk, log, config->zab.window_bytes, &store, &own);
    if (rv != 0) {
        return error_set(err, rv, "%s", own.text);
    }
    if (own.text[0] != '\0') {
        env->log(env->arg, own.text);
    }
    rv = check_owner(config->zab.sid, &store.epochs, err);
    if (rv != 0) {
        store_release(&store);
        return rv;
    }
    *ret_store = store;
    return 0;
}

static struct replica *replica_of(const struct replica_config *config, const struct replica_env *env,
                                  const struct store *store)
{
    struct replica *r = replica_alloc(sizeof(*r));

    r->config = *config;
    r->unlisted = config->zab.n_servers == 0;
    r->servers = replica_alloc((config->zab.n_servers + 1) * sizeof(*r->servers));
    if (config->zab.n_servers > 0) {
        memcpy(r->servers, config->zab.servers, config->zab.n_servers * sizeof(*r->servers));
    }
    r->config.zab.servers = r->servers;
    r->env = *env;
    r->store = *store;
    r->zab = replica_new_zab(r, state_zxid(store->state));
    r->timer_ms = UINT64_MAX;
    r->out.deadline_ms = UINT64_MAX;
    r->role = ZAB_LOOKING;
    r->session = env->random(env->arg);
    r->seq_next = 1;
    r->disk.zxid_synced = store->zxid_logged;
    return r;
}

int replica_new(const struct replica_config *config, const struct replica_env *env, struct disk *disk,
                struct replica **ret_replica, struct error *err)
{
    struct store store = {0};
    struct replica *r;
    int rv;

    rv = open_store(config, env, disk, &store, err);
    if (rv == -ENOSPC || rv == -EDQUOT) {
        store = (struct store){.disk = disk, .state = state_new()};
    } else if (rv != 0) {
        return rv;
    }
    r = replica_of(config, env, &store);
    replica_read_window(r);
    store_drop_entries(&r->store);
    peers_init(r, &config->zab);
    digests_add(&r->digests, state_zxid(r->store.state), state_digest(r->store.state));
    state_on_change(r->store.state, snap_change_cb, r);
    if (rv != 0) {
        away_start(r, rv, err->text);
        err->text[0] = '\0';
    }
    *ret_replica = r;
    return 0;
}

void replica_free(struct replica *r)
{
    if (r == NULL) {
        return;
    }
    assert(!r->pumping);
    calls_release(r);
    disk_queue_release(r);
    streams_stop_all(r);
    snapshot_incoming_free(r->snap.incoming);
    state_free(r->snap.old);
    replica_inputs_release(&r->inputs);
    zab_outputs_release(&r->out);
    zab_free(r->zab);
    store_release(&r->store);
    free(r->peers);
    free(r->servers);
    free(r);
}

/* ---- the host ---- */

void replica_start(struct replica *r)
{
    struct zab_input in = {.type = ZAB_IN_START};

    assert(!r->started);
    r->started = true;
    r->started_ms = r->env.now_ms(r->env.arg);
    r->quorum_lost_ms = r->started_ms;
    r->explain_ms = r->started_ms + REPLICA_EXPLAIN_MS;
    replica_pump(r, &in);
}

void replica_on_timer(struct replica *r)
{
    struct zab_input in = {.type = ZAB_IN_DEADLINE};

    r->timer_ms = UINT64_MAX; /* it has run out: set it again even to the same time */
    replica_pump(r, &in);
}

/* zab hears of each connection once up and once down, whatever the host's callbacks come to in between: one that
 * replaces another, a packet left behind by one that is gone. */
static bool peer_is_up(const struct replica *r, uint64_t sid)
{
    const struct replica_peer *p = peers_find(r, sid);

    return p != NULL && p->up;
}

void replica_on_peer_up(struct replica *r, uint64_t sid, bool observer)
{
    struct zab_input in = {.type = ZAB_IN_PEER_UP, .peer = sid, .peer_observer = observer};
    const struct replica_peer *p = peers_find(r, sid);

    if (sid == r->config.zab.sid || (p == NULL && observer == r->unlisted) || (p != NULL && p->observer != observer)) {
        r->env.disconnect(r->env.arg, sid, "not a server of this ensemble's configuration");
        return;
    }
    if (p != NULL && p->up) {
        replica_on_peer_down(r, sid);
    }
    peers_set(r, sid, observer, true);
    replica_pump(r, &in);
}

void replica_on_peer_down(struct replica *r, uint64_t sid)
{
    struct zab_input in = {.type = ZAB_IN_PEER_DOWN, .peer = sid};

    if (!peer_is_up(r, sid)) {
        return;
    }
    peers_set(r, sid, false, false);
    replica_pump(r, &in);
}

void replica_on_packet(struct replica *r, uint64_t sid, const struct zab_packet *packet)
{
    struct zab_input in = {.type = ZAB_IN_PACKET, .peer = sid, .packet = packet};

    if (!peer_is_up(r, sid)) {
        return;
    }
    replica_pump(r, &in);
}

static bool at_rest(const struct replica *r)
{
    return r->disk.running == NULL && r->calls.n == 0 && r->decided.n == 0;
}

void replica_flush(struct replica *r)
{
    void (*stopped)(void *arg) = r->stopped;
    unsigned round;
    bool more = true;

    assert(!r->flushing);
    r->flushing = true;
    for (round = 0; more && round < REPLICA_FLUSH_ROUNDS; round++) {
        replica_pump(r, NULL);
        more = r->decided.n > 0 || calls_wanting(r);
    }
    more = snap_free_some(r) || more;
    r->env.send_flush(r->env.arg); /* first: the others' disks are further away than ours */
    disk_queue_start(r);
    r->flushing = false;
    r->flush_wanted = false;
    if (r->stopping && stopped != NULL && at_rest(r)) {
        r->stopped = NULL;
        stopped(r->stopped_arg); /* may free the replica */
    } else if (more) {
        replica_want_flush(r);
    }
}

uint64_t replica_ensemble(const struct replica *r)
{
    return state_ensemble(r->store.state);
}

void replica_stop(struct replica *r, void (*stopped)(void *arg), void *arg)
{
    assert(!r->stopping);
    r->stopping = true;
    r->stopped = stopped;
    r->stopped_arg = arg;
    streams_stop_all(r);
    calls_fail_all(r, EIO);
    r->flush_wanted = false; /* asked for anew, whatever was asked before */
    replica_want_flush(r);
}

/* ---- front ends ---- */

void replica_listen(struct replica *r, struct replica_listener *l)
{
    l->next = r->listeners;
    r->listeners = l;
}

void replica_unlisten(struct replica *r, struct replica_listener *l)
{
    struct replica_listener **at = &r->listeners;

    while (*at != l) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = l->next;
    l->next = NULL;
}

const struct tree *replica_tree(const struct replica *r)
{
    return state_tree(r->store.state);
}

const struct state *replica_state(const struct replica *r)
{
    return r->store.state;
}

uint64_t replica_zxid(const struct replica *r)
{
    return state_zxid(r->store.state);
}
