/*
 * Secrets in files. A key file is any 32 bytes or more that nobody can guess; `znodefs --genkey` writes 64 hexadecimal
 * digits and a newline. White space at the end does not belong to the key, so that an editor cannot change it unseen.
 */
#include "transport_tls_int.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What no random key comes near: 32 bytes of 8 values or fewer happen once in 2^110 draws, 64 digits of so few once in
 * 2^50. A file of zeros, as a crash leaves them, is such a one. */
#define DISTINCT_MIN 8

static int secret_open(const char *path, int *ret_fd, struct error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        return error_set(err, -EINVAL, "%s: can't be opened: %s%s%s", path, strerror(errno),
                         errno == ENOENT ? "; copy it from another peer, or make the first: znodefs --genkey " : "",
                         errno == ENOENT ? path : "");
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        (void)close(fd);
        return error_set(err, -EINVAL, "%s: is not a file", path);
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        (void)close(fd);
        return error_set(err, -EINVAL, "%s: others than its owner may read or write it: chmod 600 %s", path, path);
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        (void)close(fd);
        return error_set(err, -EINVAL, "%s: belongs to another user (uid %u), who can change it: chown %u %s", path,
                         (unsigned)st.st_uid, (unsigned)geteuid(), path);
    }
    *ret_fd = fd;
    return 0;
}

int tls_secret_check(const char *path, struct error *err)
{
    int fd = -1;
    int rv = secret_open(path, &fd, err);

    if (rv == 0) {
        (void)close(fd);
    }
    return rv;
}

static int secret_read(const char *path, unsigned char *bytes, size_t max, size_t *ret_len, struct error *err)
{
    size_t len = 0;
    int fd = -1;
    int rv = secret_open(path, &fd, err);

    if (rv != 0) {
        return rv;
    }
    while (len < max) {
        ssize_t n = read(fd, bytes + len, max - len);

        if (n < 0) {
            rv = error_set(err, -EINVAL, "%s: can't be read: %s", path, strerror(errno));
            break;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    (void)close(fd);
    *ret_len = len;
    return rv;
}

static unsigned count_distinct(const unsigned char *bytes, size_t len)
{
    bool seen[256] = {false};
    unsigned n = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        n += seen[bytes[i]] ? 0 : 1;
        seen[bytes[i]] = true;
    }
    return n;
}

/* HKDF (RFC 5869): whatever is in the file becomes a key of the right length, and one for this purpose alone. */
static bool derive(const unsigned char *secret, size_t len, unsigned char ret_key[TLS_PSK_BYTES])
{
    static char digest[] = "SHA256";
    static unsigned char salt[] = "znodefs";
    static unsigned char info[] = "peers, TLS 1.3, 1";
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt, sizeof(salt) - 1),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof(info) - 1),
        OSSL_PARAM_construct_end(),
    };
    bool ok = ctx != NULL && EVP_KDF_derive(ctx, ret_key, TLS_PSK_BYTES, params) > 0;

    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
    return ok;
}

int tls_key_read(const char *path, unsigned char ret_key[TLS_PSK_BYTES], struct error *err)
{
    unsigned char bytes[TLS_KEY_FILE_MAX + 1];
    size_t len = 0;
    int rv = secret_read(path, bytes, sizeof(bytes), &len, err);

    if (rv == 0 && len > TLS_KEY_FILE_MAX) {
        rv = error_set(err, -EINVAL, "%s: has more than %d bytes: is it a key? znodefs --genkey makes one", path,
                       TLS_KEY_FILE_MAX);
    }
    while (len > 0 && isspace(bytes[len - 1])) {
        len--;
    }
    if (rv == 0 && len < TLS_KEY_BYTES_MIN) {
        rv = error_set(err, -EINVAL,
                       "%s: has %zu bytes, which could be guessed; a key has %d or more: make one with "
                       "znodefs --genkey",
                       path, len, TLS_KEY_BYTES_MIN);
    }
    if (rv == 0 && count_distinct(bytes, len) <= DISTINCT_MIN) {
        rv = error_set(err, -EINVAL,
                       "%s: holds hardly more than one letter again and again, which could be guessed: "
                       "make a key with znodefs --genkey",
                       path);
    }
    if (rv == 0 && !derive(bytes, len, ret_key)) {
        rv = error_set(err, -EINVAL, "%s: OpenSSL has no HKDF with SHA-256: correct its configuration", path);
    }
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return rv;
}
