/*
 * The TLS of a connection between its socket and its frames. With a shared key or certificates nothing that comes is
 * looked at as a frame before the handshake is done, and frames leave as records only.
 *
 * Frames of one loop turn are put together, up to what a record holds, so that many small ones cost one encryption and
 * one tag. At most SEAL_BYTES of records exist at a time: the rest waits as frames, which all followers share.
 */
#include "transport_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SEAL_BYTES ((size_t)256 * 1024)

/* ---- refusing ---- */

static const char *mend(const struct transport *t, enum transport_refusal reason)
{
    switch (reason) {
    case REFUSED_KEY:
        return "give every peer the same key file";
    case REFUSED_CERTIFICATE:
        return "renew or correct the certificates";
    case REFUSED_STRANGER:
    case REFUSED_PLAINTEXT:
        return tls_kind(t->tls) == TLS_KEY ? "only peers with the key may connect to this port: give it znodefs.keyFile"
                                           : "only peers with a certificate may connect to this port";
    default:
        return "see that both ends are peers, with the same key or with certificates";
    }
}

/* Logs, counts, sends what TLS has to say about it, and closes. */
static void conn_refuse_sealed(struct conn *c, enum transport_refusal reason, const char *text)
{
    struct transport *t = c->t;

    t->stats.refused[reason]++;
    log_limited(t, reason, c->log_key, "refused %s%s%s: %s: %s", c->dialled ? c->pl->name : "",
                c->dialled ? " at " : "", c->address, text, mend(t, reason));
    c->refused = true;
    conn_flush(c);
    conn_close(c);
}

/* ---- out ---- */

/* What TLS itself has made leaves before any frame. */
static void conn_take_records(struct conn *c)
{
    struct buf *records = seal_take(c->seal);

    if (records != NULL) {
        conn_put_sealed(c, records);
    }
}

/* Encrypts the beginning of what is queued, up to SEAL_BYTES; returns how many frames of it are done with, and
 * *ret_bytes of the next. */
static ssize_t seal_some(struct conn *c, size_t *ret_skip)
{
    uint8_t *batch = c->t->batch;
    size_t batch_len = 0;
    size_t total = 0;
    size_t skip = c->out_skip;
    size_t i = 0;
    int rv = 0;

    while (rv == 0 && i < c->out_n && total < SEAL_BYTES) {
        const struct buf *frame = c->out[i];
        size_t left = frame->len - skip;
        size_t room = batch_len > 0 || left < SEAL_RECORD_BYTES ? SEAL_RECORD_BYTES - batch_len : SEAL_BYTES - total;
        size_t n = left < room ? left : room;

        if (batch_len > 0 || left < SEAL_RECORD_BYTES) {
            memcpy(batch + batch_len, frame->bytes + skip, n);
            batch_len += n;
        } else {
            rv = seal_write(c->seal, frame->bytes + skip, n);
        }
        if (batch_len == SEAL_RECORD_BYTES) {
            rv = seal_write(c->seal, batch, batch_len);
            batch_len = 0;
        }
        total += n;
        skip = n < left ? skip + n : 0;
        i += n < left ? 0 : 1;
    }
    if (rv == 0 && batch_len > 0) {
        rv = seal_write(c->seal, batch, batch_len);
    }
    *ret_skip = skip;
    return rv == 0 ? (ssize_t)i : rv;
}

size_t conn_seal(struct conn *c)
{
    size_t skip = 0;
    ssize_t n;
    size_t i;

    if (c->out_sealed > 0 || c->state == CONN_SECURING || c->refused) {
        return c->out_sealed;
    }
    n = seal_some(c, &skip);
    if (n < 0) {
        conn_refuse_sealed(c, seal_failure(c->seal)->reason, seal_failure(c->seal)->text);
        return 0;
    }
    for (i = 0; i < (size_t)n; i++) {
        c->out_bytes -= c->out[i]->len - (i == 0 ? c->out_skip : 0);
        buf_unref(c->out[i]);
    }
    c->out_n -= (size_t)n;
    memmove(c->out, c->out + n, c->out_n * sizeof(*c->out));
    c->out_bytes -= skip - (n == 0 ? c->out_skip : 0);
    c->out_skip = skip;
    conn_take_records(c);
    return c->out_sealed;
}

/* ---- in ---- */

/* Who speaks without TLS is told apart before OpenSSL would only find that this is none: peers by their first letter.
 */
static bool conn_begins_as_tls(struct conn *c, const uint8_t *bytes)
{
    if (c->spoken) {
        return true;
    }
    c->spoken = true;
    if (bytes[0] == 0x16 || bytes[0] == 0x15) {
        return true;
    }
    if (bytes[0] == 'z') {
        conn_refuse_sealed(c, REFUSED_PLAINTEXT, "it speaks without TLS");
    } else {
        conn_refuse_sealed(c, REFUSED_STRANGER, "what it sent is not TLS");
    }
    return false;
}

/* True once the handshake is done. */
static bool conn_shake(struct conn *c)
{
    int rv = seal_shake(c->seal);

    conn_take_records(c);
    if (rv < 0) {
        conn_refuse_sealed(c, seal_failure(c->seal)->reason, seal_failure(c->seal)->text);
        return false;
    }
    if (rv == 0) {
        conn_flush(c);
        return false;
    }
    conn_begin_greeting(c);
    conn_flush(c);
    return c->state == CONN_GREETING;
}

void conn_unseal(struct conn *c, const uint8_t *bytes, size_t len)
{
    ssize_t n = 1;

    if (c->state == CONN_SECURING && !conn_begins_as_tls(c, bytes)) {
        return;
    }
    seal_feed(c->seal, bytes, len);
    if (c->state == CONN_SECURING && !conn_shake(c)) {
        return;
    }
    while (n > 0 && c->state != CONN_CLOSING) {
        assert(c->in_len < c->in_cap);
        n = seal_read(c->seal, c->in + c->in_len, c->in_cap - c->in_len);
        if (n > 0) {
            c->in_len += (size_t)n;
            conn_parse(c);
        }
    }
    if (c->state == CONN_CLOSING) {
        return;
    }
    conn_take_records(c);
    if (n == -EPIPE) {
        conn_lost(c, UV_EOF);
    } else if (n < 0) {
        conn_refuse_sealed(c, seal_failure(c->seal)->reason, seal_failure(c->seal)->text);
    } else {
        conn_flush(c);
    }
}

/* ---- the beginning ---- */

void conn_secure(struct conn *c)
{
    c->seal = seal_new(c->t->tls, c->dialled, c->dialled ? c->pl->host : NULL);
    if (c->seal == NULL) {
        conn_lost(c, UV_ENOMEM);
        return;
    }
    if (c->dialled) {
        (void)conn_shake(c);
    }
}
