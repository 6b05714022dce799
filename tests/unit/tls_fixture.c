#include "tls_fixture.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

struct signer signer_new(const struct subject *subject, const struct signer *by)
{
    static long serial;
    struct signer s = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
    X509 *issuer = by != NULL ? by->certificate : s.certificate;
    X509_NAME *name;

    assert_non_null(s.key);
    assert_non_null(s.certificate);
    name = X509_get_subject_name(s.certificate);
    assert_int_equal(X509_set_version(s.certificate, X509_VERSION_3), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(s.certificate), ++serial), 1);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)subject->name, -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(s.certificate, X509_get_subject_name(issuer)), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(s.certificate), subject->valid_from_s));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(s.certificate), subject->valid_to_s));
    assert_int_equal(X509_set_pubkey(s.certificate, s.key), 1);
    if (subject->authority) {
        add_extension(s.certificate, issuer, NID_basic_constraints, "critical,CA:TRUE");
    }
    if (subject->hosts != NULL) {
        add_extension(s.certificate, issuer, NID_subject_alt_name, subject->hosts);
    }
    assert_true(X509_sign(s.certificate, by != NULL ? by->key : s.key, EVP_sha256()) > 0);
    return s;
}

void signer_release(struct signer *s)
{
    EVP_PKEY_free(s->key);
    X509_free(s->certificate);
}

static FILE *open_secret(const char *path)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    return file;
}

void signer_write_store(const struct signer *s, const char *path, const char *password)
{
    FILE *file = open_secret(path);
    int len = password != NULL ? (int)strlen(password) : 0;

    assert_int_equal(
        PEM_write_PKCS8PrivateKey(file, s->key, password != NULL ? EVP_aes_128_cbc() : NULL, password, len, NULL, NULL),
        1);
    assert_int_equal(PEM_write_X509(file, s->certificate), 1);
    assert_int_equal(fclose(file), 0);
}

void signer_write_certificate(const struct signer *s, const char *path)
{
    FILE *file = open_secret(path);

    assert_int_equal(PEM_write_X509(file, s->certificate), 1);
    assert_int_equal(fclose(file), 0);
}
