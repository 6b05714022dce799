/* Transports on loopback, on one loop: who meets whom, in what order things arrive, and who is turned away how. */
#include "transport_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- meeting ---- */

static void test_two_meet(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    char address[64];

    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1 && b->ups == 1);
    assert_string_equal(a->events, "up 2;");
    assert_string_equal(b->events, "up 1;");
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", a->port);
    assert_string_equal(transport_address(b->transport, 1), address); /* the larger id has dialled */
    assert_null(transport_address(b->transport, 9));
    node_send(a, 2, 0, NULL);
    node_send(a, 9, 0, NULL); /* to nobody: dropped */
    node_flush(a);
    node_send(b, 1, 0, NULL);
    node_flush(b);
    run_until(w, a->packets == 1 && b->packets == 1);
    node_stop(a);
    run_until(w, a->closed && b->downs == 1);
    assert_string_equal(a->events, "up 2;"); /* no callbacks once stopped */
    assert_string_equal(b->events, "up 1;down 1;");
}

static void test_all_meet_but_observers_not_each_other(void **state)
{
    const struct plan plan = {.n = 4, .observers = 1u << 0 | 1u << 3};
    struct world *w = *state;
    size_t i;

    for (i = 0; i < 4; i++) {
        node_start(w, i, &plan);
    }
    run_until(w, w->nodes[0].ups == 2 && w->nodes[3].ups == 2 && w->nodes[1].ups == 3 && w->nodes[2].ups == 3);
    assert_non_null(strstr(w->nodes[1].events, "up observer 1;"));
    assert_non_null(strstr(w->nodes[1].events, "up observer 4;"));
    assert_non_null(strstr(w->nodes[1].events, "up 3;"));
    assert_null(strstr(w->nodes[0].events, "4"));
    assert_null(strstr(w->nodes[3].events, "1"));
}

static void test_names_are_resolved(void **state)
{
    const struct plan plan = {.n = 2, .host = "localhost"};
    struct world *w = *state;

    node_start(w, 1, &plan);
    node_start(w, 0, &plan);
    run_until(w, w->nodes[0].ups == 1 && w->nodes[1].ups == 1);
}

static void test_unresolvable_name_is_logged(void **state)
{
    const struct plan plan = {.n = 2, .host = "no-such-host.invalid"};
    struct world *w = *state;
    struct node *b = &w->nodes[1];

    node_start(w, 1, &plan);
    run_until(w, strstr(b->log, "server.1: cannot resolve no-such-host.invalid") != NULL);
}

/* ---- sending ---- */

static void test_packets_keep_their_order(void **state)
{
    const struct plan plan = {.n = 3};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct transport_stats stats;
    uint64_t i;

    for (i = 0; i < 3; i++) {
        node_start(w, i, &plan);
    }
    run_until(w, a->ups == 2 && w->nodes[1].ups == 2 && w->nodes[2].ups == 2);
    for (i = 0; i < 10000; i++) {
        struct buf *body = i % 3 != 0 ? buf_copy("0123456789", i % 10) : NULL;

        node_send(a, 2, i, body);
        node_send(a, 3, i, body);
        buf_unref(body);
        if (i % 700 == 0) {
            node_flush(a);
        }
    }
    node_flush(a);
    run_until(w, w->nodes[1].packets == 10000 && w->nodes[2].packets == 10000);
    transport_stats(a->transport, &stats);
    assert_true(stats.frames_sent >= 20000);
    transport_stats(w->nodes[1].transport, &stats);
    assert_int_equal(stats.frames_received, 10000);
}

static void test_large_packets_both_ways(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct buf *body = buf_new(2 * 1024 * 1024);
    uint64_t i;

    memset(body->bytes, 'x', body->cap);
    body->len = body->cap;
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1 && b->ups == 1);
    for (i = 0; i < 30; i += 3) {
        node_send(a, 2, i, body);
        node_send(a, 2, i + 1, NULL);
        node_send(a, 2, i + 2, NULL);
        node_send(b, 1, i, NULL);
        node_send(b, 1, i + 1, body);
        node_send(b, 1, i + 2, body);
    }
    node_flush(a);
    node_flush(b);
    run_until(w, a->packets == 30 && b->packets == 30);
    assert_int_equal(b->body_bytes, 10 * (size_t)body->len);
    assert_int_equal(a->body_bytes, 20 * (size_t)body->len);
    assert_int_equal(body->refs, 1);
    buf_unref(body);
}

static void test_who_does_not_read_is_dropped(void **state)
{
    const struct plan plan = {.n = 2, .queue_bytes_max = 1024 * 1024};
    struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct buf *body = buf_new(256 * 1024);
    uint64_t i;
    int fd;

    memset(body->bytes, 'x', body->cap);
    body->len = body->cap;
    node_start(w, 0, &plan);
    fd = stranger_connect(a);
    stranger_greet(fd, &g);
    run_until(w, a->ups == 1);
    /* More than the queue and all that the kernel buffers. */
    for (i = 0; i < 400; i++) {
        node_send(a, 2, i, body);
        node_flush(a);
    }
    run_until(w, a->downs == 1);
    assert_int_equal(count_lines(a->log, "it does not keep up"), 1);
    assert_int_equal(close(fd), 0);
    buf_unref(body);
}

/* From here on the socket is deaf: nothing that comes for it is taken or answered, as if its host had lost power. */
static void stranger_goes_deaf(int fd)
{
    struct sock_filter drop = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog program = {.len = 1, .filter = &drop};

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), 0);
}

static void check_host_dies(struct world *w, bool idle)
{
    const struct plan plan = {.n = 2, .silent_ms = 500};
    struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    struct node *a = &w->nodes[0];
    int fd;

    node_start(w, 0, &plan);
    fd = stranger_connect(a);
    stranger_greet(fd, &g);
    run_until(w, a->ups == 1);
    stranger_goes_deaf(fd);
    if (!idle) {
        node_send(a, 2, 0, NULL);
        node_flush(a);
    }
    run_until(w, a->downs == 1);
    assert_int_equal(count_lines(a->log, "connection lost"), 1);
    assert_int_equal(close(fd), 0);
}

static void test_a_host_that_dies_is_noticed(void **state)
{
    check_host_dies(*state, false);
}

static void test_a_host_that_dies_in_silence_is_noticed(void **state)
{
    check_host_dies(*state, true);
}

static void test_disconnect_then_dialled_again(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];

    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1 && b->ups == 1);
    a->in_call = true;
    transport_disconnect(a->transport, 2, "the test says so");
    a->in_call = false;
    assert_null(transport_address(a->transport, 2));
    node_send(a, 2, 0, NULL); /* dropped */
    node_flush(a);
    run_until(w, a->ups == 2 && b->ups == 2);
    assert_string_equal(a->events, "up 2;down 2;up 2;");
    assert_string_equal(b->events, "up 1;down 1;up 1;");
    assert_int_equal(count_lines(a->log, "disconnected server.2 at 127.0.0.1:"), 1);
    assert_int_equal(b->packets, 0);
}

/* ---- coming back ---- */

static void restart(struct world *w, size_t index)
{
    const struct plan plan = {.n = 2};
    struct node *n = &w->nodes[index];
    struct node *other = &w->nodes[1 - index];
    uint64_t begun_ms;

    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, n->ups == 1 && other->ups == 1);
    node_stop(n);
    run_until(w, n->closed && other->downs == 1);
    begun_ms = uv_hrtime() / 1000000;
    node_start(w, index, &plan);
    run_until(w, n->ups == 2 && other->ups == 2);
    assert_true(uv_hrtime() / 1000000 - begun_ms < 2000);
    assert_int_equal(other->downs, 1);
}

static void test_listening_end_restarts(void **state)
{
    restart(*state, 0);
}

static void test_dialling_end_restarts(void **state)
{
    restart(*state, 1);
}

static void test_newer_connection_replaces(void **state)
{
    const struct plan plan = {.n = 2};
    struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    int first;
    int second;

    node_start(w, 0, &plan);
    first = stranger_connect(a);
    stranger_greet(first, &g);
    run_until(w, a->ups == 1);
    second = stranger_connect(a);
    g.nonce = 6;
    stranger_greet(second, &g);
    run_until(w, a->ups == 2);
    assert_string_equal(a->events, "up 2;down 2;up 2;");
    run_until(w, stranger_closed(first));
    assert_false(stranger_closed(second));
    assert_int_equal(count_lines(a->log, "replaces its connection"), 1);
    assert_int_equal(a->downs, 1);
    assert_int_equal(close(first), 0);
    assert_int_equal(close(second), 0);
}

/* ---- turned away ---- */

static void test_strangers_get_one_line(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    int round;

    node_start(w, 0, &plan);
    for (round = 0; round < 5; round++) {
        int fd = stranger_connect(a);

        stranger_send(fd, request, round < 4 ? strlen(request) : 3);
        if (round == 4) {
            assert_int_equal(shutdown(fd, SHUT_WR), 0); /* too short for a header */
        }
        run_until(w, stranger_closed(fd));
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(node_refused(a), 5);
    assert_int_equal(count_lines(a->log, "refused 127.0.0.1:"), 1);
    assert_int_equal(count_lines(a->log, "is not znodefs"), 1);
    assert_string_equal(a->events, "");
}

static void test_oversized_frames(void **state)
{
    const struct plan plan = {.n = 2};
    struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    uint8_t header[PACKET_HEADER_LEN] = "zNod";
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    int fd;

    node_start(w, 0, &plan);
    memcpy(header + 4, "\0\x20\0\0", 4); /* 8 KiB: too much for a greeting */
    fd = stranger_connect(a);
    stranger_send(fd, header, sizeof(header));
    run_until(w, stranger_closed(fd));
    assert_int_equal(close(fd), 0);
    assert_int_equal(count_lines(a->log, "a frame larger than 4096 bytes"), 1);

    fd = stranger_connect(a);
    stranger_greet(fd, &g);
    run_until(w, a->ups == 1);
    memset(header + 4, 0xff, 4);
    stranger_send(fd, header, sizeof(header));
    run_until(w, stranger_closed(fd));
    run_until(w, a->downs == 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(node_refused(a), 2);
}

static void test_other_ensemble(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];

    a->ensemble = 0xaaaa;
    b->ensemble = 0xbbbb;
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, node_refused(a) >= 3 && node_refused(b) >= 3);
    assert_string_equal(a->events, "");
    assert_string_equal(b->events, "");
    assert_int_equal(count_lines(a->log, "of ensemble 0xbbbb, this server's of 0xaaaa"), 1);
    assert_int_equal(count_lines(b->log, "of ensemble 0xaaaa, this server's of 0xbbbb"), 1);
    b->ensemble = 0; /* none yet is welcome everywhere */
    run_until(w, a->ups == 1 && b->ups == 1);
    b->ensemble = 0xcccc;
    node_send(b, 1, 0, NULL);
    node_flush(b);
    run_until(w, a->downs == 1);
    assert_int_equal(a->packets, 0);
}

/* Two servers that count different votes. Observers and addresses may differ for a while. */
static void test_other_participants(void **state)
{
    const struct plan two = {.n = 2};
    const struct plan three = {.n = 3};
    const struct plan two_and_an_observer = {.n = 3, .observers = 1u << 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];

    node_start(w, 0, &two);
    node_start(w, 1, &three);
    run_until(w, node_refused_for(a, REFUSED_PARTICIPANTS) >= 3 && node_refused_for(b, REFUSED_PARTICIPANTS) >= 3);
    assert_string_equal(a->events, "");
    assert_string_equal(b->events, "");
    assert_int_equal(count_lines(a->log, "server.2 has a zoo.cfg that lists other participants than this server's"), 1);
    assert_int_equal(count_lines(b->log, "server.1 has a zoo.cfg that lists other participants than this server's"), 1);
    node_stop(b);
    run_until(w, b->transport == NULL);
    node_start(w, 1, &two_and_an_observer);
    run_until(w, a->ups == 1 && b->ups == 1);
}

static void test_identity_unlisted(void **state)
{
    const struct plan plan = {.n = 3};

    node_start(*state, 1, &plan);
    expect_refused(*state, &(struct packet_greeting){.sid = 9},
                   "server.9 is not in this server's zoo.cfg: add its line");
}

static void test_identity_own(void **state)
{
    const struct plan plan = {.n = 3};

    node_start(*state, 1, &plan);
    expect_refused(*state, &(struct packet_greeting){.sid = 2}, "it has this server's own id 2: give one of the two");
}

static void test_identity_other_meant(void **state)
{
    const struct plan plan = {.n = 3};

    node_start(*state, 1, &plan);
    expect_refused(*state, &(struct packet_greeting){.sid = 3, .sid_to = 1},
                   "server.3 looks for server.1 here, but this is server.2: correct the line server.1");
}

static void test_identity_observer(void **state)
{
    const struct plan plan = {.n = 3};

    node_start(*state, 1, &plan);
    expect_refused(*state, &(struct packet_greeting){.sid = 3, .sid_to = 2, .observer = true},
                   "server.3 runs as an observer, but is listed here as a participant: make its line the same");
}

static void test_identity_unlisted_observer(void **state)
{
    const struct plan plan = {.n = 3};

    node_start(*state, 1, &plan);
    expect_refused(*state, &(struct packet_greeting){.sid = 0, .observer = true}, "an observer without an id");
}

static void test_identity_wrong_way(void **state)
{
    const struct plan plan = {.n = 3};

    node_start(*state, 1, &plan);
    expect_refused(*state, &(struct packet_greeting){.sid = 1, .sid_to = 2}, "server.1 should wait to be dialled");
}

static void test_packet_before_greeting(void **state)
{
    const struct plan plan = {.n = 3};
    struct zab_packet packet = {.type = ZAB_PING};
    struct buf *frame = packet_encode(&packet, 0);
    struct world *w = *state;
    int fd;

    node_start(w, 1, &plan);
    fd = stranger_connect(&w->nodes[1]);
    stranger_send(fd, frame->bytes, frame->len);
    run_until(w, stranger_closed(fd));
    assert_int_equal(count_lines(w->nodes[1].log, "a packet before its greeting"), 1);
    assert_int_equal(close(fd), 0);
    buf_unref(frame);
}

/* Frames come in any pieces, and several in one. */
static void test_frames_in_pieces(void **state)
{
    const struct plan plan = {.n = 2};
    struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    struct zab_packet packet = {.type = ZAB_PING};
    struct buf *greeting = packet_encode_greeting(&g);
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct buf *all = buf_new(4096);
    struct transport_stats stats;
    size_t i;
    int fd;

    memcpy(all->bytes, greeting->bytes, greeting->len);
    all->len = greeting->len;
    for (packet.zxid = 0; packet.zxid < 3; packet.zxid++) {
        struct buf *frame = packet_encode(&packet, 0);

        memcpy(all->bytes + all->len, frame->bytes, frame->len);
        all->len += frame->len;
        buf_unref(frame);
    }
    node_start(w, 0, &plan);
    fd = stranger_connect(a);
    for (i = 0; i < all->len; i++) {
        stranger_send(fd, all->bytes + i, 1);
        run_until(w, (transport_stats(a->transport, &stats), stats.bytes_received == i + 1));
    }
    assert_int_equal(a->packets, 3);
    assert_int_equal(close(fd), 0);
    run_until(w, a->downs == 1);
    a->zxid_next = 0;
    fd = stranger_connect(a);
    stranger_send(fd, all->bytes, all->len);
    run_until(w, a->packets == 6);
    assert_int_equal(close(fd), 0);
    buf_unref(all);
    buf_unref(greeting);
}

/* More silent strangers than there is room for: the oldest go, a peer still gets in, and none stays for ever. */
static void test_silent_crowd(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    int fds[100];
    size_t i;

    node_start(w, 0, &plan);
    for (i = 0; i < 100; i++) {
        fds[i] = stranger_connect(a);
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1);
    run_until(w, node_refused(a) >= 36);
    for (i = 0; i < 100; i++) {
        run_until(w, stranger_closed(fds[i]));
        assert_int_equal(close(fds[i]), 0);
    }
    assert_int_equal(node_refused(a), 100);
    /* The peer came from the same host. */
    assert_int_equal(node_refused_for(a, REFUSED_CROWD), 100 - 15);
    assert_int_equal(node_refused_for(a, REFUSED_SILENT), 15);
    assert_int_equal(count_lines(a->log, "connections from there without a greeting"), 1);
    assert_int_equal(count_lines(a->log, "no greeting within"), 1);
    assert_int_equal(a->downs, 0);
}

/* ---- the port ---- */

static void test_port_in_use(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct error err = {{0}};

    w->nodes[1].port = w->nodes[0].port;
    node_start(w, 0, &plan);
    assert_int_equal(node_try_start(w, 1, &plan, &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "address already in use"));
    assert_non_null(strstr(err.text, "change server.2's port"));
    assert_null(w->nodes[1].transport);
}

static void test_nothing_to_listen_or_dial(void **state)
{
    struct world *w = *state;
    struct node *n = &w->nodes[0];
    struct transport_config config = {.sid = 1};
    struct transport_callbacks cb = node_callbacks(n);
    struct error err;

    assert_int_equal(transport_start(&w->loop, &config, &cb, &n->transport, &err), 0);
    node_stop(n);
    run_until(w, n->closed);
}

static void test_stop_at_every_moment(void **state)
{
    const struct plan plan = {.n = 3, .host = "localhost"};
    struct world *w = *state;
    size_t turns;
    size_t i;

    for (turns = 0; turns < 20; turns++) {
        for (i = 0; i < 3; i++) {
            node_start(w, i, &plan);
        }
        for (i = 0; i < turns; i++) {
            (void)uv_run(&w->loop, UV_RUN_NOWAIT);
        }
        for (i = 0; i < 3; i++) {
            node_stop(&w->nodes[i]);
        }
        run_until(w, w->nodes[0].closed && w->nodes[1].closed && w->nodes[2].closed);
        for (i = 0; i < 3; i++) {
            w->nodes[i].ups = 0;
            w->nodes[i].downs = 0;
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
#define TEST_TLS(name)                                                                                                 \
    {                                                                                                                  \
#name "_with_tls", name, world_setup_tls, world_teardown, NULL                                                 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_two_meet),
        TEST(test_all_meet_but_observers_not_each_other),
        TEST(test_names_are_resolved),
        TEST(test_unresolvable_name_is_logged),
        TEST(test_packets_keep_their_order),
        TEST(test_large_packets_both_ways),
        TEST(test_who_does_not_read_is_dropped),
        TEST(test_a_host_that_dies_is_noticed),
        TEST(test_a_host_that_dies_in_silence_is_noticed),
        TEST(test_disconnect_then_dialled_again),
        TEST(test_listening_end_restarts),
        TEST(test_dialling_end_restarts),
        TEST(test_newer_connection_replaces),
        TEST(test_strangers_get_one_line),
        TEST(test_oversized_frames),
        TEST(test_other_ensemble),
        TEST(test_other_participants),
        TEST(test_identity_unlisted),
        TEST(test_identity_own),
        TEST(test_identity_other_meant),
        TEST(test_identity_observer),
        TEST(test_identity_unlisted_observer),
        TEST(test_identity_wrong_way),
        TEST(test_packet_before_greeting),
        TEST(test_frames_in_pieces),
        TEST(test_silent_crowd),
        TEST(test_port_in_use),
        TEST(test_nothing_to_listen_or_dial),
        TEST(test_stop_at_every_moment),
        TEST_TLS(test_two_meet),
        TEST_TLS(test_all_meet_but_observers_not_each_other),
        TEST_TLS(test_names_are_resolved),
        TEST_TLS(test_packets_keep_their_order),
        TEST_TLS(test_large_packets_both_ways),
        TEST_TLS(test_disconnect_then_dialled_again),
        TEST_TLS(test_listening_end_restarts),
        TEST_TLS(test_dialling_end_restarts),
        TEST_TLS(test_other_ensemble),
        TEST_TLS(test_nothing_to_listen_or_dial),
        TEST_TLS(test_stop_at_every_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
