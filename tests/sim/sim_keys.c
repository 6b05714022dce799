/*
 * Keys that all clients share, and the histories of what they were answered: each must be linearizable (sim_lin.h).
 * A key of the first kind is created once, set, appended to and read; one of the second kind is created exclusively,
 * removed and read. A read is a barrier, and then what the client's own peer shows.
 *
 * A history holds LIN_OPS_MAX calls. Then it is looked at, and a new key takes its place.
 */
#include "sim_client.h"

#include "sim_lin.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS      4
#define VALUE_LEN 3 /* "07;": the call that put it there */

struct key {
    bool is_set; /* of the second kind */
    unsigned generation;
    struct lin_op ops[LIN_OPS_MAX];
    size_t n;
    size_t n_open; /* asked, and neither answered nor lost */
};

struct sim_keys {
    struct key keys[KEYS];
    uint64_t clock;
};

void sim_keys_init(struct sim *s)
{
    unsigned i;

    s->world->keys = sim_alloc(sizeof(*s->world->keys));
    for (i = 0; i < KEYS; i++) {
        s->world->keys->keys[i].is_set = i % 2 == 1;
    }
}

void sim_keys_release(struct sim *s)
{
    free(s->world->keys);
}

/* ---- the history ---- */

static void print_history(const struct key *k)
{
    static const char *const names[] = {"create", "remove", "set", "append", "read"};
    size_t i;

    for (i = 0; i < k->n; i++) {
        const struct lin_op *op = &k->ops[i];

        fprintf(stderr, "  %02zu %s asked %" PRIu64 " answered %" PRId64 " errno %d contents %016" PRIx64 "%s\n", i,
                names[op->kind], op->asked, (int64_t)op->answered, op->err, op->contents, op->is_void ? " void" : "");
    }
}

static void check_key(struct sim *s, unsigned i)
{
    const struct key *k = &s->world->keys->keys[i];
    enum lin_verdict verdict = lin_check(k->ops, k->n);

    if (verdict == LIN_NO) {
        print_history(k);
        sim_fail(s, "the history of key %u.%u is not linearizable", i, k->generation);
    }
    sim_cover_branch(s, verdict == LIN_YES ? SIM_BRANCH_LINEARIZED : SIM_BRANCH_LINEARIZED_NOT);
}

/* Every call on it has ended, as far as it ever will. */
static void look_at(struct sim *s, unsigned i)
{
    struct key *k = &s->world->keys->keys[i];

    if (k->n == LIN_OPS_MAX && k->n_open == 0) {
        check_key(s, i);
        k->generation++;
        k->n = 0;
    }
}

void sim_keys_verify(struct sim *s)
{
    unsigned i;

    for (i = 0; i < KEYS; i++) {
        check_key(s, i);
    }
}

static struct lin_op *op_of(struct sim_client *c, const struct client_op *o)
{
    return &c->sim->world->keys->keys[o->key].ops[o->key_op];
}

static void op_ended(struct sim_client *c, const struct client_op *o)
{
    struct key *k = &c->sim->world->keys->keys[o->key];

    assert(k->n_open > 0);
    k->n_open--;
    look_at(c->sim, o->key);
}

void sim_key_unknown(struct sim_client *c, const struct client_op *o)
{
    op_ended(c, o);
}

void sim_key_void(struct sim_client *c, const struct client_op *o)
{
    op_of(c, o)->is_void = true;
    op_ended(c, o);
}

static uint64_t contents_of(const struct node *n)
{
    uint64_t contents = LIN_EMPTY;
    uint32_t at;

    if (n == NULL) {
        return LIN_ABSENT;
    }
    for (at = 0; at + VALUE_LEN <= n->data_len; at += VALUE_LEN) {
        contents = lin_contents(contents, (uint32_t)(n->data->bytes[at] - '0') * 10 + n->data->bytes[at + 1] - '0');
    }
    return contents;
}

void sim_key_answered(struct sim_client *c, const struct client_op *o, const struct tree *t, int err)
{
    struct lin_op *op = op_of(c, o);

    op->err = err;
    op->answered = ++c->sim->world->keys->clock;
    if (op->kind == LIN_READ) {
        op->contents = contents_of(tree_lookup(t, c->sim->world->locks, o->name, strlen(o->name)));
    }
    op_ended(c, o);
}

/* ---- choosing ---- */

static enum lin_kind draw_kind(struct sim *s, const struct key *k, bool is_there)
{
    uint64_t dice = sim_below(s, 100);

    if (dice < 30) {
        return LIN_READ;
    }
    if (k->is_set) {
        return dice < 65 ? LIN_CREATE : LIN_REMOVE;
    }
    if (!is_there) {
        return LIN_CREATE;
    }
    return dice < 80 ? LIN_APPEND : LIN_SET;
}

static void fill_op(struct client_op *o, enum lin_kind kind, const struct node *n)
{
    o->op.data = o->data;
    o->op.data_len = VALUE_LEN;
    switch (kind) {
    case LIN_CREATE:
        o->op.kind = OP_CREATE;
        o->op.node_kind = NODE_FILE;
        o->op.mode = 0600;
        return;
    case LIN_REMOVE:
        o->op.kind = OP_REMOVE;
        o->op.node_kind = NODE_FILE;
        o->op.data_len = 0;
        return;
    case LIN_SET:
        o->range = (struct op_range){.len = VALUE_LEN, .bytes = o->data};
        o->op = (struct op){.kind = OP_WRITE, .ino = n->ino, .ranges = &o->range, .n_ranges = 1};
        return;
    case LIN_APPEND:
        o->op = (struct op){.kind = OP_APPEND, .ino = n->ino, .data = o->data, .data_len = VALUE_LEN};
        return;
    case LIN_READ:
        o->op = (struct op){.kind = OP_NOP};
        return;
    }
}

bool sim_key_choose(struct sim_client *c, const struct tree *t)
{
    struct sim *s = c->sim;
    unsigned i = (unsigned)sim_below(s, KEYS);
    struct key *k = &s->world->keys->keys[i];
    struct client_op *o = &c->asked;
    const struct node *n;
    struct lin_op *op;
    int len;

    if (k->n == LIN_OPS_MAX) {
        return false;
    }
    len = snprintf(o->name, sizeof(o->name), "k%u.%u", i, k->generation);
    assert(len > 0 && len < (int)sizeof(o->name));
    n = tree_lookup(t, s->world->locks, o->name, strlen(o->name));
    len = snprintf((char *)o->data, sizeof(o->data), "%02zu;", k->n);
    assert(len == VALUE_LEN);
    o->key = i;
    o->key_op = (unsigned)k->n;
    o->op.ino = s->world->locks;
    o->op.name = o->name;
    o->op.name_len = strlen(o->name);
    op = &k->ops[k->n++];
    *op = (struct lin_op){
        .kind = draw_kind(s, k, n != NULL),
        .value = o->key_op,
        .asked = ++s->world->keys->clock,
        .answered = LIN_NEVER,
    };
    k->n_open++;
    fill_op(o, op->kind, n);
    return true;
}
