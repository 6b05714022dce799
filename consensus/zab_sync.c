/*
 * zab_sync.c: the leader's side of synchronization: a learner is brought to the leader's history, then NEWLEADER; once
 * a quorum has it on disk the epoch is established (the DSN paper's phase 2).
 *
 * The learner's last zxid is looked up in our history: not there, then what the learner has beyond the newest zxid of
 * ours below it was never committed, and it truncates (TRUNC, lesson 7). It answers where its own history then ends,
 * which may be earlier still, and the look-up is repeated: each turn moves both closer to the last zxid they share.
 */
#include "zab_int.h"

void learner_set_phase(struct zab *z, struct zab_peer *p, enum learner_phase phase)
{
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

/* Proposals after `zxid`, then NEWLEADER. An observer gets only what is committed. */
static void send_history(struct zab *z, struct zab_peer *p, uint64_t zxid)
{
    uint64_t end = p->participant ? zab_log_last(&z->log) : observer_end(z, p);
    size_t i;

    for (i = zab_log_after(&z->log, zxid); i < z->log.n && zab_log_at(&z->log, i)->zxid <= end; i++) {
        zab_send_entry(z, p->sid, ZAB_PROPOSAL, zab_log_at(&z->log, i));
    }
    (void)zab_send(z, p->sid, ZAB_NEWLEADER, end);
    learner_set_phase(z, p, LEARNER_SYNCING);
}

static void send_snapshot(struct zab *z, struct zab_peer *p)
{
    struct zab_output *item;

    (void)zab_send(z, p->sid, ZAB_SNAP, z->zxid_committed);
    item = zab_emit(z, ZAB_OUT_SNAP_SEND);
    item->peer = p->sid;
    item->zxid = z->zxid_committed;
    send_history(z, p, z->zxid_committed);
}

void sync_learner(struct zab *z, struct zab_peer *p)
{
    uint64_t floor;

    if (!zab_log_floor(&z->log, p->zxid, &floor)) {
        send_snapshot(z, p);
        return;
    }
    if (floor != p->zxid) {
        (void)zab_send(z, p->sid, ZAB_TRUNC, floor);
        learner_set_phase(z, p, LEARNER_TRUNCATING);
        return;
    }
    (void)zab_send(z, p->sid, ZAB_DIFF, floor);
    send_history(z, p, floor);
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
