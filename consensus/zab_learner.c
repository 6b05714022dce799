/*
 * zab_learner.c: followers and observers: promise an epoch, take over the leader's history, then log and acknowledge
 * its proposals and apply what it commits.
 *
 * One path acknowledges (send_ack), so that a PROPOSAL's ACK cannot overtake NEWLEADER's (lesson 5); one path appends
 * (append), which refuses a discontinuous zxid (lesson 4); one path commits (commit), from UPTODATE on.
 *
 * Packets of an earlier stay with the same leader may still be on the connection; they all come before the LEADERINFO
 * that names this join, and nothing but that is listened to until then.
 */
#include "zab_int.h"

#include <string.h>

static void set_learning_phase(struct zab *z, enum learning_phase phase)
{
    z->learning.phase = phase;
    z->learning.phase_ms = z->now_ms;
}

void learner_start(struct zab *z, uint64_t leader)
{
    struct zab_peer *p = zab_peer_find(z, leader);
    struct zab_packet *packet;

    assert(p != NULL);
    p->heard_ms = z->now_ms;
    z->learning.join++;
    z->learning.round = z->election.round;
    z->learning.epoch = 0;
    z->learning.zxid_newleader = 0;
    z->learning.zxid_commit_seen = 0;
    z->learning.sync_begun = false;
    z->learning.joined = false;
    z->learning.snap_chunks = false;
    set_learning_phase(z, LEARNING_DISCOVERY);
    zab_set_role(z, z->observer ? ZAB_OBSERVING : ZAB_FOLLOWING, leader, false);
    packet = zab_send(z, leader, ZAB_FOLLOWERINFO, zab_log_last(&z->log));
    packet->epoch = z->accepted_epoch;
    packet->accepted_from = z->accepted_from;
    packet->round = z->learning.join;
    packet->virgin = zab_is_virgin(z);
}

/* The leader broke the protocol, or this peer can't follow it: a new connection, a new election. */
static void leave(struct zab *z, const char *reason)
{
    zab_disconnect(z, z->leader, reason);
    zab_look(z);
}

/* ---- discovery ---- */

static void send_ackepoch(struct zab *z)
{
    struct zab_packet *packet = zab_send(z, z->leader, ZAB_ACKEPOCH, zab_log_last(&z->log));

    packet->epoch = z->current_epoch;
    set_learning_phase(z, LEARNING_SYNC);
}

static void learner_on_leaderinfo(struct zab *z, const struct zab_packet *packet)
{
    if (z->learning.phase != LEARNING_DISCOVERY || packet->round != z->learning.join) {
        return;
    }
    if (packet->epoch > ZAB_EPOCH_MAX) {
        leave(z, "LEADERINFO with an epoch that cannot be");
        return;
    }
    z->learning.epoch = packet->epoch;
    if (packet->epoch == z->accepted_epoch && z->accepted_from == z->leader) {
        send_ackepoch(z); /* promised before; a leader uses an epoch once */
    } else if (packet->epoch <= z->accepted_epoch) {
        zab_look(z); /* it has been told what we promised, and will step down */
    } else {
        z->accepted_epoch = packet->epoch;
        z->accepted_from = z->leader;
#ifdef ZNODEFS_MUTANT_FORGET_PROMISE
        send_ackepoch(z); /* Seeded fault: it is in memory only. */
        return;
#endif
        set_learning_phase(z, LEARNING_PROMISE);
        zab_emit_epochs(z);
    }
}

/* ---- synchronization ---- */

/* Appends one transaction to the window and the log. False if it does not follow what is there. */
static bool append(struct zab *z, const struct zab_packet *packet)
{
    struct zab_entry entry = {.zxid = packet->zxid, .zxid_prev = packet->zxid_prev, .body = packet->body};

    if (packet->body == NULL || packet->zxid_prev != zab_log_last(&z->log) || packet->zxid <= packet->zxid_prev ||
        zxid_epoch(packet->zxid) > z->learning.epoch) {
        return false;
    }
    zab_log_append(&z->log, &entry);
#ifdef ZNODEFS_MUTANT_LOSE_PROPOSAL
    if (z->learning.phase > LEARNING_SYNC && z->learning.phase < LEARNING_BROADCAST) {
        return true; /* Seeded fault: between NEWLEADER and UPTODATE it is kept in memory only. */
    }
#endif
    zab_emit_append(z, &entry);
    return true;
}

/* Initlimit bounds how long synchronization may stand still, not how long it may take: who has much takes long. */
static void note_progress(struct zab *z)
{
    z->learning.sync_begun = true;
    z->learning.phase_ms = z->now_ms;
}

static void send_sync_ack(struct zab *z, uint64_t snap_bytes)
{
    zab_send(z, z->leader, ZAB_SYNC_ACK, z->zxid_synced)->round = snap_bytes;
}

/* A leader truncates or replaces what a learner had when it joined: nothing of the learner's is on its way to the disk
 * then. Later, a report of what was written before would speak of a history that is gone. */
static void learner_on_trunc(struct zab *z, const struct zab_packet *packet)
{
    struct zab_output *item;
    uint64_t floor;

    if (z->learning.phase != LEARNING_SYNC || z->learning.snap_chunks || !zab_disk_idle(z) ||
        packet->zxid >= zab_log_last(&z->log)) {
        leave(z, "TRUNC out of turn");
        return;
    }
    if (!zab_log_floor(&z->log, packet->zxid, &floor) || floor < z->zxid_committed) {
        zab_fatal(z, "the leader's history lacks transactions that this server knows to be committed: other servers "
                     "have lost data. Stop all of them, and start first those that have the newest zxid");
        return;
    }
#ifdef ZNODEFS_MUTANT_SKIP_TRUNC
    (void)zab_send(z, z->leader, ZAB_TRUNCATED, packet->zxid); /* Seeded fault. */
    return;
#endif
    note_progress(z);
    zab_log_truncate(&z->log, floor);
    z->zxid_synced = floor;
    z->truncate_in_flight = true;
    item = zab_emit(z, ZAB_OUT_TRUNCATE);
    item->zxid = floor;
}

static void learner_on_diff(struct zab *z, const struct zab_packet *packet)
{
#ifdef ZNODEFS_MUTANT_SKIP_TRUNC
    if (packet->zxid < zab_log_last(&z->log)) {
        zab_log_truncate(&z->log, packet->zxid); /* Seeded fault: in memory only, the log on disk keeps it. */
        z->zxid_synced = packet->zxid;
    }
#endif
    if (z->learning.phase != LEARNING_SYNC || z->truncate_in_flight || packet->zxid != zab_log_last(&z->log)) {
        leave(z, "DIFF does not begin where this server's log ends");
        return;
    }
    note_progress(z);
    z->learning.joined = true;
#ifdef ZNODEFS_MUTANT_EPOCH_BEFORE_TXNS
    z->current_epoch = z->learning.epoch; /* Seeded fault: the epoch reaches the disk before its history. */
    zab_emit_epochs(z);
#endif
}

static void learner_on_snap(struct zab *z, const struct zab_packet *packet)
{
    if (z->learning.phase != LEARNING_SYNC || z->learning.snap_chunks || !zab_disk_idle(z)) {
        leave(z, "SNAP out of turn");
        return;
    }
    if (packet->zxid < z->zxid_committed) {
        zab_fatal(z, "the leader's snapshot is older than what this server knows to be committed: other servers have "
                     "lost data. Stop all of them, and start first those that have the newest zxid");
        return;
    }
    note_progress(z);
    z->learning.joined = true;
    z->learning.snap_chunks = true;
    z->learning.zxid_snap = packet->zxid;
}

static void learner_on_snap_data(struct zab *z, const struct zab_packet *packet)
{
    struct zab_output *item;

    if (!z->learning.snap_chunks || packet->body == NULL) {
        leave(z, "SNAP_DATA out of turn");
        return;
    }
    note_progress(z);
    item = zab_emit(z, ZAB_OUT_SNAP_CHUNK);
    item->zxid = z->learning.zxid_snap;
    item->packet = *packet;
    buf_ref(packet->body);
}

/* Only now is what was received evidence of anything (lesson 6). */
static void learner_on_snap_end(struct zab *z, const struct zab_packet *packet)
{
    struct zab_output *item;

    if (!z->learning.snap_chunks || packet->zxid != z->learning.zxid_snap) {
        leave(z, "SNAP_END out of turn");
        return;
    }
    note_progress(z);
    z->learning.snap_chunks = false;
    z->snap_in_flight = true;
    zab_log_reset(&z->log, packet->zxid);
    item = zab_emit(z, ZAB_OUT_SNAP_INSTALL);
    item->zxid = packet->zxid;
}

static void learner_on_proposal(struct zab *z, const struct zab_packet *packet)
{
    if (z->learning.phase < LEARNING_SYNC || z->learning.snap_chunks || z->truncate_in_flight || !append(z, packet)) {
        leave(z, "PROPOSAL does not follow this server's log");
        return;
    }
    if (z->learning.phase == LEARNING_SYNC) {
        note_progress(z);
    }
#ifdef ZNODEFS_MUTANT_ACK_BEFORE_SYNC
    if (z->learning.phase >= LEARNING_ACKED) {
        (void)zab_send(z, z->leader, ZAB_ACK, zab_log_last(&z->log)); /* Seeded fault. */
    }
#endif
}

/* The history is on disk when everything up to NEWLEADER's zxid is; then, and not before, the epoch goes there (lessons
 * 2 and 3). */
static void check_newleader(struct zab *z)
{
    if (z->learning.phase != LEARNING_NEWLEADER_LOG || z->snap_in_flight || z->truncate_in_flight ||
        z->zxid_synced < z->learning.zxid_newleader) {
        return;
    }
    z->current_epoch = z->learning.epoch;
    z->sole = z->n_participants == 1;
    set_learning_phase(z, LEARNING_NEWLEADER_EPOCH);
    zab_emit_epochs(z);
}

static void learner_on_newleader(struct zab *z, const struct zab_packet *packet)
{
    if (z->learning.phase != LEARNING_SYNC || z->learning.snap_chunks || packet->zxid != zab_log_last(&z->log) ||
        packet->epoch != z->learning.epoch) {
        leave(z, "NEWLEADER does not end this server's log");
        return;
    }
    z->learning.zxid_newleader = packet->zxid;
    set_learning_phase(z, LEARNING_NEWLEADER_LOG);
#ifdef ZNODEFS_MUTANT_SERVE_BEFORE_UPTODATE
    zab_set_role(z, z->role, z->leader, true); /* Seeded fault. */
#endif
    check_newleader(z);
}

/* ---- broadcast ---- */

static void send_ack(struct zab *z)
{
#ifdef ZNODEFS_MUTANT_ACK_OVERTAKES
    if (z->learning.phase >= LEARNING_NEWLEADER_LOG && z->learning.phase < LEARNING_ACKED && !z->observer) {
        (void)zab_send(z, z->leader, ZAB_ACK, z->zxid_synced); /* Seeded fault. */
    }
#endif
    if (z->learning.phase >= LEARNING_ACKED && !z->observer) {
        (void)zab_send(z, z->leader, ZAB_ACK, z->zxid_synced);
    }
}

static void commit(struct zab *z, uint64_t zxid)
{
    if (zxid > z->learning.zxid_commit_seen) {
        z->learning.zxid_commit_seen = zxid;
    }
    if (z->learning.phase != LEARNING_BROADCAST || z->learning.zxid_commit_seen <= z->zxid_committed) {
        return;
    }
    if (z->learning.zxid_commit_seen > zab_log_last(&z->log)) {
        leave(z, "COMMIT of what was not proposed");
        return;
    }
    zab_commit_to(z, z->learning.zxid_commit_seen);
}

/*
 * From where DIFF or a snapshot was taken on, this log is a part of the leader's history: what the leader knows to be
 * committed of it is so here too. To keep it for UPTODATE would take memory for all of it, and to apply it then a
 * pause.
 */
static void commit_while_synchronizing(struct zab *z, uint64_t zxid)
{
    uint64_t last = zab_log_last(&z->log);

    if (!z->learning.joined || z->learning.snap_chunks || z->snap_in_flight) {
        return;
    }
    zxid = zxid < last ? zxid : last;
    if (zxid > z->zxid_committed) {
        zab_commit_to(z, zxid);
    }
}

static void check_digest(struct zab *z, const struct zab_packet *packet)
{
    struct zab_output *item;

    if (z->learning.phase != LEARNING_BROADCAST || packet->zxid_digest == 0 ||
        packet->zxid_digest > z->zxid_committed) {
        return;
    }
    item = zab_emit(z, ZAB_OUT_CHECK_DIGEST);
    item->zxid = packet->zxid_digest;
    item->digest = packet->digest;
}

static void learner_on_uptodate(struct zab *z, const struct zab_packet *packet)
{
    if (z->learning.phase != LEARNING_ACKED) {
        leave(z, "UPTODATE out of turn");
        return;
    }
    set_learning_phase(z, LEARNING_BROADCAST);
    commit(z, packet->zxid);
    if (z->role != ZAB_LOOKING) {
        zab_set_role(z, z->role, z->leader, true);
    }
}

static void learner_on_inform(struct zab *z, const struct zab_packet *packet)
{
    if (z->learning.phase < LEARNING_SYNC || z->learning.snap_chunks || z->truncate_in_flight || !append(z, packet)) {
        leave(z, "INFORM does not follow this server's log");
        return;
    }
    commit(z, packet->zxid);
}

static void learner_on_ping(struct zab *z, const struct zab_packet *packet)
{
    struct zab_packet *pong = zab_send(z, z->leader, ZAB_PONG, z->zxid_synced);

    pong->round = packet->round;
    if (z->learning.phase == LEARNING_BROADCAST) {
        pong->zxid_digest = z->zxid_digest;
        pong->digest = z->digest;
    }
    if (z->learning.phase == LEARNING_SYNC && !z->learning.sync_begun) {
        z->learning.phase_ms = z->now_ms; /* others are synchronized first, and this one's turn comes */
    }
    if (z->learning.phase == LEARNING_BROADCAST) {
        commit(z, packet->zxid);
        check_digest(z, packet);
    } else if (z->learning.phase >= LEARNING_SYNC) {
        commit_while_synchronizing(z, packet->zxid);
    }
}

void learner_on_packet(struct zab *z, const struct zab_packet *packet)
{
    if (packet->type == ZAB_LEADERINFO) {
        learner_on_leaderinfo(z, packet);
        return;
    }
    if (packet->type == ZAB_PING) {
        learner_on_ping(z, packet);
        return;
    }
    if (z->learning.phase < LEARNING_SYNC) {
        return; /* of an earlier stay */
    }
    switch (packet->type) {
    case ZAB_TRUNC:
        learner_on_trunc(z, packet);
        break;
    case ZAB_DIFF:
        learner_on_diff(z, packet);
        break;
    case ZAB_SNAP:
        learner_on_snap(z, packet);
        break;
    case ZAB_SNAP_DATA:
        learner_on_snap_data(z, packet);
        break;
    case ZAB_SNAP_END:
        learner_on_snap_end(z, packet);
        break;
    case ZAB_NEWLEADER:
        learner_on_newleader(z, packet);
        break;
    case ZAB_UPTODATE:
        learner_on_uptodate(z, packet);
        break;
    case ZAB_PROPOSAL:
        learner_on_proposal(z, packet);
        break;
    case ZAB_COMMIT:
        commit(z, packet->zxid);
        check_digest(z, packet);
        break;
    case ZAB_INFORM:
        learner_on_inform(z, packet);
        break;
    default:
        leave(z, "a packet that leaders do not send");
        break;
    }
}

/* ---- the disk ---- */

void learner_on_log_synced(struct zab *z)
{
    if (z->learning.phase == LEARNING_SYNC || z->learning.phase == LEARNING_NEWLEADER_LOG) {
        note_progress(z);
    }
    if (z->learning.phase == LEARNING_SYNC) {
        send_sync_ack(z, 0);
    }
    check_newleader(z);
    send_ack(z);
}

void learner_on_epochs_synced(struct zab *z)
{
    if (z->epochs_in_flight > 0) {
        return;
    }
    if (z->learning.phase == LEARNING_PROMISE) {
        send_ackepoch(z);
    } else if (z->learning.phase == LEARNING_NEWLEADER_EPOCH) {
        set_learning_phase(z, LEARNING_ACKED);
        (void)zab_send(z, z->leader, ZAB_ACK_NEWLEADER, z->zxid_synced);
    }
}

void learner_on_truncated(struct zab *z)
{
    if (z->learning.phase == LEARNING_SYNC) {
        (void)zab_send(z, z->leader, ZAB_TRUNCATED, zab_log_last(&z->log));
    }
}

/* With snap_chunks false it is of one that was dropped, or that is whole and needs no more acknowledgements. */
void learner_on_snap_taken(struct zab *z, uint64_t bytes)
{
    if (z->learning.phase == LEARNING_SYNC) {
        note_progress(z);
        if (z->learning.snap_chunks) {
            send_sync_ack(z, bytes);
        }
    }
}

void learner_on_snap_synced(struct zab *z)
{
    if (z->learning.phase == LEARNING_SYNC || z->learning.phase == LEARNING_NEWLEADER_LOG) {
        note_progress(z);
    }
    check_newleader(z);
}

void learner_on_submit(struct zab *z, struct buf *body)
{
    struct zab_packet *packet = zab_send(z, z->leader, ZAB_REQUEST, 0);

    packet->body = buf_ref(body);
}

/* ---- time ---- */

uint64_t learner_deadline(const struct zab *z)
{
    size_t i;
    uint64_t heard = 0;
    uint64_t patience = z->peer_timeout_ms;
    uint64_t due;

    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].sid == z->leader) {
            heard = z->peers[i].heard_ms;
        }
    }
    if (z->learning.phase >= LEARNING_SYNC && z->learning.phase < LEARNING_BROADCAST) {
        patience *= ZAB_SYNC_PATIENCE;
    }
    due = heard + patience;
    if (z->learning.phase < LEARNING_BROADCAST && z->learning.phase_ms + z->init_ms < due) {
        due = z->learning.phase_ms + z->init_ms;
    }
    return due;
}

void learner_on_deadline(struct zab *z)
{
    if (z->now_ms >= learner_deadline(z)) {
        leave(z, "the leader is silent");
    }
}
