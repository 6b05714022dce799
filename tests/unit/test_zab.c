/* The core, exchange by exchange: the lessons of the design's section 4 that a transcript can show. */
#include "zab_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void start_all(struct cluster *c)
{
    uint64_t sid;

    for (sid = 1; sid <= c->n; sid++) {
        cluster_start(c, sid);
    }
    cluster_run(c, 3000);
}

static void assert_all_at(struct cluster *c, uint64_t zxid)
{
    uint64_t sid;

    for (sid = 1; sid <= c->n; sid++) {
        assert_int_equal(cluster_applied(c, sid), zxid);
    }
}

static void test_first_ensemble_forms_when_all_are_up(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    cluster_start(&c, 1);
    cluster_start(&c, 2);
    cluster_run(&c, 5000);
    assert_int_equal(cluster_leader(&c), 0); /* lesson 12: two empty ones are a quorum, but the third may have data */
    cluster_start(&c, 3);
    cluster_run(&c, 1000);
    assert_int_equal(cluster_leader(&c), 3);
    assert_true(cluster_node(&c, 1)->ready && cluster_node(&c, 2)->ready);
    cluster_submit(&c, 1, "from a follower");
    cluster_submit(&c, 3, "from the leader");
    cluster_run(&c, 10);
    assert_all_at(&c, zxid_make(1, 2));
    cluster_release(&c);
}

static void test_join_transcript(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_run(&c, 10);
    cluster_crash(&c, 1);
    cluster_submit(&c, 3, "b");
    cluster_run(&c, 10);
    c.recording = true;
    cluster_start(&c, 1);
    cluster_settle(&c);
    assert_string_equal(c.transcript, "1>2 VOTE\n1>3 VOTE\n3>1 VOTE\n2>1 VOTE\n3>1 VOTE\n" /* who leads */
                                      "1>3 FOLLOWERINFO\n3>1 LEADERINFO\n1>3 ACKEPOCH\n"
                                      "3>1 DIFF\n3>1 PROPOSAL\n3>1 NEWLEADER\n1>3 SYNC_ACK\n"
                                      "1>3 ACK_NEWLEADER\n3>1 UPTODATE\n");
    assert_all_at(&c, zxid_make(1, 2));
    cluster_release(&c);
}

static void test_leader_crash_keeps_what_was_committed(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_node(&c, 1)->disk_stuck = true;
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    assert_int_equal(cluster_applied(&c, 3), zxid_make(1, 1)); /* 3 and 2 have it */
    cluster_crash(&c, 3);
    cluster_node(&c, 1)->disk_stuck = false;
    cluster_run(&c, 100);
    assert_int_equal(cluster_leader(&c), 2);
    assert_int_equal(cluster_applied(&c, 1), zxid_make(1, 1));
    cluster_submit(&c, 1, "b");
    cluster_run(&c, 10);
    cluster_start(&c, 3);
    cluster_run(&c, 100);
    assert_all_at(&c, zxid_make(2, 1));
    cluster_release(&c);
}

static bool hold_proposals(const struct cluster_message *m)
{
    return m->packet.type == ZAB_PROPOSAL;
}

static void test_diverged_leader_truncates(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    c.hold = hold_proposals;
    cluster_submit(&c, 3, "never seen by others");
    cluster_submit(&c, 3, "nor this");
    cluster_settle(&c);
    cluster_crash(&c, 3);
    c.hold = NULL;
    cluster_run(&c, 100);
    cluster_submit(&c, cluster_leader(&c), "b");
    cluster_run(&c, 10);
    c.recording = true;
    cluster_start(&c, 3);
    cluster_run(&c, 100);
    assert_non_null(strstr(c.transcript, " TRUNC\n")); /* lesson 7 */
    assert_all_at(&c, zxid_make(2, 1));
    assert_int_equal(cluster_node(&c, 3)->n_log, 2);
    cluster_release(&c);
}

/* Server 1 comes back for what the leader's window does not hold any more. */
static void fall_behind_the_window(struct cluster *c, bool logs_purged)
{
    int i;

    cluster_init(c, 3, 0);
    c->window_bytes = 16;
    c->logs_purged = logs_purged;
    start_all(c);
    cluster_crash(c, 1);
    for (i = 0; i < 20; i++) {
        cluster_submit(c, 3, "0123456789");
        cluster_settle(c);
    }
    cluster_start(c, 1);
    cluster_run(c, 100);
}

static void test_the_log_when_the_window_is_too_short(void **state)
{
    struct cluster c;

    (void)state;
    fall_behind_the_window(&c, false);
    assert_int_equal(cluster_node(&c, 1)->snaps_received, 0);
    cluster_submit(&c, 1, "after");
    cluster_run(&c, 10);
    assert_all_at(&c, zxid_make(1, 21));
    assert_int_equal(cluster_node(&c, 1)->n_log, 21);
    cluster_release(&c);
}

static void test_snapshot_when_the_log_is_too_short(void **state)
{
    struct cluster c;

    (void)state;
    fall_behind_the_window(&c, true);
    assert_int_equal(cluster_node(&c, 1)->snaps_received, 1);
    cluster_submit(&c, 1, "after");
    cluster_run(&c, 10);
    assert_all_at(&c, zxid_make(1, 21));
    cluster_release(&c);
}

/* A disk that only trickles: its peer is dropped, and comes back when it has written what it was sent. */
static void test_a_disk_far_behind(void **state)
{
    static char megabyte[1 << 20];
    struct zab_peer_info info;
    struct cluster c;
    int i;

    (void)state;
    memset(megabyte, 'x', sizeof(megabyte) - 1);
    cluster_init(&c, 3, 0);
    c.window_bytes = 64 << 20;
    start_all(&c);
    cluster_node(&c, 1)->disk_stuck = true;
    for (i = 0; i < 40; i++) {
        cluster_submit(&c, 3, megabyte);
        cluster_settle(&c);
    }
    cluster_run(&c, 600);
    assert_true(zab_peer_info(cluster_node(&c, 3)->zab, 1, &info));
    assert_false(info.synced);
    assert_int_equal(cluster_leader(&c), 3);
    cluster_node(&c, 1)->disk_stuck = false;
    cluster_run(&c, 3000);
    assert_true(zab_peer_info(cluster_node(&c, 3)->zab, 1, &info));
    assert_true(info.synced);
    assert_all_at(&c, zxid_make(1, 40));
    /* So does a leader whose own disk does. */
    cluster_node(&c, 3)->disk_stuck = true;
    for (i = 0; i < 40; i++) {
        cluster_submit(&c, 3, megabyte);
        cluster_settle(&c);
    }
    cluster_run(&c, 600);
    assert_int_not_equal(cluster_leader(&c), 3);
    cluster_release(&c);
}

static void test_wiped_members_do_not_outvote(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 1);
    cluster_crash(&c, 2);
    cluster_crash(&c, 3);
    cluster_wipe(&c, 1);
    cluster_wipe(&c, 2);
    cluster_start(&c, 1);
    cluster_start(&c, 2);
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 0);
    cluster_start(&c, 3);
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 0); /* only one has a vote */
    cluster_crash(&c, 1);
    cluster_crash(&c, 2);
    cluster_release(&c);
}

static void test_one_wiped_member_is_synchronized(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 1);
    cluster_wipe(&c, 1);
    cluster_start(&c, 1);
    cluster_run(&c, 1000);
    assert_all_at(&c, zxid_make(1, 1));
    cluster_crash(&c, 3); /* now its vote counts again */
    cluster_run(&c, 1000);
    assert_int_equal(cluster_leader(&c), 2);
    cluster_release(&c);
}

/* What server 1 did alone, now as one of `n`. */
static void grow(struct cluster *c, size_t n)
{
    struct cluster one;
    struct cluster_node *node;

    cluster_init(&one, 1, 0);
    start_all(&one);
    cluster_submit(&one, 1, "a");
    cluster_settle(&one);
    assert_int_equal(cluster_applied(&one, 1), zxid_make(1, 1));
    cluster_init(c, n, 0);
    node = cluster_node(c, 1);
    node->epochs = cluster_node(&one, 1)->epochs;
    node->log = cluster_node(&one, 1)->log;
    node->n_log = 1;
    cluster_node(&one, 1)->log = NULL;
    cluster_node(&one, 1)->n_log = 0;
    cluster_release(&one);
}

static void test_an_ensemble_of_one_grows(void **state)
{
    struct cluster c;

    (void)state;
    grow(&c, 3);
    start_all(&c);
    assert_int_equal(cluster_leader(&c), 1);
    assert_all_at(&c, zxid_make(1, 1));
    assert_false(cluster_node(&c, 1)->epochs.sole);
    cluster_release(&c);
}

static bool hold_ackepoch(const struct cluster_message *m)
{
    return m->packet.type == ZAB_ACKEPOCH;
}

static bool hold_most_newleaders(const struct cluster_message *m)
{
    return m->packet.type == ZAB_NEWLEADER && m->to != 2;
}

/* It dies when one of the new ones is synchronized: that one has a vote then, but only with it are they a quorum. */
static void test_an_ensemble_of_one_grows_again(void **state)
{
    struct cluster c;
    uint64_t sid;

    (void)state;
    grow(&c, 5);
    c.hold = hold_most_newleaders;
    for (sid = 1; sid <= 5; sid++) {
        cluster_start(&c, sid);
    }
    cluster_run(&c, 100);
    assert_int_equal(cluster_node(&c, 2)->epochs.current_epoch, 2);
    assert_int_equal(cluster_node(&c, 3)->epochs.current_epoch, 0);
    cluster_crash(&c, 1);
    c.hold = NULL;
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 0);
    cluster_start(&c, 1);
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 1);
    assert_all_at(&c, zxid_make(1, 1));
    cluster_release(&c);
}

/* And it dies before its own epoch is on its disk. */
static void test_an_ensemble_of_one_grows_with_a_slow_disk(void **state)
{
    struct cluster c;
    uint64_t sid;

    (void)state;
    grow(&c, 5);
    c.hold = hold_ackepoch;
    for (sid = 1; sid <= 5; sid++) {
        cluster_start(&c, sid);
    }
    cluster_run(&c, 100);
    cluster_node(&c, 1)->disk_stuck = true;
    c.hold = hold_most_newleaders;
    cluster_run(&c, 100);
    cluster_crash(&c, 1);
    cluster_node(&c, 1)->disk_stuck = false;
    c.hold = NULL;
    cluster_start(&c, 1);
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 1);
    assert_all_at(&c, zxid_make(1, 1));
    cluster_release(&c);
}

static bool hold_from_old_leader(const struct cluster_message *m)
{
    return m->from == 3 || m->to == 3;
}

static void test_a_silent_leader_is_replaced_and_steps_down(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    c.hold = hold_from_old_leader;
    cluster_run(&c, 2500); /* the new connections that the others make count as a sign of life once */
    assert_int_equal(cluster_node(&c, 3)->role, ZAB_LOOKING); /* lesson 15 */
    assert_int_equal(cluster_leader(&c), 2);
    c.hold = NULL;
    cluster_run(&c, 1500);
    assert_int_equal(cluster_leader(&c), 2);
    assert_true(cluster_node(&c, 3)->ready);
    cluster_release(&c);
}

static void test_a_leader_without_synchronized_followers_steps_down(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 2);
    cluster_crash(&c, 1);
    cluster_node(&c, 1)->disk_stuck = true;
    cluster_start(&c, 1); /* it joins and answers, but never acknowledges */
    cluster_run(&c, 1500);
    assert_false(cluster_node(&c, 3)->ready);
    cluster_node(&c, 1)->disk_stuck = false;
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 3);
    assert_int_equal(cluster_applied(&c, 1), zxid_make(1, 1));
    cluster_release(&c);
}

static void test_a_leader_that_resigns_is_heard_in_any_round(void **state)
{
    struct cluster c;
    int i;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_cut(&c, 1, 2, true);
    cluster_cut(&c, 1, 3, true);
    for (i = 0; i < 10; i++) {
        cluster_resign(&c, 1); /* its election goes round after round */
        cluster_settle(&c);
    }
    cluster_cut(&c, 1, 3, false);
    cluster_run(&c, 100);
    assert_true(cluster_node(&c, 1)->ready);
    cluster_crash(&c, 2);
    cluster_resign(&c, 3);
    cluster_run(&c, 200); /* not a matter of time-outs */
    assert_int_equal(cluster_leader(&c), 3);
    assert_true(cluster_node(&c, 1)->ready);
    cluster_release(&c);
}

static bool hold_ack_newleader(const struct cluster_message *m)
{
    return m->packet.type == ZAB_ACK_NEWLEADER;
}

static void test_a_leader_waits_for_who_has_no_vote(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 1);
    cluster_wipe(&c, 1);
    c.hold = hold_ack_newleader;
    cluster_start(&c, 1);
    cluster_run(&c, 10); /* a ping and its answers, then it is synchronized */
    cluster_crash(&c, 2);
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 3); /* the two could not elect anyone */
    c.hold = NULL;
    cluster_submit(&c, 3, "b");
    cluster_settle(&c);
    assert_int_equal(cluster_applied(&c, 1), zxid_make(1, 2));
    cluster_release(&c);
}

/* A wiped member has forgotten what it promised: it is not synchronized, and so gets no vote, before a quorum of others
 * has shown that it still follows. */
static void test_a_wiped_member_is_vouched_for(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 1);
    cluster_wipe(&c, 1);
    cluster_crash(&c, 2);
    cluster_start(&c, 1);
    cluster_run(&c, 100);
    assert_int_equal(cluster_applied(&c, 1), 0);
    cluster_run(&c, 3000);
    assert_int_equal(cluster_leader(&c), 0);
    cluster_start(&c, 2);
    cluster_run(&c, 3000);
    assert_all_at(&c, zxid_make(1, 1));
    cluster_release(&c);
}

static bool hold_promise_of_2(const struct cluster_message *m)
{
    return m->packet.type == ZAB_ACKEPOCH && m->from == 2;
}

/* Who joins when others have been asked already is synchronized, but its promise does not establish the epoch. */
static void test_a_late_promise_does_not_count(void **state)
{
    struct cluster c;
    struct zab_info info;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 1);
    cluster_crash(&c, 2);
    cluster_crash(&c, 3);
    c.hold = hold_promise_of_2;
    cluster_start(&c, 2);
    cluster_start(&c, 3);
    cluster_settle(&c);
    cluster_start(&c, 1);
    cluster_run(&c, 100);
    zab_info(cluster_node(&c, 3)->zab, &info);
    assert_int_equal(info.epoch, 1); /* the new one is not on its disk */
    c.hold = NULL;
    cluster_run(&c, 3000);
    assert_all_at(&c, zxid_make(1, 1));
    cluster_release(&c);
}

/* Those who were asked are gone, and who comes later does not count: another round, and no wait for initLimit. */
static void test_a_leader_whose_electors_are_gone_begins_anew(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 1);
    cluster_crash(&c, 2);
    cluster_crash(&c, 3);
    c.hold = hold_promise_of_2;
    cluster_start(&c, 2);
    cluster_start(&c, 3);
    cluster_settle(&c);
    cluster_crash(&c, 2);
    cluster_start(&c, 1);
    cluster_run(&c, 2000);
    assert_true(cluster_node(&c, 3)->ready);
    assert_true(cluster_node(&c, 1)->ready);
    cluster_release(&c);
}

static void test_a_leader_whose_disk_hangs_steps_down(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_node(&c, 3)->disk_stuck = true;
    cluster_submit(&c, 3, "a");
    cluster_run(&c, 9000);
    assert_int_equal(cluster_leader(&c), 3); /* the others' disks are a quorum */
    assert_int_equal(cluster_applied(&c, 3), zxid_make(1, 1));
    cluster_run(&c, 3000); /* syncLimit, and then the followers' peerTimeout */
    assert_int_equal(cluster_leader(&c), 2);
    cluster_node(&c, 3)->disk_stuck = false;
    cluster_run(&c, 2000);
    assert_all_at(&c, zxid_make(1, 1));
    assert_true(cluster_node(&c, 3)->ready);
    cluster_release(&c);
}

static void test_nobody_waits_long_for_the_disk_of_a_new_leader(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_crash(&c, 1);
    cluster_crash(&c, 2);
    cluster_crash(&c, 3);
    cluster_node(&c, 3)->disk_stuck = true;
    start_all(&c);
    assert_int_equal(cluster_node(&c, 3)->role, ZAB_LEADING); /* but its promise does not get to the disk */
    cluster_run(&c, 5000);
    assert_int_equal(cluster_leader(&c), 2);
    cluster_release(&c);
}

static void test_epoch_follows_the_history_to_disk(void **state)
{
    struct cluster c;
    struct cluster_node *node;

    (void)state;
    cluster_init(&c, 3, 0);
    start_all(&c);
    cluster_crash(&c, 1);
    cluster_submit(&c, 3, "a");
    cluster_settle(&c);
    cluster_crash(&c, 3);
    cluster_start(&c, 3);
    cluster_run(&c, 100);
    assert_int_equal(cluster_node(&c, 2)->epochs.current_epoch, 2);
    node = cluster_node(&c, 1);
    cluster_start(&c, 1);
    while (node->n_log == 0) { /* until its history is there, its epoch must not be (lesson 2) */
        assert_int_equal(node->epochs.current_epoch, 1);
        cluster_settle(&c);
    }
    assert_int_equal(node->epochs.current_epoch, 2);
    cluster_release(&c);
}

static void test_observer_is_informed_and_does_not_count(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 4, 1);
    start_all(&c);
    assert_int_equal(cluster_node(&c, 4)->role, ZAB_OBSERVING);
    cluster_submit(&c, 4, "through the leader");
    cluster_run(&c, 10);
    assert_all_at(&c, zxid_make(1, 1));
    cluster_crash(&c, 1);
    cluster_crash(&c, 2);
    cluster_run(&c, 2000);
    assert_int_equal(cluster_leader(&c), 0);
    cluster_release(&c);
}

static void test_unlisted_observers_come_and_go(void **state)
{
    struct zab_peer_info info;
    struct cluster c;

    (void)state;
    cluster_init(&c, 5, 2);
    c.n_unlisted = 2;
    start_all(&c);
    assert_int_equal(cluster_node(&c, 4)->role, ZAB_OBSERVING);
    assert_int_equal(cluster_node(&c, 5)->leader, cluster_leader(&c));
    cluster_submit(&c, 5, "through the leader");
    cluster_run(&c, 10);
    assert_all_at(&c, zxid_make(1, 1));
    /* The leader dies: they follow the next one. */
    cluster_crash(&c, 3);
    cluster_run(&c, 2000);
    assert_int_equal(cluster_leader(&c), 2);
    cluster_submit(&c, 4, "b");
    cluster_run(&c, 10);
    assert_int_equal(cluster_applied(&c, 5), cluster_applied(&c, 2));
    /* One goes, and is forgotten; with nothing it comes again. */
    assert_true(zab_peer_info(cluster_node(&c, 2)->zab, 4, &info));
    cluster_crash(&c, 4);
    assert_false(zab_peer_info(cluster_node(&c, 2)->zab, 4, &info));
    assert_true(zab_peer_info(cluster_node(&c, 2)->zab, 5, &info));
    assert_true(zab_peer_info(cluster_node(&c, 2)->zab, 3, &info));
    cluster_wipe(&c, 4);
    cluster_start(&c, 4);
    cluster_start(&c, 3);
    cluster_run(&c, 2000);
    cluster_submit(&c, 4, "c");
    cluster_run(&c, 10);
    assert_int_equal(cluster_applied(&c, 4), cluster_applied(&c, 2));
    assert_int_equal(cluster_applied(&c, 3), cluster_applied(&c, 2));
    /* They give no quorum. */
    cluster_crash(&c, 1);
    cluster_crash(&c, 3);
    cluster_run(&c, 2000);
    assert_int_equal(cluster_leader(&c), 0);
    assert_int_equal(cluster_node(&c, 5)->role, ZAB_LOOKING);
    cluster_release(&c);
}

static void test_partition_heals(void **state)
{
    struct cluster c;

    (void)state;
    cluster_init(&c, 5, 0);
    start_all(&c);
    assert_int_equal(cluster_leader(&c), 5);
    cluster_submit(&c, 5, "a");
    cluster_settle(&c);
    cluster_cut(&c, 5, 1, true);
    cluster_cut(&c, 5, 2, true);
    cluster_cut(&c, 5, 3, true);
    cluster_cut(&c, 4, 1, true);
    cluster_cut(&c, 4, 2, true);
    cluster_cut(&c, 4, 3, true);
    cluster_submit(&c, 5, "lost in the minority");
    cluster_run(&c, 2000);
    assert_int_equal(cluster_leader(&c), 3);
    cluster_submit(&c, 3, "b");
    cluster_settle(&c);
    cluster_cut(&c, 5, 1, false);
    cluster_cut(&c, 5, 2, false);
    cluster_cut(&c, 5, 3, false);
    cluster_cut(&c, 4, 1, false);
    cluster_cut(&c, 4, 2, false);
    cluster_cut(&c, 4, 3, false);
    cluster_run(&c, 2000);
    assert_int_equal(cluster_leader(&c), 3);
    assert_all_at(&c, zxid_make(2, 1));
    cluster_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_ensemble_forms_when_all_are_up),
        cmocka_unit_test(test_join_transcript),
        cmocka_unit_test(test_leader_crash_keeps_what_was_committed),
        cmocka_unit_test(test_diverged_leader_truncates),
        cmocka_unit_test(test_the_log_when_the_window_is_too_short),
        cmocka_unit_test(test_snapshot_when_the_log_is_too_short),
        cmocka_unit_test(test_a_disk_far_behind),
        cmocka_unit_test(test_wiped_members_do_not_outvote),
        cmocka_unit_test(test_one_wiped_member_is_synchronized),
        cmocka_unit_test(test_an_ensemble_of_one_grows),
        cmocka_unit_test(test_an_ensemble_of_one_grows_again),
        cmocka_unit_test(test_an_ensemble_of_one_grows_with_a_slow_disk),
        cmocka_unit_test(test_a_silent_leader_is_replaced_and_steps_down),
        cmocka_unit_test(test_a_leader_without_synchronized_followers_steps_down),
        cmocka_unit_test(test_a_leader_that_resigns_is_heard_in_any_round),
        cmocka_unit_test(test_a_leader_waits_for_who_has_no_vote),
        cmocka_unit_test(test_a_wiped_member_is_vouched_for),
        cmocka_unit_test(test_a_late_promise_does_not_count),
        cmocka_unit_test(test_a_leader_whose_electors_are_gone_begins_anew),
        cmocka_unit_test(test_a_leader_whose_disk_hangs_steps_down),
        cmocka_unit_test(test_nobody_waits_long_for_the_disk_of_a_new_leader),
        cmocka_unit_test(test_epoch_follows_the_history_to_disk),
        cmocka_unit_test(test_observer_is_informed_and_does_not_count),
        cmocka_unit_test(test_unlisted_observers_come_and_go),
        cmocka_unit_test(test_partition_heals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
