/*
 * Transactions, as peers send them and logs hold them: [u16 length, encoded transaction] ..., applied one after the
 * other to one state. It must never stop, its digest must be the one from scratch, and a snapshot must give the same
 * state.
 */
#include "input.h"

#include "state_check.h"

#define TXN_MAX   2048
#define ZXID_STEP 7

static void open_session(struct state *s, uint64_t id)
{
    struct txn txn = {.time_ns = 1, .data_max = 4096, .request.op = {.kind = OP_SESSION_OPEN, .ino = id, .id = id}};
    struct outcome outcome;

    state_apply(s, id, &txn, &outcome);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input in = {.at = bytes, .left = len};
    struct state *s = state_new();
    uint64_t zxid = 8;
    unsigned n = 0;

    for (uint64_t id = 1; id < 4; id++) {
        open_session(s, id);
    }
    for (; in.left > 0 && n < TXN_MAX; n++, zxid += ZXID_STEP) {
        struct txn_decoded d;
        struct outcome outcome;
        size_t txn_len = input_u16(&in);
        const uint8_t *txn = input_bytes(&in, txn_len, &txn_len);
        uint8_t *copy = input_copy(txn, txn_len);

        if (txn_decode(copy, txn_len, &d) == 0 || request_decode(copy, txn_len, &d) == 0) {
            state_apply(s, zxid, &d.txn, &outcome);
            REQUIRE(outcome.err >= 0 && outcome.zxid <= zxid);
            txn_decoded_release(&d);
        }
        free(copy);
    }
    state_check(s);
    state_free(s);
    return 0;
}
