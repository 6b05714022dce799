#include "gone.h"

#include "store/txn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

const struct gone_xattr *gone_xattr_find(struct gone_xattr *list, const char *name)
{
    struct gone_xattr *x;

    HASH_FIND_STR(list, name, x);
    return x;
}

static void drop(struct gone_xattr **list, struct gone_xattr *x)
{
    HASH_DEL(*list, x);
    free(x->value);
    free(x);
}

void gone_xattrs_free(struct gone_xattr **list)
{
    struct gone_xattr *x;
    struct gone_xattr *next;

    HASH_ITER(hh, *list, x, next)
    {
        drop(list, x);
    }
}

/* Never NULL for an empty value; NULL: no memory. */
static uint8_t *copy_of(const void *value, size_t len)
{
    uint8_t *copy = malloc(len + 1);

    if (copy != NULL && len > 0) {
        memcpy(copy, value, len);
    }
    return copy;
}

static int add(struct gone_xattr **list, const char *name, const void *value, size_t len)
{
    size_t name_size = strlen(name) + 1;
    struct gone_xattr *x = calloc(1, sizeof(*x) + name_size);

    if (x == NULL) {
        return ENOMEM;
    }
    x->value = copy_of(value, len);
    if (x->value == NULL) {
        free(x);
        return ENOMEM;
    }
    x->len = (uint32_t)len;
    memcpy(x->name, name, name_size);
    HASH_ADD_STR(*list, name, x);
    return 0;
}

void gone_xattrs_keep(struct gone_xattr **list, const struct node *n)
{
    for (const struct xattr *x = n->xattrs; x != NULL; x = x->next) {
        if (add(list, x->name, x->value, x->len) != 0) {
            abort();
        }
    }
}

static int check(struct gone_xattr *list, const char *name, size_t len, const struct gone_xattr *old, int flags)
{
    uint64_t bytes = strlen(name) + len;
    struct gone_xattr *x;
    struct gone_xattr *next;

    if (name[0] == '\0' || strlen(name) > TXN_NAME_MAX) {
        return ERANGE;
    }
    if (old != NULL && (flags & XATTR_CREATE) != 0) {
        return EEXIST;
    }
    if (old == NULL && (flags & XATTR_REPLACE) != 0) {
        return ENODATA;
    }
    HASH_ITER(hh, list, x, next)
    {
        bytes += x == old ? 0 : strlen(x->name) + x->len;
    }
    return bytes > TXN_XATTRS_MAX || (old == NULL && HASH_COUNT(list) >= TXN_XATTR_COUNT_MAX) ? ENOSPC : 0;
}

int gone_xattr_set(struct gone_xattr **list, const char *name, const void *value, size_t len, int flags)
{
    struct gone_xattr *old;
    uint8_t *copy;
    int err;

    HASH_FIND_STR(*list, name, old);
    err = check(*list, name, len, old, flags);
    if (err != 0) {
        return err;
    }
    if (old == NULL) {
        return add(list, name, value, len);
    }
    copy = copy_of(value, len);
    if (copy == NULL) {
        return ENOMEM;
    }
    free(old->value);
    old->value = copy;
    old->len = (uint32_t)len;
    return 0;
}

int gone_xattr_remove(struct gone_xattr **list, const char *name)
{
    struct gone_xattr *x;

    HASH_FIND_STR(*list, name, x);
    if (x == NULL) {
        return ENODATA;
    }
    drop(list, x);
    return 0;
}
