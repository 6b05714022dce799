/*
 * The invariants. The linker puts the functions called __wrap_X here between the replica and X of the store (see
 * sim.ldflags), so that every transaction that any peer applies, at recovery too, and every sync of every log is seen:
 *
 *   one total order       the first peer to apply a zxid defines the sequence; each peer's own is a gapless piece of it
 *   equal outcomes        transaction, outcome and digest are the same wherever a zxid is applied
 *   commit by a quorum    when a zxid is applied first, a quorum's logs are synced up to it
 *   exactly once          what is applied a second time under one identity has the first outcome and changes nothing
 *   reads move forward    within an incarnation, and readable ones never behind what the last one showed
 *   one leader            at most one established leader in an epoch
 */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#define XXH_STATIC_LINKING_ONLY /* XXH3_state_t on the stack */
#include <xxhash.h>

/* How many applied transactions there are for one digest computed from scratch. */
#define SLOW_DIGEST_EVERY 97

/* The first execution of a request, by its identity. */
struct identity {
    uint64_t key[2]; /* session, seq */
    size_t record;
    UT_hash_handle hh;
};

/* The identity under which an operation was executed: clients put something unique into each. */
struct executed {
    uint64_t op_hash;
    uint64_t session;
    uint64_t seq;
    UT_hash_handle hh;
};

struct reign {
    uint32_t epoch;
    uint64_t leader;
    UT_hash_handle hh;
};

struct sim_check {
    struct sim_record *records; /* by zxid */
    size_t n;
    size_t cap;
    struct identity *identities;
    struct executed *executed;
    struct reign *reigns;
    uint64_t applied;
};

struct sim *the_sim;

/* ---- the sequence ---- */

void sim_check_init(struct sim *s)
{
    s->check = sim_alloc(sizeof(*s->check));
    the_sim = s;
}

/* The analyzer does not see that uthash forgets what it is told to. */
void sim_check_release(struct sim *s)
{
    struct identity *i;
    struct executed *x;
    struct reign *r;

    while ((i = s->check->identities) != NULL) {
        HASH_DEL(s->check->identities, i); /* NOLINT(clang-analyzer-unix.Malloc) */
        free(i);
    }
    while ((x = s->check->executed) != NULL) {
        HASH_DEL(s->check->executed, x); /* NOLINT(clang-analyzer-unix.Malloc) */
        free(x);
    }
    while ((r = s->check->reigns) != NULL) {
        HASH_DEL(s->check->reigns, r); /* NOLINT(clang-analyzer-unix.Malloc) */
        free(r);
    }
    free(s->check->records);
    free(s->check);
    the_sim = NULL;
}

/* The index of the first record at or after `zxid`. */
static size_t record_index(const struct sim_check *c, uint64_t zxid)
{
    size_t low = 0;
    size_t high = c->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c->records[middle].zxid < zxid) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

const struct sim_record *sim_check_record(const struct sim *s, uint64_t zxid)
{
    size_t i = record_index(s->check, zxid);

    return i < s->check->n && s->check->records[i].zxid == zxid ? &s->check->records[i] : NULL;
}

uint64_t sim_check_last(const struct sim *s)
{
    return s->check->n > 0 ? s->check->records[s->check->n - 1].zxid : 0;
}

uint64_t sim_check_committed_before(const struct sim *s, uint32_t epoch)
{
    const struct sim_check *c = s->check;
    size_t n = c->n;

    while (n > 0 && c->records[n - 1].epoch >= epoch) {
        n--;
    }
    return n > 0 ? c->records[n - 1].zxid : 0;
}

/* ---- hashes ---- */

static void hash_word(XXH3_state_t *h, uint64_t word)
{
    (void)XXH3_64bits_update(h, &word, sizeof(word));
}

static void hash_bytes(XXH3_state_t *h, const void *bytes, size_t len)
{
    hash_word(h, len);
    if (len > 0) {
        (void)XXH3_64bits_update(h, bytes, len);
    }
}

static void hash_op(XXH3_state_t *h, const struct op *op)
{
    uint32_t i;

    hash_word(h, op->kind);
    hash_word(h, op->ino);
    hash_bytes(h, op->name, op->name_len);
    hash_word(h, op->new_ino);
    hash_bytes(h, op->new_name, op->new_name_len);
    hash_word(h, op->flags);
    hash_word(h, op->node_kind);
    hash_word(h, op->mask);
    hash_word(h, op->mode);
    hash_word(h, op->size);
    hash_bytes(h, op->data, op->data_len);
    hash_word(h, op->keep);
    hash_word(h, op->size_min);
    hash_word(h, op->id);
    for (i = 0; i < op->n_ranges; i++) {
        hash_word(h, op->ranges[i].offset);
        hash_bytes(h, op->ranges[i].bytes, op->ranges[i].len);
    }
}

uint64_t sim_op_hash(const struct op *op)
{
    XXH3_state_t h;

    (void)XXH3_64bits_reset(&h);
    hash_op(&h, op);
    return XXH3_64bits_digest(&h);
}

static uint64_t txn_hash(const struct txn *txn)
{
    XXH3_state_t h;

    (void)XXH3_64bits_reset(&h);
    hash_word(&h, (uint64_t)txn->time_ns);
    hash_word(&h, txn->data_max);
    hash_word(&h, txn->request.session);
    hash_word(&h, txn->request.seq);
    hash_word(&h, txn->request.seq_lowest);
    hash_op(&h, &txn->request.op);
    return XXH3_64bits_digest(&h);
}

/* ---- exactly once ---- */

static struct identity *find_identity(struct sim *s, const struct request *r)
{
    uint64_t key[2] = {r->session, r->seq};
    struct identity *found;

    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): all of the key is set */
    HASH_FIND(hh, s->check->identities, key, sizeof(key), found);
    return found;
}

/* `record` is the second one of an identity. */
static void check_duplicate(struct sim *s, const struct sim_record *first, const struct sim_record *record)
{
    bool refused = record->err == EIO && record->decided == record->zxid;
    bool same = record->err == first->err && record->decided == first->decided && record->ino == first->ino;

    sim_cover_branch(s, SIM_BRANCH_DUPLICATE);
    if (!same && !refused) {
        sim_fail(s, "0x%" PRIx64 " repeats 0x%" PRIx64 " and has another outcome: errno %d, not %d", record->zxid,
                 first->zxid, record->err, first->err);
    }
}

static void note_executed(struct sim *s, const struct request *r, const struct sim_record *record)
{
    struct executed *x;

    /* Of the other kinds clients may ask for the same twice. */
    if (record->err != 0 || (r->op.kind != OP_CREATE && r->op.kind != OP_APPEND && r->op.kind != OP_WRITE)) {
        return;
    }
    HASH_FIND(hh, s->check->executed, &record->op_hash, sizeof(record->op_hash), x);
    if (x != NULL) {
        sim_fail(s,
                 "%s is executed twice: at 0x%" PRIx64 " as (%" PRIx64 ", %" PRIu64 "), before as (%" PRIx64
                 ", %" PRIu64 ")",
                 op_kind_name(r->op.kind), record->zxid, r->session, r->seq, x->session, x->seq);
    }
    x = sim_alloc(sizeof(*x));
    x->op_hash = record->op_hash;
    x->session = r->session;
    x->seq = r->seq;
    HASH_ADD(hh, s->check->executed, op_hash, sizeof(x->op_hash), x);
}

static void check_once(struct sim *s, const struct request *r, struct sim_record *record)
{
    struct identity *id;

    if (r->session == 0) {
        return;
    }
    id = find_identity(s, r);
    if (id != NULL) {
        record->duplicate = true;
        check_duplicate(s, &s->check->records[id->record], record);
        return;
    }
    id = sim_alloc(sizeof(*id));
    id->key[0] = r->session;
    id->key[1] = r->seq;
    id->record = s->check->n; /* where it will stand */
    HASH_ADD(hh, s->check->identities, key, sizeof(id->key), id);
    note_executed(s, r, record);
}

void sim_check_change(struct sim_peer *p, const struct change *change)
{
    const struct request *r = change->request;
    struct identity *id = find_identity(p->sim, r);

    /* Told while it is applied: the first time it has no identity yet. */
    if (id != NULL && p->sim->check->records[id->record].zxid != change->zxid) {
        sim_fail(p->sim, "server %" PRIu64 " executes (%" PRIx64 ", %" PRIu64 ") again at 0x%" PRIx64, p->sid,
                 r->session, r->seq, change->zxid);
    }
}

/* ---- applying ---- */

static void check_committed(struct sim_peer *p, uint64_t zxid)
{
    struct sim *s = p->sim;
    unsigned have = 0;
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if (!s->peers[i].observer && s->peers[i].zxid_credited >= zxid) {
            have++;
        }
    }
    if (have < (p->alone ? 1 : s->config.n_participants / 2 + 1) && !s->outcomes_only) {
        sim_fail(s, "server %" PRIu64 " applies 0x%" PRIx64 ", which only %u of %u have on disk", p->sid, zxid, have,
                 s->config.n_participants);
    }
}

/* Of the leader that a peer commits under; recovery commits nothing that was not committed before. */
static uint32_t epoch_of(const struct sim_peer *p)
{
    struct replica_status st;

    if (p->replica == NULL) {
        return UINT32_MAX;
    }
    replica_status(p->replica, &st);
    return st.epoch;
}

static void add_record(struct sim_peer *p, struct sim_record *record, uint64_t before)
{
    struct sim *s = p->sim;
    struct sim_check *c = s->check;

    if (before != sim_check_last(s)) {
        sim_fail(s, "server %" PRIu64 " applies 0x%" PRIx64 " after 0x%" PRIx64 "; the order goes on after 0x%" PRIx64,
                 p->sid, record->zxid, before, sim_check_last(s));
    }
    check_committed(p, record->zxid);
    /* Another leader's clock may be behind: then each znode's own mtime still grows. */
    if (c->n > 0 && zxid_epoch(record->zxid) == zxid_epoch(c->records[c->n - 1].zxid) &&
        record->time_ns <= c->records[c->n - 1].time_ns) {
        sim_fail(s, "the time of 0x%" PRIx64 " is not after that of the transaction before", record->zxid);
    }
    record->epoch = epoch_of(p);
    if (c->n == c->cap) {
        c->cap = c->cap == 0 ? 1024 : c->cap * 2;
        c->records = realloc(c->records, c->cap * sizeof(*c->records));
        if (c->records == NULL) {
            abort();
        }
    }
    c->records[c->n++] = *record;
    s->stats.txns++;
}

static void compare_record(struct sim_peer *p, const struct sim_record *record, uint64_t before)
{
    struct sim *s = p->sim;
    size_t i = record_index(s->check, record->zxid);
    const struct sim_record *known = &s->check->records[i];
    uint64_t known_before = i > 0 ? s->check->records[i - 1].zxid : 0;

    if (i == s->check->n || known->zxid != record->zxid) {
        sim_fail(s, "server %" PRIu64 " applies 0x%" PRIx64 ", which is not in the order", p->sid, record->zxid);
    }
    if (known_before != before) {
        sim_fail(s, "server %" PRIu64 " applies 0x%" PRIx64 " after 0x%" PRIx64 ", not after 0x%" PRIx64, p->sid,
                 record->zxid, before, known_before);
    }
    if (known->txn_hash != record->txn_hash) {
        sim_fail(s, "server %" PRIu64 " applies another transaction as 0x%" PRIx64, p->sid, record->zxid);
    }
    if (known->err != record->err || known->ino != record->ino || known->decided != record->decided) {
        sim_fail(s, "server %" PRIu64 " has another outcome of 0x%" PRIx64 ": errno %d, not %d", p->sid, record->zxid,
                 record->err, known->err);
    }
    if (known->digest != record->digest) {
        sim_fail(s, "server %" PRIu64 " has another digest at 0x%" PRIx64, p->sid, record->zxid);
    }
}

void __real_state_apply(struct state *st, uint64_t zxid, const struct txn *txn, struct outcome *ret_outcome);
void __wrap_state_apply(struct state *st, uint64_t zxid, const struct txn *txn, struct outcome *ret_outcome);

void __wrap_state_apply(struct state *st, uint64_t zxid, const struct txn *txn, struct outcome *ret_outcome)
{
    struct sim *s = the_sim;
    uint64_t before = state_zxid(st);
    struct sim_record record;

    assert(s != NULL && s->current != NULL);
    __real_state_apply(st, zxid, txn, ret_outcome);
    if (s->current->rotten) {
        return;
    }
    record = (struct sim_record){
        .zxid = zxid,
        .time_ns = txn->time_ns,
        .txn_hash = txn_hash(txn),
        .op_hash = sim_op_hash(&txn->request.op),
        .digest = state_digest(st),
        .ino = ret_outcome->ino,
        .decided = ret_outcome->zxid,
        .err = ret_outcome->err,
    };
    sim_mix(s, zxid);
    sim_mix(s, record.digest);
    if (s->current->replica == NULL) {
        sim_cover_branch(s, SIM_BRANCH_REPLAY);
    }
    if (zxid > sim_check_last(s)) {
        sim_cover(s, SIM_COVER_OP + txn->request.op.kind);
        check_once(s, &txn->request, &record);
        add_record(s->current, &record, before);
    } else {
        compare_record(s->current, &record, before);
    }
    if (++s->check->applied % SLOW_DIGEST_EVERY == 0 && state_digest_slow(st) != record.digest) {
        sim_fail(s, "server %" PRIu64 ": the digest at 0x%" PRIx64 " is not that of the tree", s->current->sid, zxid);
    }
}

/* ---- a peer after a step ---- */

static void check_leader(struct sim_peer *p, const struct replica_status *st)
{
    struct reign *r;

    HASH_FIND(hh, p->sim->check->reigns, &st->epoch, sizeof(st->epoch), r);
    if (r == NULL) {
        r = sim_alloc(sizeof(*r));
        r->epoch = st->epoch;
        r->leader = p->sid;
        HASH_ADD(hh, p->sim->check->reigns, epoch, sizeof(r->epoch), r);
        p->sim->stats.elections++;
        sim_trace(p->sim, "p%" PRIu64 " leads epoch %u", p->sid, st->epoch);
    }
    if (r->leader != p->sid) {
        sim_fail(p->sim, "servers %" PRIu64 " and %" PRIu64 " both lead epoch %u", r->leader, p->sid, st->epoch);
    }
}

static void check_shown(struct sim_peer *p, const struct replica_status *st)
{
    struct sim *s = p->sim;
    const struct sim_record *record = sim_check_record(s, st->zxid);

    if (st->zxid < p->zxid_shown) {
        sim_fail(s, "server %" PRIu64 " goes back from 0x%" PRIx64 " to 0x%" PRIx64, p->sid, p->zxid_shown, st->zxid);
    }
    if (st->zxid != 0 && record == NULL) {
        sim_fail(s, "server %" PRIu64 " is at 0x%" PRIx64 ", which is not in the order", p->sid, st->zxid);
    }
    if (record != NULL && record->digest != st->digest) {
        sim_fail(s, "server %" PRIu64 " has another digest at 0x%" PRIx64, p->sid, st->zxid);
    }
    p->zxid_shown = st->zxid;
    if (!st->readable && st->zxid != 0) {
        sim_cover_branch(s, SIM_BRANCH_UNREADABLE);
    }
    /* For `timeo` after its start a peer shows nothing older than what it has shown before. */
    if (st->readable && st->zxid < p->zxid_shown_ever &&
        s->now_us - p->booted_us + SIM_MS + s->now_us / 1000000 * s->config.drift_ppm <
            (uint64_t)s->config.timeo_ms * SIM_MS * (1000000 - s->config.drift_ppm) / 1000000) {
        sim_fail(s, "server %" PRIu64 " shows 0x%" PRIx64 " after its restart, and 0x%" PRIx64 " before", p->sid,
                 st->zxid, p->zxid_shown_ever);
    }
    if (st->readable && st->zxid > p->zxid_shown_ever) {
        p->zxid_shown_ever = st->zxid;
    }
}

void sim_check_peer(struct sim_peer *p)
{
    struct replica_status st;

    if (p->replica == NULL || p->rotten) {
        return;
    }
    replica_status(p->replica, &st);
    check_shown(p, &st);
    if (st.quorum && st.role == ZAB_LEADING) {
        check_leader(p, &st);
    }
    if (st.quorum && st.zxid > 0) {
        if (p->wiped) {
            sim_cover_branch(p->sim, SIM_BRANCH_RESYNC);
        }
        p->wiped = false;
    }
}
