#include "transport_seal.h"

#include "transport_tls_int.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beside what is written: a record's header and tag, and a change of keys. */
#define WIRE_SLACK 256

struct seal {
    struct tls *tls;
    SSL *ssl;
    bool dialled;
    const uint8_t *fed; /* of the caller's, not yet read by OpenSSL */
    size_t fed_len;
    struct buf *wire; /* made by OpenSSL, not yet taken; or NULL */
    unsigned records; /* written with the keys of now */
    int broken;       /* what seal_read() has still to return */
    struct seal_failure failure;
};

/* ---- the two ends that OpenSSL sees ---- */

static int bio_read(BIO *bio, char *bytes, int max)
{
    struct seal *s = BIO_get_data(bio);
    size_t n = max > 0 && (size_t)max < s->fed_len ? (size_t)max : s->fed_len;

    BIO_clear_retry_flags(bio);
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(bytes, s->fed, n);
    s->fed += n;
    s->fed_len -= n;
    return (int)n;
}

static void wire_reserve(struct seal *s, size_t more)
{
    size_t len = s->wire != NULL ? s->wire->len : 0;
    struct buf *grown;

    if (s->wire != NULL && s->wire->cap - len >= more) {
        return;
    }
    grown = buf_new(len == 0 ? more : (len + more) * 2);
    if (len > 0) {
        memcpy(grown->bytes, s->wire->bytes, len);
    }
    grown->len = (uint32_t)len;
    buf_unref(s->wire);
    s->wire = grown;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct seal *s = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len <= 0) {
        return 0;
    }
    wire_reserve(s, (size_t)len);
    memcpy(s->wire->bytes + s->wire->len, bytes, (size_t)len);
    s->wire->len += (uint32_t)len;
    return len;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD *seal_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "znodefs peer");

    if (method == NULL || BIO_meth_set_read(method, bio_read) != 1 || BIO_meth_set_write(method, bio_write) != 1 ||
        BIO_meth_set_ctrl(method, bio_ctrl) != 1) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

/* ---- beginning and end ---- */

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool expect_host(SSL *ssl, const char *host)
{
    if (is_address(host)) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1;
}

struct seal *seal_new(struct tls *tls, bool dialled, const char *host)
{
    struct seal *s = calloc(1, sizeof(*s));
    BIO *bio;

    if (s == NULL) {
        abort();
    }
    ERR_clear_error();
    s->tls = tls;
    s->dialled = dialled;
    s->ssl = SSL_new(tls->ctx);
    bio = s->ssl != NULL ? BIO_new(tls->bio_method) : NULL;
    if (bio == NULL) {
        seal_free(s);
        return NULL;
    }
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio); /* which is now its own */
    if (dialled) {
        SSL_set_connect_state(s->ssl);
    } else {
        SSL_set_accept_state(s->ssl);
    }
    if (host != NULL && tls->check_hosts && !expect_host(s->ssl, host)) {
        ERR_clear_error();
        seal_free(s);
        return NULL;
    }
    return s;
}

void seal_free(struct seal *s)
{
    if (s == NULL) {
        return;
    }
    SSL_free(s->ssl);
    buf_unref(s->wire);
    free(s);
}

void seal_feed(struct seal *s, const uint8_t *bytes, size_t len)
{
    assert(s->fed_len == 0);
    s->fed = bytes;
    s->fed_len = len;
}

struct buf *seal_take(struct seal *s)
{
    struct buf *wire = s->wire;

    s->wire = NULL;
    return wire;
}

/* ---- what went wrong ---- */

static int failed(struct seal *s, enum transport_refusal reason, const char *text)
{
    s->failure.reason = reason;
    (void)snprintf(s->failure.text, sizeof(s->failure.text), "%s", text); /* a cut one is still a text */
    return -EPROTO;
}

static int failed_because(struct seal *s, enum transport_refusal reason, const char *text, const char *why)
{
    s->failure.reason = reason;
    (void)snprintf(s->failure.text, sizeof(s->failure.text), "%s (%s)", text, why != NULL ? why : "no reason given");
    return -EPROTO;
}

/* The other end has refused us, and said so. */
static int failed_alert(struct seal *s, int alert)
{
    const char *why = SSL_alert_desc_string_long(alert);

    if (s->tls->kind == TLS_KEY) {
        return failed_because(s, REFUSED_KEY, "the other end refuses this one's key", why);
    }
    if ((alert >= SSL3_AD_NO_CERTIFICATE && alert <= SSL3_AD_CERTIFICATE_UNKNOWN) || alert == TLS1_AD_UNKNOWN_CA ||
        alert == TLS1_AD_ACCESS_DENIED || alert == TLS1_AD_DECRYPT_ERROR || alert == TLS13_AD_CERTIFICATE_REQUIRED) {
        return failed_because(s, REFUSED_CERTIFICATE, "the other end refuses this one's certificate", why);
    }
    return failed_because(s, REFUSED_HANDSHAKE, "the other end has ended the handshake", why);
}

static int failed_verify(struct seal *s)
{
    long result = SSL_get_verify_result(s->ssl);

    if (s->tls->kind == TLS_KEY) {
        return failed(s, REFUSED_KEY, "it has certificates instead of the shared key");
    }
    return failed_because(s, REFUSED_CERTIFICATE, "its certificate is not accepted",
                          X509_verify_cert_error_string(result));
}

/* Names the first thing that OpenSSL was not content with. */
static int failed_openssl(struct seal *s)
{
    unsigned long error = ERR_get_error();
    int reason;

    /* What other parts of it have found comes first. */
    while (ERR_GET_LIB(error) != ERR_LIB_SSL && ERR_peek_error() != 0) {
        error = ERR_get_error();
    }
    reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    if (reason > SSL_AD_REASON_OFFSET) {
        return failed_alert(s, reason - SSL_AD_REASON_OFFSET);
    }
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return failed_verify(s);
    case SSL_R_BINDER_DOES_NOT_VERIFY:
    case SSL_R_BAD_PSK:
        return failed(s, REFUSED_KEY, "it has another key");
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_CERTIFICATE_SET:
        if (s->tls->kind == TLS_KEY) {
            return failed(s, REFUSED_KEY, "it does not use the shared key");
        }
        break;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return failed(s, REFUSED_CERTIFICATE, "it shows no certificate");
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
        return failed(s, REFUSED_HANDSHAKE, "it does not speak TLS 1.3");
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC:
    case SSL_R_DIGEST_CHECK_FAILED:
        return failed(s, REFUSED_HANDSHAKE,
                      "what it sent was made with other keys: damaged, or a recording played again");
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return failed(s, REFUSED_STRANGER, "what it sent is not TLS");
    default:
        break;
    }
    return failed_because(s, REFUSED_HANDSHAKE, "the TLS handshake failed", ERR_reason_error_string(error));
}

const struct seal_failure *seal_failure(const struct seal *s)
{
    return &s->failure;
}

/* ---- at work ---- */

int seal_shake(struct seal *s)
{
    int rv;

    ERR_clear_error();
    rv = SSL_do_handshake(s->ssl);
    if (rv == 1) {
        /* OpenSSL counts a shared key as a session that is taken up again. */
        if (s->tls->kind == TLS_KEY && SSL_session_reused(s->ssl) != 1) {
            return failed(s, REFUSED_KEY, "it does not use the shared key");
        }
        return 1;
    }
    if (SSL_get_error(s->ssl, rv) == SSL_ERROR_WANT_READ) {
        assert(s->fed_len == 0);
        return 0;
    }
    rv = failed_openssl(s);
    ERR_clear_error();
    return rv;
}

ssize_t seal_read(struct seal *s, uint8_t *bytes, size_t max)
{
    size_t len = 0;
    int error;
    int rv;

    ERR_clear_error();
    while (len < max && s->broken == 0) {
        size_t n = 0;

        rv = SSL_read_ex(s->ssl, bytes + len, max - len, &n);
        len += n;
        if (rv == 1) {
            continue;
        }
        error = SSL_get_error(s->ssl, rv);
        if (error == SSL_ERROR_WANT_READ) {
            assert(s->fed_len == 0);
            return (ssize_t)len;
        }
        s->broken = error == SSL_ERROR_ZERO_RETURN ? -EPIPE : failed_openssl(s);
        ERR_clear_error();
    }
    return len > 0 ? (ssize_t)len : s->broken; /* what came before is still good */
}

int seal_write(struct seal *s, const uint8_t *bytes, size_t len)
{
    size_t n_records = len / SEAL_RECORD_BYTES + 1;
    size_t n = 0;

    assert(len > 0);
    ERR_clear_error();
    if (s->records > s->tls->rekey_records && SSL_key_update(s->ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1) {
        s->records = 0;
    }
    wire_reserve(s, len + n_records * WIRE_SLACK);
    if (SSL_write_ex(s->ssl, bytes, len, &n) != 1) {
        int rv = failed_openssl(s);

        ERR_clear_error();
        return rv;
    }
    assert(n == len); /* there is always room */
    s->records += (unsigned)n_records;
    return 0;
}

bool seal_names(const struct seal *s, const char *host)
{
    X509 *certificate;

    if (!s->tls->check_hosts) {
        return true;
    }
    certificate = SSL_get0_peer_certificate(s->ssl);
    if (certificate == NULL) {
        return false;
    }
    return is_address(host) ? X509_check_ip_asc(certificate, host, 0) == 1
                            : X509_check_host(certificate, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}
