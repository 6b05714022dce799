/* import: a tar, of `znode export` or of tar, back into znodes. */
#include "import.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES     1048576
#define PROGRESS_EVERY 1000

struct import_options {
    const char *input; /* NULL: stdin */
    bool merge;
    bool own;
    bool json;
    bool quiet;
    bool verbose;
};

struct import {
    struct target target;
    struct pool *pool;
    struct place place;  /* where directories are made, by this thread */
    struct entry *first; /* directories, the last one first: finished in this order */
    uint64_t made;       /* by this thread */
    uint64_t seen;
    uint64_t foreign_xattrs;
    bool progress;
};

static void *copy_of(const void *bytes, size_t len)
{
    void *copy = malloc(len + 1);

    if (copy == NULL) {
        abort();
    }
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    ((char *)copy)[len] = '\0';
    return copy;
}

/* ---- from the archive ---- */

/* The path below the target: no "." and no empty parts. NULL: it is none; then *ret_what says why. Malloc'ed. */
static char *clean_path(const char *name, const char **ret_what)
{
    char *path = copy_of(name, strlen(name));
    size_t len = 0;

    if (*name == '/') {
        *ret_what = "an absolute name";
        free(path);
        return NULL;
    }
    for (const char *at = name; *at != '\0';) {
        size_t n = strcspn(at, "/");

        if ((n == 2 && memcmp(at, "..", 2) == 0) || (n == 8 && memcmp(at, ".znodefs", 8) == 0)) {
            *ret_what = n == 2 ? "a name with .." : "a reserved name";
            free(path);
            return NULL;
        }
        if (n > 0 && !(n == 1 && *at == '.')) {
            if (len > 0) {
                path[len++] = '/';
            }
            memmove(path + len, at, n);
            len += n;
        }
        at += n;
        at += *at == '/';
    }
    path[len] = '\0';
    return path;
}

/* GNU tar and `znode export` write % and = in the name of an attribute as %25 and %3D. */
static char *decode_name(const char *name)
{
    char *decoded = copy_of(name, strlen(name));
    size_t len = 0;

    for (; *name != '\0'; name++) {
        char c = *name;

        if (strncmp(name, "%25", 3) == 0 || strncmp(name, "%3D", 3) == 0) {
            c = name[1] == '2' ? '%' : '=';
            name += 2;
        }
        decoded[len++] = c;
    }
    decoded[len] = '\0';
    return decoded;
}

static void take_xattrs(struct import *im, struct archive_entry *ae, struct entry *e)
{
    const char *name;
    const void *value;
    size_t len;

    (void)archive_entry_xattr_reset(ae);
    while (archive_entry_xattr_next(ae, &name, &value, &len) == ARCHIVE_OK) {
        struct entry_xattr *x;

        if (strncmp(name, "user.", 5) != 0) {
            im->foreign_xattrs++;
            continue;
        }
        x = calloc(1, sizeof(*x));
        if (x == NULL) {
            abort();
        }
        x->name = decode_name(name);
        x->value = copy_of(value, len);
        x->len = len;
        x->next = e->xattrs;
        e->xattrs = x;
    }
}

static struct timespec time_of(bool is_set, time_t sec, long nsec)
{
    return (struct timespec){.tv_sec = is_set ? sec : 0, .tv_nsec = is_set ? nsec : UTIME_OMIT};
}

static int take_data(struct archive *a, struct archive_entry *ae, struct entry *e)
{
    int64_t size = archive_entry_size(ae);
    size_t at = 0;

    if (size < 0 || size > IMPORT_FILE_MAX) {
        return -EFBIG;
    }
    e->len = (size_t)size;
    e->data = malloc(e->len + 1);
    if (e->data == NULL) {
        return -ENOMEM;
    }
    while (at < e->len) {
        la_ssize_t n = archive_read_data(a, e->data + at, e->len - at);

        if (n == 0 && archive_entry_sparse_count(ae) > 0) {
            memset(e->data + at, 0, e->len - at); /* it ends with a hole */
            break;
        }
        if (n <= 0) {
            return -EBADMSG;
        }
        at += (size_t)n;
    }
    return 0;
}

/* What znodes cannot be. NULL: they can. */
static const char *unknown_kind(struct archive_entry *ae)
{
    if (archive_entry_hardlink(ae) != NULL) {
        return "a hard link: znodes have one name";
    }
    switch (archive_entry_filetype(ae)) {
    case AE_IFREG:
    case AE_IFDIR:
    case AE_IFLNK:
        return NULL;
    default:
        return "a device, FIFO or socket";
    }
}

/* NULL when it can't be made: that is counted and told already. */
static struct entry *take_entry(struct import *im, struct archive *a, struct archive_entry *ae)
{
    const char *name = archive_entry_pathname(ae);
    const char *what = unknown_kind(ae);
    struct entry *e;
    int rv = 0;

    if (name == NULL || *name == '\0') {
        pool_fail(im->pool, "(an entry)", "it has no name that can be read", -EPERM);
        return NULL;
    }
    e = calloc(1, sizeof(*e));
    if (e == NULL) {
        abort();
    }
    if (what == NULL) {
        e->path = clean_path(name, &what);
    }
    if (what != NULL) {
        pool_fail(im->pool, name, what, -EPERM);
        entry_free(e);
        return NULL;
    }
    e->mode = archive_entry_mode(ae);
    e->uid = (uid_t)archive_entry_uid(ae);
    e->gid = (gid_t)archive_entry_gid(ae);
    e->times[0] = time_of(archive_entry_atime_is_set(ae) != 0, archive_entry_atime(ae), archive_entry_atime_nsec(ae));
    e->times[1] = time_of(archive_entry_mtime_is_set(ae) != 0, archive_entry_mtime(ae), archive_entry_mtime_nsec(ae));
    take_xattrs(im, ae, e);
    if (S_ISLNK(e->mode)) {
        const char *link = archive_entry_symlink(ae);

        e->target = link == NULL ? NULL : copy_of(link, strlen(link));
        rv = link == NULL ? -EBADMSG : 0;
    } else if (S_ISREG(e->mode)) {
        rv = take_data(a, ae, e);
    }
    if (rv != 0) {
        pool_fail(im->pool, name, NULL, rv);
        entry_free(e);
        return NULL;
    }
    return e;
}

/* ---- onto the mount ---- */

/* Directories and symlinks are made here and now, as what comes later may go into the ones, and may not go through the
 * others; what else a directory is comes last. False: it is no use to go on. */
static bool make_now(struct import *im, struct entry *e)
{
    const char *what;
    int rv = entry_make(&im->target, &im->place, e, &what);

    if (rv != 0) {
        pool_fail(im->pool, e->path, what, rv);
        entry_free(e);
        return !pool_result(im->pool).stopped;
    }
    if (S_ISLNK(e->mode)) {
        im->made++;
        entry_free(e);
    } else {
        e->next = im->first;
        im->first = e;
    }
    return true;
}

static void finish_directories(struct import *im)
{
    while (im->first != NULL) {
        struct entry *e = im->first;
        const char *what;
        int rv = pool_result(im->pool).stopped ? 0 : entry_finish_directory(&im->target, e, &what);

        if (rv != 0) {
            pool_fail(im->pool, e->path, what, rv);
        } else {
            im->made++;
        }
        im->first = e->next;
        entry_free(e);
    }
}

static void show_progress(struct import *im)
{
    im->seen++;
    if (im->progress && im->seen % PROGRESS_EVERY == 0) {
        (void)fprintf(stderr, "\r%llu entries ", (unsigned long long)im->seen);
    }
}

/* ARCHIVE_EOF or, when the archive is no good, something below; stops early when it is no use to go on. */
static int take_all(struct import *im, struct archive *a)
{
    struct archive_entry *ae;
    bool go_on = true;
    int rv = ARCHIVE_EOF;

    while (go_on) {
        struct entry *e;
        int64_t at;

        at = archive_filter_bytes(a, 0);
        rv = archive_read_next_header(a, &ae);
        if (rv == ARCHIVE_EOF && archive_filter_bytes(a, 0) == at) {
            archive_set_error(a, EBADMSG, "its end is missing"); /* of which libarchive thinks nothing */
            return ARCHIVE_FATAL;
        }
        if (rv == ARCHIVE_EOF && im->seen == 0) {
            archive_set_error(a, EBADMSG, "there is nothing in it");
            return ARCHIVE_FATAL;
        }
        if (rv == ARCHIVE_EOF || rv < ARCHIVE_WARN) {
            break;
        }
        show_progress(im);
        if (rv == ARCHIVE_WARN) {
            /* Of what it can't tell exactly, nothing is made. */
            pool_fail(im->pool, archive_entry_pathname(ae) != NULL ? archive_entry_pathname(ae) : "(an entry)",
                      archive_error_string(a), -EBADMSG);
        } else if ((e = take_entry(im, a, ae)) != NULL) {
            go_on = S_ISREG(e->mode) ? pool_add(im->pool, e) : make_now(im, e);
        }
        (void)archive_read_data_skip(a); /* what fails there fails again at the next header */
    }
    return rv;
}

static int read_archive(struct import *im, int fd)
{
    struct archive *a = archive_read_new();
    int rv;

    if (a == NULL) {
        abort();
    }
    (void)archive_read_support_filter_all(a); /* fewer of them where some are programs that are not installed */
    rv = archive_read_support_format_tar(a);
    if (rv == ARCHIVE_OK) {
        rv = archive_read_open_fd(a, fd, READ_BYTES);
    }
    if (rv == ARCHIVE_OK) {
        rv = take_all(im, a);
    }
    pool_wait(im->pool);
    if (rv < ARCHIVE_WARN) {
        const char *text = archive_error_string(a);

        complain("the archive cannot be read: %s", text != NULL ? text : "it is no tar, or is cut short");
    }
    (void)archive_read_free(a);
    return rv < ARCHIVE_WARN ? ZNODE_USAGE : ZNODE_OK;
}

/* ---- the command ---- */

/* True if there is nothing in it; the descriptor stays the caller's. */
static bool is_empty(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    bool empty = true;
    const struct dirent *d;

    if (dir == NULL) {
        if (copy >= 0) {
            (void)close(copy);
        }
        return false;
    }
    while (empty && (d = readdir(dir)) != NULL) {
        empty = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;
    }
    (void)closedir(dir);
    return empty;
}

/* The target's descriptor, or -1 with *ret_exit set. */
static int open_target(const struct import_options *o, const char *path, int *ret_exit)
{
    int fd;

    if (mkdir(path, 0777) != 0 && errno != EEXIST) {
        int rv = -errno;

        complain("%s: %s", path, reason(rv));
        *ret_exit = exit_of(rv);
        return -1;
    }
    fd = open_directory(path, ret_exit);
    if (fd >= 0 && !o->merge && !is_empty(fd)) {
        complain("%s: not empty; --merge puts the archive into what is there, and replaces files of the same names",
                 path);
        (void)close(fd);
        *ret_exit = ZNODE_EXISTS;
        return -1;
    }
    return fd;
}

static void print_summary(const struct import_options *o, const struct import *im, const char *path,
                          const struct pool_result *r)
{
    uint64_t made = r->made + im->made;

    if (im->progress && im->seen >= PROGRESS_EVERY) {
        (void)fputc('\n', stderr);
    }
    if (o->json) {
        struct json j = {.out = stdout};

        json_string(&j, "path", path);
        json_number(&j, "znodes", made);
        json_number(&j, "bytes", r->bytes);
        json_number(&j, "failed", r->failed);
        json_end(&j);
    } else if (!o->quiet || r->failed > 0) {
        (void)fprintf(stderr, "imported %llu znodes, %llu bytes of files into %s", (unsigned long long)made,
                      (unsigned long long)r->bytes, path);
        if (r->failed > 0) {
            (void)fprintf(stderr, "; %llu failed%s", (unsigned long long)r->failed,
                          r->stopped ? ", and the rest was not tried" : "");
        }
        (void)fputc('\n', stderr);
    }
    if (im->foreign_xattrs > 0 && !o->quiet) {
        complain("left out %llu extended attributes that are not user.*", (unsigned long long)im->foreign_xattrs);
    }
}

static int import_from(const struct import_options *o, const char *path, int input)
{
    struct import im = {.progress = !o->quiet && !o->verbose && isatty(STDERR_FILENO)};
    struct pool_result r;
    int code = ZNODE_OK;

    im.target.own = o->own;
    im.target.fd = open_target(o, path, &code);
    if (im.target.fd < 0) {
        return code;
    }
    (void)umask(0); /* modes are the archive's */
    im.pool = pool_new(&im.target, o->verbose);
    code = read_archive(&im, input);
    finish_directories(&im);
    r = pool_result(im.pool);
    print_summary(o, &im, path, &r);
    pool_free(im.pool);
    place_release(&im.place);
    (void)close(im.target.fd);
    return r.code != ZNODE_OK ? r.code : code;
}

static const struct option options[] = {
    {"input", required_argument, NULL, 'i'}, {"merge", no_argument, NULL, 'm'},
    {"no-owner", no_argument, NULL, 'O'},    {"json", no_argument, NULL, 'j'},
    {"verbose", no_argument, NULL, 'v'},     {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
};

static int run_import(const struct command *c, int argc, char **argv)
{
    struct import_options o = {.own = geteuid() == 0};
    int code = ZNODE_OK;
    int input = STDIN_FILENO;
    int letter;

    while ((letter = next_option(c, argc, argv, "i:mOjvqh", options, &code)) != -1) {
        switch (letter) {
        case 'i':
            o.input = optarg;
            break;
        case 'm':
            o.merge = true;
            break;
        case 'O':
            o.own = false;
            break;
        case 'j':
            o.json = true;
            break;
        case 'v':
            o.verbose = true;
            break;
        case 'q':
            o.quiet = true;
            break;
        default:
            return code;
        }
    }
    if (argc - optind != 1) {
        return complain_usage(c, "one directory, please");
    }
    /* libarchive takes names in pax headers for text. */
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        complain("there is no locale C.UTF-8: names that are not ASCII may be refused");
    }
    if (o.input != NULL) {
        input = open(o.input, O_RDONLY | O_CLOEXEC);
        if (input < 0) {
            complain("%s: %s", o.input, strerror(errno));
            return errno == ENOENT ? ZNODE_ABSENT : ZNODE_USAGE;
        }
    }
    return import_from(&o, argv[optind], input);
}

const struct command command_import = {
    .name = "import",
    .arguments = "[-i FILE] [--merge] DIRECTORY",
    .summary = "a tar back into a directory, which is made if it is not there",
    .help =
        "Reads a tar from stdin, of `znode export` or of any tar, compressed or not, and makes its files, directories\n"
        "and symlinks in DIRECTORY with their modes, times and user.* attributes, as root also with their owners (by\n"
        "number). An import is many transactions: import into a new directory, look at it, and mv it to its place.\n"
        "What cannot be made is named, and the rest goes on; without a quorum it stops. Nothing outside of DIRECTORY\n"
        "is touched: absolute names and .. are refused, and symlinks are not followed.\n"
        "\n"
        "  -i, --input FILE   read FILE\n"
        "  -m, --merge        into a directory that is not empty: files of the same names are replaced\n"
        "  -O, --no-owner     what is made belongs to you\n"
        "  -j, --json         the summary on stdout, as an object\n"
        "  -v, --verbose      name each file that is made\n"
        "  -q, --quiet        no summary, unless something failed\n"
        "\n"
        "Exit codes: 9 DIRECTORY is not empty, or something else has a file's name; 10 something was refused (larger\n"
        "than jute.maxbuffer, a hard link, ...); 6 no quorum.\n"
        "\n"
        "  znode import /mnt/app-restored < app.tar\n"
        "  tar --xattrs -C /etc/app -cf - . | znode import /mnt/app\n",
    .run = run_import,
};
