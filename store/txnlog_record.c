/*
 * The bytes of a log segment, written and read. Integers are little-endian, offsets count from the file's start.
 *
 *   file log.<first zxid, 16 hex digits>
 *   0      +--------------------------------------------------------------+
 *          | header, 4096 bytes                                           |
 *          |   0  magic "ZNODELOG"                                        |
 *          |   8  u32 version (1)      12  u32 zero                       |
 *          |  16  u64 zxid of the first record                            |
 *          |  24  u64 zxid_prev of the first record                       |
 *          |  32  zeros                                                   |
 *          | 4088 u64 XXH3 of bytes 0..4088                               |
 *   4096   +--------------------------------------------------------------+
 *          | record, a multiple of 8 bytes                                |
 *          |   0  u32 magic "ZREC"      4  u32 length of the payload      |
 *          |   8  u64 zxid             16  u64 zxid_prev                  |
 *          |  24  u64 zxid_committed   32  u64 durable_offset             |
 *          |  40  u64 XXH3 of bytes 0..40, seeded with the place          |
 *          |  48  u64 XXH3 of the payload, seeded with the checksum at 40 |
 *          |  56  payload, then zeros up to a multiple of 8               |
 *          +--------------------------------------------------------------+
 *          | more records                                                 |
 *          +--------------------------------------------------------------+
 *          | zeros written ahead; none in a sealed segment                |
 *          +--------------------------------------------------------------+
 *
 * The header's layout, its checksum included, stays the same in every later version: else an older program would
 * take a newer segment for one that was torn when it was made.
 *
 * durable_offset tells how far this segment was known to be durable when the record was written: an invalid place
 * before it is damage, not a torn write. The checksum at 40 covers the place (segment and offset): a copy of a log
 * that somebody stores as a znode's data is not taken for records when recovery looks for such witnesses.
 */
#include "le.h"
#include "txnlog_int.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define RECORD_MAGIC 0x4345525au /* "ZREC" */
#define WINDOW_BYTES ((size_t)1024 * 1024)

static const char segment_magic[8] = {'Z', 'N', 'O', 'D', 'E', 'L', 'O', 'G'};

void segment_name(uint64_t zxid_first, char name[SEGMENT_NAME_BYTES])
{
    int n = snprintf(name, SEGMENT_NAME_BYTES, "log.%016" PRIx64, zxid_first);

    assert(n == SEGMENT_NAME_BYTES - 1);
}

bool segment_name_parse(const char *name, uint64_t *ret_zxid_first)
{
    char again[SEGMENT_NAME_BYTES];
    uint64_t zxid;

    if (strncmp(name, "log.", 4) != 0) {
        return false;
    }
    zxid = strtoull(name + 4, NULL, 16);
    segment_name(zxid, again);
    if (strcmp(name, again) != 0) {
        return false;
    }
    *ret_zxid_first = zxid;
    return true;
}

void segment_header_encode(uint64_t zxid_first, uint64_t zxid_prev, uint8_t out[SEGMENT_HEADER_BYTES])
{
    memset(out, 0, SEGMENT_HEADER_BYTES);
    memcpy(out, segment_magic, sizeof(segment_magic));
    le_put32(out + 8, SEGMENT_VERSION);
    le_put64(out + 16, zxid_first);
    le_put64(out + 24, zxid_prev);
    le_put64(out + SEGMENT_HEADER_BYTES - 8, XXH3_64bits(out, SEGMENT_HEADER_BYTES - 8));
}

size_t record_bytes(uint32_t payload_len)
{
    return (RECORD_HEADER_BYTES + (size_t)payload_len + 7) & ~(size_t)7;
}

static uint64_t header_checksum(const uint8_t *bytes, uint64_t zxid_first, uint64_t offset)
{
    uint64_t place[2] = {htole64(zxid_first), htole64(offset)};

    return XXH3_64bits_withSeed(bytes, 40, XXH3_64bits(place, sizeof(place)));
}

void record_encode(const struct txnlog_record *r, uint64_t zxid_first, uint64_t offset, uint64_t durable, uint8_t *out)
{
    size_t used = RECORD_HEADER_BYTES + (size_t)r->len;
    uint64_t sum;

    le_put32(out, RECORD_MAGIC);
    le_put32(out + 4, r->len);
    le_put64(out + 8, r->zxid);
    le_put64(out + 16, r->zxid_prev);
    le_put64(out + 24, r->zxid_committed);
    le_put64(out + 32, durable);
    sum = header_checksum(out, zxid_first, offset);
    le_put64(out + 40, sum);
    le_put64(out + 48, XXH3_64bits_withSeed(r->payload, r->len, sum));
    if (r->len > 0) {
        memcpy(out + RECORD_HEADER_BYTES, r->payload, r->len);
    }
    memset(out + used, 0, record_bytes(r->len) - used);
}

int scanner_open(struct disk *d, uint64_t zxid_first, struct scanner *ret_scanner, struct error *err)
{
    struct scanner s = {.disk = d, .zxid_first = zxid_first};
    int rv;

    segment_name(zxid_first, s.name);
    rv = d->ops->open(d, s.name, 0, &s.file);
    if (rv != 0) {
        return error_set(err, rv, "open %s: %s", s.name, strerror(-rv));
    }
    rv = d->ops->size(s.file, &s.size);
    if (rv != 0) {
        d->ops->close(s.file);
        return error_set(err, rv, "stat %s: %s", s.name, strerror(-rv));
    }
    *ret_scanner = s;
    return 0;
}

void scanner_close(struct scanner *s)
{
    s->disk->ops->close(s->file);
    free(s->window);
}

static int window_grow(struct scanner *s, size_t cap)
{
    uint8_t *bytes;

    if (cap <= s->window_cap) {
        return 0;
    }
    bytes = realloc(s->window, cap);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    s->window = bytes;
    s->window_cap = cap;
    return 0;
}

/* 1 and the bytes at `offset`, or 0 if the file ends before their end. */
static int scanner_get(struct scanner *s, uint64_t offset, size_t len, const uint8_t **ret_bytes, struct error *err)
{
    size_t want = len > WINDOW_BYTES ? len : WINDOW_BYTES;
    int rv;

    if (offset > s->size || len > s->size - offset) {
        return 0;
    }
    if (offset < s->window_at || offset + len > s->window_at + s->window_len) {
        s->window_len = 0;
        rv = window_grow(s, want);
        if (rv == 0) {
            rv = s->disk->ops->pread(s->file, s->window, want, offset, &s->window_len);
        }
        if (rv != 0) {
            return error_set(err, rv, "read %s at offset %" PRIu64 ": %s", s->name, offset, strerror(-rv));
        }
        s->window_at = offset;
        if (s->window_len < len) {
            return error_set(err, -EIO, "read %s at offset %" PRIu64 ": the file became shorter", s->name, offset);
        }
    }
    *ret_bytes = s->window + (offset - s->window_at);
    return 1;
}

int scanner_header(struct scanner *s, uint64_t *ret_zxid_first, uint64_t *ret_zxid_prev, struct error *err)
{
    const uint8_t *p;
    uint32_t version;
    int rv;

    rv = scanner_get(s, 0, SEGMENT_HEADER_BYTES, &p, err);
    if (rv <= 0) {
        return rv;
    }
    if (memcmp(p, segment_magic, sizeof(segment_magic)) != 0 ||
        le_get64(p + SEGMENT_HEADER_BYTES - 8) != XXH3_64bits(p, SEGMENT_HEADER_BYTES - 8)) {
        return 0;
    }
    version = le_get32(p + 8);
    if (version > SEGMENT_VERSION) {
        return error_set(err, -EPROTO,
                         "%s has format version %" PRIu32 ", this program knows up to %d: "
                         "run the newer program that wrote it",
                         s->name, version, SEGMENT_VERSION);
    }
    *ret_zxid_first = le_get64(p + 16);
    *ret_zxid_prev = le_get64(p + 24);
    return 1;
}

/* 1 and the 56 bytes if a record's header stands at `offset`; the record itself may be torn. */
static int header_at(struct scanner *s, uint64_t offset, const uint8_t **ret_header, struct error *err)
{
    const uint8_t *p = NULL;
    int rv;

    rv = scanner_get(s, offset, RECORD_HEADER_BYTES, &p, err);
    if (rv <= 0) {
        return rv;
    }
    assert(p != NULL);
    if (le_get32(p) != RECORD_MAGIC || le_get64(p + 40) != header_checksum(p, s->zxid_first, offset)) {
        return 0;
    }
    *ret_header = p;
    return 1;
}

/* No checksum covers it; a bit that flipped there tells as much about the disk as any other. */
static bool padding_is_zero(const uint8_t *record, uint32_t len)
{
    for (size_t i = RECORD_HEADER_BYTES + (size_t)len; i < record_bytes(len); i++) {
        if (record[i] != 0) {
            return false;
        }
    }
    return true;
}

int scanner_record(struct scanner *s, uint64_t offset, struct txnlog_record *ret_record, uint64_t *ret_next,
                   struct error *err)
{
    const uint8_t *p;
    uint32_t len;
    int rv;

    rv = header_at(s, offset, &p, err);
    if (rv <= 0) {
        return rv;
    }
    len = le_get32(p + 4);
    if (len > TXNLOG_RECORD_MAX) {
        return 0;
    }
    rv = scanner_get(s, offset, record_bytes(len), &p, err);
    if (rv <= 0) {
        return rv;
    }
    if (le_get64(p + 48) != XXH3_64bits_withSeed(p + RECORD_HEADER_BYTES, len, le_get64(p + 40)) ||
        !padding_is_zero(p, len)) {
        return 0;
    }
    ret_record->zxid = le_get64(p + 8);
    ret_record->zxid_prev = le_get64(p + 16);
    ret_record->zxid_committed = le_get64(p + 24);
    ret_record->payload = p + RECORD_HEADER_BYTES;
    ret_record->len = len;
    if (le_get64(p + 32) > s->durable) {
        s->durable = le_get64(p + 32);
    }
    *ret_next = offset + record_bytes(len);
    return 1;
}

int scanner_is_zero_from(struct scanner *s, uint64_t offset, struct error *err)
{
    const uint8_t *p;
    size_t len;
    size_t i;
    int rv;

    for (; offset < s->size; offset += len) {
        len = s->size - offset < 4096 ? (size_t)(s->size - offset) : 4096;
        rv = scanner_get(s, offset, len, &p, err);
        if (rv < 0) {
            return rv;
        }
        for (i = 0; i < len; i++) {
            if (p[i] != 0) {
                return 0;
            }
        }
    }
    return 1;
}

int scanner_was_durable(struct scanner *s, uint64_t offset, uint64_t *ret_witness, struct error *err)
{
    const uint8_t *p;
    uint64_t at;
    int rv;

    /* Records begin at multiples of 8. A header is enough: what it tells was known before it was written. */
    for (at = offset + 8; at < s->size; at += 8) {
        rv = header_at(s, at, &p, err);
        if (rv < 0) {
            return rv;
        }
        if (rv == 1 && le_get64(p + 32) > offset) {
            *ret_witness = at;
            return 1;
        }
    }
    return 0;
}
