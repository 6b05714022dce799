/*
 * export: what is read from an open `.znodefs/snapshot`: a directory and all below it, exact at the zxid of the open,
 * in the format of store/snapshot.h. A child of the daemon makes the bytes; here are those that are asked for.
 */
#ifndef FS_EXPORT_H
#define FS_EXPORT_H

#include "front.h"

/* How many may be open at once on a mount: each is a process with a copy of what is changed meanwhile. */
#define EXPORTS_MAX 4

struct export;

/* -EBUSY: too many are open; -ESTALE: `dir` is gone; else what keeps a process from being started. */
int export_open(struct mount *m, uint64_t dir, struct export **ret_export);

/* Answers `req`, at once or when there are bytes. EIO: the snapshot could not be made; ESPIPE: only from the beginning
 * to the end; EBUSY: another read waits; EINTR. */
void export_read(struct export *e, fuse_req_t req, size_t size, off_t offset);

/* A read that waits is answered: EIO. */
void export_close(struct export *e);

#endif
