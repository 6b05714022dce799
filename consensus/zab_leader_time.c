/*
 * zab_leader_time.c: what a leader does by the clock: pings, who is silent or does not keep up, and when it has to step
 * down itself.
 */
#include "zab_int.h"

static void send_pings(struct zab *z)
{
    size_t i;

    z->leading.ping_ms = z->now_ms + z->peer_timeout_ms / ZAB_PINGS_PER_TIMEOUT;
    z->n_pings++;
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].phase >= LEARNER_JOINING) {
            struct zab_packet *packet = zab_send(z, z->peers[i].sid, ZAB_PING, z->zxid_committed);

            packet->round = z->n_pings;
            packet->zxid_digest = z->zxid_digest;
            packet->digest = z->digest;
        }
    }
}

/* Until when may this learner stay silent, or in the phase it is in? */
static uint64_t learner_expiry(const struct zab *z, const struct zab_peer *p)
{
    uint64_t silent = p->heard_ms + z->peer_timeout_ms;

    if (p->phase < LEARNER_JOINING) {
        return UINT64_MAX;
    }
    if (p->phase < LEARNER_SERVING) {
        uint64_t patient = p->heard_ms + (uint64_t)z->peer_timeout_ms * ZAB_SYNC_PATIENCE;

        if (p->phase == LEARNER_SNAPPING && !p->sync_begun) {
            return patient; /* others may be sent theirs before */
        }
        return patient < p->phase_ms + z->init_ms ? patient : p->phase_ms + z->init_ms;
    }
    if (p->lag_ms != 0 && p->participant && p->lag_ms + z->sync_ms < silent) {
        return p->lag_ms + z->sync_ms;
    }
    return silent;
}

/*
 * When was this participant last of use? An established leader commits by those that are synchronized: one that talks
 * but does not get there is no quorum. Only who was never synchronized may take its time: without this leader it could
 * not get any further, having no vote.
 */
static uint64_t counted_ms(const struct zab *z, const struct zab_peer *p)
{
    if (z->leading.phase < LEADER_BROADCAST || (p->virgin && p->phase >= LEARNER_SNAPPING)) {
        return p->heard_ms;
    }
    return p->served_ms;
}

/* The time a quorum was last there: the quorum-th newest, counting this one as now. */
static uint64_t quorum_heard_ms(const struct zab *z)
{
    size_t need = zab_quorum(z) - 1;
    uint64_t best = 0;
    size_t i;
    size_t j;

    if (need == 0) {
        return z->now_ms;
    }
    for (i = 0; i < z->n_peers; i++) {
        size_t n = 0;

        if (!z->peers[i].participant) {
            continue;
        }
        for (j = 0; j < z->n_peers; j++) {
            n += z->peers[j].participant && counted_ms(z, &z->peers[j]) >= counted_ms(z, &z->peers[i]);
        }
        if (n >= need && counted_ms(z, &z->peers[i]) > best) {
            best = counted_ms(z, &z->peers[i]);
        }
    }
    return best;
}

/* Until when its own disk may hang. Before the epoch is established everybody waits for it; later the others commit
 * without it, but what can't be dropped from memory before it is synced only grows. */
static uint64_t disk_due_ms(const struct zab *z)
{
    if (z->leading.lag_ms == 0) {
        return UINT64_MAX;
    }
    if (z->leading.phase == LEADER_BROADCAST) {
        return z->leading.lag_ms + z->sync_ms;
    }
    return z->leading.lag_ms + (uint64_t)z->peer_timeout_ms * ZAB_SYNC_PATIENCE;
}

/* When this leader must step down unless it hears more (lesson 15). */
static uint64_t resign_ms(const struct zab *z)
{
    uint64_t heard = quorum_heard_ms(z);
    uint64_t due = (heard > z->leading.since_ms ? heard : z->leading.since_ms) + z->peer_timeout_ms;
    uint64_t phase_due = z->leading.phase_ms + z->init_ms;

    if (zab_quorum(z) == 1) {
        return UINT64_MAX;
    }
#ifdef ZNODEFS_MUTANT_NO_RESIGNING
    return UINT64_MAX; /* Seeded fault. */
#endif
    if (z->leading.phase == LEADER_SYNC) {
        due += (uint64_t)z->peer_timeout_ms * (ZAB_SYNC_PATIENCE - 1);
    }
    if (disk_due_ms(z) < due) {
        due = disk_due_ms(z);
    }
    if (z->leading.phase == LEADER_DISCOVERY) {
        phase_due = z->leading.phase_ms + z->peer_timeout_ms;
    }
    if (z->leading.phase == LEADER_BROADCAST || due < phase_due) {
        return due;
    }
    return phase_due;
}

/* How much of what is committed a disk has not got that is known to be durable up to `zxid`. */
static bool is_far_behind(const struct zab *z, uint64_t zxid)
{
    return zab_log_bytes(&z->log, zxid, z->zxid_committed) > ZAB_BEHIND_BYTES;
}

static void drop_learner(struct zab *z, struct zab_peer *p, const char *reason)
{
    learner_set_phase(z, p, LEARNER_NONE);
    zab_disconnect(z, p->sid, reason);
}

void leader_on_deadline(struct zab *z)
{
    size_t i;

    if (z->now_ms >= resign_ms(z) || is_far_behind(z, z->zxid_synced)) {
        zab_look(z);
        return;
    }
    for (i = 0; i < z->n_peers; i++) {
        struct zab_peer *p = &z->peers[i];

        if (z->now_ms >= learner_expiry(z, p)) {
            drop_learner(z, p, "it was silent, or did not keep up");
        } else if (p->phase >= LEARNER_SYNCED && is_far_behind(z, p->zxid_acked)) {
            drop_learner(z, p, "its disk is too far behind: it synchronizes again");
        }
    }
    if (z->now_ms >= z->leading.ping_ms) {
        send_pings(z);
    }
}

uint64_t leader_deadline(const struct zab *z)
{
    uint64_t due = z->leading.ping_ms;
    size_t i;

    if (resign_ms(z) < due) {
        due = resign_ms(z);
    }
    for (i = 0; i < z->n_peers; i++) {
        uint64_t expiry = learner_expiry(z, &z->peers[i]);

        due = expiry < due ? expiry : due;
    }
    return due;
}
