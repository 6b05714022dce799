/*
 * Snapshots, from files and from leaders. The input is
 *
 *   u8 how to feed | u64 zxid | u16 length of the records | records | transactions as in fuzz_txn
 *
 * around which a header, chunks and a trailer are made that fit, or no input would get behind the checksums. What is
 * taken must be a state that ops can go on from. With the highest bit of the first byte set, the rest is a snapshot as
 * it is.
 */
#include "input.h"

#include "state_check.h"
#include "store/snapshot_int.h"

#include <xxhash.h>

#define ZXID_ROOM (UINT64_C(1) << 32)

struct image {
    uint8_t *bytes;
    size_t len;
    uint64_t sum;
};

static void put(struct image *im, const void *bytes, size_t len)
{
    im->bytes = realloc(im->bytes, im->len + len);
    REQUIRE(im->bytes != NULL);
    memcpy(im->bytes + im->len, bytes, len);
    im->len += len;
}

static void put_header(struct image *im, uint64_t zxid)
{
    uint8_t header[SNAPSHOT_HEADER_LEN] = {0};

    memcpy(header, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_LEN);
    le_put32(header + 8, SNAPSHOT_VERSION);
    le_put64(header + 16, zxid);
    im->sum = XXH3_64bits(header, 24);
    le_put64(header + 24, im->sum);
    put(im, header, sizeof(header));
}

/* A chunk, or with `len_shown` 0 the trailer. */
static void put_part(struct image *im, uint32_t len_shown, const uint8_t *payload, size_t len)
{
    uint8_t frame[SNAPSHOT_FRAME_LEN];

    im->sum = XXH3_64bits_withSeed(payload, len, im->sum);
    le_put32(frame, len_shown);
    le_put64(frame + 4, im->sum);
    put(im, frame, sizeof(frame));
    put(im, payload, len);
}

/* What the reader will have counted: the trailer must say the same. */
static void put_trailer(struct image *im, uint64_t zxid, const uint8_t *records, size_t len)
{
    struct snapshot_records r = {.state = state_new_bare()};
    uint8_t fields[SNAPSHOT_TRAILER_LEN];
    const char *what = NULL;

    r.state->zxid = zxid;
    for (size_t at = 0; at < len && what == NULL;) {
        size_t record_len = snapshot_record_whole(records + at, len - at, &what);

        if (record_len == 0) {
            break;
        }
        what = snapshot_record_read(&r, records + at, record_len);
        at += record_len;
    }
    le_put64(fields, len);
    le_put64(fields + 8, tree_count(r.state->tree));
    le_put64(fields + 16, r.state->sessions.by_id.count);
    le_put64(fields + 24, what == NULL && r.state->tree->root != NULL ? state_digest(r.state) : 0);
    put_part(im, 0, fields, sizeof(fields));
    state_free(r.state);
}

static void go_on(struct state *s, struct input *in)
{
    uint64_t zxid = state_zxid(s);

    while (in->left > 0) {
        struct txn_decoded d;
        struct outcome outcome;
        size_t len = input_u16(in);
        const uint8_t *txn = input_bytes(in, len, &len);

        if (txn_decode(txn, len, &d) == 0) {
            state_apply(s, ++zxid, &d.txn, &outcome);
            txn_decoded_release(&d);
        }
    }
    state_check(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input in = {.at = bytes, .left = len};
    uint8_t how = input_u8(&in);
    size_t piece = (size_t)1 << (how & 15);
    struct image im = {0};
    const uint8_t *records;
    size_t records_len;
    struct state *s;
    uint64_t zxid;

    if ((how & 0x80) != 0) {
        state_free(state_read(in.at, in.left, piece));
        return 0;
    }
    zxid = input_uint(&in, 8) % (UINT64_MAX - ZXID_ROOM); /* transactions follow */
    records = input_bytes(&in, input_u16(&in), &records_len);
    put_header(&im, zxid);
    for (size_t at = 0; at < records_len;) {
        size_t n = records_len - at;

        n = (how & 0x10) != 0 && n > 61 ? 61 : n; /* records are cut anywhere */
        put_part(&im, (uint32_t)n, records + at, n);
        at += n;
    }
    put_trailer(&im, zxid, records, records_len);
    s = state_read(im.bytes, im.len, piece);
    if (s != NULL) {
        REQUIRE(state_zxid(s) == zxid);
        state_check(s);
        go_on(s, &in);
        state_free(s);
    }
    free(im.bytes);
    return 0;
}
