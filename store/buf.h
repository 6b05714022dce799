/*
 * buf: a byte buffer that is shared by counting references.
 *
 * It carries a znode's data (readers that opened a version keep it alive while the tree moves on) and the body of
 * a proposal (held by the log window, the disk queue and the packets at once). References are counted without
 * atomics: buffers belong to the loop thread.
 */
#ifndef STORE_BUF_H
#define STORE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    uint32_t refs;
    uint32_t len; /* bytes in use */
    uint32_t cap; /* bytes allocated in `bytes` */
    uint8_t bytes[];
};

/* A buffer of length 0 with room for `cap` bytes, one reference. Aborts when memory is out: callers have
 * checked `cap` against the bound of whoever chose it. */
struct buf *buf_new(size_t cap);

/* A buffer holding a copy of `len` bytes, one reference. `bytes` may be NULL when len is 0. */
struct buf *buf_copy(const void *bytes, size_t len);

/* One more reference to `b`; returns b. */
struct buf *buf_ref(struct buf *b);

/* Drops a reference, frees at the last one. NULL is accepted. */
void buf_unref(struct buf *b);

#endif
