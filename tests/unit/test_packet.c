/* Frames: every packet comes back as it was; whatever bytes come, decoding refuses or yields a packet, and no more. */
#include "consensus/packet.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

static bool has_body(enum zab_packet_type type)
{
    return type == ZAB_PROPOSAL || type == ZAB_INFORM || type == ZAB_REQUEST || type == ZAB_SNAP_DATA;
}

/* A packet with a different value in every field. */
static struct zab_packet sample(enum zab_packet_type type, size_t body_len)
{
    struct zab_packet p = {
        .type = type,
        .epoch = UINT32_MAX,
        .zxid = 0x300000012,
        .zxid_prev = 0x300000011,
        .round = UINT64_MAX,
        .vote = {.sid = 7, .zxid = 0x200000001, .epoch = 3, .virgin = true, .sole = false},
        .role = ZAB_OBSERVING,
        .virgin = false,
        .empty = true,
        .accepted_from = 5,
        .zxid_digest = 128,
        .digest = 0xfedcba9876543210,
    };
    size_t i;

    if (has_body(type)) {
        p.body = buf_new(body_len);
        for (i = 0; i < body_len; i++) {
            p.body->bytes[i] = (uint8_t)(i * 31);
        }
        p.body->len = (uint32_t)body_len;
    }
    return p;
}

static void assert_same(const struct zab_packet *a, const struct zab_packet *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->zxid, b->zxid);
    assert_int_equal(a->zxid_prev, b->zxid_prev);
    assert_int_equal(a->round, b->round);
    assert_int_equal(a->vote.sid, b->vote.sid);
    assert_int_equal(a->vote.zxid, b->vote.zxid);
    assert_int_equal(a->vote.epoch, b->vote.epoch);
    assert_int_equal(a->vote.virgin, b->vote.virgin);
    assert_int_equal(a->vote.sole, b->vote.sole);
    assert_int_equal(a->role, b->role);
    assert_int_equal(a->virgin, b->virgin);
    assert_int_equal(a->empty, b->empty);
    assert_int_equal(a->accepted_from, b->accepted_from);
    assert_int_equal(a->zxid_digest, b->zxid_digest);
    assert_int_equal(a->digest, b->digest);
    assert_int_equal(a->body != NULL, b->body != NULL);
    if (a->body != NULL) {
        assert_int_equal(a->body->len, b->body->len);
        assert_memory_equal(a->body->bytes, b->body->bytes, a->body->len);
    }
}

static void roundtrip(enum zab_packet_type type, size_t body_len)
{
    struct zab_packet p = sample(type, body_len);
    struct buf *frame = packet_encode(&p, 0xabcdef);
    struct zab_packet back;
    uint64_t ensemble;
    uint32_t len;
    unsigned version;
    bool greeting;

    assert_int_equal(frame->refs, 1);
    assert_int_equal(packet_header_read(frame->bytes, PACKET_FRAME_MAX, &len), 0);
    assert_int_equal(len + PACKET_HEADER_LEN, frame->len);
    assert_int_equal(packet_check(frame->bytes, frame->len, &greeting, &ensemble, &version), 0);
    assert_false(greeting);
    assert_int_equal(ensemble, 0xabcdef);
    assert_int_equal(version, PACKET_VERSION);
    assert_int_equal(packet_decode(frame->bytes, frame->len, &back), 0);
    assert_same(&p, &back);
    buf_unref(back.body);
    buf_unref(p.body);
    buf_unref(frame);
}

static void test_every_type_comes_back(void **state)
{
    static const size_t lens[] = {0, 1, 255, 256, 65535, 65536, 1 << 20};
    int type;
    size_t i;

    (void)state;
    for (type = ZAB_VOTE; type < ZAB_PACKET_TYPE_COUNT; type++) {
        for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            roundtrip((enum zab_packet_type)type, lens[i]);
        }
    }
}

static void test_greeting_comes_back(void **state)
{
    struct packet_greeting g = {.ensemble = 0x1122334455667788,
                                .sid = 3,
                                .sid_to = 1,
                                .observer = true,
                                .nonce = 0x99aabbccddeeff00,
                                .participants = 0x123456789abcdef0};
    struct buf *frame = packet_encode_greeting(&g);
    struct packet_greeting back;
    struct zab_packet packet;
    uint64_t ensemble;
    unsigned version;
    bool greeting;

    (void)state;
    assert_true(frame->len <= PACKET_GREETING_MAX);
    assert_int_equal(packet_check(frame->bytes, frame->len, &greeting, &ensemble, &version), 0);
    assert_true(greeting);
    assert_int_equal(ensemble, g.ensemble);
    assert_int_equal(packet_decode_greeting(frame->bytes, frame->len, &back), 0);
    assert_int_equal(back.ensemble, g.ensemble);
    assert_int_equal(back.sid, g.sid);
    assert_int_equal(back.sid_to, g.sid_to);
    assert_int_equal(back.observer, g.observer);
    assert_int_equal(back.nonce, g.nonce);
    assert_int_equal(back.participants, g.participants);
    assert_null(back.members);
    assert_int_equal(packet_decode(frame->bytes, frame->len, &packet), -EBADMSG);
    buf_unref(frame);
}

static void test_greeting_with_members(void **state)
{
    static char members[PACKET_MEMBERS_MAX];
    struct packet_greeting g = {
        .sid = UINT64_MAX, .sid_to = UINT64_MAX, .nonce = UINT64_MAX, .participants = UINT64_MAX, .members = members};
    static const size_t lens[] = {0, 1, 31, 32, 255, 256, PACKET_MEMBERS_MAX};
    size_t i;

    (void)state;
    memset(members, 'm', sizeof(members));
    g.ensemble = UINT64_MAX;
    for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        struct packet_greeting back;
        struct buf *frame;

        g.members_len = lens[i];
        frame = packet_encode_greeting(&g);
        assert_true(frame->len <= PACKET_GREETING_MAX);
        assert_int_equal(packet_decode_greeting(frame->bytes, frame->len, &back), 0);
        assert_int_equal(back.members_len, lens[i]);
        assert_true(lens[i] == 0 || memcmp(back.members, members, lens[i]) == 0);
        buf_unref(frame);
    }
}

static void test_header_is_bounded(void **state)
{
    uint8_t header[PACKET_HEADER_LEN] = "zNod";
    uint32_t len;

    (void)state;
    memset(header + 4, 0xff, 4);
    assert_int_equal(packet_header_read(header, PACKET_FRAME_MAX, &len), -EFBIG);
    memcpy(header + 4, "\xf0\x0f\0\0", 4); /* 4080: exactly a greeting's bound */
    assert_int_equal(packet_header_read(header, PACKET_GREETING_MAX, &len), 0);
    assert_int_equal(len, 4080);
    header[4] = 0xf1;
    assert_int_equal(packet_header_read(header, PACKET_GREETING_MAX, &len), -EFBIG);
    assert_int_equal(packet_header_read(header, 3, &len), -EFBIG);
    assert_int_equal(packet_header_read((const uint8_t *)"GET / HTTP/1.1\r\n", PACKET_FRAME_MAX, &len), -EBADMSG);
}

/* Length and checksum as a stranger who knows the format would write them. */
static void seal(uint8_t *frame, size_t len)
{
    uint32_t len_le = htole32((uint32_t)(len - PACKET_HEADER_LEN));
    uint64_t sum_le = htole64(XXH3_64bits(frame + PACKET_HEADER_LEN, len - PACKET_HEADER_LEN));

    memcpy(frame, "zNod", 4);
    memcpy(frame + 4, &len_le, sizeof(len_le));
    memcpy(frame + 8, &sum_le, sizeof(sum_le));
}

/* True if the frame was accepted by everything that a connection asks. The copy is exactly as long as the frame, so
 * that a read behind its end is seen by the sanitizer. */
static bool accepted(const uint8_t *bytes, size_t len)
{
    uint8_t *frame = malloc(len);
    struct packet_greeting g;
    struct zab_packet p;
    uint64_t ensemble;
    unsigned version;
    bool greeting;
    bool ok = false;

    assert_non_null(frame);
    memcpy(frame, bytes, len);
    if (packet_check(frame, len, &greeting, &ensemble, &version) == 0) {
        if (greeting) {
            ok = packet_decode_greeting(frame, len, &g) == 0;
        } else if (packet_decode(frame, len, &p) == 0) {
            ok = true;
            buf_unref(p.body);
        }
    }
    free(frame);
    return ok;
}

static void damage_every_way(struct buf *frame)
{
    uint8_t *copy = malloc(frame->len + 1u);
    size_t len;
    size_t i;
    int bit;

    assert_non_null(copy);
    for (len = 1; len < frame->len; len++) {
        memcpy(copy, frame->bytes, len);
        assert_false(accepted(copy, len));
        if (len > PACKET_HEADER_LEN) {
            seal(copy, len);
            assert_false(accepted(copy, len));
        }
    }
    for (i = 0; i < frame->len; i++) {
        for (bit = 0; bit < 8; bit++) {
            memcpy(copy, frame->bytes, frame->len);
            copy[i] ^= (uint8_t)(1 << bit);
            assert_false(accepted(copy, frame->len));
            seal(copy, frame->len);
            (void)accepted(copy, frame->len); /* may be another packet: only nothing undefined may happen */
        }
    }
    memcpy(copy, frame->bytes, frame->len);
    copy[frame->len] = 0xc0;
    assert_false(accepted(copy, frame->len + 1u));
    seal(copy, frame->len + 1u);
    assert_false(accepted(copy, frame->len + 1u)); /* trailing bytes, rightly summed */
    free(copy);
}

static void test_damage_is_refused(void **state)
{
    struct packet_greeting g = {.ensemble = 1, .sid = 2, .sid_to = 3, .nonce = 0x99aabbccddeeff00};
    int type;

    (void)state;
    for (type = ZAB_VOTE; type < ZAB_PACKET_TYPE_COUNT; type++) {
        struct zab_packet p = sample((enum zab_packet_type)type, 40);
        struct buf *frame = packet_encode(&p, 77);

        damage_every_way(frame);
        buf_unref(frame);
        buf_unref(p.body);
    }
    {
        struct buf *frame = packet_encode_greeting(&g);

        damage_every_way(frame);
        buf_unref(frame);
    }
}

/* Every byte of the body replaced by every lead byte that msgpack has: arrays and maps of 2^32 elements included. */
static void test_every_kind_in_every_place(void **state)
{
    struct zab_packet p = sample(ZAB_PROPOSAL, 8);
    struct buf *frame = packet_encode(&p, 77);
    uint8_t *copy = malloc(frame->len);
    size_t i;
    int byte;

    (void)state;
    assert_non_null(copy);
    for (i = PACKET_HEADER_LEN; i < frame->len; i++) {
        for (byte = 0; byte < 256; byte++) {
            memcpy(copy, frame->bytes, frame->len);
            copy[i] = (uint8_t)byte;
            seal(copy, frame->len);
            (void)accepted(copy, frame->len);
        }
    }
    free(copy);
    buf_unref(frame);
    buf_unref(p.body);
}

static void test_huge_counts_allocate_nothing(void **state)
{
    static const uint8_t bodies[][8] = {
        {0xdd, 0xff, 0xff, 0xff, 0xff, 1, 0, 0}, /* an array of 2^32 - 1 */
        {0xdc, 0xff, 0xff, 1, 0, 0xdd, 0xff, 0xff},
        {0x98, 1, 0, 0, 0xdb, 0xff, 0xff, 0xff}, /* a string of 4 GiB */
        {0xdf, 0xff, 0xff, 0xff, 0xff, 1, 0, 0},
    };
    uint8_t frame[PACKET_HEADER_LEN + 8];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        memcpy(frame + PACKET_HEADER_LEN, bodies[i], 8);
        seal(frame, sizeof(frame));
        assert_false(accepted(frame, sizeof(frame)));
    }
}

static void test_other_version_is_named(void **state)
{
    struct zab_packet p = sample(ZAB_PING, 0);
    struct buf *frame = packet_encode(&p, 77);
    uint64_t ensemble = 42;
    unsigned version = 0;
    bool greeting;

    (void)state;
    assert_int_equal(frame->bytes[PACKET_HEADER_LEN], 0xdc); /* array 16: the version follows its two bytes of count */
    frame->bytes[PACKET_HEADER_LEN + 3] = 9;
    assert_int_equal(packet_check(frame->bytes, frame->len, &greeting, &ensemble, &version), -EBADMSG);
    seal(frame->bytes, frame->len);
    assert_int_equal(packet_check(frame->bytes, frame->len, &greeting, &ensemble, &version), -EPROTO);
    assert_int_equal(version, 9);
    assert_int_equal(ensemble, 42); /* untouched */
    buf_unref(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_comes_back),
        cmocka_unit_test(test_greeting_comes_back),
        cmocka_unit_test(test_greeting_with_members),
        cmocka_unit_test(test_header_is_bounded),
        cmocka_unit_test(test_damage_is_refused),
        cmocka_unit_test(test_every_kind_in_every_place),
        cmocka_unit_test(test_huge_counts_allocate_nothing),
        cmocka_unit_test(test_other_version_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
