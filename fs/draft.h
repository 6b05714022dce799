/*
 * draft: what was written through one open file and not yet published (design: 2.1, rule 1). A pure module.
 *
 * A draft stands over contents it does not hold: they are cut to `keep` bytes, the ranges are laid over them and the
 * result is at least `size_min` long, exactly as OP_WRITE will do it at commit. A draft with keep 0 is whole contents.
 */
#ifndef FS_DRAFT_H
#define FS_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draft_range {
    uint64_t offset;
    uint32_t len;
    uint32_t cap;
    uint8_t *bytes; /* owned */
};

struct draft {
    struct draft_range *ranges; /* sorted, neither overlapping nor touching */
    size_t n_ranges;
    size_t cap;
    uint64_t keep;
    uint64_t size_min;
};

/* `whole`: begun with O_TRUNC, nothing of what is there is kept. */
struct draft *draft_new(bool whole);
void draft_free(struct draft *d);

/* Lays `len` bytes over the draft. -EFBIG: the end is beyond size_max, or there are too many ranges for one publish. */
int draft_write(struct draft *d, uint64_t offset, const void *bytes, uint32_t len, uint64_t size_max);

/* ftruncate(2). -EFBIG: beyond size_max. */
int draft_truncate(struct draft *d, uint64_t size, uint64_t size_max);

/* The size of the result over contents of `base_len` bytes. */
uint64_t draft_size(const struct draft *d, uint64_t base_len);

/* Copies up to `len` bytes of the result from `offset` into `out`, returns how many: fewer only at the end. */
size_t draft_read(const struct draft *d, const uint8_t *base, uint64_t base_len, uint64_t offset, void *out,
                  size_t len);

#endif
