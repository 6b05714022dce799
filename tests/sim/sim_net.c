/*
 * Connections between peers, as the transport makes them: one per pair, dialled by the larger sid (an observer always
 * dials), packets in order. A connection that breaks loses what its receiver has not got yet: a prefix arrives. The
 * two ends learn of it at different times, and a half-open one ends when the other side dials anew.
 *
 * What is held up (a stall, one way or both) comes later and in order, as TCP does it, unless the connection breaks.
 */
#include "sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

#define REDIAL_US_MIN (10 * SIM_MS)
#define REDIAL_US_MAX (120 * SIM_MS)
/* The transport closes a connection on which nothing has come for so many peer timeouts. */
#define SILENT_TIMEOUTS 5
/* One way, in a scenario. */
#define SCRIPT_NET_US 500

/* ---- who is who ---- */

static struct sim_link *link_of(struct sim *s, unsigned a, unsigned b)
{
    assert(a != b);
    return a < b ? &s->links[a][b] : &s->links[b][a];
}

static struct sim_end *end_of(struct sim *s, unsigned at, unsigned other)
{
    return &link_of(s, at, other)->end[at < other ? 0 : 1];
}

static struct sim_way *way_of(struct sim *s, unsigned from, unsigned to)
{
    return &link_of(s, from, to)->way[from < to ? 0 : 1];
}

static unsigned dialer_of(const struct sim *s, unsigned a, unsigned b)
{
    const struct sim_peer *pa = &s->peers[a];
    const struct sim_peer *pb = &s->peers[b];

    if (pa->observer != pb->observer) {
        return pa->observer ? a : b;
    }
    return pa->sid > pb->sid ? a : b;
}

static uint64_t delay_us(struct sim *s)
{
    uint64_t us;

    if (s->script != NULL) {
        return SCRIPT_NET_US;
    }
    us = sim_between(s, s->config.net_us / 4, s->config.net_us);
    return sim_chance(s, 1) ? us * 20 : us;
}

/* ---- queues ---- */

static void queue_push(struct sim_queue *q, struct sim_message *m)
{
    m->next = NULL;
    if (q->tail != NULL) {
        q->tail->next = m;
    } else {
        q->head = m;
    }
    q->tail = m;
}

static struct sim_message *queue_pop(struct sim_queue *q)
{
    struct sim_message *m = q->head;

    if (m != NULL) {
        q->head = m->next;
        if (q->head == NULL) {
            q->tail = NULL;
        }
    }
    return m;
}

static void message_free(struct sim_message *m)
{
    buf_unref(m->frame);
    free(m);
}

static void queue_clear(struct sim_queue *q)
{
    while (q->head != NULL) {
        message_free(queue_pop(q));
    }
}

/* ---- sending ---- */

static void count_packet(struct sim *s, const struct zab_packet *packet)
{
    s->stats.snapshots_sent += packet->type == ZAB_SNAP ? 1 : 0;
    s->stats.truncs += packet->type == ZAB_TRUNC ? 1 : 0;
    s->stats.diffs += packet->type == ZAB_DIFF ? 1 : 0;
}

void sim_net_send(struct sim_peer *from, uint64_t sid, const struct zab_packet *packet)
{
    struct sim *s = from->sim;
    const struct sim_peer *to = sim_peer_by_sid(s, sid);
    struct sim_message *m;

    if (sid == from->sid || (to == NULL && !zab_sid_is_unlisted(sid))) {
        sim_fail(s, "server %" PRIu64 " sends to server %" PRIu64, from->sid, sid);
    }
    if (to == NULL) {
        return; /* an observer that has another id by now */
    }
    count_packet(s, packet);
    sim_check_said(from, packet);
    if (s->script != NULL) {
        sim_script_on_send(s, from->index, to->index, packet->type);
    }
    m = sim_alloc(sizeof(*m));
    m->type = packet->type;
    m->to = to->index;
    m->frame = packet_encode(packet, replica_ensemble(from->replica));
    queue_push(&from->outbox, m);
    sim_trace(s, "p%" PRIu64 " -> p%" PRIu64 " %s epoch %u zxid 0x%" PRIx64, from->sid, sid,
              zab_packet_name(packet->type), packet->epoch, packet->zxid);
}

void sim_net_flush(struct sim_peer *from)
{
    struct sim *s = from->sim;
    struct sim_message *m;

    while ((m = queue_pop(&from->outbox)) != NULL) {
        struct sim_link *link = link_of(s, from->index, m->to);
        struct sim_end *end = end_of(s, from->index, m->to);
        struct sim_way *way = way_of(s, from->index, m->to);

        if (!end->up || end->conn != link->conn_live) {
            message_free(m);
            continue;
        }
        m->conn = end->conn;
        m->at_us = s->now_us + delay_us(s);
        if (m->at_us < way->last_us) {
            m->at_us = way->last_us;
        }
        way->last_us = m->at_us;
        queue_push(&way->queue, m);
        sim_push(s, m->at_us - s->now_us,
                 (struct sim_event){.kind = SIM_EV_DELIVER, .peer = m->to, .other = from->index});
    }
}

/* ---- receiving ---- */

/* As the transport does it: check, then decode; nothing that a peer sends may fail. */
static void receive(struct sim_peer *to, const struct sim_peer *from, const struct sim_message *m)
{
    struct sim *s = to->sim;
    struct zab_packet packet;
    uint64_t ensemble;
    unsigned version;
    bool greeting;
    uint32_t body_len;

    if (packet_header_read(m->frame->bytes, PACKET_FRAME_MAX, &body_len) != 0 ||
        body_len + PACKET_HEADER_LEN != m->frame->len ||
        packet_check(m->frame->bytes, m->frame->len, &greeting, &ensemble, &version) != 0 || greeting ||
        packet_decode(m->frame->bytes, m->frame->len, &packet) != 0) {
        sim_fail(s, "server %" PRIu64 " can't read a frame of server %" PRIu64, to->sid, from->sid);
    }
    sim_mix(s, XXH3_64bits(m->frame->bytes, m->frame->len));
    sim_cover(s, SIM_COVER_PACKET + packet.type);
    sim_trace(s, "p%" PRIu64 " <- p%" PRIu64 " %s epoch %u zxid 0x%" PRIx64, to->sid, from->sid,
              zab_packet_name(packet.type), packet.epoch, packet.zxid);
    replica_on_packet(to->replica, end_of(s, to->index, from->index)->sid, &packet);
    buf_unref(packet.body);
}

static void on_deliver(struct sim *s, unsigned to, unsigned from)
{
    struct sim_way *way = way_of(s, from, to);
    struct sim_end *end = end_of(s, to, from);
    struct sim_message *m = way->queue.head;

    /* When the stall ends, there is a new event for each message. */
    if (m == NULL || way->stalls > 0 || m->at_us > s->now_us) {
        return;
    }
    if (!end->up && m->conn == link_of(s, to, from)->conn_live) {
        /* The greeting before it was held up. */
        sim_push(s, 5 * SIM_MS, (struct sim_event){.kind = SIM_EV_DELIVER, .peer = to, .other = from});
        return;
    }
    if (s->script != NULL && end->up && end->conn == m->conn && !sim_script_may_deliver(s, from, to, m->type)) {
        return;
    }
    sim_fault_on_packet(s, from, to, m->type);
    m = queue_pop(&way->queue);
    if (s->peers[to].replica != NULL && end->up && end->conn == m->conn) {
        receive(&s->peers[to], &s->peers[from], m);
    }
    message_free(m);
}

/* ---- connecting ---- */

static void push_dial(struct sim *s, unsigned a, unsigned b, uint64_t in_us)
{
    struct sim_link *link = link_of(s, a, b);
    unsigned dialer = dialer_of(s, a, b);

    link->dial_gen++;
    sim_push(
        s, in_us,
        (struct sim_event){.kind = SIM_EV_DIAL, .peer = dialer, .other = dialer == a ? b : a, .gen = link->dial_gen});
}

static void redial(struct sim *s, unsigned a, unsigned b)
{
    push_dial(s, a, b, REDIAL_US_MIN + sim_jitter(s, REDIAL_US_MAX - REDIAL_US_MIN));
}

static void on_dial(struct sim *s, const struct sim_event *e)
{
    struct sim_link *link = link_of(s, e->peer, e->other);

    if (e->gen != link->dial_gen || s->peers[e->peer].replica == NULL || end_of(s, e->peer, e->other)->up ||
        link->conn_live != 0) {
        return;
    }
    if (s->peers[e->other].replica == NULL || way_of(s, e->peer, e->other)->stalls > 0 ||
        way_of(s, e->other, e->peer)->stalls > 0) {
        redial(s, e->peer, e->other);
        return;
    }
    link->conn_live = ++link->conn_next;
    sim_push(s, delay_us(s),
             (struct sim_event){.kind = SIM_EV_CONN_UP, .peer = e->other, .other = e->peer, .gen = link->conn_live});
}

/* The greeting of `from` has reached `at`. */
static void end_up(struct sim *s, unsigned at, unsigned from, uint64_t conn)
{
    struct sim_end *end = end_of(s, at, from);
    struct sim_peer *p = &s->peers[at];

    if (end->up) {
        end->up = false; /* a new connection replaces the old one */
        replica_on_peer_down(p->replica, end->sid);
    }
    queue_clear(&way_of(s, from, at)->queue);
    *end = (struct sim_end){.up = true, .conn = conn, .sid = s->peers[from].sid};
    sim_trace(s, "p%" PRIu64 " has p%" PRIu64, p->sid, s->peers[from].sid);
    replica_on_peer_up(p->replica, s->peers[from].sid, s->peers[from].observer);
}

static void check_ensembles(struct sim *s, unsigned a, unsigned b)
{
    uint64_t ea = replica_ensemble(s->peers[a].replica);
    uint64_t eb = replica_ensemble(s->peers[b].replica);

    if (ea != 0 && eb != 0 && ea != eb) {
        sim_fail(s, "servers %" PRIu64 " and %" PRIu64 " are of two ensembles, 0x%" PRIx64 " and 0x%" PRIx64,
                 s->peers[a].sid, s->peers[b].sid, ea, eb);
    }
}

static void on_conn_up(struct sim *s, const struct sim_event *e)
{
    struct sim_link *link = link_of(s, e->peer, e->other);
    bool dialer = dialer_of(s, e->peer, e->other) == e->peer;

    if (link->conn_live != e->gen) {
        redial(s, e->peer, e->other);
        return;
    }
    if (s->peers[e->peer].replica == NULL || s->peers[e->other].replica == NULL) {
        link->conn_live = 0;
        redial(s, e->peer, e->other);
        return;
    }
    if (way_of(s, e->other, e->peer)->stalls > 0) {
        sim_push(s, 20 * SIM_MS, *e);
        return;
    }
    check_ensembles(s, e->peer, e->other);
    if (!dialer) {
        uint64_t back_us = delay_us(s);

        /* What the listener sends from now on comes after its greeting. */
        way_of(s, e->peer, e->other)->last_us = s->now_us + back_us;
        way_of(s, e->other, e->peer)->last_us = 0;
        queue_clear(&way_of(s, e->peer, e->other)->queue);
        sim_push(s, back_us,
                 (struct sim_event){.kind = SIM_EV_CONN_UP, .peer = e->other, .other = e->peer, .gen = e->gen});
        end_up(s, e->peer, e->other, e->gen);
        return;
    }
    *end_of(s, e->peer, e->other) = (struct sim_end){.up = true, .conn = e->gen, .sid = s->peers[e->other].sid};
    sim_trace(s, "p%" PRIu64 " has p%" PRIu64, s->peers[e->peer].sid, s->peers[e->other].sid);
    replica_on_peer_up(s->peers[e->peer].replica, s->peers[e->other].sid, s->peers[e->other].observer);
}

/* ---- disconnecting ---- */

static void on_conn_down(struct sim *s, const struct sim_event *e)
{
    struct sim_end *end = end_of(s, e->peer, e->other);

    if (!end->up || end->conn != e->gen) {
        return;
    }
    /* The end of a stream is held up like all of it; `arg` says that this end closed it itself. */
    if (way_of(s, e->other, e->peer)->stalls > 0 && e->arg == 0) {
        sim_push(s, 50 * SIM_MS, *e);
        return;
    }
    end->up = false;
    sim_trace(s, "p%" PRIu64 " lost p%" PRIu64, s->peers[e->peer].sid, s->peers[e->other].sid);
    if (dialer_of(s, e->peer, e->other) == e->peer) {
        redial(s, e->peer, e->other);
    }
    if (s->peers[e->peer].replica != NULL) {
        replica_on_peer_down(s->peers[e->peer].replica, end->sid);
    }
}

static void push_down(struct sim *s, unsigned at, unsigned other, uint64_t in_us, bool own)
{
    const struct sim_end *end = end_of(s, at, other);

    if (end->up) {
        sim_push(s, in_us,
                 (struct sim_event){
                     .kind = SIM_EV_CONN_DOWN, .peer = at, .other = other, .gen = end->conn, .arg = own ? 1 : 0});
    }
}

void sim_net_break(struct sim *s, unsigned a, unsigned b, uint64_t notice_us)
{
    struct sim_link *link = link_of(s, a, b);

    if (link->conn_live == 0) {
        return;
    }
    link->conn_live = 0;
    push_down(s, a, b, sim_jitter(s, notice_us + 1), false);
    push_down(s, b, a, sim_jitter(s, notice_us + 1), false);
}

void sim_net_half_open(struct sim *s, unsigned a, unsigned b)
{
    struct sim_link *link = link_of(s, a, b);

    if (link->conn_live != 0) {
        link->conn_live = 0;
        push_down(s, a, b, 0, true);
        push_down(s, b, a, SILENT_TIMEOUTS * s->config.peer_timeout_ms * SIM_MS, false);
    }
}

void sim_net_lose(struct sim *s, unsigned from, unsigned to)
{
    queue_clear(&way_of(s, from, to)->queue);
    sim_net_break(s, from, to, 0);
}

void sim_net_disconnect(struct sim_peer *from, uint64_t sid)
{
    struct sim *s = from->sim;
    const struct sim_peer *to = sim_peer_by_sid(s, sid);
    unsigned other;
    struct sim_link *link;
    const struct sim_end *end;

    if (to == NULL) {
        return;
    }
    other = to->index;
    link = link_of(s, from->index, other);
    end = end_of(s, from->index, other);
    if (!end->up) {
        return;
    }
    push_down(s, from->index, other, 0, true);
    if (end->conn == link->conn_live) {
        link->conn_live = 0;
        push_down(s, other, from->index, delay_us(s), false);
    }
}

void sim_net_boot(struct sim_peer *p)
{
    struct sim *s = p->sim;
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if (i != p->index && dialer_of(s, p->index, i) == p->index) {
            push_dial(s, p->index, i, sim_jitter(s, 20 * SIM_MS));
        }
    }
}

void sim_net_crash(struct sim_peer *p, uint64_t notice_us)
{
    struct sim *s = p->sim;
    unsigned i;

    queue_clear(&p->outbox);
    for (i = 0; i < s->n_peers; i++) {
        if (i == p->index) {
            continue;
        }
        end_of(s, p->index, i)->up = false;
        queue_clear(&way_of(s, i, p->index)->queue);
        link_of(s, p->index, i)->conn_live = 0;
        push_down(s, i, p->index, sim_jitter(s, notice_us + 1), false);
    }
}

/* ---- stalls ---- */

static void deliver_held_up(struct sim *s, unsigned from, unsigned to)
{
    struct sim_message *m;

    for (m = way_of(s, from, to)->queue.head; m != NULL; m = m->next) {
        uint64_t in_us = m->at_us > s->now_us ? m->at_us - s->now_us : 0;

        sim_push(s, in_us, (struct sim_event){.kind = SIM_EV_DELIVER, .peer = to, .other = from});
    }
}

void sim_net_stall(struct sim *s, unsigned from, unsigned to, int delta)
{
    struct sim_way *way = way_of(s, from, to);

    if (delta > 0) {
        way->stalls++;
        return;
    }
    assert(way->stalls > 0);
    way->stalls--;
    if (way->stalls == 0) {
        deliver_held_up(s, from, to);
    }
}

void sim_net_unstall_all(struct sim *s)
{
    unsigned from;
    unsigned to;

    for (from = 0; from < s->n_peers; from++) {
        for (to = 0; to < s->n_peers; to++) {
            if (from != to && way_of(s, from, to)->stalls > 0) {
                way_of(s, from, to)->stalls = 0;
                deliver_held_up(s, from, to);
            }
        }
    }
}

/* ---- the rest ---- */

void sim_net_on_event(struct sim *s, const struct sim_event *e)
{
    switch (e->kind) {
    case SIM_EV_DIAL:
        on_dial(s, e);
        return;
    case SIM_EV_CONN_UP:
        on_conn_up(s, e);
        return;
    case SIM_EV_CONN_DOWN:
        on_conn_down(s, e);
        return;
    case SIM_EV_DELIVER:
        on_deliver(s, e->peer, e->other);
        return;
    default:
        assert(false);
    }
}

void sim_net_release(struct sim *s)
{
    unsigned a;
    unsigned b;

    for (a = 0; a < s->n_peers; a++) {
        queue_clear(&s->peers[a].outbox);
        for (b = a + 1; b < s->n_peers; b++) {
            queue_clear(&s->links[a][b].way[0].queue);
            queue_clear(&s->links[a][b].way[1].queue);
        }
    }
}
