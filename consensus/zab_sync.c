/*
 * zab_sync.c: the leader's side of synchronization: a learner is brought to the leader's history, then NEWLEADER; once
 * a quorum has it on disk the epoch is established (the DSN paper's phase 2).
 *
 * The learner's last zxid is looked up in our history: not there, then what the learner has beyond the newest zxid of
 * ours below it was never committed, and it truncates (TRUNC, lesson 7). It answers where its own history then ends,
 * which may be earlier still, and the look-up is repeated: each turn moves both closer to the last zxid they share.
 */
#include "zab_int.h"

#include <string.h>

void learner_set_phase(struct zab *z, struct zab_peer *p, enum learner_phase phase)
{
    if (p->phase == LEARNER_SNAPPING && phase != LEARNER_STREAMING) {
        /* What it is sent in a stay to come may not be mixed with it. */
        zab_emit(z, ZAB_OUT_SNAP_STOP)->peer = p->sid;
    }
    p->phase = phase;
    p->phase_ms = z->now_ms;
    if (phase < LEARNER_SYNCING) {
        p->lag_ms = 0;
        p->zxid_acked = 0;
        p->pong = 0;
    }
}

/* What an observer is given before the epoch is established: what is committed as far as we know. It may know better,
 * when the last leader told it and not us. */
static uint64_t observer_end(const struct zab *z, const struct zab_peer *p)
{
    return p->zxid > z->zxid_committed ? p->zxid : z->zxid_committed;
}

static void send_snapshot(struct zab *z, struct zab_peer *p)
{
    struct zab_output *item = zab_emit(z, ZAB_OUT_SNAP_SEND);

    item->peer = p->sid;
    item->packet.epoch = z->leading.epoch;
    p->sync_begun = false;
    learner_set_phase(z, p, LEARNER_SNAPPING);
}

/* What follows is not in the window any more. */
static void read_log(struct zab *z, struct zab_peer *p)
{
    struct zab_output *item = zab_emit(z, ZAB_OUT_LOG_READ);

    p->read = ++z->reads;
    item->peer = p->sid;
    item->zxid = p->zxid;
    item->bytes = ZAB_STREAM_BYTES;
    item->first = !p->sync_begun;
    item->read = p->read;
}

static void begin_diff(struct zab *z, struct zab_peer *p)
{
    if (!p->sync_begun) {
        p->sync_begun = true;
        (void)zab_send(z, p->sid, ZAB_DIFF, p->zxid);
    }
}

/* An observer gets only what is committed. */
static uint64_t stream_end(const struct zab *z, const struct zab_peer *p)
{
    return p->participant ? zab_log_last(&z->log) : observer_end(z, p);
}

/* One portion of the history from the window. */
static void stream_window(struct zab *z, struct zab_peer *p)
{
    uint64_t end = stream_end(z, p);
    size_t bytes = 0;
    size_t i;

    begin_diff(z, p);
    for (i = zab_log_after(&z->log, p->zxid); i < z->log.n && bytes < ZAB_STREAM_BYTES; i++) {
        const struct zab_entry *entry = zab_log_at(&z->log, i);

        if (entry->zxid > end) {
            break;
        }
        zab_send_entry(z, p->sid, ZAB_PROPOSAL, entry);
        p->zxid = entry->zxid;
        bytes += entry->body->len;
    }
    p->portions[p->n_portions++] = p->zxid;
}

/*
 * The history after what the learner was sent: as much of it as may be on its way, and more as it acknowledges that; or
 * all of it, then NEWLEADER.
 */
static void stream(struct zab *z, struct zab_peer *p)
{
    while (p->read == 0 && p->n_portions < ZAB_STREAM_PORTIONS) {
        if (p->zxid < z->log.base) {
            read_log(z, p);
            return;
        }
        stream_window(z, p);
        if (p->zxid >= stream_end(z, p)) {
            (void)zab_send(z, p->sid, ZAB_NEWLEADER, stream_end(z, p));
            learner_set_phase(z, p, LEARNER_SYNCING);
            return;
        }
    }
}

static void stream_begin(struct zab *z, struct zab_peer *p, bool begun)
{
    p->read = 0;
    p->n_portions = 0;
    p->sync_begun = begun;
    learner_set_phase(z, p, LEARNER_STREAMING);
    stream(z, p);
}

/* It has this on its disk. */
static void stream_acked(struct zab *z, struct zab_peer *p, uint64_t zxid)
{
    size_t n = 0;

    while (n < p->n_portions && p->portions[n] <= zxid) {
        n++;
    }
    p->n_portions -= n;
    memmove(p->portions, p->portions + n, p->n_portions * sizeof(p->portions[0]));
    stream(z, p);
}

/* It got further: neither it nor, as long as the epoch waits for a quorum, this leader has had its time. */
static void note_progress(struct zab *z, struct zab_peer *p)
{
    p->phase_ms = z->now_ms;
    if (z->leading.phase == LEADER_SYNC && p->participant) {
        z->leading.phase_ms = z->now_ms;
    }
}

void sync_on_sync_ack(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    struct zab_output *item;

    if (z->role != ZAB_LEADING || p->phase < LEARNER_SNAPPING || p->phase > LEARNER_SYNCING) {
        return;
    }
    note_progress(z, p);
    if (p->phase == LEARNER_SNAPPING) {
        p->sync_begun = true;
        item = zab_emit(z, ZAB_OUT_SNAP_TAKEN);
        item->peer = p->sid;
        item->bytes = packet->round;
    } else if (p->phase == LEARNER_STREAMING) {
        stream_acked(z, p, packet->zxid);
    }
}

void sync_on_snap_sent(struct zab *z, uint64_t sid, uint64_t zxid)
{
    struct zab_peer *p = zab_peer_find(z, sid);

    if (z->role != ZAB_LEADING || p == NULL || p->phase != LEARNER_SNAPPING) {
        return;
    }
    if (zxid > zab_log_last(&z->log)) {
        /* A server whose disk has failed may know more to be committed than its log has (replica_away.c). */
        zab_disconnect(z, sid, "this server's log has not got what its snapshot has");
        return;
    }
    p->zxid = zxid;
    stream_begin(z, p, true);
}

void sync_on_log_read(struct zab *z, const struct zab_input *in)
{
    struct zab_peer *p = zab_peer_find(z, in->peer);
    size_t i;

    if (z->role != ZAB_LEADING || p == NULL || p->phase != LEARNER_STREAMING || p->read != in->read) {
        return; /* of an earlier stay */
    }
    p->read = 0;
    if (in->n_entries == 0) {
        send_snapshot(z, p);
        return;
    }
    assert(in->entries[0].zxid_prev == p->zxid);
    begin_diff(z, p);
    /* What is read is older than the window, so it is committed. */
    for (i = 0; i < in->n_entries && in->entries[i].zxid <= z->zxid_committed; i++) {
        zab_send_entry(z, p->sid, ZAB_PROPOSAL, &in->entries[i]);
        p->zxid = in->entries[i].zxid;
    }
    p->portions[p->n_portions++] = p->zxid;
    stream(z, p);
}

void sync_learner(struct zab *z, struct zab_peer *p)
{
    uint64_t floor;

    if (zab_log_floor(&z->log, p->zxid, &floor) && floor != p->zxid) {
        (void)zab_send(z, p->sid, ZAB_TRUNC, floor);
        learner_set_phase(z, p, LEARNER_TRUNCATING);
        return;
    }
    stream_begin(z, p, false);
}

void sync_on_truncated(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    if (z->role != ZAB_LEADING || p->phase != LEARNER_TRUNCATING) {
        return;
    }
    if (packet->zxid >= p->zxid) {
        zab_disconnect(z, p->sid, "it did not truncate");
        return;
    }
    p->zxid = packet->zxid;
    sync_learner(z, p);
}

static void send_uptodate(struct zab *z, struct zab_peer *p)
{
    (void)zab_send(z, p->sid, ZAB_UPTODATE, z->zxid_committed);
    learner_set_phase(z, p, LEARNER_SERVING);
}

/* Observers that joined before the epoch was established were given what was known to be committed then. */
static void inform_observers(struct zab *z)
{
    size_t i;
    size_t k;

    for (i = 0; i < z->n_peers; i++) {
        const struct zab_peer *p = &z->peers[i];

        if (p->participant || p->phase < LEARNER_SYNCING) {
            continue;
        }
        for (k = zab_log_after(&z->log, observer_end(z, p)); k < z->log.n; k++) {
            zab_send_entry(z, p->sid, ZAB_INFORM, zab_log_at(&z->log, k));
        }
    }
}

static void establish(struct zab *z)
{
    size_t i;

    assert(z->leading.zxid_start == zab_log_last(&z->log));
    z->leading.phase = LEADER_BROADCAST;
    z->leading.phase_ms = z->now_ms;
    inform_observers(z);
    zab_commit_to(z, z->leading.zxid_start);
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].phase == LEARNER_SYNCED) {
            send_uptodate(z, &z->peers[i]);
        } else if (z->peers[i].up && z->peers[i].phase == LEARNER_NONE) {
            election_send_vote(z, z->peers[i].sid);
        }
    }
    zab_set_role(z, ZAB_LEADING, z->sid, true);
    leader_on_established(z);
}

void sync_check(struct zab *z)
{
    size_t n = 1;
    size_t i;

    if (z->leading.phase != LEADER_SYNC || !z->leading.self_synced) {
        return;
    }
    for (i = 0; i < z->n_peers; i++) {
        n += z->peers[i].participant && z->peers[i].phase >= LEARNER_SYNCED;
    }
    if (n < zab_quorum(z)) {
        return;
    }
    if (z->sole && z->n_participants > 1) {
        /* An ensemble of one has grown: from here on others may hold what this disk does not. Only now, or a crash
         * before a quorum was synchronized would leave nobody who may vote. */
        z->sole = false;
        z->leading.self_synced = false;
        z->leading.lag_ms = z->now_ms;
        zab_emit_epochs(z);
        return;
    }
    establish(z);
}

void sync_on_ack_newleader(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    if (z->role != ZAB_LEADING || p->phase != LEARNER_SYNCING) {
        return;
    }
    if (packet->zxid > zab_log_last(&z->log)) {
        zab_disconnect(z, p->sid, "it acknowledged what was not proposed");
        return;
    }
    p->zxid_acked = packet->zxid;
    p->virgin = false;
    p->served_ms = z->now_ms;
    learner_set_phase(z, p, LEARNER_SYNCED);
    if (z->leading.phase == LEADER_BROADCAST) {
        send_uptodate(z, p);
        leader_try_commit(z);
    } else {
        sync_check(z);
    }
}
