/*
 * One connection: accepting or dialling it, bytes in, frames out, its end. The drawing of its states is in
 * transport_internal.h.
 *
 * Latency first: frames queued in one loop iteration leave in one writev from conn_flush(), without a detour through
 * the poll; only what the socket does not take at once waits in a uv_write. While that is under way further frames
 * gather, and leave together when it is done.
 */
#include "transport_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define IOV_BATCH 256 /* frames of one writev */

struct write_req {
    uv_write_t req;
    struct conn *c;
    size_t bytes;
    size_t n;
    struct buf *frames[]; /* owned */
};

/* ---- the end ---- */

static void conn_forget(struct conn *c)
{
    struct transport *t = c->t;
    struct peer_link *pl = c->pl;
    bool was_up = c->up_ms != 0;
    uint64_t lasted_ms = uv_now(t->loop) - c->up_ms;
    size_t i;

    conn_tell_down(c);
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        t->conns = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    if (pl != NULL && pl->dial == c && !t->stopping) {
        dial_ended(pl, was_up, lasted_ms);
    }
    if (pl != NULL) {
        link_drop_conn(pl);
    }
    for (i = 0; i < c->out_n; i++) {
        buf_unref(c->out[i]);
    }
    seal_free(c->seal);
    free(c->out);
    free(c->in);
    free(c);
}

static void conn_handle_closed_cb(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    struct transport *t = c->t;

    c->handles--;
    if (c->handles == 0) {
        conn_forget(c);
    }
    transport_unpend(t);
}

void conn_close(struct conn *c)
{
    if (c->state == CONN_CLOSING) {
        return;
    }
    if (conn_is_ungreeted(c)) {
        c->t->n_ungreeted--;
    }
    if (c->state == CONN_SECURING && c->spoken) {
        admit_failed(c->t, c->host); /* however it ended: the handshake has cost us what it costs */
    }
    c->state = CONN_CLOSING;
    uv_close((uv_handle_t *)&c->tcp, conn_handle_closed_cb);
    uv_close((uv_handle_t *)&c->timer, conn_handle_closed_cb);
}

void conn_tell_down(struct conn *c)
{
    struct transport *t = c->t;
    struct peer_link *pl = c->pl;
    uint64_t sid;

    if (!c->told_up) {
        return;
    }
    c->told_up = false;
    assert(pl->conn == c);
    pl->conn = NULL;
    sid = pl->sid;
    if (pl->by_host) {
        link_forget(pl);
    }
    if (!t->stopping) {
        t->cb.down(t->cb.arg, sid);
    }
}

/* The socket has failed or ended: say what that means in this state. */
void conn_lost(struct conn *c, int status)
{
    const char *why = status == UV_EOF ? "closed by the other end" : uv_strerror(status);

    if (c->refused) {
        /* It is told already. */
    } else if (c->state == CONN_UP) {
        log_limited(c->t, LOG_LOST, c->log_key, "%s at %s: connection lost: %s", c->pl->name, c->address, why);
    } else if (c->state == CONN_GREETING && c->in_len > 0) {
        conn_refuse_bytes(c);
    } else if (c->dialled && c->state == CONN_SECURING) {
        log_limited(c->t, LOG_LOST, c->log_key,
                    "%s at %s: no connection: %s during the TLS handshake: trying again; its log says why: it may "
                    "speak no TLS, or have another key or other certificates",
                    c->pl->name, c->address, why);
    } else if (c->dialled && c->state == CONN_GREETING) {
        log_limited(c->t, LOG_LOST, c->log_key,
                    "%s at %s: no connection: %s before its greeting: trying again; its log says why", c->pl->name,
                    c->address, why);
    }
    conn_close(c);
}

/* ---- frames out ---- */

static void out_reserve(struct conn *c)
{
    if (c->out_n == c->out_cap) {
        c->out_cap = c->out_cap == 0 ? 64 : c->out_cap * 2;
        c->out = realloc(c->out, c->out_cap * sizeof(*c->out));
        if (c->out == NULL) {
            abort();
        }
    }
}

void conn_queue(struct conn *c, struct buf *frame)
{
    out_reserve(c);
    c->out[c->out_n++] = frame;
    c->out_bytes += frame->len;
    c->t->stats.frames_sent++;
}

void conn_put_sealed(struct conn *c, struct buf *records)
{
    out_reserve(c);
    memmove(c->out + c->out_sealed + 1, c->out + c->out_sealed, (c->out_n - c->out_sealed) * sizeof(*c->out));
    c->out[c->out_sealed++] = records;
    c->out_n++;
    c->out_bytes += records->len;
}

/* The first `n` are gone: sent, or given to a write. */
static void out_drop(struct conn *c, size_t n)
{
    c->out_n -= n;
    c->out_sealed -= c->seal != NULL ? n : 0;
    memmove(c->out, c->out + n, c->out_n * sizeof(*c->out));
}

static void write_req_free(struct write_req *w)
{
    size_t i;

    for (i = 0; i < w->n; i++) {
        buf_unref(w->frames[i]);
    }
    w->c->out_bytes -= w->bytes;
    w->c->writing = false;
    free(w);
}

static void conn_write_cb(uv_write_t *req, int status)
{
    struct write_req *w = (struct write_req *)req;
    struct conn *c = w->c;

    write_req_free(w);
    if (c->state == CONN_CLOSING) {
        return;
    }
    if (status != 0) {
        conn_lost(c, status);
    } else {
        conn_flush(c);
    }
}

/* Gives the frames from `first` to `ready` to a uv_write; `offset` bytes of the first are sent already. */
static void conn_write_rest(struct conn *c, size_t first, size_t ready, size_t offset)
{
    size_t n = ready - first;
    struct write_req *w = malloc(sizeof(*w) + n * sizeof(w->frames[0]));
    uv_buf_t *bufs = malloc(n * sizeof(*bufs));
    size_t i;
    int rv;

    if (w == NULL || bufs == NULL) {
        abort();
    }
    w->c = c;
    w->n = n;
    w->bytes = 0;
    for (i = 0; i < n; i++) {
        struct buf *frame = c->out[first + i];
        size_t skip = i == 0 ? offset : 0;

        w->frames[i] = frame;
        bufs[i] = uv_buf_init((char *)frame->bytes + skip, (unsigned)(frame->len - skip));
        w->bytes += bufs[i].len;
    }
    out_drop(c, ready);
    c->writing = true;
    c->t->stats.bytes_sent += w->bytes;
    rv = uv_write(&w->req, (uv_stream_t *)&c->tcp, bufs, (unsigned)n, conn_write_cb);
    free(bufs); /* libuv has copied them */
    if (rv != 0) {
        write_req_free(w);
        conn_lost(c, rv);
    }
}

/* Sends up to IOV_BATCH frames from *first to `ready` as far as the socket takes them. 1: all of the batch; 0: a part;
 * negative: the connection has failed. */
static int conn_try_batch(struct conn *c, size_t *first, size_t ready, size_t *offset)
{
    uv_buf_t bufs[IOV_BATCH];
    size_t batch_bytes = 0;
    size_t left;
    size_t n;
    int sent;

    for (n = 0; n < IOV_BATCH && *first + n < ready; n++) {
        struct buf *frame = c->out[*first + n];
        size_t skip = n == 0 ? *offset : 0;

        bufs[n] = uv_buf_init((char *)frame->bytes + skip, (unsigned)(frame->len - skip));
        batch_bytes += bufs[n].len;
    }
    sent = uv_try_write((uv_stream_t *)&c->tcp, bufs, (unsigned)n);
    if (sent < 0) {
        return sent == UV_EAGAIN ? 0 : sent;
    }
    c->t->stats.bytes_sent += (uint64_t)sent;
    c->out_bytes -= (size_t)sent;
    left = (size_t)sent + *offset;
    while (*first < ready && left >= c->out[*first]->len) {
        left -= c->out[*first]->len;
        buf_unref(c->out[*first]);
        (*first)++;
    }
    *offset = left;
    return (size_t)sent == batch_bytes ? 1 : 0;
}

/* Sends the first `ready` frames; what the socket does not take now waits in a write. */
static void conn_send(struct conn *c, size_t ready)
{
    size_t first = 0;
    size_t offset = 0;
    int rv = 1;

    while (rv > 0 && first < ready) {
        rv = conn_try_batch(c, &first, ready, &offset);
    }
    if (first < ready && rv == 0) {
        conn_write_rest(c, first, ready, offset);
        return;
    }
    out_drop(c, first);
    if (rv < 0) {
        conn_lost(c, rv);
    }
}

void conn_flush(struct conn *c)
{
    while (!c->writing && c->out_n > 0 && c->state != CONN_CLOSING) {
        size_t ready = c->seal != NULL ? conn_seal(c) : c->out_n;

        if (ready == 0) {
            return; /* frames wait for the end of the handshake, or nothing can be sent any more */
        }
        conn_send(c, ready);
    }
}

/* ---- bytes in ---- */

static void conn_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    struct conn *c = handle->data;

    (void)suggested;
    if (c->seal != NULL) {
        *ret_buf = uv_buf_init((char *)c->t->wire, WIRE_BYTES);
        return;
    }
    assert(c->in_len < c->in_cap);
    *ret_buf = uv_buf_init((char *)c->in + c->in_len, (unsigned)(c->in_cap - c->in_len));
}

static void conn_read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;

    if (c->state == CONN_CLOSING || n == 0) {
        return;
    }
    if (n < 0) {
        conn_lost(c, (int)n);
        return;
    }
    c->t->stats.bytes_received += (uint64_t)n;
    if (c->seal != NULL) {
        conn_unseal(c, (const uint8_t *)buf->base, (size_t)n);
        return;
    }
    c->in_len += (size_t)n;
    conn_parse(c);
}

/* ---- the beginning ---- */

static void conn_timer_cb(uv_timer_t *timer)
{
    struct conn *c = timer->data;

    if (c->dialled) {
        log_limited(c->t, LOG_UNREACHABLE, c->log_key, "%s at %s: no answer within %u ms: trying again", c->pl->name,
                    c->address, GREETING_TIMEOUT_MS);
        conn_close(c);
    } else {
        conn_refuse(c, REFUSED_SILENT, "refused %s: no greeting within %u ms: only peers may connect to this port",
                    c->address, GREETING_TIMEOUT_MS);
    }
}

static struct conn *conn_new(struct transport *t, struct peer_link *pl)
{
    struct conn *c = calloc(1, sizeof(*c));
    int rv;

    if (c == NULL || (c->in = malloc(PACKET_GREETING_MAX)) == NULL) {
        abort();
    }
    c->in_cap = PACKET_GREETING_MAX;
    c->t = t;
    c->pl = pl;
    c->dialled = pl != NULL;
    rv = uv_tcp_init(t->loop, &c->tcp);
    assert(rv == 0);
    rv = uv_timer_init(t->loop, &c->timer);
    assert(rv == 0);
    c->tcp.data = c;
    c->timer.data = c;
    c->handles = 2;
    t->pending += c->handles;
    c->next = t->conns;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    t->conns = c;
    rv = uv_timer_start(&c->timer, conn_timer_cb, GREETING_TIMEOUT_MS, 0);
    assert(rv == 0);
    return c;
}

static int conn_option(int fd, int level, int name, unsigned value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0 ? 0 : -errno;
}

/*
 * A host that lost power, or a network that drops without a word, ends no connection: TCP would wait a quarter of an
 * hour, and after a long failure try again minutes after the network does. Nobody above notices between two peers that
 * have nothing to say to each other, or that wait for each other's votes; and only one of the two dials.
 */
static int conn_watch(struct conn *c)
{
    unsigned idle_s = c->t->silent_ms / 2000;
    uv_os_fd_t fd;
    int rv = uv_fileno((const uv_handle_t *)&c->tcp, &fd);

    if (rv == 0) {
        rv = conn_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    }
    if (rv == 0) {
        rv = conn_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s < 1 ? 1 : idle_s);
    }
    if (rv == 0) {
        rv = conn_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    }
    if (rv == 0) {
        rv = conn_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, c->t->silent_ms);
    }
    return rv;
}

/* The socket is connected: from here on both ways in are alike. */
static void conn_begin(struct conn *c)
{
    int rv = uv_tcp_nodelay(&c->tcp, 1);

    if (rv == 0) {
        rv = conn_watch(c);
    }
    if (rv == 0) {
        rv = uv_read_start((uv_stream_t *)&c->tcp, conn_alloc_cb, conn_read_cb);
    }
    if (rv != 0) {
        conn_lost(c, rv);
        return;
    }
    if (c->t->tls != NULL) {
        conn_secure(c);
    } else {
        conn_begin_greeting(c);
    }
}

void conn_begin_greeting(struct conn *c)
{
    c->state = CONN_GREETING; /* it is already without TLS */
    if (c->dialled) {
        conn_greet(c, c->pl->sid);
    }
}

static void conn_connect_cb(uv_connect_t *req, int status)
{
    struct conn *c = req->data;

    if (c->state == CONN_CLOSING) {
        return;
    }
    if (status != 0) {
        log_limited(c->t, LOG_UNREACHABLE, c->log_key, "%s at %s cannot be reached: %s: trying again until it can",
                    c->pl->name, c->address, uv_strerror(status));
        conn_close(c);
        return;
    }
    c->state = c->t->tls != NULL ? CONN_SECURING : CONN_GREETING;
    conn_begin(c);
}

struct conn *conn_dial(struct peer_link *pl, const struct sockaddr_storage *address)
{
    struct conn *c = conn_new(pl->t, pl);
    char host[INET6_ADDRSTRLEN];
    int rv;

    c->state = CONN_CONNECTING;
    address_format(address, host, c->address);
    memcpy(c->log_key, c->address, sizeof(c->log_key));
    c->connect.data = c;
    rv = uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)address, conn_connect_cb);
    if (rv != 0) {
        log_limited(pl->t, LOG_UNREACHABLE, c->log_key, "%s at %s cannot be reached: %s: trying again", pl->name,
                    c->address, uv_strerror(rv));
        conn_close(c);
    }
    return c;
}

void conn_listen_cb(uv_stream_t *listener, int status)
{
    struct transport *t = listener->data;
    struct sockaddr_storage address = {0};
    int len = sizeof(address);
    struct conn *c;
    int rv;

    if (t->stopping) {
        return;
    }
    if (status != 0) {
        log_limited(t, LOG_LISTENER, "", "a connection could not be accepted: %s", uv_strerror(status));
        return;
    }
    c = conn_new(t, NULL);
    c->state = t->tls != NULL ? CONN_SECURING : CONN_GREETING;
    t->n_ungreeted++;
    rv = uv_accept(listener, (uv_stream_t *)&c->tcp);
    if (rv == 0) {
        rv = uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &len);
    }
    if (rv != 0) {
        conn_close(c);
        return;
    }
    address_format(&address, c->log_key, c->address);
    c->host = admit_host(&address);
    if (admit_conn(c)) {
        conn_begin(c);
    }
}

/* The greetings agree. */
void conn_greeted(struct conn *c)
{
    struct transport *t = c->t;
    struct peer_link *pl = c->pl;
    int rv = uv_timer_stop(&c->timer);

    assert(rv == 0);
    if (pl->conn != NULL) {
        struct conn *old = pl->conn;

        if (old->state != CONN_CLOSING && old->nonce != c->nonce) {
            log_limited(t, LOG_REPLACED, c->log_key,
                        "%s at %s replaces its connection from %s: it has restarted, or two servers run with its id",
                        pl->name, c->address, old->address);
        }
        conn_close(old);
        conn_tell_down(old);
        if (c->state != CONN_GREETING) {
            return;
        }
    }
    if (!c->dialled) {
        t->n_ungreeted--;
    }
    /* From here on its log lines are the server's, however many servers share a host. */
    (void)snprintf(c->log_key, sizeof(c->log_key), "server.%" PRIu64, pl->sid);
    c->state = CONN_UP;
    c->up_ms = uv_now(t->loop);
    c->told_up = true;
    pl->conn = c;
    t->cb.up(t->cb.arg, pl->sid, pl->observer, c->address);
}
