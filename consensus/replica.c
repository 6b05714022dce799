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

static int check_owner(const struct replica_config *config, const struct epochs *e, struct error *err)
{
    if (e->sid == 0 || e->sid == config->zab.sid) {
        return 0;
    }
    return error_set(err, -EXDEV,
                     "dataDir belongs to server %llu, this is server %llu: use the dataDir of server %llu, or an empty "
                     "one, or correct myid",
                     (unsigned long long)e->sid, (unsigned long long)config->zab.sid,
                     (unsigned long long)config->zab.sid);
}

static struct zab *zab_from_store(const struct zab_config *config, const struct store *store)
{
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
    memset(&recovered, 0, sizeof(recovered));
    recovered.accepted_epoch = store->epochs.accepted_epoch;
    recovered.accepted_from = store->epochs.accepted_from;
    recovered.current_epoch = store->epochs.current_epoch;
    recovered.zxid_committed = state_zxid(store->state);
    recovered.zxid_base = store->n_entries > 0 ? store->entries[0].zxid_prev : store->zxid_logged;
    recovered.entries = entries;
    recovered.n_entries = store->n_entries;
    zab = zab_new(config, &recovered);
    free(entries);
    return zab;
}

/* The newest time in the log: a leader's clock goes on from there. And what was logged since the last snapshot, as far
 * as it is known: it counts towards the next one. */
static void read_window(struct replica *r)
{
    struct txn_decoded decoded;
    const struct buf *body;
    size_t i;

    for (i = 0; i < r->store.n_entries; i++) {
        r->snap.txns++;
        r->snap.bytes += r->store.entries[i].body->len;
    }
    if (r->store.n_entries == 0) {
        return;
    }
    body = r->store.entries[r->store.n_entries - 1].body;
    if (txn_decode(body->bytes, body->len, &decoded) == 0) {
        r->time_ns = decoded.txn.time_ns;
        txn_decoded_release(&decoded);
    }
}

int replica_new(const struct replica_config *config, const struct replica_env *env, struct disk *disk,
                struct replica **ret_replica, struct error *err)
{
    struct store store;
    struct replica *r;
    int rv;

    rv = store_open(disk, NULL, config->zab.window_bytes, &store, err);
    if (rv != 0) {
        return rv;
    }
    rv = check_owner(config, &store.epochs, err);
    if (rv != 0) {
        store_release(&store);
        return rv;
    }
    r = replica_alloc(sizeof(*r));
    r->config = *config;
    r->config.zab.servers = NULL; /* the caller's; zab and peers have copies */
    r->config.zab.n_servers = 0;
    r->env = *env;
    r->store = store;
    r->zab = zab_from_store(&config->zab, &store);
    r->timer_ms = UINT64_MAX;
    r->out.deadline_ms = UINT64_MAX;
    r->role = ZAB_LOOKING;
    r->session = env->random(env->arg);
    r->seq_next = 1;
    r->disk.zxid_synced = store.zxid_logged;
    read_window(r);
    store_drop_entries(&r->store);
    peers_init(r, &config->zab);
    digests_add(&r->digests, state_zxid(r->store.state), state_digest(r->store.state));
    state_on_change(r->store.state, snap_change_cb, r);
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
    snap_drop(r);
    replica_inputs_release(&r->inputs);
    zab_outputs_release(&r->out);
    zab_free(r->zab);
    store_release(&r->store);
    free(r->peers);
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
    replica_pump(r, &in);
}

void replica_on_timer(struct replica *r)
{
    struct zab_input in = {.type = ZAB_IN_DEADLINE};

    r->timer_ms = UINT64_MAX; /* it has run out: set it again even to the same time */
    replica_pump(r, &in);
}

void replica_on_peer_up(struct replica *r, uint64_t sid, bool observer)
{
    struct zab_input in = {.type = ZAB_IN_PEER_UP, .peer = sid, .peer_observer = observer};

    peers_set(r, sid, observer, true);
    replica_pump(r, &in);
}

void replica_on_peer_down(struct replica *r, uint64_t sid)
{
    struct zab_input in = {.type = ZAB_IN_PEER_DOWN, .peer = sid};

    peers_set(r, sid, false, false);
    replica_pump(r, &in);
}

void replica_on_packet(struct replica *r, uint64_t sid, const struct zab_packet *packet)
{
    struct zab_input in = {.type = ZAB_IN_PACKET, .peer = sid, .packet = packet};

    replica_pump(r, &in);
}

static bool at_rest(const struct replica *r)
{
    return r->disk.running == NULL && r->calls.n == 0 && r->decided.n == 0;
}

void replica_flush(struct replica *r)
{
    unsigned round;

    assert(!r->flushing);
    r->flushing = true;
    r->flush_wanted = false;
    for (round = 0; round < REPLICA_FLUSH_ROUNDS; round++) {
        replica_pump(r, NULL);
        disk_queue_start(r);
        if (r->decided.n == 0 && (r->call_next == NULL || !r->ready)) {
            break;
        }
    }
    r->env.send_flush(r->env.arg);
    r->flushing = false;
    r->flush_wanted = false;
    if (r->stopping && at_rest(r)) {
        r->stopped(r->stopped_arg); /* may free the replica */
        return;
    }
    if (r->decided.n > 0) {
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

const struct tree *replica_tree(const struct replica *r)
{
    return state_tree(r->store.state);
}

uint64_t replica_zxid(const struct replica *r)
{
    return state_zxid(r->store.state);
}
