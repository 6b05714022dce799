/*
 * Calls: what front ends have asked for and is not decided yet, and the identity they are made under (design: 2.2).
 *
 *   listed --handed over--> in the window --applied here--> decided --end of the pump--> done() called
 *      |                          |
 *      |                          +--another leader: listed again, handed over again under the same seq
 *      +--cancelled, or no quorum for timeo: decided with an error, forgotten
 *
 * The list is in the order of seq; the window is its beginning, up to call_next. seq_lowest is encoded when a call is
 * submitted. By the time it is handed over the lowest outstanding seq may have risen; a lower one than necessary only
 * keeps outcomes longer, so the call is encoded anew only when it is far behind.
 */
#include "replica_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* ---- lists ---- */

static void list_append(struct replica_calls *list, struct replica_call *call)
{
    call->next = NULL;
    call->prev = list->tail;
    if (list->tail != NULL) {
        list->tail->next = call;
    } else {
        list->head = call;
    }
    list->tail = call;
    list->n++;
}

static void list_remove(struct replica_calls *list, struct replica_call *call)
{
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else {
        list->head = call->next;
    }
    if (call->next != NULL) {
        call->next->prev = call->prev;
    } else {
        list->tail = call->prev;
    }
    call->next = NULL;
    call->prev = NULL;
    list->n--;
}

/* ---- deciding ---- */

static bool in_window(const struct replica *r, const struct replica_call *call)
{
    return r->call_next == NULL || call->seq < r->call_next->seq;
}

static void decide(struct replica *r, struct replica_call *call, const struct outcome *outcome)
{
    assert(call->outstanding);
    if (in_window(r, call)) {
        assert(r->window_calls > 0 && r->window_bytes >= call->body->len);
        r->window_calls--;
        r->window_bytes -= call->body->len;
    } else if (call == r->call_next) {
        r->call_next = call->next;
    }
    if (call->patience != REPLICA_HARD) {
        r->n_bounded--;
    }
    list_remove(&r->calls, call);
    buf_unref(call->body);
    call->body = NULL;
    call->outstanding = false;
    call->outcome = *outcome;
    list_append(&r->decided, call);
    replica_want_flush(r);
}

static void decide_error(struct replica *r, struct replica_call *call, int err)
{
    struct outcome outcome = {.err = err};

    assert(err > 0);
    decide(r, call, &outcome);
}

void calls_on_applied(struct replica *r, const struct request *request, const struct outcome *outcome)
{
    struct replica_call *call;

    if (request->session != r->session) {
        return;
    }
    /* Calls are mostly applied in the order of the list: the first one is it. Of what is not in the list, this is the
     * duplicate, or its caller no longer waits. */
    for (call = r->calls.head; call != NULL && call->seq <= request->seq; call = call->next) {
        if (call->seq == request->seq) {
            decide(r, call, outcome);
            return;
        }
    }
}

void calls_fail_all(struct replica *r, int err)
{
    while (r->calls.head != NULL) {
        decide_error(r, r->calls.head, err);
    }
}

/* Only what is decided when it begins: a `done` that submits again may be answered at once and would never end. */
void calls_fire(struct replica *r)
{
    struct replica_call *call;
    struct outcome outcome;
    uint64_t n;

    for (n = r->decided.n; n > 0; n--) {
        call = r->decided.head;
        list_remove(&r->decided, call);
        outcome = call->outcome;
        call->done(call, &outcome);
    }
}

void calls_release(struct replica *r)
{
    struct replica_call *call;

    for (call = r->calls.head; call != NULL; call = call->next) {
        buf_unref(call->body);
        call->body = NULL;
        call->outstanding = false;
    }
    memset(&r->calls, 0, sizeof(r->calls));
    memset(&r->decided, 0, sizeof(r->decided));
}

/* ---- what front ends call ---- */

static struct buf *encode_call(const struct replica *r, const struct replica_call *call, const struct op *op)
{
    struct request request = {.session = r->session, .seq = call->seq, .seq_lowest = call->seq_lowest, .op = *op};

    return request_encode(&request);
}

void replica_submit(struct replica *r, struct replica_call *call, const struct op *op)
{
    assert(call->done != NULL);
    call->seq = r->seq_next++;
    call->seq_lowest = r->calls.head != NULL ? r->calls.head->seq : call->seq;
    call->submitted_ms = r->env.now_ms(r->env.arg);
    call->handed_over = false;
    call->outstanding = true;
    call->body = encode_call(r, call, op);
    list_append(&r->calls, call);
    if (r->call_next == NULL) {
        r->call_next = call;
    }
    if (call->patience != REPLICA_HARD) {
        r->n_bounded++;
    }
#ifdef ZNODEFS_MUTANT_LOCAL_BARRIER
    if (op->kind == OP_NOP && r->ready) {
        decide(r, call, &(struct outcome){.zxid = state_zxid(r->store.state)}); /* Seeded fault. */
        return;
    }
#endif
    if (call->body->len > REPLICA_REQUEST_MAX) {
        decide_error(r, call, EFBIG);
    } else if (r->stopping) {
        decide_error(r, call, EIO);
    }
    replica_want_flush(r);
}

bool replica_cancel(struct replica *r, struct replica_call *call, int err)
{
    if (!call->outstanding) {
        return false;
    }
    decide_error(r, call, err);
    return true;
}

/* ---- time ---- */

uint64_t calls_deadline_ms(const struct replica *r)
{
    if (r->ready || r->n_bounded == 0) {
        return UINT64_MAX;
    }
    return r->quorum_lost_ms + r->config.timeo_ms;
}

void calls_expire(struct replica *r, uint64_t now_ms)
{
    struct replica_call *call;
    struct replica_call *next;

    if (now_ms < calls_deadline_ms(r)) {
        return;
    }
    for (call = r->calls.head; call != NULL; call = next) {
        next = call->next;
        switch (call->patience) {
        case REPLICA_BOUNDED:
            decide_error(r, call, call->handed_over ? ETIMEDOUT : EROFS);
            break;
        case REPLICA_BARRIER:
            decide_error(r, call, EIO);
            break;
        case REPLICA_HARD:
            break;
        }
    }
}

/* ---- handing over ---- */

/* A request of the replica itself: not deduplicated, and idempotent. */
static void propose_own(struct replica *r, const struct op *op)
{
    struct request request = {.session = 0, .op = *op};
    struct buf *body = request_encode(&request);

    replica_propose(r, body);
    buf_unref(body);
}

static void propose_ensemble(struct replica *r)
{
    struct op op = {.kind = OP_ENSEMBLE};

    op.id = r->env.random(r->env.arg);
    propose_own(r, &op);
}

static void propose_session(struct replica *r)
{
    struct op op = {.kind = OP_SESSION_OPEN, .ino = r->session, .id = r->config.zab.sid};

    propose_own(r, &op);
}

/* The ensemble has forgotten who we are. What was asked for under that name can't be told apart from its duplicates
 * any more and fails; a new name lets the mount go on. */
static void renew_identity(struct replica *r)
{
    replica_log(r, "the identity of this peer is unknown to the ensemble; calls under way fail, another is drawn");
    calls_fail_all(r, EIO);
    r->session = r->env.random(r->env.arg);
    r->session_applied = false;
    r->seq_next = 1;
}

void calls_on_ready(struct replica *r)
{
    if (r->role == ZAB_LEADING && state_ensemble(r->store.state) == 0) {
        propose_ensemble(r);
    }
    if (r->session_applied && !state_has_session(r->store.state, r->session)) {
        renew_identity(r);
    }
    if (!r->session_applied) {
        propose_session(r);
    }
    r->call_next = r->calls.head;
    r->window_calls = 0;
    r->window_bytes = 0;
}

/* Names the lowest outstanding seq of now. */
static void encode_anew(struct replica *r, struct replica_call *call)
{
    struct txn_decoded decoded;
    struct buf *body = call->body;
    int rv;

    rv = request_decode(body->bytes, body->len, &decoded);
    assert(rv == 0); /* we encoded it */
    call->seq_lowest = r->calls.head->seq;
    call->body = encode_call(r, call, &decoded.txn.request.op);
    txn_decoded_release(&decoded);
    buf_unref(body);
}

static bool window_has_room(const struct replica *r, const struct replica_call *call)
{
    if (call->seq - r->calls.head->seq >= REPLICA_WINDOW_CALLS || r->window_calls >= REPLICA_WINDOW_CALLS) {
        return false;
    }
    return r->window_calls == 0 || r->window_bytes + call->body->len <= REPLICA_WINDOW_BYTES;
}

bool calls_wanting(const struct replica *r)
{
    return !replica_halted(r) && r->call_next != NULL && r->ready && r->session_applied &&
           window_has_room(r, r->call_next);
}

bool calls_hand_over(struct replica *r)
{
    struct replica_call *call = r->call_next;

    if (!calls_wanting(r)) {
        return false;
    }
    if (r->calls.head->seq - call->seq_lowest > REPLICA_SEQ_STALE) {
        encode_anew(r, call);
    }
    r->call_next = call->next;
    r->window_calls++;
    r->window_bytes += call->body->len;
    call->handed_over = true;
    replica_propose(r, call->body);
    return true;
}
