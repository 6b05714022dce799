/*
 * tar_write: pax (POSIX.1-2001), in blocks of 512 bytes. What GNU tar, bsdtar and libarchive read:
 *
 *   archive  g header with the record `comment` | entries | two blocks of zeros, and more up to 10240 bytes
 *   entry    x header with its records | ustar header | data of a file, padded with zeros
 *   record   "LENGTH KEY=VALUE\n", LENGTH being that of the whole record in decimal
 *
 * Records: `hdrcharset` (BINARY, before a name that is no UTF-8), `path` and
 * `linkpath` where the ustar header has no room for them, `uid` and `gid` likewise, `mtime` and `atime` with
 * nanoseconds, and `SCHILY.xattr.NAME` for each extended attribute, % and = in NAME as %25 and %3D, as GNU tar has
 * them. A directory's own data is `SCHILY.xattr.user.znode.data`.
 */
#include "tar_write.h"

#include "znode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK     512
#define RECORD    10240   /* what tapes were written in, and what tar pads to */
#define BUF_BYTES 1048576 /* written at once */

#define NAME_BYTES 100
#define NS_PER_S   1000000000
#define ID_MAX     07777777u /* in a ustar header */
#define DIR_DATA   "user.znode.data"

struct ustar {
    char name[NAME_BYTES];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char sum[8];
    char typeflag;
    char linkname[NAME_BYTES];
    char magic[8]; /* "ustar\0" and version "00" */
    char owner[32];
    char group[32];
    char dev_major[8];
    char dev_minor[8];
    char prefix[155];
    char zeros[12];
};

struct tar_writer {
    int fd;
    int rv; /* the first error: nothing more is written */
    uint64_t written;
    uint8_t *buf;
    size_t buf_len;
    char *records; /* of the x or g header in work */
    size_t records_len;
    size_t records_cap;
};

/* ---- out ---- */

static void flush(struct tar_writer *w)
{
    size_t at = 0;

    while (w->rv == 0 && at < w->buf_len) {
        ssize_t n = write(w->fd, w->buf + at, w->buf_len - at);

        if (n >= 0) {
            at += (size_t)n;
        } else if (errno != EINTR) {
            w->rv = -errno;
        }
    }
    w->buf_len = 0;
}

static void put_bytes(struct tar_writer *w, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    w->written += len;
    while (len > 0) {
        size_t n = BUF_BYTES - w->buf_len < len ? BUF_BYTES - w->buf_len : len;

        memcpy(w->buf + w->buf_len, at, n);
        w->buf_len += n;
        at += n;
        len -= n;
        if (w->buf_len == BUF_BYTES) {
            flush(w);
        }
    }
}

static void put_padding(struct tar_writer *w, size_t unit)
{
    static const uint8_t zeros[RECORD];

    if (w->written % unit != 0) {
        put_bytes(w, zeros, unit - w->written % unit);
    }
}

/* ---- records ---- */

static void records_append(struct tar_writer *w, const void *bytes, size_t len)
{
    if (w->records_cap - w->records_len < len) {
        size_t cap = 2 * (w->records_len + len) + BLOCK;
        char *records = realloc(w->records, cap);

        if (records == NULL) {
            abort();
        }
        w->records = records;
        w->records_cap = cap;
    }
    if (len > 0) {
        memcpy(w->records + w->records_len, bytes, len);
    }
    w->records_len += len;
}

/* The length counts its own digits. */
static void add_record(struct tar_writer *w, const char *key, const void *value, size_t len)
{
    size_t rest = 1 + strlen(key) + 1 + len + 1;
    size_t total = rest + 1;
    char digits[24];

    while ((size_t)snprintf(digits, sizeof(digits), "%zu", total) + rest != total) {
        total = (size_t)snprintf(digits, sizeof(digits), "%zu", total) + rest;
    }
    records_append(w, digits, strlen(digits));
    records_append(w, " ", 1);
    records_append(w, key, strlen(key));
    records_append(w, "=", 1);
    records_append(w, value, len);
    records_append(w, "\n", 1);
}

static void add_number(struct tar_writer *w, const char *key, uint64_t number)
{
    char text[24];

    add_record(w, key, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, number));
}

/* Before 1970 in whole seconds: readers of tar do not agree what a fraction means there. */
static void add_time(struct tar_writer *w, const char *key, int64_t ns)
{
    int64_t seconds = ns / NS_PER_S - (ns % NS_PER_S < 0);
    char text[32];
    int len = snprintf(text, sizeof(text), "%" PRId64 ".%09" PRId64, seconds, ns < 0 ? 0 : ns % NS_PER_S);

    add_record(w, key, text, (size_t)len);
}

static void add_xattr(struct tar_writer *w, const char *name, const uint8_t *value, size_t len)
{
    char key[sizeof("SCHILY.xattr.") + 3 * TXN_NAME_MAX + 1] = "SCHILY.xattr.";
    size_t at = strlen(key);

    for (; *name != '\0'; name++) {
        if (*name == '%' || *name == '=') {
            at += (size_t)snprintf(key + at, sizeof(key) - at, "%%%02X", (unsigned)*name);
        } else {
            key[at++] = *name;
        }
    }
    key[at] = '\0';
    add_record(w, key, value, len);
}

/* ---- headers ---- */

static void set_octal(char *field, size_t size, uint64_t number)
{
    char text[24];
    int digits = (int)size - 1;

    (void)snprintf(text, sizeof(text), "%0*" PRIo64, digits, number);
    memcpy(field, text, size);
}

static void header_init(struct ustar *h, char typeflag, uint64_t size)
{
    memset(h, 0, sizeof(*h));
    h->typeflag = typeflag;
    memcpy(h->magic, "ustar\00000", 8);
    set_octal(h->mode, sizeof(h->mode), 0644);
    set_octal(h->uid, sizeof(h->uid), 0);
    set_octal(h->gid, sizeof(h->gid), 0);
    set_octal(h->size, sizeof(h->size), size);
    set_octal(h->mtime, sizeof(h->mtime), 0);
    set_octal(h->dev_major, sizeof(h->dev_major), 0);
    set_octal(h->dev_minor, sizeof(h->dev_minor), 0);
}

/* The sum is made with spaces in its own place. */
static void put_header(struct tar_writer *w, struct ustar *h)
{
    const uint8_t *bytes = (const uint8_t *)h;
    unsigned sum = 0;

    memset(h->sum, ' ', sizeof(h->sum));
    for (size_t i = 0; i < sizeof(*h); i++) {
        sum += bytes[i];
    }
    (void)snprintf(h->sum, sizeof(h->sum), "%06o", sum);
    put_bytes(w, h, sizeof(*h));
}

/* The records that were added, as a header of their own. */
static void put_records(struct tar_writer *w, char typeflag, const char *name)
{
    struct ustar h;

    header_init(&h, typeflag, w->records_len);
    memcpy(h.name, name, strlen(name));
    put_header(w, &h);
    put_bytes(w, w->records, w->records_len);
    put_padding(w, BLOCK);
    w->records_len = 0;
}

static bool is_ascii(const char *text)
{
    while (*text != '\0' && (unsigned char)*text < 0x80) {
        text++;
    }
    return *text == '\0';
}

static bool is_utf8(const char *text)
{
    size_t n = 1;

    while (*text != '\0' && n > 0) {
        n = utf8_len(text);
        text += n;
    }
    return n > 0;
}

/* Into the header if it fits, else into a record; then the header has its beginning. */
static void set_name(struct tar_writer *w, char field[NAME_BYTES], const char *key, const char *name)
{
    size_t len = strlen(name);

    memcpy(field, name, len < NAME_BYTES ? len : NAME_BYTES);
    if (len > NAME_BYTES || !is_ascii(name)) {
        add_record(w, key, name, len);
    }
}

static void set_id(struct tar_writer *w, char field[8], const char *key, uint32_t id)
{
    if (id > ID_MAX) {
        add_number(w, key, id);
        id = 0;
    }
    set_octal(field, 8, id);
}

static void add_times(struct tar_writer *w, struct ustar *h, const struct node *n)
{
    add_time(w, "mtime", n->mtime_ns);
    add_time(w, "atime", n->atime_ns);
    set_octal(h->mtime, sizeof(h->mtime), n->mtime_ns < 0 ? 0 : (uint64_t)n->mtime_ns / NS_PER_S);
}

static void add_xattrs(struct tar_writer *w, const struct node *n)
{
    if (n->kind == NODE_DIR && n->data_len > 0) {
        add_xattr(w, DIR_DATA, n->data->bytes, n->data_len);
    }
    for (const struct xattr *x = n->xattrs; x != NULL; x = x->next) {
        add_xattr(w, x->name, x->value, x->len);
    }
}

void tar_writer_add(struct tar_writer *w, const struct node *n, const char *path)
{
    static const char typeflags[] = {[NODE_FILE] = '0', [NODE_DIR] = '5', [NODE_SYMLINK] = '2'};
    char target[TXN_SYMLINK_MAX + 1] = "";
    uint32_t size = n->kind == NODE_FILE ? n->data_len : 0;
    struct ustar h;

    header_init(&h, typeflags[n->kind], size);
    set_octal(h.mode, sizeof(h.mode), n->mode);
    if (n->kind == NODE_SYMLINK) {
        memcpy(target, n->data->bytes, n->data_len);
        target[n->data_len] = '\0';
    }
    if (!is_utf8(path) || !is_utf8(target)) {
        add_record(w, "hdrcharset", "BINARY", strlen("BINARY"));
    }
    set_name(w, h.name, "path", path);
    set_name(w, h.linkname, "linkpath", target);
    set_id(w, h.uid, "uid", n->uid);
    set_id(w, h.gid, "gid", n->gid);
    add_times(w, &h, n);
    add_xattrs(w, n);
    put_records(w, 'x', "PaxHeaders/znode");
    put_header(w, &h);
    if (size > 0) {
        put_bytes(w, n->data->bytes, size);
        put_padding(w, BLOCK);
    }
}

struct tar_writer *tar_writer_new(int fd, const char *comment)
{
    struct tar_writer *w = calloc(1, sizeof(*w));

    _Static_assert(sizeof(struct ustar) == BLOCK, "a header is one block");
    if (w == NULL || (w->buf = malloc(BUF_BYTES)) == NULL) {
        abort();
    }
    w->fd = fd;
    add_record(w, "comment", comment, strlen(comment));
    put_records(w, 'g', "GlobalHead/znode");
    return w;
}

int tar_writer_finish(struct tar_writer *w)
{
    static const uint8_t zeros[2 * BLOCK];
    int rv;

    put_bytes(w, zeros, sizeof(zeros));
    put_padding(w, RECORD);
    flush(w);
    rv = w->rv;
    free(w->records);
    free(w->buf);
    free(w);
    return rv;
}
