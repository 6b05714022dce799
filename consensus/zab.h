/*
 * zab: the atomic broadcast as one step function over events. Pure: no I/O, no clock, no randomness; the object files
 * import nothing beyond memory and string functions (a lint target checks it).
 *
 *   F. Junqueira, B. Reed, M. Serafini: "Zab: High-performance broadcast for primary-backup systems", DSN 2011
 *   A. Medeiros: "ZooKeeper's atomic broadcast protocol: Theory and practice", 2012 (fast leader election, 3.1)
 *
 * The driver (replica.c, or a test) calls zab_step() with one input and carries out the outputs in their order. An
 * output never depends on another of the same step; what depends on the disk comes in a later step, after the driver
 * has reported it synced. The driver's disk queue is first in, first out: appends, truncations, snapshots and epochs
 * become durable in the order they were put out.
 *
 *                        +------------------------- deadline, leader lost, quorum lost -------------+
 *                        v                                                                          |
 *   LOOKING --elected--> LEADING:   DISCOVERY -> PROMISE -> ACKEPOCH -> SYNCHRONIZATION -> BROADCAST |
 *           --elected--> FOLLOWING: DISCOVERY -> PROMISE -> SYNCHRONIZATION -> NEWLEADER -> ACKED -> BROADCAST
 *           (an observer: OBSERVING, the same phases as a follower)
 */
#ifndef CONSENSUS_ZAB_H
#define CONSENSUS_ZAB_H

#include "store/buf.h"
#include "store/zxid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum zab_role {
    ZAB_LOOKING = 0,
    ZAB_FOLLOWING = 1,
    ZAB_LEADING = 2,
    ZAB_OBSERVING = 3,
};

enum zab_packet_type {
    ZAB_VOTE = 1,           /* election: who I am for, or whom I follow */
    ZAB_FOLLOWERINFO = 2,   /* learner: I join, this is my accepted epoch */
    ZAB_LEADERINFO = 3,     /* leader: this is the new epoch */
    ZAB_ACKEPOCH = 4,       /* learner: promised; my current epoch and last zxid */
    ZAB_TRUNC = 5,          /* leader: drop what you have after zxid */
    ZAB_TRUNCATED = 6,      /* learner: my last zxid is now this */
    ZAB_DIFF = 7,           /* leader: proposals after zxid follow */
    ZAB_SNAP = 8,           /* leader: a snapshot at zxid follows (sent by the driver) */
    ZAB_SNAP_DATA = 9,      /* a piece of it (sent by the driver) */
    ZAB_SNAP_END = 10,      /* that was all of the snapshot at zxid (sent by the driver) */
    ZAB_NEWLEADER = 11,     /* leader: you have all of my history; zxid is its end */
    ZAB_ACK_NEWLEADER = 12, /* learner: it is on my disk, and so is the epoch */
    ZAB_UPTODATE = 13,      /* leader: a quorum has it; committed up to zxid */
    ZAB_PROPOSAL = 14,      /* leader: one transaction */
    ZAB_ACK = 15,           /* learner: on my disk up to zxid (cumulative) */
    ZAB_COMMIT = 16,        /* leader: committed up to zxid (cumulative) */
    ZAB_INFORM = 17,        /* leader to observer: one committed transaction */
    ZAB_PING = 18,          /* leader: alive; committed up to zxid */
    ZAB_PONG = 19,          /* learner: alive; on my disk up to zxid */
    ZAB_REQUEST = 20,       /* learner: please propose this */
    ZAB_SYNC_ACK = 21,      /* learner, not yet synchronized: this much of it I have taken in, send more */
    ZAB_PACKET_TYPE_COUNT
};

/* A candidate, ordered by (not virgin, epoch, sole, zxid, sid). */
struct zab_vote {
    uint64_t sid;
    uint64_t zxid;
    uint32_t epoch;
    bool virgin; /* the candidate was never synchronized: an empty dataDir (lesson 12) */
    bool sole;   /* the candidate was an ensemble of one: nothing committed can be elsewhere */
};

struct zab_packet {
    enum zab_packet_type type;
    uint32_t epoch; /* FOLLOWERINFO: accepted; ACKEPOCH: current; otherwise the leader's */
    uint64_t zxid;
    uint64_t zxid_prev; /* PROPOSAL, INFORM: the transaction before in the leader's history */
    uint64_t round;     /* VOTE: election round; FOLLOWERINFO and LEADERINFO: the join they belong to; PING: its number,
                         * which PONG repeats; SYNC_ACK: bytes of the snapshot */
    struct zab_vote vote;   /* VOTE */
    enum zab_role role;     /* VOTE: the sender's */
    bool virgin;            /* VOTE, FOLLOWERINFO: the sender was never synchronized */
    bool empty;             /* VOTE: the sender has no transaction */
    uint64_t accepted_from; /* FOLLOWERINFO: whose epoch was accepted */
    uint64_t zxid_digest;   /* COMMIT, PING, PONG: the digest of the tree at this zxid; 0: none */
    uint64_t digest;
    struct buf *body; /* PROPOSAL, INFORM, REQUEST, SNAP_DATA; else NULL. Borrowed. */
};

struct zab_server {
    uint64_t sid;
    bool observer;
};

/* Observers that no configuration lists draw their id at random, from where no listed server's can be. */
#define ZAB_SID_UNLISTED_MIN (UINT64_C(1) << 32)
#define ZAB_SID_UNLISTED_MAX ((UINT64_C(1) << 63) - 1)
/* How many of them a participant serves at once. */
#define ZAB_UNLISTED_MAX 1024

static inline bool zab_sid_is_unlisted(uint64_t sid)
{
    return sid >= ZAB_SID_UNLISTED_MIN && sid <= ZAB_SID_UNLISTED_MAX;
}

/* A transaction in the history. */
struct zab_entry {
    uint64_t zxid;
    uint64_t zxid_prev;
    struct buf *body;
    uint64_t bytes_before; /* private to the window */
};

struct zab_config {
    uint64_t sid;
    bool observer;
    /* All listed ones, this one included; copied. None: an unlisted observer, to which whoever comes up is a
     * participant. */
    const struct zab_server *servers;
    size_t n_servers;
    uint32_t tick_ms;
    uint32_t init_limit;      /* ticks a learner may take to synchronize */
    uint32_t sync_limit;      /* ticks a follower's disk may lag before the leader drops it */
    uint32_t peer_timeout_ms; /* a peer silent for this long is gone */
    size_t window_bytes;      /* of committed transactions kept in memory for DIFF */
};

/* What the disk had at start (lesson 1). */
struct zab_recovered {
    uint32_t accepted_epoch;
    uint64_t accepted_from;
    uint32_t current_epoch;
    bool sole;                       /* the current epoch is of an ensemble of one */
    uint64_t zxid_committed;         /* known to be committed: applied by the driver */
    uint64_t zxid_base;              /* the transaction before entries[0]; the last one if there are no entries */
    const struct zab_entry *entries; /* bodies are referenced, not taken */
    size_t n_entries;
};

enum zab_input_type {
    ZAB_IN_START,         /* once, first */
    ZAB_IN_DEADLINE,      /* the time outputs.deadline_ms asked for has come (too early or too late is harmless) */
    ZAB_IN_PEER_UP,       /* packets can be exchanged with `peer` */
    ZAB_IN_PEER_DOWN,     /* its connection is gone, with whatever was in flight; who is not listed is forgotten */
    ZAB_IN_PACKET,        /* `packet` from `peer`, in the order sent */
    ZAB_IN_LOG_SYNCED,    /* appends are durable up to `zxid` */
    ZAB_IN_EPOCHS_SYNCED, /* the epochs last put out are durable */
    ZAB_IN_TRUNCATED,     /* the truncation to `zxid` is durable */
    ZAB_IN_SNAP_TAKEN,    /* of the snapshot that is coming in, `bytes` need no memory any more */
    ZAB_IN_SNAP_SYNCED,   /* the snapshot at `zxid` is durable, and is the state now */
    ZAB_IN_SNAP_SENT,     /* `peer` was sent the whole snapshot, which is at `zxid` */
    ZAB_IN_LOG_READ,      /* answers LOG_READ `read`: `entries`, or none if the log lacks what follows */
    ZAB_IN_SUBMIT,        /* `body`: propose it (leading) or forward it (learning); dropped unless ready */
    ZAB_IN_APPLIED,       /* the tree's digest at `zxid` is `digest`: tell others */
    ZAB_IN_RESIGN,        /* stop leading or following; look again */
    ZAB_IN_LEAVE,         /* the disk is full or fails: give up every part, connections too; nothing is done any more */
};

struct zab_input {
    enum zab_input_type type;
    uint64_t now_ms; /* a monotonic clock */
    uint64_t peer;
    bool peer_observer; /* PEER_UP */
    uint64_t zxid;
    uint64_t digest;
    uint64_t bytes;
    uint64_t read;
    const struct zab_entry *entries; /* LOG_READ: borrowed; they follow each other */
    size_t n_entries;
    const struct zab_packet *packet; /* borrowed */
    struct buf *body;                /* SUBMIT: borrowed, referenced if kept */
};

enum zab_output_type {
    ZAB_OUT_SEND,         /* `packet` to `peer` */
    ZAB_OUT_APPEND,       /* write `entry` to the log; report with LOG_SYNCED */
    ZAB_OUT_TRUNCATE,     /* drop the log after `zxid`; report with TRUNCATED */
    ZAB_OUT_EPOCHS,       /* write accepted_epoch, accepted_from, current_epoch, sole; report with EPOCHS_SYNCED */
    ZAB_OUT_COMMIT,       /* apply `entry` */
    ZAB_OUT_SNAP_SEND,    /* send the applied state to `peer` as SNAP, SNAP_DATA and SNAP_END, of packet.epoch, as fast
                             as SNAP_TAKEN tells; report with SNAP_SENT */
    ZAB_OUT_SNAP_TAKEN,   /* `peer` has taken in `bytes` of its snapshot */
    ZAB_OUT_SNAP_STOP,    /* `peer` needs its snapshot no more */
    ZAB_OUT_LOG_READ,     /* read up to `bytes` of the log after `zxid`; report with LOG_READ. `first`: where a snapshot
                             would be less to send, there is nothing to be read */
    ZAB_OUT_SNAP_CHUNK,   /* keep packet.body, a piece of the snapshot at `zxid` being received; SNAP_TAKEN */
    ZAB_OUT_SNAP_INSTALL, /* the pieces are the whole snapshot at `zxid`: make it durable and the state; SNAP_SYNCED */
    ZAB_OUT_SNAP_DROP,    /* forget the pieces */
    ZAB_OUT_ROLE,         /* role, leader and readiness have changed */
    ZAB_OUT_REQUEST,      /* `peer` forwarded packet.body: check it, stamp it and submit it */
    ZAB_OUT_CHECK_DIGEST, /* compare the digest recorded for `zxid` with `digest`; if they differ, stop */
    ZAB_OUT_PEER_DIGEST,  /* the participant `peer` has `digest` at `zxid` */
    ZAB_OUT_DISCONNECT,   /* `peer` broke the protocol (`reason`): close its connection */
    ZAB_OUT_FATAL,        /* going on would lose data: stop the peer, `reason` says why */
};

struct zab_output {
    enum zab_output_type type;
    uint64_t peer;
    uint64_t zxid;
    uint64_t digest;
    uint64_t bytes;
    uint64_t read; /* LOG_READ: names it */
    bool first;
    struct zab_packet packet; /* body referenced by the outputs */
    struct zab_entry entry;   /* body referenced by the outputs */
    uint32_t accepted_epoch;
    uint64_t accepted_from;
    uint32_t current_epoch;
    bool sole;
    enum zab_role role;
    uint64_t leader;    /* 0: unknown */
    bool ready;         /* requests can be submitted; reads are up to date as of joining */
    const char *reason; /* static */
};

/* Owned by the caller, reused from step to step; items and what they point to are valid until the next step. */
struct zab_outputs {
    struct zab_output *items;
    size_t n;
    size_t cap;
    uint64_t deadline_ms; /* call with ZAB_IN_DEADLINE then; UINT64_MAX: never */
};

struct zab;

/* Copies what it needs of both. */
struct zab *zab_new(const struct zab_config *config, const struct zab_recovered *recovered);
void zab_free(struct zab *z);

/* `out` is emptied first. */
void zab_step(struct zab *z, const struct zab_input *in, struct zab_outputs *out);
void zab_outputs_release(struct zab_outputs *out);

/* What status shows of a peer, for this server's own leadership. */
struct zab_peer_info {
    bool up;
    bool synced;         /* it has acknowledged this leader's history */
    uint64_t zxid_acked; /* 0: unknown */
};
struct zab_info {
    enum zab_role role;
    uint64_t leader;
    bool ready;
    uint32_t epoch; /* the current epoch */
    uint64_t zxid_logged;
    uint64_t zxid_synced;
    uint64_t zxid_committed;
    uint64_t zxid_window; /* the oldest zxid a DIFF can start after */
    bool virgin;
};
void zab_info(const struct zab *z, struct zab_info *ret_info);
bool zab_peer_info(const struct zab *z, uint64_t sid, struct zab_peer_info *ret_info);

const char *zab_role_name(enum zab_role role);          /* "looking", "following", "leading", "observing" */
const char *zab_packet_name(enum zab_packet_type type); /* "VOTE", ... */

#endif
