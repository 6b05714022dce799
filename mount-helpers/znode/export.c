/* export: a tar of a directory, as it was at one transaction. */
#include "store/snapshot.h"
#include "tar_write.h"
#include "znode.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 1048576

struct export_options {
    const char *output; /* NULL: stdout */
    bool local;
    bool json;
    bool quiet;
};

/* ---- the state out of .znodefs/snapshot ---- */

static int feed(int fd, struct snapshot_reader *r, struct error *err)
{
    uint8_t *bytes = malloc(READ_BYTES);
    int rv = 0;

    if (bytes == NULL) {
        abort();
    }
    while (rv == 0) {
        ssize_t n = read(fd, bytes, READ_BYTES);

        if (n == 0) {
            break;
        }
        if (n > 0) {
            rv = snapshot_reader_feed(r, bytes, (size_t)n, err);
        } else if (errno != EINTR) {
            rv = error_set(err, -errno, "%s", errno == EIO ? "its daemon's log says why" : reason(-errno));
        }
    }
    free(bytes);
    return rv;
}

static int read_state(int fd, struct state **ret_state, struct error *err)
{
    struct snapshot_reader *r = snapshot_reader_new();
    int rv = feed(fd, r, err);

    if (rv == 0) {
        rv = snapshot_reader_finish(r, ret_state, err);
    }
    snapshot_reader_free(r);
    return rv;
}

/* Whatever any peer committed before now is in the snapshot that is opened after this. */
static int barrier(const char *path, int dir_fd)
{
    int rv;

    do {
        rv = fsync(dir_fd) == 0 ? 0 : -errno;
    } while (rv == -EINTR);
    if (rv == 0) {
        return ZNODE_OK;
    }
    complain("%s: %s; with --local the last state that this mount knows is exported", path, reason(rv));
    return exit_of(rv);
}

static int open_snapshot(const char *path, int dir_fd, int *ret_exit)
{
    int fd = open_dot(dir_fd, "snapshot");

    if (fd >= 0) {
        return fd;
    }
    *ret_exit = exit_of(fd);
    if (fd == -EACCES) {
        complain("%s: only the user whom the mount's daemon runs as may export", path);
    } else if (fd == -EBUSY) {
        complain("%s: too many exports are under way on this mount: try again", path);
    } else if (fd == -ENOTTY) {
        complain("%s: this mount's daemon knows no exports: it is older than this znode", path);
    } else {
        complain("%s: %s", path, reason(fd));
    }
    return -1;
}

/* The exit code; the state belongs to the caller. */
static int take_state(const char *path, bool local, struct state **ret_state)
{
    struct error err = {""};
    int code = ZNODE_OK;
    int dir_fd = open_directory(path, &code);
    int fd;
    int rv;

    if (dir_fd < 0) {
        return code;
    }
    if (!local) {
        code = barrier(path, dir_fd);
    }
    fd = code == ZNODE_OK ? open_snapshot(path, dir_fd, &code) : -1;
    (void)close(dir_fd);
    if (fd < 0) {
        return code;
    }
    rv = read_state(fd, ret_state, &err);
    (void)close(fd);
    if (rv != 0) {
        complain("%s: the export broke off: %s", path, err.text);
        return exit_of(rv);
    }
    return ZNODE_OK;
}

/* ---- the tar of it ---- */

/* "./" and the path below the root, with a slash behind directories, as tar has them. *path grows as needed. */
static void entry_name(const struct node *n, char **path, size_t *cap)
{
    size_t len = node_path(n, NULL, 0);

    if (*path == NULL || len + 4 > *cap) {
        *cap = 2 * (len + 4);
        *path = realloc(*path, *cap);
        if (*path == NULL) {
            abort();
        }
    }
    (void)node_path(n, *path + 1, *cap - 2);
    (*path)[0] = '.';
    if (n->kind == NODE_DIR && (*path)[len] != '/') {
        (*path)[++len] = '/';
        (*path)[len + 1] = '\0';
    }
}

static int write_tar(int fd, const struct state *s)
{
    const struct node *root = tree_by_ino(state_tree(s), TREE_ROOT_INO);
    struct tar_writer *w;
    char comment[128];
    char *path = NULL;
    size_t cap = 0;

    (void)snprintf(comment, sizeof(comment), "znodefs zxid=0x%" PRIx64 " ensemble=0x%" PRIx64, state_zxid(s),
                   state_ensemble(s));
    w = tar_writer_new(fd, comment);
    for (const struct node *n = root; n != NULL; n = tree_next(root, n)) {
        entry_name(n, &path, &cap);
        tar_writer_add(w, n, path);
    }
    free(path);
    return tar_writer_finish(w);
}

/* So that the name is on disk, too. */
static int sync_directory_of(const char *path)
{
    char *copy = strdup(path);
    int rv;
    int fd;

    if (copy == NULL) {
        abort();
    }
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rv = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    free(copy);
    return rv;
}

/* Under another name until it is whole and on disk: whatever has the name is a backup. */
static int write_file(const char *output, const struct state *s)
{
    char *part;
    int rv;
    int fd;

    if (asprintf(&part, "%s.part", output) < 0) {
        abort();
    }
    fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    rv = fd < 0 ? -errno : write_tar(fd, s);
    if (rv == 0 && fsync(fd) != 0) {
        rv = -errno;
    }
    if (fd >= 0 && close(fd) != 0 && rv == 0) {
        rv = -errno;
    }
    if (rv == 0) {
        rv = rename(part, output) != 0 ? -errno : sync_directory_of(output);
    }
    if (rv != 0 && fd >= 0) {
        (void)unlink(part);
    }
    free(part);
    return rv;
}

static void print_summary(const struct export_options *o, const char *path, const struct state *s)
{
    char zxid[24];

    (void)snprintf(zxid, sizeof(zxid), "0x%" PRIx64, state_zxid(s));
    if (o->json) {
        struct json j = {.out = stderr};

        json_string(&j, "path", path);
        json_string(&j, "zxid", zxid);
        json_number(&j, "znodes", tree_count(state_tree(s)));
        json_number(&j, "bytes", tree_data_bytes(state_tree(s)));
        json_end(&j);
    } else if (!o->quiet) {
        (void)fprintf(stderr, "exported %s at zxid %s: %" PRIu64 " znodes, %" PRIu64 " bytes\n", path, zxid,
                      tree_count(state_tree(s)), tree_data_bytes(state_tree(s)));
    }
}

static int export_to(const struct export_options *o, const char *path)
{
    struct state *s = NULL;
    int code = take_state(path, o->local, &s);
    int rv;

    if (code != ZNODE_OK) {
        return code;
    }
    rv = o->output != NULL ? write_file(o->output, s) : write_tar(STDOUT_FILENO, s);
    if (rv == 0) {
        print_summary(o, path, s);
    } else {
        complain("write %s: %s", o->output != NULL ? o->output : "the archive", strerror(-rv));
    }
    state_free(s);
    return rv == 0 ? ZNODE_OK : ZNODE_USAGE;
}

static const struct option options[] = {
    {"output", required_argument, NULL, 'o'}, {"local", no_argument, NULL, 'l'}, {"json", no_argument, NULL, 'j'},
    {"quiet", no_argument, NULL, 'q'},        {"help", no_argument, NULL, 'h'},  {NULL, 0, NULL, 0},
};

static int run_export(const struct command *c, int argc, char **argv)
{
    struct export_options o = {0};
    int code = ZNODE_OK;
    int letter;

    while ((letter = next_option(c, argc, argv, "o:ljqh", options, &code)) != -1) {
        switch (letter) {
        case 'o':
            o.output = optarg;
            break;
        case 'l':
            o.local = true;
            break;
        case 'j':
            o.json = true;
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
    if (o.output == NULL && isatty(STDOUT_FILENO)) {
        return complain_usage(c, "an archive is nothing for a terminal: use -o FILE or a pipe");
    }
    return export_to(&o, argv[optind]);
}

const struct command command_export = {
    .name = "export",
    .arguments = "[-o FILE] [--local] DIRECTORY",
    .summary = "a tar of a directory, exact at one transaction",
    .help =
        "Writes a pax archive of DIRECTORY and all below it to stdout: contents, names, owners, modes, times, "
        "symlinks,\n"
        "user.* attributes and the data of directories (user.znode.data), all as they were at one zxid, while others\n"
        "write. Whatever was committed anywhere before the call is in it. The zxid is in the archive's first header:\n"
        "`head -c 1024 FILE | grep -a -o 'zxid=0x[0-9a-f]*'`. Only for the user whom the daemon runs as.\n"
        "\n"
        "  -o, --output FILE   write FILE: under another name until it is whole and on disk\n"
        "  -l, --local         do not ask a quorum: the last state that this mount knows\n"
        "  -j, --json          the summary, on stderr, as an object\n"
        "  -q, --quiet         no summary\n"
        "\n"
        "Unpack with `znode import`, or with `tar --xattrs -xf FILE` on any file system. Exit code 6 without a "
        "quorum.\n"
        "\n"
        "  znode export -o /backup/app.tar /mnt/app\n"
        "  znode export /mnt | zstd > mnt.tar.zst\n",
    .run = run_export,
};
