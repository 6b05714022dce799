/*
 * seal: the TLS of one connection. It knows no socket: bytes from the wire are fed in, bytes for the wire are taken
 * out.
 *
 *      wire --> seal_feed() --> [OpenSSL] --> seal_read() --> frames
 *      wire <-- seal_take() <-- [OpenSSL] <-- seal_write() <-- frames
 *
 * OpenSSL copies what it is fed before it returns for more, so that nothing needs to be kept for it.
 */
#ifndef CONSENSUS_TRANSPORT_SEAL_H
#define CONSENSUS_TRANSPORT_SEAL_H

#include "store/buf.h"
#include "transport.h"

#include <sys/types.h>

/* What one record holds at most. */
#define SEAL_RECORD_BYTES 16384

struct seal;

/* Why it has failed: text is a sentence without its beginning and its mend. */
struct seal_failure {
    enum transport_refusal reason;
    char text[160];
};

/* `host`: whose name or address the other end's certificate must have; NULL: that is not asked, or later. NULL when
 * memory is out or the name cannot be one. */
struct seal *seal_new(struct tls *tls, bool dialled, const char *host);
void seal_free(struct seal *s);

/* What came from the wire; borrowed until the next call of seal_read() that returns 0, or of seal_shake() that does. */
void seal_feed(struct seal *s, const uint8_t *bytes, size_t len);

/* Goes on with the handshake. 1: done; 0: more is needed from the wire; -EPROTO: it has failed (seal_failure()). There
 * may be something for the wire in each case. */
int seal_shake(struct seal *s);

/* Up to `max` bytes of what was fed. 0: all of it has been read; -EPROTO: it makes no sense; -EPIPE: the other end says
 * that this was all. There may be something for the wire in each case. */
ssize_t seal_read(struct seal *s, uint8_t *bytes, size_t max);

/* Encrypts; -EPROTO: it has failed before. */
int seal_write(struct seal *s, const uint8_t *bytes, size_t len);

/* What is to be sent now, a reference for the caller; NULL: nothing. */
struct buf *seal_take(struct seal *s);

const struct seal_failure *seal_failure(const struct seal *s);

/* Does the other end's certificate name this host? True without certificates, or when they need not. */
bool seal_names(const struct seal *s, const char *host);

#endif
