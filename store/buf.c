#include "buf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct buf *buf_new(size_t cap)
{
    struct buf *b;

    assert(cap <= UINT32_MAX);
    b = malloc(sizeof(*b) + cap);
    if (b == NULL) {
        abort();
    }
    b->refs = 1;
    b->len = 0;
    b->cap = (uint32_t)cap;
    return b;
}

struct buf *buf_copy(const void *bytes, size_t len)
{
    struct buf *b = buf_new(len);

    if (len > 0) {
        memcpy(b->bytes, bytes, len);
    }
    b->len = (uint32_t)len;
    return b;
}

struct buf *buf_ref(struct buf *b)
{
    assert(b->refs > 0);
    b->refs++;
    return b;
}

void buf_unref(struct buf *b)
{
    if (b == NULL) {
        return;
    }
    assert(b->refs > 0);
    b->refs--;
    if (b->refs == 0) {
        free(b);
    }
}
