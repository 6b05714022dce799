/*
 * Frames from peers and strangers. The input is the body of a frame: the header with its checksum is made here, or no
 * input would get behind it. What is accepted must come back the same when it is encoded again.
 */
#include "input.h"

#include "consensus/packet.h"

#include <string.h>
#include <xxhash.h>

#include "store/le.h"

static void require_same_packet(const struct zab_packet *a, const struct zab_packet *b)
{
    REQUIRE(a->type == b->type && a->epoch == b->epoch && a->zxid == b->zxid && a->zxid_prev == b->zxid_prev);
    REQUIRE(a->round == b->round && a->role == b->role && a->virgin == b->virgin && a->empty == b->empty);
    REQUIRE(a->vote.sid == b->vote.sid && a->vote.zxid == b->vote.zxid && a->vote.epoch == b->vote.epoch);
    REQUIRE(a->vote.virgin == b->vote.virgin && a->vote.sole == b->vote.sole);
    REQUIRE(a->accepted_from == b->accepted_from && a->zxid_digest == b->zxid_digest && a->digest == b->digest);
    REQUIRE((a->body == NULL) == (b->body == NULL));
    REQUIRE(a->body == NULL ||
            (a->body->len == b->body->len && memcmp(a->body->bytes, b->body->bytes, a->body->len) == 0));
}

static void try_packet(const uint8_t *frame, size_t len, uint64_t ensemble)
{
    struct zab_packet packet;
    struct zab_packet again;
    struct buf *b;
    uint64_t ensemble_again;
    unsigned version;
    bool greeting;

    if (packet_decode(frame, len, &packet) != 0) {
        return;
    }
    b = packet_encode(&packet, ensemble);
    REQUIRE(packet_check(b->bytes, b->len, &greeting, &ensemble_again, &version) == 0);
    REQUIRE(!greeting && ensemble_again == ensemble);
    REQUIRE(packet_decode(b->bytes, b->len, &again) == 0);
    require_same_packet(&packet, &again);
    buf_unref(again.body);
    buf_unref(packet.body);
    buf_unref(b);
}

static void try_greeting(const uint8_t *frame, size_t len, uint64_t ensemble)
{
    struct packet_greeting g;
    struct packet_greeting again;
    struct buf *b;

    if (packet_decode_greeting(frame, len, &g) != 0) {
        return;
    }
    REQUIRE(g.ensemble == ensemble);
    b = packet_encode_greeting(&g);
    REQUIRE(packet_decode_greeting(b->bytes, b->len, &again) == 0);
    REQUIRE(g.sid == again.sid && g.sid_to == again.sid_to && g.observer == again.observer && g.nonce == again.nonce);
    REQUIRE(g.participants == again.participants);
    REQUIRE(g.members_len == again.members_len);
    REQUIRE(g.members_len == 0 || memcmp(g.members, again.members, g.members_len) == 0);
    buf_unref(b);
}

static void try_frame(const uint8_t *frame, size_t len)
{
    uint64_t ensemble = 0;
    uint32_t body_len;
    unsigned version;
    bool greeting = false;

    if (len < PACKET_HEADER_LEN || packet_header_read(frame, PACKET_FRAME_MAX, &body_len) != 0 ||
        body_len != len - PACKET_HEADER_LEN || packet_check(frame, len, &greeting, &ensemble, &version) != 0) {
        return;
    }
    if (greeting) {
        try_greeting(frame, len, ensemble);
    } else {
        try_packet(frame, len, ensemble);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    uint8_t *raw = input_copy(bytes, len);
    uint8_t *frame;

    try_frame(raw, len);
    free(raw);
    frame = malloc(PACKET_HEADER_LEN + len);
    REQUIRE(frame != NULL);
    memcpy(frame, "zNod", 4);
    le_put32(frame + 4, (uint32_t)len);
    le_put64(frame + 8, XXH3_64bits(bytes, len));
    memcpy(frame + PACKET_HEADER_LEN, bytes, len);
    try_frame(frame, PACKET_HEADER_LEN + len);
    free(frame);
    return 0;
}
