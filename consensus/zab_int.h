/*
 * zab_int: what the core's files share. zab.c dispatches, zab_election.c elects, zab_leader.c leads and
 * zab_leader_time.c watches its clock, zab_sync.c brings learners to the leader's history, zab_learner.c learns,
 * zab_log.c is the window of the history in memory.
 */
#ifndef CONSENSUS_ZAB_INT_H
#define CONSENSUS_ZAB_INT_H

#include "zab.h"

#include <assert.h>

/* How long a looking peer with a quorum's votes waits for a better one from a connected peer that has not voted. */
#define ZAB_FINALIZE_MS 60
/* Pings per peer timeout. */
#define ZAB_PINGS_PER_TIMEOUT 4
/* What a member that goes on alone leaves out: epochs that only the others may have seen are not used again. */
#define ZAB_EPOCH_LEAP 1000
/* The last epoch there can be: one more would begin at 0 again. */
#define ZAB_EPOCH_MAX (UINT32_MAX - 1)
/* While it synchronizes a learner bears this many peer timeouts of silence: what is sent may hold up pings. */
#define ZAB_SYNC_PATIENCE 5
/* A learner that synchronizes has at most so many portions of the history of so many bytes, and one transaction each,
 * on their way to its disk. */
#define ZAB_STREAM_BYTES    ((size_t)512 * 1024)
#define ZAB_STREAM_PORTIONS 4

/* Who is synchronized and lets its disk fall behind what is committed by more than this synchronizes again: then it is
 * sent no more than it takes. A leader whose own disk does so steps down. */
#define ZAB_BEHIND_BYTES (UINT64_C(32) * 1024 * 1024)

/* ---- the window ---- */

/* The newest part of the history: entries[head .. head + n), each zxid_prev the zxid before; `base` is the zxid before
 * the first. Everything not known to be committed is in it. */
struct zab_log {
    struct zab_entry *entries;
    size_t head;
    size_t n;
    size_t cap;
    size_t bytes;
    uint64_t bytes_ever; /* appended, truncated ones too */
    uint64_t base;
};

void zab_log_init(struct zab_log *log, uint64_t base);
void zab_log_release(struct zab_log *log);
/* Drops everything; the history now ends at `base`. */
void zab_log_reset(struct zab_log *log, uint64_t base);
uint64_t zab_log_last(const struct zab_log *log);
/* References entry->body. */
void zab_log_append(struct zab_log *log, const struct zab_entry *entry);
/* The newest zxid of the window (base included) that is at most `zxid`; false when `zxid` is before base. */
bool zab_log_floor(const struct zab_log *log, uint64_t zxid, uint64_t *ret_floor);
/* Index of the first entry after `zxid`, for zab_log_at(); n when there is none. */
size_t zab_log_after(const struct zab_log *log, uint64_t zxid);
const struct zab_entry *zab_log_at(const struct zab_log *log, size_t i);
/* Bytes of the entries after `zxid` up to `until`, as far as the window has them. */
uint64_t zab_log_bytes(const struct zab_log *log, uint64_t zxid, uint64_t until);
void zab_log_truncate(struct zab_log *log, uint64_t zxid);
/* Drops the oldest entries at or before `zxid` while more than `bytes_max` are held. */
void zab_log_trim(struct zab_log *log, uint64_t zxid, size_t bytes_max);

/* ---- peers ---- */

/* A learner as its leader sees it:
 *
 *   NONE -FOLLOWERINFO-> JOINING -> PROMISING -ACKEPOCH-> PROMISED -> [TRUNCATING] -> [SNAPPING] -> STREAMING
 *                              (LEADERINFO sent)
 *   STREAMING -the end of the history was sent, NEWLEADER-> SYNCING -ACK_NEWLEADER-> SYNCED -UPTODATE sent-> SERVING
 *
 * From SYNCING on it is sent each proposal as it is made; before, what it acknowledges with SYNC_ACK decides how fast
 * it is sent the history, so that one who is slow costs memory to nobody.
 */
enum learner_phase {
    LEARNER_NONE,
    LEARNER_JOINING,
    LEARNER_PROMISING,
    LEARNER_PROMISED,
    LEARNER_TRUNCATING,
    LEARNER_SNAPPING,
    LEARNER_STREAMING,
    LEARNER_SYNCING,
    LEARNER_SYNCED,
    LEARNER_SERVING,
};

struct zab_peer {
    uint64_t sid;
    bool participant;
    bool listed; /* in the configuration; others are there while they are up */
    bool up;
    uint64_t heard_ms;
    uint64_t served_ms; /* last heard of as a synchronized learner of ours */

    /* What its last VOTE said; round 0: nothing since it came up. */
    uint64_t round;
    struct zab_vote vote;
    enum zab_role role;
    bool empty;

    /* What it told as a learner of ours. */
    enum learner_phase phase;
    uint64_t phase_ms; /* since when, or when it last got any further */
    uint64_t join;
    bool virgin;         /* also from VOTE */
    bool early;          /* it had joined before anybody was asked to promise */
    uint64_t vouch_ping; /* virgin and PROMISED: synchronized when a quorum has answered this ping or a later one */
    uint64_t pong;       /* the newest ping it has answered as a learner of ours */
    uint32_t accepted_epoch;
    uint64_t accepted_from;
    uint32_t current_epoch;
    uint64_t zxid;                          /* the end of its history, and of what it was sent */
    uint64_t read;                          /* STREAMING: the log read that is under way; 0: none */
    uint64_t portions[ZAB_STREAM_PORTIONS]; /* STREAMING: where those end that it has not acknowledged, oldest first */
    size_t n_portions;
    bool sync_begun; /* SNAPPING: it has acknowledged some; STREAMING: after a snapshot or DIFF */
    uint64_t zxid_acked;
    uint64_t lag_ms; /* since when its disk owes acknowledgements without any progress; 0: it owes none */
};

/* ---- the state ---- */

enum leader_phase {
    LEADER_DISCOVERY, /* waiting for a quorum's FOLLOWERINFO */
    LEADER_PROMISE,   /* the new epoch goes to our own disk */
    LEADER_ACKEPOCH,  /* waiting for a quorum's ACKEPOCH */
    LEADER_SYNC,      /* waiting for a quorum's ACK_NEWLEADER */
    LEADER_BROADCAST,
};

enum learning_phase {
    LEARNING_DISCOVERY,       /* FOLLOWERINFO sent */
    LEARNING_PROMISE,         /* the new epoch goes to disk */
    LEARNING_SYNC,            /* ACKEPOCH sent; TRUNC, DIFF or SNAP, then proposals */
    LEARNING_NEWLEADER_LOG,   /* NEWLEADER seen: the history goes to disk */
    LEARNING_NEWLEADER_EPOCH, /* and after it the epoch */
    LEARNING_ACKED,           /* ACK_NEWLEADER sent */
    LEARNING_BROADCAST,       /* UPTODATE seen */
};

struct zab {
    uint64_t sid;
    bool observer;
    bool unlisted; /* an observer without a list of servers */
    uint32_t peer_timeout_ms;
    uint64_t init_ms;
    uint64_t sync_ms;
    size_t window_bytes;
    struct zab_peer *peers; /* the others; unlisted observers are added as they come up */
    size_t n_peers;
    size_t n_participants; /* this one included, if it is one */
    uint64_t n_pings;      /* sent, in all leaderships: each has its number */

    /* of the step under way */
    struct zab_outputs *out;
    uint64_t now_ms;

    enum zab_role role;
    uint64_t leader;
    bool ready;
    bool failed; /* FATAL was put out: nothing more is done */

    /* f.p and f.a, and whether they are on disk */
    uint32_t accepted_epoch;
    uint64_t accepted_from;
    uint32_t current_epoch;
    bool sole;
    unsigned epochs_in_flight;

    struct zab_log log;
    uint64_t zxid_synced;
    uint64_t zxid_committed;
    bool truncate_in_flight;
    bool snap_in_flight;
    uint64_t reads;       /* of the log, asked for so far */
    uint64_t zxid_digest; /* the newest digest the driver reported */
    uint64_t digest;

    struct {
        bool started; /* false while earlier writes are still on their way to the disk (lesson 1) */
        uint64_t round;
        struct zab_vote vote;
        uint64_t finalize_ms; /* UINT64_MAX: no quorum yet */
        uint64_t resend_ms;
    } election;

    struct {
        enum leader_phase phase;
        uint64_t since_ms;
        uint64_t phase_ms;
        bool formation; /* the first ensemble: all listed participants were up and empty */
        uint32_t epoch;
        uint32_t counter;
        uint64_t zxid_start; /* the end of the history it began with */
        bool self_synced;    /* its own current epoch is on disk */
        uint64_t ping_ms;    /* next */
        uint64_t lag_ms;     /* since when our own disk owes syncs without any progress; 0: it owes none */
    } leading;

    struct {
        enum learning_phase phase;
        uint64_t phase_ms;
        uint64_t join;
        uint64_t round; /* a vote from the leader, looking in a later round, says that it gave up */
        uint32_t epoch;
        uint64_t zxid_newleader;
        uint64_t zxid_commit_seen; /* a COMMIT may arrive before UPTODATE (lesson 4) */
        bool sync_begun;           /* TRUNC, DIFF or SNAP was seen */
        bool joined;               /* our log is a part of the leader's history: DIFF or SNAP was seen */
        bool snap_chunks;          /* pieces of a snapshot have been put out */
        uint64_t zxid_snap;        /* of that snapshot, as SNAP announced it */
    } learning;
};

/* ---- zab.c ---- */
struct zab_peer *zab_peer_find(struct zab *z, uint64_t sid);
size_t zab_quorum(const struct zab *z);
/* Was this peer never synchronized? Its vote does not count (lesson 12). */
bool zab_is_virgin(const struct zab *z);
/* No append, truncation, snapshot or epoch is on its way to the disk. */
bool zab_disk_idle(const struct zab *z);
struct zab_output *zab_emit(struct zab *z, enum zab_output_type type);
/* A packet of `type`; the caller may fill in more before the step ends. The body is referenced. */
struct zab_packet *zab_send(struct zab *z, uint64_t to, enum zab_packet_type type, uint64_t zxid);
void zab_send_entry(struct zab *z, uint64_t to, enum zab_packet_type type, const struct zab_entry *entry);
void zab_emit_epochs(struct zab *z);
void zab_emit_append(struct zab *z, const struct zab_entry *entry);
void zab_set_role(struct zab *z, enum zab_role role, uint64_t leader, bool ready);
void zab_disconnect(struct zab *z, uint64_t sid, const char *reason);
void zab_fatal(struct zab *z, const char *reason);
/* Puts out COMMIT for everything up to `zxid`, which is in the log. */
void zab_commit_to(struct zab *z, uint64_t zxid);

/* ---- zab_election.c ---- */
/* Gives up whatever role this peer has and looks for a leader. */
void zab_look(struct zab *z);
void election_on_vote(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void election_on_peer_up(struct zab *z, struct zab_peer *p);
void election_on_peer_down(struct zab *z, struct zab_peer *p);
void election_on_disk(struct zab *z);
void election_on_deadline(struct zab *z);
uint64_t election_deadline(const struct zab *z);
void election_send_vote(struct zab *z, uint64_t to);

/* ---- zab_leader.c ---- */
void leader_start(struct zab *z, bool formation);
void leader_on_followerinfo(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void leader_on_ackepoch(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void leader_on_ack(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void leader_on_pong(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void leader_on_request(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void leader_on_epochs_synced(struct zab *z);
/* At the end of a step: looks again when what it has begun can't succeed. */
void leader_check_asked(struct zab *z);
void leader_on_log_synced(struct zab *z);
void leader_on_submit(struct zab *z, struct buf *body);
void leader_try_commit(struct zab *z);
/* The epoch is established: what waited for that goes on. */
void leader_on_established(struct zab *z);

/* ---- zab_leader_time.c ---- */
void leader_on_deadline(struct zab *z);
uint64_t leader_deadline(const struct zab *z);

/* ---- zab_sync.c ---- */
void learner_set_phase(struct zab *z, struct zab_peer *p, enum learner_phase phase);
/* TRUNC, DIFF or SNAP from the learner's last zxid to the end of our history, then NEWLEADER. */
void sync_learner(struct zab *z, struct zab_peer *p);
void sync_on_truncated(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void sync_on_sync_ack(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
void sync_on_snap_sent(struct zab *z, uint64_t sid, uint64_t zxid);
void sync_on_log_read(struct zab *z, const struct zab_input *in);
void sync_on_ack_newleader(struct zab *z, struct zab_peer *p, const struct zab_packet *packet);
/* Has a quorum our history on disk? Then the epoch is established. */
void sync_check(struct zab *z);

/* ---- zab_learner.c ---- */
void learner_start(struct zab *z, uint64_t leader);
/* Any packet of the leader's but VOTE. */
void learner_on_packet(struct zab *z, const struct zab_packet *packet);
void learner_on_log_synced(struct zab *z);
void learner_on_epochs_synced(struct zab *z);
void learner_on_truncated(struct zab *z);
void learner_on_snap_taken(struct zab *z, uint64_t bytes);
void learner_on_snap_synced(struct zab *z);
void learner_on_submit(struct zab *z, struct buf *body);
void learner_on_deadline(struct zab *z);
uint64_t learner_deadline(const struct zab *z);

#endif
