/*
 * zab_election.c: fast leader election (Medeiros 2012, 3.1; ZooKeeper's FastLeaderElection), by (epoch, zxid, sid).
 *
 * A looking peer tells every connected one whom it is for, takes over a better candidate it hears of, and decides once
 * a quorum is for the same one. Peers that follow or lead answer with that. Which candidate wins decides speed and
 * which history others are brought to; that nothing committed is lost rests on discovery (zab_leader.c) as well.
 *
 * Who counts (lesson 12): a peer that was never synchronized (virgin: an empty dataDir) gives no vote, or two wiped
 * members could outvote the one with the data. Two cases are safe and needed: all listed participants are connected and
 * have no transaction (the first ensemble forms); and the candidate was an ensemble of one (sole: whatever was
 * committed is on its disk), which is how a standalone peer grows.
 */
#include "zab_int.h"

#include <string.h>

static bool vote_better(const struct zab_vote *a, const struct zab_vote *b)
{
    if (a->virgin != b->virgin) {
        return !a->virgin;
    }
    if (a->epoch != b->epoch) {
        return a->epoch > b->epoch;
    }
    if (a->sole != b->sole) {
        return a->sole; /* the others of its epoch have a part of its history, and none of its power over virgins */
    }
#ifndef ZNODEFS_MUTANT_ELECT_BY_ID /* Seeded fault, with the one in zab_leader.c. */
    if (a->zxid != b->zxid) {
        return a->zxid > b->zxid;
    }
#endif
    return a->sid > b->sid;
}

static struct zab_vote own_vote(const struct zab *z)
{
    struct zab_vote v = {
        .sid = z->sid,
        .zxid = zab_log_last(&z->log),
        .epoch = z->current_epoch,
        .virgin = zab_is_virgin(z),
        .sole = z->sole,
    };

    return v;
}

/* Only a candidate that this peer could follow is taken over: it is connected, and it can give a vote. */
static void consider(struct zab *z, const struct zab_vote *v)
{
    const struct zab_peer *p = zab_peer_find(z, v->sid);

    if (p != NULL && p->participant && p->up && vote_better(v, &z->election.vote)) {
        z->election.vote = *v;
    }
}

void election_send_vote(struct zab *z, uint64_t to)
{
    struct zab_packet *packet = zab_send(z, to, ZAB_VOTE, zab_log_last(&z->log));

    packet->round = z->election.round;
    packet->role = z->role;
    packet->vote = z->election.vote;
    packet->virgin = zab_is_virgin(z);
    packet->empty = zab_log_last(&z->log) == 0;
    if (z->role != ZAB_LOOKING) {
        packet->vote.sid = z->leader;
    }
}

static void broadcast_vote(struct zab *z)
{
    size_t i;

    z->election.resend_ms = z->now_ms + z->peer_timeout_ms;
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].up && z->peers[i].participant) {
            election_send_vote(z, z->peers[i].sid);
        }
    }
}

static bool in_round(const struct zab *z, const struct zab_peer *p)
{
    return p->up && p->participant && p->role == ZAB_LOOKING && p->round == z->election.round;
}

/* All listed participants are looking together, and none has a transaction. */
static bool is_formation(const struct zab *z)
{
    size_t i;

    if (zab_log_last(&z->log) != 0) {
        return false;
    }
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].participant && (!in_round(z, &z->peers[i]) || !z->peers[i].empty)) {
            return false;
        }
    }
    return true;
}

static void decide(struct zab *z, bool formation)
{
    uint64_t winner = z->election.vote.sid;
    size_t i;

    z->election.finalize_ms = UINT64_MAX;
    if (winner == z->sid) {
        leader_start(z, formation);
        return;
    }
    learner_start(z, winner);
    /* Whoever meant to follow us must hear that we follow another. */
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].phase == LEARNER_JOINING) {
            learner_set_phase(z, &z->peers[i], LEARNER_NONE);
            election_send_vote(z, z->peers[i].sid);
        }
    }
}

/* Decides when a quorum is for our candidate and either every connected participant is, or the rest had its time. */
static void check(struct zab *z)
{
    bool formation = is_formation(z);
    bool anyone = formation || z->election.vote.sole;
    size_t votes = 0;
    bool agreed = true;
    size_t i;

    if (z->observer) {
        return;
    }
#ifdef ZNODEFS_MUTANT_EMPTY_VOTE
    anyone = true; /* Seeded fault. */
#endif
    votes += !zab_is_virgin(z) || anyone;
    for (i = 0; i < z->n_peers; i++) {
        const struct zab_peer *p = &z->peers[i];

        if (!p->participant || !p->up) {
            continue;
        }
        if (in_round(z, p) && p->vote.sid == z->election.vote.sid) {
            votes += !p->virgin || anyone;
#ifdef ZNODEFS_MUTANT_VOTE_TWICE
            votes++; /* Seeded fault. */
#endif
        } else {
            agreed = false;
        }
    }
    if (votes < zab_quorum(z)) {
        z->election.finalize_ms = UINT64_MAX;
    } else if (agreed || z->now_ms >= z->election.finalize_ms) {
        decide(z, formation);
    } else if (z->election.finalize_ms == UINT64_MAX) {
        z->election.finalize_ms = z->now_ms + ZAB_FINALIZE_MS;
    }
}

/* Begins a round: for ourselves, unless a peer in the same round is for a better one. */
static void begin(struct zab *z)
{
    size_t i;

    z->election.started = true;
    z->election.round++;
    for (i = 0; i < z->n_peers; i++) {
        const struct zab_peer *p = &z->peers[i];

        if (p->up && p->participant && p->role == ZAB_LOOKING && p->round > z->election.round) {
            z->election.round = p->round;
        }
    }
    z->election.vote = own_vote(z);
    z->election.finalize_ms = UINT64_MAX;
    for (i = 0; i < z->n_peers; i++) {
        if (in_round(z, &z->peers[i])) {
            consider(z, &z->peers[i].vote);
        }
    }
    broadcast_vote(z);
    check(z);
}

void zab_look(struct zab *z)
{
    size_t i;

#ifdef ZNODEFS_MUTANT_COMMIT_AFTER_RESIGNING
    if (z->role == ZAB_LEADING && z->leading.phase == LEADER_BROADCAST) {
        zab_commit_to(z, zab_log_last(&z->log)); /* Seeded fault. */
    }
#endif
#ifdef ZNODEFS_MUTANT_HALF_SNAPSHOT
    if (z->learning.snap_chunks) {
        z->learning.snap_chunks = false; /* Seeded fault: what has come is taken for the whole. */
        z->snap_in_flight = true;
        zab_log_reset(&z->log, z->learning.zxid_snap);
        zab_emit(z, ZAB_OUT_SNAP_INSTALL)->zxid = z->learning.zxid_snap;
    }
#endif
    if (z->learning.snap_chunks) {
        z->learning.snap_chunks = false;
        (void)zab_emit(z, ZAB_OUT_SNAP_DROP);
    }
    for (i = 0; i < z->n_peers; i++) {
        learner_set_phase(z, &z->peers[i], LEARNER_NONE);
    }
    z->election.started = false;
    z->election.finalize_ms = UINT64_MAX;
    z->election.resend_ms = UINT64_MAX;
    zab_set_role(z, ZAB_LOOKING, 0, false);
}

/* Lesson 1: vote with what the disk has. Whatever was put out before must be on it first. */
void election_on_disk(struct zab *z)
{
    bool idle = zab_disk_idle(z);

#ifdef ZNODEFS_MUTANT_VOTE_FROM_MEMORY
    idle = z->epochs_in_flight == 0 && !z->truncate_in_flight && !z->snap_in_flight; /* Seeded fault. */
#endif
    if (!z->election.started && idle) {
        begin(z);
    }
}

/* A looking peer's vote while we look. */
static void on_looking_vote(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    struct zab_vote before = z->election.vote;

    if (packet->round < z->election.round) {
        election_send_vote(z, p->sid);
        return;
    }
    if (packet->round > z->election.round) {
        z->election.round = packet->round;
        z->election.vote = own_vote(z);
        consider(z, &packet->vote);
        z->election.finalize_ms = UINT64_MAX;
        broadcast_vote(z);
    } else {
        consider(z, &packet->vote);
        if (z->election.vote.sid != before.sid) {
            z->election.finalize_ms = UINT64_MAX;
            broadcast_vote(z);
        }
    }
    check(z);
}

/* A vote that ends our following or leading: our leader looks again, or leads no more, or another one leads while we
 * have no quorum yet. */
static bool vote_unseats(const struct zab *z, const struct zab_peer *p, const struct zab_packet *packet)
{
    if (z->role == ZAB_LOOKING) {
        return false;
    }
    if (z->role == ZAB_LEADING) {
        return packet->role == ZAB_LEADING && z->leading.phase != LEADER_BROADCAST && packet->epoch > z->leading.epoch;
    }
    if (p->sid != z->leader) {
        return false;
    }
    return packet->role == ZAB_FOLLOWING || (packet->role == ZAB_LOOKING && packet->round > z->learning.round);
}

void election_on_vote(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    p->round = packet->round;
    p->vote = packet->vote;
    p->role = packet->role;
    p->virgin = packet->virgin;
    p->empty = packet->empty;
    if (packet->role == ZAB_LOOKING) {
        learner_set_phase(z, p, LEARNER_NONE);
    }
    if (vote_unseats(z, p, packet)) {
        zab_look(z);
        return;
    }
    if (z->role != ZAB_LOOKING) {
        if (packet->role == ZAB_LEADING && p->sid == z->leader) {
            z->learning.round = 0; /* what it says in any round from here on, it says later */
        }
        if (packet->role == ZAB_LOOKING) {
            election_send_vote(z, p->sid);
        }
        return;
    }
    if (!z->election.started) {
        return;
    }
    if (packet->role == ZAB_LEADING && p->participant) {
        learner_start(z, p->sid);
        z->learning.round = 0; /* it leads already, whatever round that was */
    } else if (packet->role == ZAB_LOOKING && p->participant && !z->observer) {
        on_looking_vote(z, p, packet);
    }
}

void election_on_peer_up(struct zab *z, struct zab_peer *p)
{
    if (z->role == ZAB_LEADING || (z->role == ZAB_LOOKING && z->election.started && p->participant)) {
        election_send_vote(z, p->sid);
    }
}

void election_on_peer_down(struct zab *z, struct zab_peer *p)
{
    if (z->role != ZAB_LOOKING || !z->election.started) {
        return;
    }
    if (z->election.vote.sid == p->sid) {
        begin(z);
    } else {
        check(z);
    }
}

void election_on_deadline(struct zab *z)
{
    if (!z->election.started) {
        return;
    }
    if (z->now_ms >= z->election.resend_ms) {
        broadcast_vote(z);
    }
    check(z);
}

uint64_t election_deadline(const struct zab *z)
{
    if (!z->election.started) {
        return UINT64_MAX;
    }
    return z->election.finalize_ms < z->election.resend_ms ? z->election.finalize_ms : z->election.resend_ms;
}
