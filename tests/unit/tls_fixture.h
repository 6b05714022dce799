/* Certificates made for a test: an authority, and what it signs. */
#ifndef TESTS_TLS_FIXTURE_H
#define TESTS_TLS_FIXTURE_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>

struct signer {
    EVP_PKEY *key;
    X509 *certificate;
};

/* What a certificate says; times in seconds from now. */
struct subject {
    const char *name;
    const char *hosts; /* "DNS:...,IP:...", NULL: none */
    long valid_from_s;
    long valid_to_s;
    bool authority;
};

/* A new key and its certificate, signed by `by` (NULL: by itself). */
struct signer signer_new(const struct subject *subject, const struct signer *by);
void signer_release(struct signer *s);

/* PEM files: with the key (and a password unless NULL), or the certificate only. */
void signer_write_store(const struct signer *s, const char *path, const char *password);
void signer_write_certificate(const struct signer *s, const char *path);

#endif
