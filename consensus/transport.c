#include "transport_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_BACKLOG 128
/* Encoding a small packet is cheaper than looking whether it is the one before. */
#define CACHED_BODY_MIN 4096

/* ---- listening ---- */

static int listen_one(const struct sockaddr_storage *address, int *ret_fd)
{
    socklen_t len = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int one = 1;

    if (fd < 0) {
        return -errno;
    }
    /* Only skips the wait for connections that linger; a port with a live listener stays refused. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr *)address, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int rv = -errno;

        (void)close(fd);
        return rv;
    }
    *ret_fd = fd;
    return 0;
}

/* Listens before any handle exists, so that a failure leaves nothing to be closed by the loop. */
static int listen_open(const struct transport_config *config, int *ret_fd, struct error *err)
{
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    const char *host = config->listen_host;
    size_t n = dial_addresses(host, config->listen_port, addresses, ADDRESSES_MAX);
    int rv = -EADDRNOTAVAIL;
    size_t i;

    for (i = 0; i < n; i++) {
        rv = listen_one(&addresses[i], ret_fd);
        if (rv == 0) {
            return 0;
        }
    }
    if (n == 0) {
        return error_set(err, rv, "%s: the name cannot be resolved: correct the host of server.%" PRIu64 " in zoo.cfg",
                         host, config->sid);
    }
    if (rv == -EADDRINUSE) {
        return error_set(err, rv,
                         "%s:%u: address already in use: another peer (or program) listens there: stop it, or change "
                         "server.%" PRIu64 "'s port",
                         host, config->listen_port, config->sid);
    }
    if (rv == -EADDRNOTAVAIL) {
        return error_set(err, rv,
                         "%s:%u: this host does not have the address: correct the host of server.%" PRIu64
                         " in zoo.cfg, or this server's myid",
                         host, config->listen_port, config->sid);
    }
    return error_set(err, rv, "%s:%u: cannot listen: %s: change server.%" PRIu64 "'s host or port", host,
                     config->listen_port, strerror(-rv), config->sid);
}

/* ---- links ---- */

static void link_init_timer(struct peer_link *pl)
{
    int rv = uv_timer_init(pl->t->loop, &pl->timer);

    assert(rv == 0);
    pl->timer.data = pl;
    pl->t->pending++;
}

struct peer_link *transport_link(const struct transport *t, uint64_t sid)
{
    struct peer_link *pl;

    HASH_FIND(hh, t->by_sid, &sid, sizeof(sid), pl);
    return pl;
}

static void link_name(struct peer_link *pl)
{
    bool v6 = pl->host != NULL && strchr(pl->host, ':') != NULL;

    /* A longer name is cut: it is for people. */
    if (pl->sid == 0) {
        (void)snprintf(pl->name, sizeof(pl->name), v6 ? "[%s]:%u" : "%s:%u", pl->host, pl->port);
    } else if (pl->guest) {
        (void)snprintf(pl->name, sizeof(pl->name), "observer %" PRIu64, pl->sid);
    } else {
        (void)snprintf(pl->name, sizeof(pl->name), "server.%" PRIu64, pl->sid);
    }
}

void link_identify(struct peer_link *pl, uint64_t sid)
{
    assert(pl->sid == 0);
    assert(transport_link(pl->t, sid) == NULL);
    pl->sid = sid;
    HASH_ADD(hh, pl->t->by_sid, sid, sizeof(pl->sid), pl);
    link_name(pl);
}

void link_forget(struct peer_link *pl)
{
    assert(pl->by_host);
    assert(pl->conn == NULL);
    if (pl->sid != 0) {
        HASH_DELETE(hh, pl->t->by_sid, pl);
        pl->sid = 0;
        link_name(pl);
    }
}

void link_new_guest(struct transport *t, uint64_t sid)
{
    struct peer_link *pl;

    assert(t->n_guests < ZAB_UNLISTED_MAX);
    pl = calloc(1, sizeof(*pl));
    if (pl == NULL) {
        abort();
    }
    pl->t = t;
    pl->observer = true;
    pl->guest = true;
    link_identify(pl, sid);
    t->n_guests++;
}

static void link_set_host(struct peer_link *pl, const char *host, uint16_t port)
{
    free(pl->host);
    pl->host = strdup(host);
    if (pl->host == NULL) {
        abort();
    }
    pl->port = port;
    if (pl->sid == 0) {
        link_name(pl);
    }
}

void link_new_learned(struct transport *t, uint64_t sid, const char *host, uint16_t port)
{
    struct peer_link *pl = calloc(1, sizeof(*pl));

    if (pl == NULL) {
        abort();
    }
    pl->t = t;
    pl->by_host = true;
    pl->member_sid = sid;
    pl->dials = true;
    link_set_host(pl, host, port);
    link_init_timer(pl);
    pl->next_learned = t->learned;
    t->learned = pl;
    t->n_learned++;
    dial_soon(pl, LEARNED_MS);
}

/* A connection to the old address stays as long as it works. */
void link_move(struct peer_link *pl, const char *host, uint16_t port)
{
    link_set_host(pl, host, port);
}

void link_drop_conn(struct peer_link *pl)
{
    if (!pl->guest) {
        return;
    }
    assert(pl->n_conns > 0);
    pl->n_conns--;
    if (pl->n_conns == 0) {
        assert(pl->conn == NULL);
        HASH_DELETE(hh, pl->t->by_sid, pl);
        pl->t->n_guests--;
        free(pl);
    }
}

/* ---- start and stop ---- */

static void link_init(struct transport *t, struct peer_link *pl, const struct transport_peer *peer)
{
    bool both_observe = t->observer && peer->observer;

    assert(peer->sid != t->sid);
    assert(peer->sid != 0 || t->observer);
    pl->t = t;
    pl->by_host = peer->sid == 0;
    pl->host = strdup(peer->host);
    if (pl->host == NULL) {
        abort();
    }
    pl->port = peer->port;
    pl->observer = peer->observer;
    /* Of an observer and a participant the observer dials; else the larger id. */
    pl->dials = !both_observe && (t->observer != peer->observer ? t->observer : t->sid > peer->sid);
    link_init_timer(pl);
    if (pl->by_host) {
        link_name(pl);
    } else {
        link_identify(pl, peer->sid);
    }
}

static void transport_set_tls(struct transport *t, struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    t->tls = tls;
    t->wire = malloc(WIRE_BYTES);
    t->batch = malloc(SEAL_RECORD_BYTES);
    if (t->wire == NULL || t->batch == NULL) {
        abort();
    }
}

static struct transport *transport_new(uv_loop_t *loop, const struct transport_config *config,
                                       const struct transport_callbacks *cb)
{
    struct transport *t = calloc(1, sizeof(*t));
    size_t i;
    int rv;

    if (t == NULL || (t->links = calloc(config->n_peers + 1, sizeof(*t->links))) == NULL) {
        abort();
    }
    t->loop = loop;
    t->sid = config->sid;
    t->observer = config->observer;
    t->nonce = config->nonce;
    t->participants = participants_hash(config);
    t->loopback_only = config->loopback_only;
    t->queue_bytes_max = config->queue_bytes_max != 0 ? config->queue_bytes_max : TRANSPORT_QUEUE_BYTES_DEFAULT;
    assert(config->silent_ms <= TRANSPORT_SILENT_MS_MAX);
    t->silent_ms = config->silent_ms != 0 ? config->silent_ms : TRANSPORT_SILENT_MS_DEFAULT;
    transport_set_tls(t, config->tls);
    t->cb = *cb;
    rv = uv_tcp_init(loop, &t->listener);
    assert(rv == 0);
    t->listener.data = t;
    t->pending++;
    t->n_links = config->n_peers;
    for (i = 0; i < t->n_links; i++) {
        link_init(t, &t->links[i], &config->peers[i]);
    }
    return t;
}

int transport_start(uv_loop_t *loop, const struct transport_config *config, const struct transport_callbacks *cb,
                    struct transport **ret_transport, struct error *err)
{
    struct transport *t;
    int fd = -1;
    size_t i;
    int rv;

    if (config->listen_host != NULL) {
        rv = listen_open(config, &fd, err);
        if (rv != 0) {
            return rv;
        }
    }
    t = transport_new(loop, config, cb);
    if (fd >= 0) {
        rv = uv_tcp_open(&t->listener, fd);
        if (rv == 0) {
            rv = uv_listen((uv_stream_t *)&t->listener, LISTEN_BACKLOG, conn_listen_cb);
        } else {
            (void)close(fd);
        }
        if (rv != 0) {
            transport_stop(t, NULL, NULL);
            return error_set(err, rv, "listen at %s:%u: %s", config->listen_host, config->listen_port, uv_strerror(rv));
        }
    }
    for (i = 0; i < t->n_links; i++) {
        if (t->links[i].dials) {
            dial_start(&t->links[i]);
        }
    }
    *ret_transport = t;
    return 0;
}

static void cache_drop(struct transport *t)
{
    buf_unref(t->cached_frame);
    buf_unref(t->cached_packet.body);
    t->cached_frame = NULL;
    t->cached_packet.body = NULL;
}

static void learned_free(struct transport *t)
{
    while (t->learned != NULL) {
        struct peer_link *pl = t->learned;

        t->learned = pl->next_learned;
        free(pl->host);
        free(pl);
    }
}

void transport_unpend(struct transport *t)
{
    void (*closed)(void *arg) = t->closed;
    void *arg = t->closed_arg;
    size_t i;

    assert(t->pending > 0);
    t->pending--;
    if (t->pending > 0) {
        return;
    }
    assert(t->stopping);
    assert(t->conns == NULL);
    assert(t->n_guests == 0);
    HASH_CLEAR(hh, t->by_sid);
    for (i = 0; i < t->n_links; i++) {
        free(t->links[i].host);
    }
    free(t->links);
    learned_free(t);
    cache_drop(t);
    free(t->wire);
    free(t->batch);
    free(t);
    if (closed != NULL) {
        closed(arg);
    }
}

static void listener_closed_cb(uv_handle_t *handle)
{
    transport_unpend(handle->data);
}

static void link_timer_closed_cb(uv_handle_t *handle)
{
    struct peer_link *pl = handle->data;

    transport_unpend(pl->t);
}

static void link_close(struct peer_link *pl)
{
    dial_stop(pl);
    uv_close((uv_handle_t *)&pl->timer, link_timer_closed_cb);
}

void transport_stop(struct transport *t, void (*closed)(void *arg), void *arg)
{
    struct peer_link *pl;
    struct conn *c;
    size_t i;

    assert(!t->stopping);
    t->stopping = true;
    t->closed = closed;
    t->closed_arg = arg;
    uv_close((uv_handle_t *)&t->listener, listener_closed_cb);
    for (i = 0; i < t->n_links; i++) {
        link_close(&t->links[i]);
    }
    for (pl = t->learned; pl != NULL; pl = pl->next_learned) {
        link_close(pl);
    }
    for (c = t->conns; c != NULL; c = c->next) {
        conn_close(c);
    }
}

/* ---- sending ---- */

static struct conn *conn_up_to(const struct transport *t, uint64_t sid)
{
    struct peer_link *pl = transport_link(t, sid);

    return pl != NULL && pl->conn != NULL && pl->conn->state == CONN_UP ? pl->conn : NULL;
}

static bool packets_equal(const struct zab_packet *a, const struct zab_packet *b)
{
    return a->type == b->type && a->epoch == b->epoch && a->zxid == b->zxid && a->zxid_prev == b->zxid_prev &&
           a->round == b->round && a->vote.sid == b->vote.sid && a->vote.zxid == b->vote.zxid &&
           a->vote.epoch == b->vote.epoch && a->vote.virgin == b->vote.virgin && a->vote.sole == b->vote.sole &&
           a->role == b->role && a->virgin == b->virgin && a->empty == b->empty &&
           a->accepted_from == b->accepted_from && a->zxid_digest == b->zxid_digest && a->digest == b->digest &&
           a->body == b->body;
}

/* A proposal goes to every follower: its bytes are copied and summed once. */
static struct buf *frame_of(struct transport *t, const struct zab_packet *packet)
{
    uint64_t ensemble = t->cb.ensemble(t->cb.arg);

    if (packet->body == NULL || packet->body->len < CACHED_BODY_MIN) {
        return packet_encode(packet, ensemble);
    }
    if (t->cached_frame == NULL || t->cached_ensemble != ensemble || !packets_equal(&t->cached_packet, packet)) {
        cache_drop(t);
        t->cached_frame = packet_encode(packet, ensemble);
        t->cached_packet = *packet;
        t->cached_packet.body = buf_ref(packet->body);
        t->cached_ensemble = ensemble;
    }
    return buf_ref(t->cached_frame);
}

/* May more be queued? The socket takes some of what has gathered in this loop iteration. */
static bool queue_has_room(struct conn *c)
{
    if (c->out_bytes > c->t->queue_bytes_max) {
        conn_flush(c);
    }
    return c->out_bytes <= c->t->queue_bytes_max;
}

void transport_send(struct transport *t, uint64_t sid, const struct zab_packet *packet)
{
    struct conn *c = conn_up_to(t, sid);
    struct buf *frame;

    if (c == NULL || t->stopping) {
        return;
    }
    if (!queue_has_room(c)) {
        log_limited(t, LOG_DISCONNECTED, c->log_key,
                    "disconnected %s at %s: it does not keep up: %zu bytes wait for it; it synchronizes again when it "
                    "can",
                    c->pl->name, c->address, c->out_bytes);
        conn_close(c);
        return;
    }
    frame = frame_of(t, packet);
    conn_queue(c, frame);
}

void transport_flush(struct transport *t)
{
    struct peer_link *pl;
    struct peer_link *next;

    HASH_ITER(hh, t->by_sid, pl, next)
    {
        if (pl->conn != NULL && !t->stopping) {
            conn_flush(pl->conn);
        }
    }
    cache_drop(t);
}

void transport_disconnect(struct transport *t, uint64_t sid, const char *reason)
{
    struct conn *c = conn_up_to(t, sid);

    if (c == NULL || t->stopping) {
        return;
    }
    log_limited(t, LOG_DISCONNECTED, c->log_key, "disconnected %s at %s: %s", c->pl->name, c->address, reason);
    conn_close(c);
}

const char *transport_address(const struct transport *t, uint64_t sid)
{
    const struct conn *c = conn_up_to(t, sid);

    return c != NULL ? c->address : NULL;
}

const char *transport_refusal_name(enum transport_refusal refusal)
{
    static const char *const names[TRANSPORT_REFUSALS] = {
        [REFUSED_STRANGER] = "stranger",
        [REFUSED_PLAINTEXT] = "plaintext",
        [REFUSED_TLS] = "tls",
        [REFUSED_KEY] = "key",
        [REFUSED_CERTIFICATE] = "certificate",
        [REFUSED_HANDSHAKE] = "handshake",
        [REFUSED_SILENT] = "silent",
        [REFUSED_CROWD] = "crowd",
        [REFUSED_RATE] = "rate",
        [REFUSED_OVERSIZED] = "oversized",
        [REFUSED_DAMAGED] = "damaged",
        [REFUSED_VERSION] = "version",
        [REFUSED_IDENTITY] = "identity",
        [REFUSED_ENSEMBLE] = "ensemble",
        [REFUSED_PARTICIPANTS] = "participants",
    };

    assert(refusal < TRANSPORT_REFUSALS);
    return names[refusal];
}

void transport_stats(const struct transport *t, struct transport_stats *ret_stats)
{
    *ret_stats = t->stats;
}
