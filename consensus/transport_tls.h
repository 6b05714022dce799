/*
 * transport_tls: what peers prove to each other, and with what they encrypt: TLS 1.3 by OpenSSL, with one key that all
 * of them have, or with certificates.
 *
 * Forward secrecy either way: the shared key only authenticates a Diffie-Hellman exchange. There are no tickets and no
 * early data, so nothing that was recorded is worth anything when it is sent again.
 */
#ifndef CONSENSUS_TRANSPORT_TLS_H
#define CONSENSUS_TRANSPORT_TLS_H

#include "store/error.h"

#include <stdbool.h>
#include <stddef.h>

#define TLS_KEY_BYTES_MIN 32   /* of a key file, white space at its end apart */
#define TLS_KEY_FILE_MAX  4096 /* bytes that are read of one */

enum tls_kind {
    TLS_NONE,
    TLS_KEY,
    TLS_CERTIFICATE,
};

/* A key file; or a key store with a trust store. All NULL: no TLS. */
struct tls_config {
    const char *key_file;
    const char *key_store;          /* PEM: the private key, its certificate, and what leads to the trust store */
    const char *key_store_password; /* of the private key, NULL: it has none */
    const char *trust_store;        /* PEM: whose certificates are trusted */
    bool check_hosts;               /* the certificate of server.N must name the host of its line */
};

struct tls;

/* Reads the files. -EINVAL with a sentence in err, file and mend included. With 0, text in err is a warning. */
int tls_new(const struct tls_config *config, struct tls **ret_tls, struct error *err);

/* No transport may use it any more. NULL is accepted. */
void tls_free(struct tls *tls);

enum tls_kind tls_kind(const struct tls *tls); /* NULL is TLS_NONE */

/* After how many records (of up to 16 KiB) a connection changes its keys; for tests. */
void tls_set_rekey(struct tls *tls, unsigned records);

#endif
