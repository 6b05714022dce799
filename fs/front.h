/*
 * front: what the parts of the FUSE front end share: the mount itself, calls under way, and the handlers.
 */
#ifndef FS_FRONT_H
#define FS_FRONT_H

#include "handle.h"
#include "known.h"
#include "mount.h"
#include "park.h"
#include "recent.h"

#include <fuse_lowlevel.h>
#include <uv.h>

#define FRONT_WRITE_MAX (1024u * 1024u) /* bytes of one WRITE, and of one READ: 256 pages */

struct dot_file;
struct waiter;

struct mount {
    uv_loop_t *loop;
    struct replica *replica;
    const struct report *report;
    struct mount_options options; /* its strings are copies */
    struct fuse_session *session;
    struct fuse_buf request; /* the request being received */
    unsigned max_read;       /* bytes of one READ, 0: as many as the kernel likes */
    uint64_t dev;            /* of the mount, as in st_dev; 0 if /proc does not tell */
    uv_poll_t poll;
    uv_timer_t tick; /* once a second quarter while calls wait without a quorum, and for the end */
    uv_work_t unmount;
    uint64_t end_ms;  /* when calls still outstanding at the end are given up */
    int n_handles_uv; /* libuv handles to be closed before freeing */
    bool unmounting;  /* the job of mount_stop() is out */
    bool ended;       /* the kernel's side is gone */
    bool lazy;        /* the mount was busy: detached, with files open */
    bool closing;
    struct replica_listener *listener;
    struct park park;
    struct inodes inodes;
    struct known known;
    struct recent recent;
    struct call *calls;         /* under way */
    struct dot_file *dot_files; /* open */
    unsigned n_exports;
    uint64_t status_generation; /* changes whenever the replica's status does */
    struct mount_stats stats;
    void (*on_ended)(void *arg);
    void *on_ended_arg;
};

static inline struct mount *mount_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static inline const struct tree *mount_tree(const struct mount *m)
{
    return replica_tree(m->replica);
}

void mount_log(struct mount *m, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * A request that waits for the replica. `finish` gets the outcome and answers call->req; the call is freed after it
 * returns. The fields below belong to the handlers that use them.
 */
struct call {
    struct replica_call replica_call;
    struct call *next;
    struct call *prev;
    struct mount *mount;
    fuse_req_t req; /* NULL: nobody waits (any more) */
    pid_t pid;
    uint64_t start_ns; /* when it was submitted */
    void (*finish)(struct call *c, const struct outcome *outcome);
    struct inode *inode; /* held */
    struct handle *handle;
    struct draft *draft;    /* owned */
    struct waiter *waiters; /* further closes that wait for this one; owned */
    struct stat stat;       /* of a node to be made, should it be gone again by then */
    int flags;
    size_t size;
    off_t offset;
    bool releasing;
    bool publishing;
    bool interruptible;
};

struct call *call_new(struct mount *m, fuse_req_t req, void (*finish)(struct call *, const struct outcome *));
void call_hold(struct call *c, uint64_t ino);
/* Submits; the call belongs to the replica until it is done. */
void call_submit(struct call *c, enum replica_patience patience, const struct op *op);
void calls_cancel_all(struct mount *m, int err);
/* Answers calls whose process is being killed (design: 2.3). */
void calls_check_killed(struct mount *m);
/* The usual finish: the outcome's errno or plain success. */
void call_finish_err(struct call *c, const struct outcome *outcome);

/* ---- publishing: publish.c ---- */

enum publish_kind {
    PUBLISH_FLUSH,
    PUBLISH_FSYNC,
    PUBLISH_WRITE, /* O_SYNC: replies with the size written */
    PUBLISH_RELEASE,
};

/* Publishes the handle's draft (there is one) and answers `req` (NULL for RELEASE) with the outcome. */
void publish(struct mount *m, struct handle *h, fuse_req_t req, enum publish_kind kind, size_t size);
/* Another close by the opener while one is publishing: it is answered with that one's outcome. */
void publish_wait(struct handle *h, fuse_req_t req);
/* The process behind the call, or behind some of those that wait with it, is being killed: it is answered at once, and
 * the publishing goes on, as after a RELEASE. */
void publish_check_killed(struct call *c);
/* All drafts that are left once nothing comes from the kernel any more. */
void publish_leftovers(struct mount *m);

/* ---- attributes: ops_attr.c ---- */

/* The attributes of `ino` as the thread `pid` shall see them: its own draft's size. -ESTALE: there is no such. */
int attr_of(struct mount *m, uint64_t ino, pid_t pid, struct stat *ret_st);
void reply_entry_of(struct call *c, const struct outcome *outcome);

/* ---- set-id bits: set_id.c ---- */

/* Which of them a change of the contents by the requester takes away, as SETATTR_KILL_* bits: what write(2) and
 * truncate(2) do on a disk, and what the kernel leaves to us. */
uint32_t set_id_lost(fuse_req_t req, uint64_t ino);
/* Takes them away, ahead of whatever is submitted later: nobody sees new contents with old set-id bits. */
void set_id_drop(fuse_req_t req, uint64_t ino);

/* ---- handlers ---- */

void op_init(void *userdata, struct fuse_conn_info *conn);
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
               unsigned flags);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *bytes, size_t size, off_t offset, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

static inline struct handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct handle *)(uintptr_t)fi->fh;
}

#endif
