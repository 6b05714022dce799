/*
 * How much of this peer strangers may take up before they have proved who they are: so many connections that have not
 * greeted, in all and from one host, and so many handshakes of one host that fail. Whoever exceeds the first loses its
 * oldest connection, so that a peer that comes now gets in; whoever exceeds the second is turned away unheard until
 * its failures are some seconds old.
 *
 * A host is an IPv4 address, or the network of an IPv6 address (its first 64 bits), in which addresses are free.
 */
#include "transport_internal.h"

#include <assert.h>
#include <xxhash.h>

uint64_t admit_host(const struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
    const uint8_t *bytes = in6->sin6_addr.s6_addr;
    size_t len = 8;
    uint64_t host;

    if (address->ss_family == AF_INET) {
        bytes = (const uint8_t *)&in4->sin_addr;
        len = sizeof(in4->sin_addr);
    } else if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
        bytes += 12;
        len = 4;
    }
    host = XXH3_64bits(bytes, len);
    return host != 0 ? host : 1; /* 0 is no host */
}

bool conn_is_ungreeted(const struct conn *c)
{
    return !c->dialled && (c->state == CONN_SECURING || c->state == CONN_GREETING);
}

/* ---- too many at a time ---- */

/* The oldest that has not greeted; of one host, or of any (0). *ret_n: how many there are. */
static struct conn *oldest_ungreeted(struct transport *t, uint64_t host, unsigned *ret_n)
{
    struct conn *oldest = NULL;
    unsigned n = 0;
    struct conn *c;

    for (c = t->conns; c != NULL; c = c->next) {
        if (conn_is_ungreeted(c) && (host == 0 || c->host == host)) {
            oldest = c;
            n++;
        }
    }
    *ret_n = n;
    return oldest;
}

static void thin_crowd(struct transport *t, uint64_t host)
{
    struct conn *oldest;
    unsigned n;

    if (t->n_ungreeted <= UNGREETED_HOST_MAX) {
        return;
    }
    oldest = oldest_ungreeted(t, host, &n);
    if (n > UNGREETED_HOST_MAX) {
        conn_refuse(oldest, REFUSED_CROWD, "refused %s: more than %u connections from there without a greeting",
                    oldest->address, UNGREETED_HOST_MAX);
    } else if (t->n_ungreeted > UNGREETED_MAX) {
        oldest = oldest_ungreeted(t, 0, &n);
        assert(oldest != NULL);
        conn_refuse(oldest, REFUSED_CROWD, "refused %s: more than %u connections without a greeting", oldest->address,
                    UNGREETED_MAX);
    }
}

/* ---- too many that fail ---- */

/* The slot of `host`, brought up to now; a new one has all that is left. */
static struct failed_slot *failed_slot(struct transport *t, uint64_t host)
{
    struct failed_slot *oldest = &t->failed[0];
    uint64_t now_ms = uv_now(t->loop);
    size_t i;

    for (i = 0; i < FAILED_SLOTS; i++) {
        struct failed_slot *slot = &t->failed[i];

        if (slot->host == host) {
            uint64_t more = (now_ms - slot->last_ms) * FAILED_PER_S / 1000;

            if (more > 0) {
                slot->left = slot->left + more < FAILED_BURST ? slot->left + (uint32_t)more : FAILED_BURST;
                slot->last_ms = now_ms;
            }
            return slot;
        }
        if (slot->last_ms < oldest->last_ms) {
            oldest = slot;
        }
    }
    *oldest = (struct failed_slot){.host = host, .last_ms = now_ms, .left = FAILED_BURST};
    return oldest;
}

void admit_failed(struct transport *t, uint64_t host)
{
    struct failed_slot *slot;

    if (host == 0) {
        return; /* it was dialled */
    }
    slot = failed_slot(t, host);
    slot->left -= slot->left > 0 ? 1 : 0;
}

static bool host_exhausted(struct transport *t, uint64_t host)
{
    size_t i;

    for (i = 0; i < FAILED_SLOTS; i++) {
        if (t->failed[i].host == host) {
            return failed_slot(t, host)->left == 0;
        }
    }
    return false;
}

bool admit_conn(struct conn *c)
{
    if (host_exhausted(c->t, c->host)) {
        conn_refuse(c, REFUSED_RATE,
                    "refused %s: more than %u handshakes a second from there fail: most are turned away unheard",
                    c->address, FAILED_PER_S);
        return false;
    }
    thin_crowd(c->t, c->host);
    return c->state != CONN_CLOSING;
}
