/*
 * fuse_host: the real front end over a real peer of an ensemble of one that keeps nothing on disk, with a socket in
 * place of /dev/fuse. Whatever goes to a thread is done when the host says so, on the same thread: equal inputs,
 * equal runs.
 */
#ifndef TESTS_FUZZ_FUSE_HOST_H
#define TESTS_FUZZ_FUSE_HOST_H

#include "fs/mount.h"

#define HOST_DATA_MAX 65536u

struct fuse_host {
    uv_loop_t loop;
    struct peer *peer;
    struct mount *mount;
    struct report report;
    int fd; /* the kernel's end of the socket */
    bool peer_ended;
    bool mount_ended;
};

/* How the host mounts. */
enum fuse_host_flags {
    HOST_SYNC = 1,
    HOST_STRICT = 2,
    HOST_SOFT = 4,
};

void fuse_host_start(struct fuse_host *h, unsigned flags);

/* Lets the loop do what it has to do, jobs for threads included; false when there was nothing. */
bool fuse_host_turn(struct fuse_host *h);

/* Unmounts, ends the peer, frees all. */
void fuse_host_stop(struct fuse_host *h);

#endif
