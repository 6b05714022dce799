/*
 * disk_null: the disk of a peer that keeps nothing: every write and sync succeeds, and there is never a file to be
 * found. For observers without a dataDir, which begin with what their leader gives them.
 */
#ifndef STORE_DISK_NULL_H
#define STORE_DISK_NULL_H

#include "disk.h"

/* Never NULL. The caller frees with disk_null_free(). */
struct disk *disk_null_new(void);
void disk_null_free(struct disk *d);

#endif
