/* Snapshots: to a file every so many transactions, and in from a leader. */
#include "replica_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* ---- in from a leader ---- */

/* A snapshot that came whole and in order over a checked connection and still can't be read was made wrong, or by a
 * newer version: asking for it again would give the same. */
void snap_bad(struct replica *r, const char *text)
{
    replica_fail(r,
                 "the snapshot from server %llu can't be used: %s. Run the same version of znodefs on all servers, and "
                 "start this one again",
                 (unsigned long long)r->leader, text);
}

void snap_chunk(struct replica *r, const struct zab_output *o)
{
    if (r->snap.incoming == NULL) {
        r->snap.incoming = snapshot_incoming_new(r->store.disk);
        r->snap.taken = 0;
        replica_log(r, "this server is too far behind: it takes over a snapshot of server %llu, at zxid 0x%llx",
                    (unsigned long long)r->leader, (unsigned long long)o->zxid);
    }
    disk_queue_piece(r, o->packet.body);
}

void snap_taken(struct replica *r, size_t bytes)
{
    struct zab_input in = {.type = ZAB_IN_SNAP_TAKEN};

    r->snap.taken += bytes;
    in.bytes = r->snap.taken;
    replica_input(r, &in);
}

void snap_drop(struct replica *r)
{
    if (r->snap.incoming != NULL) {
        disk_queue_drop(r, r->snap.incoming);
        r->snap.incoming = NULL;
    }
}

void snap_install(struct replica *r, uint64_t zxid)
{
    assert(!r->snap.installing);
    if (r->snap.incoming == NULL) {
        snap_bad(r, "it is empty");
        return;
    }
    r->snap.installing = true;
    disk_queue_snapshot(r, r->snap.incoming, zxid);
    r->snap.incoming = NULL;
}

/* A tree of a million nodes takes longer to free than anybody should wait for. */
bool snap_free_some(struct replica *r)
{
    if (r->snap.old != NULL && state_free_some(r->snap.old, REPLICA_FREE_NODES)) {
        r->snap.old = NULL;
    }
    return r->snap.old != NULL;
}

void snap_installed(struct replica *r, struct state *state)
{
    struct state *old = r->store.state;
    struct replica_listener *l;

    r->snap.installing = false;
    if (state_zxid(state) < state_zxid(old)) {
        state_free(state); /* the disk was full before this was on it (replica_away.c) */
        return;
    }
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
    state_free(r->snap.old);
    r->snap.old = old;
    replica_want_flush(r);
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
    if (r->snap.saving || r->snap.installing || r->away.away || r->snap.txns == 0) {
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

/* Who is being sent a snapshot goes on with the log behind it. But the log can't wait for ever, and where room is short
 * what is not needed goes at once. */
static bool snap_spares_log(struct replica *r)
{
    if (r->snap.streams == NULL || r->snap.spared == REPLICA_SPARED_MAX) {
        return false;
    }
    r->snap.spared++;
    return true;
}

void replica_on_snapshot(struct replica *r, int rv)
{
    assert(r->snap.saving);
    r->snap.saving = false;
    if (replica_halted(r)) {
        return;
    }
    if (rv != 0) {
        replica_log(r, "snapshot failed: %s; the next one is tried later%s", strerror(-rv),
                    rv == -ENOSPC || rv == -EDQUOT ? ". The disk is full: make room for dataDir" : "");
    } else {
        r->snap.done++;
    }
    if (!r->away.away && (rv == -ENOSPC || rv == -EDQUOT || (rv == 0 && !snap_spares_log(r)))) {
        r->snap.spared = 0;
        disk_queue_purge(r);
    }
}
