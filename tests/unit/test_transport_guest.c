/* Observers that no configuration lists: they are given hosts, and learn by the greeting who answers there. */
#include "transport_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define GUEST_SID (ZAB_SID_UNLISTED_MIN + 7)

/* Node `index` as an unlisted observer that was given the hosts of the nodes in `hosts`, bit by bit. */
static void guest_start(struct world *w, size_t index, unsigned hosts, const char *host)
{
    struct node *n = &w->nodes[index];
    struct transport_peer peers[NODES];
    struct transport_config config = {
        .sid = GUEST_SID, .observer = true, .nonce = uv_hrtime(), .peers = peers, .loopback_only = true};
    struct transport_callbacks cb = node_callbacks(n);
    struct error err = {{0}};
    size_t i;

    n->sid = GUEST_SID;
    for (i = 0; i < NODES; i++) {
        if ((hosts & (1u << i)) != 0) {
            peers[config.n_peers++] = (struct transport_peer){.host = host, .port = w->nodes[i].port};
        }
    }
    assert_int_equal(transport_start(&w->loop, &config, &cb, &n->transport, &err), 0);
}

static void test_guest_learns_who_is_who(void **state)
{
    const struct plan plan = {.n = 3};
    struct world *w = *state;
    char event[64];
    size_t i;

    for (i = 0; i < 3; i++) {
        node_start(w, i, &plan);
    }
    run_until(w, w->nodes[0].ups == 2 && w->nodes[1].ups == 2 && w->nodes[2].ups == 2);
    guest_start(w, 3, 1u << 0 | 1u << 1 | 1u << 2, "127.0.0.1");
    run_until(w, w->nodes[3].ups == 3 && w->nodes[0].ups == 3 && w->nodes[1].ups == 3 && w->nodes[2].ups == 3);
    (void)snprintf(event, sizeof(event), "up observer %" PRIu64 ";", (uint64_t)GUEST_SID);
    for (i = 0; i < 3; i++) {
        assert_non_null(strstr(w->nodes[i].events, event));
        assert_non_null(transport_address(w->nodes[3].transport, i + 1));
        assert_non_null(transport_address(w->nodes[i].transport, GUEST_SID));
    }
    /* It goes, is forgotten, and comes again. */
    node_stop(&w->nodes[3]);
    run_until(w, w->nodes[0].downs == 1 && w->nodes[1].downs == 1 && w->nodes[2].downs == 1);
    assert_null(transport_address(w->nodes[0].transport, GUEST_SID));
    run_until(w, w->nodes[3].transport == NULL);
    guest_start(w, 3, 1u << 0 | 1u << 1 | 1u << 2, "localhost");
    run_until(w, w->nodes[3].ups == 6);
    /* A server that restarts is recognized. */
    node_stop(&w->nodes[1]);
    run_until(w, w->nodes[1].transport == NULL && w->nodes[3].downs >= 1);
    node_start(w, 1, &plan);
    run_until(w, w->nodes[3].ups == 7);
    assert_int_equal(count_lines(w->nodes[3].log, "once is enough"), 0);
}

static void test_guest_with_one_host_hears_of_the_others(void **state)
{
    const struct plan plan = {.n = 3};
    struct world *w = *state;
    size_t i;

    for (i = 0; i < 3; i++) {
        node_start(w, i, &plan);
    }
    guest_start(w, 3, 1u << 1, "localhost");
    run_until(w, w->nodes[3].ups == 3);
    /* The one it was told of may go. */
    node_stop(&w->nodes[1]);
    run_until(w, w->nodes[1].transport == NULL && w->nodes[3].downs == 1);
    assert_non_null(transport_address(w->nodes[3].transport, 1));
    assert_non_null(transport_address(w->nodes[3].transport, 3));
}

static void test_guest_stays_on_loopback(void **state)
{
    struct world *w = *state;

    guest_start(w, 3, 1u << 0, "192.0.2.1");
    run_until(w, count_lines(w->nodes[3].log, "192.0.2.1:") == 1);
    assert_non_null(strstr(w->nodes[3].log, "-o insecure=yes"));
}

static void test_identity_guest_that_votes(void **state)
{
    const struct plan plan = {.n = 3};

    node_start(*state, 1, &plan);
    expect_refused(*state, &(struct packet_greeting){.sid = GUEST_SID, .observer = false}, "is not a listed server's");
}

/* As many as may come, and one more, which has its turn when another goes. */
static void test_guests_are_bounded(void **state)
{
    const struct plan plan = {.n = 3};
    struct rlimit limit;
    static int fds[ZAB_UNLISTED_MAX];
    struct packet_greeting g = {.observer = true};
    struct world *w = *state;
    struct node *n = &w->nodes[1];
    size_t i;
    int fd;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_max < 2 * ZAB_UNLISTED_MAX + 200 || setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        skip(); /* both ends are in this process */
    }
    node_start(w, 1, &plan);
    for (i = 0; i < ZAB_UNLISTED_MAX; i++) {
        g.sid = GUEST_SID + i;
        fds[i] = stranger_connect(n);
        stranger_greet(fds[i], &g);
        run_until(w, n->ups == i + 1);
    }
    g.sid = GUEST_SID + i;
    expect_refused(w, &g, "there are 1024 unlisted observers already");
    assert_int_equal(close(fds[0]), 0);
    run_until(w, n->downs == 1);
    fd = stranger_connect(n);
    stranger_greet(fd, &g);
    run_until(w, n->ups == ZAB_UNLISTED_MAX + 1);
    assert_int_equal(close(fd), 0);
    for (i = 1; i < ZAB_UNLISTED_MAX; i++) {
        assert_int_equal(close(fds[i]), 0);
    }
    run_until(w, n->downs == ZAB_UNLISTED_MAX + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_guest_learns_who_is_who),   TEST(test_guest_with_one_host_hears_of_the_others),
        TEST(test_guest_stays_on_loopback),   TEST(test_guests_are_bounded),
        TEST(test_identity_guest_that_votes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
