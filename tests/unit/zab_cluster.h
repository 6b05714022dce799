/*
 * zab_cluster: a few cores joined by an instant network, with disks that sync when told to: for tests that assert a
 * protocol exchange step by step. (The simulator in tests/sim runs the whole replica under faults instead.)
 */
#ifndef TESTS_ZAB_CLUSTER_H
#define TESTS_ZAB_CLUSTER_H

#include "consensus/zab.h"

#define CLUSTER_MAX 5

struct cluster_message {
    uint64_t from;
    uint64_t to;
    struct zab_packet packet; /* body referenced */
};

/* What a core's disk has or is asked to write, in order. */
struct cluster_write {
    enum zab_output_type type; /* APPEND, TRUNCATE, EPOCHS, SNAP_INSTALL */
    struct zab_entry entry;
    uint64_t zxid;
    uint32_t accepted_epoch;
    uint64_t accepted_from;
    uint32_t current_epoch;
    bool sole;
};

struct cluster_node {
    struct zab *zab; /* NULL: down */
    bool disk_stuck; /* writes wait until it is false */
    struct cluster_write *writes;
    size_t n_writes;
    /* the disk */
    struct zab_entry *log;
    size_t n_log;
    uint64_t base; /* the zxid before log[0] */
    struct zab_recovered epochs;
    /* the state machine: the zxids applied, in order */
    uint64_t *applied;
    size_t n_applied;
    uint64_t zxid_snap;
    /* as last told */
    enum zab_role role;
    uint64_t leader;
    bool ready;
    const char *fatal;
    uint64_t deadline_ms;
    unsigned snaps_received;
};

struct cluster {
    size_t n;
    size_t n_observers; /* the last ones */
    size_t n_unlisted;  /* of these the last ones: no configuration lists them, and they have no list */
    size_t window_bytes;
    bool logs_purged; /* the disks' logs can't be read: what the window lacks takes a snapshot */
    uint64_t now_ms;
    struct cluster_node nodes[CLUSTER_MAX]; /* sid is the index plus 1 */
    bool cut[CLUSTER_MAX][CLUSTER_MAX];
    bool linked[CLUSTER_MAX][CLUSTER_MAX];
    struct cluster_message *messages;
    size_t n_messages;
    struct zab_outputs out;
    char *transcript; /* "1>2 VOTE\n..." while recording is on */
    size_t transcript_len;
    bool recording;
    /* If set: messages it returns true for are kept back until it is NULL. */
    bool (*hold)(const struct cluster_message *m);
};

void cluster_init(struct cluster *c, size_t n, size_t n_observers);
void cluster_release(struct cluster *c);
void cluster_start(struct cluster *c, uint64_t sid);
/* kill -9: what was not synced is lost. */
void cluster_crash(struct cluster *c, uint64_t sid);
/* An empty dataDir. */
void cluster_wipe(struct cluster *c, uint64_t sid);
void cluster_cut(struct cluster *c, uint64_t a, uint64_t b, bool cut);
void cluster_resign(struct cluster *c, uint64_t sid);
/* Delivers and syncs until nothing moves without the clock. */
void cluster_settle(struct cluster *c);
/* Settles, then lets the clock run for `ms`, deadline by deadline. */
void cluster_run(struct cluster *c, uint64_t ms);
void cluster_submit(struct cluster *c, uint64_t sid, const char *text);
uint64_t cluster_leader(const struct cluster *c); /* the one that is leading and ready, 0 if none */
struct cluster_node *cluster_node(struct cluster *c, uint64_t sid);
uint64_t cluster_applied(struct cluster *c, uint64_t sid); /* the last zxid applied, 0 if none */

#endif
