/*
 * tree: where the znodes hang together: the two hash tables, the slots of directories, and the sums over all nodes.
 */
#include "tree_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define INO_GROUP 8

/* Inode numbers that follow each other were mostly given to nodes that are used together: groups of them share a
 * cache line of buckets. The groups are spread, so that no pattern of removals makes long chains. */
static uint64_t ino_hash(uint64_t ino)
{
    uint64_t group = ino / INO_GROUP;

    return XXH3_64bits(&group, sizeof(group)) * INO_GROUP + ino % INO_GROUP;
}

static uint64_t name_hash(uint64_t parent_ino, const char *name, size_t name_len)
{
    return XXH3_64bits_withSeed(name, name_len, parent_ino);
}

static uint64_t node_hash_by_ino(const void *item)
{
    const struct node *n = item;

    return ino_hash(n->ino);
}

static uint64_t node_hash_by_name(const void *item)
{
    const struct node *n = item;

    return name_hash(n->parent->ino, n->name, n->name_len);
}

struct tree *tree_new(void)
{
    struct tree *t = calloc(1, sizeof(*t));

    if (t == NULL) {
        abort();
    }
    hashtable_init(&t->by_ino, offsetof(struct node, ino_next), node_hash_by_ino);
    hashtable_init(&t->by_name, offsetof(struct node, name_next), node_hash_by_name);
    t->next_ino = TREE_ROOT_INO + 1;
    return t;
}

void tree_reserve(struct tree *t, size_t count)
{
    hashtable_reserve(&t->by_ino, count);
    hashtable_reserve(&t->by_name, count);
}

static void node_free_cb(void *item)
{
    node_free(item);
}

bool tree_drain_some(struct tree *t, size_t n)
{
    return hashtable_drain_some(&t->by_ino, n, node_free_cb);
}

/* By the table, not down the tree: a deep one must not eat the stack. */
void tree_free(struct tree *t)
{
    if (t == NULL) {
        return;
    }
    hashtable_drain(&t->by_ino, node_free_cb);
    hashtable_release(&t->by_ino);
    hashtable_release(&t->by_name);
    free(t);
}

struct node *tree_get(const struct tree *t, uint64_t ino)
{
    struct node *n = hashtable_chain(&t->by_ino, ino_hash(ino));

    while (n != NULL && n->ino != ino) {
        n = n->ino_next;
    }
    return n;
}

static struct node *child_get(const struct tree *t, uint64_t parent_ino, const char *name, size_t name_len)
{
    struct node *n = hashtable_chain(&t->by_name, name_hash(parent_ino, name, name_len));

    while (n != NULL &&
           (n->name_len != name_len || memcmp(n->name, name, name_len) != 0 || n->parent->ino != parent_ino)) {
        n = n->name_next;
    }
    return n;
}

struct node *tree_get_child(const struct tree *t, const struct node *parent, const char *name, size_t name_len)
{
    return child_get(t, parent->ino, name, name_len);
}

const struct node *tree_by_ino(const struct tree *t, uint64_t ino)
{
    return tree_get(t, ino);
}

const struct node *tree_lookup(const struct tree *t, uint64_t parent_ino, const char *name, size_t name_len)
{
    return child_get(t, parent_ino, name, name_len);
}

uint64_t tree_count(const struct tree *t)
{
    return t->by_ino.count;
}

uint64_t tree_data_bytes(const struct tree *t)
{
    return t->data_bytes;
}

const struct node *tree_next(const struct node *top, const struct node *n)
{
    const struct node *next = n->dir == NULL ? NULL : dir_from(n->dir, 0);

    while (next == NULL && n != top) {
        next = dir_from(n->parent->dir, n->slot + 1);
        n = n->parent;
    }
    return next;
}

/* The links above a node that has its name and its slot. */
static void link_under(struct tree *t, struct node *parent, struct node *n)
{
    assert(parent->dir != NULL);
    n->parent = parent;
    if (n->kind == NODE_DIR) {
        parent->dir->n_subdirs++;
    }
    hashtable_insert(&t->by_name, n);
}

static void unlink_from_parent(struct tree *t, struct node *n)
{
    hashtable_remove(&t->by_name, n);
    if (n->kind == NODE_DIR) {
        n->parent->dir->n_subdirs--;
    }
}

void tree_insert(struct tree *t, struct node *parent, struct node *n, uint64_t cookie)
{
    assert(tree_get(t, n->ino) == NULL);
    hashtable_insert(&t->by_ino, n);
    if (parent == NULL) {
        assert(t->root == NULL);
        t->root = n;
    } else {
        dir_append(parent->dir, n, cookie);
        link_under(t, parent, n);
    }
    t->data_bytes += n->name_len + n->data_len + node_xattr_bytes(n);
    n->digest = 0;
    tree_rehash(t, n);
}

/* Takes an unlinked node out of the sums and frees it. */
static void forget(struct tree *t, struct node *n)
{
    assert(n->dir == NULL || n->dir->n_children == 0);
    hashtable_remove(&t->by_ino, n);
    t->digest -= n->digest;
    t->data_bytes -= n->name_len + n->data_len + node_xattr_bytes(n);
    node_free(n);
}

void tree_remove(struct tree *t, struct node *n)
{
    struct node *parent = n->parent;

    assert(parent != NULL);
    unlink_from_parent(t, n);
    dir_remove(parent->dir, n->slot);
    forget(t, n);
}

void tree_move(struct tree *t, struct node *n, struct node *parent, const char *name, size_t name_len)
{
    assert(!node_is_below(parent, n));
    unlink_from_parent(t, n);
    dir_remove(n->parent->dir, n->slot);
    t->data_bytes = t->data_bytes - n->name_len + name_len;
    node_set_name(n, name, name_len);
    dir_append(parent->dir, n, 0);
    link_under(t, parent, n);
}

void tree_replace(struct tree *t, struct node *n, struct node *victim)
{
    struct node *parent = victim->parent;

    assert(n != victim);
    unlink_from_parent(t, n);
    dir_remove(n->parent->dir, n->slot);
    unlink_from_parent(t, victim);
    t->data_bytes = t->data_bytes - n->name_len + victim->name_len;
    node_set_name(n, victim->name, victim->name_len);
    n->slot = victim->slot;
    parent->dir->slots[n->slot].node = n;
    link_under(t, parent, n);
    forget(t, victim);
}

void tree_exchange(struct tree *t, struct node *a, struct node *b)
{
    struct node *a_parent = a->parent;
    struct node *b_parent = b->parent;
    uint32_t a_slot = a->slot;
    char a_name[TXN_NAME_MAX + 1];
    size_t a_name_len = a->name_len;

    memcpy(a_name, a->name, a_name_len);
    unlink_from_parent(t, a);
    unlink_from_parent(t, b);
    node_set_name(a, b->name, b->name_len);
    node_set_name(b, a_name, a_name_len);
    a->slot = b->slot;
    b->slot = a_slot;
    b_parent->dir->slots[a->slot].node = a;
    a_parent->dir->slots[b->slot].node = b;
    link_under(t, b_parent, a);
    link_under(t, a_parent, b);
}

void tree_rehash(struct tree *t, struct node *n)
{
    t->digest -= n->digest;
    n->digest = node_digest(n);
    t->digest += n->digest;
}
