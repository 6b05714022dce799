/*
 * session: the identities of those who ask, and per identity the record of outcomes that answers duplicates, so that
 * a request that is sent again after a leader's death takes effect once (design: 2.2).
 *
 * Part of the replicated state: of every snapshot and of the digest.
 */
#ifndef STORE_SESSION_H
#define STORE_SESSION_H

#include "hashtable.h"
#include "txn.h"

/* Outcomes one session may have recorded at once; a request beyond that is refused with EIO. */
#define SESSION_RECORDS_MAX 65536

/* Sessions there may be; opening one more drops the one that has not been used for longest. */
#define SESSIONS_MAX 65536

struct session_record {
    uint64_t seq;
    struct outcome outcome;
};

struct session {
    struct session *hash_next;
    struct session *prev; /* in order of last use */
    struct session *next;
    uint64_t id;
    uint64_t server;                /* the server id it belongs to, 0 for none */
    uint64_t lowest;                /* records below this seq are forgotten */
    uint64_t zxid_used;             /* of the last transaction under it; orders the list */
    uint64_t digest;                /* this session's part of the digest, its records' apart */
    struct session_record *records; /* [first, first + n), seq strictly growing */
    uint32_t first;
    uint32_t n;
    uint32_t cap;
};

struct sessions {
    struct hashtable by_id;
    struct session *oldest;
    struct session *newest;
    uint64_t digest; /* the sum over all sessions and all records */
};

void sessions_init(struct sessions *ss);
void sessions_release(struct sessions *ss);

/* The session or NULL. */
struct session *session_find(const struct sessions *ss, uint64_t id);

/* Begins a session and drops those of the same non-zero server id; does nothing when it exists. */
void session_open(struct sessions *ss, uint64_t id, uint64_t server, uint64_t zxid);

/* Notes a use of the session: `lowest` (if it is higher than before) trims the record. */
void session_use(struct sessions *ss, struct session *s, uint64_t lowest, uint64_t zxid);

/* The recorded outcome of `seq` or NULL. */
const struct outcome *session_outcome(const struct session *s, uint64_t seq);

/* Records an outcome; `seq` must not be recorded and not be trimmed, and the record not be full. */
void session_record(struct sessions *ss, struct session *s, uint64_t seq, const struct outcome *o);

/* Adds a session as a snapshot has it: behind all others. NULL when its id is there already. */
struct session *session_restore(struct sessions *ss, uint64_t id, uint64_t server, uint64_t lowest, uint64_t zxid_used);

/* The digest of all sessions, computed from scratch. */
uint64_t sessions_digest_slow(const struct sessions *ss);

#endif
