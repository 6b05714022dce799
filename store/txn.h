/*
 * txn: what travels through the total order, and what comes back.
 *
 *   struct op       one change to the tree, as a front end asks for it
 *   struct request  an op with the identity that makes it happen exactly once
 *   struct txn      a request with what the leader decides: time and limits
 *   struct outcome  the result, the same on every peer
 *
 * Encoded with msgpack; the formats are drawn at the top of txn.c. Nothing here is validated against the tree:
 * that happens when the txn is applied, in commit order, on every peer alike (design: 2.2).
 */
#ifndef STORE_TXN_H
#define STORE_TXN_H

#include "buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TXN_NAME_MAX         255             /* bytes of one name */
#define TXN_SYMLINK_MAX      4095            /* bytes of a symlink's target */
#define TXN_XATTR_VALUE_MAX  65536           /* bytes of one xattr's value, as in the kernel */
#define TXN_XATTRS_MAX       262144          /* bytes of all xattr names and values of one znode */
#define TXN_XATTR_COUNT_MAX  4096            /* xattrs of one znode */
#define TXN_RANGES_MAX       65536           /* ranges of one publish */
#define TXN_NAME_WIRE_MAX    4096            /* longer names are malformed; those above TXN_NAME_MAX get ENAMETOOLONG */
#define TXN_DATA_MAX_DEFAULT (1024u * 1024u) /* jute.maxbuffer */
#define TXN_DATA_MAX_LIMIT   (64u * 1024u * 1024u) /* the largest jute.maxbuffer accepted */
#define TXN_KEEP_ALL         UINT64_MAX

enum op_kind {
    OP_NOP = 0,          /* a barrier: changes nothing */
    OP_ENSEMBLE = 1,     /* the ensemble's first transaction: op.id becomes its id, once and for all */
    OP_SESSION_OPEN = 2, /* begins the identity op.ino; drops others of the same server id op.id, unless that is 0 */
    OP_CREATE = 3,
    OP_WRITE = 4, /* publish: ranges over what is there, or whole contents */
    OP_APPEND = 5,
    OP_SETATTR = 6,
    OP_REMOVE = 7, /* unlink or rmdir */
    OP_RENAME = 8,
    OP_SETXATTR = 9,
    OP_REMOVEXATTR = 10,
    OP_KIND_COUNT
};

enum node_kind {
    NODE_FILE = 1,
    NODE_DIR = 2,
    NODE_SYMLINK = 3,
};

/* Bits of op.mask for OP_SETATTR. *_NOW takes the txn's time; KILL_* clears a bit of the mode as it is then. */
enum setattr_mask {
    SETATTR_MODE = 1,
    SETATTR_UID = 2,
    SETATTR_GID = 4,
    SETATTR_SIZE = 8,
    SETATTR_ATIME = 16,
    SETATTR_MTIME = 32,
    SETATTR_ATIME_NOW = 64,
    SETATTR_MTIME_NOW = 128,
    SETATTR_KILL_SUID = 256,
    SETATTR_KILL_SGID = 512,
};

struct op_range {
    uint64_t offset;
    uint32_t len;
    const uint8_t *bytes;
};

/* Fields not used by a kind are zero. Pointers are borrowed: from the caller when encoding, from the decoded
 * bytes when decoding. */
struct op {
    enum op_kind kind;
    uint64_t ino; /* the node; for CREATE, REMOVE and RENAME the (old) parent directory; for SESSION_OPEN the new
                   * session's id (the request's own session is 0) */

    /* CREATE, REMOVE, RENAME: the name in the parent; SETXATTR, REMOVEXATTR: the attribute's full name. */
    const char *name;
    size_t name_len;

    /* RENAME */
    uint64_t new_ino; /* the new parent */
    const char *new_name;
    size_t new_name_len;
    uint32_t flags; /* RENAME: RENAME_NOREPLACE | RENAME_EXCHANGE; SETXATTR: XATTR_CREATE | XATTR_REPLACE */

    /* CREATE: kind and metadata; a symlink's target is in data. REMOVE: node_kind is NODE_DIR for rmdir, else
     * NODE_FILE for unlink. */
    enum node_kind node_kind;

    /* CREATE, SETATTR (as mask says). mode holds permission bits only (07777). */
    uint32_t mask;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint64_t size;
    int64_t atime_ns;
    int64_t mtime_ns;

    /* CREATE (first contents or target), APPEND, SETXATTR (value) */
    const uint8_t *data;
    uint32_t data_len;

    /* WRITE: the contents at commit are cut to `keep` bytes (TXN_KEEP_ALL: not cut; 0: whole new
     * contents), the ranges are written in order (gaps are zeros), and the result is extended with zeros to at
     * least size_min. With keep_times, mtime stays as it is: it was set while the draft was open. On a directory
     * it sets the directory's own data. */
    uint64_t keep;
    uint64_t size_min;
    bool keep_times;
    const struct op_range *ranges;
    uint32_t n_ranges;

    /* ENSEMBLE: the ensemble's id, not 0; SESSION_OPEN: the server id the session belongs to, 0 for none */
    uint64_t id;
};

/* The identity of a request (design: 2.2). session 0 is the replica's own (OP_ENSEMBLE, OP_SESSION_OPEN): not
 * deduplicated, those are idempotent. */
struct request {
    uint64_t session;
    uint64_t seq;        /* from 1, grows by 1 per request of the session */
    uint64_t seq_lowest; /* lowest seq still outstanding: the record below it may be forgotten */
    struct op op;
};

struct txn {
    int64_t time_ns;   /* the leader's clock, ns since 1970 */
    uint32_t data_max; /* the leader's jute.maxbuffer */
    struct request request;
};

struct outcome {
    int err;       /* 0 or a positive errno */
    uint64_t zxid; /* of the transaction that decided it */
    uint64_t ino;  /* of the node created, changed or removed; 0 if none */
};

/* The encoded form, one reference for the caller. Never fails: sizes were checked when the op was made. */
struct buf *request_encode(const struct request *r);

/* Wraps an encoded request for the broadcast. */
struct buf *txn_encode(int64_t time_ns, uint32_t data_max, const uint8_t *request, size_t request_len);

/* A decoded txn or request with the memory its `ranges` live in. Strings and data point into the bytes. */
struct txn_decoded {
    struct txn txn;
    struct op_range *ranges; /* owned */
};

/* Decodes and checks every size and kind. -EBADMSG for anything malformed (bytes come from peers and files).
 * On success the caller releases `ret`; `bytes` must outlive it. */
int txn_decode(const uint8_t *bytes, size_t len, struct txn_decoded *ret);

/* The same for a bare request, as a follower forwards it (time_ns and data_max are 0 in the result). */
int request_decode(const uint8_t *bytes, size_t len, struct txn_decoded *ret);

void txn_decoded_release(struct txn_decoded *d);

/* "create", "write", ... for logs and metrics. */
const char *op_kind_name(enum op_kind kind);

#endif
