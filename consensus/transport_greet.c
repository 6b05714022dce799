/*
 * The greeting: who is at the other end, and may it be? The dialling side greets first; the other answers any
 * well-formed greeting with its own, also one that it refuses, so that both logs can name what differs.
 */
#include "transport_internal.h"

#include <assert.h>
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- whose votes count ---- */

static int compare_sids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y ? 1 : 0;
}

/*
 * Two servers that count different sets of votes may each find a majority, so they do not talk. Only the ids of
 * participants count: addresses are changed on one server after the other, and observers come and go.
 */
uint64_t participants_hash(const struct transport_config *config)
{
    uint64_t *sids = calloc(config->n_peers + 1, sizeof(*sids));
    size_t n = 0;
    uint64_t hash;
    size_t i;

    if (sids == NULL) {
        abort();
    }
    for (i = 0; i < config->n_peers; i++) {
        if (!config->peers[i].observer && config->peers[i].sid != 0) {
            sids[n++] = config->peers[i].sid;
        }
    }
    if (!config->observer) {
        sids[n++] = config->sid;
    }
    if (n == 0) {
        free(sids);
        return 0;
    }
    qsort(sids, n, sizeof(*sids), compare_sids);
    for (i = 0; i < n; i++) {
        sids[i] = htole64(sids[i]);
    }
    hash = XXH3_64bits(sids, n * sizeof(*sids));
    free(sids);
    return hash != 0 ? hash : 1;
}

static bool greeting_participants_ok(struct conn *c, const struct packet_greeting *g)
{
    if (g->participants == 0 || c->t->participants == 0 || g->participants == c->t->participants) {
        return true;
    }
    conn_refuse(c, REFUSED_PARTICIPANTS,
                "refused %s: %s has a zoo.cfg that lists other participants than this server's: each list could find a "
                "majority of its own: make the server.N lines the same everywhere (their number changes only while all "
                "servers are stopped)",
                c->address, c->pl->name);
    return false;
}

/* ---- greeting ---- */

static struct packet_greeting greeting_of(const struct transport *t, uint64_t sid_to)
{
    struct packet_greeting g = {
        .ensemble = t->cb.ensemble(t->cb.arg),
        .sid = t->sid,
        .sid_to = sid_to,
        .observer = t->observer,
        .nonce = t->nonce,
        .participants = t->participants,
    };

    return g;
}

void conn_greet(struct conn *c, uint64_t sid_to)
{
    struct packet_greeting g = greeting_of(c->t, sid_to);

    conn_queue(c, packet_encode_greeting(&g));
    conn_flush(c);
}

static void conn_answer(struct conn *c, const struct packet_greeting *theirs)
{
    struct packet_greeting g = greeting_of(c->t, theirs->sid);
    char members[PACKET_MEMBERS_MAX];

    if (theirs->observer && zab_sid_is_unlisted(theirs->sid)) {
        g.members = members;
        g.members_len = members_text(c->t, members, sizeof(members));
    }
    conn_queue(c, packet_encode_greeting(&g));
    conn_flush(c);
}

static const char *ensemble_mend(const struct peer_link *pl)
{
    if (pl->guest || pl->by_host) {
        return "if the observer belongs here, stop it (and move its dataDir/znodefs away, if it has one) and start it "
               "again; if not, correct its list of hosts";
    }
    return "if it belongs here, stop it and move its dataDir/znodefs away (or this server's, if this one is the "
           "newcomer); if not, correct its line in zoo.cfg";
}

bool conn_ensemble_fits(struct conn *c, uint64_t ensemble)
{
    uint64_t ours = c->t->cb.ensemble(c->t->cb.arg);

    if (ensemble == 0 || ours == 0 || ensemble == ours) {
        return true;
    }
    conn_refuse(c, REFUSED_ENSEMBLE,
                "refused %s at %s: its data is of ensemble 0x%" PRIx64 ", this server's of 0x%" PRIx64 ": %s",
                c->pl->name, c->address, ensemble, ours, ensemble_mend(c->pl));
    return false;
}

/* A host of the list answers: it may be any participant that no other host of the list is. */
static bool greeting_by_host_ok(struct conn *c, const struct packet_greeting *g)
{
    const struct peer_link *other = transport_link(c->t, g->sid);

    if (g->observer || g->sid == 0 || zab_sid_is_unlisted(g->sid)) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: an observer answers there: correct the list of hosts, which names the peer ports of "
                    "participants",
                    c->address);
        return false;
    }
    if (other != NULL && other != c->pl) {
        if (c->pl->member_sid == 0) {
            log_limited(c->t, LOG_REPLACED, c->log_key, "%s is %s, which is connected already: once is enough",
                        c->pl->name, other->name);
        }
        c->pl->twin = true;
        conn_close(c);
        return false;
    }
    if (c->pl->sid == 0) {
        link_identify(c->pl, g->sid);
    }
    c->pl->twin = false;
    return true;
}

/* The other end of a connection we dialled must be who we meant. */
static bool greeting_dialled_ok(struct conn *c, const struct packet_greeting *g)
{
    if (c->pl->by_host) {
        return greeting_by_host_ok(c, g);
    }
    if (g->sid == c->pl->sid) {
        return true;
    }
    if (g->sid == c->t->sid) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: this address of server.%" PRIu64
                    " is answered by a server with this one's own id %" PRIu64 ": correct the line server.%" PRIu64
                    " in zoo.cfg, or the other's myid",
                    c->address, c->pl->sid, g->sid, c->pl->sid);
    } else {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: this address of server.%" PRIu64 " is answered by server.%" PRIu64
                    ": correct the line server.%" PRIu64 " in zoo.cfg, or the other's myid",
                    c->address, c->pl->sid, g->sid, c->pl->sid);
    }
    return false;
}

/* An observer that is not listed: who may come is whoever reaches this port, as long as there is room. */
static bool greeting_guest_ok(struct conn *c, const struct packet_greeting *g)
{
    if (!g->observer || c->t->observer) {
        conn_refuse(c, REFUSED_IDENTITY, "refused %s: the id %" PRIu64 " is not a listed server's: correct its myid",
                    c->address, g->sid);
        return false;
    }
    if (transport_link(c->t, g->sid) == NULL) {
        link_new_guest(c->t, g->sid);
    }
    return true;
}

/* Who came to us must be listed, must mean us, and must be the one of the pair that dials. */
static bool greeting_accepted_ok(struct conn *c, const struct packet_greeting *g)
{
    struct transport *t = c->t;

    if (g->sid == 0) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: an observer without an id: upgrade it, or list it as server.N=...:observer in every "
                    "server's zoo.cfg",
                    c->address);
    } else if (g->sid == t->sid) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: it has this server's own id %" PRIu64 ": give one of the two another myid, or correct "
                    "the line that names this server's address",
                    c->address, g->sid);
    } else if (g->sid_to != 0 && g->sid_to != t->sid) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: server.%" PRIu64 " looks for server.%" PRIu64 " here, but this is server.%" PRIu64
                    ": correct the line server.%" PRIu64 " in its zoo.cfg, or this server's myid",
                    c->address, g->sid, g->sid_to, t->sid, g->sid_to);
    } else if (zab_sid_is_unlisted(g->sid)) {
        return greeting_guest_ok(c, g);
    } else if (transport_link(t, g->sid) == NULL) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: server.%" PRIu64
                    " is not in this server's zoo.cfg: add its line to every server's, or "
                    "correct its myid",
                    c->address, g->sid);
    } else {
        return true;
    }
    return false;
}

static bool greeting_role_ok(struct conn *c, const struct packet_greeting *g)
{
    struct transport *t = c->t;
    struct peer_link *pl = c->pl;

    if (g->observer != pl->observer) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: server.%" PRIu64 " runs as %s, but is listed here as %s: make its line the same in "
                    "every server's zoo.cfg",
                    c->address, pl->sid, g->observer ? "an observer" : "a participant",
                    pl->observer ? "an observer" : "a participant");
        return false;
    }
    if (!c->dialled && (pl->dials || (t->observer && pl->observer))) {
        conn_refuse(c, REFUSED_IDENTITY,
                    "refused %s: server.%" PRIu64
                    " should wait to be dialled by this server: make the server lines the "
                    "same in every server's zoo.cfg",
                    c->address, pl->sid);
        return false;
    }
    return true;
}

/* Whoever has a certificate of the ensemble's may not be any server of it: it must be for the host of the one it says
 * it is. Where this side has dialled, TLS has looked already. Not answered either: the other end would find nothing to
 * object to. */
static bool greeting_certificate_ok(struct conn *c, const struct packet_greeting *g)
{
    const struct peer_link *pl = transport_link(c->t, g->sid);

    if (c->seal == NULL || pl == NULL || pl->guest || seal_names(c->seal, pl->host)) {
        return true;
    }
    /* It is one of the ensemble's: what strangers from the same host did is another matter. */
    (void)snprintf(c->log_key, sizeof(c->log_key), "server.%" PRIu64, pl->sid);
    conn_refuse(
        c, REFUSED_CERTIFICATE,
        "refused %s: its certificate is not for %s, the host of %s: give it one that names the host (as a subject "
        "alternative name), or set ssl.quorum.hostnameVerification=false",
        c->address, pl->host, pl->name);
    return false;
}

/* Who finds no room is not answered: it would take itself for connected, again and again. */
static bool greeting_has_room(struct conn *c, const struct packet_greeting *g)
{
    if (!zab_sid_is_unlisted(g->sid) || c->t->n_guests < ZAB_UNLISTED_MAX || transport_link(c->t, g->sid) != NULL) {
        return true;
    }
    conn_refuse(c, REFUSED_CROWD,
                "refused %s: there are %u unlisted observers already: unmount some, or list this one as "
                "server.N=...:observer in every server's zoo.cfg",
                c->address, ZAB_UNLISTED_MAX);
    return false;
}

void conn_on_greeting(struct conn *c, const uint8_t *frame, size_t len)
{
    struct packet_greeting g;

    if (packet_decode_greeting(frame, len, &g) != 0) {
        conn_refuse(c, REFUSED_DAMAGED, "refused %s: a greeting that makes no sense", c->address);
        return;
    }
    if (!c->dialled) {
        if (!greeting_has_room(c, &g) || !greeting_certificate_ok(c, &g)) {
            return;
        }
        conn_answer(c, &g);
        if (c->state == CONN_CLOSING) {
            return;
        }
    }
    if (!(c->dialled ? greeting_dialled_ok(c, &g) : greeting_accepted_ok(c, &g))) {
        return;
    }
    if (!c->dialled) {
        c->pl = transport_link(c->t, g.sid);
        assert(c->pl != NULL);
        c->pl->n_conns++;
    }
    c->nonce = g.nonce;
    if (!greeting_role_ok(c, &g) || !conn_ensemble_fits(c, g.ensemble) || !greeting_participants_ok(c, &g)) {
        return;
    }
    if (c->pl->by_host && g.members != NULL) {
        members_learn(c->t, g.members, g.members_len);
    }
    conn_greeted(c);
}
