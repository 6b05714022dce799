/* What the files of TLS share: transport_tls.c (what all connections have in common), transport_tls_key.c (secrets in
 * files), transport_seal.c (one connection). */
#ifndef CONSENSUS_TRANSPORT_TLS_INT_H
#define CONSENSUS_TRANSPORT_TLS_INT_H

#include "transport_tls.h"

#include <openssl/ssl.h>

/* The key is for AES-128-GCM and ChaCha20-Poly1305, which are both used with SHA-256. */
#define TLS_PSK_BYTES 32

struct tls {
    enum tls_kind kind;
    bool check_hosts;
    unsigned rekey_records;
    SSL_CTX *ctx;
    BIO_METHOD *bio_method; /* transport_seal.c: what a connection reads from and writes to */
    SSL_SESSION *shared;    /* TLS_KEY: what the key stands for */
};

/* transport_tls_key.c: refuses a file that others than its owner may read, or that somebody else owns. */
int tls_secret_check(const char *path, struct error *err);
/* The key that the contents of a key file stand for. */
int tls_key_read(const char *path, unsigned char ret_key[TLS_PSK_BYTES], struct error *err);

/* transport_seal.c */
BIO_METHOD *seal_bio_method(void);

#endif
