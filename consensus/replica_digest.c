/*
 * Digests of the tree, compared all the time: a disk or a memory that changed what was agreed on shows itself (design:
 * 4, lesson 11). Who is it, when two differ? The majority decides:
 *
 *   a follower's PONG has its digest --> the leader compares it with its own at that zxid
 *   a quorum differs from the leader --> it stops itself
 *   a quorum has the leader's        --> it goes with COMMIT and PING, and who differs from it stops itself
 *
 * Where nobody can decide, because too few are synchronized, the leader's counts: better none than two histories.
 */
#include "replica_int.h"

#include <string.h>

/* ---- what was here ---- */

void digests_clear(struct digest_ring *ring)
{
    ring->head = 0;
    ring->n = 0;
}

void digests_add(struct digest_ring *ring, uint64_t zxid, uint64_t digest)
{
    struct digest_entry *e;

    if (ring->n == REPLICA_DIGESTS) {
        ring->head = (ring->head + 1) % REPLICA_DIGESTS;
        ring->n--;
    }
    e = &ring->entries[(ring->head + ring->n) % REPLICA_DIGESTS];
    e->zxid = zxid;
    e->digest = digest;
    ring->n++;
}

/* The zxids grow, so the ring is searched by halves. */
bool digests_find(const struct digest_ring *ring, uint64_t zxid, uint64_t *ret_digest)
{
    const struct digest_entry *e;
    size_t low = 0;
    size_t high = ring->n;
    size_t middle;

    while (low < high) {
        middle = low + (high - low) / 2;
        e = &ring->entries[(ring->head + middle) % REPLICA_DIGESTS];
        if (e->zxid == zxid) {
            *ret_digest = e->digest;
            return true;
        }
        if (e->zxid < zxid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

/* ---- the leader's view ---- */

void digest_lead(struct replica *r)
{
    size_t i;

    for (i = 0; i < r->n_peers; i++) {
        r->peers[i].digest_known = false;
    }
    r->digest_confirmed = 0;
    r->applied_told = 0;
}

struct tally {
    size_t participants; /* this one included, here and below */
    size_t same;
    size_t other;
    size_t unknown; /* synchronized, and not heard of */
};

static struct tally count(const struct replica *r)
{
    struct tally t = {.participants = 1, .same = 1};
    struct zab_peer_info info;
    size_t i;

    for (i = 0; i < r->n_peers; i++) {
        const struct replica_peer *p = &r->peers[i];

        if (p->observer || p->sid == r->config.zab.sid) {
            continue;
        }
        t.participants++;
        if (p->digest_known) {
            t.same += p->digest_same;
            t.other += !p->digest_same;
        } else {
            t.unknown += zab_peer_info(r->zab, p->sid, &info) && info.synced;
        }
    }
    return t;
}

/* The newest zxid at which so many have our digest; 0 if there are not so many. */
static uint64_t confirmed(const struct replica *r, size_t quorum)
{
    uint64_t best = 0;
    size_t i;
    size_t k;

    for (i = 0; i < r->n_peers; i++) {
        const struct replica_peer *p = &r->peers[i];
        size_t n = 1;

        for (k = 0; k < r->n_peers && p->digest_known && p->digest_same; k++) {
            n += r->peers[k].digest_known && r->peers[k].digest_same && r->peers[k].digest_zxid >= p->digest_zxid;
        }
        if (n >= quorum && p->digest_known && p->digest_same && p->digest_zxid > best) {
            best = p->digest_zxid;
        }
    }
    return best;
}

static void judge(struct replica *r, uint64_t zxid, uint64_t ours)
{
    struct tally t = count(r);
    size_t quorum = t.participants / 2 + 1;

    if (t.other >= quorum) {
        replica_fail(r,
                     "the tree at zxid 0x%llx has the digest %016llx here, and another at a majority of the servers: "
                     "this server's disk or memory has changed what was agreed on. Move away its dataDir/znodefs "
                     "(server %llu) and start it again: it synchronizes from the others",
                     (unsigned long long)zxid, (unsigned long long)ours, (unsigned long long)r->config.zab.sid);
    } else if (t.same >= quorum) {
        r->digest_confirmed = confirmed(r, quorum);
    } else if (t.other > 0 && t.unknown == 0) {
        r->digest_confirmed = state_zxid(r->store.state);
    }
}

void digest_of_peer(struct replica *r, uint64_t sid, uint64_t zxid, uint64_t digest)
{
    struct replica_peer *p = peers_find(r, sid);
    uint64_t ours;

    if (p == NULL || p->observer || !digests_find(&r->digests, zxid, &ours)) {
        return;
    }
    p->digest_known = true;
    p->digest_same = ours == digest;
    p->digest_zxid = zxid;
    judge(r, zxid, ours);
}

uint64_t digest_zxid_to_tell(const struct replica *r)
{
    return r->role == ZAB_LEADING && r->n_participants > 1 ? r->digest_confirmed : state_zxid(r->store.state);
}

/* ---- the verdict ---- */

void digest_check(struct replica *r, uint64_t zxid, uint64_t digest)
{
    uint64_t ours;

    if (!digests_find(&r->digests, zxid, &ours) || ours == digest) {
        return;
    }
    replica_fail(r,
                 "the tree at zxid 0x%llx has the digest %016llx here and %016llx at server %llu, which leads: this "
                 "server's disk or memory has changed what was agreed on, or, if only the two of them are there, that "
                 "one's has. Move away this one's dataDir/znodefs (server %llu) and start it again: it synchronizes "
                 "from the others",
                 (unsigned long long)zxid, (unsigned long long)ours, (unsigned long long)digest,
                 (unsigned long long)r->leader, (unsigned long long)r->config.zab.sid);
}
