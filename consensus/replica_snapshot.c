/* Snapshots: to a file every so many transactions, to a learner that is too far behind, and in from a leader. */
#include "replica_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* ---- out to a learner ---- */

struct send_arg {
    struct replica *r;
    uint64_t peer;
    struct zab_packet packet;
};

static int send_cb(void *arg, const uint8_t *bytes, size_t len)
{
    struct send_arg *s = arg;

    assert(len <= SNAPSHOT_CHUNK_MAX);
    s->packet.type = ZAB_SNAP_DATA;
    s->packet.body = buf_copy(bytes, len);
    s->r->env.send(s->r->env.arg, s->peer, &s->packet);
    buf_unref(s->packet.body);
    s->packet.body = NULL;
    return 0;
}

void snap_send(struct replica *r, const struct zab_output *o)
{
    struct send_arg arg = {.r = r, .peer = o->peer};
    int rv;

    arg.packet.epoch = o->packet.epoch;
    arg.packet.zxid = state_zxid(r->store.state);
    rv = snapshot_write(r->store.state, send_cb, &arg);
    if (rv != 0) {
        /* Only memory can be short here. The learner comes again and gets another one. */
        replica_log(r, "snapshot for server %llu: %s", (unsigned long long)o->peer, strerror(-rv));
        r->env.disconnect(r->env.arg, o->peer, "its snapshot could not be made");
        return;
    }
    arg.packet.type = ZAB_SNAP_END;
    r->env.send(r->env.arg, o->peer, &arg.packet);
}

/* ---- in from a leader ---- */

/* A snapshot that came whole and in order over a checked connection and still can't be read was made wrong, or by a
 * newer version: asking for it again would give the same. */
static void bad_snapshot(struct replica *r, const char *text)
{
    replica_fail(r,
                 "the snapshot from server %llu can't be used: %s. Run the same version of znodefs on all servers, and "
                 "start this one again",
                 (unsigned long long)r->leader, text);
}

void snap_chunk(struct replica *r, const struct buf *piece)
{
    struct error err;

    memset(&err, 0, sizeof(err));
    if (r->snap.reader == NULL) {
        r->snap.reader = snapshot_reader_new();
    }
    if (snapshot_reader_feed(r->snap.reader, piece->bytes, piece->len, &err) != 0) {
        bad_snapshot(r, err.text);
    }
}

void snap_drop(struct replica *r)
{
    snapshot_reader_free(r->snap.reader);
    r->snap.reader = NULL;
}

void snap_install(struct replica *r, uint64_t zxid)
{
    struct state *state;
    struct error err;
    int rv;

    memset(&err, 0, sizeof(err));
    assert(!r->snap.installing);
    if (r->snap.reader == NULL) {
        bad_snapshot(r, "it is empty");
        return;
    }
    rv = snapshot_reader_finish(r->snap.reader, &state, &err);
    snap_drop(r);
    if (rv != 0) {
        bad_snapshot(r, err.text);
        return;
    }
    if (state_zxid(state) != zxid) {
        state_free(state);
        bad_snapshot(r, "it is not at the zxid that was announced");
        return;
    }
    r->snap.installing = true;
    disk_queue_snapshot(r, state, zxid);
}

void snap_installed(struct replica *r, struct state *state)
{
    struct state *old = r->store.state;
    struct replica_listener *l;

    r->snap.installing = false;
    r->snap.txns = 0;
    r->snap.bytes = 0;
    r->store.state = state;
    state_on_change(state, snap_change_cb, r);
    digests_clear(&r->digests);
    digests_add(&r->digests, state_zxid(state), state_digest(state));
    if (state_has_session(state, r->session)) {
        r->session_applied = true;
    }
    for (l = r->listeners; l != NULL; l = l->next) {
        if (l->replaced != NULL) {
            l->replaced(l->arg);
        }
    }
    state_free(old);
}

void snap_change_cb(void *arg, const struct change *change)
{
    struct replica *r = arg;
    struct replica_listener *l;

    for (l = r->listeners; l != NULL; l = l->next) {
        if (l->changed != NULL) {
            l->changed(l->arg, change);
        }
    }
}

/* ---- to a file ---- */

/* splitmix64 (S. Vigna): spreads a small number over 64 bits. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Between a half and the whole of `interval`, differently for each server and time, so that the peers of an ensemble
 * don't all write a snapshot at once. 0: never. */
static uint64_t jittered(const struct replica *r, uint64_t interval)
{
    if (interval == 0) {
        return UINT64_MAX;
    }
    return interval - mix(r->config.zab.sid * 1000003u + r->snap.begun) % (interval / 2 + 1);
}

static bool snapshot_due(const struct replica *r)
{
    if (r->snap.saving || r->snap.installing || r->snap.txns == 0) {
        return false;
    }
    if (r->snap.txns < jittered(r, r->config.snap_count) && r->snap.bytes < jittered(r, r->config.snap_bytes)) {
        return false;
    }
    /* A snapshot ahead of the log would leave a gap between the two. */
    return r->disk.zxid_synced >= state_zxid(r->store.state);
}

void snap_consider(struct replica *r)
{
    int rv;

    if (replica_halted(r) || !snapshot_due(r)) {
        return;
    }
    r->snap.saving = true;
    r->snap.begun++;
    r->snap.txns = 0;
    r->snap.bytes = 0;
    rv = r->env.snapshot(r->env.arg, r->store.state);
    if (rv != 0) {
        r->snap.saving = false;
        replica_log(r, "snapshot not begun: %s; the next one is tried later", strerror(-rv));
    }
}

void replica_on_snapshot(struct replica *r, int rv)
{
    assert(r->snap.saving);
    r->snap.saving = false;
    if (replica_halted(r)) {
        return;
    }
    if (rv != 0) {
        replica_log(r, "snapshot failed: %s; the next one is tried later", strerror(-rv));
        return;
    }
    r->snap.done++;
    disk_queue_purge(r);
}
