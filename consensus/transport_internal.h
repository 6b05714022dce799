/*
 * What the files of transport share: transport.c (start, stop, sending), transport_conn.c (one connection's life),
 * transport_secure.c (its TLS), transport_admit.c (how many strangers at a time), transport_frame.c (from bytes to
 * packets), transport_greet.c (who may connect), transport_dial.c (names, dialling, backoff), transport_members.c (what
 * an unlisted observer is told), transport_log.c (log lines).
 */
#ifndef CONSENSUS_TRANSPORT_INTERNAL_H
#define CONSENSUS_TRANSPORT_INTERNAL_H

#include "transport.h"
#include "transport_seal.h"

#include <netinet/in.h>
#include <uthash.h>

#define GREETING_TIMEOUT_MS 2000 /* also bounds a TCP connect, and includes the TLS handshake */
#define UNGREETED_MAX       64   /* accepted connections that have not greeted yet, */
#define UNGREETED_HOST_MAX  16   /* and from one host */
#define BACKOFF_MIN_MS      20
#define BACKOFF_MAX_MS      250
/* A connection that lasted this long ended by a mishap, and is dialled again at once. */
#define STABLE_MS 1000
/* Hosts of the list are dialled first; what is learned of besides them this much later. */
#define LEARNED_MS  200
#define MEMBERS_MAX 255 /* that are learned */
/* A host that turned out to be a server that is connected already is asked again this much later. */
#define TWIN_MS 10000
/* An idle connection is asked for a sign of life after so many seconds, so that who vanished does not keep its place.
 */
#define KEEPALIVE_S 15

#define READ_BUFFER_MIN ((size_t)256 * 1024)      /* once greeted */
#define READ_BUFFER_MAX ((size_t)4 * 1024 * 1024) /* a larger one is given back after the frame that needed it */
#define ADDRESS_MAX     (INET6_ADDRSTRLEN + 10)   /* "[v6]:port" */
#define ADDRESSES_MAX   16                        /* of one name, tried at one dial */
#define LINK_NAME_MAX   300                       /* "server.N", or a host with its port */

/* ---- log lines ---- */

/* What repeats of a line are counted by, together with the address: these, or an enum transport_refusal. */
enum log_reason {
    LOG_LISTENER = TRANSPORT_REFUSALS,
    LOG_UNREACHABLE,
    LOG_LOST,
    LOG_REPLACED,
    LOG_DISCONNECTED,
};

#define LOG_SLOTS 128

struct log_slot {
    uint64_t key;     /* hash of reason and address; 0: free */
    uint64_t said_ms; /* when the line was last written */
    uint64_t repeats; /* since then */
};

struct log_limiter {
    struct log_slot slots[LOG_SLOTS];
    uint64_t held; /* lines about strangers for which there was no slot */
};

/* ---- how many handshakes of one host may fail ---- */

#define FAILED_BURST 32
#define FAILED_PER_S 8
#define FAILED_SLOTS 128

struct failed_slot {
    uint64_t host;    /* admit_host(); 0: free */
    uint64_t last_ms; /* when `left` was true */
    uint32_t left;
};

/* ---- the parts ---- */

/*
 *   CONNECTING --connected--> SECURING --TLS agreed--> GREETING --greeting agreed--> UP
 *       |          (accepted) ---^ |        (without TLS) ---^ |                      |
 *       +------------------------+-> CLOSING <-----------------+----------------------+
 *
 * A connection is freed when both its handles have reported their close.
 */
enum conn_state {
    CONN_CONNECTING,
    CONN_SECURING,
    CONN_GREETING,
    CONN_UP,
    CONN_CLOSING,
};

struct conn {
    uv_tcp_t tcp;
    uv_timer_t timer; /* until the greeting */
    uv_connect_t connect;
    struct transport *t;
    struct peer_link *pl; /* the peer dialled, or the one that greeted; NULL before */
    struct conn *prev;
    struct conn *next;
    enum conn_state state;
    bool dialled;
    bool told_up; /* up was called, down not yet */
    bool refused; /* it is told and counted: only the end is missing */
    bool spoken;  /* with TLS: something has come */
    unsigned handles;
    uint64_t nonce;
    uint64_t up_ms;
    char address[ADDRESS_MAX];
    char log_key[ADDRESS_MAX]; /* what its log lines are counted by: where dialled, or the host it came from */

    uint8_t *in;
    size_t in_len;
    size_t in_cap;

    struct seal *seal; /* its TLS, or NULL */
    uint64_t host;     /* accepted: what it is counted by (admit_host()) */

    struct buf **out; /* frames not yet given to the socket; owned */
    size_t out_n;
    size_t out_sealed; /* with TLS: the first of them are records instead, and may leave; and */
    size_t out_skip;   /* so many bytes of the first frame after them are in these already */
    size_t out_cap;
    size_t out_bytes; /* of `out` and of the write under way */
    bool writing;
};

/* A configured peer; or (`guest`) an unlisted observer that is connected, made and freed with its connections. */
struct peer_link {
    struct transport *t;
    UT_hash_handle hh; /* in by_sid, unless sid is 0 */
    uint64_t sid;      /* 0: of a configured host that is not connected */
    bool by_host;      /* who it is is learned at each greeting, and forgotten when the connection goes */
    bool twin;         /* the host turned out to be a server that another link has */
    bool guest;
    struct peer_link *next_learned;
    uint64_t member_sid;      /* learned: who is expected there; 0: none of the learned */
    unsigned n_conns;         /* guest: connections that point here */
    char name[LINK_NAME_MAX]; /* for log lines */
    char *host;
    uint16_t port;
    bool observer;
    bool dials;        /* this side dials */
    struct conn *conn; /* the newest greeted connection, until its down was told */
    struct conn *dial; /* the connection being dialled, or the one that dialling made */
    bool resolving;
    unsigned backoff_ms; /* 0: dial at once */
    uv_timer_t timer;
    uv_getaddrinfo_t resolve;
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    size_t n_addresses;
    size_t next_address;
};

struct transport {
    uv_loop_t *loop;
    uint64_t sid;
    bool observer;
    uint64_t nonce;
    uint64_t participants; /* participants_hash() */
    size_t queue_bytes_max;
    uint32_t silent_ms;
    struct tls *tls;
    uint8_t *wire;  /* with TLS: what is read goes here, and into the connection's seal at once */
    uint8_t *batch; /* and small frames are put together here */
    struct transport_callbacks cb;
    struct transport_stats stats;
    struct log_limiter limiter;
    struct failed_slot failed[FAILED_SLOTS];
    uv_tcp_t listener;
    struct peer_link *links; /* the configured ones */
    size_t n_links;
    struct peer_link *learned; /* participants that others told of */
    size_t n_learned;
    bool loopback_only;
    struct peer_link *by_sid; /* all that are known by their sid, and the guests */
    size_t n_guests;
    struct conn *conns; /* newest first */
    unsigned n_ungreeted;
    size_t pending; /* handles and resolutions that have still to report their end */
    bool stopping;
    void (*closed)(void *arg);
    void *closed_arg;
    /* The last frame with a large body: broadcast, it is encoded once. */
    struct buf *cached_frame;
    struct zab_packet cached_packet; /* body referenced */
    uint64_t cached_ensemble;
};

/* transport.c */
struct peer_link *transport_link(const struct transport *t, uint64_t sid);
/* Says who a link of a configured host is, and forgets it. */
void link_identify(struct peer_link *pl, uint64_t sid);
void link_forget(struct peer_link *pl);
/* A new link for an unlisted observer; there must be room. */
void link_new_guest(struct transport *t, uint64_t sid);
/* A participant that others tell of; and its new address. */
void link_new_learned(struct transport *t, uint64_t sid, const char *host, uint16_t port);
void link_move(struct peer_link *pl, const char *host, uint16_t port);
/* A connection points to `pl` no more. */
void link_drop_conn(struct peer_link *pl);
void transport_unpend(struct transport *t); /* one of `pending` has ended */

/* transport_conn.c */
void conn_listen_cb(uv_stream_t *listener, int status);
/* Never NULL: a failure shows as the connection's end. */
struct conn *conn_dial(struct peer_link *pl, const struct sockaddr_storage *address);
void conn_close(struct conn *c);
void conn_lost(struct conn *c, int status);         /* the socket has failed or ended */
void conn_greeted(struct conn *c);                  /* by a peer that may */
void conn_queue(struct conn *c, struct buf *frame); /* takes over the reference */
void conn_flush(struct conn *c);
void conn_tell_down(struct conn *c);

/* What is ready for the socket leaves before all other frames that are not; takes over the reference. */
void conn_put_sealed(struct conn *c, struct buf *records);
/* The socket is connected, the other end may be who it is: it may greet. */
void conn_begin_greeting(struct conn *c);

/* transport_secure.c: begins the handshake; takes what the socket has read; makes records of queued frames, and returns
 * how many of c->out may leave now. */
void conn_secure(struct conn *c);
void conn_unseal(struct conn *c, const uint8_t *bytes, size_t len);
size_t conn_seal(struct conn *c);
#define WIRE_BYTES (64 * 1024) /* of transport.wire */

/* transport_admit.c: what strangers of one host are counted by; whether another connection from there is taken; one
 * that was has failed; and the oldest that has not greeted goes when there are too many. */
uint64_t admit_host(const struct sockaddr_storage *address);
bool admit_conn(struct conn *c);
void admit_failed(struct transport *t, uint64_t host);
bool conn_is_ungreeted(const struct conn *c);

/* transport_frame.c: takes all whole frames out of c->in; refuses what stands there instead of one */
void conn_parse(struct conn *c);
void conn_refuse_bytes(struct conn *c);

/* transport_members.c: writes whom an unlisted observer may dial besides this server; takes over what it was told. */
size_t members_text(const struct transport *t, char *text, size_t size);
void members_learn(struct transport *t, const char *text, size_t len);

/* transport_greet.c: who takes part as one number, 0: not known; as the one that dials */
uint64_t participants_hash(const struct transport_config *config);
void conn_greet(struct conn *c, uint64_t sid_to);
void conn_on_greeting(struct conn *c, const uint8_t *frame, size_t len);
bool conn_ensemble_fits(struct conn *c, uint64_t ensemble);

/* transport_dial.c */
void dial_start(struct peer_link *pl);
void dial_soon(struct peer_link *pl, uint64_t delay_ms);
void dial_ended(struct peer_link *pl, bool was_up, uint64_t lasted_ms);
void dial_stop(struct peer_link *pl);
size_t dial_addresses(const char *host, uint16_t port, struct sockaddr_storage *addresses, size_t max);
void address_format(const struct sockaddr_storage *address, char *ret_host, char *ret_address);

/* transport_log.c: a line at most once a minute per reason and address, with a count of the repeats; and of refusals
 * no more in a minute than there are slots, as addresses cost nothing. */
void log_limited(struct transport *t, unsigned reason, const char *address, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Logs why, counts and closes. `reason` is an enum transport_refusal. */
#define conn_refuse(c, reason, ...)                                                                                    \
    do {                                                                                                               \
        (c)->t->stats.refused[reason]++;                                                                               \
        log_limited((c)->t, (reason), (c)->log_key, __VA_ARGS__);                                                      \
        conn_close(c);                                                                                                 \
    } while (0)

#endif
