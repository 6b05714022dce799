/*
 * dotznodefs: `.znodefs`, there in every directory for who asks by name: texts rendered anew at each open, and
 * `snapshot`, for the daemon's user alone: that directory and all below it (export.h).
 *
 * Its inode numbers are made of the directory's, with the highest bit set, which the tree never gives out: a directory
 * may have one place only in the kernel's eyes, so each needs its own.
 */
#ifndef FS_DOTZNODEFS_H
#define FS_DOTZNODEFS_H

#include "front.h"

#define DOT_NAME ".znodefs"
#define DOT_BIT  (1ull << 63)

static inline bool dot_is(uint64_t ino)
{
    return (ino & DOT_BIT) != 0;
}

/* Whether it shows the tree: then it waits and is refused as other reads are. */
bool dot_shows_tree(uint64_t ino);

/* The entry `.znodefs` of the directory `parent`. */
void dot_reply_entry(fuse_req_t req, fuse_ino_t parent);

void dot_lookup(fuse_req_t req, fuse_ino_t ino, const char *name);
void dot_getattr(fuse_req_t req, fuse_ino_t ino);
void dot_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset);
void dot_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void dot_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void dot_release(fuse_req_t req, struct fuse_file_info *fi);

/* Readable always; POLLPRI and POLLERR once the status has changed since the text was last rendered, as with
 * /proc/mounts. */
void dot_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph);
/* Wakes all who poll: the status has changed. */
void dot_wake(struct mount *m);

/* Closes all that is open: the kernel will not. */
void dot_close_all(struct mount *m);

#endif
