/*
 * disk: the small table of functions through which the store touches the disk, so that the simulator can lose
 * unsynced writes, tear the last one and crash between any two operations.
 *
 * A disk is one flat directory (dataDir/znodefs); names are plain file names in it. All functions return 0 or a
 * negative errno. They block; the replica calls them from one thread, one job at a time.
 */
#ifndef STORE_DISK_H
#define STORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;
struct disk_file;

enum disk_open_flags {
    DISK_CREATE = 1, /* create if absent; without it an absent file is -ENOENT */
    DISK_EXCL = 2,   /* with DISK_CREATE: -EEXIST if present */
};

/* Called by disk_ops.list once per regular file; a non-zero return stops the listing and is returned. */
typedef int (*disk_list_cb)(void *arg, const char *name);

struct disk_ops {
    int (*open)(struct disk *d, const char *name, int flags, struct disk_file **ret_file);
    /* Writes all `len` bytes or returns an error; the file grows as needed. Durable only after sync. */
    int (*pwrite)(struct disk_file *f, const void *bytes, size_t len, uint64_t offset);
    /* Reads up to `len` bytes; *ret_len < len only at the end of the file. */
    int (*pread)(struct disk_file *f, void *bytes, size_t len, uint64_t offset, size_t *ret_len);
    int (*size)(struct disk_file *f, uint64_t *ret_size);
    /* fdatasync(2): after 0, the contents and the size are durable. An error is final, it is never retried. */
    int (*sync)(struct disk_file *f);
    /* ftruncate(2): the old size or the new one after a crash, durable after sync. */
    int (*truncate)(struct disk_file *f, uint64_t size);
    void (*close)(struct disk_file *f);
    /* Create, rename and unlink are durable after sync_dir. rename replaces atomically. */
    int (*rename)(struct disk *d, const char *from, const char *to);
    int (*unlink)(struct disk *d, const char *name);
    int (*sync_dir)(struct disk *d);
    int (*list)(struct disk *d, disk_list_cb cb, void *arg);
};

/* Implementations embed this as their first member. */
struct disk {
    const struct disk_ops *ops;
    bool forgets; /* disk_null: what is written can't be read again */
};

/* The real disk: `path` is created (mode 0700) if absent, parents must exist. With `lock`, takes flock(2) on the
 * file `lock` in it: -EWOULDBLOCK when another process holds it. The caller frees with disk_posix_free(). */
int disk_posix_new(const char *path, bool lock, struct disk **ret_disk);
/* To look at only: files are opened for reading, nothing can be changed. With `lock`, holds the lock shared if there is
 * one: -EWOULDBLOCK while a peer runs on it. Freed with disk_posix_free(). */
int disk_posix_new_read_only(const char *path, bool lock, struct disk **ret_disk);
void disk_posix_free(struct disk *d);

/* 0 if files can grow by `bytes` more, as seen by writing so many, -ENOSPC or -EDQUOT if not. */
int disk_probe_room(struct disk *d, size_t bytes);
/* What a probe that was killed has left takes no room any more. */
int disk_probe_remove(struct disk *d);

/* Replaces the file `name` as a whole: writes `name.tmp`, syncs, renames, syncs the directory. */
int disk_replace(struct disk *d, const char *name, const void *bytes, size_t len);

/* Reads the whole of `name` into a malloc'ed buffer that the caller frees; -EFBIG when larger than `max`. */
int disk_read_all(struct disk *d, const char *name, size_t max, uint8_t **ret_bytes, size_t *ret_len);

#endif
