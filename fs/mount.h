/*
 * mount: the FUSE front end: requests of the kernel in, operations of the replica out. One libfuse3 low-level session
 * whose descriptor is polled by the libuv loop. Knows the replica by replica.h alone.
 */
#ifndef FS_MOUNT_H
#define FS_MOUNT_H

#include "consensus/histogram.h"
#include "consensus/replica.h"
#include "report.h"

#include <uv.h>

struct mount;

struct mount_options {
    const char *source;     /* shown as the device in /proc/mounts */
    const char *mountpoint; /* absolute */
    uint64_t root;          /* the znode that is the mount's root: see subtree.h; 0: the tree's */
    bool read_only;
    bool sync;   /* every write(2) is its own transaction */
    bool soft;   /* closes that publish fail with ETIMEDOUT instead of waiting */
    bool strict; /* reads fail with EIO without a quorum */
    bool allow_other;
    bool debug; /* libfuse's request trace on stderr */
    uint32_t timeo_ms;
    uint32_t data_max;               /* jute.maxbuffer: a draft beyond it fails with EFBIG at write(2) */
    const char *const *fuse_options; /* passed on to mount(2) as -o OPTION */
    size_t n_fuse_options;
    void (*log)(void *arg, const char *text); /* one line, no newline; may be NULL */
    void *log_arg;
};

/* Mounts and serves on `loop`. `ended` is called once the mount is gone (umount, fusermount3 -u, or after
 * mount_stop()); the mount is freed after it returns. -ENOTCONN: a stale mount is in the way; -ENOENT, -ENOTDIR,
 * -EACCES, ...: the mountpoint; err says the mend. */
int mount_start(uv_loop_t *loop, struct replica *replica, const struct report *report,
                const struct mount_options *options, void (*ended)(void *arg), void *arg, struct mount **ret_mount,
                struct error *err);

/* The same without mounting, for tests: who has the other end of `fd`, a socket that keeps messages apart, stands for
 * the kernel, and unmounts by closing it. Not to be stopped with mount_stop(). `fd` is taken over on success. */
int mount_start_on_socket(uv_loop_t *loop, struct replica *replica, const struct report *report,
                          const struct mount_options *options, int fd, void (*ended)(void *arg), void *arg,
                          struct mount **ret_mount, struct error *err);

int mount_fd(const struct mount *m); /* /dev/fuse, for peer_close_in_child() */

/* Unmounts. Publishes what open drafts must be published for first; waits for outstanding calls at most timeo. */
void mount_stop(struct mount *m);

struct mount_stats {
    uint64_t requests;
    uint64_t publishes;
    uint64_t publish_errors;
    struct { /* the last error that no close has told anybody of; err 0: none */
        int err;
        uint64_t ino;
        int64_t wall_ns;
    } publish_lost;
    uint64_t open_files;
    uint64_t drafts;
    struct histogram change_times; /* of changes and barriers, from the request to its outcome */
};
void mount_stats(const struct mount *m, struct mount_stats *ret_stats);

#endif
