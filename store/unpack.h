/*
 * unpack: reads msgpack where it lies: no copies and no allocation, so that a size claimed by a stranger's bytes costs
 * nothing before it is checked against the bytes that are there. (msgpack-c's own unpacker allocates what an array
 * claims; we pack with msgpack-c.)
 *
 * The first thing that does not fit sets `failed`, and everything read after it is zero or empty: callers read all
 * fields and look once.
 */
#ifndef STORE_UNPACK_H
#define STORE_UNPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unpack {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

void unpack_init(struct unpack *u, const void *bytes, size_t len);

/* Numbers; a value above `max` (or below zero, for unsigned) fails. */
uint64_t unpack_uint(struct unpack *u, uint64_t max);
int64_t unpack_int(struct unpack *u);
bool unpack_bool(struct unpack *u);
void unpack_nil(struct unpack *u);

/* A bin, a str of at most `max` bytes; the result points into the bytes given to unpack_init(). */
const uint8_t *unpack_bin(struct unpack *u, size_t max, size_t *ret_len);
const char *unpack_str(struct unpack *u, size_t max, size_t *ret_len);

/* The length of an array, whose elements follow; one longer than `max` or than the bytes left fails. */
uint32_t unpack_array(struct unpack *u, uint32_t max);

/* True when nothing failed and no byte is left. */
bool unpack_done(const struct unpack *u);

#endif
