/*
 * From bytes to packets: takes whole frames out of a connection's buffer, and refuses what is not a peer's. What each
 * length and kind of frame may be depends on whether the other end has greeted.
 */
#include "transport_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void conn_on_packet(struct conn *c, const uint8_t *frame, size_t len)
{
    struct transport *t = c->t;
    struct zab_packet packet;

    if (packet_decode(frame, len, &packet) != 0) {
        conn_refuse(c, REFUSED_DAMAGED, "refused %s at %s: a packet that makes no sense", c->pl->name, c->address);
        return;
    }
    t->stats.frames_received++;
    t->cb.packet(t->cb.arg, c->pl->sid, &packet);
    buf_unref(packet.body);
}

static void conn_on_frame(struct conn *c, const uint8_t *frame, size_t len)
{
    uint64_t ensemble;
    unsigned version;
    bool greeting;
    int rv = packet_check(frame, len, &greeting, &ensemble, &version);

    if (rv == -EPROTO) {
        conn_refuse(c, REFUSED_VERSION, "refused %s: it speaks version %u of the peer protocol, this server %u: %s",
                    c->address, version, PACKET_VERSION,
                    version > PACKET_VERSION ? "upgrade this server" : "upgrade that one");
    } else if (rv != 0) {
        conn_refuse(c, REFUSED_DAMAGED, "refused %s: a damaged frame (bad checksum)", c->address);
    } else if (greeting != (c->state == CONN_GREETING)) {
        conn_refuse(c, REFUSED_DAMAGED, "refused %s: %s", c->address,
                    greeting ? "it greeted twice" : "it sent a packet before its greeting");
    } else if (greeting) {
        conn_on_greeting(c, frame, len);
    } else if (conn_ensemble_fits(c, ensemble)) {
        conn_on_packet(c, frame, len);
    }
}

/* Makes room for a frame of `need` bytes, or gives back what a large one needed. */
static void conn_fit_buffer(struct conn *c, size_t need)
{
    size_t min = c->state == CONN_UP ? READ_BUFFER_MIN : PACKET_GREETING_MAX;
    size_t cap = need > min ? need : min;
    uint8_t *in;

    if (cap == c->in_cap || (cap < c->in_cap && c->in_cap <= READ_BUFFER_MAX) || cap < c->in_len) {
        return;
    }
    in = realloc(c->in, cap);
    if (in == NULL) {
        /* The other end chose the size, so the other end pays. */
        conn_refuse(c, REFUSED_OVERSIZED, "disconnected %s: no memory for a frame of %zu bytes", c->address, need);
        return;
    }
    c->in = in;
    c->in_cap = cap;
}

/* The first bytes of TLS: a record of a handshake, or an alert. */
static bool is_tls(const uint8_t *bytes, size_t len)
{
    return len >= 2 && (bytes[0] == 0x16 || bytes[0] == 0x15) && bytes[1] == 0x03;
}

void conn_refuse_bytes(struct conn *c)
{
    if (c->seal == NULL && is_tls(c->in, c->in_len)) {
        conn_refuse(c, REFUSED_TLS,
                    "refused %s: it speaks TLS, and this peer does not: give this one the key (znodefs.keyFile) or the "
                    "certificates that the others have",
                    c->address);
    } else {
        admit_failed(c->t, c->host);
        conn_refuse(c, REFUSED_STRANGER, "refused %s: what it sent is not znodefs: only peers may connect to this port",
                    c->address);
    }
}

static void conn_refuse_header(struct conn *c, int rv)
{
    if (rv == -EFBIG) {
        conn_refuse(c, REFUSED_OVERSIZED, "refused %s: a frame larger than %u bytes", c->address,
                    c->state == CONN_UP ? PACKET_FRAME_MAX : PACKET_GREETING_MAX);
    } else {
        conn_refuse_bytes(c);
    }
}

/* A callback may close the connection at any frame. */
void conn_parse(struct conn *c)
{
    size_t need = 0;
    size_t pos = 0;

    while (c->state != CONN_CLOSING && c->in_len - pos >= PACKET_HEADER_LEN) {
        size_t max = c->state == CONN_UP ? PACKET_FRAME_MAX : PACKET_GREETING_MAX;
        uint32_t body_len;
        int rv = packet_header_read(c->in + pos, max, &body_len);

        if (rv != 0) {
            conn_refuse_header(c, rv);
            return;
        }
        need = PACKET_HEADER_LEN + (size_t)body_len;
        if (need > c->in_len - pos) {
            break;
        }
        conn_on_frame(c, c->in + pos, need);
        pos += need;
        need = 0;
    }
    if (c->state == CONN_CLOSING) {
        return;
    }
    memmove(c->in, c->in + pos, c->in_len - pos);
    c->in_len -= pos;
    conn_fit_buffer(c, need);
}
