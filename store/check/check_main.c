/*
 * znodefs-check: is what a peer has on disk whole, and what is in it?
 *
 *   znodefs-check [-lsjf] DATADIR [FILE...]
 */
#include "check.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EXIT_SOUND   0
#define EXIT_USAGE   1
#define EXIT_UNREAD  2
#define EXIT_DAMAGED 3

#define TEXT_MAX (ERROR_MAX + 2 * NAME_MAX)

static const char usage[] =
    "usage: znodefs-check [-lsjf] DATADIR [FILE...]\n"
    "Looks whether what a peer has on disk is whole, and prints what is in it; changes nothing.\n"
    "DATADIR is a dataDir, or a copy of one, or of its folder znodefs.\n"
    "  -l, --log       list each transaction\n"
    "  -s, --snapshot  list each znode and session (of FILE... alone, if files are named)\n"
    "  -j, --json      one JSON object a line\n"
    "  -f, --force     look although a peer runs on it: what changes meanwhile may look damaged\n"
    "Exit codes: 0 sound; 1 usage; 2 something could not be read, is in use or of a newer version; 3 damaged.\n";

static const struct option long_options[] = {
    {"log", no_argument, NULL, 'l'},
    {"snapshot", no_argument, NULL, 's'},
    {"json", no_argument, NULL, 'j'},
    {"force", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static const char *const level_names[] = {
    [CHECK_NOTE] = "note", [CHECK_WARNING] = "warning", [CHECK_DAMAGE] = "damage", [CHECK_UNREAD] = "unread"};

enum check_level check_level_of(int rv)
{
    return rv == -EBADMSG ? CHECK_DAMAGE : CHECK_UNREAD;
}

void check_tell(struct check *c, enum check_level level, const char *name, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    c->n_damaged += level == CHECK_DAMAGE;
    c->n_unread += level == CHECK_UNREAD;
    c->n_warnings += level == CHECK_WARNING;
    if (!c->out.json) {
        (void)fprintf(c->out.file, "  %s: %s\n", level_names[level], text);
        return;
    }
    out_begin(&c->out, level_names[level], name);
    out_text(&c->out, "text", text);
    out_end(&c->out);
}

/* Our files are in the folder znodefs of a dataDir; a copy may be of that folder alone. */
static int folder_of(const char *data_dir, char *ret_path, size_t cap)
{
    struct stat st;
    int n = snprintf(ret_path, cap, "%s/znodefs", data_dir);

    if (n < 0 || (size_t)n >= cap) {
        return -ENAMETOOLONG;
    }
    if (stat(ret_path, &st) == 0) {
        return 0;
    }
    (void)snprintf(ret_path, cap, "%s", data_dir);
    return stat(ret_path, &st) == 0 ? 0 : -errno;
}

static int open_folder(struct check *c, const char *data_dir, bool force)
{
    char path[PATH_MAX];
    int rv = folder_of(data_dir, path, sizeof(path));

    if (rv == 0) {
        rv = disk_posix_new_read_only(path, true, &c->disk);
    }
    if (rv == -EWOULDBLOCK && force) {
        check_tell(c, CHECK_WARNING, NULL, "a peer runs on it: what changes meanwhile may look damaged");
        rv = disk_posix_new_read_only(path, false, &c->disk);
    }
    if (rv == -EWOULDBLOCK) {
        (void)fprintf(stderr,
                      "znodefs-check: %s: a peer runs on it: stop the peer, or check a copy, or look all the same with "
                      "--force\n",
                      data_dir);
    } else if (rv != 0) {
        (void)fprintf(stderr, "znodefs-check: %s: %s\n", data_dir, strerror(-rv));
    }
    return rv;
}

static int verdict(struct check *c)
{
    int code = c->n_damaged > 0 ? EXIT_DAMAGED : c->n_unread > 0 ? EXIT_UNREAD : EXIT_SOUND;

    out_begin(&c->out, "verdict", NULL);
    out_word(&c->out, "state", code == EXIT_DAMAGED ? "damaged" : code == EXIT_UNREAD ? "unread" : "sound");
    out_number(&c->out, "damage", c->n_damaged);
    out_number(&c->out, "unread", c->n_unread);
    out_number(&c->out, "warnings", c->n_warnings);
    out_end(&c->out);
    return code;
}

static int run(struct check *c, const char *data_dir, bool force)
{
    int code = EXIT_UNREAD;

    if (open_folder(c, data_dir, force) != 0) {
        return EXIT_UNREAD;
    }
    check_files(c);
    if (c->n_files_seen == 0) {
        (void)fprintf(stderr, "znodefs-check: %s: there is nothing of znodefs in it\n", data_dir);
    } else {
        check_recovery(c);
        code = verdict(c);
    }
    state_free(c->paths);
    free(c->snapshots);
    disk_posix_free(c->disk);
    if (fflush(c->out.file) != 0 || ferror(c->out.file) != 0) {
        (void)fprintf(stderr, "znodefs-check: write: %s\n", strerror(errno));
        return EXIT_UNREAD;
    }
    return code;
}

int main(int argc, char **argv)
{
    struct check c = {.out = {.file = stdout}};
    bool force = false;
    int option;

    while ((option = getopt_long(argc, argv, "lsjfhV", long_options, NULL)) != -1) {
        switch (option) {
        case 'l':
            c.list_log = true;
            break;
        case 's':
            c.list_snapshots = true;
            break;
        case 'j':
            c.out.json = true;
            break;
        case 'f':
            force = true;
            break;
        case 'h':
            return fputs(usage, stdout) == EOF ? EXIT_USAGE : EXIT_SOUND;
        case 'V':
            return puts("znodefs-check " ZNODEFS_VERSION) == EOF ? EXIT_USAGE : EXIT_SOUND;
        default:
            (void)fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind >= argc) {
        (void)fputs(usage, stderr);
        return EXIT_USAGE;
    }
    c.files = argv + optind + 1;
    c.n_files = (size_t)(argc - optind - 1);
    return run(&c, argv[optind], force);
}
