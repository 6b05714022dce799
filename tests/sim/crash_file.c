#include "crash_file.h"

#include "crash_disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void *crash_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

/* splitmix64 */
uint64_t crash_random(uint64_t *random)
{
    uint64_t z = (*random += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

bool crash_chance(uint64_t *random, unsigned percent)
{
    return crash_random(random) % 100 < percent;
}

/* Images */

static void image_resize(struct crash_image *im, uint64_t size)
{
    uint64_t cap = im->cap;

    if (size > cap) {
        cap = cap * 2 > size ? cap * 2 : size;
        im->bytes = realloc(im->bytes, (size_t)cap);
        if (im->bytes == NULL) {
            abort();
        }
        im->cap = cap;
    }
    if (size > im->size) {
        memset(im->bytes + im->size, 0, (size_t)(size - im->size));
    }
    im->size = size;
}

static void image_write(struct crash_image *im, uint64_t offset, const uint8_t *bytes, size_t len)
{
    if (len == 0) {
        return;
    }
    if (offset + len > im->size) {
        image_resize(im, offset + len);
    }
    memcpy(im->bytes + offset, bytes, len);
}

static void image_copy(struct crash_image *to, const struct crash_image *from)
{
    to->size = 0;
    image_write(to, 0, from->bytes, (size_t)from->size);
}

/* Files and what is pending for them */

struct crash_inode *crash_inode_new(struct crash_inode **list)
{
    struct crash_inode *in = crash_alloc(sizeof(*in));

    in->tail = &in->head;
    in->next = *list;
    in->prev_link = list;
    if (in->next != NULL) {
        in->next->prev_link = &in->next;
    }
    *list = in;
    return in;
}

static void inode_drop_pending(struct crash_inode *in)
{
    struct crash_pending *p;

    while ((p = in->head) != NULL) {
        in->head = p->next;
        free(p);
    }
    in->tail = &in->head;
}

struct crash_inode *crash_inode_ref(struct crash_inode *in)
{
    in->refs++;
    return in;
}

void crash_inode_unref(struct crash_inode *in)
{
    assert(in->refs > 0);
    in->refs--;
    if (in->refs > 0) {
        return;
    }
    *in->prev_link = in->next;
    if (in->next != NULL) {
        in->next->prev_link = in->prev_link;
    }
    inode_drop_pending(in);
    free(in->seen.bytes);
    free(in->durable.bytes);
    free(in);
}

static void inode_add_pending(struct crash_inode *in, bool is_truncate, uint64_t offset, const void *bytes, size_t len)
{
    struct crash_pending *p = crash_alloc(sizeof(*p) + len);

    p->is_truncate = is_truncate;
    p->offset = offset;
    p->len = len;
    if (len > 0) {
        memcpy(p->bytes, bytes, len);
    }
    *in->tail = p;
    in->tail = &p->next;
}

void crash_inode_keep_all(struct crash_inode *in)
{
    const struct crash_pending *p;

    for (p = in->head; p != NULL; p = p->next) {
        if (p->is_truncate) {
            image_resize(&in->durable, p->offset);
        } else {
            image_write(&in->durable, p->offset, p->bytes, p->len);
        }
    }
    inode_drop_pending(in);
}

/* Writes the sectors of `p` that survive. */
static void tear(uint64_t *random, struct crash_inode *in, const struct crash_pending *p, unsigned keep_percent)
{
    size_t done;
    size_t piece;

    for (done = 0; done < p->len; done += piece) {
        piece = CRASH_DISK_SECTOR - (size_t)((p->offset + done) % CRASH_DISK_SECTOR);
        if (piece > p->len - done) {
            piece = p->len - done;
        }
        if (crash_chance(random, keep_percent)) {
            image_write(&in->durable, p->offset + done, p->bytes + done, piece);
        }
    }
}

/* How much survives differs from file to file and crash to crash, so that seeds also visit "all" and "nothing". */
static void keep_some(struct crash_inode *in, uint64_t *random, unsigned torn_percent, unsigned kept_percent,
                      bool keep_sizes)
{
    unsigned keep_percent = kept_percent <= 100 ? kept_percent : (unsigned)(crash_random(random) % 5) * 25;
    const struct crash_pending *p;

    for (p = in->head; p != NULL; p = p->next) {
        if (!p->is_truncate && crash_chance(random, torn_percent)) {
            tear(random, in, p, keep_percent);
        } else if (!(p->is_truncate && keep_sizes) && !crash_chance(random, keep_percent)) {
            continue;
        } else if (p->is_truncate) {
            image_resize(&in->durable, p->offset);
        } else {
            image_write(&in->durable, p->offset, p->bytes, p->len);
        }
    }
    inode_drop_pending(in);
}

void crash_inode_keep_some(struct crash_inode *in, uint64_t *random, unsigned torn_percent, unsigned kept_percent)
{
    keep_some(in, random, torn_percent, kept_percent, false);
}

void crash_inode_fail_sync(struct crash_inode *in, uint64_t *random, unsigned torn_percent)
{
    keep_some(in, random, torn_percent, CRASH_DISK_RANDOM, true);
}

void crash_inode_write(struct crash_inode *in, uint64_t offset, const void *bytes, size_t len)
{
    if (len > 0) {
        image_write(&in->seen, offset, bytes, len);
        inode_add_pending(in, false, offset, bytes, len);
    }
}

void crash_inode_truncate(struct crash_inode *in, uint64_t size)
{
    if (size != in->seen.size) {
        image_resize(&in->seen, size);
        inode_add_pending(in, true, size, NULL, 0);
    }
}

void crash_inode_forget(struct crash_inode *in)
{
    image_copy(&in->seen, &in->durable);
}
