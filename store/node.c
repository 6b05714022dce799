/*
 * node: one znode: its memory, its name, data and xattrs, and its part of the digest.
 */
#include "tree_int.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static void *alloc_or_abort(size_t size)
{
    void *p = malloc(size);

    if (p == NULL) {
        abort();
    }
    return p;
}

static void name_release(struct node *n)
{
    if (n->name != n->name_inline) {
        free(n->name);
    }
    n->name = NULL;
}

/* `name` may be the node's own: it is copied before the old one goes. */
void node_set_name(struct node *n, const char *name, size_t name_len)
{
    char copy[TXN_NAME_MAX + 1];

    assert(name_len <= TXN_NAME_MAX);
    if (name_len > 0) {
        memcpy(copy, name, name_len);
    }
    copy[name_len] = '\0';
    name_release(n);
    n->name = name_len < NODE_NAME_INLINE ? n->name_inline : alloc_or_abort(name_len + 1);
    memcpy(n->name, copy, name_len + 1);
    n->name_len = (uint8_t)name_len;
}

struct node *node_new(enum node_kind kind, uint64_t ino, const char *name, size_t name_len)
{
    struct node *n = calloc(1, sizeof(*n));

    if (n == NULL) {
        abort();
    }
    n->kind = (uint8_t)kind;
    n->ino = ino;
    n->name = n->name_inline;
    node_set_name(n, name, name_len);
    if (kind == NODE_DIR) {
        n->dir = dir_new();
    }
    return n;
}

void node_free(struct node *n)
{
    if (n == NULL) {
        return;
    }
    while (n->xattrs != NULL) {
        struct xattr *x = n->xattrs;

        n->xattrs = x->next;
        free(x);
    }
    buf_unref(n->data);
    dir_free(n->dir);
    name_release(n);
    free(n);
}

uint64_t node_cookie(const struct node *n)
{
    return n->parent == NULL ? 0 : n->parent->dir->slots[n->slot].cookie;
}

bool node_is_below(const struct node *n, const struct node *ancestor)
{
    while (n != NULL && n != ancestor) {
        n = n->parent;
    }
    return n != NULL;
}

uint64_t data_hash(const uint8_t *bytes, size_t len)
{
    return len == 0 ? 0 : XXH3_64bits(bytes, len);
}

static uint64_t xattrs_hash(const struct node *n)
{
    uint64_t hash = 0;

    for (const struct xattr *x = n->xattrs; x != NULL; x = x->next) {
        uint64_t word = htole64(x->hash);

        hash = XXH3_64bits_withSeed(&word, sizeof(word), hash);
    }
    return hash;
}

struct node_place node_place(const struct node *n)
{
    return (struct node_place){
        .ino = n->ino,
        .parent_ino = n->parent == NULL ? 0 : n->parent->ino,
        .cookie = node_cookie(n),
        .name = n->name,
        .name_len = n->name_len,
    };
}

struct node_place node_place_below(const struct node *n, const struct node *top)
{
    struct node_place place = node_place(n);

    if (n == top) {
        return (struct node_place){.ino = TREE_ROOT_INO, .name = ""};
    }
    if (n->parent == top) {
        place.parent_ino = TREE_ROOT_INO;
    }
    return place;
}

uint64_t node_digest(const struct node *n)
{
    struct node_place place = node_place(n);

    return node_digest_at(n, &place);
}

uint64_t node_digest_at(const struct node *n, const struct node_place *place)
{
    uint64_t words[] = {
        place->ino,
        place->parent_ino,
        place->cookie,
        n->czxid,
        n->mzxid,
        n->pzxid,
        (uint64_t)n->cversion << 32 | n->version,
        (uint64_t)n->data_len << 32 | n->aversion,
        (uint64_t)n->btime_ns,
        (uint64_t)n->mtime_ns,
        (uint64_t)n->ctime_ns,
        (uint64_t)n->atime_ns,
        n->data_hash,
        (uint64_t)n->gid << 32 | n->uid,
        (uint64_t)n->kind << 16 | n->mode,
        n->dir == NULL ? 0 : n->dir->next_cookie,
        xattrs_hash(n),
    };

    /* Peers of either byte order must agree. */
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        words[i] = htole64(words[i]);
    }
    return XXH3_64bits_withSeed(words, sizeof(words), XXH3_64bits(place->name, place->name_len));
}

void tree_set_data(struct tree *t, struct node *n, struct buf *b, uint32_t len, uint64_t hash)
{
    assert((b == NULL) == (len == 0));
    assert(b == NULL || len <= b->len);
    buf_unref(n->data);
    t->data_bytes = t->data_bytes - n->data_len + len;
    n->data = b;
    n->data_len = len;
    n->data_hash = hash;
}

void tree_append_data(struct tree *t, struct node *n, const uint8_t *bytes, uint32_t len, uint32_t cap_max)
{
    struct buf *b = n->data;
    uint64_t size = (uint64_t)n->data_len + len;

    assert(len > 0);
    if (b == NULL || b->len != n->data_len || b->cap < size) {
        uint64_t cap = 2 * (uint64_t)n->data_len;

        cap = cap < cap_max ? cap : cap_max;
        b = buf_new(cap > size ? cap : size);
        if (n->data != NULL) {
            memcpy(b->bytes, n->data->bytes, n->data_len);
        }
        buf_unref(n->data);
    }
    memcpy(b->bytes + n->data_len, bytes, len);
    b->len = (uint32_t)size;
    n->data = b;
    n->data_len = (uint32_t)size;
    n->data_hash = XXH3_64bits_withSeed(bytes, len, n->data_hash);
    t->data_bytes += len;
}

const struct xattr *node_get_xattr(const struct node *n, const char *name, size_t name_len)
{
    for (const struct xattr *x = n->xattrs; x != NULL; x = x->next) {
        if (x->name_len == name_len && memcmp(x->name, name, name_len) == 0) {
            return x;
        }
    }
    return NULL;
}

const struct xattr *node_xattr(const struct node *n, const char *name)
{
    return node_get_xattr(n, name, strlen(name));
}

uint64_t node_xattr_bytes(const struct node *n)
{
    uint64_t bytes = 0;

    for (const struct xattr *x = n->xattrs; x != NULL; x = x->next) {
        bytes += x->name_len + x->len;
    }
    return bytes;
}

uint32_t node_xattr_count(const struct node *n)
{
    uint32_t count = 0;

    for (const struct xattr *x = n->xattrs; x != NULL; x = x->next) {
        count++;
    }
    return count;
}

static struct xattr *xattr_new(const char *name, size_t name_len, const uint8_t *value, uint32_t len)
{
    struct xattr *x = alloc_or_abort(sizeof(*x) + name_len + 1 + len);
    uint8_t *copy = (uint8_t *)x->name + name_len + 1;

    x->next = NULL;
    x->name_len = (uint32_t)name_len;
    memcpy(x->name, name, name_len);
    x->name[name_len] = '\0';
    x->len = len;
    if (len > 0) {
        memcpy(copy, value, len);
    }
    x->value = copy;
    /* The NUL between them keeps ("ab", "c") apart from ("a", "bc"). */
    x->hash = XXH3_64bits(x->name, name_len + 1 + len);
    return x;
}

/* The link that points to `old`, or the one at the end of the list for NULL. */
static struct xattr **xattr_link(struct node *n, const struct xattr *old)
{
    struct xattr **link = &n->xattrs;

    while (*link != old) {
        assert(*link != NULL);
        link = &(*link)->next;
    }
    return link;
}

void tree_set_xattr(struct tree *t, struct node *n, const char *name, size_t name_len, const uint8_t *value,
                    uint32_t len)
{
    const struct xattr *old = node_get_xattr(n, name, name_len);
    struct xattr **link = xattr_link(n, old);
    struct xattr *x = xattr_new(name, name_len, value, len);

    if (old != NULL) {
        x->next = old->next;
        t->data_bytes -= (*link)->name_len + (*link)->len;
        free(*link);
    }
    *link = x;
    t->data_bytes += x->name_len + x->len;
}

void tree_remove_xattr(struct tree *t, struct node *n, const struct xattr *x)
{
    struct xattr **link = xattr_link(n, x);
    struct xattr *gone = *link;

    *link = gone->next;
    t->data_bytes -= gone->name_len + gone->len;
    free(gone);
}

size_t node_path(const struct node *n, char *buf, size_t cap)
{
    size_t len = 0;
    size_t at;

    for (const struct node *up = n; up->parent != NULL; up = up->parent) {
        len += 1 + (size_t)up->name_len;
    }
    if (len == 0) {
        len = 1;
    }
    if (cap <= len) {
        if (cap > 0) {
            buf[0] = '\0';
        }
        return len;
    }
    buf[0] = '/';
    buf[len] = '\0';
    at = len;
    for (const struct node *up = n; up->parent != NULL; up = up->parent) {
        at -= up->name_len;
        memcpy(buf + at, up->name, up->name_len);
        at--;
        buf[at] = '/';
    }
    return len;
}
