/*
 * sim: an ensemble in one process: the real zab, replica, packets and store of up to eight peers, on a simulated
 * clock, network and disk, driven by one event queue and one generator of random numbers. A seed decides everything:
 * the same seed runs the same events and ends with the same trace hash.
 *
 *   sim.c         the event queue, the clock, the phases of a run
 *   sim_config.c  what a seed decides about the ensemble
 *   sim_env.c     the world as a replica sees it (struct replica_env): boot, crash, jobs, snapshots, time
 *   sim_stream.c  snapshots for learners, in pieces
 *   sim_net.c     connections between peers: delay, loss by breaking, stalls, dialling
 *   sim_fault.c   what goes wrong, and healing
 *   sim_lonely.c  an ensemble of one that grows, or that is left of a lost one
 *   sim_client.c  clients: calls, retries, and what their outcomes must be
 *   sim_keys.c    keys that all clients share; sim_lin.c: are their histories linearizable?
 *   sim_model.c   what a client's own directory must look like
 *   sim_verify.c  what must be in the tree in the end
 *   sim_check.c   the invariants, checked with every transaction applied and after every event
 *   sim_durable.c the invariants of what is on disk
 *   sim_script.c  scenarios in plain text: the same ensemble, where a file says what happens
 *   sim_cover.c   counts what a run has exercised
 *   sim_main.c    the command line, many seeds in parallel
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "consensus/packet.h"
#include "consensus/replica.h"
#include "crash_disk.h"

#define SIM_PEERS_MAX   8 /* seven participants and an observer */
#define SIM_CLIENTS_MAX 24
#define SIM_MS          UINT64_C(1000) /* the clock counts microseconds */
#define SIM_S           (1000 * SIM_MS)

struct sim;
struct sim_client;
struct sim_script;

enum sim_event_kind {
    SIM_EV_BOOT,      /* `peer` starts */
    SIM_EV_END,       /* `peer`, stopped or failed, is freed */
    SIM_EV_TIMER,     /* the timer of `peer` */
    SIM_EV_FLUSH,     /* the end of an iteration of the loop of `peer` */
    SIM_EV_JOB_RUN,   /* its disk job touches the disk */
    SIM_EV_JOB_DONE,  /* and reports back */
    SIM_EV_SNAP_SAVE, /* its snapshot child touches the disk */
    SIM_EV_SNAP_DONE, /* and has exited */
    SIM_EV_PIECE,     /* the child that makes a snapshot for `other` has a piece of it ready */
    SIM_EV_DIAL,      /* `peer` tries to connect to `other` */
    SIM_EV_CONN_UP,   /* the greeting of `other` reaches `peer` */
    SIM_EV_CONN_DOWN, /* `peer` learns that its connection to `other` is gone */
    SIM_EV_DELIVER,   /* the next packet from `other` reaches `peer` */
    SIM_EV_CLIENT,    /* client `arg` acts */
    SIM_EV_CANCEL,    /* client `arg` gives up waiting */
    SIM_EV_FAULT,     /* something goes wrong */
    SIM_EV_HEAL,      /* and is mended: `arg` says what */
    SIM_EV_PHASE,     /* the run looks how far it is */
};

struct sim_event {
    uint64_t at_us;
    uint64_t order; /* events of one microsecond run in the order they were made */
    enum sim_event_kind kind;
    unsigned peer;
    unsigned other;
    uint64_t gen; /* of what it belongs to: an event of something gone is ignored */
    uint64_t arg;
};

/* What a seed decides, drawn before the first event. */
struct sim_config {
    unsigned n_participants;
    unsigned n_observers;
    bool unlisted; /* no configuration lists the observer, and it has no list itself */
    unsigned n_clients;
    uint32_t tick_ms;
    uint32_t peer_timeout_ms;
    uint32_t timeo_ms;
    size_t window_bytes;
    uint64_t snap_count;
    uint64_t snap_bytes;
    unsigned snap_retain;
    struct txnlog_config log;
    uint64_t net_us;            /* most of the one-way delay */
    uint64_t disk_us;           /* most of a disk job's time */
    uint64_t think_us;          /* most of a client's pause */
    uint64_t fault_interval_us; /* mean time between faults */
    unsigned calm_percent;      /* how often a fault waits until the ensemble has a quorum */
    bool early_faults;          /* faults begin before the ensemble has formed */
    bool wipes;
    bool disk_errors;
    bool forgetful;      /* the unlisted observers keep nothing on disk, and have another id after each start */
    bool grows;          /* it begins as an ensemble of one */
    bool losses;         /* now and then all but one lose their disks */
    unsigned drift_ppm;  /* most that a monotonic clock is fast or slow */
    uint64_t lonely_ops; /* so much work is done alone */
};

struct sim_message {
    struct sim_message *next;
    enum zab_packet_type type;
    unsigned to;
    uint64_t conn;
    uint64_t at_us;
    struct buf *frame;
};

struct sim_queue {
    struct sim_message *head;
    struct sim_message *tail;
};

/* A snapshot for a learner. */
struct sim_stream {
    uint64_t sid;
    uint8_t *bytes; /* all of it; NULL: there is none */
    size_t len;
    size_t cap;
    size_t pos;
    uint64_t gen; /* a piece of an older one is void */
};

struct sim_peer {
    struct sim *sim;
    unsigned index;
    uint64_t sid;
    bool observer;
    struct disk *disk;
    struct disk *null_disk;  /* in its place, where nothing is kept; else NULL */
    struct replica *replica; /* NULL while it is down */
    struct replica_env env;
    struct replica_listener listener;
    uint64_t incarnation;
    uint64_t booted_us;
    bool ending;     /* it called fatal() */
    bool stopping;   /* replica_stop() is under way */
    bool excused;    /* a disk fault was put in: it may end by itself */
    bool wiped;      /* and not synchronized since */
    bool alone;      /* its configuration lists nobody else */
    bool rotten;     /* its memory was changed on purpose: what it shows is not looked at */
    char fatal[512]; /* why it ended by itself or did not start, the last time */

    uint64_t timer_gen;
    bool flush_wanted;
    struct replica_job *job;
    bool disk_held;                           /* its disk does nothing */
    bool job_waits;                           /* and `job` waits for it */
    struct state *snap;                       /* the snapshot child's copy of the state */
    struct sim_stream streams[SIM_PEERS_MAX]; /* to each of the others */
    struct sim_queue outbox;

    uint64_t clock_base_ms;
    int32_t drift_ppm; /* its monotonic clock runs faster by this */
    int64_t wall_skew_ns;
    uint64_t paused_until_us;
    uint64_t slow_until_us;
    uint64_t slow_us;

    uint64_t zxid_shown;      /* by this incarnation */
    uint64_t zxid_shown_ever; /* by any, since it was wiped */
    uint64_t zxid_durable;    /* what its log was told to be safe up to */
    uint32_t epoch_saved;     /* the current epoch in its epochs file */
    uint64_t zxid_credited;   /* the same, but a wipe does not take it back: it was acknowledged in good faith */
};

/* One end of a connection. */
struct sim_end {
    bool up;
    uint64_t conn;
    uint64_t sid; /* of the other, as it was when it came up */
};

/* One way of a connection: what is sent by one end. */
struct sim_way {
    struct sim_queue queue;
    uint64_t last_us;
    unsigned stalls; /* faults that hold it up */
};

/* A pair of peers; index 0 is the lower one. */
struct sim_link {
    uint64_t conn_next;
    uint64_t conn_live; /* 0: broken, though an end may not know it yet */
    uint64_t dial_gen;
    struct sim_end end[2];
    struct sim_way way[2]; /* sent by end[i] */
};

/* Ways that are held up and released, again and again. */
#define SIM_FLAPS 4
struct sim_flap {
    uint64_t ways;
    unsigned left; /* turns; 0: free */
};

enum sim_phase {
    SIM_PHASE_FAULTS, /* work and faults until there were enough of both */
    SIM_PHASE_QUIET,  /* no more faults: the rest of the work */
    SIM_PHASE_DRAIN,  /* no more work: every call ends, all peers agree */
    SIM_PHASE_POWER,  /* all lose power at once, and agree again */
    SIM_PHASE_DONE,
};

/* What a run is looked at for: that each of these has happened. */
#define SIM_LESSONS    15
#define SIM_FAULTS_MAX 40
enum sim_branch {
    SIM_BRANCH_DUPLICATE,      /* a request sent again is answered from the record */
    SIM_BRANCH_EROFS,          /* no quorum for timeo, and the request never reached a leader */
    SIM_BRANCH_ETIMEDOUT,      /* and it may have */
    SIM_BRANCH_BARRIER_EIO,    /* and it was a barrier */
    SIM_BRANCH_LOST,           /* a client's peer died under its call */
    SIM_BRANCH_SNAPSHOT,       /* a snapshot file was written */
    SIM_BRANCH_TRUNCATE,       /* a log was cut */
    SIM_BRANCH_RESET,          /* a log was replaced by the leader's snapshot */
    SIM_BRANCH_REPLAY,         /* a start applied records of the log */
    SIM_BRANCH_TAIL,           /* a start found records that it must not show yet */
    SIM_BRANCH_UNREADABLE,     /* a restarted peer showed nothing for a while */
    SIM_BRANCH_ENDED,          /* a peer ended by itself, as its disk failed */
    SIM_BRANCH_ROOM_AGAIN,     /* a peer came back after its disk had been full */
    SIM_BRANCH_DISCONNECT,     /* a peer closed a connection */
    SIM_BRANCH_RESYNC,         /* a wiped member was synchronized */
    SIM_BRANCH_LINEARIZED,     /* a history was looked at */
    SIM_BRANCH_LINEARIZED_NOT, /* it was too hard: not counted */
    SIM_BRANCH_COUNT
};

#define SIM_COVER_PACKET 0
#define SIM_COVER_LESSON (SIM_COVER_PACKET + ZAB_PACKET_TYPE_COUNT)
#define SIM_COVER_FAULT  (SIM_COVER_LESSON + SIM_LESSONS + 1)
#define SIM_COVER_OP     (SIM_COVER_FAULT + SIM_FAULTS_MAX)
#define SIM_COVER_BRANCH (SIM_COVER_OP + OP_KIND_COUNT)
#define SIM_COVER_COUNT  (SIM_COVER_BRANCH + SIM_BRANCH_COUNT)

struct sim_stats {
    uint64_t events;
    uint64_t ops;
    uint64_t faults;
    uint64_t elections;
    uint64_t txns;
    uint64_t crashes;
    uint64_t snapshots_sent;
    uint64_t truncs;
    uint64_t diffs;
    uint64_t timeouts; /* calls that ended without an outcome */
    uint64_t simulated_us;
    uint64_t cover[SIM_COVER_COUNT];
};

struct sim_check; /* sim_check.c */
struct sim_keys;  /* sim_keys.c */
struct sim_world; /* sim_client.c: what clients share */

struct sim {
    uint64_t seed;
    uint64_t rng;
    uint64_t now_us;
    uint64_t order;
    struct sim_event *heap;
    size_t n_heap;
    size_t cap_heap;
    bool trace;
    bool outcomes_only; /* without the checks that look at disks: what is left is what users could notice */
    uint64_t trace_hash;

    uint64_t ops_min;
    uint64_t faults_min;
    enum sim_phase phase;
    uint64_t phase_deadline_us;
    uint64_t fault_gen; /* a heal of an older one is void: everything was healed at once */
    struct sim_flap flaps[SIM_FLAPS];
    bool snap_trap;      /* something happens to the next snapshot on its way */
    int lonely;          /* the peer that is an ensemble of one while all others are down; -1: none */
    uint64_t lonely_ops; /* until so much work is done */

    struct sim_config config;
    struct zab_server servers[SIM_PEERS_MAX];
    unsigned n_peers;
    struct sim_peer peers[SIM_PEERS_MAX];
    struct sim_link links[SIM_PEERS_MAX][SIM_PEERS_MAX]; /* [lower][higher] */
    struct sim_peer *current;                            /* whose code is running */
    struct sim_script *script;                           /* a scenario instead of random work and faults; else NULL */
    struct sim_client *clients;
    struct sim_world *world;
    struct sim_check *check;
    struct sim_stats stats;
};

/* ---- sim.c ---- */

struct sim_options {
    uint64_t seed;
    uint64_t ops;
    uint64_t faults;
    bool trace;
    bool outcomes_only;
};

/* Runs a seed to its end. Does not return when an invariant is broken: says so on stderr and exits with 1. */
void sim_run(const struct sim_options *options, struct sim_stats *ret_stats, uint64_t *ret_trace_hash);

struct sim *sim_new(const struct sim_options *options);
void sim_free(struct sim *s);
/* Runs the next event. */
void sim_step(struct sim *s);
/* Has every peer in the mask `peers` a quorum, and all that is committed? */
bool sim_all_agree(const struct sim *s, unsigned peers);
void sim_describe_peers(const struct sim *s, char *text, size_t size);

uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n);                    /* 0 <= x < n */
uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high); /* both included */
bool sim_chance(struct sim *s, unsigned percent);
/* A small delay: below `n`, at random; in a scenario always the same. */
uint64_t sim_jitter(struct sim *s, uint64_t n);

/* Puts `e` into the queue, `delay_us` from now. */
void sim_push(struct sim *s, uint64_t delay_us, struct sim_event e);

void sim_mix(struct sim *s, uint64_t value); /* into the trace hash */
void sim_trace(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void sim_fail(struct sim *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

void *sim_alloc(size_t size); /* zeroed, never NULL */

/* ---- sim_config.c ---- */

void sim_config_draw(struct sim *s);

/* ---- sim_env.c ---- */

void sim_peer_init(struct sim *s, unsigned index);
/* NULL: nobody has this id any more. */
struct sim_peer *sim_peer_by_sid(struct sim *s, uint64_t sid);
void sim_peer_release(struct sim_peer *p);
void sim_peer_boot(struct sim_peer *p);
#define SIM_NEVER UINT64_MAX
/* kill -9, or with `power` the machine's: what was not synced may be lost. It starts again after `delay_us`. */
void sim_peer_crash(struct sim_peer *p, bool power, uint64_t delay_us);
void sim_peer_stop(struct sim_peer *p);
/* Down, and its disk replaced by an empty one. */
void sim_peer_wipe(struct sim_peer *p);
/* Its disk works (again), or lets what is asked of it wait. */
void sim_peer_hold_disk(struct sim_peer *p, bool hold);
void sim_peer_on_event(struct sim_peer *p, const struct sim_event *e);
/* After every step of the peer: ends it if it failed or its disk died, checks it otherwise. */
void sim_peer_after_step(struct sim_peer *p);

/* ---- sim_stream.c ---- */

/* Of struct replica_env; `arg` is the peer. */
int sim_stream_open(void *arg, uint64_t sid, const struct state *state);
void sim_stream_pull(void *arg, uint64_t sid);
void sim_stream_close(void *arg, uint64_t sid);
void sim_stream_on_piece(struct sim_peer *p, const struct sim_event *e);

/* ---- sim_net.c ---- */

void sim_net_send(struct sim_peer *from, uint64_t sid, const struct zab_packet *packet);
void sim_net_flush(struct sim_peer *from);
void sim_net_disconnect(struct sim_peer *from, uint64_t sid);
void sim_net_boot(struct sim_peer *p);
/* The connections of `p` end; the others learn of it after up to `notice_us`. */
void sim_net_crash(struct sim_peer *p, uint64_t notice_us);
void sim_net_break(struct sim *s, unsigned a, unsigned b, uint64_t notice_us);
/* Holds up (or, with `delta` -1, releases) what `from` sends to `to`. */
void sim_net_stall(struct sim *s, unsigned from, unsigned to, int delta);
void sim_net_unstall_all(struct sim *s);
void sim_net_on_event(struct sim *s, const struct sim_event *e);
void sim_net_release(struct sim *s);
/* The connection breaks, and nothing that `from` has sent arrives any more. */
void sim_net_lose(struct sim *s, unsigned from, unsigned to);
/* The connection is gone, `a` knows, and `b` learns of it only because nothing comes any more. */
void sim_net_half_open(struct sim *s, unsigned a, unsigned b);

/* ---- sim_fault.c ---- */

void sim_fault_next(struct sim *s);
void sim_fault_on_event(struct sim *s);
void sim_fault_heal(struct sim *s, const struct sim_event *e);
void sim_fault_heal_all(struct sim *s);
/* A packet is about to be delivered: there may be a trap for it. */
void sim_fault_on_packet(struct sim *s, unsigned from, unsigned to, enum zab_packet_type type);

/* ---- sim_lonely.c: an ensemble of one ---- */

/* All others are kept down, `p` boots with a configuration that lists nobody else. */
void sim_lonely_begin(struct sim *s, struct sim_peer *p);
/* Has it worked long enough? Then all boot together. */
void sim_lonely_look(struct sim *s);
/* Nothing but crashes happens to who is alone. */
void sim_lonely_fault(struct sim *s);
/* All but one lose their disks, and the one goes on alone: what operators are told to do. False: not now. */
bool sim_lonely_lose(struct sim *s);

/* The name of a kind of fault; NULL from their number on. */
const char *sim_fault_name(unsigned kind);

/* ---- sim_cover.c ---- */

void sim_cover(struct sim *s, unsigned point);
void sim_cover_branch(struct sim *s, enum sim_branch branch);
void sim_cover_lesson(struct sim_stats *stats, unsigned lesson); /* 0: none */
void sim_stats_add(struct sim_stats *to, const struct sim_stats *from);
/* Prints the counts; returns how many of what should have happened has not, and names it. */
unsigned sim_cover_print(const struct sim_stats *stats);

/* ---- sim_script.c ---- */

/* Runs a scenario to its end, once for each value of its sweep; ends as sim_run() does. */
void sim_script_run(const char *path, const struct sim_options *options, struct sim_stats *ret_stats);
/* Where it is, for what sim_fail() says. */
void sim_script_where(const struct sim_script *script, char *text, size_t size);
void sim_script_on_send(struct sim *s, unsigned from, unsigned to, enum zab_packet_type type);
/* False: a step of the scenario keeps the packet from being delivered now. */
bool sim_script_may_deliver(struct sim *s, unsigned from, unsigned to, enum zab_packet_type type);
/* Its peer is gone: whatever was outstanding has no answer. */
void sim_script_lost(struct sim_peer *p);

/* ---- sim_client.c ---- */

void sim_clients_init(struct sim *s);
void sim_clients_release(struct sim *s);
void sim_client_on_event(struct sim *s, const struct sim_event *e);
/* Its peer is gone: whatever was outstanding has an unknown outcome. */
void sim_clients_lost(struct sim_peer *p);
/* No call outstanding, no outcome unknown. */
bool sim_clients_idle(const struct sim *s);
void sim_clients_describe(const struct sim *s, char *text, size_t size);

/* ---- sim_verify.c ---- */

/* Every client's directory, the shared file and the locks, in the tree of `p`. */
void sim_clients_verify(struct sim_peer *p);

/* ---- sim_check.c ---- */

/* A transaction as the ensemble committed it. */
struct sim_record {
    uint64_t zxid;
    int64_t time_ns;
    uint64_t txn_hash;
    uint64_t op_hash;
    uint64_t digest;
    uint64_t ino;
    uint64_t decided; /* the outcome's zxid: an earlier one for a duplicate */
    int err;
    bool duplicate;
    uint32_t epoch; /* of the leader that committed it */
};

/* The simulator that runs in this process; functions put between the replica and the store have no other way to it. */
extern struct sim *the_sim;

void sim_check_init(struct sim *s);
void sim_check_release(struct sim *s);
const struct sim_record *sim_check_record(const struct sim *s, uint64_t zxid);
uint64_t sim_check_last(const struct sim *s); /* the newest zxid committed, 0 if none */
/* The newest zxid that a leader of an epoch before `epoch` has committed. */
uint64_t sim_check_committed_before(const struct sim *s, uint32_t epoch);
uint64_t sim_op_hash(const struct op *op);
void sim_check_peer(struct sim_peer *p);
void sim_check_change(struct sim_peer *p, const struct change *change);

/* ---- sim_durable.c ---- */

void sim_check_booted(struct sim_peer *p);
/* Before a packet is sent. */
void sim_check_said(struct sim_peer *p, const struct zab_packet *packet);
void sim_check_wiped(struct sim_peer *p);

#endif
