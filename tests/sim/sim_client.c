/*
 * Clients: each asks its peer for one thing after another, waits, gives up now and then, and knows what must come of
 * it. After each answer the peer's tree must show exactly what was answered.
 *
 * What they share: a file to which all append (each token once, in each client's order), and locks that are files
 * created with O_EXCL (one holder at a time).
 */
#include "sim_client.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sim_peer *peer_of(const struct sim_client *c)
{
    return &c->sim->peers[c->peer];
}

static void act_later(struct sim_client *c, uint64_t in_us)
{
    sim_push(c->sim, in_us,
             (struct sim_event){.kind = SIM_EV_CLIENT, .peer = c->peer, .gen = c->call_gen, .arg = c->index});
}

/* Some work comes in bursts without a pause, so that proposals are pipelined. */
static uint64_t think_us(struct sim_client *c)
{
    struct sim *s = c->sim;

    if (c->burst > 0) {
        c->burst--;
        return sim_below(s, 300);
    }
    if (sim_chance(s, 5)) {
        c->burst = (unsigned)sim_between(s, 3, 20);
    }
    return sim_between(s, s->config.think_us / 5, s->config.think_us * 9 / 5);
}

/* ---- the shared file ---- */

static void token_text(const struct sim_client *c, uint64_t token, char text[TOKEN_LEN + 1])
{
    int n = snprintf(text, TOKEN_LEN + 1, "%03u:%08" PRIu64 "\n", c->index, token);

    assert(n == TOKEN_LEN);
}

static uint64_t token_new(struct sim_client *c)
{
    if (c->n_tokens == c->cap_tokens) {
        c->cap_tokens = c->cap_tokens == 0 ? 64 : c->cap_tokens * 2;
        c->tokens = realloc(c->tokens, c->cap_tokens);
        if (c->tokens == NULL) {
            abort();
        }
    }
    c->tokens[c->n_tokens] = TOKEN_UNKNOWN;
    return c->n_tokens++;
}

static bool token_is_there(const struct sim_client *c, const struct tree *t, uint64_t token)
{
    const struct node *n = tree_by_ino(t, c->sim->world->shared);
    char text[TOKEN_LEN + 1];
    uint32_t at;

    token_text(c, token, text);
    for (at = 0; n != NULL && at + TOKEN_LEN <= n->data_len; at += TOKEN_LEN) {
        if (memcmp(n->data->bytes + at, text, TOKEN_LEN) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- locks ---- */

static bool is_unlocking(const struct sim_client *c, unsigned lock)
{
    bool asked = c->outstanding && c->asked.act == ACT_UNLOCK && c->asked.lock == lock;
    bool pending = c->unknown && c->pending.act == ACT_UNLOCK && c->pending.lock == lock;

    return asked || pending;
}

static void lock_taken(struct sim_client *c, unsigned lock)
{
    int holder = c->sim->world->holders[lock];

    if (holder >= 0 && !is_unlocking(&c->sim->clients[holder], lock)) {
        sim_fail(c->sim, "clients %d and %u both hold lock %u", holder, c->index, lock);
    }
    c->sim->world->holders[lock] = (int)c->index;
    c->lock_held = (int)lock;
}

static void lock_released(struct sim_client *c, unsigned lock)
{
    if (c->sim->world->holders[lock] == (int)c->index) {
        c->sim->world->holders[lock] = -1;
    }
    c->lock_held = -1;
}

/* Does the lock's file carry this client's mark? */
static bool lock_is_mine(const struct sim_client *c, const struct tree *t, unsigned lock)
{
    size_t len = strlen(c->lock_mark);
    const struct node *n;
    char name[MODEL_NAME];

    (void)snprintf(name, sizeof(name), "l%u", lock);
    n = tree_lookup(t, c->sim->world->locks, name, strlen(name));
    return n != NULL && n->data_len == len && memcmp(n->data->bytes, c->lock_mark, len) == 0;
}

/* ---- choosing ---- */

static void choose_in(struct sim_client *c, enum client_act act, enum op_kind kind, uint64_t ino, const char *name)
{
    struct client_op *o = &c->asked;

    memset(o, 0, sizeof(*o));
    o->created = -1;
    o->act = act;
    o->op.kind = kind;
    o->op.ino = ino;
    (void)snprintf(o->name, sizeof(o->name), "%s", name);
    o->op.name = o->name;
    o->op.name_len = strlen(o->name);
}

static void choose_top(struct sim_client *c, enum client_act act, enum node_kind kind, const char *name)
{
    choose_in(c, act, OP_CREATE, TREE_ROOT_INO, name);
    c->asked.op.node_kind = kind;
    c->asked.op.mode = 0755;
}

static void choose_home(struct sim_client *c)
{
    char name[MODEL_NAME];

    (void)snprintf(name, sizeof(name), "c%u", c->index);
    choose_top(c, ACT_HOME, NODE_DIR, name);
}

static void choose_append_shared(struct sim_client *c)
{
    struct client_op *o = &c->asked;

    choose_in(c, ACT_APPEND_SHARED, OP_APPEND, c->sim->world->shared, "");
    o->token = token_new(c);
    token_text(c, o->token, (char *)o->data);
    o->op.data = o->data;
    o->op.data_len = TOKEN_LEN;
}

static void choose_lock(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    unsigned lock = c->lock_held >= 0 ? (unsigned)c->lock_held : (unsigned)sim_below(c->sim, SIM_LOCKS);
    char name[MODEL_NAME];

    (void)snprintf(name, sizeof(name), "l%u", lock);
    if (c->lock_held >= 0) {
        choose_in(c, ACT_UNLOCK, OP_REMOVE, c->sim->world->locks, name);
        o->op.node_kind = NODE_FILE;
    } else {
        client_unique(c, "L", c->lock_mark, sizeof(c->lock_mark));
        choose_in(c, ACT_LOCK, OP_CREATE, c->sim->world->locks, name);
        o->op.node_kind = NODE_FILE;
        o->op.mode = 0600;
        o->op.data = (const uint8_t *)c->lock_mark;
        o->op.data_len = (uint32_t)strlen(c->lock_mark);
    }
    o->lock = lock;
}

static void choose_key(struct sim_client *c)
{
    choose_in(c, ACT_KEY, OP_NOP, 0, "");
    if (!sim_key_choose(c, replica_tree(peer_of(c)->replica))) {
        c->asked.act = ACT_BARRIER;
    }
}

static void choose(struct sim_client *c)
{
    const struct sim_world *w = c->sim->world;
    uint64_t dice = sim_below(c->sim, 100);

    if (c->now.home == 0) {
        choose_home(c);
    } else if (c->index == 0 && w->shared == 0) {
        choose_top(c, ACT_SHARED_FILE, NODE_FILE, "shared");
    } else if (c->index == 0 && w->locks == 0) {
        choose_top(c, ACT_LOCKS, NODE_DIR, "locks");
    } else if (dice < 12 && w->shared != 0) {
        choose_append_shared(c);
    } else if (dice < 22 && w->locks != 0) {
        choose_lock(c);
    } else if (dice < 42 && w->locks != 0) {
        choose_key(c);
    } else if (dice < 46) {
        choose_in(c, ACT_BARRIER, OP_NOP, 0, "");
    } else {
        model_choose(c);
    }
}

/* ---- asking ---- */

static void on_done(struct replica_call *call, const struct outcome *outcome);

static enum replica_patience patience_of(struct sim_client *c)
{
    if (c->asked.act == ACT_RESOLVE) {
        return REPLICA_HARD;
    }
    if (c->asked.op.kind == OP_NOP) {
        return REPLICA_BARRIER;
    }
    return sim_chance(c->sim, 60) ? REPLICA_HARD : REPLICA_BOUNDED;
}

static void ask(struct sim_client *c)
{
    struct sim *s = c->sim;

    memset(&c->call, 0, sizeof(c->call));
    c->call.done = on_done;
    c->call.patience = patience_of(c);
    c->op_hash = sim_op_hash(&c->asked.op);
    c->zxid_before = sim_check_last(s);
    c->outstanding = true;
    c->call_gen++;
    sim_trace(s, "c%u asks p%" PRIu64 ": %s %s", c->index, peer_of(c)->sid, op_kind_name(c->asked.op.kind),
              c->asked.name);
    if (c->asked.act != ACT_RESOLVE && sim_chance(s, 4)) {
        sim_push(s, sim_below(s, 100 * SIM_MS),
                 (struct sim_event){.kind = SIM_EV_CANCEL, .peer = c->peer, .gen = c->call_gen, .arg = c->index});
    }
    replica_submit(peer_of(c)->replica, &c->call, &c->asked.op);
}

static void act(struct sim_client *c)
{
    struct sim *s = c->sim;
    const struct sim_peer *p = peer_of(c);

    if (p->replica == NULL || p->stopping || p->ending) {
        act_later(c, sim_between(s, 10, 60) * SIM_MS);
        return;
    }
    if (c->unknown) {
        choose_in(c, ACT_RESOLVE, OP_NOP, 0, "");
        ask(c);
    } else if (s->phase <= SIM_PHASE_QUIET) {
        choose(c);
        ask(c);
    }
}

void sim_client_on_event(struct sim *s, const struct sim_event *e)
{
    struct sim_client *c = &s->clients[e->arg];

    if (e->gen != c->call_gen) {
        return;
    }
    if (e->kind == SIM_EV_CLIENT) {
        assert(!c->outstanding);
        act(c);
    } else if (c->outstanding) {
        (void)replica_cancel(peer_of(c)->replica, &c->call, EINTR);
    }
}

/* ---- what came of it ---- */

static void check_tree(struct sim_client *c)
{
    const struct tree *t = replica_tree(peer_of(c)->replica);
    char why[160];

    if (!model_matches(&c->now, t, why, sizeof(why))) {
        sim_fail(c->sim, "server %" PRIu64 " does not show client %u what it was answered: %s", peer_of(c)->sid,
                 c->index, why);
    }
}

/* The call has happened as it should. */
static void took_effect(struct sim_client *c, const struct client_op *o, uint64_t ino)
{
    switch (o->act) {
    case ACT_PRIVATE:
        if (o->created >= 0) {
            c->next.nodes[o->created].ino = ino;
        }
        c->now = c->next;
        return;
    case ACT_HOME:
        c->now.home = ino;
        return;
    case ACT_SHARED_FILE:
        c->sim->world->shared = ino;
        return;
    case ACT_LOCKS:
        c->sim->world->locks = ino;
        return;
    case ACT_APPEND_SHARED:
        c->tokens[o->token] = TOKEN_PRESENT;
        return;
    case ACT_LOCK:
        lock_taken(c, o->lock);
        return;
    case ACT_UNLOCK:
        lock_released(c, o->lock);
        return;
    case ACT_NONE:
    case ACT_KEY:
    case ACT_BARRIER:
    case ACT_RESOLVE:
        return;
    }
}

static void took_no_effect(struct sim_client *c, const struct client_op *o)
{
    if (o->act == ACT_KEY) {
        sim_key_void(c, o);
    } else if (o->act == ACT_APPEND_SHARED) {
        c->tokens[o->token] = TOKEN_ABSENT;
    } else if (o->act == ACT_UNLOCK && c->sim->world->holders[o->lock] != (int)c->index) {
        sim_fail(c->sim, "client %u still holds lock %u, which client %d has got", c->index, o->lock,
                 c->sim->world->holders[o->lock]);
    }
}

/* What a directory entry says that was to be made in the root. */
static uint64_t ino_in_root(const struct tree *t, const struct client_op *o)
{
    const struct node *n = tree_lookup(t, TREE_ROOT_INO, o->name, strlen(o->name));

    return n == NULL ? 0 : n->ino;
}

static bool private_happened(struct sim_client *c, const struct tree *t)
{
    char why_now[160];
    char why_next[160];

    if (model_matches(&c->next, t, why_next, sizeof(why_next))) {
        model_learn(&c->next, t);
        return true;
    }
    if (!model_matches(&c->now, t, why_now, sizeof(why_now))) {
        sim_fail(c->sim, "server %" PRIu64 " shows client %u neither the old (%s) nor the new (%s)", peer_of(c)->sid,
                 c->index, why_now, why_next);
    }
    return false;
}

/* A barrier has passed: what the tree shows of the pending call is so for good. */
static void resolve(struct sim_client *c)
{
    const struct tree *t = replica_tree(peer_of(c)->replica);
    struct client_op *o = &c->pending;
    bool happened = false;
    uint64_t ino = 0;

    switch (o->act) {
    case ACT_PRIVATE:
        happened = private_happened(c, t);
        ino = o->created >= 0 && happened ? c->next.nodes[o->created].ino : 0;
        break;
    case ACT_HOME:
    case ACT_SHARED_FILE:
    case ACT_LOCKS:
        ino = ino_in_root(t, o);
        happened = ino != 0;
        break;
    case ACT_APPEND_SHARED:
        happened = token_is_there(c, t, o->token);
        break;
    case ACT_LOCK:
        happened = lock_is_mine(c, t, o->lock);
        break;
    case ACT_UNLOCK:
        happened = !lock_is_mine(c, t, o->lock);
        break;
    case ACT_NONE:
    case ACT_KEY:
    case ACT_BARRIER:
    case ACT_RESOLVE:
        assert(false);
    }
    c->unknown = false;
    sim_trace(c->sim, "c%u: it %s", c->index, happened ? "happened" : "did not happen");
    if (happened) {
        took_effect(c, o, ino);
    } else {
        took_no_effect(c, o);
    }
}

static void check_outcome(struct sim_client *c, const struct outcome *outcome)
{
    struct sim *s = c->sim;
    const struct sim_record *record = sim_check_record(s, outcome->zxid);

    if (record == NULL || record->op_hash != c->op_hash || record->err != outcome->err) {
        sim_fail(s, "client %u is answered with 0x%" PRIx64 ", errno %d, which is not its %s", c->index, outcome->zxid,
                 outcome->err, op_kind_name(c->asked.op.kind));
    }
    if (outcome->zxid <= c->zxid_before) {
        sim_fail(s, "client %u: 0x%" PRIx64 " was committed before it asked, and it is answered with 0x%" PRIx64,
                 c->index, c->zxid_before, outcome->zxid);
    }
    if (replica_zxid(peer_of(c)->replica) < outcome->zxid) {
        sim_fail(s, "client %u does not see its own 0x%" PRIx64, c->index, outcome->zxid);
    }
}

static void on_decided(struct sim_client *c, const struct outcome *outcome)
{
    struct sim *s = c->sim;
    bool lost_race = c->asked.act == ACT_LOCK && outcome->err == EEXIST;

    check_outcome(c, outcome);
    if (c->asked.act == ACT_KEY) {
        sim_key_answered(c, &c->asked, replica_tree(peer_of(c)->replica), outcome->err);
    } else if (outcome->err != c->asked.expected && !lost_race) {
        sim_fail(s, "client %u: %s %s at 0x%" PRIx64 " gives errno %d, not %d", c->index,
                 op_kind_name(c->asked.op.kind), c->asked.name, outcome->zxid, outcome->err, c->asked.expected);
    }
    s->stats.ops++;
    if (c->asked.act == ACT_RESOLVE) {
        resolve(c);
    } else if (outcome->err == 0) {
        took_effect(c, &c->asked, outcome->ino);
    }
    check_tree(c);
}

static void become_unknown(struct sim_client *c)
{
    c->sim->stats.timeouts++;
    if (c->asked.act == ACT_KEY) {
        sim_key_unknown(c, &c->asked);
    } else if (c->asked.act != ACT_BARRIER && c->asked.act != ACT_RESOLVE) {
        c->unknown = true;
        c->pending = c->asked;
    }
}

/* No outcome from the order: only these, and each only when it may be. */
static void on_undecided(struct sim_client *c, int err)
{
    bool bounded = c->call.patience == REPLICA_BOUNDED;
    bool stopping = peer_of(c)->stopping;

    if (err == EROFS || err == ETIMEDOUT) {
        sim_cover_branch(c->sim, err == EROFS ? SIM_BRANCH_EROFS : SIM_BRANCH_ETIMEDOUT);
    } else if (err == EIO && c->call.patience == REPLICA_BARRIER && !stopping) {
        sim_cover_branch(c->sim, SIM_BRANCH_BARRIER_EIO);
    }
    if (err == EROFS && bounded) {
        c->sim->stats.timeouts++;
        took_no_effect(c, &c->asked);
    } else if (err == EINTR || (err == ETIMEDOUT && bounded) ||
               (err == EIO && (stopping || c->call.patience == REPLICA_BARRIER))) {
        become_unknown(c);
    } else {
        sim_fail(c->sim, "client %u: %s fails with errno %d", c->index, op_kind_name(c->asked.op.kind), err);
    }
}

static void on_done(struct replica_call *call, const struct outcome *outcome)
{
    struct sim_client *c = (struct sim_client *)call;

    sim_trace(c->sim, "c%u is answered: errno %d, 0x%" PRIx64, c->index, outcome->err, outcome->zxid);
    sim_mix(c->sim, outcome->zxid ^ (uint64_t)outcome->err);
    if (!c->outstanding) {
        sim_fail(c->sim, "client %u is answered twice", c->index);
    }
    if (outcome->zxid != 0) {
        on_decided(c, outcome);
    } else {
        on_undecided(c, outcome->err);
    }
    c->outstanding = false;
    c->call_gen++;
    act_later(c, think_us(c));
}

void sim_clients_lost(struct sim_peer *p)
{
    struct sim *s = p->sim;
    unsigned i;

    for (i = 0; i < s->config.n_clients; i++) {
        struct sim_client *c = &s->clients[i];

        if (c->peer != p->index || !c->outstanding) {
            continue;
        }
        become_unknown(c);
        sim_cover_branch(s, SIM_BRANCH_LOST);
        c->outstanding = false;
        c->call_gen++;
        act_later(c, sim_between(s, 10, 60) * SIM_MS);
    }
}

/* ---- all of them ---- */

void sim_clients_init(struct sim *s)
{
    unsigned i;

    s->clients = sim_alloc(s->config.n_clients * sizeof(*s->clients));
    s->world = sim_alloc(sizeof(*s->world));
    sim_keys_init(s);
    for (i = 0; i < SIM_LOCKS; i++) {
        s->world->holders[i] = -1;
    }
    for (i = 0; i < s->config.n_clients; i++) {
        s->clients[i].sim = s;
        s->clients[i].index = i;
        s->clients[i].peer = i % s->n_peers;
        s->clients[i].lock_held = -1;
        act_later(&s->clients[i], sim_below(s, 500 * SIM_MS));
    }
}

void sim_clients_release(struct sim *s)
{
    unsigned i;

    for (i = 0; i < s->config.n_clients; i++) {
        free(s->clients[i].tokens);
    }
    free(s->clients);
    sim_keys_release(s);
    free(s->world);
}

bool sim_clients_idle(const struct sim *s)
{
    unsigned i;

    for (i = 0; i < s->config.n_clients; i++) {
        if (s->clients[i].outstanding || s->clients[i].unknown) {
            return false;
        }
    }
    return true;
}

void sim_clients_describe(const struct sim *s, char *text, size_t size)
{
    size_t used = 0;
    unsigned i;
    int n;

    text[0] = '\0';
    for (i = 0; i < s->config.n_clients && used < size; i++) {
        const struct sim_client *c = &s->clients[i];

        if (c->outstanding || c->unknown) {
            n = snprintf(text + used, size - used, " [%u at %u: %s%s]", i, c->peer + 1,
                         c->outstanding ? op_kind_name(c->asked.op.kind) : "", c->unknown ? " unknown" : "");
            used += n > 0 ? (size_t)n : 0;
        }
    }
}
