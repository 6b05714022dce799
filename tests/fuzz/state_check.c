#include "state_check.h"

#include "input.h"

#include <string.h>

struct sink {
    uint8_t *bytes;
    size_t len;
};

static int sink_cb(void *arg, const uint8_t *bytes, size_t len)
{
    struct sink *s = arg;

    s->bytes = realloc(s->bytes, s->len + len);
    REQUIRE(s->bytes != NULL);
    memcpy(s->bytes + s->len, bytes, len);
    s->len += len;
    return 0;
}

uint8_t *state_snapshot(const struct state *s, size_t *ret_len)
{
    struct sink sink = {0};

    REQUIRE(snapshot_write(s, sink_cb, &sink) == 0);
    *ret_len = sink.len;
    return sink.bytes;
}

struct state *state_read(const uint8_t *bytes, size_t len, size_t piece)
{
    struct snapshot_reader *r = snapshot_reader_new();
    struct error err = {.text = ""};
    struct state *s = NULL;
    size_t n;
    int rv = 0;

    for (size_t at = 0; at < len && rv == 0; at += n) {
        uint8_t *copy;

        n = len - at < piece ? len - at : piece;
        copy = input_copy(bytes + at, n);
        rv = snapshot_reader_feed(r, copy, n, &err);
        free(copy);
    }
    if (rv == 0) {
        rv = snapshot_reader_finish(r, &s, &err);
    }
    REQUIRE((rv == 0) == (s != NULL));
    REQUIRE(rv == 0 || err.text[0] != '\0');
    snapshot_reader_free(r);
    return s;
}

void state_check(const struct state *s)
{
    struct state *again;
    uint8_t *bytes;
    size_t len;

    REQUIRE(state_digest(s) == state_digest_slow(s));
    bytes = state_snapshot(s, &len);
    again = state_read(bytes, len, SIZE_MAX);
    REQUIRE(again != NULL);
    REQUIRE(state_zxid(s) == state_zxid(again) && state_digest(s) == state_digest(again));
    REQUIRE(tree_count(state_tree(s)) == tree_count(state_tree(again)));
    REQUIRE(tree_data_bytes(state_tree(s)) == tree_data_bytes(state_tree(again)));
    free(bytes);
    state_free(again);
}
