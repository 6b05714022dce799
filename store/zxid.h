/* zxid: a transaction's place in the total order: the epoch in the high 32 bits, a counter from 1 in the low ones. */
#ifndef STORE_ZXID_H
#define STORE_ZXID_H

#include <stdint.h>

#define ZXID_COUNTER_MAX 0xffffffffu

static inline uint64_t zxid_make(uint32_t epoch, uint32_t counter)
{
    return ((uint64_t)epoch << 32) | counter;
}

static inline uint32_t zxid_epoch(uint64_t zxid)
{
    return (uint32_t)(zxid >> 32);
}

static inline uint32_t zxid_counter(uint64_t zxid)
{
    return (uint32_t)zxid;
}

#endif
