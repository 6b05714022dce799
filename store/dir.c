/*
 * dir: the children of one directory, in slots by order of creation. A removal leaves a hole, so that a listing that
 * stands on a cookie goes on where it was; holes are squeezed out when they outnumber the children, which costs O(1)
 * per removal.
 */
#include "tree_int.h"

#include <assert.h>
#include <stdlib.h>

#define DIR_HOLES_FREE 16 /* holes that never cause a compaction */

struct dir *dir_new(void)
{
    struct dir *d = calloc(1, sizeof(*d));

    if (d == NULL) {
        abort();
    }
    d->next_cookie = 1;
    return d;
}

void dir_free(struct dir *d)
{
    if (d == NULL) {
        return;
    }
    free(d->slots);
    free(d);
}

static void dir_resize(struct dir *d, uint32_t cap)
{
    struct dir_slot *slots;

    if (cap == 0) {
        free(d->slots);
        d->slots = NULL;
        d->cap = 0;
        return;
    }
    slots = realloc(d->slots, (size_t)cap * sizeof(*slots));
    if (slots == NULL) {
        abort();
    }
    d->slots = slots;
    d->cap = cap;
}

static void dir_compact(struct dir *d)
{
    uint32_t to = 0;

    for (uint32_t from = 0; from < d->n_slots; from++) {
        if (d->slots[from].node == NULL) {
            continue;
        }
        d->slots[to] = d->slots[from];
        d->slots[to].node->slot = to;
        to++;
    }
    assert(to == d->n_children);
    d->n_slots = to;
    if (d->cap / 4 > to) {
        dir_resize(d, to + to / 2);
    }
}

void dir_append(struct dir *d, struct node *n, uint64_t cookie)
{
    assert(cookie == 0 || cookie < d->next_cookie);
    if (d->n_slots == d->cap && d->n_slots - d->n_children > d->n_slots / 4) {
        dir_compact(d);
    }
    if (d->n_slots == d->cap) {
        assert(d->cap < UINT32_MAX / 2);
        dir_resize(d, d->cap + d->cap / 2 + 4);
    }
    assert(d->slots != NULL);
    n->slot = d->n_slots++;
    d->slots[n->slot].node = n;
    d->slots[n->slot].cookie = cookie != 0 ? cookie : d->next_cookie++;
    d->n_children++;
}

void dir_remove(struct dir *d, uint32_t slot)
{
    assert(slot < d->n_slots);
    assert(d->slots[slot].node != NULL);
    d->slots[slot].node = NULL;
    d->n_children--;
    while (d->n_slots > 0 && d->slots[d->n_slots - 1].node == NULL) {
        d->n_slots--;
    }
    if (d->n_slots - d->n_children > d->n_children + DIR_HOLES_FREE || (d->n_slots == 0 && d->cap > DIR_HOLES_FREE)) {
        dir_compact(d);
    }
}

struct node *dir_from(const struct dir *d, uint32_t slot)
{
    for (; slot < d->n_slots; slot++) {
        if (d->slots[slot].node != NULL) {
            return d->slots[slot].node;
        }
    }
    return NULL;
}

const struct node *tree_child_after(const struct node *dir, uint64_t cookie, uint64_t *ret_cookie)
{
    const struct dir *d = dir->dir;
    const struct node *child;
    uint32_t low = 0;
    uint32_t high;

    assert(d != NULL);
    high = d->n_slots;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (d->slots[middle].cookie <= cookie) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    child = dir_from(d, low);
    if (child != NULL) {
        *ret_cookie = d->slots[child->slot].cookie;
    }
    return child;
}
