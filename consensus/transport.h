/*
 * transport: frames between peers over TCP, or over TLS (transport_tls.h): then no byte is taken for a frame before the
 * other end has proved that it may send one. The one place that knows sockets.
 *
 * One connection per pair of peers: the one with the larger sid dials, an observer always dials. Hosts are resolved
 * again at every dial (lesson 10). A connection is up once both greetings were exchanged and agree; a second one from
 * the same peer replaces the first. An observer that is not listed knows hosts, and learns who answers there by the
 * greeting, which also tells it of the other participants; a participant takes up to ZAB_UNLISTED_MAX of them, which
 * are known to it while they are connected. Strangers' bytes, oversized frames, other versions and other ensembles are
 * refused with one log line per reason and address (rate-limited), and the connection is closed.
 */
#ifndef CONSENSUS_TRANSPORT_H
#define CONSENSUS_TRANSPORT_H

#include "packet.h"
#include "store/error.h"
#include "transport_tls.h"

#include <uv.h>

struct transport;

#define TRANSPORT_QUEUE_BYTES_DEFAULT ((size_t)64 * 1024 * 1024)

/* How long the other end may owe acknowledgements of TCP. */
#define TRANSPORT_SILENT_MS_DEFAULT 5000u
#define TRANSPORT_SILENT_MS_MAX     3600000u

struct transport_peer {
    uint64_t sid;     /* 0: a participant, which one its greeting says; all or none are so */
    const char *host; /* name or address, as configured */
    uint16_t port;
    bool observer;
};

struct transport_config {
    uint64_t sid;
    bool observer;
    uint64_t nonce;
    const char *listen_host; /* NULL: do not listen (observers, standalone) */
    uint16_t listen_port;
    const struct transport_peer *peers; /* the others; copied */
    size_t n_peers;
    bool loopback_only; /* with peers without a sid: no other address is dialled, whatever a name resolves to */
    /* A peer that lets more pile up is disconnected, and synchronizes again. It is more than what comes to be sent at
     * once to one that reads. 0: TRANSPORT_QUEUE_BYTES_DEFAULT. */
    size_t queue_bytes_max;
    /* A connection whose other end does not even answer as a host for so long is given up. 0:
     * TRANSPORT_SILENT_MS_DEFAULT. */
    uint32_t silent_ms;
    struct tls *tls; /* NULL: nobody proves anything, nothing is encrypted; the caller's, outlives the transport */
};

/* Called on the loop; up, down and packet never from within the functions below, and not after transport_stop().
 * `packet` and its body are borrowed. `address` is "host:port" of the other end. */
struct transport_callbacks {
    void (*up)(void *arg, uint64_t sid, bool observer, const char *address);
    void (*down)(void *arg, uint64_t sid);
    void (*packet)(void *arg, uint64_t sid, const struct zab_packet *packet);
    uint64_t (*ensemble)(void *arg);          /* this peer's ensemble id now, 0: none yet */
    void (*log)(void *arg, const char *text); /* one line, no newline */
    void *arg;
};

/* Listens and starts to dial. -EADDRINUSE, -EADDRNOTAVAIL, ... with a sentence in err. */
int transport_start(uv_loop_t *loop, const struct transport_config *config, const struct transport_callbacks *cb,
                    struct transport **ret_transport, struct error *err);

/* Queues a packet; frames queued in one loop iteration leave together, at transport_flush(). Dropped when the peer is
 * not up. */
void transport_send(struct transport *t, uint64_t sid, const struct zab_packet *packet);
void transport_flush(struct transport *t);

/* Closes the connection to `sid` (logged with `reason`); `down` is called later, on the loop. */
void transport_disconnect(struct transport *t, uint64_t sid, const char *reason);

/* "host:port" of the other end while `sid` is up, else NULL. */
const char *transport_address(const struct transport *t, uint64_t sid);

/* Why a connection was refused, or ended because of what came over it. */
enum transport_refusal {
    REFUSED_STRANGER, /* what it sent is no peer's */
    REFUSED_PLAINTEXT,
    REFUSED_TLS, /* where none is spoken */
    REFUSED_KEY,
    REFUSED_CERTIFICATE,
    REFUSED_HANDSHAKE,
    REFUSED_SILENT,
    REFUSED_CROWD,
    REFUSED_RATE,
    REFUSED_OVERSIZED,
    REFUSED_DAMAGED,
    REFUSED_VERSION,
    REFUSED_IDENTITY,
    REFUSED_ENSEMBLE,
    REFUSED_PARTICIPANTS, /* its configuration lists others */
    TRANSPORT_REFUSALS,
};

/* The word for it in metrics. */
const char *transport_refusal_name(enum transport_refusal refusal);

/* Counters for metrics. */
struct transport_stats {
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t frames_sent;
    uint64_t frames_received;
    uint64_t refused[TRANSPORT_REFUSALS]; /* connections */
};
void transport_stats(const struct transport *t, struct transport_stats *ret_stats);

/* Closes everything; `closed` (may be NULL) is called from the loop when the last handle is gone and the transport
 * freed. */
void transport_stop(struct transport *t, void (*closed)(void *arg), void *arg);

#endif
