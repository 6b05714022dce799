/* What front ends are shown: status, peers, readability. */
#include "replica_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- peers ---- */

struct replica_peer *peers_find(const struct replica *r, uint64_t sid)
{
    size_t i;

    for (i = 0; i < r->n_peers; i++) {
        if (r->peers[i].sid == sid) {
            return &r->peers[i];
        }
    }
    return NULL;
}

static struct replica_peer *peers_add(struct replica *r, uint64_t sid, bool observer)
{
    struct replica_peer *p;

    r->peers = replica_realloc(r->peers, r->n_peers + 1, sizeof(*r->peers));
    p = &r->peers[r->n_peers];
    memset(p, 0, sizeof(*p));
    p->sid = sid;
    p->observer = observer;
    r->n_peers++;
    return p;
}

void peers_init(struct replica *r, const struct zab_config *config)
{
    size_t i;

    for (i = 0; i < config->n_servers; i++) {
        peers_add(r, config->servers[i].sid, config->servers[i].observer)->listed = true;
        r->n_participants += !config->servers[i].observer;
    }
    if (peers_find(r, config->sid) == NULL) {
        (void)peers_add(r, config->sid, config->observer);
    }
}

void peers_set(struct replica *r, uint64_t sid, bool observer, bool up)
{
    struct replica_peer *p = peers_find(r, sid);

    if (p == NULL) {
        if (!up) {
            return;
        }
        p = peers_add(r, sid, observer);
    }
    p->up = up;
    p->digest_known = false;
    p->connected_since_ns = up ? r->env.wall_ns(r->env.arg) : 0;
    if (!up && !p->listed) {
        *p = r->peers[r->n_peers - 1];
        r->n_peers--;
    }
}

static void fill_self(const struct replica *r, struct replica_peer_status *s)
{
    s->self = true;
    s->up = true;
    s->role = r->role;
    s->role_known = true;
    s->zxid = state_zxid(r->store.state);
}

static void fill_other(const struct replica *r, const struct replica_peer *p, struct replica_peer_status *s)
{
    struct zab_peer_info info;

    s->up = p->up;
    s->connected_since_ns = p->connected_since_ns;
    if (p->sid == r->leader) {
        s->role = ZAB_LEADING;
        s->role_known = true;
    }
    memset(&info, 0, sizeof(info));
    if (r->role == ZAB_LEADING && zab_peer_info(r->zab, p->sid, &info) && info.up) {
        s->zxid = info.zxid_acked;
        if (info.synced) {
            s->role = p->observer ? ZAB_OBSERVING : ZAB_FOLLOWING;
            s->role_known = true;
        }
    }
}

size_t replica_peers(const struct replica *r, struct replica_peer_status *peers, size_t max)
{
    size_t i;

    for (i = 0; i < r->n_peers && i < max; i++) {
        memset(&peers[i], 0, sizeof(peers[i]));
        peers[i].sid = r->peers[i].sid;
        peers[i].observer = r->peers[i].observer;
        if (peers[i].sid == r->config.zab.sid) {
            fill_self(r, &peers[i]);
        } else {
            fill_other(r, &r->peers[i], &peers[i]);
        }
    }
    return r->n_peers;
}

/* ---- readability ---- */

static bool has_state(const struct replica *r)
{
    return state_zxid(r->store.state) != 0 || state_ensemble(r->store.state) != 0;
}

bool replica_readable(const struct replica *r)
{
    if (r->ready_seen) {
        return true;
    }
    return r->started && has_state(r) && r->env.now_ms(r->env.arg) >= r->started_ms + r->config.timeo_ms;
}

uint64_t status_deadline_ms(const struct replica *r)
{
    uint64_t readable_ms = r->started_ms + r->config.timeo_ms;
    uint64_t explain_ms = r->explain_ms == 0 ? UINT64_MAX : r->explain_ms;

    if (r->ready_seen || r->told.readable || !has_state(r) || explain_ms < readable_ms) {
        return explain_ms;
    }
    return readable_ms;
}

/* ---- why there is no leader ---- */

/* "2, 3": the listed participants that are not connected. */
static size_t list_missing(const struct replica *r, char *text, size_t size)
{
    size_t len = 0;
    size_t n = 0;
    size_t i;

    text[0] = '\0';
    for (i = 0; i < r->n_peers; i++) {
        const struct replica_peer *p = &r->peers[i];
        int written;

        if (!p->listed || p->observer || p->up || p->sid == r->config.zab.sid) {
            continue;
        }
        written = snprintf(text + len, size - len, "%s%llu", n == 0 ? "" : ", ", (unsigned long long)p->sid);
        if (written > 0 && (size_t)written < size - len) {
            len += (size_t)written;
        }
        n++;
    }
    return n;
}

static const char *explanation(const struct replica *r, size_t missing)
{
    struct zab_info info;

    memset(&info, 0, sizeof(info));
    zab_info(r->zab, &info);
    if (info.virgin) {
        return "; this server was never synchronized and has no vote: start the servers that have the data, or, if the "
               "ensemble is new, all that are listed";
    }
    if (missing == 0) {
        return "; all listed servers are connected: those that were never synchronized have no vote";
    }
    return "; a majority of the servers that have the data is needed: start those that are missing, or look why they "
           "cannot be reached";
}

/* An observer without a list knows of those that it reaches. */
static void explain_unlisted(struct replica *r, uint64_t lost_ms)
{
    size_t n = r->n_peers - 1; /* this one is among them */

    replica_log(
        r, "no leader for %llu s; participants connected: %zu%s", (unsigned long long)(lost_ms / 1000), n,
        n == 0 ? "; see that the hosts listed are participants' peer ports, that one of them runs, and that it can "
                 "be reached"
               : "; none of them leads with a quorum: their logs say why");
}

void status_explain(struct replica *r, uint64_t now_ms)
{
    char missing[REPLICA_TEXT_MAX / 4];
    size_t n;

    if (r->ready || r->explain_ms == 0 || now_ms < r->explain_ms) {
        return;
    }
    if (r->away.away) {
        replica_log(
            r, "not in the ensemble for %llu s: the disk %s", (unsigned long long)((now_ms - r->quorum_lost_ms) / 1000),
            r->away.full ? "is full; make room for dataDir" : "has failed; check it, and start this server again");
        r->explain_ms = now_ms + (now_ms - r->quorum_lost_ms);
        return;
    }
    if (r->unlisted) {
        explain_unlisted(r, now_ms - r->quorum_lost_ms);
        r->explain_ms = now_ms + (now_ms - r->quorum_lost_ms);
        return;
    }
    n = list_missing(r, missing, sizeof(missing));
    replica_log(r, "no leader for %llu s; not connected: %s%s",
                (unsigned long long)((now_ms - r->quorum_lost_ms) / 1000), n == 0 ? "none" : missing,
                explanation(r, n));
    r->explain_ms = now_ms + (now_ms - r->quorum_lost_ms);
}

/* ---- status ---- */

void status_tell(struct replica *r)
{
    struct replica_told now = {
        .role = r->role,
        .leader = r->leader,
        .ready = r->ready,
        .readable = replica_readable(r),
        .disk_error = r->disk.error,
    };
    struct replica_listener *l;

    if (now.role == r->told.role && now.leader == r->told.leader && now.ready == r->told.ready &&
        now.readable == r->told.readable && now.disk_error == r->told.disk_error) {
        return;
    }
    r->told = now;
    for (l = r->listeners; l != NULL; l = l->next) {
        if (l->status != NULL) {
            l->status(l->arg);
        }
    }
}

static const char *disk_text(const struct replica *r)
{
    if (r->disk.error == 0) {
        return "ok";
    }
    return r->disk.full ? "full" : "error";
}

void replica_status(const struct replica *r, struct replica_status *ret_status)
{
    const struct state *state = r->store.state;
    struct zab_info info;

    memset(ret_status, 0, sizeof(*ret_status));
    memset(&info, 0, sizeof(info));
    zab_info(r->zab, &info);
    ret_status->role = r->role;
    ret_status->observer = r->config.zab.observer;
    ret_status->quorum = r->ready;
    ret_status->readable = replica_readable(r);
    if (!r->ready && r->started) {
        ret_status->quorum_lost_ms = r->env.now_ms(r->env.arg) - r->quorum_lost_ms;
    }
    ret_status->sid = r->config.zab.sid;
    ret_status->leader = r->leader;
    ret_status->epoch = info.epoch;
    ret_status->zxid = state_zxid(state);
    ret_status->zxid_logged = info.zxid_logged;
    ret_status->ensemble = state_ensemble(state);
    ret_status->znodes = tree_count(state_tree(state));
    ret_status->bytes = tree_data_bytes(state_tree(state));
    ret_status->disk_error = r->disk.error;
    ret_status->disk = disk_text(r);
    ret_status->calls_outstanding = r->calls.n;
    ret_status->txns_applied = r->txns_applied;
    ret_status->log_syncs = r->disk.syncs;
    ret_status->log_bytes = r->disk.bytes;
    ret_status->snapshots = r->snap.done;
    ret_status->elections = r->elections;
    ret_status->digest = state_digest(state);
}
