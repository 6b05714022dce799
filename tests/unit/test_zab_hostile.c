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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
