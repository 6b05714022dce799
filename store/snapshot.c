/*
 * snapshot: the writer. A snapshot is a header, chunks, and a trailer. Fixed-width numbers are little-endian.
 *
 *   header   "ZNODSNAP" | u32 version | u32 0 | u64 zxid | u64 sum = XXH3 of the 24 bytes before
 *   chunk    u32 length of what follows the sum, 1 .. 1 MiB - 12, with bit 31 set if that is compressed | u64 sum
 *            | the payload, or a frame of Zstandard with its content size, which holds one of at most 1 MiB - 12
 *   trailer  u32 0 | u64 sum | u64 bytes of all payloads | u64 znodes | u64 sessions | u64 digest of the state
 *
 * Version 1 had no compressed chunks. The sum of a chunk and of the trailer is XXH3 of what follows it, seeded with the
 * sum before: a chunk that is lost, doubled or moved shows itself. The payloads are one stream of records, cut
 * anywhere:
 *
 *   record   varint length of the rest | u8 type | fields
 *   globals  u64 ensemble | varint next_ino | varint znodes, so that room is made at once          (first, once)
 *   session  u64 id | varint server | varint lowest | varint zxid_used | varint n
 *            | n x ( varint seq - the seq before | varint err | varint zxid | varint ino )           (by last use)
 *   node     varint ino | varint parent (0: the root) | varint cookie | u8 kind | u8 flags | varint mode, uid, gid
 *            | varint version, cversion, aversion | varint czxid | zigzag mzxid - czxid, pzxid - czxid
 *            | zigzag btime, mtime - btime, ctime - btime, atime - btime | varint next_cookie, if a directory
 *            | varint length, name | varint n x ( varint length, name | varint length, value ) of xattrs
 *            | u64 data_hash, if flags has 1 | data: the rest
 *
 * varint is LEB128. A parent comes before its children, those in slot order: equal states give equal bytes.
 */
#include "snapshot_int.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

#define PACK_LEVEL 1    /* the quickest that gains from single letters, as numbers and text have them */
#define PACK_MIN   4096 /* what is smaller is not worth it */

struct writer {
    const struct node *top; /* the root of what is written */
    snapshot_sink sink;
    void *arg;
    int rv; /* the first error of the sink: nothing more is written */
    uint64_t sum;
    uint64_t payload_bytes;
    uint8_t *chunk; /* SNAPSHOT_CHUNK_MAX, the frame in front */
    size_t chunk_len;
    ZSTD_CCtx *packer;
    uint8_t *packed; /* SNAPSHOT_CHUNK_MAX, as `chunk` */
    uint8_t *record; /* the fields of the record in work, without a node's data */
    size_t record_len;
    size_t record_cap;
};

static void emit(struct writer *w, const uint8_t *bytes, size_t len)
{
    if (w->rv == 0) {
        w->rv = w->sink(w->arg, bytes, len);
    }
}

static void write_header(struct writer *w, uint64_t zxid)
{
    uint8_t header[SNAPSHOT_HEADER_LEN];

    memcpy(header, SNAPSHOT_MAGIC, SNAPSHOT_MAGIC_LEN);
    le_put32(header + 8, SNAPSHOT_VERSION);
    le_put32(header + 12, 0);
    le_put64(header + 16, zxid);
    w->sum = XXH3_64bits(header, 24);
    le_put64(header + 24, w->sum);
    emit(w, header, sizeof(header));
}

/* The length of the payload in `packed`, 0 when it does not get smaller. */
static size_t pack(struct writer *w, size_t payload_len)
{
    size_t len;

    if (payload_len < PACK_MIN) {
        return 0;
    }
    len = ZSTD_compressCCtx(w->packer, w->packed + SNAPSHOT_FRAME_LEN, payload_len - 1, w->chunk + SNAPSHOT_FRAME_LEN,
                            payload_len, PACK_LEVEL);
    return ZSTD_isError(len) ? 0 : len;
}

static void flush_chunk(struct writer *w)
{
    size_t payload_len = w->chunk_len - SNAPSHOT_FRAME_LEN;
    size_t packed_len = pack(w, payload_len);
    uint8_t *chunk = packed_len > 0 ? w->packed : w->chunk;
    size_t len = packed_len > 0 ? packed_len : payload_len;

    if (payload_len == 0) {
        return;
    }
    w->sum = XXH3_64bits_withSeed(chunk + SNAPSHOT_FRAME_LEN, len, w->sum);
    le_put32(chunk, (uint32_t)len | (packed_len > 0 ? SNAPSHOT_PACKED : 0));
    le_put64(chunk + 4, w->sum);
    w->payload_bytes += payload_len;
    emit(w, chunk, SNAPSHOT_FRAME_LEN + len);
    w->chunk_len = SNAPSHOT_FRAME_LEN;
}

static void write_payload(struct writer *w, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        size_t room = SNAPSHOT_CHUNK_MAX - w->chunk_len;
        size_t n = len < room ? len : room;

        memcpy(w->chunk + w->chunk_len, bytes, n);
        w->chunk_len += n;
        bytes += n;
        len -= n;
        if (w->chunk_len == SNAPSHOT_CHUNK_MAX) {
            flush_chunk(w);
        }
    }
}

static void record_put(struct writer *w, const void *bytes, size_t len)
{
    if (w->record_cap - w->record_len < len) {
        size_t cap = 2 * (w->record_len + len) + 256;
        uint8_t *record = realloc(w->record, cap);

        if (record == NULL) {
            abort();
        }
        w->record = record;
        w->record_cap = cap;
    }
    if (len > 0) {
        memcpy(w->record + w->record_len, bytes, len);
    }
    w->record_len += len;
}

static void put_u8(struct writer *w, uint8_t value)
{
    record_put(w, &value, 1);
}

static void put_u64(struct writer *w, uint64_t value)
{
    uint8_t bytes[8];

    le_put64(bytes, value);
    record_put(w, bytes, sizeof(bytes));
}

static size_t varint_encode(uint64_t value, uint8_t bytes[10])
{
    size_t n = 0;

    while (value >= 0x80) {
        bytes[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[n++] = (uint8_t)value;
    return n;
}

static void put_varint(struct writer *w, uint64_t value)
{
    uint8_t bytes[10];

    record_put(w, bytes, varint_encode(value, bytes));
}

static void record_begin(struct writer *w, enum snapshot_record type)
{
    w->record_len = 0;
    put_u8(w, (uint8_t)type);
}

static void record_end(struct writer *w, const uint8_t *data, size_t data_len)
{
    uint8_t length[10];

    write_payload(w, length, varint_encode(w->record_len + data_len, length));
    write_payload(w, w->record, w->record_len);
    write_payload(w, data, data_len);
}

static void write_session(struct writer *w, const struct session *s)
{
    uint64_t seq = 0;

    record_begin(w, SNAPSHOT_SESSION);
    put_u64(w, s->id);
    put_varint(w, s->server);
    put_varint(w, s->lowest);
    put_varint(w, s->zxid_used);
    put_varint(w, s->n);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct session_record *r = &s->records[s->first + i];

        put_varint(w, r->seq - seq);
        put_varint(w, (uint64_t)r->outcome.err);
        put_varint(w, r->outcome.zxid);
        put_varint(w, r->outcome.ino);
        seq = r->seq;
    }
    record_end(w, NULL, 0);
}

static void put_stat(struct writer *w, const struct node *n)
{
    uint64_t btime = (uint64_t)n->btime_ns;

    put_varint(w, n->mode);
    put_varint(w, n->uid);
    put_varint(w, n->gid);
    put_varint(w, n->version);
    put_varint(w, n->cversion);
    put_varint(w, n->aversion);
    put_varint(w, n->czxid);
    put_varint(w, zigzag(n->mzxid - n->czxid));
    put_varint(w, zigzag(n->pzxid - n->czxid));
    put_varint(w, zigzag(btime));
    put_varint(w, zigzag((uint64_t)n->mtime_ns - btime));
    put_varint(w, zigzag((uint64_t)n->ctime_ns - btime));
    put_varint(w, zigzag((uint64_t)n->atime_ns - btime));
}

static void put_xattrs(struct writer *w, const struct node *n)
{
    put_varint(w, node_xattr_count(n));
    for (const struct xattr *x = n->xattrs; x != NULL; x = x->next) {
        put_varint(w, x->name_len);
        record_put(w, x->name, x->name_len);
        put_varint(w, x->len);
        record_put(w, x->value, x->len);
    }
}

static void write_node(struct writer *w, const struct node *n)
{
    const uint8_t *data = n->data == NULL ? NULL : n->data->bytes;
    bool chained = n->data_hash != data_hash(data, n->data_len);
    struct node_place place = node_place_below(n, w->top);

    record_begin(w, SNAPSHOT_NODE);
    put_varint(w, place.ino);
    put_varint(w, place.parent_ino);
    put_varint(w, place.cookie);
    put_u8(w, n->kind);
    put_u8(w, chained ? SNAPSHOT_NODE_HASH : 0);
    put_stat(w, n);
    if (n->dir != NULL) {
        put_varint(w, n->dir->next_cookie);
    }
    put_varint(w, place.name_len);
    record_put(w, place.name, place.name_len);
    put_xattrs(w, n);
    if (chained) {
        put_u64(w, n->data_hash);
    }
    record_end(w, data, n->data_len);
}

/* What the trailer says of the whole. */
struct totals {
    uint64_t znodes;
    uint64_t sessions;
    uint64_t digest;
};

static struct totals totals_of_state(const struct state *s)
{
    return (struct totals){
        .znodes = tree_count(s->tree), .sessions = s->sessions.by_id.count, .digest = state_digest(s)};
}

static struct totals totals_below(const struct state *s, const struct node *top)
{
    struct totals totals = {.digest = state_globals_digest(s)};

    for (const struct node *n = top; n != NULL; n = tree_next(top, n)) {
        struct node_place place = node_place_below(n, top);

        totals.znodes++;
        totals.digest += node_digest_at(n, &place);
    }
    return totals;
}

static void write_trailer(struct writer *w, const struct totals *totals)
{
    uint8_t trailer[SNAPSHOT_FRAME_LEN + SNAPSHOT_TRAILER_LEN];
    uint8_t *fields = trailer + SNAPSHOT_FRAME_LEN;

    le_put64(fields, w->payload_bytes);
    le_put64(fields + 8, totals->znodes);
    le_put64(fields + 16, totals->sessions);
    le_put64(fields + 24, totals->digest);
    le_put32(trailer, 0);
    le_put64(trailer + 4, XXH3_64bits_withSeed(fields, SNAPSHOT_TRAILER_LEN, w->sum));
    emit(w, trailer, sizeof(trailer));
}

static int write_all(struct writer *w, const struct state *s, const struct totals *totals)
{
    w->chunk_len = SNAPSHOT_FRAME_LEN;
    w->chunk = malloc(SNAPSHOT_CHUNK_MAX);
    w->packed = malloc(SNAPSHOT_CHUNK_MAX);
    w->packer = ZSTD_createCCtx();
    if (w->chunk == NULL || w->packed == NULL || w->packer == NULL) {
        abort();
    }
    write_header(w, s->zxid);
    record_begin(w, SNAPSHOT_GLOBALS);
    put_u64(w, s->ensemble);
    put_varint(w, s->tree->next_ino);
    put_varint(w, totals->znodes);
    record_end(w, NULL, 0);
    if (totals->sessions > 0) {
        for (const struct session *each = s->sessions.oldest; each != NULL && w->rv == 0; each = each->next) {
            write_session(w, each);
        }
    }
    for (const struct node *n = w->top; n != NULL && w->rv == 0; n = tree_next(w->top, n)) {
        write_node(w, n);
    }
    flush_chunk(w);
    write_trailer(w, totals);
    (void)ZSTD_freeCCtx(w->packer);
    free(w->packed);
    free(w->chunk);
    free(w->record);
    return w->rv;
}

int snapshot_write(const struct state *s, snapshot_sink sink, void *arg)
{
    struct writer w = {.sink = sink, .arg = arg, .top = s->tree->root};
    struct totals totals = totals_of_state(s);

    return write_all(&w, s, &totals);
}

int snapshot_write_below(const struct state *s, const struct node *top, snapshot_sink sink, void *arg)
{
    struct writer w = {.sink = sink, .arg = arg, .top = top};
    struct totals totals = totals_below(s, top);

    assert(top->kind == NODE_DIR);
    return write_all(&w, s, &totals);
}
