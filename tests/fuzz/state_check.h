/* state_check: what holds of every state, however it came about. */
#ifndef TESTS_FUZZ_STATE_CHECK_H
#define TESTS_FUZZ_STATE_CHECK_H

#include "store/snapshot.h"
#include "store/state.h"

/* Aborts unless the digest is the one from scratch, and a snapshot brings back an equal state. */
void state_check(const struct state *s);

/* A snapshot of `s` in memory; the caller frees. */
uint8_t *state_snapshot(const struct state *s, size_t *ret_len);

/* Reads `len` bytes in pieces of at most `piece`. NULL: it was refused. */
struct state *state_read(const uint8_t *bytes, size_t len, size_t piece);

#endif
