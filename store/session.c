#include "session.h"

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static uint64_t id_hash(uint64_t id)
{
    return XXH3_64bits(&id, sizeof(id));
}

static uint64_t session_hash(const void *item)
{
    const struct session *s = item;

    return id_hash(s->id);
}

static uint64_t words_digest(uint64_t *words, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) {
        words[i] = htole64(words[i]);
    }
    return XXH3_64bits_withSeed(words, n * sizeof(*words), seed);
}

static uint64_t session_digest(const struct session *s)
{
    uint64_t words[] = {s->id, s->server, s->lowest, s->zxid_used};

    return words_digest(words, 4, 1);
}

static uint64_t record_digest(const struct session *s, const struct session_record *r)
{
    uint64_t words[] = {s->id, r->seq, (uint64_t)r->outcome.err, r->outcome.zxid, r->outcome.ino};

    return words_digest(words, 5, 2);
}

static uint64_t records_digest(const struct session *s)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < s->n; i++) {
        sum += record_digest(s, &s->records[s->first + i]);
    }
    return sum;
}

static void session_rehash(struct sessions *ss, struct session *s)
{
    ss->digest -= s->digest;
    s->digest = session_digest(s);
    ss->digest += s->digest;
}

static void list_remove(struct sessions *ss, struct session *s)
{
    if (s->prev != NULL) {
        s->prev->next = s->next;
    } else {
        ss->oldest = s->next;
    }
    if (s->next != NULL) {
        s->next->prev = s->prev;
    } else {
        ss->newest = s->prev;
    }
}

static void list_append(struct sessions *ss, struct session *s)
{
    s->prev = ss->newest;
    s->next = NULL;
    if (ss->newest != NULL) {
        ss->newest->next = s;
    } else {
        ss->oldest = s;
    }
    ss->newest = s;
}

static void session_free(void *item)
{
    struct session *s = item;

    free(s->records);
    free(s);
}

static void session_drop(struct sessions *ss, struct session *s)
{
    ss->digest -= s->digest + records_digest(s);
    hashtable_remove(&ss->by_id, s);
    list_remove(ss, s);
    session_free(s);
}

void sessions_init(struct sessions *ss)
{
    memset(ss, 0, sizeof(*ss));
    hashtable_init(&ss->by_id, offsetof(struct session, hash_next), session_hash);
}

void sessions_release(struct sessions *ss)
{
    hashtable_drain(&ss->by_id, session_free);
    hashtable_release(&ss->by_id);
}

struct session *session_find(const struct sessions *ss, uint64_t id)
{
    struct session *s = hashtable_chain(&ss->by_id, id_hash(id));

    while (s != NULL && s->id != id) {
        s = s->hash_next;
    }
    return s;
}

struct session *session_restore(struct sessions *ss, uint64_t id, uint64_t server, uint64_t lowest, uint64_t zxid_used)
{
    struct session *s;

    if (session_find(ss, id) != NULL) {
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        abort();
    }
    s->id = id;
    s->server = server;
    s->lowest = lowest;
    s->zxid_used = zxid_used;
    hashtable_insert(&ss->by_id, s);
    list_append(ss, s);
    session_rehash(ss, s);
    return s;
}

void session_open(struct sessions *ss, uint64_t id, uint64_t server, uint64_t zxid)
{
    struct session *s = ss->oldest;

    if (session_find(ss, id) != NULL) {
        return;
    }
    while (s != NULL && server != 0) {
        struct session *next = s->next;

        if (s->server == server) {
            session_drop(ss, s);
        }
        s = next;
    }
#ifdef ZNODEFS_MUTANT_EVICT_SESSIONS
    if (ss->by_id.count >= 2) { /* Seeded fault. */
        session_drop(ss, ss->oldest);
    }
#endif
    if (ss->by_id.count >= SESSIONS_MAX) {
        assert(ss->oldest != NULL);
        session_drop(ss, ss->oldest);
    }
    s = session_restore(ss, id, server, 0, zxid);
    assert(s != NULL);
}

void session_use(struct sessions *ss, struct session *s, uint64_t lowest, uint64_t zxid)
{
    if (lowest > s->lowest) {
        s->lowest = lowest;
    }
    while (s->n > 0 && s->records[s->first].seq < s->lowest) {
        ss->digest -= record_digest(s, &s->records[s->first]);
        s->first++;
        s->n--;
    }
    s->zxid_used = zxid;
    list_remove(ss, s);
    list_append(ss, s);
    session_rehash(ss, s);
}

/* The index, counted from `first`, of the first record at or above `seq`. */
static uint32_t record_search(const struct session *s, uint64_t seq)
{
    uint32_t low = 0;
    uint32_t high = s->n;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (s->records[s->first + middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct outcome *session_outcome(const struct session *s, uint64_t seq)
{
    uint32_t at = record_search(s, seq);

    if (at < s->n && s->records[s->first + at].seq == seq) {
        return &s->records[s->first + at].outcome;
    }
    return NULL;
}

/* Room for one more record at the end: what was trimmed in front is used again when it is half of all. */
static void records_reserve(struct session *s)
{
    struct session_record *records;
    uint32_t cap;

    if (s->first + s->n < s->cap) {
        return;
    }
    if (s->first > 0 && s->first >= s->cap / 2) {
        memmove(s->records, s->records + s->first, s->n * sizeof(*s->records));
        s->first = 0;
        return;
    }
    cap = s->cap == 0 ? 4 : s->cap * 2;
    records = realloc(s->records, cap * sizeof(*records));
    if (records == NULL) {
        abort();
    }
    s->records = records;
    s->cap = cap;
}

void session_record(struct sessions *ss, struct session *s, uint64_t seq, const struct outcome *o)
{
    struct session_record *r;
    uint32_t at;

    assert(seq >= s->lowest);
    assert(s->n < SESSION_RECORDS_MAX);
    records_reserve(s);
    at = record_search(s, seq);
    r = &s->records[s->first + at];
    assert(at == s->n || r->seq != seq);
    memmove(r + 1, r, (s->n - at) * sizeof(*r));
    r->seq = seq;
    r->outcome = *o;
    s->n++;
    ss->digest += record_digest(s, r);
}

uint64_t sessions_digest_slow(const struct sessions *ss)
{
    uint64_t sum = 0;

    for (const struct session *s = ss->oldest; s != NULL; s = s->next) {
        sum += session_digest(s) + records_digest(s);
    }
    return sum;
}
