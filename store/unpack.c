#include "unpack.h"

void unpack_init(struct unpack *u, const void *bytes, size_t len)
{
    static const uint8_t nothing[1];

    u->at = len == 0 ? nothing : bytes;
    u->end = u->at + len;
    u->failed = false;
}

/* The next `n` bytes as a big-endian number. */
static uint64_t take(struct unpack *u, size_t n)
{
    uint64_t value = 0;

    if (u->failed || (size_t)(u->end - u->at) < n) {
        u->failed = true;
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        value = value << 8 | u->at[i];
    }
    u->at += n;
    return value;
}

/* Reads any integer: *ret_negative says that the result is a two's complement. */
static uint64_t take_integer(struct unpack *u, bool *ret_negative)
{
    uint8_t tag = (uint8_t)take(u, 1);
    uint64_t value;

    *ret_negative = false;
    if (tag <= 0x7f) {
        return tag;
    }
    if (tag >= 0xe0) {
        *ret_negative = true;
        return (uint64_t)(int64_t)(int8_t)tag;
    }
    switch (tag) {
    case 0xcc:
        return take(u, 1);
    case 0xcd:
        return take(u, 2);
    case 0xce:
        return take(u, 4);
    case 0xcf:
        return take(u, 8);
    case 0xd0:
        value = (uint64_t)(int64_t)(int8_t)take(u, 1);
        break;
    case 0xd1:
        value = (uint64_t)(int64_t)(int16_t)take(u, 2);
        break;
    case 0xd2:
        value = (uint64_t)(int64_t)(int32_t)take(u, 4);
        break;
    case 0xd3:
        value = take(u, 8);
        break;
    default:
        u->failed = true;
        return 0;
    }
    *ret_negative = (int64_t)value < 0;
    return value;
}

uint64_t unpack_uint(struct unpack *u, uint64_t max)
{
    bool negative;
    uint64_t value = take_integer(u, &negative);

    if (negative || value > max) {
        u->failed = true;
    }
    return u->failed ? 0 : value;
}

int64_t unpack_int(struct unpack *u)
{
    bool negative;
    uint64_t value = take_integer(u, &negative);

    if (!negative && value > INT64_MAX) {
        u->failed = true;
    }
    return u->failed ? 0 : (int64_t)value;
}

bool unpack_bool(struct unpack *u)
{
    uint8_t tag = (uint8_t)take(u, 1);

    if (tag != 0xc2 && tag != 0xc3) {
        u->failed = true;
    }
    return !u->failed && tag == 0xc3;
}

void unpack_nil(struct unpack *u)
{
    if (take(u, 1) != 0xc0) {
        u->failed = true;
    }
}

/* The next `len` bytes, if they may be that many and are there. */
static const uint8_t *take_bytes(struct unpack *u, uint64_t len, size_t max, size_t *ret_len)
{
    const uint8_t *bytes = u->at;

    if (len > max || len > (uint64_t)(u->end - u->at)) {
        u->failed = true;
    }
    if (u->failed) {
        *ret_len = 0;
        return u->end;
    }
    u->at += len;
    *ret_len = (size_t)len;
    return bytes;
}

const uint8_t *unpack_bin(struct unpack *u, size_t max, size_t *ret_len)
{
    uint8_t tag = (uint8_t)take(u, 1);
    uint64_t len = 0;

    if (tag >= 0xc4 && tag <= 0xc6) {
        len = take(u, (size_t)1 << (tag - 0xc4));
    } else {
        u->failed = true;
    }
    return take_bytes(u, len, max, ret_len);
}

const char *unpack_str(struct unpack *u, size_t max, size_t *ret_len)
{
    uint8_t tag = (uint8_t)take(u, 1);
    uint64_t len = tag & 0x1f;

    if (tag >= 0xd9 && tag <= 0xdb) {
        len = take(u, (size_t)1 << (tag - 0xd9));
    } else if (tag < 0xa0 || tag > 0xbf) {
        u->failed = true;
    }
    return (const char *)take_bytes(u, len, max, ret_len);
}

uint32_t unpack_array(struct unpack *u, uint32_t max)
{
    uint8_t tag = (uint8_t)take(u, 1);
    uint32_t n = 0;

    if (tag >= 0x90 && tag <= 0x9f) {
        n = tag & 0x0f;
    } else if (tag == 0xdc || tag == 0xdd) {
        n = (uint32_t)take(u, tag == 0xdc ? 2 : 4);
    } else {
        u->failed = true;
    }
    /* Every element takes a byte at least. */
    if (n > max || n > (size_t)(u->end - u->at)) {
        u->failed = true;
    }
    return u->failed ? 0 : n;
}

bool unpack_done(const struct unpack *u)
{
    return !u->failed && u->at == u->end;
}
