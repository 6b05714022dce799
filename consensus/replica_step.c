/*
 * The pump: gives zab one input after the other and carries its outputs out, until there is nothing left to do.
 *
 *   queued inputs -> what a new readiness asks for -> calls -> the digest of what was applied -> (again) -> time-outs,
 *   snapshot, done() of decided calls, listeners, fatal, timer
 */
#include "replica_int.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- the queue of inputs ---- */

void replica_input(struct replica *r, const struct zab_input *in)
{
    struct replica_inputs *q = &r->inputs;

    if (q->head + q->n == q->cap) {
        q->cap = q->cap == 0 ? 16 : q->cap * 2;
        q->items = replica_realloc(q->items, q->cap, sizeof(*q->items));
    }
    assert(in->packet == NULL);
    q->items[q->head + q->n] = *in;
    if (in->body != NULL) {
        (void)buf_ref(in->body);
    }
    q->n++;
}

static bool inputs_pop(struct replica_inputs *q, struct zab_input *ret_in)
{
    if (q->n == 0) {
        return false;
    }
    *ret_in = q->items[q->head];
    q->head++;
    q->n--;
    if (q->n == 0) {
        q->head = 0;
    }
    return true;
}

void replica_inputs_release(struct replica_inputs *q)
{
    struct zab_input in;

    while (inputs_pop(q, &in)) {
        buf_unref(in.body);
    }
    free(q->items);
    memset(q, 0, sizeof(*q));
}

/* ---- outputs ---- */

static void note_time(struct replica *r, int64_t time_ns)
{
    if (time_ns > r->time_ns) {
        r->time_ns = time_ns;
    }
}

static void on_applied_request(struct replica *r, const struct request *request, const struct outcome *outcome)
{
    if (request->op.kind == OP_SESSION_OPEN) {
        bool known = state_has_session(r->store.state, r->session);

        /* A new identity takes the place of the one that was not used for longest: if that is ours, we need another. */
        r->ready_fresh = r->ready_fresh || (r->ready && r->session_applied && !known);
        r->session_applied = r->session_applied || known;
    }
    calls_on_applied(r, request, outcome);
}

static void carry_commit(struct replica *r, const struct zab_entry *entry)
{
    struct txn_decoded decoded;
    struct outcome outcome;
    int rv;

    assert(!r->snap.installing);
    if (entry->zxid <= state_zxid(r->store.state)) {
        return; /* applied before the disk was full; the log got it now (replica_away.c) */
    }
    rv = txn_decode(entry->body->bytes, entry->body->len, &decoded);
    if (rv != 0) {
        replica_fail(r,
                     "the committed transaction 0x%llx can't be read: it is damaged, or of a newer version. Run the "
                     "same version of znodefs on all servers, and start this one again",
                     (unsigned long long)entry->zxid);
        return;
    }
    memset(&outcome, 0, sizeof(outcome));
    state_apply(r->store.state, entry->zxid, &decoded.txn, &outcome);
    r->txns_applied++;
    r->snap.txns++;
    note_time(r, decoded.txn.time_ns);
    digests_add(&r->digests, entry->zxid, state_digest(r->store.state));
    on_applied_request(r, &decoded.txn.request, &outcome);
    txn_decoded_release(&decoded);
}

static void carry_role(struct replica *r, const struct zab_output *o)
{
    bool was_ready = r->ready;

    if (r->role == ZAB_LOOKING && o->role != ZAB_LOOKING) {
        r->elections++;
    }
    if (o->role != r->role || o->leader != r->leader || o->ready != was_ready) {
        replica_log(r, "%s, leader %llu, %s", zab_role_name(o->role), (unsigned long long)o->leader,
                    o->ready ? "quorum" : "no quorum");
    }
    if (o->role == ZAB_LEADING && r->role != ZAB_LEADING) {
        digest_lead(r);
    }
    r->role = o->role;
    r->leader = o->leader;
    r->ready = o->ready;
    r->ready_fresh = o->ready;
    if (o->ready) {
        r->ready_seen = true;
        r->explain_ms = 0;
    } else if (was_ready) {
        r->quorum_lost_ms = r->env.now_ms(r->env.arg);
        r->explain_ms = r->quorum_lost_ms + REPLICA_EXPLAIN_MS;
    }
}

/* Requests of session 0 are those that a replica makes for itself. */
static bool request_allowed(const struct request *request)
{
    return request->session != 0 || request->op.kind == OP_SESSION_OPEN;
}

static void carry_request(struct replica *r, const struct zab_output *o)
{
    struct buf *body = o->packet.body;
    struct zab_input in = {.type = ZAB_IN_SUBMIT, .body = body};
    struct txn_decoded decoded;
    bool allowed;

    if (body == NULL || body->len > REPLICA_REQUEST_MAX || request_decode(body->bytes, body->len, &decoded) != 0) {
        r->env.disconnect(r->env.arg, o->peer, "malformed request");
        return;
    }
    allowed = request_allowed(&decoded.txn.request);
    txn_decoded_release(&decoded);
    if (!allowed) {
        r->env.disconnect(r->env.arg, o->peer, "request without an identity");
        return;
    }
    replica_input(r, &in);
}

static void carry(struct replica *r, const struct zab_output *o)
{
    switch (o->type) {
    case ZAB_OUT_SEND:
        r->env.send(r->env.arg, o->peer, &o->packet);
        return;
    case ZAB_OUT_APPEND:
        disk_queue_append(r, &o->entry);
        return;
    case ZAB_OUT_TRUNCATE:
        disk_queue_truncate(r, o->zxid);
        return;
    case ZAB_OUT_EPOCHS:
        disk_queue_epochs(r, o);
        return;
    case ZAB_OUT_COMMIT:
        carry_commit(r, &o->entry);
        return;
    case ZAB_OUT_SNAP_SEND:
        stream_begin(r, o);
        return;
    case ZAB_OUT_SNAP_TAKEN:
        stream_taken(r, o->peer, o->bytes);
        return;
    case ZAB_OUT_SNAP_STOP:
        stream_stop(r, o->peer);
        return;
    case ZAB_OUT_LOG_READ:
        disk_queue_read(r, o);
        return;
    case ZAB_OUT_SNAP_CHUNK:
        snap_chunk(r, o);
        return;
    case ZAB_OUT_SNAP_INSTALL:
        snap_install(r, o->zxid);
        return;
    case ZAB_OUT_SNAP_DROP:
        snap_drop(r);
        return;
    case ZAB_OUT_ROLE:
        carry_role(r, o);
        return;
    case ZAB_OUT_REQUEST:
        carry_request(r, o);
        return;
    case ZAB_OUT_CHECK_DIGEST:
        digest_check(r, o->zxid, o->digest);
        return;
    case ZAB_OUT_PEER_DIGEST:
        digest_of_peer(r, o->peer, o->zxid, o->digest);
        return;
    case ZAB_OUT_DISCONNECT:
        r->env.disconnect(r->env.arg, o->peer, o->reason);
        return;
    case ZAB_OUT_FATAL:
        replica_fail(r, "%s", o->reason);
        return;
    }
}

static void step(struct replica *r, const struct zab_input *in)
{
    struct zab_input timed = *in;
    size_t i;

    if (r->away.away) {
        return;
    }
    timed.now_ms = r->env.now_ms(r->env.arg);
    zab_step(r->zab, &timed, &r->out);
    for (i = 0; i < r->out.n && !r->failed; i++) {
        carry(r, &r->out.items[i]);
    }
    if (in->type == ZAB_IN_LEAVE) {
        away_begin(r);
    }
}

/* ---- requests ---- */

/* What the leader decides goes with the request: the time, which never goes back, and the bounds (design: 2.2). */
static struct buf *stamp(struct replica *r, const struct buf *request)
{
    int64_t time_ns = r->env.wall_ns(r->env.arg);

#ifdef ZNODEFS_MUTANT_CLOCK_GOES_BACK
    r->time_ns = 0; /* Seeded fault. */
#endif
    if (time_ns <= r->time_ns) {
        time_ns = r->time_ns == INT64_MAX ? INT64_MAX : r->time_ns + 1;
    }
    r->time_ns = time_ns;
    return txn_encode(time_ns, r->config.data_max, request->bytes, request->len);
}

void replica_propose(struct replica *r, struct buf *request)
{
    struct zab_input in = {.type = ZAB_IN_SUBMIT};

    assert(r->pumping);
    if (!r->ready) {
        return; /* whoever asked asks the next leader */
    }
    in.body = r->role == ZAB_LEADING ? stamp(r, request) : buf_ref(request);
    step(r, &in);
    buf_unref(in.body);
}

/* ---- the pump ---- */

static void step_queued(struct replica *r, struct zab_input *in)
{
    if (in->type != ZAB_IN_SUBMIT) {
        step(r, in);
    } else if (r->role == ZAB_LEADING) {
        /* Forwarded to this peer as the leader. If it no longer leads, the learner asks the next one. */
        replica_propose(r, in->body);
    }
    buf_unref(in->body);
}

static bool tell_digest(struct replica *r)
{
    struct zab_input in = {.type = ZAB_IN_APPLIED};

    in.zxid = digest_zxid_to_tell(r);
    if (in.zxid == r->applied_told || !digests_find(&r->digests, in.zxid, &in.digest)) {
        return false;
    }
    r->applied_told = in.zxid;
    step(r, &in);
    return true;
}

/* False when nothing is left to do. */
static bool pump_once(struct replica *r)
{
    struct zab_input in;

    if (inputs_pop(&r->inputs, &in)) {
        step_queued(r, &in);
        return true;
    }
    if (r->ready_fresh) {
        r->ready_fresh = false;
        calls_on_ready(r);
        return true;
    }
    if (calls_hand_over(r)) {
        return true;
    }
    return tell_digest(r);
}

static void set_timer(struct replica *r)
{
    uint64_t deadline_ms = r->away.away ? r->away.retry_ms : r->out.deadline_ms;

    if (calls_deadline_ms(r) < deadline_ms) {
        deadline_ms = calls_deadline_ms(r);
    }
    if (status_deadline_ms(r) < deadline_ms) {
        deadline_ms = status_deadline_ms(r);
    }
    if (replica_halted(r)) {
        deadline_ms = UINT64_MAX;
    }
    if (deadline_ms != r->timer_ms) {
        r->timer_ms = deadline_ms;
        r->env.timer(r->env.arg, deadline_ms);
    }
}

/* What others are told, when nothing of the replica is half done. They may submit, cancel and stop. */
static void tell(struct replica *r)
{
    status_tell(r);
    if (!r->failed || r->stopping) {
        calls_fire(r);
    }
    if (r->failed && !r->failed_told) {
        r->failed_told = true;
        r->env.fatal(r->env.arg, r->failed_text);
    }
}

void replica_pump(struct replica *r, const struct zab_input *first)
{
    assert(!r->pumping);
    r->pumping = true;
    if (first != NULL && !replica_halted(r)) {
        step(r, first);
    }
    while (!replica_halted(r) && pump_once(r)) {
    }
    if (r->started && !replica_halted(r)) {
        calls_expire(r, r->env.now_ms(r->env.arg));
        status_explain(r, r->env.now_ms(r->env.arg));
        snap_consider(r);
        streams_run(r);
        away_consider(r);
    }
    tell(r);
    set_timer(r);
    r->pumping = false;
    replica_want_flush(r);
}
