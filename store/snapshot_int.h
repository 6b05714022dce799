/*
 * snapshot_int: what the writer and the reader of snapshots agree on; the format is drawn in snapshot.c.
 */
#ifndef STORE_SNAPSHOT_INT_H
#define STORE_SNAPSHOT_INT_H

#include "le.h"
#include "snapshot.h"
#include "state_int.h"

#include <string.h>

#define SNAPSHOT_MAGIC       "ZNODSNAP"
#define SNAPSHOT_MAGIC_LEN   8
#define SNAPSHOT_VERSION     2
#define SNAPSHOT_HEADER_LEN  32
#define SNAPSHOT_FRAME_LEN   12 /* before each chunk's payload, and before the trailer */
#define SNAPSHOT_PAYLOAD_MAX (SNAPSHOT_CHUNK_MAX - SNAPSHOT_FRAME_LEN)
#define SNAPSHOT_TRAILER_LEN 32
#define SNAPSHOT_PACKED      0x80000000u /* flag of a chunk's length: its payload is compressed */

/* The largest record: the data of a znode, its xattrs with their lengths, and the rest; a session's is smaller. */
#define SNAPSHOT_RECORD_MAX (TXN_DATA_MAX_LIMIT + TXN_XATTRS_MAX + 8u * TXN_XATTR_COUNT_MAX + 4096u)

/* The name of a snapshot's file. */
#define SNAPSHOT_NAME_MAX 40
void snapshot_name(char name[SNAPSHOT_NAME_MAX], uint64_t zxid, const char *suffix);

enum snapshot_record {
    SNAPSHOT_GLOBALS = 1,
    SNAPSHOT_SESSION = 2,
    SNAPSHOT_NODE = 3,
};

/* A state while the records of a snapshot are put into it. */
struct snapshot_records {
    struct state *state;
    bool globals_seen;
    struct node *parent; /* of the last node: siblings follow each other */
};

/* The length of the record at `bytes`, its own length field included; 0 when it is not all there yet, or with
 * *ret_what set when it cannot be one. */
size_t snapshot_record_whole(const uint8_t *bytes, size_t len, const char **ret_what);

/* Puts one whole record into the state. NULL, or what is wrong with it; then the state is only good to be freed. */
const char *snapshot_record_read(struct snapshot_records *r, const uint8_t *bytes, size_t len);

#define SNAPSHOT_NODE_HASH 1 /* flag: the data's hash is a chain of appends and is stored */

/* A difference of two numbers, wrapped, so that small ones of either sign are short as a varint. */
static inline uint64_t zigzag(uint64_t difference)
{
    return difference << 1 ^ (0 - (difference >> 63));
}

static inline uint64_t unzigzag(uint64_t value)
{
    return value >> 1 ^ (0 - (value & 1));
}

#endif
