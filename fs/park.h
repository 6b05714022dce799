/*
 * park: requests that wait before any handler sees them, kept as the bytes the kernel sent.
 *
 * Two reasons to wait: there is nothing that may be shown yet (replica_readable()), or the file is just being
 * published by a RELEASE (design: 2.1, rule 4). A parked request is handled as if it had come later.
 */
#ifndef FS_PARK_H
#define FS_PARK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct fuse_buf;
struct mount;
struct parked;

struct park {
    struct parked *first;
    struct parked **last;
    uv_timer_t timer;
    struct mount *mount;
};

/* `timer` counts as one of the mount's libuv handles. */
int park_init(struct park *p, struct mount *m);

/* Keeps a copy of the request, or answers it, when it may not be handled now; true then. */
bool park_take(struct park *p, const struct fuse_buf *request);

/* Looks at all parked requests again: something that they may wait for has happened. */
void park_wake(struct park *p);

/* Drops all: the kernel waits for nothing any more. */
void park_clear(struct park *p);

#endif
