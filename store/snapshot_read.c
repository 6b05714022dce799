/*
 * snapshot_read: a state from the bytes of a snapshot (drawn in snapshot.c), which come in pieces of any size from a
 * file or a peer.
 *
 *   header -> frame -> payload -> frame -> ... -> frame (length 0) -> trailer -> end
 *
 * A payload is looked at only after its sum was found right, and the records in it are checked all the same
 * (snapshot_record.c). No size is believed before the bytes are there.
 */
#include "snapshot_int.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

#define BYTES_CAP_FIRST 4096

enum stage {
    STAGE_HEADER,
    STAGE_FRAME,
    STAGE_PAYLOAD,
    STAGE_TRAILER,
    STAGE_END,
    STAGE_FAILED,
};

struct bytes {
    uint8_t *at;
    size_t len;
    size_t cap;
};

struct snapshot_reader {
    enum stage stage;
    struct bytes part; /* what has come of the part that the stage waits for */
    size_t part_need;
    uint64_t offset; /* where that part begins */
    uint64_t sum;    /* of the chunk before */
    uint64_t sum_expected;
    uint64_t payload_bytes;
    uint32_t version;
    bool packed; /* the payload in work */
    ZSTD_DCtx *unpacker;
    struct bytes pending;    /* records, the last one perhaps cut */
    uint64_t records_offset; /* of pending, in the stream of records */
    struct snapshot_records records;
    struct error error; /* once the stage is STAGE_FAILED */
    int rv;
};

static int fail(struct snapshot_reader *r, int rv)
{
    r->stage = STAGE_FAILED;
    r->rv = rv;
    return rv;
}

/* Room for what has come, not for what is claimed. */
static void bytes_reserve(struct bytes *b, size_t len)
{
    size_t cap = b->cap == 0 ? BYTES_CAP_FIRST : b->cap;

    while (cap - b->len < len) {
        cap *= 2;
    }
    if (cap != b->cap) {
        uint8_t *at = realloc(b->at, cap);

        if (at == NULL) {
            abort();
        }
        b->at = at;
        b->cap = cap;
    }
}

static void bytes_append(struct bytes *b, const uint8_t *bytes, size_t len)
{
    bytes_reserve(b, len);
    memcpy(b->at + b->len, bytes, len);
    b->len += len;
}

/* Reads all records that are whole and keeps the rest. */
static int read_records(struct snapshot_reader *r)
{
    const char *what = NULL;
    size_t done = 0;

    while (what == NULL) {
        size_t len = snapshot_record_whole(r->pending.at + done, r->pending.len - done, &what);

        if (len == 0) {
            break;
        }
        what = snapshot_record_read(&r->records, r->pending.at + done, len);
        if (what == NULL) {
            done += len;
        }
    }
    if (what != NULL) {
        return fail(r, error_set(&r->error, -EBADMSG,
                                 "bad record (%s) at byte %" PRIu64 " of the records, in the chunk at offset %" PRIu64,
                                 what, r->records_offset + done, r->offset));
    }
    memmove(r->pending.at, r->pending.at + done, r->pending.len - done);
    r->pending.len -= done;
    r->records_offset += done;
    return 0;
}

/* The part that the stage waited for is there: the next one begins behind it. */
static void next_part(struct snapshot_reader *r, enum stage stage, size_t need)
{
    r->offset += r->part.len;
    r->part.len = 0;
    r->part_need = need;
    r->stage = stage;
}

static int on_header(struct snapshot_reader *r)
{
    const uint8_t *h = r->part.at;
    uint32_t version = le_get32(h + 8);

    if (memcmp(h, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_LEN) != 0) {
        return fail(r, error_set(&r->error, -EBADMSG, "not a snapshot: wrong magic at offset 0"));
    }
    r->sum = XXH3_64bits(h, 24);
    if (le_get64(h + 24) != r->sum) {
        return fail(r, error_set(&r->error, -EBADMSG, "bad checksum of the header at offset 0"));
    }
    if (version > SNAPSHOT_VERSION) {
        return fail(r, error_set(&r->error, -EPROTO, "format version %" PRIu32 " is newer than this program's %d",
                                 version, SNAPSHOT_VERSION));
    }
    if (version == 0 || le_get32(h + 12) != 0) {
        return fail(r, error_set(&r->error, -EBADMSG, "bad header at offset 0"));
    }
    r->version = version;
    r->records.state->zxid = le_get64(h + 16);
    next_part(r, STAGE_FRAME, SNAPSHOT_FRAME_LEN);
    return 0;
}

static int on_frame(struct snapshot_reader *r)
{
    uint32_t len = le_get32(r->part.at);

    r->sum_expected = le_get64(r->part.at + 4);
    r->packed = r->version > 1 && (len & SNAPSHOT_PACKED) != 0;
    if (r->packed) {
        len &= ~SNAPSHOT_PACKED;
    }
    if (len > SNAPSHOT_PAYLOAD_MAX || (len == 0 && r->packed)) {
        return fail(r, error_set(&r->error, -EBADMSG, "bad chunk length at offset %" PRIu64, r->offset));
    }
    if (len == 0 && !r->packed) {
        next_part(r, STAGE_TRAILER, SNAPSHOT_TRAILER_LEN);
    } else {
        next_part(r, STAGE_PAYLOAD, len);
    }
    return 0;
}

static int check_sum(struct snapshot_reader *r)
{
    r->sum = XXH3_64bits_withSeed(r->part.at, r->part.len, r->sum);
    if (r->sum != r->sum_expected) {
        return fail(r, error_set(&r->error, -EBADMSG, "bad checksum at offset %" PRIu64, r->offset));
    }
    return 0;
}

/* Puts the payload behind the pending records. */
static int take_payload(struct snapshot_reader *r)
{
    struct bytes *to = &r->pending;
    unsigned long long size;

    if (!r->packed) {
        r->payload_bytes += r->part.len;
        bytes_append(to, r->part.at, r->part.len);
        return 0;
    }
    size = ZSTD_getFrameContentSize(r->part.at, r->part.len); /* huge when unknown */
    if (size == 0 || size > SNAPSHOT_PAYLOAD_MAX) {
        return fail(r, error_set(&r->error, -EBADMSG, "bad compression at offset %" PRIu64, r->offset));
    }
    bytes_reserve(to, (size_t)size);
    if (ZSTD_decompressDCtx(r->unpacker, to->at + to->len, (size_t)size, r->part.at, r->part.len) != size) {
        return fail(r, error_set(&r->error, -EBADMSG, "bad compression at offset %" PRIu64, r->offset));
    }
    r->payload_bytes += size;
    to->len += (size_t)size;
    return 0;
}

static int on_payload(struct snapshot_reader *r)
{
    int rv;

    rv = check_sum(r);
    if (rv != 0) {
        return rv;
    }
    rv = take_payload(r);
    if (rv == 0) {
        rv = read_records(r);
    }
    if (rv != 0) {
        return rv;
    }
    next_part(r, STAGE_FRAME, SNAPSHOT_FRAME_LEN);
    return 0;
}

static int on_trailer(struct snapshot_reader *r)
{
    const struct state *s = r->records.state;
    const uint8_t *fields = r->part.at;
    int rv;

    rv = check_sum(r);
    if (rv != 0) {
        return rv;
    }
    if (le_get64(fields) != r->payload_bytes || r->pending.len != 0 || s->tree->root == NULL ||
        le_get64(fields + 8) != tree_count(s->tree) || le_get64(fields + 16) != s->sessions.by_id.count) {
        return fail(
            r, error_set(&r->error, -EBADMSG, "the trailer at offset %" PRIu64 " counts something else", r->offset));
    }
#ifdef ZNODEFS_MUTANT_FORGET_RECORD
    next_part(r, STAGE_END, 0); /* Seeded fault, with the one in snapshot_record.c. */
    return 0;
#endif
    if (le_get64(fields + 24) != state_digest(s)) {
        return fail(r,
                    error_set(&r->error, -EBADMSG, "the trailer at offset %" PRIu64 " has another digest", r->offset));
    }
    next_part(r, STAGE_END, 0);
    return 0;
}

static int on_part(struct snapshot_reader *r)
{
    switch (r->stage) {
    case STAGE_HEADER:
        return on_header(r);
    case STAGE_FRAME:
        return on_frame(r);
    case STAGE_PAYLOAD:
        return on_payload(r);
    case STAGE_TRAILER:
        return on_trailer(r);
    case STAGE_END:
    case STAGE_FAILED:
        break;
    }
    assert(r->stage < STAGE_END);
    return -EINVAL;
}

struct snapshot_reader *snapshot_reader_new(void)
{
    struct snapshot_reader *r = calloc(1, sizeof(*r));

    if (r == NULL) {
        abort();
    }
    r->unpacker = ZSTD_createDCtx();
    if (r->unpacker == NULL) {
        abort();
    }
    r->part_need = SNAPSHOT_HEADER_LEN;
    r->records.state = state_new_bare();
    return r;
}

void snapshot_reader_free(struct snapshot_reader *r)
{
    if (r == NULL) {
        return;
    }
    state_free(r->records.state);
    (void)ZSTD_freeDCtx(r->unpacker);
    free(r->pending.at);
    free(r->part.at);
    free(r);
}

static int reader_error(const struct snapshot_reader *r, struct error *err)
{
    return error_set(err, r->rv, "%s", r->error.text);
}

int snapshot_reader_feed(struct snapshot_reader *r, const uint8_t *bytes, size_t len, struct error *err)
{
    while (len > 0) {
        size_t n = r->part_need - r->part.len;

        if (r->stage == STAGE_END) {
            (void)fail(r, error_set(&r->error, -EBADMSG, "bytes behind the end at offset %" PRIu64, r->offset));
        }
        if (r->stage == STAGE_FAILED) {
            return reader_error(r, err);
        }
        n = n < len ? n : len;
        bytes_append(&r->part, bytes, n);
        bytes += n;
        len -= n;
        if (r->part.len == r->part_need && on_part(r) != 0) {
            return reader_error(r, err);
        }
    }
    return 0;
}

int snapshot_reader_finish(struct snapshot_reader *r, struct state **ret_state, struct error *err)
{
    if (r->stage == STAGE_FAILED) {
        return reader_error(r, err);
    }
#ifdef ZNODEFS_MUTANT_HALF_SNAPSHOT
    if (r->records.state != NULL && r->records.state->tree->root != NULL) {
        r->stage = STAGE_END; /* Seeded fault, with the one in zab_election.c. */
    }
#endif
    if (r->stage != STAGE_END) {
        return error_set(err, -EBADMSG, "cut short at offset %" PRIu64, r->offset + r->part.len);
    }
    *ret_state = r->records.state;
    r->records.state = NULL;
    return 0;
}
