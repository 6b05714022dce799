/*
 * hashtable: an intrusive hash table by linear hashing: it grows and shrinks one bucket at a time, so that no insert
 * ever stops to rehash a million items.
 *
 * Items carry the pointer to the next one of their chain; the table never allocates per item and never looks at
 * keys: the caller walks the chain of a hash and compares. Nothing observable may depend on the order of a chain.
 */
#ifndef STORE_HASHTABLE_H
#define STORE_HASHTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASHTABLE_SEGMENT 1024 /* buckets allocated at once, and the smallest table; a power of two */

struct hashtable {
    void ***segments; /* each HASHTABLE_SEGMENT chain heads, so that growing never copies the buckets */
    size_t n_segments;
    size_t cap_segments;
    size_t n_buckets;
    size_t level;   /* the power of two with level <= n_buckets < 2 * level */
    size_t count;   /* items */
    size_t drained; /* buckets */
    size_t next_offset;
    uint64_t (*hash)(const void *item);
};

/* `next_offset` is the offset of the chain pointer in an item; `hash` computes an item's hash from its key. */
void hashtable_init(struct hashtable *h, size_t next_offset, uint64_t (*hash)(const void *item));

/* Makes an empty table as large as `count` items need, so that filling it never splits a bucket. */
void hashtable_reserve(struct hashtable *h, size_t count);

/* Frees the table, not the items. */
void hashtable_release(struct hashtable *h);

/* The first item of the chain that every item with this hash is in; NULL when the chain is empty. */
void *hashtable_chain(const struct hashtable *h, uint64_t hash);

/* The item must not be in the table; its key must not change while it is. */
void hashtable_insert(struct hashtable *h, void *item);

/* The item must be in the table. */
void hashtable_remove(struct hashtable *h, void *item);

/* Takes about `n` items out and hands them to `free_item`; true when none is left. The table can then only be drained
 * and released. */
bool hashtable_drain_some(struct hashtable *h, size_t n, void (*free_item)(void *item));

/* Takes every item out and hands it to `free_item`, in no particular order. */
void hashtable_drain(struct hashtable *h, void (*free_item)(void *item));

#endif
