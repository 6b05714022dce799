/*
 * replica_int: what the files of the replica share. Nobody else includes it.
 *
 *   replica.c           life cycle, the host's side
 *   replica_step.c      the pump: inputs to zab, its outputs carried out
 *   replica_calls.c     calls, the identity they are made under, resubmission, time-outs
 *   replica_disk.c      the disk queue
 *   replica_snapshot.c  snapshots: when, and in from a leader
 *   replica_stream.c    snapshots out to learners
 *   replica_digest.c    digests compared, and who is wrong when two differ
 *   replica_away.c      the disk is full or fails: out of the ensemble, and back
 *   replica_status.c    what front ends are shown
 *
 * All work is done in the pump, which never runs inside itself: what a front end asks for is listed and waits for it,
 * and what an output leads to is queued as the next input. So zab's outputs stay valid while they are carried out, and
 * no callback finds the replica half way through a change.
 */
#ifndef CONSENSUS_REPLICA_INT_H
#define CONSENSUS_REPLICA_INT_H

#include "replica.h"

/* How many calls, and bytes of them, may be handed to a leader and not be decided yet; others wait in the list. */
#define REPLICA_WINDOW_CALLS 1024
#define REPLICA_WINDOW_BYTES (16u * 1024u * 1024u)
/* A request that is handed over may name a lowest outstanding seq that is older than the true one by this much: what is
 * kept to answer duplicates (SESSION_RECORDS_MAX) has room for it and the window many times over. */
#define REPLICA_SEQ_STALE 1024
/* The largest request: the largest data with its envelope, below TXNLOG_RECORD_MAX and PACKET_FRAME_MAX. */
#define REPLICA_REQUEST_MAX (72u * 1024u * 1024u)
/* One append to the log takes at most this much: then it is synced, and the next one begins. */
#define REPLICA_BATCH_BYTES (32u * 1024u * 1024u)
/* What a learner that is sent a snapshot may not have taken in yet. */
#define REPLICA_STREAM_BYTES (4u * 1024u * 1024u)
/* So many snapshots may be written until log and snapshots are purged again, while learners are sent one. */
#define REPLICA_SPARED_MAX 32
/* A learner is sent the log as long as that is not more than this and twice what a snapshot takes. */
#define REPLICA_DIFF_BYTES (64u * 1024u * 1024u)
/* Nodes of a state that was replaced are freed so many at a time. */
#define REPLICA_FREE_NODES 2000
/* A full disk is looked at this often: nobody tells when there is room. */
#define REPLICA_ROOM_MS 1000
/* And with less room than this a peer would soon be away again. */
#define REPLICA_ROOM_BYTES (8u * 1024u * 1024u)
/* Without a leader for so long, the log says why; and again each time it has lasted as long again. */
#define REPLICA_EXPLAIN_MS 5000
/* Digests kept to be compared with others', which lag behind by two heartbeats or what is in flight. */
#define REPLICA_DIGESTS 16384
/* How often one flush begins anew for what its own callbacks submit; the next flush takes the rest. */
#define REPLICA_FLUSH_ROUNDS 4

#define REPLICA_TEXT_MAX 1024

/* FIFO, in an array that is begun anew when it is empty. An input's body is owned: one reference. */
struct replica_inputs {
    struct zab_input *items;
    size_t head;
    size_t n;
    size_t cap;
};

struct replica_calls {
    struct replica_call *head;
    struct replica_call *tail;
    uint64_t n;
};

struct digest_entry {
    uint64_t zxid;
    uint64_t digest;
};

struct digest_ring {
    struct digest_entry entries[REPLICA_DIGESTS];
    size_t head; /* of the oldest */
    size_t n;
};

struct replica_peer {
    uint64_t sid;
    bool observer;
    bool listed; /* in the configuration; others are forgotten when they go */
    bool up;
    bool digest_known; /* while this one leads: of a participant, at digest_zxid */
    bool digest_same;
    uint64_t digest_zxid;
    int64_t connected_since_ns;
};

enum disk_job_kind {
    DISK_JOB_APPEND,
    DISK_JOB_TRUNCATE,
    DISK_JOB_EPOCHS,
    DISK_JOB_PIECES,
    DISK_JOB_DROP,
    DISK_JOB_SNAPSHOT,
    DISK_JOB_READ,
    DISK_JOB_PURGE,
    DISK_JOB_RECOVER,
};

/* A job belongs to the replica until done. run() reads what stands before `rv`, uses disk and log, writes rv and err.
 */
struct disk_job {
    struct replica_job job; /* first member */
    struct replica *replica;
    struct disk_job *next;
    enum disk_job_kind kind;
    struct disk *disk;
    struct txnlog *log;
    struct txnlog_record *records; /* APPEND */
    struct buf **bodies;           /* APPEND: what the payloads point into; PIECES; references of the loop thread */
    size_t n;
    size_t cap;
    size_t bytes;                       /* APPEND, PIECES: of the bodies; READ: how many, about */
    uint64_t zxid;                      /* APPEND: of the last record; TRUNCATE, SNAPSHOT; READ: after it */
    struct epochs epochs;               /* EPOCHS */
    struct snapshot_incoming *incoming; /* PIECES: the replica's; DROP, SNAPSHOT: owned; used by jobs alone */
    bool bad;                           /* PIECES, SNAPSHOT: the disk did well, what came is wrong */
    struct state *state;                /* SNAPSHOT: what came of it, owned */
    uint64_t peer;                      /* READ: for whom, and what zab calls it */
    uint64_t read;
    uint64_t bytes_max;                 /* READ: if there is more than this after `zxid`, nothing is read */
    struct zab_entry *entries;          /* READ: what was; n of them, the bodies owned */
    const struct txnlog_config *config; /* RECOVER; with bytes, of the window */
    struct store store;                 /* RECOVER: what came of it, owned; disk NULL: nothing */
    unsigned retain;                    /* PURGE */
    int rv;
    struct error err;
};

struct disk_queue {
    struct disk_job *running;
    struct disk_job *head;
    struct disk_job *tail;
    uint64_t zxid_synced; /* the log is durable up to here */
    int error;            /* 0 or a positive errno: the replica is away because of it */
    bool full;            /* that error was a lack of room */
    uint64_t syncs;
    uint64_t bytes;
};

/* A snapshot for a learner: it waits for its turn, then is sent as fast as the learner takes it in. */
struct snap_stream {
    struct snap_stream *next;
    uint64_t sid;
    uint32_t epoch; /* of the leader that sends it */
    bool open;
    bool pulling; /* a piece was asked for */
    uint64_t zxid;
    uint64_t sent; /* bytes */
    uint64_t taken;
};

struct replica_snapshots {
    struct snapshot_incoming *incoming; /* one that is coming in */
    uint64_t taken;                     /* bytes of it that its jobs are done with */
    bool installing;                    /* its job is queued or running */
    bool saving;                        /* env.snapshot is under way */
    struct snap_stream *streams;        /* out, in the order asked for */
    struct state *old;                  /* replaced, and not all freed yet */
    uint64_t txns;                      /* applied since the last one was begun */
    uint64_t bytes;
    uint64_t begun;
    uint64_t done;
    unsigned spared; /* purges left out since the last one: a learner needs the log */
};

/* See replica_away.c. */
struct replica_away {
    bool away;
    bool full; /* it may come back */
    uint64_t retry_ms;
};

/* What listeners of `status` were last told. */
struct replica_told {
    enum zab_role role;
    uint64_t leader;
    bool ready;
    bool readable;
    int disk_error;
};

struct replica {
    struct replica_config config; /* zab.servers is `servers` */
    struct zab_server *servers;
    struct replica_env env;
    struct store store; /* store.state is the state */
    struct zab *zab;
    struct zab_outputs out;
    struct replica_inputs inputs;
    struct replica_listener *listeners;
    bool unlisted;              /* an observer that has no list of servers: whoever comes up is a participant */
    struct replica_peer *peers; /* this one included */
    size_t n_peers;
    size_t n_participants; /* of those that are listed */

    bool started;
    bool pumping;
    bool flushing;
    bool flush_wanted;
    uint64_t timer_ms; /* as last set */

    /* The end: after either, inputs are ignored and nothing is acknowledged. */
    bool failed;
    bool failed_told;
    char failed_text[REPLICA_TEXT_MAX];
    bool stopping;
    void (*stopped)(void *arg);
    void *stopped_arg;

    enum zab_role role;
    uint64_t leader;
    bool ready;
    bool ready_seen;  /* since the start */
    bool ready_fresh; /* what a new readiness, or the loss of our identity, asks for is still to be done */
    uint64_t started_ms;
    uint64_t quorum_lost_ms; /* since when; with ready false */
    uint64_t explain_ms;     /* when the log says next why there is no leader; 0: not planned */
    uint64_t elections;
    struct replica_told told;

    uint64_t applied_told;     /* the zxid whose digest zab was last told of */
    uint64_t digest_confirmed; /* leading: the newest zxid at which a quorum has our digest */
    uint64_t txns_applied;
    int64_t time_ns; /* of the newest transaction applied or proposed here: the leader's clock never goes back */
    struct digest_ring digests;

    uint64_t session;     /* the identity of our calls, drawn at random */
    bool session_applied; /* it is known to the replicated state: calls may be handed over */
    uint64_t seq_next;
    struct replica_calls calls;     /* undecided, in the order of seq */
    struct replica_call *call_next; /* the first that this leader was not given yet; NULL: none */
    size_t window_calls;            /* those before call_next */
    size_t window_bytes;
    size_t n_bounded;             /* calls that fail when the quorum stays lost */
    struct replica_calls decided; /* `done` is still to be called */

    struct disk_queue disk;
    struct replica_snapshots snap;
    struct replica_away away;
};

static inline bool replica_halted(const struct replica *r)
{
    return r->failed || r->stopping;
}

/* ---- replica.c ---- */

/* Zeroed memory for something small; aborts when there is none. */
void *replica_alloc(size_t size);
void *replica_realloc(void *old, size_t n, size_t size);
void replica_log(struct replica *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The peer can't go on. The first text counts; the host is told at the end of the pump. */
void replica_fail(struct replica *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
void replica_want_flush(struct replica *r);
/* Of r->store, whose state's zxid was `zxid` when it was recovered; r->store.state may be at a later one by now. */
struct zab *replica_new_zab(const struct replica *r, uint64_t zxid);
/* -EXDEV if the dataDir is another server's. */
int replica_check_owner(const struct replica *r, const struct epochs *e, struct error *err);
/* What the entries of r->store tell: the clock, and when the next snapshot is due. */
void replica_read_window(struct replica *r);

/* ---- replica_step.c ---- */

/* Steps `first` (may be NULL; borrowed), then everything it leads to. */
void replica_pump(struct replica *r, const struct zab_input *first);
/* Queues an input for the pump; a body gets a reference. */
void replica_input(struct replica *r, const struct zab_input *in);
/* Gives zab the encoded request: stamped and proposed when leading, forwarded when learning. In the pump only. */
void replica_propose(struct replica *r, struct buf *request);
void replica_inputs_release(struct replica_inputs *q);

/* ---- replica_calls.c ---- */

/* A leader with a quorum is there anew. */
void calls_on_ready(struct replica *r);
/* Hands over the next call that fits into the window; false when there is none. */
bool calls_hand_over(struct replica *r);
/* Would calls_hand_over() do something? */
bool calls_wanting(const struct replica *r);
void calls_on_applied(struct replica *r, const struct request *request, const struct outcome *outcome);
/* Fails what has waited too long for a quorum. */
void calls_expire(struct replica *r, uint64_t now_ms);
/* When calls_expire() has something to do; UINT64_MAX: never. */
uint64_t calls_deadline_ms(const struct replica *r);
void calls_fail_all(struct replica *r, int err);
/* Calls `done` of everything decided. */
void calls_fire(struct replica *r);
void calls_release(struct replica *r);

/* ---- replica_disk.c ---- */

void disk_queue_append(struct replica *r, const struct zab_entry *entry);
void disk_queue_truncate(struct replica *r, uint64_t zxid);
/* `o` is ZAB_OUT_EPOCHS. */
void disk_queue_epochs(struct replica *r, const struct zab_output *o);
/* A piece of the snapshot that is coming in. */
void disk_queue_piece(struct replica *r, struct buf *piece);
/* These two take `incoming` over. */
void disk_queue_drop(struct replica *r, struct snapshot_incoming *incoming);
void disk_queue_snapshot(struct replica *r, struct snapshot_incoming *incoming, uint64_t zxid);
/* `o` is ZAB_OUT_LOG_READ. */
void disk_queue_read(struct replica *r, const struct zab_output *o);
void disk_queue_purge(struct replica *r);
/* Looks for room, then recovers. */
void disk_queue_recover(struct replica *r);
/* Forgets what is queued; nothing may be running. */
void disk_queue_drop_all(struct replica *r);
/* Puts out the next job if none is. */
void disk_queue_start(struct replica *r);
void disk_queue_release(struct replica *r);

/* ---- replica_snapshot.c ---- */

void snap_chunk(struct replica *r, const struct zab_output *o);
void snap_install(struct replica *r, uint64_t zxid);
void snap_drop(struct replica *r);
/* A job of it has found that what came can't be used. */
void snap_bad(struct replica *r, const char *text);
/* `bytes` more of it are on the disk and read. */
void snap_taken(struct replica *r, size_t bytes);
/* The job of snap_install() is done: `state` (taken over) is the state now. */
void snap_installed(struct replica *r, struct state *state);
/* Begins a snapshot file when one is due. */
void snap_consider(struct replica *r);
/* Frees some of a state that was replaced; true when more is left. */
bool snap_free_some(struct replica *r);
/* The listeners' `changed`, for state_on_change(). */
void snap_change_cb(void *arg, const struct change *change);

/* ---- replica_stream.c ---- */

void stream_begin(struct replica *r, const struct zab_output *o);
void stream_taken(struct replica *r, uint64_t sid, uint64_t bytes);
void stream_stop(struct replica *r, uint64_t sid);
/* Opens those that wait, as far as there is room. In the pump only. */
void streams_run(struct replica *r);
void streams_stop_all(struct replica *r);

/* ---- replica_away.c ---- */

/* A job has failed with `rv`. zab is told next, and then away_begin() called. */
void away_leave(struct replica *r, int rv, const char *text);
void away_begin(struct replica *r);
/* The store could not be recovered at the start for want of room. */
void away_start(struct replica *r, int rv, const char *text);
/* Begins to recover when it is time. */
void away_consider(struct replica *r);
/* The job, in the thread for the disk, and its end on the loop; takes `store` over if it is used. */
int away_recover(struct disk *d, const struct txnlog_config *log, size_t window_bytes, struct store *ret_store,
                 struct error *err);
void away_recovered(struct replica *r, int rv, const char *text, struct store *store);

/* ---- replica_status.c ---- */

void peers_init(struct replica *r, const struct zab_config *config);
struct replica_peer *peers_find(const struct replica *r, uint64_t sid);
void peers_set(struct replica *r, uint64_t sid, bool observer, bool up);
/* Tells listeners if role, leader, quorum or readability are not what they were. */
void status_tell(struct replica *r);
/* When readability changes by time alone, or status_explain() has something to do; UINT64_MAX: never. */
uint64_t status_deadline_ms(const struct replica *r);
/* Says in the log why there is no leader, once that has lasted. */
void status_explain(struct replica *r, uint64_t now_ms);

/* ---- replica_digest.c ---- */

void digests_clear(struct digest_ring *ring);
void digests_add(struct digest_ring *ring, uint64_t zxid, uint64_t digest);
bool digests_find(const struct digest_ring *ring, uint64_t zxid, uint64_t *ret_digest);
/* A leadership begins. */
void digest_lead(struct replica *r);
/* This one leads, and participant `sid` says what its tree's digest is. */
void digest_of_peer(struct replica *r, uint64_t sid, uint64_t zxid, uint64_t digest);
/* Whose digest zab is to send: of the newest transaction, or as a leader of the newest that a quorum agrees on; 0:
 * none. */
uint64_t digest_zxid_to_tell(const struct replica *r);
/* The leader's digest, which a quorum has. */
void digest_check(struct replica *r, uint64_t zxid, uint64_t digest);

#endif
