#include "transport_tls_int.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Far below what one key of AES-GCM may be used for (RFC 8446, 5.5: 2^24.5 records). */
#define REKEY_RECORDS (1u << 22)
/* A chain of certificates that is longer is refused before it is looked at. */
#define CHAIN_BYTES_MAX (32 * 1024)

#define IDENTITY "znodefs"
/* A handshake has to end long before; a clock that is set meanwhile must not end it. */
#define SESSION_S (400L * 86400)

/* ---- the shared key ---- */

/* A copy for each connection: OpenSSL writes into it, and after five minutes finds a session too old. */
static SSL_SESSION *shared_copy(const SSL *ssl)
{
    const struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    SSL_SESSION *copy = SSL_SESSION_dup(tls->shared);

    if (copy == NULL || SSL_SESSION_set_time(copy, time(NULL)) == 0 || SSL_SESSION_set_timeout(copy, SESSION_S) == 0) {
        SSL_SESSION_free(copy);
        return NULL;
    }
    return copy;
}

static int use_shared_cb(SSL *ssl, const EVP_MD *md, const unsigned char **ret_id, size_t *ret_len, SSL_SESSION **ret)
{
    *ret = NULL;
    if (md != NULL && EVP_MD_get_type(md) != NID_sha256) {
        return 1; /* goes on without it, and then fails */
    }
    *ret = shared_copy(ssl);
    *ret_id = (const unsigned char *)IDENTITY;
    *ret_len = strlen(IDENTITY);
    return *ret != NULL ? 1 : 0;
}

static int find_shared_cb(SSL *ssl, const unsigned char *id, size_t len, SSL_SESSION **ret)
{
    *ret = NULL;
    if (len == strlen(IDENTITY) && memcmp(id, IDENTITY, len) == 0) {
        *ret = shared_copy(ssl);
    }
    return 1;
}

static SSL_SESSION *shared_new(SSL_CTX *ctx, const unsigned char *key)
{
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
    SSL_SESSION *shared = SSL_SESSION_new();
    SSL *ssl = SSL_new(ctx);
    const SSL_CIPHER *cipher = ssl != NULL ? SSL_CIPHER_find(ssl, aes_128_gcm_sha256) : NULL;

    SSL_free(ssl);
    if (shared == NULL || cipher == NULL || SSL_SESSION_set1_master_key(shared, key, TLS_PSK_BYTES) != 1 ||
        SSL_SESSION_set_cipher(shared, cipher) != 1 || SSL_SESSION_set_protocol_version(shared, TLS1_3_VERSION) != 1 ||
        SSL_SESSION_set1_id_context(shared, (const unsigned char *)IDENTITY, sizeof(IDENTITY) - 1) != 1) {
        SSL_SESSION_free(shared);
        return NULL;
    }
    return shared;
}

static int load_key(struct tls *tls, const struct tls_config *config, struct error *err)
{
    unsigned char key[TLS_PSK_BYTES];
    int rv = tls_key_read(config->key_file, key, err);

    if (rv != 0) {
        return rv;
    }
    tls->shared = shared_new(tls->ctx, key);
    OPENSSL_cleanse(key, sizeof(key));
    if (tls->shared == NULL) {
        return error_set(err, -EINVAL, "OpenSSL offers no TLS 1.3 with AES-128-GCM: correct its configuration");
    }
    SSL_CTX_set_psk_use_session_callback(tls->ctx, use_shared_cb);
    SSL_CTX_set_psk_find_session_callback(tls->ctx, find_shared_cb);
    return 0;
}

/* ---- certificates ---- */

/* The first thing that went wrong in OpenSSL. */
static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return reason != NULL ? reason : "no reason given";
}

static int password_cb(char *password, int size, int writing, void *arg)
{
    const char *given = arg;
    size_t len = given != NULL ? strlen(given) : 0;

    (void)writing;
    if (len == 0 || len > (size_t)size) {
        return -1;
    }
    memcpy(password, given, len);
    return (int)len;
}

static int check_own_dates(const struct tls *tls, const char *path, struct error *err)
{
    const X509 *own = SSL_CTX_get0_certificate(tls->ctx);

    if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0) {
        return error_set(err, 0, "%s: the certificate has expired: the other peers will refuse it until it is renewed",
                         path);
    }
    if (X509_cmp_current_time(X509_get0_notBefore(own)) > 0) {
        return error_set(err, 0,
                         "%s: the certificate is not valid yet: the other peers will refuse it; is the clock "
                         "right?",
                         path);
    }
    return 0;
}

static int load_certificates(struct tls *tls, const struct tls_config *config, struct error *err)
{
    int rv = tls_secret_check(config->key_store, err);

    if (rv != 0) {
        return rv;
    }
    SSL_CTX_set_default_passwd_cb(tls->ctx, password_cb);
    SSL_CTX_set_default_passwd_cb_userdata(tls->ctx, (void *)config->key_store_password);
    if (SSL_CTX_use_certificate_chain_file(tls->ctx, config->key_store) != 1) {
        return error_set(err, -EINVAL,
                         "%s: no certificate can be read from it (%s): it must be PEM and hold the private "
                         "key, its certificate and those of the authorities in between",
                         config->key_store, openssl_reason());
    }
    if (SSL_CTX_use_PrivateKey_file(tls->ctx, config->key_store, SSL_FILETYPE_PEM) != 1) {
        return error_set(err, -EINVAL,
                         "%s: no private key of the certificate can be read from it (%s): it must be PEM "
                         "and hold both; with a password, ssl.quorum.keyStore.password names it",
                         config->key_store, openssl_reason());
    }
    SSL_CTX_set_default_passwd_cb_userdata(tls->ctx, NULL); /* the caller's */
    if (SSL_CTX_load_verify_file(tls->ctx, config->trust_store) != 1) {
        return error_set(err, -EINVAL,
                         "%s: no certificates can be read from it (%s): it must be PEM and hold those that "
                         "are trusted",
                         config->trust_store, openssl_reason());
    }
    /* Whatever stands in the trust store is trusted, whether it signed itself or not. */
    if (X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(tls->ctx), X509_V_FLAG_PARTIAL_CHAIN) != 1) {
        return error_set(err, -EINVAL, "OpenSSL: %s", openssl_reason());
    }
    return check_own_dates(tls, config->key_store, err);
}

/* ---- what both have in common ---- */

static bool setup(struct tls *tls)
{
    SSL_CTX *ctx = tls->ctx;

    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, tls->kind == TLS_KEY ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
                                                           : "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
                                                             "TLS_CHACHA20_POLY1305_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1 || SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
        SSL_CTX_set_max_early_data(ctx, 0) != 1 || SSL_CTX_set_recv_max_early_data(ctx, 0) != 1 ||
        SSL_CTX_set_session_id_context(ctx, (const unsigned char *)IDENTITY, sizeof(IDENTITY) - 1) != 1) {
        return false;
    }
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    /* Without a Diffie-Hellman exchange who learned the key could read what was recorded before. */
    (void)SSL_CTX_clear_options(ctx, SSL_OP_ALLOW_NO_DHE_KEX | SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    /* An idle connection keeps no buffers. */
    (void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_BYTES_MAX);
    /* With a shared key nobody is trusted by certificate: who shows one instead is refused. */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_quiet_shutdown(ctx, 1);
    return SSL_CTX_set_app_data(ctx, tls) == 1;
}

int tls_new(const struct tls_config *config, struct tls **ret_tls, struct error *err)
{
    struct tls *tls = calloc(1, sizeof(*tls));
    int rv;

    assert((config->key_file != NULL) != (config->key_store != NULL));
    assert((config->key_store != NULL) == (config->trust_store != NULL));
    if (tls == NULL) {
        abort();
    }
    ERR_clear_error();
    tls->kind = config->key_file != NULL ? TLS_KEY : TLS_CERTIFICATE;
    tls->check_hosts = tls->kind == TLS_CERTIFICATE && config->check_hosts;
    tls->rekey_records = REKEY_RECORDS;
    tls->ctx = SSL_CTX_new(TLS_method());
    tls->bio_method = seal_bio_method();
    if (tls->ctx == NULL || tls->bio_method == NULL || !setup(tls)) {
        rv = error_set(err, -EINVAL, "OpenSSL does not do TLS 1.3 as peers need it: %s: correct its configuration",
                       openssl_reason());
    } else {
        rv = tls->kind == TLS_KEY ? load_key(tls, config, err) : load_certificates(tls, config, err);
    }
    ERR_clear_error();
    if (rv != 0) {
        tls_free(tls);
        return rv;
    }
    *ret_tls = tls;
    return 0;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL) {
        return;
    }
    SSL_SESSION_free(tls->shared);
    SSL_CTX_free(tls->ctx);
    BIO_meth_free(tls->bio_method);
    free(tls);
}

enum tls_kind tls_kind(const struct tls *tls)
{
    return tls != NULL ? tls->kind : TLS_NONE;
}

void tls_set_rekey(struct tls *tls, unsigned records)
{
    assert(records > 0);
    tls->rekey_records = records;
}
