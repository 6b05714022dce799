/* What a scenario submits, and what it is answered. */
#include "sim_script.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- paths ---- */

const struct node *script_node(struct sim_script *sc, const struct sim_peer *p, const char *path, uint64_t *ret_parent,
                               const char **ret_name)
{
    const struct tree *t = replica_tree(p->replica);
    const struct node *parent = tree_by_ino(t, TREE_ROOT_INO);
    const char *slash;

    if (path[0] != '/') {
        script_bad(sc, "an absolute path is expected");
    }
    path++;
    while ((slash = strchr(path, '/')) != NULL) {
        parent = tree_lookup(t, parent->ino, path, (size_t)(slash - path));
        if (parent == NULL) {
            script_bad(sc, "there is no such directory at this server");
        }
        path = slash + 1;
    }
    *ret_parent = parent->ino;
    *ret_name = path;
    return tree_lookup(t, parent->ino, path, strlen(path));
}

/* ---- calls ---- */

static struct script_call *call_find(const struct sim_script *sc, const char *name)
{
    struct script_call *c = sc->calls;

    while (c != NULL && strcmp(c->name, name) != 0) {
        c = c->next;
    }
    return c;
}

static void done_cb(struct replica_call *call, const struct outcome *outcome)
{
    struct script_call *c = (struct script_call *)call;

    assert(c->pending);
    c->pending = false;
    c->outcome = *outcome;
    sim_trace(c->peer->sim, "%s is answered: errno %d", c->name, outcome->err);
}

void sim_script_lost(struct sim_peer *p)
{
    struct script_call *c = p->sim->script != NULL ? p->sim->script->calls : NULL;

    for (; c != NULL; c = c->next) {
        if (c->pending && c->peer == p) {
            c->pending = false;
            c->lost = true;
        }
    }
}

void script_calls_release(struct sim_script *sc)
{
    struct script_call *c;

    while ((c = sc->calls) != NULL) {
        sc->calls = c->next;
        free(c);
    }
}

const char *script_outcome(struct sim_script *sc, const struct script_step *st, unsigned i)
{
    const struct script_call *c = call_find(sc, script_word(sc, st, i));
    const char *name;

    if (c == NULL) {
        script_bad(sc, "there is no such call");
    }
    if (c->pending || c->lost || c->outcome.err == 0) {
        return c->pending ? "pending" : c->lost ? "lost" : "ok";
    }
    name = strerrorname_np(c->outcome.err);
    return name != NULL ? name : "?";
}

/* ---- submit ---- */

/* What the words after the server, and after `bounded`, ask for. Everything that `op` points to lives in the step. */
static void op_of(struct sim_script *sc, const struct script_step *st, unsigned i, const struct sim_peer *p,
                  struct op *op, struct op_range *range)
{
    const char *kind = script_word(sc, st, i);
    const char *data = i + 2 < st->n ? st->rest[i + 2] : "";
    const struct node *node;
    uint64_t parent;
    const char *name;

    memset(op, 0, sizeof(*op));
    if (strcmp(kind, "barrier") == 0) {
        op->kind = OP_NOP;
        return;
    }
    node = script_node(sc, p, script_word(sc, st, i + 1), &parent, &name);
    op->ino = parent;
    op->name = name;
    op->name_len = strlen(name);
    op->data = (const uint8_t *)data;
    op->data_len = (uint32_t)strlen(data);
    if (strcmp(kind, "create") == 0 || strcmp(kind, "mkdir") == 0) {
        op->kind = OP_CREATE;
        op->node_kind = strcmp(kind, "mkdir") == 0 ? NODE_DIR : NODE_FILE;
        op->mode = 0755;
        return;
    }
    if (strcmp(kind, "remove") == 0) {
        *op = (struct op){.kind = OP_REMOVE, .node_kind = NODE_FILE, .ino = parent, .name = name};
        op->name_len = strlen(name);
        return;
    }
    if (node == NULL) {
        script_bad(sc, "there is no such file at this server");
    }
    if (strcmp(kind, "append") == 0) {
        *op = (struct op){.kind = OP_APPEND, .ino = node->ino, .data = op->data, .data_len = op->data_len};
    } else if (strcmp(kind, "set") == 0) {
        *range = (struct op_range){.len = op->data_len, .bytes = op->data};
        *op = (struct op){.kind = OP_WRITE, .ino = node->ino, .ranges = range, .n_ranges = 1};
    } else {
        script_bad(sc, "there is no such operation");
    }
}

void script_submit(struct sim_script *sc, const struct script_step *st)
{
    struct script_call *c = sim_alloc(sizeof(*c));
    bool bounded = script_is(st, 3, "bounded");
    struct op_range range;
    struct op op;

    c->next = sc->calls;
    sc->calls = c;
    (void)snprintf(c->name, sizeof(c->name), "%s", script_word(sc, st, 1));
    c->peer = script_peer(sc, st, 2);
    if (c->peer->replica == NULL) {
        script_bad(sc, "that server is down");
    }
    op_of(sc, st, bounded ? 4 : 3, c->peer, &op, &range);
    c->call.done = done_cb;
    c->call.patience = bounded ? REPLICA_BOUNDED : REPLICA_HARD;
    c->pending = true;
    sc->sim->current = c->peer;
    replica_submit(c->peer->replica, &c->call, &op);
    sim_peer_after_step(c->peer);
    sc->sim->current = NULL;
}
