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
 *      [ version, ensemble, type (1..21), epoch, zxid, zxid_prev, round,
 *        vote.sid, vote.zxid, vote.epoch, vote.virgin, vote.sole, role, virgin, empty,
 *        accepted_from, zxid_digest, digest, body (bin, nil for the types without) ]
 *
 * The body of a greeting (type 0; the word keeps a stray frame from passing for one):
 *
 *      [ version, ensemble, 0, "znodefs", sid, sid_to, observer, nonce, participants ]
 *      [ version, ensemble, 0, "znodefs", sid, sid_to, observer, nonce, participants, members ]   (to an unlisted
 *                                                                                                  observer)
 *
 * Whatever else the versions to come change: header, version, ensemble and type stay where they are.
 */
#include "packet.h"

#include "store/unpack.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <msgpack.h>
#include <string.h>
#include <xxhash.h>

#define FIELDS_PACKET   19
#define FIELDS_GREETING 9
#define FIELDS_MEMBERS  10 /* a greeting with members */
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
    pack_uint(&pk, g->participants);
    if (g->members != NULL) {
        rv = msgpack_pack_str(&pk, g->members_len);
        assert(rv == 0);
        rv = msgpack_pack_str_body(&pk, g->members, g->members_len);
        assert(rv == 0);
    }
    return frame_end(frame);
}

/* ---- decoding ---- */

/* A body of fields, of which the first comes next. */
static void body_begin(struct unpack *u, const uint8_t *frame, size_t len, uint32_t *ret_n_fields)
{
    unpack_init(u, frame + PACKET_HEADER_LEN, len - PACKET_HEADER_LEN);
    *ret_n_fields = unpack_array(u, UINT16_MAX);
}

static void read_word(struct unpack *u, const char *word)
{
    size_t len;
    const char *text = unpack_str(u, strlen(word), &len);

    if (len != strlen(word) || memcmp(text, word, len) != 0) {
        u->failed = true;
    }
}

/* The last field of a packet. */
static struct buf *read_body(struct unpack *u, enum zab_packet_type type)
{
    const uint8_t *bytes;
    size_t len;

    if (!type_has_body(type)) {
        unpack_nil(u);
        return NULL;
    }
    bytes = unpack_bin(u, PACKET_FRAME_MAX, &len);
    return unpack_done(u) ? buf_copy(bytes, len) : NULL;
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
    struct unpack u;
    uint32_t n_fields;
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
    body_begin(&u, frame, len, &n_fields);
    version = (unsigned)unpack_uint(&u, UINT32_MAX);
    if (u.failed) {
        return -EBADMSG;
    }
    if (version != PACKET_VERSION) {
        *ret_version = version;
        return -EPROTO;
    }
    ensemble = unpack_uint(&u, UINT64_MAX);
    type = unpack_uint(&u, ZAB_PACKET_TYPE_COUNT - 1);
    if (u.failed) {
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
    struct unpack u;
    uint32_t n_fields;

    assert(len >= PACKET_HEADER_LEN);
    body_begin(&u, frame, len, &n_fields);
    (void)unpack_uint(&u, PACKET_VERSION);
    (void)unpack_uint(&u, UINT64_MAX);
    p.type = (enum zab_packet_type)unpack_uint(&u, ZAB_PACKET_TYPE_COUNT - 1);
    if (u.failed || n_fields != FIELDS_PACKET || p.type == TYPE_GREETING) {
        return -EBADMSG;
    }
    p.epoch = (uint32_t)unpack_uint(&u, UINT32_MAX);
    p.zxid = unpack_uint(&u, UINT64_MAX);
    p.zxid_prev = unpack_uint(&u, UINT64_MAX);
    p.round = unpack_uint(&u, UINT64_MAX);
    p.vote.sid = unpack_uint(&u, UINT64_MAX);
    p.vote.zxid = unpack_uint(&u, UINT64_MAX);
    p.vote.epoch = (uint32_t)unpack_uint(&u, UINT32_MAX);
    p.vote.virgin = unpack_bool(&u);
    p.vote.sole = unpack_bool(&u);
    p.role = (enum zab_role)unpack_uint(&u, ZAB_OBSERVING);
    p.virgin = unpack_bool(&u);
    p.empty = unpack_bool(&u);
    p.accepted_from = unpack_uint(&u, UINT64_MAX);
    p.zxid_digest = unpack_uint(&u, UINT64_MAX);
    p.digest = unpack_uint(&u, UINT64_MAX);
    p.body = read_body(&u, p.type);
    if (!unpack_done(&u)) {
        buf_unref(p.body);
        return -EBADMSG;
    }
    *ret_packet = p;
    return 0;
}

int packet_decode_greeting(const uint8_t *frame, size_t len, struct packet_greeting *ret_greeting)
{
    struct packet_greeting g = {0};
    struct unpack u;
    uint32_t n_fields;

    assert(len >= PACKET_HEADER_LEN);
    body_begin(&u, frame, len, &n_fields);
    (void)unpack_uint(&u, PACKET_VERSION);
    g.ensemble = unpack_uint(&u, UINT64_MAX);
    (void)unpack_uint(&u, TYPE_GREETING);
    if (u.failed || (n_fields != FIELDS_GREETING && n_fields != FIELDS_MEMBERS)) {
        return -EBADMSG;
    }
    read_word(&u, greeting_word);
    g.sid = unpack_uint(&u, UINT64_MAX);
    g.sid_to = unpack_uint(&u, UINT64_MAX);
    g.observer = unpack_bool(&u);
    g.nonce = unpack_uint(&u, UINT64_MAX);
    g.participants = unpack_uint(&u, UINT64_MAX);
    if (n_fields == FIELDS_MEMBERS) {
        g.members = unpack_str(&u, PACKET_MEMBERS_MAX, &g.members_len);
    }
    if (!unpack_done(&u)) {
        return -EBADMSG;
    }
    *ret_greeting = g;
    return 0;
}
