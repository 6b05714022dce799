/*
 * znode: the command line tool. One file for each group of commands; main.c has the table of them.
 *
 * A command finds the mount from the path it is given, and works by system calls on it.
 */
#ifndef ZNODE_H
#define ZNODE_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum znode_exit {
    ZNODE_OK = 0,
    ZNODE_USAGE = 1, /* and whatever has no number of its own */
    ZNODE_NO_QUORUM = 6,
    ZNODE_VERSION = 7,
    ZNODE_ABSENT = 8,
    ZNODE_EXISTS = 9,
    ZNODE_REFUSED = 10,
};

struct command {
    const char *name;
    const char *arguments; /* as in a synopsis */
    const char *summary;   /* a few words for the list of commands */
    const char *help;      /* options, examples and what else there is to know */
    int (*run)(const struct command *c, int argc, char **argv);
};

/* backup.c, inspect.c */
extern const struct command command_export;
extern const struct command command_import;
extern const struct command command_stat;
extern const struct command command_status;

/* "znode: " and a line, on stderr. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As complain(), with a hint at --help; returns ZNODE_USAGE. */
int complain_usage(const struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The exit code for a negative errno of a call on a mount. */
int exit_of(int rv);

/* What strerror() says, in this tool's words where it means something particular on a mount. */
const char *reason(int rv);

/* getopt_long(), which answers --help and complains by itself: then *ret_exit is to be returned and this is '?'. */
int next_option(const struct command *c, int argc, char **argv, const char *letters, const struct option *longs,
                int *ret_exit);

void print_help(const struct command *c);

/* Opens a directory on a mount. Complains; *ret_exit is the exit code then, and -1 is returned. */
int open_directory(const char *path, int *ret_exit);

/* Opens a file of the `.znodefs` of the directory `dir_fd`: the descriptor or a negative errno. -ENOTTY: it is on no
 * mount of znodefs. */
int open_dot(int dir_fd, const char *name);

/* Complains that the path is on no mount of znodefs; returns the exit code. */
int complain_elsewhere(const char *path);

/* RFC 3339, UTC, with nanoseconds. */
#define TIME_TEXT_MAX 48
const char *time_text(struct timespec t, char text[TIME_TEXT_MAX]);

/* ---- json.c: one flat object on one line ---- */

/* How many bytes the UTF-8 character at `text` has; 0 when it is none. */
size_t utf8_len(const char *text);

struct json {
    FILE *out;
    bool begun;
};

/* Bytes that are no UTF-8 become lone surrogates, as Python's surrogateescape has them: nothing is lost. */
void json_string(struct json *j, const char *key, const char *value);
void json_number(struct json *j, const char *key, uint64_t value);
void json_end(struct json *j);

#endif
