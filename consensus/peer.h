/*
 * peer: a replica hosted on a libuv loop: its clock, timer, thread for the disk, transport and the
 * children that write its state.
 */
#ifndef CONSENSUS_PEER_H
#define CONSENSUS_PEER_H

#include "histogram.h"
#include "replica.h"
#include "transport.h"

#include <uv.h>

struct peer;

struct peer_config {
    struct replica_config replica;
    struct transport_config transport; /* nonce is drawn by the peer; listen_host NULL and no peers: standalone */
    const char *data_dir;              /* dataDir/znodefs is created in it and locked; NULL: nothing is kept */
};

/* An observer that is not listed has no servers in replica.zab and no sid: it draws one, and with a dataDir keeps it.
 */

struct peer_callbacks {
    /* The peer has ended by itself (lesson 8, lesson 11) or, after peer_stop(), as asked: `text` is NULL then. The
     * peer is freed after this returns. */
    void (*ended)(void *arg, const char *text);
    void (*log)(void *arg, const char *text);
    void *arg;
};

/* Opens dataDir, recovers, listens, starts. -EWOULDBLOCK: dataDir is in use; -EXDEV: another server's; -EPROTO: written
 * by a newer version; -EBADMSG: damaged; -EADDRINUSE, -EADDRNOTAVAIL: the peer port. err says the mend. */
int peer_start(uv_loop_t *loop, const struct peer_config *config, const struct peer_callbacks *cb,
               struct peer **ret_peer, struct error *err);

struct replica *peer_replica(struct peer *p);
void peer_transport_stats(const struct peer *p, struct transport_stats *ret_stats);

/* How long jobs of the disk queue took in their thread (mostly an append and its sync); valid as long as the peer.
 */
const struct histogram *peer_job_times(const struct peer *p);

/* "host:port" of a connected peer, else NULL. */
const char *peer_address(const struct peer *p, uint64_t sid);

/* File descriptors that a forked snapshot child must close besides the peer's own (e.g. /dev/fuse). -1 entries are
 * skipped; copied. */
void peer_close_in_child(struct peer *p, const int *fds, size_t n);

/*
 * `state` (the replica's, as it is now) as a stream of bytes in the format of store/snapshot.h, made by a forked child.
 * `top`: the inode number of a directory that becomes the root of what is written (snapshot_write_below()); 0: all.
 * `ready` is called on the loop, after each -EAGAIN of peer_stream_read() and never from within. The caller bounds how
 * many there are at once: each holds a process, and memory for what is changed here meanwhile. Negative errno if the
 * child could not be started.
 */
struct peer_stream;
int peer_stream_open(struct peer *p, const struct state *state, uint64_t top, void (*ready)(void *arg), void *arg,
                     struct peer_stream **ret_stream);

/* Takes up to `len` bytes (not 0) and returns how many. 0: those were all, and the state is whole; -EAGAIN: none are
 * there now, `ready` will be called; another error: the child failed, also when the peer has been stopped. */
ssize_t peer_stream_read(struct peer_stream *s, void *bytes, size_t len);

/* At any time, also when the peer is gone, as long as its loop runs: ends the child, frees the stream; `ready` is not
 * called any more. */
void peer_stream_close(struct peer_stream *s);

void peer_stop(struct peer *p);

#endif
