/*
 * check: what the sources of znodefs-check share.
 *
 *   check_main.c      the command line, the verdict
 *   check_files.c     epochs, snapshots and log segments, each by itself
 *   check_recover.c   the recovery that the next start would do, in memory
 *   check_list.c      -l and -s: transactions and znodes, one a line
 *   check_view.c      a disk that is read, and only notes what it is asked to change
 *   check_out.c       lines for people, or objects for machines
 */
#ifndef STORE_CHECK_CHECK_H
#define STORE_CHECK_CHECK_H

#include "store/store.h"
#include "store/txnlog_int.h"

#include <stdio.h>

/* ---- check_out.c: one item a line: a kind and a name, then fields in order ---- */

struct out {
    FILE *file;
    bool json;
};

void out_begin(struct out *o, const char *kind, const char *name);
void out_word(struct out *o, const char *key, const char *value);
/* Any bytes; those that no line can hold are written as \ooo. */
void out_bytes(struct out *o, const char *key, const char *bytes, size_t len);
/* A sentence: blanks stay as they are. */
void out_text(struct out *o, const char *key, const char *text);
void out_number(struct out *o, const char *key, uint64_t value);
void out_hex(struct out *o, const char *key, uint64_t value);  /* zxids, ids and digests */
void out_mode(struct out *o, const char *key, uint32_t value); /* octal */
void out_time(struct out *o, const char *key, int64_t ns);     /* RFC 3339, UTC */
void out_end(struct out *o);

/* ---- check_view.c ---- */

/* Called with what the disk was asked to do and did not, as a sentence without a subject ("cut log.1 at offset 4096").
 */
typedef void (*check_view_cb)(void *arg, const char *what);

/* `base` is borrowed. Freed with check_view_free(). */
struct disk *check_view_new(struct disk *base, check_view_cb cb, void *arg);
void check_view_free(struct disk *view);

/* ---- the check ---- */

struct check {
    struct out out;
    struct disk *disk; /* read only */
    bool list_log;
    bool list_snapshots;
    char *const *files; /* whose contents are listed; none: of all */
    size_t n_files;

    uint64_t n_damaged;  /* places */
    uint64_t n_unread;   /* that could not be judged: not readable, or of a newer version */
    uint64_t n_warnings; /* nothing is wrong, but look */

    uint64_t *snapshots; /* zxids of the whole ones, newest first; owned */
    size_t n_snapshots;
    uint64_t n_files_seen;
    struct state *paths; /* the state before the next transaction that is listed, NULL: unknown; owned */
};

enum check_level {
    CHECK_NOTE,
    CHECK_WARNING,
    CHECK_DAMAGE,
    CHECK_UNREAD,
};

/* A line below the item it belongs to, and counted. */
void check_tell(struct check *c, enum check_level level, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* CHECK_DAMAGE for -EBADMSG, else CHECK_UNREAD. */
enum check_level check_level_of(int rv);
/* Are the contents of this file to be listed? */
bool check_lists(const struct check *c, bool listed, const char *name);

void check_files(struct check *c);
void check_recovery(struct check *c);

/* The transactions of a segment, as far as it is good. */
void check_list_segment(struct check *c, struct scanner *s, bool is_last);
void check_list_state(struct check *c, const struct state *s);

#endif
