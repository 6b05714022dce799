/*
 * What the files of peer share: peer.c (start, the flush before the loop waits, the end), peer_env.c (the replica's
 * world), peer_disk.c (the thread that waits for the disk), peer_child.c (forked children), peer_snapshot.c (one that
 * writes a file), peer_stream.c (one that writes into a pipe), peer_send.c (the replica's use of those).
 */
#ifndef CONSENSUS_PEER_INT_H
#define CONSENSUS_PEER_INT_H

#include "peer.h"

/*
 *   RUNNING --peer_stop(), fatal--> STOPPING --replica at rest, no children--> DISCONNECTING --transport gone-->
 * CLOSING
 *
 * All moves but the last two callbacks' are made by the prepare handle: never from within the replica.
 */
enum peer_phase {
    PEER_RUNNING,
    PEER_STOPPING,
    PEER_DISCONNECTING,
    PEER_CLOSING,
};

struct peer_child;
struct peer_send;

/* What is not the loop's alone is handed over by `wanted`, and back by `done`. */
struct disk_thread {
    bool started;
    uv_thread_t thread;
    uv_sem_t wanted;
    uv_async_t done;
    struct replica_job *job; /* under way; NULL when wanted: the end */
    bool ran;                /* job and job_ns are the loop's again */
    uint64_t job_ns;         /* how long its run() took */
    struct histogram job_times;
};

struct peer {
    uv_loop_t *loop;
    struct peer_callbacks cb;
    struct disk *disk; /* disk_null, or disk_posix while dir_fd is open */
    int dir_fd;        /* of dataDir/znodefs, for the snapshot child */
    struct replica *replica;
    struct transport *transport;

    uv_timer_t timer;
    uv_check_t check;     /* runs once the timer is due, when what has arrived until then was read */
    uv_prepare_t prepare; /* runs right before the loop waits */
    uv_idle_t idle;       /* active while a flush is wanted: then the loop does not wait */
    unsigned handles;

    struct disk_thread disk_thread;
    struct peer_child *children; /* that run, and are to be awaited */
    bool saving;                 /* one of them writes a snapshot file */
    struct peer_send *sends;     /* snapshots on their way to learners */
    uint8_t *piece;              /* REPLICA_PIECE_MAX; NULL before the first of them */
    int *close_fds;
    size_t n_close_fds;

    enum peer_phase phase;
    bool flush_wanted;
    bool stop_wanted;
    bool replica_stopped;
    char *fatal_text; /* owned; NULL: it ends because it was asked to */
};

void peer_wake(struct peer *p);
void peer_log(struct peer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* peer_env.c */
struct replica_env peer_env(struct peer *p);
struct transport_callbacks peer_transport_callbacks(struct peer *p);
uint64_t peer_random(void);

/* peer_disk.c */
int disk_thread_start(struct disk_thread *d);
/* Its handle, `done`, is closed by whoever attached it. */
void disk_thread_attach(struct disk_thread *d, uv_loop_t *loop);
void disk_thread_put(struct disk_thread *d, struct replica_job *job);
void disk_thread_stop(struct disk_thread *d);

/* peer_child.c */
#define PEER_CHILD_OUT_FD 4

struct peer_child_task {
    /* In the child, in dataDir/znodefs if there is one, with no descriptor but the pipe for what goes wrong and
     * PEER_CHILD_OUT_FD. 0 or a negative errno, and why. */
    int (*run)(void *arg, struct error *err);
    void *run_arg; /* copied by the fork: may be on the stack */
    int out_fd;    /* borrowed, PEER_CHILD_OUT_FD in the child; -1: none */
    /* On the loop, once, when the child is gone. */
    void (*ended)(void *arg, int rv, const char *text);
    void *ended_arg;
};

/* On success `ended` comes later, whatever happens; until then *ret_child may be killed. */
int peer_child_start(struct peer *p, const struct peer_child_task *task, struct peer_child **ret_child);
void peer_child_kill(struct peer_child *child);
void peer_children_kill(struct peer *p);

/* peer_snapshot.c */
int peer_snapshot_begin(struct peer *p, const struct state *state);

/* peer_send.c: streams as struct replica_env has them. */
int peer_send_open(struct peer *p, uint64_t sid, const struct state *state);
void peer_send_pull(struct peer *p, uint64_t sid);
void peer_send_close(struct peer *p, uint64_t sid);
/* Hands over what was asked for and is there; may call the replica. */
void peer_sends_run(struct peer *p);
/* Is there more for peer_sends_run() to do at once? */
bool peer_sends_waiting(const struct peer *p);

#endif
