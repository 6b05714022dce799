/* The core against a peer that sends what no peer should: it is disconnected, and no assert is within its reach. */
#include "consensus/zab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEADER 3

/* Server 1 of three; whatever it hears is made up by the test. */
struct lone {
    struct zab *zab;
    struct zab_outputs out;
    uint64_t now_ms;
};

static void lone_step(struct lone *l, struct zab_input *in)
{
    in->now_ms = l->now_ms;
    zab_step(l->zab, in, &l->out);
}

static void lone_packet(struct lone *l, uint64_t from, struct zab_packet *packet)
{
    struct zab_input in = {.type = ZAB_IN_PACKET, .peer = from, .packet = packet};

    lone_step(l, &in);
}

static void lone_init(struct lone *l, uint32_t epoch)
{
    const struct zab_server servers[] = {{1, false}, {2, false}, {3, false}};
    struct zab_config config = {.sid = 1,
                                .servers = servers,
                                .n_servers = 3,
                                .tick_ms = 2000,
                                .init_limit = 10,
                                .sync_limit = 5,
                                .peer_timeout_ms = 1000,
                                .window_bytes = 1 << 20};
    struct zab_recovered recovered = {.accepted_epoch = epoch, .accepted_from = 2, .current_epoch = epoch};
    struct zab_input in = {.type = ZAB_IN_START};

    memset(l, 0, sizeof(*l));
    l->now_ms = 1000;
    l->zab = zab_new(&config, &recovered);
    lone_step(l, &in);
    in.type = ZAB_IN_PEER_UP;
    in.peer = LEADER;
    lone_step(l, &in);
}

static void lone_release(struct lone *l)
{
    zab_free(l->zab);
    zab_outputs_release(&l->out);
}

static const struct zab_output *lone_find(const struct lone *l, enum zab_output_type type)
{
    size_t i;

    for (i = 0; i < l->out.n; i++) {
        if (l->out.items[i].type == type) {
            return &l->out.items[i];
        }
    }
    return NULL;
}

static void lone_leader_says(struct lone *l, enum zab_packet_type type, uint64_t zxid)
{
    struct zab_packet packet = {.type = type, .epoch = 2, .zxid = zxid};

    lone_packet(l, LEADER, &packet);
}

static void lone_leader_proposes(struct lone *l, uint64_t zxid, uint64_t zxid_prev)
{
    struct zab_packet packet = {.type = ZAB_PROPOSAL, .epoch = 2, .zxid = zxid, .zxid_prev = zxid_prev};

    packet.body = buf_copy("x", 1);
    lone_packet(l, LEADER, &packet);
    buf_unref(packet.body);
}

static void lone_snap_data(struct lone *l)
{
    struct zab_packet packet = {.type = ZAB_SNAP_DATA, .epoch = 2};

    packet.body = buf_copy("snap", 4);
    lone_packet(l, LEADER, &packet);
    buf_unref(packet.body);
}

static void lone_report(struct lone *l, enum zab_input_type type, uint64_t zxid)
{
    struct zab_input in = {.type = type, .zxid = zxid};

    lone_step(l, &in);
}

/* Follows server 3 in epoch 2, ready to be synchronized. */
static void lone_follow(struct lone *l)
{
    struct zab_packet packet = {.type = ZAB_VOTE, .round = 1, .role = ZAB_LEADING, .vote = {.sid = LEADER, .epoch = 1}};

    lone_init(l, 1);
    lone_packet(l, LEADER, &packet);
    packet.type = ZAB_LEADERINFO;
    packet.epoch = 2;
    packet.round = 1;
    lone_packet(l, LEADER, &packet);
    assert_non_null(lone_find(l, ZAB_OUT_EPOCHS));
    lone_report(l, ZAB_IN_EPOCHS_SYNCED, 0);
    assert_int_equal(l->out.items[0].packet.type, ZAB_ACKEPOCH);
}

static void test_trunc_of_what_is_on_its_way_to_the_disk(void **state)
{
    struct lone l;

    (void)state;
    lone_follow(&l);
    lone_leader_says(&l, ZAB_DIFF, 0);
    lone_leader_proposes(&l, zxid_make(2, 1), 0);
    lone_leader_says(&l, ZAB_TRUNC, 0);
    assert_non_null(lone_find(&l, ZAB_OUT_DISCONNECT));
    assert_null(lone_find(&l, ZAB_OUT_TRUNCATE));
    lone_report(&l, ZAB_IN_LOG_SYNCED, zxid_make(2, 1));
    lone_release(&l);
}

static void test_snap_over_what_is_on_its_way_to_the_disk(void **state)
{
    struct lone l;

    (void)state;
    lone_follow(&l);
    lone_leader_says(&l, ZAB_DIFF, 0);
    lone_leader_proposes(&l, zxid_make(2, 1), 0);
    lone_leader_says(&l, ZAB_SNAP, zxid_make(1, 1));
    assert_non_null(lone_find(&l, ZAB_OUT_DISCONNECT));
    lone_report(&l, ZAB_IN_LOG_SYNCED, zxid_make(2, 1));
    lone_release(&l);
}

static void test_two_snapshots(void **state)
{
    struct lone l;

    (void)state;
    lone_follow(&l);
    lone_leader_says(&l, ZAB_SNAP, zxid_make(1, 5));
    lone_snap_data(&l);
    lone_leader_says(&l, ZAB_SNAP_END, zxid_make(1, 5));
    assert_non_null(lone_find(&l, ZAB_OUT_SNAP_INSTALL));
    lone_leader_says(&l, ZAB_SNAP, zxid_make(1, 6));
    assert_non_null(lone_find(&l, ZAB_OUT_DISCONNECT));
    lone_report(&l, ZAB_IN_SNAP_SYNCED, zxid_make(1, 5));
    lone_release(&l);
}

static void test_a_snapshot_that_ends_as_another(void **state)
{
    struct lone l;

    (void)state;
    lone_follow(&l);
    lone_leader_says(&l, ZAB_SNAP, zxid_make(1, 5));
    lone_snap_data(&l);
    lone_leader_says(&l, ZAB_SNAP_END, zxid_make(1, 4));
    assert_non_null(lone_find(&l, ZAB_OUT_DISCONNECT));
    assert_null(lone_find(&l, ZAB_OUT_SNAP_INSTALL));
    lone_release(&l);
}

static void test_an_epoch_that_cannot_be(void **state)
{
    struct zab_packet packet = {.type = ZAB_VOTE, .round = 1, .role = ZAB_LEADING, .vote = {.sid = LEADER, .epoch = 1}};
    struct lone l;

    (void)state;
    lone_init(&l, 1);
    lone_packet(&l, LEADER, &packet);
    packet.type = ZAB_LEADERINFO;
    packet.epoch = UINT32_MAX;
    lone_packet(&l, LEADER, &packet);
    assert_non_null(lone_find(&l, ZAB_OUT_DISCONNECT));
    assert_null(lone_find(&l, ZAB_OUT_EPOCHS));
    lone_release(&l);
}

/* Server 1 leads with the help of server 3, which has accepted `epoch`. */
static void lone_lead(struct lone *l, uint32_t epoch)
{
    struct zab_packet packet = {.type = ZAB_VOTE, .round = 1, .role = ZAB_LOOKING, .vote = {.sid = 1, .epoch = 1}};
    struct zab_input in = {.type = ZAB_IN_DEADLINE};

    lone_init(l, 1);
    lone_packet(l, LEADER, &packet);
    l->now_ms = l->out.deadline_ms;
    lone_step(l, &in);
    packet.type = ZAB_FOLLOWERINFO;
    packet.epoch = epoch;
    lone_packet(l, LEADER, &packet);
}

static void test_a_learner_with_an_epoch_that_cannot_be(void **state)
{
    struct zab_info info;
    struct lone l;

    (void)state;
    lone_lead(&l, UINT32_MAX);
    zab_info(l.zab, &info);
    assert_int_equal(info.role, ZAB_LEADING);
    assert_non_null(lone_find(&l, ZAB_OUT_DISCONNECT));
    assert_null(lone_find(&l, ZAB_OUT_EPOCHS));
    lone_release(&l);
}

static void test_the_last_epoch(void **state)
{
    struct lone l;

    (void)state;
    lone_lead(&l, UINT32_MAX - 2);
    assert_int_equal(lone_find(&l, ZAB_OUT_EPOCHS)->accepted_epoch, UINT32_MAX - 1);
    lone_release(&l);
    lone_lead(&l, UINT32_MAX - 1); /* there is none after this one */
    assert_non_null(lone_find(&l, ZAB_OUT_DISCONNECT));
    assert_null(lone_find(&l, ZAB_OUT_EPOCHS));
    lone_release(&l);
}

/* ---- anything at all ---- */

#define FUZZ_SEEDS 400
#define FUZZ_STEPS 1500
#define FUZZ_PEERS 4 /* servers 2 and 3, and two observers */

/* A lone server with a disk that works in order, among peers that say what comes to their minds. */
struct fuzz {
    struct lone lone;
    uint64_t seed;
    struct zab_output *writes; /* without their bodies, oldest first */
    size_t n_writes;
    bool up[FUZZ_PEERS + 2];
    uint64_t join;             /* of the last FOLLOWERINFO */
    enum zab_packet_type said; /* the last packet that was no PONG */
    uint32_t accepted_epoch;
    uint64_t applied;
    bool fatal;
};

static uint64_t fuzz_below(struct fuzz *f, uint64_t n)
{
    f->seed ^= f->seed >> 12;
    f->seed ^= f->seed << 25;
    f->seed ^= f->seed >> 27;
    return (f->seed * 0x2545f4914f6cdd1du >> 33) % n;
}

static void fuzz_step(struct fuzz *f, struct zab_input *in);

static void fuzz_peer(struct fuzz *f, uint64_t sid, bool up)
{
    struct zab_input in = {.type = up ? ZAB_IN_PEER_UP : ZAB_IN_PEER_DOWN, .peer = sid, .peer_observer = sid > 3};

    f->up[sid] = up;
    fuzz_step(f, &in);
}

static void fuzz_output(struct fuzz *f, const struct zab_output *o, bool *cut)
{
    switch (o->type) {
    case ZAB_OUT_APPEND:
    case ZAB_OUT_TRUNCATE:
    case ZAB_OUT_EPOCHS:
    case ZAB_OUT_SNAP_INSTALL:
        f->writes = realloc(f->writes, (f->n_writes + 1) * sizeof(*f->writes));
        assert_non_null(f->writes);
        f->writes[f->n_writes++] = *o;
        f->accepted_epoch = o->type == ZAB_OUT_EPOCHS ? o->accepted_epoch : f->accepted_epoch;
        break;
    case ZAB_OUT_COMMIT:
        assert_true(o->entry.zxid > f->applied);
        f->applied = o->entry.zxid;
        break;
    case ZAB_OUT_SEND:
        f->join = o->packet.type == ZAB_FOLLOWERINFO ? o->packet.round : f->join;
        f->said = o->packet.type == ZAB_PONG || o->packet.type == ZAB_VOTE ? f->said : o->packet.type;
        break;
    case ZAB_OUT_DISCONNECT:
        assert_true(o->peer >= 2 && o->peer < FUZZ_PEERS + 2);
        cut[o->peer] = true;
        break;
    case ZAB_OUT_FATAL:
        f->fatal = true;
        break;
    default:
        break;
    }
}

static void fuzz_step(struct fuzz *f, struct zab_input *in)
{
    bool cut[FUZZ_PEERS + 2] = {false};
    uint64_t sid;
    size_t i;

    lone_step(&f->lone, in);
    for (i = 0; i < f->lone.out.n; i++) {
        fuzz_output(f, &f->lone.out.items[i], cut);
    }
    for (sid = 2; sid < FUZZ_PEERS + 2; sid++) {
        if (cut[sid] && f->up[sid]) {
            fuzz_peer(f, sid, false);
        }
    }
}

static void fuzz_write(struct fuzz *f)
{
    struct zab_output o = f->writes[0];
    struct zab_input in = {.zxid = o.zxid};

    f->n_writes--;
    memmove(f->writes, f->writes + 1, f->n_writes * sizeof(*f->writes));
    switch (o.type) {
    case ZAB_OUT_APPEND:
        in.type = ZAB_IN_LOG_SYNCED;
        in.zxid = o.entry.zxid;
        break;
    case ZAB_OUT_TRUNCATE:
        in.type = ZAB_IN_TRUNCATED;
        break;
    case ZAB_OUT_EPOCHS:
        in.type = ZAB_IN_EPOCHS_SYNCED;
        break;
    default:
        in.type = ZAB_IN_SNAP_SYNCED;
        assert_true(o.zxid >= f->applied);
        f->applied = o.zxid;
        break;
    }
    fuzz_step(f, &in);
}

static uint64_t fuzz_zxid(struct fuzz *f, const struct zab_info *info)
{
    switch (fuzz_below(f, 8)) {
    case 0:
        return 0;
    case 1:
        return info->zxid_committed;
    case 2:
        return zxid_make((uint32_t)fuzz_below(f, 8), (uint32_t)fuzz_below(f, 6));
    case 3:
        return fuzz_below(f, 20) == 0 ? UINT64_MAX : info->zxid_window;
    case 4:
        return info->zxid_synced;
    default:
        return info->zxid_logged;
    }
}

/* What an honest leader may say next to whom it leads. */
static enum zab_packet_type fuzz_leader_type(struct fuzz *f)
{
    static const enum zab_packet_type synchronizing[] = {ZAB_DIFF,      ZAB_PROPOSAL, ZAB_PROPOSAL,  ZAB_NEWLEADER,
                                                         ZAB_NEWLEADER, ZAB_SNAP,     ZAB_SNAP_DATA, ZAB_SNAP_END};
    static const enum zab_packet_type broadcasting[] = {ZAB_PROPOSAL, ZAB_PROPOSAL, ZAB_COMMIT, ZAB_PING};

    switch (f->said) {
    case ZAB_FOLLOWERINFO:
        return ZAB_LEADERINFO;
    case ZAB_ACKEPOCH:
    case ZAB_TRUNCATED:
        return synchronizing[fuzz_below(f, 8)];
    case ZAB_ACK_NEWLEADER:
        return ZAB_UPTODATE;
    default:
        return broadcasting[fuzz_below(f, 4)];
    }
}

/* What an honest learner, or a voter, may say to this server. */
static enum zab_packet_type fuzz_learner_type(struct fuzz *f, const struct zab_info *info)
{
    static const enum zab_packet_type types[] = {ZAB_FOLLOWERINFO, ZAB_ACKEPOCH, ZAB_ACK_NEWLEADER,
                                                 ZAB_ACK,          ZAB_PONG,     ZAB_REQUEST};

    return info->role == ZAB_LEADING ? types[fuzz_below(f, 6)] : ZAB_VOTE;
}

/* Makes an honest packet of a random one. */
static void fuzz_mend(struct fuzz *f, struct zab_packet *p, uint64_t from, const struct zab_info *info)
{
    bool learning = info->leader == from;

    p->type = learning ? fuzz_leader_type(f) : fuzz_learner_type(f, info);
    p->epoch = learning ? f->accepted_epoch : info->epoch;
    p->zxid_prev = info->zxid_logged;
    p->zxid = p->type == ZAB_COMMIT && fuzz_below(f, 2) == 0 ? info->zxid_committed : info->zxid_logged;
    if (p->type == ZAB_PROPOSAL) {
        p->zxid = info->zxid_logged + 1;
    } else if (p->type == ZAB_LEADERINFO) {
        p->round = f->join;
        p->epoch = f->accepted_epoch + 1;
    } else if (p->type == ZAB_VOTE) {
        p->round = 1 + fuzz_below(f, 30);
        p->vote = (struct zab_vote){.sid = 1, .epoch = info->epoch};
        p->role = fuzz_below(f, 3) == 0 ? ZAB_LEADING : ZAB_LOOKING;
    } else if (p->type == ZAB_FOLLOWERINFO) {
        p->accepted_from = 1;
    } else if (p->type == ZAB_ACKEPOCH) {
        p->zxid = info->zxid_committed;
    }
}

/* A packet that may be sent, in every field what it should hold or something near it. */
static void fuzz_packet(struct fuzz *f)
{
    struct zab_packet p = {.type = (enum zab_packet_type)(1 + fuzz_below(f, ZAB_PACKET_TYPE_COUNT - 1))};
    uint64_t from = 2 + fuzz_below(f, FUZZ_PEERS);
    struct zab_info info;

    zab_info(f->lone.zab, &info);
    if (fuzz_below(f, 3) != 0 && info.leader > 1) {
        from = info.leader;
    }
    if (!f->up[from]) {
        fuzz_peer(f, from, true);
        return;
    }
    p.epoch = info.epoch + (uint32_t)fuzz_below(f, 3);
    p.zxid_prev = fuzz_zxid(f, &info);
    p.zxid = p.type == ZAB_PROPOSAL || p.type == ZAB_INFORM ? p.zxid_prev + 1 + fuzz_below(f, 2) : fuzz_zxid(f, &info);
    p.round = p.type == ZAB_LEADERINFO && fuzz_below(f, 4) != 0 ? f->join : fuzz_below(f, 30);
    p.vote = (struct zab_vote){1 + fuzz_below(f, 5), fuzz_zxid(f, &info), p.epoch, fuzz_below(f, 4) == 0, false};
    p.vote.sole = fuzz_below(f, 8) == 0;
    p.role = (enum zab_role)fuzz_below(f, 4);
    p.virgin = fuzz_below(f, 3) == 0;
    p.empty = fuzz_below(f, 2) == 0;
    p.accepted_from = fuzz_below(f, 5);
    p.zxid_digest = fuzz_zxid(f, &info);
    if (fuzz_below(f, 25) != 0) {
        fuzz_mend(f, &p, from, &info);
    }
    if (p.type == ZAB_PROPOSAL || p.type == ZAB_INFORM || p.type == ZAB_REQUEST || p.type == ZAB_SNAP_DATA) {
        p.body = buf_copy("x", 1);
    }
    struct zab_input in = {.type = ZAB_IN_PACKET, .peer = from, .packet = &p};
    fuzz_step(f, &in);
    buf_unref(p.body);
}

/* What is due is done, and what that makes due: a deadline that stays in the past would keep the loop spinning. */
static void fuzz_deadline(struct fuzz *f)
{
    struct zab_input in = {.type = ZAB_IN_DEADLINE};
    int i;

    f->lone.now_ms += fuzz_below(f, 300);
    for (i = 0; i < 4 && !f->fatal && (i == 0 || f->lone.out.deadline_ms <= f->lone.now_ms); i++) {
        fuzz_step(f, &in);
    }
    assert_true(f->fatal || f->lone.out.deadline_ms > f->lone.now_ms);
}

static void fuzz_anything(struct fuzz *f)
{
    struct zab_input in = {.type = ZAB_IN_SUBMIT};

    switch (fuzz_below(f, 12)) {
    case 0:
        fuzz_deadline(f);
        break;
    case 1:
        in.body = buf_copy("y", 1);
        fuzz_step(f, &in);
        buf_unref(in.body);
        break;
    case 2:
    case 3:
    case 4:
        if (f->n_writes > 0) {
            fuzz_write(f);
        }
        break;
    default:
        fuzz_packet(f);
        break;
    }
}

static void test_anything_at_all(void **state)
{
    uint64_t seed;
    int i;

    (void)state;
    for (seed = 1; seed <= FUZZ_SEEDS; seed++) {
        struct fuzz f = {.seed = seed * 0x9e3779b97f4a7c15u};

        lone_init(&f.lone, (uint32_t)fuzz_below(&f, 2));
        f.up[LEADER] = true;
        for (i = 0; i < FUZZ_STEPS && !f.fatal; i++) {
            fuzz_anything(&f);
        }
        free(f.writes);
        lone_release(&f.lone);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trunc_of_what_is_on_its_way_to_the_disk),
        cmocka_unit_test(test_snap_over_what_is_on_its_way_to_the_disk),
        cmocka_unit_test(test_two_snapshots),
        cmocka_unit_test(test_a_snapshot_that_ends_as_another),
        cmocka_unit_test(test_an_epoch_that_cannot_be),
        cmocka_unit_test(test_a_learner_with_an_epoch_that_cannot_be),
        cmocka_unit_test(test_the_last_epoch),
        cmocka_unit_test(test_anything_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
