/*
 * replica: one peer of the ensemble. Drives zab, the store and the disk queue, and is all that front ends know:
 * they submit operations, read the tree, and are told of changes. A second front end needs nothing else.
 *
 * The replica knows no libuv: clock, timer, threads and network stand behind struct replica_env, so that the
 * simulator runs this very code. Everything here is called on the loop thread.
 */
#ifndef CONSENSUS_REPLICA_H
#define CONSENSUS_REPLICA_H

#include "store/store.h"
#include "zab.h"

/* ---- what the replica needs of the world ---- */

/* A job for a thread: run() blocks on the disk, done() is called on the loop afterwards. Jobs of one replica are
 * put out one at a time, in order. */
struct replica_job {
    void (*run)(struct replica_job *job);
    void (*done)(struct replica_job *job);
};

/* None of these functions may call the replica; `job`, `snapshot` and `stream_pull` report later (a simulator's
 * snapshot, written at once, may call replica_on_snapshot() from within). `fatal` may call replica_stop(). */
struct replica_env {
    void *arg;
    uint64_t (*now_ms)(void *arg); /* monotonic */
    int64_t (*wall_ns)(void *arg); /* since 1970 */
    uint64_t (*random)(void *arg); /* never 0 */
    void (*timer)(void *arg,
                  uint64_t deadline_ms); /* call replica_on_timer() then; replaces the previous; UINT64_MAX: never */
    void (*job)(void *arg, struct replica_job *job);
    /* Call replica_flush() before the loop waits again: many events, one batch. Asked once until then; it may be asked
     * from within replica_flush(), by what callbacks submit: then flush once more before waiting. */
    void (*want_flush)(void *arg);
    void (*send)(void *arg, uint64_t sid, const struct zab_packet *packet); /* borrowed */
    void (*send_flush)(void *arg);
    void (*disconnect)(void *arg, uint64_t sid, const char *reason);
    /* Writes a snapshot of `state`, exact at its zxid, without holding up the loop (a forked child), then calls
     * replica_on_snapshot(). Negative errno if it could not be started. */
    int (*snapshot)(void *arg, const struct state *state);
    /* The same as a stream of bytes, for the learner `sid`: begins it (negative errno if it could not be), asks for one
     * more piece of it, which comes by replica_on_piece(), and ends it at any time, after which no piece comes. One
     * stream for a learner at a time, REPLICA_STREAMS_MAX in all. */
    int (*stream_open)(void *arg, uint64_t sid, const struct state *state);
    void (*stream_pull)(void *arg, uint64_t sid);
    void (*stream_close)(void *arg, uint64_t sid);
    /* The peer can't go on (lesson 8, lesson 11, ...): log `text`, stop serving, end. Called once. */
    void (*fatal)(void *arg, const char *text);
    void (*log)(void *arg, const char *text); /* one line, no newline */
};

/* How many learners are sent a snapshot at once; others wait for their turn. */
#define REPLICA_STREAMS_MAX 4
/* The largest piece of a stream: small enough for heartbeats to come through between two of them. */
#define REPLICA_PIECE_MAX (256u * 1024u)

struct replica_config {
    struct zab_config zab;
    struct txnlog_config log; /* zeros: defaults */
    uint32_t timeo_ms;        /* no quorum for this long: calls fail (design: 2.3) */
    uint32_t data_max;        /* jute.maxbuffer, used while leading */
    uint64_t snap_count;      /* transactions between snapshots */
    uint64_t snap_bytes;      /* log bytes between snapshots */
    unsigned snap_retain;     /* autopurge.snapRetainCount */
};

/* ---- front ends ---- */

struct replica;

enum replica_patience {
    REPLICA_BOUNDED, /* fails with EROFS or ETIMEDOUT after timeo without a quorum */
    REPLICA_HARD,    /* waits for a quorum for ever (a close that publishes) */
    REPLICA_BARRIER, /* fails with EIO after timeo without a quorum */
};

/* Embedded in the caller's own struct. `done` is called exactly once, never from within replica_submit(). */
struct replica_call {
    void (*done)(struct replica_call *call, const struct outcome *outcome);
    enum replica_patience patience;
    /* private to the replica */
    struct replica_call *next;
    struct replica_call *prev;
    uint64_t seq;
    uint64_t seq_lowest; /* as it is encoded in body */
    uint64_t submitted_ms;
    bool handed_over; /* to a leader, at least once */
    bool outstanding; /* not decided yet */
    struct outcome outcome;
    struct buf *body;
};

/* Asks for `op` (copied by encoding). The outcome comes when it is applied here, so the caller then reads its own
 * write. Exactly once, across leader changes and resubmissions. OP_NOP is a barrier: what any peer committed before
 * is visible here after it. */
void replica_submit(struct replica *r, struct replica_call *call, const struct op *op);

/* Gives up waiting: `done` is called with `err` soon; the change may still happen, at most once, if it was handed over.
 * False if the call is done already. */
bool replica_cancel(struct replica *r, struct replica_call *call, int err);

/* The tree as of the last transaction applied here. */
const struct tree *replica_tree(const struct replica *r);
/* All of the state, for who writes it as a snapshot; valid until the next transaction or snapshot. */
const struct state *replica_state(const struct replica *r);
uint64_t replica_zxid(const struct replica *r);

/* What a front end wants to be told; any may be NULL. */
struct replica_listener {
    void *arg;
    void (*changed)(void *arg, const struct change *change); /* while it is applied */
    void (*replaced)(void *arg);                             /* a snapshot came in: the whole tree is another */
    void (*status)(void *arg);                               /* role, leader, quorum or readability changed */
    struct replica_listener *next;                           /* private */
};
void replica_listen(struct replica *r, struct replica_listener *l);
/* It hears nothing any more; not to be called by a listener. */
void replica_unlisten(struct replica *r, struct replica_listener *l);

struct replica_status {
    enum zab_role role;
    bool observer;
    bool quorum;             /* a leader with a quorum is known and this peer is synchronized with it */
    bool readable;           /* there is a state to show: see replica_readable */
    uint64_t quorum_lost_ms; /* how long there has been none; 0 with a quorum */
    uint64_t sid;
    uint64_t leader;
    uint32_t epoch;
    uint64_t zxid; /* applied */
    uint64_t zxid_logged;
    uint64_t ensemble;
    uint64_t znodes;
    uint64_t bytes;
    int disk_error;   /* 0 or a positive errno */
    const char *disk; /* "ok" | "full" | "error" */
    uint64_t calls_outstanding;
    uint64_t txns_applied;
    uint64_t log_syncs;
    uint64_t log_bytes;
    uint64_t snapshots;
    uint64_t elections;
    uint64_t digest;
};
void replica_status(const struct replica *r, struct replica_status *ret_status);

struct replica_peer_status {
    uint64_t sid;
    bool observer;
    bool up;
    bool self;
    enum zab_role role; /* as far as known: the leader is leading, a synchronized learner following */
    bool role_known;
    uint64_t zxid;              /* 0: unknown */
    int64_t connected_since_ns; /* wall clock; 0: not connected */
};
/* Fills up to `max`, returns how many there are. */
size_t replica_peers(const struct replica *r, struct replica_peer_status *peers, size_t max);

/* False while nothing may be shown: no state yet, or (for timeo after start) the state on disk may be older than what
 * this peer's clients have already seen and a leader has not yet said how far it is committed. */
bool replica_readable(const struct replica *r);

/* ---- the host of the replica: main.c, the simulator ---- */

/* Recovers from `disk` (borrowed). -EBADMSG, -EPROTO as store_open(); -EXDEV: the dataDir belongs to another server
 * id. */
int replica_new(const struct replica_config *config, const struct replica_env *env, struct disk *disk,
                struct replica **ret_replica, struct error *err);
void replica_start(struct replica *r);

void replica_on_timer(struct replica *r);
void replica_on_peer_up(struct replica *r, uint64_t sid, bool observer);
void replica_on_peer_down(struct replica *r, uint64_t sid);
void replica_on_packet(struct replica *r, uint64_t sid, const struct zab_packet *packet);
void replica_on_snapshot(struct replica *r, int rv);
/* A piece of the stream for `sid` (borrowed, at most REPLICA_PIECE_MAX); rv 1: it goes on; 0: it has ended, whole; else
 * a negative errno: it could not be written. After an end the stream is closed. */
void replica_on_piece(struct replica *r, uint64_t sid, const uint8_t *bytes, size_t len, int rv);
void replica_flush(struct replica *r);
uint64_t replica_ensemble(const struct replica *r);

/* Stops taking part; `stopped` is called once the disk queue is idle and every call answered (EIO). Then free. */
void replica_stop(struct replica *r, void (*stopped)(void *arg), void *arg);

/* Frees at once, whatever is under way: the simulator's crash. The job that was put out is freed as well: it must
 * neither run nor report any more. No call is answered. */
void replica_free(struct replica *r);

#endif
