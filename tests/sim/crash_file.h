/*
 * crash_file: the contents of one file of the crash disk: what programs see, what is durable, and the writes in
 * between. Only crash_disk.c uses this.
 */
#ifndef TESTS_SIM_CRASH_FILE_H
#define TESTS_SIM_CRASH_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_image {
    uint8_t *bytes;
    uint64_t size;
    uint64_t cap;
};

/* A write or a truncation that no sync has covered yet. */
struct crash_pending {
    struct crash_pending *next;
    bool is_truncate;
    uint64_t offset; /* of a truncation: the new size */
    size_t len;
    uint8_t bytes[];
};

/* A file, alive while a directory entry, a pending directory operation or a handle counts on it. */
struct crash_inode {
    struct crash_inode *next;
    struct crash_inode **prev_link;
    unsigned refs;
    struct crash_image seen;
    struct crash_image durable;
    struct crash_pending *head;
    struct crash_pending **tail;
};

/* Zeroed memory, or abort. */
void *crash_alloc(size_t size);

/* The seeded generator. */
uint64_t crash_random(uint64_t *random);
bool crash_chance(uint64_t *random, unsigned percent);

/* An empty file in `list`, without references: the first one is to be taken with crash_inode_ref(). */
struct crash_inode *crash_inode_new(struct crash_inode **list);
struct crash_inode *crash_inode_ref(struct crash_inode *in);
void crash_inode_unref(struct crash_inode *in);

void crash_inode_write(struct crash_inode *in, uint64_t offset, const void *bytes, size_t len);
void crash_inode_truncate(struct crash_inode *in, uint64_t size);

/* All that is pending becomes durable; or some of it, as the generator decides, and the rest is lost. */
void crash_inode_keep_all(struct crash_inode *in);
void crash_inode_keep_some(struct crash_inode *in, uint64_t *random, unsigned torn_percent, unsigned kept_percent);

/* The same for a sync that fails: sizes are kept by the file system's journal, contents are not. */
void crash_inode_fail_sync(struct crash_inode *in, uint64_t *random, unsigned torn_percent);

/* From now on programs see what is durable. */
void crash_inode_forget(struct crash_inode *in);

#endif
