/*
 * input: takes apart the bytes a fuzzer gives. What is not there any more reads as zero, so that every input means
 * something.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct input {
    const uint8_t *at;
    size_t left;
};

/* What libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* At most `max` bytes, fewer at the end. */
static inline const uint8_t *input_bytes(struct input *in, size_t max, size_t *ret_len)
{
    const uint8_t *bytes = in->at;

    *ret_len = in->left < max ? in->left : max;
    in->at += *ret_len;
    in->left -= *ret_len;
    return bytes;
}

static inline uint64_t input_uint(struct input *in, unsigned size)
{
    uint64_t value = 0;
    size_t len;
    const uint8_t *p = input_bytes(in, size, &len);

    for (size_t i = 0; i < len; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

static inline uint8_t input_u8(struct input *in)
{
    return (uint8_t)input_uint(in, 1);
}

static inline uint16_t input_u16(struct input *in)
{
    return (uint16_t)input_uint(in, 2);
}

/* An exact copy on the heap, so that a read beyond its end is seen. The caller frees. */
static inline uint8_t *input_copy(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);

    if (copy == NULL) {
        abort();
    }
    for (size_t i = 0; i < len; i++) {
        copy[i] = bytes[i];
    }
    return copy;
}

/* What must hold whatever comes; stays in every build. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
