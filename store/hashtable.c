#include "hashtable.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SHRINK_STEPS 4 /* buckets merged per removal: enough to keep up with a table at a quarter of its items */

/* Chains link items of the caller's type; memcpy reads their pointers without claiming they are `void *`. */
static void *next_get(const struct hashtable *h, const void *item)
{
    void *next;

    memcpy(&next, (const char *)item + h->next_offset, sizeof(next));
    return next;
}

static void next_set(const struct hashtable *h, void *item, void *next)
{
    memcpy((char *)item + h->next_offset, &next, sizeof(next));
}

static void **bucket(const struct hashtable *h, size_t index)
{
    return &h->segments[index / HASHTABLE_SEGMENT][index % HASHTABLE_SEGMENT];
}

/* Buckets at or beyond n_buckets are not split off yet: their items are still one level below. */
static size_t bucket_index(const struct hashtable *h, uint64_t hash)
{
    size_t index = (size_t)hash & (2 * h->level - 1);

    return index < h->n_buckets ? index : index & (h->level - 1);
}

static void segment_add(struct hashtable *h)
{
    if (h->n_segments == h->cap_segments) {
        size_t cap = h->cap_segments == 0 ? 4 : h->cap_segments * 2;
        void ***segments = realloc(h->segments, cap * sizeof(*segments));

        if (segments == NULL) {
            abort();
        }
        h->segments = segments;
        h->cap_segments = cap;
    }
    h->segments[h->n_segments] = calloc(HASHTABLE_SEGMENT, sizeof(void *));
    if (h->segments[h->n_segments] == NULL) {
        abort();
    }
    h->n_segments++;
}

void hashtable_init(struct hashtable *h, size_t next_offset, uint64_t (*hash)(const void *item))
{
    memset(h, 0, sizeof(*h));
    h->next_offset = next_offset;
    h->hash = hash;
    h->n_buckets = HASHTABLE_SEGMENT;
    h->level = HASHTABLE_SEGMENT;
    segment_add(h);
}

void hashtable_release(struct hashtable *h)
{
    for (size_t i = 0; i < h->n_segments; i++) {
        free(h->segments[i]);
    }
    free(h->segments);
    memset(h, 0, sizeof(*h));
}

void *hashtable_chain(const struct hashtable *h, uint64_t hash)
{
    return *bucket(h, bucket_index(h, hash));
}

/* Splits the oldest unsplit bucket into itself and a new last one. */
static void grow(struct hashtable *h)
{
    size_t from = h->n_buckets - h->level;
    void *item = *bucket(h, from);

    if (h->n_buckets == h->n_segments * HASHTABLE_SEGMENT) {
        segment_add(h);
    }
    h->n_buckets++;
    *bucket(h, from) = NULL;
    while (item != NULL) {
        void *next = next_get(h, item);
        void **head = bucket(h, bucket_index(h, h->hash(item)));

        next_set(h, item, *head);
        *head = item;
        item = next;
    }
    if (h->n_buckets == 2 * h->level) {
        h->level = h->n_buckets;
    }
}

void hashtable_reserve(struct hashtable *h, size_t count)
{
    assert(h->count == 0);
    while (h->n_buckets < count) {
        grow(h);
    }
}

/* Merges the last bucket into the one it was split from. */
static void shrink(struct hashtable *h)
{
    size_t last = h->n_buckets - 1;
    void *item = *bucket(h, last);
    void **head;

    if (h->n_buckets == h->level) {
        h->level /= 2;
    }
    h->n_buckets--;
    head = bucket(h, last - h->level);
    while (item != NULL) {
        void *next = next_get(h, item);

        next_set(h, item, *head);
        *head = item;
        item = next;
    }
    if (last % HASHTABLE_SEGMENT == 0) {
        h->n_segments--;
        free(h->segments[h->n_segments]);
    } else {
        *bucket(h, last) = NULL;
    }
}

void hashtable_insert(struct hashtable *h, void *item)
{
    void **head = bucket(h, bucket_index(h, h->hash(item)));

    next_set(h, item, *head);
    *head = item;
    h->count++;
    if (h->count > h->n_buckets) {
        grow(h);
    }
}

void hashtable_remove(struct hashtable *h, void *item)
{
    void **head = bucket(h, bucket_index(h, h->hash(item)));
    void *at = *head;

    if (at == item) {
        *head = next_get(h, item);
    } else {
        while (at != NULL && next_get(h, at) != item) {
            at = next_get(h, at);
        }
        assert(at != NULL);
        next_set(h, at, next_get(h, item));
    }
    next_set(h, item, NULL);
    h->count--;
    for (int i = 0; i < SHRINK_STEPS && h->n_buckets > HASHTABLE_SEGMENT && h->count < h->n_buckets / 4; i++) {
        shrink(h);
    }
}

static size_t drain_bucket(struct hashtable *h, size_t i, void (*free_item)(void *item))
{
    void *item = *bucket(h, i);
    size_t n = 0;

    *bucket(h, i) = NULL;
    while (item != NULL) {
        void *next = next_get(h, item);

        free_item(item);
        item = next;
        n++;
    }
    return n;
}

bool hashtable_drain_some(struct hashtable *h, size_t n, void (*free_item)(void *item))
{
    size_t done = 0;

    while (done < n && h->drained < h->n_buckets) {
        done += 1 + drain_bucket(h, h->drained, free_item);
        h->drained++;
    }
    return h->drained == h->n_buckets;
}

void hashtable_drain(struct hashtable *h, void (*free_item)(void *item))
{
    for (size_t i = 0; i < h->n_buckets; i++) {
        (void)drain_bucket(h, i, free_item);
    }
    h->count = 0;
}
