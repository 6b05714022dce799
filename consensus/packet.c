/*
 * A frame, as it travels (integers of the header are little-endian):
 *
 *      0        4              8                 16
 *      +--------+--------------+-----------------+------------------------------+
 *      | "zNod" | u32 body_len | u64 XXH3(body)  | body: one msgpack array      |
 *      +--------+--------------+-----------------+------------------------------+
 *
 * The body of a packet, PACKET_VERSION 1; every type carries every field, and a field that a type does not use is one
 * byte of zero:
 *
 *      [ version, ensemble, type (1..20), epoch, zxid, zxid_prev, round,
 *        vote.sid, vote.zxid, vote.epoch, vote.virgin, vote.sole, role, virgin, empty,
 *        accepted_from, zxid_digest, digest, body (bin, nil for the types without) ]
 *
 * The body of a greeting (type 0; the word keeps a stray frame from passing for one):
 *
 *      [ version, ensemble, 0, "znodefs", sid, sid_to, observer, nonce ]
 *      [ version, ensemble, 0, "znodefs", sid, sid_to, observer, nonce, members ]    (to an unlisted observer)
 *
 * Whatever else the versions to come change: header, version, ensemble and type stay where they are.
 */
#include "packet.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <msgpack.h>
#include <string.h>
#include <xxhash.h>

#define FIELDS_PACKET   19
#define FIELDS_GREETING 8
#define FIELDS_MEMBERS  9 /* a greeting with members */
#define TYPE_GREETING   0
/* Above the largest encoding of all fields but the body: 18 fields of 9 bytes at most, and the two length prefixes. */
#define ENVELOPE_MAX 192

static const uint8_t frame_magic[4] = {'z', 'N', 'o', 'd'};
static const char greeting_word[] = "znodefs";

static bool type_has_body(enum zab_packet_type type)
{
    return type == ZAB_PROPOSAL || type == ZAB_INFORM || type == ZAB_REQUEST || type == ZAB_SNAP_DATA;
}

/* ---- encoding ---- */

static int sink_cb(void *arg, const char *bytes, size_t len)
{
    struct buf *frame = arg;

    assert(len <= frame->cap - frame->len);
    memcpy(frame->bytes + frame->len, bytes, len);
    frame->len += (uint32_t)len;
    return 0;
}

/* The sink never fails, so neither does packing: the results of these are asserted in one place. */
static void pack_uint(msgpack_packer *pk, uint64_t value)
{
    int rv = msgpack_pack_uint64(pk, value);

    assert(rv == 0);
}

static void pack_bool(msgpack_packer *pk, bool value)
{
    int rv = value ? msgpack_pack_true(pk) : msgpack_pack_false(pk);

    assert(rv == 0);
}

static void pack_body(msgpack_packer *pk, const struct buf *body)
{
    int rv;

    if (body == NULL) {
        rv = msgpack_pack_nil(pk);
        assert(rv == 0);
        return;
    }
    rv = msgpack_pack_bin(pk, body->len);
    assert(rv == 0);
    if (body->len > 0) {
        rv = msgpack_pack_bin_body(pk, body->bytes, body->len);
        assert(rv == 0);
    }
}

static struct buf *frame_begin(msgpack_packer *pk, size_t body_len, size_t n_fields)
{
    struct buf *frame = buf_new(PACKET_HEADER_LEN + ENVELOPE_MAX + body_len);
    int rv;

    frame->len = PACKET_HEADER_LEN;
    msgpack_packer_init(pk, frame, sink_cb);
    rv = msgpack_pack_array(pk, n_fields);
    assert(rv == 0);
    return frame;
}

/* Fills in the header, now that the body is known. */
static struct buf *frame_end(struct buf *frame)
{
    const uint8_t *body = frame->bytes + PACKET_HEADER_LEN;
    size_t body_len = frame->len - PACKET_HEADER_LEN;
    uint32_t len_le = htole32((uint32_t)body_len);
    uint64_t sum_le = htole64(XXH3_64bits(body, body_len));

    assert(frame->len <= PACKET_FRAME_MAX);
    memcpy(frame->bytes, frame_magic, sizeof(frame_magic));
    memcpy(frame->bytes + 4, &len_le, sizeof(len_le));
    memcpy(frame->bytes + 8, &sum_le, sizeof(sum_le));
    return frame;
}

struct buf *packet_encode(const struct zab_packet *p, uint64_t ensemble)
{
    msgpack_packer pk;
    struct buf *frame;

    assert(p->type > 0 && p->type < ZAB_PACKET_TYPE_COUNT);
    assert(type_has_body(p->type) == (p->body != NULL));
    frame = frame_begin(&pk, p->body != NULL ? p->body->len : 0, FIELDS_PACKET);
    pack_uint(&pk, PACKET_VERSION);
    pack_uint(&pk, ensemble);
    pack_uint(&pk, p->type);
    pack_uint(&pk, p->epoch);
    pack_uint(&pk, p->zxid);
    pack_uint(&pk, p->zxid_prev);
    pack_uint(&pk, p->round);
    pack_uint(&pk, p->vote.sid);
    pack_uint(&pk, p->vote.zxid);
    pack_uint(&pk, p->vote.epoch);
    pack_bool(&pk, p->vote.virgin);
    pack_bool(&pk, p->vote.sole);
    pack_uint(&pk, p->role);
    pack_bool(&pk, p->virgin);
    pack_bool(&pk, p->empty);
    pack_uint(&pk, p->accepted_from);
    pack_uint(&pk, p->zxid_digest);
    pack_uint(&pk, p->digest);
    pack_body(&pk, p->body);
    return frame_end(frame);
}

struct buf *packet_encode_greeting(const struct packet_greeting *g)
{
    msgpack_packer pk;
    struct buf *frame = frame_begin(&pk, g->members_len, g->members != NULL ? FIELDS_MEMBERS : FIELDS_GREETING);
    int rv;

    assert(g->members_len <= PACKET_MEMBERS_MAX);

    pack_uint(&pk, PACKET_VERSION);
    pack_uint(&pk, g->ensemble);
    pack_uint(&pk, TYPE_GREETING);
    rv = msgpack_pack_str(&pk, strlen(greeting_word));
    assert(rv == 0);
    rv = msgpack_pack_str_body(&pk, greeting_word, strlen(greeting_word));
    assert(rv == 0);
    pack_uint(&pk, g->sid);
    pack_uint(&pk, g->sid_to);
    pack_bool(&pk, g->observer);
    pack_uint(&pk, g->nonce);
    if (g->members != NULL) {
        rv = msgpack_pack_str(&pk, g->members_len);
        assert(rv == 0);
        rv = msgpack_pack_str_body(&pk, g->members, g->members_len);
        assert(rv == 0);
    }
    return frame_end(frame);
}

/* ---- decoding ---- */

/* Reads the fields of one body in order. The first field that is not what it should be sets `bad`; what is read
 * after that is zero, so that a decoder checks once, at its end. */
struct reader {
    const char *bytes;
    size_t len;
    size_t pos;
    uint32_t n_fields;
    bool bad;
};

/* The array's head by hand: msgpack would allocate room for as many elements as a stranger cares to announce. */
static void reader_init(struct reader *r, const uint8_t *frame, size_t len)
{
    const uint8_t *body = frame + PACKET_HEADER_LEN;

    memset(r, 0, sizeof(*r));
    r->bytes = (const char *)body;
    r->len = len - PACKET_HEADER_LEN;
    if (r->len >= 1 && (body[0] & 0xf0) == 0x90) {
        r->n_fields = body[0] & 0x0f;
        r->pos = 1;
    } else if (r->len >= 3 && body[0] == 0xdc) {
        r->n_fields = ((uint32_t)body[1] << 8) | body[2];
        r->pos = 3;
    } else {
        r->bad = true;
    }
}

/* Arrays, maps and extensions never stand in a frame; the rest is decoded in place, without allocating. */
static bool lead_is_scalar(uint8_t lead)
{
    bool nested = (lead >= 0x80 && lead <= 0x9f) || (lead >= 0xdc && lead <= 0xdf);
    bool ext = (lead >= 0xc7 && lead <= 0xc9) || (lead >= 0xd4 && lead <= 0xd8);

    return !nested && !ext;
}

static msgpack_object read_object(struct reader *r)
{
    msgpack_unpacked unpacked;
    msgpack_object object = {.type = MSGPACK_OBJECT_NIL};

    if (r->bad || r->pos >= r->len || !lead_is_scalar((uint8_t)r->bytes[r->pos])) {
        r->bad = true;
        return object;
    }
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, r->bytes, r->len, &r->pos) == MSGPACK_UNPACK_SUCCESS) {
        object = unpacked.data;
    } else {
        r->bad = true;
    }
    msgpack_unpacked_destroy(&unpacked);
    return object;
}

static uint64_t read_uint(struct reader *r, uint64_t max)
{
    msgpack_object object = read_object(r);

    if (r->bad || object.type != MSGPACK_OBJECT_POSITIVE_INTEGER || object.via.u64 > max) {
        r->bad = true;
        return 0;
    }
    return object.via.u64;
}

static bool read_bool(struct reader *r)
{
    msgpack_object object = read_object(r);

    if (r->bad || object.type != MSGPACK_OBJECT_BOOLEAN) {
        r->bad = true;
        return false;
    }
    return object.via.boolean;
}

static void read_word(struct reader *r, const char *word)
{
    msgpack_object object = read_object(r);

    if (r->bad || object.type != MSGPACK_OBJECT_STR || object.via.str.size != strlen(word) ||
        memcmp(object.via.str.ptr, word, strlen(word)) != 0) {
        r->bad = true;
    }
}

/* Points into the frame. */
static const char *read_text(struct reader *r, size_t *ret_len)
{
    msgpack_object object = read_object(r);

    if (r->bad || object.type != MSGPACK_OBJECT_STR || object.via.str.size > PACKET_MEMBERS_MAX) {
        r->bad = true;
        return NULL;
    }
    *ret_len = object.via.str.size;
    return object.via.str.ptr;
}

static struct buf *read_body(struct reader *r, enum zab_packet_type type)
{
    msgpack_object object = read_object(r);

    if (!type_has_body(type)) {
        r->bad = r->bad || object.type != MSGPACK_OBJECT_NIL;
        return NULL;
    }
    r->bad = r->bad || object.type != MSGPACK_OBJECT_BIN || r->pos != r->len;
    if (r->bad) {
        return NULL;
    }
    return buf_copy(object.via.bin.ptr, object.via.bin.size);
}

static bool reader_whole(const struct reader *r)
{
    return !r->bad && r->pos == r->len;
}

int packet_header_read(const uint8_t *bytes, size_t max, uint32_t *ret_body_len)
{
    uint32_t len_le;

    if (memcmp(bytes, frame_magic, sizeof(frame_magic)) != 0) {
        return -EBADMSG;
    }
    memcpy(&len_le, bytes + 4, sizeof(len_le));
    if (max < PACKET_HEADER_LEN || le32toh(len_le) > max - PACKET_HEADER_LEN) {
        return -EFBIG;
    }
    *ret_body_len = le32toh(len_le);
    return 0;
}

int packet_check(const uint8_t *frame, size_t len, bool *ret_greeting, uint64_t *ret_ensemble, unsigned *ret_version)
{
    struct reader r;
    uint64_t sum_le;
    uint64_t ensemble;
    uint64_t type;
    unsigned version;
    uint32_t body_len;

    if (len < PACKET_HEADER_LEN || packet_header_read(frame, PACKET_FRAME_MAX, &body_len) != 0 ||
        body_len != len - PACKET_HEADER_LEN) {
        return -EBADMSG;
    }
    memcpy(&sum_le, frame + 8, sizeof(sum_le));
    if (le64toh(sum_le) != XXH3_64bits(frame + PACKET_HEADER_LEN, body_len)) {
        return -EBADMSG;
    }
    reader_init(&r, frame, len);
    version = (unsigned)read_uint(&r, UINT32_MAX);
    if (r.bad) {
        return -EBADMSG;
    }
    if (version != PACKET_VERSION) {
        *ret_version = version;
        return -EPROTO;
    }
    ensemble = read_uint(&r, UINT64_MAX);
    type = read_uint(&r, ZAB_PACKET_TYPE_COUNT - 1);
    if (r.bad) {
        return -EBADMSG;
    }
    *ret_greeting = type == TYPE_GREETING;
    *ret_ensemble = ensemble;
    *ret_version = version;
    return 0;
}

int packet_decode(const uint8_t *frame, size_t len, struct zab_packet *ret_packet)
{
    struct zab_packet p = {0};
    struct reader r;

    assert(len >= PACKET_HEADER_LEN);
    reader_init(&r, frame, len);
    read_uint(&r, PACKET_VERSION);
    read_uint(&r, UINT64_MAX);
    p.type = (enum zab_packet_type)read_uint(&r, ZAB_PACKET_TYPE_COUNT - 1);
    if (r.bad || r.n_fields != FIELDS_PACKET || p.type == TYPE_GREETING) {
        return -EBADMSG;
    }
    p.epoch = (uint32_t)read_uint(&r, UINT32_MAX);
    p.zxid = read_uint(&r, UINT64_MAX);
    p.zxid_prev = read_uint(&r, UINT64_MAX);
    p.round = read_uint(&r, UINT64_MAX);
    p.vote.sid = read_uint(&r, UINT64_MAX);
    p.vote.zxid = read_uint(&r, UINT64_MAX);
    p.vote.epoch = (uint32_t)read_uint(&r, UINT32_MAX);
    p.vote.virgin = read_bool(&r);
    p.vote.sole = read_bool(&r);
    p.role = (enum zab_role)read_uint(&r, ZAB_OBSERVING);
    p.virgin = read_bool(&r);
    p.empty = read_bool(&r);
    p.accepted_from = read_uint(&r, UINT64_MAX);
    p.zxid_digest = read_uint(&r, UINT64_MAX);
    p.digest = read_uint(&r, UINT64_MAX);
    p.body = read_body(&r, p.type);
    if (!reader_whole(&r)) {
        buf_unref(p.body);
        return -EBADMSG;
    }
    *ret_packet = p;
    return 0;
}

int packet_decode_greeting(const uint8_t *frame, size_t len, struct packet_greeting *ret_greeting)
{
    struct packet_greeting g = {0};
    struct reader r;

    assert(len >= PACKET_HEADER_LEN);
    reader_init(&r, frame, len);
    read_uint(&r, PACKET_VERSION);
    g.ensemble = read_uint(&r, UINT64_MAX);
    read_uint(&r, TYPE_GREETING);
    if (r.bad || (r.n_fields != FIELDS_GREETING && r.n_fields != FIELDS_MEMBERS)) {
        return -EBADMSG;
    }
    read_word(&r, greeting_word);
    g.sid = read_uint(&r, UINT64_MAX);
    g.sid_to = read_uint(&r, UINT64_MAX);
    g.observer = read_bool(&r);
    g.nonce = read_uint(&r, UINT64_MAX);
    if (r.n_fields == FIELDS_MEMBERS) {
        g.members = read_text(&r, &g.members_len);
    }
    if (!reader_whole(&r)) {
        return -EBADMSG;
    }
    *ret_greeting = g;
    return 0;
}
