#include "zab_cluster.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void step(struct cluster *c, uint64_t sid, struct zab_input *in);

struct cluster_node *cluster_node(struct cluster *c, uint64_t sid)
{
    assert(sid >= 1 && sid <= c->n);
    return &c->nodes[sid - 1];
}

void cluster_init(struct cluster *c, size_t n, size_t n_observers)
{
    memset(c, 0, sizeof(*c));
    assert(n <= CLUSTER_MAX);
    c->n = n;
    c->n_observers = n_observers;
    c->window_bytes = 1 << 20;
    c->now_ms = 1000;
}

static void node_forget_writes(struct cluster_node *node)
{
    size_t i;

    for (i = 0; i < node->n_writes; i++) {
        buf_unref(node->writes[i].entry.body);
    }
    node->n_writes = 0;
}

static void node_truncate(struct cluster_node *node, uint64_t zxid)
{
    while (node->n_log > 0 && node->log[node->n_log - 1].zxid > zxid) {
        node->n_log--;
        buf_unref(node->log[node->n_log].body);
    }
}

void cluster_release(struct cluster *c)
{
    size_t i;

    for (i = 0; i < c->n; i++) {
        struct cluster_node *node = &c->nodes[i];

        zab_free(node->zab);
        node_forget_writes(node);
        node_truncate(node, 0);
        free(node->writes);
        free(node->log);
        free(node->applied);
    }
    for (i = 0; i < c->n_messages; i++) {
        buf_unref(c->messages[i].packet.body);
    }
    free(c->messages);
    free(c->transcript);
    zab_outputs_release(&c->out);
}

static void link_up(struct cluster *c, uint64_t a, uint64_t b)
{
    struct zab_input in = {.type = ZAB_IN_PEER_UP, .peer = b, .peer_observer = b > c->n - c->n_observers};

    if (c->linked[a - 1][b - 1] || cluster_node(c, a)->zab == NULL || cluster_node(c, b)->zab == NULL ||
        c->cut[a - 1][b - 1] || (a > c->n - c->n_observers && b > c->n - c->n_observers)) {
        return;
    }
    c->linked[a - 1][b - 1] = true;
    c->linked[b - 1][a - 1] = true;
    step(c, a, &in);
    in.peer = a;
    in.peer_observer = a > c->n - c->n_observers;
    step(c, b, &in);
}

static void link_down(struct cluster *c, uint64_t a, uint64_t b)
{
    struct zab_input in = {.type = ZAB_IN_PEER_DOWN};
    size_t i;
    size_t kept = 0;

    if (!c->linked[a - 1][b - 1]) {
        return;
    }
    c->linked[a - 1][b - 1] = false;
    c->linked[b - 1][a - 1] = false;
    for (i = 0; i < c->n_messages; i++) {
        struct cluster_message *m = &c->messages[i];

        if ((m->from == a && m->to == b) || (m->from == b && m->to == a)) {
            buf_unref(m->packet.body);
        } else {
            c->messages[kept++] = *m;
        }
    }
    c->n_messages = kept;
    in.peer = b;
    step(c, a, &in);
    in.peer = a;
    step(c, b, &in);
}

void cluster_start(struct cluster *c, uint64_t sid)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct zab_server servers[CLUSTER_MAX];
    struct zab_config config = {.sid = sid,
                                .observer = sid > c->n - c->n_observers,
                                .servers = servers,
                                .n_servers = sid > c->n - c->n_unlisted ? 0 : c->n - c->n_unlisted,
                                .tick_ms = 2000,
                                .init_limit = 10,
                                .sync_limit = 5,
                                .peer_timeout_ms = 1000,
                                .window_bytes = c->window_bytes};
    struct zab_recovered recovered = node->epochs;
    struct zab_input in = {.type = ZAB_IN_START};
    uint64_t other;

    for (other = 1; other <= c->n; other++) {
        servers[other - 1].sid = other;
        servers[other - 1].observer = other > c->n - c->n_observers;
    }
    recovered.zxid_base = node->base;
    recovered.entries = node->log;
    recovered.n_entries = node->n_log;
    recovered.zxid_committed = node->base;
    node->zxid_snap = node->base;
    node->n_applied = 0;
    node->zab = zab_new(&config, &recovered);
    step(c, sid, &in);
    for (other = 1; other <= c->n; other++) {
        if (other != sid) {
            link_up(c, sid, other);
        }
    }
}

void cluster_crash(struct cluster *c, uint64_t sid)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct zab *zab = node->zab;
    uint64_t other;

    node->zab = NULL;
    for (other = 1; other <= c->n; other++) {
        if (other != sid) {
            link_down(c, sid, other);
        }
    }
    zab_free(zab);
    node_forget_writes(node);
    node->role = ZAB_LOOKING;
    node->ready = false;
    node->deadline_ms = UINT64_MAX;
}

void cluster_wipe(struct cluster *c, uint64_t sid)
{
    struct cluster_node *node = cluster_node(c, sid);

    assert(node->zab == NULL);
    node_truncate(node, 0);
    node->base = 0;
    memset(&node->epochs, 0, sizeof(node->epochs));
}

void cluster_cut(struct cluster *c, uint64_t a, uint64_t b, bool cut)
{
    c->cut[a - 1][b - 1] = cut;
    c->cut[b - 1][a - 1] = cut;
    if (cut) {
        link_down(c, a, b);
    } else {
        link_up(c, a, b);
    }
}

/* ---- outputs ---- */

static void record(struct cluster *c, const struct cluster_message *m)
{
    char line[64];
    int n;

    if (!c->recording) {
        return;
    }
    n = snprintf(line, sizeof(line), "%d>%d %s\n", (int)m->from, (int)m->to, zab_packet_name(m->packet.type));
    assert(n > 0 && (size_t)n < sizeof(line));
    c->transcript = realloc(c->transcript, c->transcript_len + (size_t)n + 1);
    assert(c->transcript != NULL);
    memcpy(c->transcript + c->transcript_len, line, (size_t)n + 1);
    c->transcript_len += (size_t)n;
}

static void push_message(struct cluster *c, uint64_t from, uint64_t to, const struct zab_packet *packet)
{
    struct cluster_message m = {from, to, *packet};

    if (!c->linked[from - 1][to - 1]) {
        return;
    }
    if (m.packet.body != NULL) {
        buf_ref(m.packet.body);
    }
    c->messages = realloc(c->messages, (c->n_messages + 1) * sizeof(*c->messages));
    assert(c->messages != NULL);
    c->messages[c->n_messages++] = m;
    record(c, &m);
}

static void push_write(struct cluster_node *node, const struct zab_output *o)
{
    struct cluster_write w = {.type = o->type,
                              .entry = o->entry,
                              .zxid = o->zxid,
                              .accepted_epoch = o->accepted_epoch,
                              .accepted_from = o->accepted_from,
                              .current_epoch = o->current_epoch,
                              .sole = o->sole};

    if (w.entry.body != NULL) {
        buf_ref(w.entry.body);
    }
    node->writes = realloc(node->writes, (node->n_writes + 1) * sizeof(*node->writes));
    assert(node->writes != NULL);
    node->writes[node->n_writes++] = w;
}

static void push_applied(struct cluster_node *node, uint64_t zxid)
{
    assert(node->n_applied == 0 || zxid > node->applied[node->n_applied - 1]);
    assert(zxid > node->zxid_snap);
    node->applied = realloc(node->applied, (node->n_applied + 1) * sizeof(*node->applied));
    assert(node->applied != NULL);
    node->applied[node->n_applied++] = zxid;
}

/* The "snapshot" is just its zxid: one piece and the end. */
static void send_snapshot(struct cluster *c, uint64_t from, uint64_t to)
{
    uint64_t zxid = cluster_applied(c, from);
    struct zab_packet packet = {.type = ZAB_SNAP, .zxid = zxid};
    struct zab_input in = {.type = ZAB_IN_SNAP_SENT, .peer = to, .zxid = zxid};

    push_message(c, from, to, &packet);
    packet.type = ZAB_SNAP_DATA;
    packet.body = buf_copy("snap", 4);
    push_message(c, from, to, &packet);
    buf_unref(packet.body);
    packet.type = ZAB_SNAP_END;
    packet.body = NULL;
    push_message(c, from, to, &packet);
    step(c, from, &in);
}

/* What the disk still has; at most two at a time, so that more than one turn is needed. */
static void read_log(struct cluster *c, uint64_t sid, const struct zab_output *o)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct zab_input in = {.type = ZAB_IN_LOG_READ, .peer = o->peer, .read = o->read};
    size_t i;

    for (i = 0; i < node->n_log && node->log[i].zxid_prev != o->zxid; i++) {
    }
    if (i < node->n_log && !c->logs_purged) {
        in.entries = &node->log[i];
        in.n_entries = node->n_log - i < 2 ? 1 : 2;
    }
    step(c, sid, &in);
}

static void carry_out(struct cluster *c, uint64_t sid, const struct zab_output *o)
{
    struct cluster_node *node = cluster_node(c, sid);

    switch (o->type) {
    case ZAB_OUT_SEND:
        push_message(c, sid, o->peer, &o->packet);
        break;
    case ZAB_OUT_APPEND:
    case ZAB_OUT_TRUNCATE:
    case ZAB_OUT_EPOCHS:
    case ZAB_OUT_SNAP_INSTALL:
        push_write(node, o);
        break;
    case ZAB_OUT_COMMIT:
        push_applied(node, o->entry.zxid);
        break;
    case ZAB_OUT_ROLE:
        node->role = o->role;
        node->leader = o->leader;
        node->ready = o->ready;
        break;
    case ZAB_OUT_FATAL:
        node->fatal = o->reason;
        break;
    default:
        break;
    }
}

static void step(struct cluster *c, uint64_t sid, struct zab_input *in)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct zab_outputs out = {0};
    uint64_t cut[CLUSTER_MAX];
    struct buf *requests[16];
    struct zab_output later[CLUSTER_MAX];
    size_t n_cut = 0;
    size_t n_requests = 0;
    size_t n_later = 0;
    size_t i;

    if (node->zab == NULL) {
        return;
    }
    in->now_ms = c->now_ms;
    zab_step(node->zab, in, &out);
    for (i = 0; i < out.n; i++) {
        carry_out(c, sid, &out.items[i]);
        if (out.items[i].type == ZAB_OUT_DISCONNECT) {
            cut[n_cut++] = out.items[i].peer;
        } else if (out.items[i].type == ZAB_OUT_REQUEST) {
            requests[n_requests++] = buf_ref(out.items[i].packet.body);
        } else if (out.items[i].type == ZAB_OUT_SNAP_SEND || out.items[i].type == ZAB_OUT_LOG_READ) {
            later[n_later++] = out.items[i];
        }
    }
    node->deadline_ms = out.deadline_ms;
    zab_outputs_release(&out);
    for (i = 0; i < n_requests; i++) {
        struct zab_input submit = {.type = ZAB_IN_SUBMIT, .body = requests[i]};

        step(c, sid, &submit);
        buf_unref(requests[i]);
    }
    for (i = 0; i < n_later; i++) {
        if (later[i].type == ZAB_OUT_SNAP_SEND) {
            send_snapshot(c, sid, later[i].peer);
        } else {
            read_log(c, sid, &later[i]);
        }
    }
    for (i = 0; i < n_cut; i++) {
        link_down(c, sid, cut[i]);
        link_up(c, sid, cut[i]);
    }
}

/* ---- the disk ---- */

static void write_append(struct cluster *c, uint64_t sid, const struct zab_entry *entry)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct zab_input in = {.type = ZAB_IN_LOG_SYNCED, .zxid = entry->zxid};

    node->log = realloc(node->log, (node->n_log + 1) * sizeof(*node->log));
    assert(node->log != NULL);
    assert(entry->zxid_prev == (node->n_log == 0 ? node->base : node->log[node->n_log - 1].zxid));
    node->log[node->n_log] = *entry;
    buf_ref(entry->body);
    node->n_log++;
    step(c, sid, &in);
}

static void write_epochs(struct cluster *c, uint64_t sid, const struct cluster_write *w)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct zab_input in = {.type = ZAB_IN_EPOCHS_SYNCED};

    node->epochs.accepted_epoch = w->accepted_epoch;
    node->epochs.accepted_from = w->accepted_from;
    node->epochs.current_epoch = w->current_epoch;
    node->epochs.sole = w->sole;
    step(c, sid, &in);
}

static void write_snapshot(struct cluster *c, uint64_t sid, uint64_t zxid)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct zab_input in = {.type = ZAB_IN_SNAP_SYNCED, .zxid = zxid};

    node_truncate(node, 0);
    node->base = zxid;
    node->zxid_snap = zxid;
    node->n_applied = 0;
    node->snaps_received++;
    step(c, sid, &in);
}

static void write_one(struct cluster *c, uint64_t sid)
{
    struct cluster_node *node = cluster_node(c, sid);
    struct cluster_write w = node->writes[0];
    struct zab_input in = {.type = ZAB_IN_TRUNCATED, .zxid = w.zxid};

    node->n_writes--;
    memmove(node->writes, node->writes + 1, node->n_writes * sizeof(*node->writes));
    if (w.type == ZAB_OUT_APPEND) {
        write_append(c, sid, &w.entry);
    } else if (w.type == ZAB_OUT_EPOCHS) {
        write_epochs(c, sid, &w);
    } else if (w.type == ZAB_OUT_SNAP_INSTALL) {
        write_snapshot(c, sid, w.zxid);
    } else {
        node_truncate(node, w.zxid);
        step(c, sid, &in);
    }
    buf_unref(w.entry.body);
}

/* ---- running ---- */

static bool deliver_one(struct cluster *c)
{
    size_t i;

    for (i = 0; i < c->n_messages; i++) {
        struct cluster_message m = c->messages[i];
        struct zab_input in = {.type = ZAB_IN_PACKET, .peer = m.from, .packet = &m.packet};

        if (c->hold != NULL && c->hold(&m)) {
            continue;
        }
        c->n_messages--;
        memmove(c->messages + i, c->messages + i + 1, (c->n_messages - i) * sizeof(*c->messages));
        step(c, m.to, &in);
        buf_unref(m.packet.body);
        return true;
    }
    return false;
}

void cluster_settle(struct cluster *c)
{
    bool moved = true;
    uint64_t sid;

    while (moved) {
        moved = deliver_one(c);
        for (sid = 1; sid <= c->n; sid++) {
            struct cluster_node *node = cluster_node(c, sid);

            if (node->zab != NULL && node->n_writes > 0 && !node->disk_stuck) {
                write_one(c, sid);
                moved = true;
            }
        }
    }
}

void cluster_run(struct cluster *c, uint64_t ms)
{
    uint64_t end = c->now_ms + ms;

    for (;;) {
        struct zab_input in = {.type = ZAB_IN_DEADLINE};
        uint64_t next = end;
        uint64_t sid;

        cluster_settle(c);
        for (sid = 1; sid <= c->n; sid++) {
            struct cluster_node *node = cluster_node(c, sid);

            if (node->zab != NULL && node->deadline_ms < next) {
                next = node->deadline_ms;
            }
        }
        if (next >= end) {
            c->now_ms = end;
            return;
        }
        c->now_ms = next > c->now_ms ? next : c->now_ms;
        for (sid = 1; sid <= c->n; sid++) {
            if (cluster_node(c, sid)->zab != NULL && cluster_node(c, sid)->deadline_ms <= c->now_ms) {
                step(c, sid, &in);
            }
        }
    }
}

void cluster_submit(struct cluster *c, uint64_t sid, const char *text)
{
    struct zab_input in = {.type = ZAB_IN_SUBMIT, .body = buf_copy(text, strlen(text))};

    step(c, sid, &in);
    buf_unref(in.body);
}

void cluster_resign(struct cluster *c, uint64_t sid)
{
    struct zab_input in = {.type = ZAB_IN_RESIGN};

    step(c, sid, &in);
}

uint64_t cluster_leader(const struct cluster *c)
{
    uint64_t sid;

    for (sid = 1; sid <= c->n; sid++) {
        const struct cluster_node *node = &c->nodes[sid - 1];

        if (node->zab != NULL && node->role == ZAB_LEADING && node->ready) {
            return sid;
        }
    }
    return 0;
}

uint64_t cluster_applied(struct cluster *c, uint64_t sid)
{
    struct cluster_node *node = cluster_node(c, sid);

    return node->n_applied == 0 ? node->zxid_snap : node->applied[node->n_applied - 1];
}
