/*
 * zab_leader.c: the leader: discovery (a new epoch that a quorum promises), broadcast (proposals, cumulative
 * acknowledgements, commits) and stepping down. Synchronization of learners is in zab_sync.c.
 */
#include "zab_int.h"

#include <string.h>

/* Beyond this counter the leader resigns: the next epoch starts at 1 again. */
#define COUNTER_RESIGN (ZXID_COUNTER_MAX - 1)

static void set_leader_phase(struct zab *z, enum leader_phase phase)
{
    z->leading.phase = phase;
    z->leading.phase_ms = z->now_ms;
}

/* Does a peer that was never synchronized count? See zab_election.c. */
static bool virgins_count(const struct zab *z)
{
#ifdef ZNODEFS_MUTANT_EMPTY_VOTE
    return true; /* Seeded fault. */
#endif
    return z->leading.formation || z->sole;
}

/*
 * Are the participants in `phase` or beyond, this one included, a quorum of those who count?
 *
 * Promises count of those only who had joined when the first was asked for: then they followed nobody else any more.
 * One that came later may have vouched meanwhile (is_vouched_for) for a member that was wiped after its promise to us.
 */
static bool have_quorum(const struct zab *z, enum learner_phase phase)
{
    size_t n = !zab_is_virgin(z) || virgins_count(z);
    size_t i;

    for (i = 0; i < z->n_peers; i++) {
        const struct zab_peer *p = &z->peers[i];

        if (p->participant && p->phase >= phase && (!p->virgin || virgins_count(z)) &&
            (p->early || phase <= LEARNER_JOINING)) {
            n++;
#ifdef ZNODEFS_MUTANT_VOTE_TWICE
            n++; /* Seeded fault. */
#endif
        }
    }
    return n >= zab_quorum(z);
}

/* Discovery: one more than the newest epoch a quorum has accepted, on our own disk first. */
static void check_discovery(struct zab *z)
{
    uint32_t newest = z->accepted_epoch;
    size_t i;

    if (z->leading.phase != LEADER_DISCOVERY || !have_quorum(z, LEARNER_JOINING)) {
        return;
    }
    for (i = 0; i < z->n_peers; i++) {
        const struct zab_peer *p = &z->peers[i];

        if (p->phase >= LEARNER_JOINING && p->participant && p->accepted_epoch > newest) {
            newest = p->accepted_epoch;
        }
    }
    if (newest >= ZAB_EPOCH_MAX) {
        zab_fatal(z, "this server has accepted the last epoch there can be: its file `epochs` is not what it wrote. "
                     "Remove its data directory and let it synchronize again from the others");
        return;
    }
    if (z->n_participants == 1 && !z->sole && !zab_is_virgin(z) && newest < ZAB_EPOCH_MAX - ZAB_EPOCH_LEAP) {
        newest += ZAB_EPOCH_LEAP;
    }
#ifdef ZNODEFS_MUTANT_REUSE_ZXID
    if (newest == z->accepted_epoch && z->accepted_from == z->sid && newest == z->current_epoch) {
        newest--; /* Seeded fault: its own last epoch again, from where its log ends. */
        z->leading.counter = zxid_epoch(zab_log_last(&z->log)) > newest ? zxid_counter(zab_log_last(&z->log)) : 0;
    }
#endif
    z->leading.epoch = newest + 1;
    z->accepted_epoch = newest + 1;
    z->accepted_from = z->sid;
    z->leading.lag_ms = z->now_ms;
    set_leader_phase(z, LEADER_PROMISE);
    zab_emit_epochs(z);
}

void leader_start(struct zab *z, bool formation)
{
    size_t i;

    memset(&z->leading, 0, sizeof(z->leading));
    z->leading.since_ms = z->now_ms;
    z->leading.formation = formation;
    z->leading.ping_ms = z->now_ms;
    z->zxid_digest = 0; /* what a follower tells of itself; a leader tells what a quorum agrees on */
    set_leader_phase(z, LEADER_DISCOVERY);
    zab_set_role(z, ZAB_LEADING, z->sid, false);
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].up) {
            election_send_vote(z, z->peers[i].sid);
        }
    }
    check_discovery(z);
}

static void send_leaderinfo(struct zab *z, struct zab_peer *p)
{
    struct zab_packet *packet = zab_send(z, p->sid, ZAB_LEADERINFO, 0);

    packet->round = p->join;
    learner_set_phase(z, p, LEARNER_PROMISING);
}

/* Has this participant promised an epoch that ours does not exceed? Then a leader with a newer one is needed. */
static bool outpromised(const struct zab *z, const struct zab_peer *p)
{
    if (z->leading.phase == LEADER_DISCOVERY || !p->participant) {
        return false;
    }
    return p->accepted_epoch > z->leading.epoch ||
           (p->accepted_epoch == z->leading.epoch && p->accepted_from != z->sid);
}

void leader_on_followerinfo(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    if (z->role == ZAB_FOLLOWING || z->role == ZAB_OBSERVING) {
        election_send_vote(z, p->sid);
        return;
    }
    if (packet->epoch >= ZAB_EPOCH_MAX) {
        zab_disconnect(z, p->sid, "it has accepted an epoch that cannot be");
        return;
    }
    p->join = packet->round;
    p->accepted_epoch = packet->epoch;
    p->accepted_from = packet->accepted_from;
    p->virgin = packet->virgin;
    p->early = false;
    p->zxid_acked = 0;
    learner_set_phase(z, p, LEARNER_JOINING);
    if (z->role != ZAB_LEADING) {
        return; /* it has decided a moment before us */
    }
    p->role = p->participant ? ZAB_FOLLOWING : ZAB_OBSERVING; /* its vote does not count in elections to come */
    if (outpromised(z, p)) {
        zab_look(z);
    } else if (z->leading.phase >= LEADER_ACKEPOCH) {
        send_leaderinfo(z, p);
    } else {
        check_discovery(z);
    }
}

/*
 * A participant whose disk was lost has forgotten what it promised, perhaps to a leader that we have not heard of yet.
 * As soon as it is synchronized it counts again, so it must not be by a leader whose time has passed: those who have
 * not forgotten, a quorum with this one, must have answered as our learners after it came. None of them follows
 * another leader then, so what it had promised cannot have led to anything.
 */
static bool is_vouched_for(const struct zab *z, const struct zab_peer *p)
{
    size_t n = 1;
    size_t i;

    if (!p->virgin || !p->participant || virgins_count(z)) {
        return true;
    }
#ifdef ZNODEFS_MUTANT_WITHOUT_VOUCHERS
    return true; /* Seeded fault. */
#endif
    for (i = 0; i < z->n_peers; i++) {
        const struct zab_peer *q = &z->peers[i];

        n += q->participant && q->phase >= LEARNER_SYNCED && q->pong >= p->vouch_ping;
    }
    return z->leading.phase == LEADER_BROADCAST && n >= zab_quorum(z);
}

/* Brings those to our history who have promised. What grows from an ensemble of one has its own epoch on disk first: a
 * learner that was ahead of it would be preferred, and have no quorum, for only `sole` makes virgins count. */
static void sync_promised(struct zab *z)
{
    size_t i;

    for (i = 0; i < z->n_peers && (!z->sole || z->leading.self_synced); i++) {
        if (z->peers[i].phase == LEARNER_PROMISED && is_vouched_for(z, &z->peers[i])) {
            sync_learner(z, &z->peers[i]);
        }
    }
}

void leader_on_established(struct zab *z)
{
    z->leading.formation = false;
    z->leading.ping_ms = z->now_ms; /* someone may have to be vouched for */
}

/* ACKEPOCH from a quorum: our history is the newest of theirs, so it is the epoch's initial history. */
static void check_ackepoch(struct zab *z)
{
    if (z->leading.phase != LEADER_ACKEPOCH || !have_quorum(z, LEARNER_PROMISED)) {
        return;
    }
    z->leading.zxid_start = zab_log_last(&z->log);
    z->current_epoch = z->leading.epoch;
    z->sole = z->sole || z->n_participants == 1;
    z->leading.lag_ms = z->now_ms;
    set_leader_phase(z, LEADER_SYNC);
    zab_emit_epochs(z);
    sync_promised(z);
}

/* Those who were asked are no quorum any more, and the promise of who came later does not count. */
void leader_check_asked(struct zab *z)
{
    if (z->leading.phase == LEADER_ACKEPOCH && !have_quorum(z, LEARNER_PROMISING)) {
        zab_look(z);
    }
}

void leader_on_epochs_synced(struct zab *z)
{
    size_t i;

    if (z->epochs_in_flight > 0) {
        return;
    }
    z->leading.lag_ms = 0; /* nothing is logged before the epoch is established */
    if (z->leading.phase == LEADER_PROMISE) {
        set_leader_phase(z, LEADER_ACKEPOCH);
        for (i = 0; i < z->n_peers; i++) {
            if (z->peers[i].phase == LEARNER_JOINING) {
                z->peers[i].early = true;
                send_leaderinfo(z, &z->peers[i]);
            }
        }
        check_ackepoch(z);
    } else if (z->leading.phase == LEADER_SYNC) {
        z->leading.self_synced = true;
        sync_promised(z);
        sync_check(z);
    }
}

/* A participant with a newer history than ours: we may lack what is committed, so another must lead. */
static bool more_recent(const struct zab *z, const struct zab_peer *p)
{
    if (!p->participant || p->virgin) {
        return false;
    }
    if (p->current_epoch != z->current_epoch) {
        return p->current_epoch > z->current_epoch;
    }
#ifdef ZNODEFS_MUTANT_ELECT_BY_ID
    return false; /* Seeded fault. */
#endif
    return p->zxid > zab_log_last(&z->log);
}

void leader_on_ackepoch(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    if (z->role != ZAB_LEADING || p->phase != LEARNER_PROMISING) {
        return;
    }
    p->current_epoch = packet->epoch;
    p->zxid = packet->zxid;
    p->vouch_ping = z->n_pings + 1;
    learner_set_phase(z, p, LEARNER_PROMISED);
    if (z->leading.phase == LEADER_ACKEPOCH) {
        if (more_recent(z, p)) {
            zab_look(z);
        } else {
            check_ackepoch(z);
        }
    } else {
        z->leading.ping_ms = p->virgin && p->participant ? z->now_ms : z->leading.ping_ms;
        sync_promised(z);
    }
}

/* ---- broadcast ---- */

/* The newest zxid that a quorum of the participants has on disk. */
static uint64_t quorum_zxid(const struct zab *z)
{
    uint64_t own = z->zxid_synced;
    uint64_t best = 0;
    size_t i;
    size_t j;
    size_t quorum = zab_quorum(z);

#ifdef ZNODEFS_MUTANT_COMMIT_MINORITY
    quorum -= quorum > 1; /* Seeded fault. */
#endif
#ifdef ZNODEFS_MUTANT_COMMIT_UNSYNCED
    own = zab_log_last(&z->log); /* Seeded fault: the leader counts itself before its disk has it. */
#endif
    for (i = 0; i <= z->n_peers; i++) {
        uint64_t candidate = i == z->n_peers ? own : z->peers[i].zxid_acked;
        size_t n = own >= candidate;

        if (i < z->n_peers && (!z->peers[i].participant || z->peers[i].phase < LEARNER_SYNCED)) {
            continue;
        }
        for (j = 0; j < z->n_peers; j++) {
            const struct zab_peer *p = &z->peers[j];

            n += p->participant && p->phase >= LEARNER_SYNCED && p->zxid_acked >= candidate;
        }
        if (n >= quorum && candidate > best) {
            best = candidate;
        }
    }
    return best;
}

void leader_on_log_synced(struct zab *z)
{
    z->leading.lag_ms = z->zxid_synced == zab_log_last(&z->log) ? 0 : z->now_ms;
    leader_try_commit(z);
}

static void send_commit(struct zab *z, uint64_t to)
{
    struct zab_packet *packet = zab_send(z, to, ZAB_COMMIT, z->zxid_committed);

    packet->zxid_digest = z->zxid_digest;
    packet->digest = z->digest;
}

void leader_try_commit(struct zab *z)
{
    uint64_t before = z->zxid_committed;
    uint64_t zxid;
    size_t first;
    size_t i;
    size_t k;

    if (z->role != ZAB_LEADING || z->leading.phase != LEADER_BROADCAST) {
        return;
    }
    zxid = quorum_zxid(z);
    if (zxid <= before) {
        return;
    }
    first = zab_log_after(&z->log, before);
    for (i = 0; i < z->n_peers; i++) {
        const struct zab_peer *p = &z->peers[i];

        for (k = first; !p->participant && p->phase >= LEARNER_SYNCING && k < z->log.n; k++) {
            if (zab_log_at(&z->log, k)->zxid <= zxid) {
                zab_send_entry(z, p->sid, ZAB_INFORM, zab_log_at(&z->log, k));
            }
        }
    }
    zab_commit_to(z, zxid);
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].participant && z->peers[i].phase == LEARNER_SERVING) {
            send_commit(z, z->peers[i].sid);
        }
    }
}

void leader_on_ack(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
#ifdef ZNODEFS_MUTANT_ACK_OVERTAKES
    if (z->role == ZAB_LEADING && p->phase == LEARNER_SYNCING) {
        sync_on_ack_newleader(z, p, packet); /* Seeded fault, with the one in zab_learner.c. */
        return;
    }
#endif
    if (z->role != ZAB_LEADING || p->phase < LEARNER_SYNCED) {
        return;
    }
    if (packet->zxid > zab_log_last(&z->log) || packet->zxid < p->zxid_acked) {
        zab_disconnect(z, p->sid, "it acknowledged what was not proposed");
        return;
    }
    p->lag_ms = packet->zxid == zab_log_last(&z->log) ? 0 : z->now_ms;
    p->zxid_acked = packet->zxid;
    leader_try_commit(z);
}

/* Mostly that it was heard is all it says; but of an observer, which acknowledges nothing, it also tells how far it is.
 */
void leader_on_pong(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    struct zab_output *item;

    if (z->role == ZAB_LEADING && p->participant && p->phase == LEARNER_SERVING && packet->zxid_digest != 0) {
        item = zab_emit(z, ZAB_OUT_PEER_DIGEST);
        item->peer = p->sid;
        item->zxid = packet->zxid_digest;
        item->digest = packet->digest;
    }
    if (z->role == ZAB_LEADING && p->phase >= LEARNER_SYNCED && packet->round <= z->n_pings) {
        p->pong = packet->round;
        sync_promised(z);
    }
    if (z->role == ZAB_LEADING && !p->participant && p->phase >= LEARNER_SYNCED && packet->zxid > p->zxid_acked &&
        packet->zxid <= zab_log_last(&z->log)) {
        p->zxid_acked = packet->zxid;
    }
}

void leader_on_request(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    struct zab_output *item;

    if (z->role != ZAB_LEADING || p->phase != LEARNER_SERVING || packet->body == NULL) {
        return; /* it submits again once it is served */
    }
    item = zab_emit(z, ZAB_OUT_REQUEST);
    item->peer = p->sid;
    item->packet = *packet;
    buf_ref(packet->body);
}

void leader_on_submit(struct zab *z, struct buf *body)
{
    struct zab_entry entry;
    size_t i;

    assert(z->leading.phase == LEADER_BROADCAST);
    if (z->leading.counter >= COUNTER_RESIGN) {
        zab_look(z);
        return;
    }
    z->leading.counter++;
    entry.zxid = zxid_make(z->leading.epoch, z->leading.counter);
    entry.zxid_prev = zab_log_last(&z->log);
    entry.body = body;
    zab_log_append(&z->log, &entry);
    zab_emit_append(z, &entry);
    z->leading.lag_ms = z->leading.lag_ms == 0 ? z->now_ms : z->leading.lag_ms;
    for (i = 0; i < z->n_peers; i++) {
        struct zab_peer *p = &z->peers[i];

        if (p->participant && p->phase >= LEARNER_SYNCING) {
            zab_send_entry(z, p->sid, ZAB_PROPOSAL, &entry);
            p->lag_ms = p->lag_ms == 0 ? z->now_ms : p->lag_ms;
        }
    }
}
