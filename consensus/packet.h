/*
 * packet: zab's packets and the greeting as bytes.
 *
 * A frame is what travels between peers; its format is drawn at the top of packet.c: a fixed header (magic, length,
 * checksum), then a msgpack array (version, ensemble id, type, fields). Every size is bounded before it is used.
 */
#ifndef CONSENSUS_PACKET_H
#define CONSENSUS_PACKET_H

#include "zab.h"

#define PACKET_VERSION    1
#define PACKET_HEADER_LEN 16
/* The largest frame: the largest transaction with its envelope. */
#define PACKET_FRAME_MAX 83886080u /* 80 MiB */
/* Before the greeting a stranger may not make us buffer more than this. */
#define PACKET_GREETING_MAX 4096
#define PACKET_MEMBERS_MAX  3584 /* of it */

/* The first frame on a connection, each way. */
struct packet_greeting {
    uint64_t ensemble; /* 0: none yet */
    uint64_t sid;      /* the sender's; an unlisted observer has drawn its own (zab.h) */
    uint64_t sid_to;   /* the server it means to reach; 0: whoever listens there */
    bool observer;
    uint64_t nonce; /* drawn at the sender's start: tells a restarted peer from one that reconnects */
    /* Hash of who takes part, as the sender's configuration has it (participants_hash()); 0: an unlisted observer,
     * which has no list. */
    uint64_t participants;
    /* A participant's answer to an unlisted observer: whom else it may dial (transport_members.c). Not terminated; what
     * is decoded points into the frame. NULL: nothing is said. */
    const char *members;
    size_t members_len;
};

/* What stands in the PACKET_HEADER_LEN bytes of a frame's header. -EBADMSG: not ours (magic); -EFBIG: the frame, header
 * included, is longer than `max`. */
int packet_header_read(const uint8_t *bytes, size_t max, uint32_t *ret_body_len);

/* Whole frames, header included; one reference for the caller. */
struct buf *packet_encode(const struct zab_packet *p, uint64_t ensemble);
struct buf *packet_encode_greeting(const struct packet_greeting *g);

/* What kind of frame is this? `frame` is a whole frame. Checks the checksum and the version.
 * -EBADMSG: damaged; -EPROTO: another version, *ret_version says which. */
int packet_check(const uint8_t *frame, size_t len, bool *ret_greeting, uint64_t *ret_ensemble, unsigned *ret_version);

/* Decode a whole frame that packet_check() accepted. -EBADMSG when malformed. The packet's body is a new
 * reference which the caller drops. */
int packet_decode(const uint8_t *frame, size_t len, struct zab_packet *ret_packet);
int packet_decode_greeting(const uint8_t *frame, size_t len, struct packet_greeting *ret_greeting);

#endif
