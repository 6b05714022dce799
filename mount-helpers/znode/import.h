/*
 * import: what its files share: import.c (the command, and the archive), import_entry.c (one entry on the mount),
 * import_pool.c (many at once).
 */
#ifndef ZNODE_IMPORT_H
#define ZNODE_IMPORT_H

#include "znode.h"

#include <sys/stat.h>

#define IMPORT_FILE_MAX (64u * 1024u * 1024u) /* no jute.maxbuffer is larger */

struct entry_xattr {
    struct entry_xattr *next;
    char *name;
    uint8_t *value;
    size_t len;
};

/* One of the archive. The root's path is "". */
struct entry {
    struct entry *next;
    char *path; /* below the directory, without "." and ".." */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec times[2]; /* of access and of modification; UTIME_OMIT when the archive does not tell */
    uint8_t *data;            /* of a file */
    size_t len;
    char *target; /* of a symlink */
    struct entry_xattr *xattrs;
};

void entry_free(struct entry *e);

/* Where it goes. */
struct target {
    int fd;
    bool own; /* owners are set, too */
};

/* The directory that was last put something into, for the next one. */
struct place {
    char *path; /* NULL: none */
    int fd;
};

void place_release(struct place *p);

/* Makes the entry, directories above it included; of a directory, what does not change any more when others are put
 * into it. Nothing outside of the target is touched, whatever symlinks there are. 0 or a negative errno with *ret_what
 * set to what failed. */
int entry_make(const struct target *t, struct place *p, const struct entry *e, const char **ret_what);

/* The rest of a directory: owner, mode and times. */
int entry_finish_directory(const struct target *t, const struct entry *e, const char **ret_what);

/* ---- import_pool.c: as many at once as make a mount busy ---- */

struct pool;

struct pool_result {
    uint64_t made; /* by the pool */
    uint64_t bytes;
    uint64_t failed;
    int code;     /* of the first that failed */
    bool stopped; /* one failed so that all others would */
};

struct pool *pool_new(const struct target *t, bool verbose);
/* Gives the entry away to be made. Entries of the same path are made in order. False: it is no use to go on. */
bool pool_add(struct pool *p, struct entry *e);
/* Waits until all are made. */
void pool_wait(struct pool *p);
/* Counts one that failed before it came so far; complains. */
void pool_fail(struct pool *p, const char *path, const char *what, int rv);
struct pool_result pool_result(struct pool *p);
void pool_free(struct pool *p);

#endif
