/* A client's own directory: what to do in it next, what must become of it, and whether a tree shows just that. */
#include "sim_client.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>

#define XATTR_NAME "user.sim"

void client_unique(struct sim_client *c, const char *prefix, char *text, size_t size)
{
    int n = snprintf(text, size, "%s%u-%" PRIu64, prefix, c->index, ++c->unique);

    assert(n > 0 && (size_t)n < size);
}

/* ---- comparing ---- */

static uint64_t ino_of(const struct model *m, int node)
{
    return node < 0 ? m->home : m->nodes[node].ino;
}

static unsigned children_of(const struct model *m, int parent)
{
    unsigned n = 0;
    int i;

    for (i = 0; i < MODEL_NODES; i++) {
        n += m->nodes[i].used && m->nodes[i].parent == parent ? 1 : 0;
    }
    return n;
}

static const struct node *find_node(const struct model *m, const struct tree *t, int i)
{
    const struct model_node *mn = &m->nodes[i];
    const struct node *parent;

    parent = mn->parent < 0 ? tree_by_ino(t, m->home) : find_node(m, t, mn->parent);
    return parent == NULL ? NULL : tree_lookup(t, parent->ino, mn->name, strlen(mn->name));
}

static bool xattr_matches(const struct model_node *mn, const struct node *n)
{
    const struct xattr *x = node_xattr(n, XATTR_NAME);

    if (mn->xattr[0] == '\0') {
        return x == NULL;
    }
    return x != NULL && x->len == strlen(mn->xattr) && memcmp(x->value, mn->xattr, x->len) == 0;
}

static const char *node_differs(const struct model *m, int i, const struct node *n)
{
    const struct model_node *mn = &m->nodes[i];

    if (n == NULL) {
        return "is missing";
    }
    if (mn->ino != 0 && mn->ino != n->ino) {
        return "has another inode number";
    }
    if (n->kind != mn->kind) {
        return "is of another kind";
    }
    if (n->mode != mn->mode) {
        return "has another mode";
    }
    if (n->version != mn->version) {
        return "has another version";
    }
    if (n->data_len != mn->len || (mn->len > 0 && memcmp(n->data->bytes, mn->data, mn->len) != 0)) {
        return "has other contents";
    }
    if (!xattr_matches(mn, n)) {
        return "has another xattr";
    }
    if (n->kind == NODE_DIR && n->dir->n_children != children_of(m, i)) {
        return "has another number of children";
    }
    return NULL;
}

bool model_matches(const struct model *m, const struct tree *t, char *why, size_t size)
{
    const struct node *home = tree_by_ino(t, m->home);
    const char *differs;
    int i;

    if (m->home == 0) {
        return true;
    }
    if (home == NULL || home->dir->n_children != children_of(m, -1)) {
        (void)snprintf(why, size, home == NULL ? "its directory is missing" : "its directory has %u children, not %u",
                       home == NULL ? 0 : home->dir->n_children, children_of(m, -1));
        return false;
    }
    for (i = 0; i < MODEL_NODES; i++) {
        if (!m->nodes[i].used) {
            continue;
        }
        differs = node_differs(m, i, find_node(m, t, i));
        if (differs != NULL) {
            (void)snprintf(why, size, "its %s %s", m->nodes[i].name, differs);
            return false;
        }
    }
    return true;
}

void model_learn(struct model *m, const struct tree *t)
{
    const struct node *n;
    int i;

    for (i = 0; i < MODEL_NODES; i++) {
        if (m->nodes[i].used && m->nodes[i].ino == 0) {
            n = find_node(m, t, i);
            assert(n != NULL);
            m->nodes[i].ino = n->ino;
        }
    }
}

/* ---- choosing ---- */

static int any_node(struct sim_client *c, bool dirs, bool files)
{
    int start = (int)sim_below(c->sim, MODEL_NODES);
    int i;

    for (i = 0; i < MODEL_NODES; i++) {
        int at = (start + i) % MODEL_NODES;
        const struct model_node *n = &c->now.nodes[at];

        if (n->used && ((n->kind == NODE_DIR && dirs) || (n->kind == NODE_FILE && files))) {
            return at;
        }
    }
    return -1;
}

static int free_node(const struct sim_client *c)
{
    int i;

    for (i = 0; i < MODEL_NODES; i++) {
        if (!c->now.nodes[i].used) {
            return i;
        }
    }
    return -1;
}

/* The client's directory, or one in it. */
static int any_parent(struct sim_client *c)
{
    return sim_chance(c->sim, 50) ? -1 : any_node(c, true, false);
}

static void set_name(struct client_op *o, const char *name)
{
    (void)snprintf(o->name, sizeof(o->name), "%s", name);
    o->op.name = o->name;
    o->op.name_len = strlen(o->name);
}

static void set_new_name(struct client_op *o, const char *name)
{
    (void)snprintf(o->new_name, sizeof(o->new_name), "%s", name);
    o->op.new_name = o->new_name;
    o->op.new_name_len = strlen(o->new_name);
}

static void choose_create(struct sim_client *c)
{
    static const enum node_kind kinds[] = {NODE_FILE, NODE_FILE, NODE_FILE, NODE_FILE, NODE_DIR, NODE_SYMLINK};
    struct client_op *o = &c->asked;
    int at = free_node(c);
    int parent = any_parent(c);
    struct model_node *n;
    char name[MODEL_NAME];

    if (at < 0) {
        return;
    }
    client_unique(c, "n", name, sizeof(name));
    o->op.kind = OP_CREATE;
    o->op.ino = ino_of(&c->now, parent);
    o->op.node_kind = kinds[sim_below(c->sim, sizeof(kinds) / sizeof(kinds[0]))];
    o->op.mode = 0600 + (uint32_t)sim_below(c->sim, 64);
    set_name(o, name);
    if (o->op.node_kind == NODE_SYMLINK || (o->op.node_kind == NODE_FILE && sim_chance(c->sim, 50))) {
        client_unique(c, "d", (char *)o->data, sizeof(o->data));
        o->op.data = o->data;
        o->op.data_len = (uint32_t)strlen((const char *)o->data);
    }
    n = &c->next.nodes[at];
    memset(n, 0, sizeof(*n));
    n->used = true;
    n->kind = o->op.node_kind;
    n->parent = parent;
    n->mode = o->op.mode;
    n->len = o->op.data_len;
    memcpy(n->data, o->data, o->op.data_len);
    memcpy(n->name, name, sizeof(n->name));
    o->created = at;
}

/* The lock that people use: O_EXCL on what is there. */
static void choose_create_existing(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, true, true);

    if (at < 0) {
        return;
    }
    o->op.kind = OP_CREATE;
    o->op.ino = ino_of(&c->now, c->now.nodes[at].parent);
    o->op.node_kind = NODE_FILE;
    o->op.mode = 0600;
    set_name(o, c->now.nodes[at].name);
    o->expected = EEXIST;
}

static void choose_append(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, false, true);
    struct model_node *n;

    if (at < 0 || c->now.nodes[at].len > MODEL_DATA - MODEL_NAME) {
        return;
    }
    client_unique(c, "+", (char *)o->data, MODEL_NAME);
    o->op.kind = OP_APPEND;
    o->op.ino = c->now.nodes[at].ino;
    o->op.data = o->data;
    o->op.data_len = (uint32_t)strlen((const char *)o->data);
    n = &c->next.nodes[at];
    memcpy(n->data + n->len, o->data, o->op.data_len);
    n->len += o->op.data_len;
    n->version++;
}

/* Whole new contents, or a piece over what is there. */
static void choose_publish(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, false, true);
    bool whole = sim_chance(c->sim, 60);
    struct model_node *n;
    uint32_t offset;
    uint32_t end;

    if (at < 0) {
        return;
    }
    client_unique(c, "=", (char *)o->data, MODEL_NAME);
    n = &c->next.nodes[at];
    offset = whole ? 0 : (uint32_t)sim_below(c->sim, MODEL_DATA - MODEL_NAME);
    o->range.offset = offset;
    o->range.len = (uint32_t)strlen((const char *)o->data);
    o->range.bytes = o->data;
    o->op.kind = OP_WRITE;
    o->op.ino = c->now.nodes[at].ino;
    o->op.keep = whole ? 0 : TXN_KEEP_ALL;
    o->op.ranges = &o->range;
    o->op.n_ranges = 1;
    end = offset + o->range.len;
    if (whole) {
        n->len = 0;
    }
    if (offset > n->len) {
        memset(n->data + n->len, 0, offset - n->len);
    }
    memcpy(n->data + offset, o->data, o->range.len);
    n->len = end > n->len ? end : n->len;
    n->version++;
}

static void choose_truncate(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, false, true);
    struct model_node *n;
    uint32_t size = (uint32_t)sim_below(c->sim, MODEL_DATA / 4);

    if (at < 0) {
        return;
    }
    o->op.kind = OP_SETATTR;
    o->op.ino = c->now.nodes[at].ino;
    o->op.mask = SETATTR_SIZE;
    o->op.size = size;
    n = &c->next.nodes[at];
    if (size > n->len) {
        memset(n->data + n->len, 0, size - n->len);
    }
    n->len = size;
    n->version++;
}

static void choose_chmod(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, true, true);

    if (at < 0) {
        return;
    }
    o->op.kind = OP_SETATTR;
    o->op.ino = c->now.nodes[at].ino;
    o->op.mask = SETATTR_MODE;
    o->op.mode = (uint32_t)sim_below(c->sim, 01000);
    c->next.nodes[at].mode = o->op.mode;
}

static void choose_remove(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, sim_chance(c->sim, 30), true);

    if (at < 0) {
        return;
    }
    o->op.kind = OP_REMOVE;
    o->op.ino = ino_of(&c->now, c->now.nodes[at].parent);
    o->op.node_kind = c->now.nodes[at].kind == NODE_DIR ? NODE_DIR : NODE_FILE;
    set_name(o, c->now.nodes[at].name);
    if (children_of(&c->now, at) > 0) {
        o->expected = ENOTEMPTY;
    } else {
        c->next.nodes[at].used = false;
    }
}

static void choose_remove_missing(struct sim_client *c)
{
    struct client_op *o = &c->asked;

    o->op.kind = OP_REMOVE;
    o->op.ino = c->now.home;
    o->op.node_kind = NODE_FILE;
    client_unique(c, "m", o->name, sizeof(o->name));
    o->op.name = o->name;
    o->op.name_len = strlen(o->name);
    o->expected = ENOENT;
}

static void choose_rename(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, false, true);
    int parent = any_parent(c);
    char name[MODEL_NAME];

    if (at < 0) {
        return;
    }
    client_unique(c, "r", name, sizeof(name));
    o->op.kind = OP_RENAME;
    o->op.ino = ino_of(&c->now, c->now.nodes[at].parent);
    o->op.new_ino = ino_of(&c->now, parent);
    set_name(o, c->now.nodes[at].name);
    set_new_name(o, name);
    memcpy(c->next.nodes[at].name, name, sizeof(name));
    c->next.nodes[at].parent = parent;
}

/* Onto another file: replaces it, is refused, or exchanges the two. */
static void choose_rename_over(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, false, true);
    int other = any_node(c, false, true);
    const struct model_node *from;
    const struct model_node *to;

    if (at < 0 || at == other) {
        return;
    }
    from = &c->now.nodes[at];
    to = &c->now.nodes[other];
    o->op.kind = OP_RENAME;
    o->op.ino = ino_of(&c->now, from->parent);
    o->op.new_ino = ino_of(&c->now, to->parent);
    set_name(o, from->name);
    set_new_name(o, to->name);
    switch (sim_below(c->sim, 3)) {
    case 0:
        o->op.flags = RENAME_NOREPLACE;
        o->expected = EEXIST;
        return;
    case 1:
        o->op.flags = RENAME_EXCHANGE;
        memcpy(c->next.nodes[other].name, from->name, sizeof(from->name));
        c->next.nodes[other].parent = from->parent;
        break;
    default:
        c->next.nodes[other].used = false;
        break;
    }
    memcpy(c->next.nodes[at].name, to->name, sizeof(to->name));
    c->next.nodes[at].parent = to->parent;
}

static void choose_xattr(struct sim_client *c)
{
    struct client_op *o = &c->asked;
    int at = any_node(c, true, true);

    if (at < 0) {
        return;
    }
    o->op.ino = c->now.nodes[at].ino;
    set_name(o, XATTR_NAME);
    if (sim_chance(c->sim, 40)) {
        o->op.kind = OP_REMOVEXATTR;
        o->expected = c->now.nodes[at].xattr[0] == '\0' ? ENODATA : 0;
        c->next.nodes[at].xattr[0] = '\0';
        return;
    }
    client_unique(c, "x", (char *)o->data, MODEL_NAME);
    o->op.kind = OP_SETXATTR;
    o->op.data = o->data;
    o->op.data_len = (uint32_t)strlen((const char *)o->data);
    memcpy(c->next.nodes[at].xattr, o->data, MODEL_NAME);
}

void model_choose(struct sim_client *c)
{
    static void (*const choices[])(struct sim_client *) = {
        choose_create,  choose_create,   choose_create, choose_create_existing, choose_append,
        choose_append,  choose_append,   choose_append, choose_publish,         choose_publish,
        choose_publish, choose_truncate, choose_chmod,  choose_remove,          choose_remove,
        choose_rename,  choose_rename,   choose_xattr,  choose_rename_over,     choose_remove_missing,
    };

    c->next = c->now;
    memset(&c->asked, 0, sizeof(c->asked));
    c->asked.created = -1;
    choices[sim_below(c->sim, sizeof(choices) / sizeof(choices[0]))](c);
    if (c->asked.op.kind == OP_NOP) {
        /* There was nothing to do it with. */
        c->next = c->now;
        choose_create(c);
    }
    if (c->asked.op.kind == OP_NOP) {
        choose_remove_missing(c);
    }
    c->asked.act = ACT_PRIVATE;
}
