/*
 * crash_disk: a disk in memory that forgets what was not synced, as a machine does that loses its power.
 *
 * Each file has what programs see and what is durable; writes and truncations between the two are pending. When the
 * disk crashes, each pending write survives, is lost, or survives in pieces of 512 bytes, as a seeded generator
 * decides; creations, renames and unlinks survive, each by itself, or not, unless sync_dir came after them. A
 * seed and the same calls always give the same disk.
 *
 *   running --(crash_disk_crash | the operation of crash_disk_crash_after)--> dead --(crash_disk_restart)--> running
 *
 * Dead, every function of the table returns -EIO (as if the process were gone) but close, which works always; files
 * opened before a crash answer -EIO for ever.
 */
#ifndef TESTS_SIM_CRASH_DISK_H
#define TESTS_SIM_CRASH_DISK_H

#include "store/disk.h"

#define CRASH_DISK_SECTOR    512
#define CRASH_DISK_NEVER     UINT64_MAX
#define CRASH_DISK_UNLIMITED UINT64_MAX

/* An empty disk; the caller frees it, after closing its files, with crash_disk_free(). */
struct disk *crash_disk_new(uint64_t seed);
void crash_disk_free(struct disk *d);

/* The next `n_ops` operations work, the one after them crashes the disk while it is under way: it may leave a
 * trace, and returns -EIO. Operations are those that change something: open with DISK_CREATE, pwrite, sync, truncate,
 * rename, unlink, sync_dir. CRASH_DISK_NEVER takes it back. */
void crash_disk_crash_after(struct disk *d, uint64_t n_ops);

/* Crashes now. Harmless when dead already. */
void crash_disk_crash(struct disk *d);
bool crash_disk_is_dead(const struct disk *d);

/* Crashes, if not dead yet, decides what survived, and works again. What survived is durable. */
void crash_disk_restart(struct disk *d);

/* Operations (as above) so far. */
uint64_t crash_disk_ops(const struct disk *d);

/* How many pending writes in a hundred are torn in sectors by a crash; the others survive or are lost whole.
 * Default 50. */
void crash_disk_set_torn(struct disk *d, unsigned percent);

/* A crash keeps what was pending with this chance, in percent; CRASH_DISK_RANDOM, the default: drawn for each crash. */
#define CRASH_DISK_RANDOM 101
void crash_disk_set_kept(struct disk *d, unsigned percent);

/* The sync or sync_dir after the next `n_syncs` ones fails once with -EIO. As on Linux, what was pending then is partly
 * lost although it can still be read, and the syncs after it succeed again. CRASH_DISK_NEVER takes it back. */
void crash_disk_fail_sync_after(struct disk *d, uint64_t n_syncs);

/* The operation after the next `n_ops` ones, whatever it is, does nothing and fails once with -EIO; a sync that fails
 * so is as above. CRASH_DISK_NEVER takes it back. */
void crash_disk_fail_op_after(struct disk *d, uint64_t n_ops);

/* Files may grow by this many bytes more, then pwrite writes what fits and returns -ENOSPC. What truncate and unlink
 * free is added. CRASH_DISK_UNLIMITED is the default. */
void crash_disk_set_free(struct disk *d, uint64_t bytes);

/* Rots the byte at `offset`: xors it with `mask`, in what is seen and what is durable. -ENOENT, or -EINVAL beyond the
 * end. */
int crash_disk_flip(struct disk *d, const char *name, uint64_t offset, uint8_t mask);

#endif
