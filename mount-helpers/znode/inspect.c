/* stat and status: what a znode and a mount are. */
#include "znode.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define STATUS_MAX     65536 /* bytes of .znodefs/status, many times what it has */
#define STAT_TRIES     1000  /* a znode that is written all the time is given up */
#define VALUE_MAX      64
#define JSON_EXACT_MAX (1ull << 53) /* beyond, readers of JSON round */

/* ---- stat ---- */

enum field_kind {
    FIELD_ZXID, /* printed as it is read */
    FIELD_NUMBER,
    FIELD_MS, /* since 1970 */
};

struct field {
    const char *name; /* behind "znode." */
    enum field_kind kind;
};

static const struct field fields[] = {
    {"czxid", FIELD_ZXID},         {"mzxid", FIELD_ZXID},          {"pzxid", FIELD_ZXID},
    {"ctime", FIELD_MS},           {"version", FIELD_NUMBER},      {"cversion", FIELD_NUMBER},
    {"aversion", FIELD_NUMBER},    {"ephemeralOwner", FIELD_ZXID}, {"dataLength", FIELD_NUMBER},
    {"numChildren", FIELD_NUMBER},
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* All of one znode, as of one moment. */
struct znode_stat {
    struct stat st;
    char values[N_FIELDS][VALUE_MAX];
};

/* 0 or a negative errno; -ENOTTY: not a znode. */
static int read_once(const char *path, struct znode_stat *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (lstat(path, &ret->st) != 0) {
        return -errno;
    }
    for (size_t i = 0; i < N_FIELDS; i++) {
        char name[VALUE_MAX];
        ssize_t n;

        (void)snprintf(name, sizeof(name), "znode.%s", fields[i].name);
        n = lgetxattr(path, name, ret->values[i], VALUE_MAX - 1);
        if (n < 0) {
            return errno == EOPNOTSUPP || errno == ENODATA || errno == EPERM ? -ENOTTY : -errno;
        }
    }
    return 0;
}

static bool same(const struct znode_stat *a, const struct znode_stat *b)
{
    return memcmp(a->values, b->values, sizeof(a->values)) == 0 && a->st.st_ino == b->st.st_ino &&
           a->st.st_mtim.tv_sec == b->st.st_mtim.tv_sec && a->st.st_mtim.tv_nsec == b->st.st_mtim.tv_nsec &&
           a->st.st_ctim.tv_sec == b->st.st_ctim.tv_sec && a->st.st_ctim.tv_nsec == b->st.st_ctim.tv_nsec;
}

/* The fields come one by one: they belong together once two rounds are the same. */
static int read_stat(const char *path, struct znode_stat *ret)
{
    struct znode_stat again;
    int rv = read_once(path, ret);

    for (int i = 0; rv == 0 && i < STAT_TRIES; i++) {
        rv = read_once(path, &again);
        if (rv == 0 && same(ret, &again)) {
            return 0;
        }
        *ret = again;
    }
    return rv == 0 ? -EBUSY : rv;
}

/* A value that is text in JSON as well, or a number. */
static void put(struct json *j, bool json, const char *key, const char *value, bool number)
{
    if (!json) {
        (void)printf("%s\t%s\n", key, value);
    } else if (number) {
        json_number(j, key, strtoull(value, NULL, 10));
    } else {
        json_string(j, key, value);
    }
}

static void put_number(struct json *j, bool json, const char *key, uint64_t number)
{
    char text[VALUE_MAX];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    put(j, json, key, text, true);
}

static void put_time(struct json *j, bool json, const char *key, struct timespec t)
{
    char text[TIME_TEXT_MAX];

    put(j, json, key, time_text(t, text), false);
}

static void put_ms(struct json *j, bool json, const char *key, const char *value)
{
    long long ms = strtoll(value, NULL, 10);
    long long rest = ms % 1000;
    struct timespec t = {.tv_sec = ms / 1000 - (rest < 0), .tv_nsec = (rest < 0 ? rest + 1000 : rest) * 1000000};

    put_time(j, json, key, t);
}

static void put_stat(const char *path, const struct znode_stat *s, bool json)
{
    struct json j = {.out = stdout};
    char mode[VALUE_MAX];

    (void)snprintf(mode, sizeof(mode), "%04o", s->st.st_mode & 07777u);
    put(&j, json, "path", path, false);
    put(&j, json, "kind", S_ISDIR(s->st.st_mode) ? "directory" : S_ISLNK(s->st.st_mode) ? "symlink" : "file", false);
    put_number(&j, json, "inode", s->st.st_ino);
    put(&j, json, "mode", mode, false);
    put_number(&j, json, "uid", s->st.st_uid);
    put_number(&j, json, "gid", s->st.st_gid);
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (fields[i].kind == FIELD_MS) {
            put_ms(&j, json, fields[i].name, s->values[i]);
            put_time(&j, json, "mtime", s->st.st_mtim);
        } else {
            put(&j, json, fields[i].name, s->values[i], fields[i].kind == FIELD_NUMBER);
        }
    }
    put_time(&j, json, "changed", s->st.st_ctim);
    put_time(&j, json, "accessed", s->st.st_atim);
    if (json) {
        json_end(&j);
    }
}

static const struct option json_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* The options of both commands. False: *ret_exit is to be returned. */
static bool read_options(const struct command *c, int argc, char **argv, bool *ret_json, int *ret_exit)
{
    int letter;

    *ret_json = false;
    while ((letter = next_option(c, argc, argv, "jh", json_options, ret_exit)) != -1) {
        if (letter == '?') {
            return false;
        }
        *ret_json = true;
    }
    return true;
}

static int run_stat(const struct command *c, int argc, char **argv)
{
    struct znode_stat s;
    int code = ZNODE_OK;
    bool json;

    if (!read_options(c, argc, argv, &json, &code)) {
        return code;
    }
    if (optind == argc) {
        return complain_usage(c, "of which znode?");
    }
    for (int i = optind; i < argc; i++) {
        int rv = read_stat(argv[i], &s);

        if (rv == -ENOTTY) {
            complain("%s: not a znode, or not on a mount of znodefs", argv[i]);
            code = ZNODE_USAGE;
        } else if (rv != 0) {
            complain("%s: %s", argv[i], rv == -EBUSY ? "it changes all the time" : reason(rv));
            code = exit_of(rv);
        } else {
            if (i > optind && !json) {
                (void)fputc('\n', stdout);
            }
            put_stat(argv[i], &s, json);
        }
    }
    return code;
}

const struct command command_stat = {
    .name = "stat",
    .arguments = "[--json] PATH...",
    .summary = "versions, zxids, times and the rest of a znode's stat",
    .help = "One `key<TAB>value` line for each field, an empty line between two znodes. Symlinks are not followed.\n"
            "\n"
            "  -j, --json   an object on one line for each PATH\n"
            "\n"
            "czxid, mzxid and pzxid are the transactions that made the znode, changed its data and its children;\n"
            "ctime is when it was made and mtime when its data was changed, as in ZooKeeper; changed and accessed\n"
            "are stat(2)'s ctime and atime.\n"
            "\n"
            "  znode stat /mnt/app/config\n"
            "  znode stat --json /mnt/app/config | jq -r .version\n",
    .run = run_stat,
};

/* ---- status ---- */

/* The directory that stands for the mount of `path`: it, or the one it is in. Malloc'ed; NULL: errno says why. */
static char *directory_of(const char *path)
{
    char *real = realpath(path, NULL);
    struct stat st;

    if (real == NULL) {
        return NULL;
    }
    if (stat(real, &st) != 0) {
        free(real);
        return NULL;
    }
    return S_ISDIR(st.st_mode) ? real : dirname(real); /* which shortens it in place: it is absolute */
}

/* All of .znodefs/status, NUL-terminated; the length or a negative errno. */
static ssize_t read_status(int dir_fd, char text[STATUS_MAX])
{
    size_t len = 0;
    int fd = open_dot(dir_fd, "status");

    if (fd < 0) {
        return fd;
    }
    while (len < STATUS_MAX - 1) {
        ssize_t n = read(fd, text + len, STATUS_MAX - 1 - len);
        int rv = -errno;

        if (n < 0 && rv == -EINTR) {
            continue;
        }
        if (n < 0) {
            (void)close(fd);
            return rv;
        }
        if (n == 0) {
            break;
        }
        len += (size_t)n;
    }
    (void)close(fd);
    text[len] = '\0';
    return (ssize_t)len;
}

/* Ids can have more digits than readers of JSON keep. */
static bool is_small_number(const char *value)
{
    return *value != '\0' && value[strspn(value, "0123456789")] == '\0' && strlen(value) < 17 &&
           strtoull(value, NULL, 10) < JSON_EXACT_MAX;
}

/* Prints the lines; true if they say that there is a quorum. */
static bool put_status(char *text, bool json)
{
    struct json j = {.out = stdout};
    bool quorum = false;
    char *rest = NULL;

    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *tab = strchr(line, '\t');

        if (tab == NULL) {
            continue;
        }
        *tab = '\0';
        put(&j, json, line, tab + 1, is_small_number(tab + 1));
        quorum = quorum || (strcmp(line, "quorum") == 0 && strcmp(tab + 1, "yes") == 0);
    }
    if (json) {
        json_end(&j);
    }
    return quorum;
}

static int run_status(const struct command *c, int argc, char **argv)
{
    static char text[STATUS_MAX];
    const char *path;
    char *directory;
    int code = ZNODE_OK;
    ssize_t n;
    bool json;
    int fd;

    if (!read_options(c, argc, argv, &json, &code)) {
        return code;
    }
    if (argc - optind > 1) {
        return complain_usage(c, "one path is enough");
    }
    path = optind < argc ? argv[optind] : ".";
    directory = directory_of(path);
    if (directory == NULL) {
        complain("%s: %s", path, reason(-errno));
        return exit_of(-errno);
    }
    fd = open_directory(directory, &code);
    free(directory);
    if (fd < 0) {
        return code;
    }
    n = read_status(fd, text);
    (void)close(fd);
    if (n < 0) {
        complain("%s: %s", path, reason((int)n));
        return exit_of((int)n);
    }
    return put_status(text, json) ? ZNODE_OK : ZNODE_NO_QUORUM;
}

const struct command command_status = {
    .name = "status",
    .arguments = "[--json] [PATH]",
    .summary = "the mount that PATH is in (.): its role, the leader, the quorum",
    .help = "Prints the mount's .znodefs/status: `key<TAB>value` lines. Exit code 6 without a quorum.\n"
            "\n"
            "  -j, --json   an object on one line\n"
            "\n"
            "  znode status /mnt\n"
            "  until znode status /mnt > /dev/null; do sleep 1; done   # wait for a quorum\n",
    .run = run_status,
};
