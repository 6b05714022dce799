/* zab.c: the step function: life cycle, dispatch, and what every role needs to put out. */
#include "zab_int.h"

#include <stdlib.h>
#include <string.h>

static struct zab_peer *peers_add(struct zab *z, uint64_t sid, bool participant)
{
    struct zab_peer *p;

    z->peers = realloc(z->peers, (z->n_peers + 1) * sizeof(*z->peers));
    if (z->peers == NULL) {
        abort();
    }
    p = &z->peers[z->n_peers];
    memset(p, 0, sizeof(*p));
    p->sid = sid;
    p->participant = participant;
    z->n_peers++;
    return p;
}

/* The last one moves to the place of one that is gone. */
static void peers_remove(struct zab *z, struct zab_peer *p)
{
    z->n_peers--;
    *p = z->peers[z->n_peers];
}

struct zab *zab_new(const struct zab_config *config, const struct zab_recovered *recovered)
{
    struct zab *z = calloc(1, sizeof(*z));
    size_t i;

    if (z == NULL) {
        abort();
    }
    z->sid = config->sid;
    z->observer = config->observer;
    z->peer_timeout_ms = config->peer_timeout_ms;
    z->init_ms = (uint64_t)config->init_limit * config->tick_ms;
    z->sync_ms = (uint64_t)config->sync_limit * config->tick_ms;
    z->window_bytes = config->window_bytes;
    for (i = 0; i < config->n_servers; i++) {
        if (config->servers[i].sid != z->sid) {
            peers_add(z, config->servers[i].sid, !config->servers[i].observer)->listed = true;
        }
        z->n_participants += !config->servers[i].observer;
    }
    z->unlisted = config->n_servers == 0;
    assert(z->observer || !z->unlisted);
    z->accepted_epoch = recovered->accepted_epoch;
    z->accepted_from = recovered->accepted_from;
    z->current_epoch = recovered->current_epoch;
    z->sole = recovered->sole;
    zab_log_init(&z->log, recovered->zxid_base);
    for (i = 0; i < recovered->n_entries; i++) {
        zab_log_append(&z->log, &recovered->entries[i]);
    }
    z->zxid_synced = zab_log_last(&z->log);
    z->zxid_committed = recovered->zxid_committed;
    assert(z->zxid_committed >= z->log.base);
    assert(z->zxid_committed <= z->zxid_synced);
    return z;
}

void zab_free(struct zab *z)
{
    if (z == NULL) {
        return;
    }
    zab_log_release(&z->log);
    free(z->peers);
    free(z);
}

struct zab_peer *zab_peer_find(struct zab *z, uint64_t sid)
{
    size_t i;

    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].sid == sid) {
            return &z->peers[i];
        }
    }
    return NULL;
}

size_t zab_quorum(const struct zab *z)
{
    return z->n_participants / 2 + 1;
}

bool zab_is_virgin(const struct zab *z)
{
    return z->current_epoch == 0;
}

bool zab_disk_idle(const struct zab *z)
{
    return z->zxid_synced == zab_log_last(&z->log) && z->epochs_in_flight == 0 && !z->truncate_in_flight &&
           !z->snap_in_flight;
}

/* ---- outputs ---- */

static void outputs_clear(struct zab_outputs *out)
{
    size_t i;

    for (i = 0; i < out->n; i++) {
        buf_unref(out->items[i].packet.body);
        buf_unref(out->items[i].entry.body);
    }
    out->n = 0;
}

void zab_outputs_release(struct zab_outputs *out)
{
    outputs_clear(out);
    free(out->items);
    memset(out, 0, sizeof(*out));
}

struct zab_output *zab_emit(struct zab *z, enum zab_output_type type)
{
    struct zab_outputs *out = z->out;
    struct zab_output *item;

    if (out->n == out->cap) {
        out->cap = out->cap == 0 ? 32 : out->cap * 2;
        out->items = realloc(out->items, out->cap * sizeof(*out->items));
        if (out->items == NULL) {
            abort();
        }
    }
    item = &out->items[out->n];
    memset(item, 0, sizeof(*item));
    item->type = type;
    out->n++;
    return item;
}

struct zab_packet *zab_send(struct zab *z, uint64_t to, enum zab_packet_type type, uint64_t zxid)
{
    struct zab_output *item = zab_emit(z, ZAB_OUT_SEND);

    item->peer = to;
    item->packet.type = type;
    item->packet.epoch = z->role == ZAB_LEADING ? z->leading.epoch : z->learning.epoch;
    item->packet.zxid = zxid;
    return &item->packet;
}

void zab_send_entry(struct zab *z, uint64_t to, enum zab_packet_type type, const struct zab_entry *entry)
{
    struct zab_packet *packet = zab_send(z, to, type, entry->zxid);

    packet->zxid_prev = entry->zxid_prev;
    packet->body = buf_ref(entry->body);
}

void zab_emit_epochs(struct zab *z)
{
    struct zab_output *item = zab_emit(z, ZAB_OUT_EPOCHS);

    item->accepted_epoch = z->accepted_epoch;
    item->accepted_from = z->accepted_from;
    item->current_epoch = z->current_epoch;
    item->sole = z->sole;
    z->epochs_in_flight++;
}

void zab_emit_append(struct zab *z, const struct zab_entry *entry)
{
    struct zab_output *item = zab_emit(z, ZAB_OUT_APPEND);

    item->entry = *entry;
    buf_ref(entry->body);
}

void zab_set_role(struct zab *z, enum zab_role role, uint64_t leader, bool ready)
{
    struct zab_output *item;

    if (z->role == role && z->leader == leader && z->ready == ready) {
        return;
    }
    z->role = role;
    z->leader = leader;
    z->ready = ready;
    item = zab_emit(z, ZAB_OUT_ROLE);
    item->role = role;
    item->leader = leader;
    item->ready = ready;
}

void zab_disconnect(struct zab *z, uint64_t sid, const char *reason)
{
    struct zab_output *item = zab_emit(z, ZAB_OUT_DISCONNECT);

    item->peer = sid;
    item->reason = reason;
}

void zab_fatal(struct zab *z, const char *reason)
{
    struct zab_output *item = zab_emit(z, ZAB_OUT_FATAL);

    item->reason = reason;
    z->failed = true;
}

void zab_commit_to(struct zab *z, uint64_t zxid)
{
    size_t i = zab_log_after(&z->log, z->zxid_committed);

    assert(zxid <= zab_log_last(&z->log));
    for (; i < z->log.n && zab_log_at(&z->log, i)->zxid <= zxid; i++) {
        struct zab_output *item = zab_emit(z, ZAB_OUT_COMMIT);

        item->entry = *zab_log_at(&z->log, i);
#ifdef ZNODEFS_MUTANT_APPLY_OUT_OF_ORDER
        /* Seeded fault: a batch is applied from its end. */
        item->entry =
            *zab_log_at(&z->log, zab_log_after(&z->log, zxid) - 1 - (i - zab_log_after(&z->log, z->zxid_committed)));
#endif
        buf_ref(item->entry.body);
    }
    z->zxid_committed = zxid;
    zab_log_trim(&z->log, z->zxid_synced < zxid ? z->zxid_synced : zxid, z->window_bytes);
}

/* ---- inputs ---- */

static void on_peer_up(struct zab *z, uint64_t sid, bool observer)
{
    struct zab_peer *p = zab_peer_find(z, sid);

    if (p == NULL) {
        /* Who is not listed is an observer to a participant, and a participant to an observer that has no list. */
        assert(observer != z->unlisted);
        p = peers_add(z, sid, !observer);
    }
    assert(!p->up);
    p->up = true;
    p->heard_ms = z->now_ms;
    election_on_peer_up(z, p);
}

static void on_peer_down(struct zab *z, uint64_t sid)
{
    struct zab_peer *p = zab_peer_find(z, sid);

    assert(p != NULL);
    assert(p->up);
    p->up = false;
    p->round = 0;
    learner_set_phase(z, p, LEARNER_NONE);
    if (z->leader == sid) {
        zab_look(z);
    }
    election_on_peer_down(z, p);
    if (!p->listed) {
        peers_remove(z, p);
    }
}

/* Packets that learners send to their leader. */
static void on_learner_packet(struct zab *z, struct zab_peer *p, const struct zab_packet *packet)
{
    switch (packet->type) {
    case ZAB_FOLLOWERINFO:
        leader_on_followerinfo(z, p, packet);
        break;
    case ZAB_ACKEPOCH:
        leader_on_ackepoch(z, p, packet);
        break;
    case ZAB_TRUNCATED:
        sync_on_truncated(z, p, packet);
        break;
    case ZAB_SYNC_ACK:
        sync_on_sync_ack(z, p, packet);
        break;
    case ZAB_ACK_NEWLEADER:
        sync_on_ack_newleader(z, p, packet);
        break;
    case ZAB_ACK:
        leader_on_ack(z, p, packet);
        break;
    case ZAB_REQUEST:
        leader_on_request(z, p, packet);
        break;
    default:
        leader_on_pong(z, p, packet);
        break;
    }
}

static void on_packet(struct zab *z, uint64_t from, const struct zab_packet *packet)
{
    struct zab_peer *p = zab_peer_find(z, from);

    assert(p != NULL);
    assert(p->up);
    p->heard_ms = z->now_ms;
    if (p->phase >= LEARNER_SYNCED) {
        p->served_ms = z->now_ms;
    }
    switch (packet->type) {
    case ZAB_VOTE:
        election_on_vote(z, p, packet);
        break;
    case ZAB_FOLLOWERINFO:
    case ZAB_ACKEPOCH:
    case ZAB_TRUNCATED:
    case ZAB_SYNC_ACK:
    case ZAB_ACK_NEWLEADER:
    case ZAB_ACK:
    case ZAB_PONG:
    case ZAB_REQUEST:
        on_learner_packet(z, p, packet);
        break;
    default:
        if (z->leader == from) {
            learner_on_packet(z, packet);
        }
        break;
    }
}

static bool is_learning(const struct zab *z)
{
    return z->role == ZAB_FOLLOWING || z->role == ZAB_OBSERVING;
}

static void on_log_synced(struct zab *z, uint64_t zxid)
{
    assert(zxid <= zab_log_last(&z->log));
    z->zxid_synced = zxid;
    if (z->role == ZAB_LEADING) {
        leader_on_log_synced(z);
    } else if (is_learning(z)) {
        learner_on_log_synced(z);
    }
}

static void on_epochs_synced(struct zab *z)
{
    assert(z->epochs_in_flight > 0);
    z->epochs_in_flight--;
    if (z->role == ZAB_LEADING) {
        leader_on_epochs_synced(z);
    } else if (is_learning(z)) {
        learner_on_epochs_synced(z);
    }
}

static void on_truncated(struct zab *z)
{
    assert(z->truncate_in_flight);
    z->truncate_in_flight = false;
    if (is_learning(z)) {
        learner_on_truncated(z);
    }
}

static void on_snap_synced(struct zab *z, uint64_t zxid)
{
    assert(z->snap_in_flight);
    z->snap_in_flight = false;
    z->zxid_synced = zxid;
    z->zxid_committed = zxid;
    if (is_learning(z)) {
        learner_on_snap_synced(z);
    }
}

static void on_submit(struct zab *z, struct buf *body)
{
    if (!z->ready) {
        return;
    }
    if (z->role == ZAB_LEADING) {
        leader_on_submit(z, body);
    } else {
        learner_on_submit(z, body);
    }
}

static void on_deadline(struct zab *z)
{
    if (z->role == ZAB_LEADING) {
        leader_on_deadline(z);
    } else if (is_learning(z)) {
        learner_on_deadline(z);
    } else {
        election_on_deadline(z);
    }
}

static uint64_t next_deadline(const struct zab *z)
{
    if (z->failed) {
        return UINT64_MAX;
    }
    if (z->role == ZAB_LEADING) {
        return leader_deadline(z);
    }
    if (is_learning(z)) {
        return learner_deadline(z);
    }
    return election_deadline(z);
}

static void on_leave(struct zab *z)
{
    size_t i;

    zab_look(z);
    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].up) {
            zab_disconnect(z, z->peers[i].sid, "this server has left the ensemble: its disk is full, or fails");
        }
    }
    z->failed = true;
}

static void dispatch(struct zab *z, const struct zab_input *in)
{
    switch (in->type) {
    case ZAB_IN_START:
    case ZAB_IN_RESIGN:
        zab_look(z);
        break;
    case ZAB_IN_LEAVE:
        on_leave(z);
        break;
    case ZAB_IN_DEADLINE:
        on_deadline(z);
        break;
    case ZAB_IN_PEER_UP:
        on_peer_up(z, in->peer, in->peer_observer);
        break;
    case ZAB_IN_PEER_DOWN:
        on_peer_down(z, in->peer);
        break;
    case ZAB_IN_PACKET:
        on_packet(z, in->peer, in->packet);
        break;
    case ZAB_IN_LOG_SYNCED:
        on_log_synced(z, in->zxid);
        break;
    case ZAB_IN_EPOCHS_SYNCED:
        on_epochs_synced(z);
        break;
    case ZAB_IN_TRUNCATED:
        on_truncated(z);
        break;
    case ZAB_IN_SNAP_TAKEN:
        if (is_learning(z)) {
            learner_on_snap_taken(z, in->bytes);
        }
        break;
    case ZAB_IN_SNAP_SYNCED:
        on_snap_synced(z, in->zxid);
        break;
    case ZAB_IN_SNAP_SENT:
        sync_on_snap_sent(z, in->peer, in->zxid);
        break;
    case ZAB_IN_LOG_READ:
        sync_on_log_read(z, in);
        break;
    case ZAB_IN_SUBMIT:
        on_submit(z, in->body);
        break;
    case ZAB_IN_APPLIED:
        z->zxid_digest = in->zxid;
        z->digest = in->digest;
        break;
    }
}

void zab_step(struct zab *z, const struct zab_input *in, struct zab_outputs *out)
{
    outputs_clear(out);
    z->out = out;
    z->now_ms = in->now_ms;
    if (!z->failed) {
        dispatch(z, in);
        if (z->role == ZAB_LEADING) {
            leader_check_asked(z);
        }
        if (z->role == ZAB_LOOKING && !z->failed) {
            election_on_disk(z);
        }
    }
    out->deadline_ms = next_deadline(z);
    z->out = NULL;
    assert(z->zxid_committed <= zab_log_last(&z->log) || z->snap_in_flight);
    assert(z->zxid_synced <= zab_log_last(&z->log) || z->snap_in_flight);
}

/* ---- what others may know ---- */

void zab_info(const struct zab *z, struct zab_info *ret_info)
{
    ret_info->role = z->role;
    ret_info->leader = z->leader;
    ret_info->ready = z->ready;
    ret_info->epoch = z->current_epoch;
    ret_info->zxid_logged = zab_log_last(&z->log);
    ret_info->zxid_synced = z->zxid_synced;
    ret_info->zxid_committed = z->zxid_committed;
    ret_info->zxid_window = z->log.base;
    ret_info->virgin = zab_is_virgin(z);
}

bool zab_peer_info(const struct zab *z, uint64_t sid, struct zab_peer_info *ret_info)
{
    size_t i;

    for (i = 0; i < z->n_peers; i++) {
        if (z->peers[i].sid == sid) {
            ret_info->up = z->peers[i].up;
            ret_info->synced = z->role == ZAB_LEADING && z->peers[i].phase >= LEARNER_SYNCED;
            ret_info->zxid_acked = ret_info->synced ? z->peers[i].zxid_acked : 0;
            return true;
        }
    }
    return false;
}

const char *zab_role_name(enum zab_role role)
{
    static const char *const names[] = {"looking", "following", "leading", "observing"};

    assert(role <= ZAB_OBSERVING);
    return names[role];
}

const char *zab_packet_name(enum zab_packet_type type)
{
    static const char *const names[] = {
        "-",      "VOTE",      "FOLLOWERINFO", "LEADERINFO", "ACKEPOCH",      "TRUNC",    "TRUNCATED", "DIFF",
        "SNAP",   "SNAP_DATA", "SNAP_END",     "NEWLEADER",  "ACK_NEWLEADER", "UPTODATE", "PROPOSAL",  "ACK",
        "COMMIT", "INFORM",    "PING",         "PONG",       "REQUEST",       "SYNC_ACK",
    };

    assert(type < ZAB_PACKET_TYPE_COUNT);
    return names[type];
}
