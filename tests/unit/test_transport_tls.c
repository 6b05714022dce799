/*
 * Transports that share a key: who has it gets in, and whoever has not is refused before a byte of it is taken for a
 * frame. Strangers here do TLS by hand, so that they can send it in pieces, twice, or not to its end.
 */
#include "consensus/transport_seal.h"
#include "consensus/transport_tls_int.h"
#include "transport_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OTHER_KEY "another key, of 32 bytes and more, all the same"

/* Everything that a stranger has sent. */
struct recording {
    uint8_t bytes[16384];
    size_t len;
};

static void send_wire(int fd, struct seal *seal, size_t piece, struct recording *recording)
{
    struct buf *wire = seal_take(seal);
    size_t at;

    if (wire == NULL) {
        return;
    }
    for (at = 0; at < wire->len; at += piece) {
        stranger_send(fd, wire->bytes + at, wire->len - at < piece ? wire->len - at : piece);
    }
    if (recording != NULL) {
        assert_true(recording->len + wire->len <= sizeof(recording->bytes));
        memcpy(recording->bytes + recording->len, wire->bytes, wire->len);
        recording->len += wire->len;
    }
    buf_unref(wire);
}

static bool receive(int fd, struct seal *seal, uint8_t *bytes, size_t size)
{
    ssize_t n = recv(fd, bytes, size, 0);

    if (n > 0) {
        seal_feed(seal, bytes, (size_t)n);
    }
    return n > 0;
}

/* Connects to `n`, shakes hands and greets as server 2. */
static int sealed_peer(struct world *w, struct node *n, struct tls *tls, struct recording *recording,
                       struct seal **ret_seal)
{
    const struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    struct buf *frame = packet_encode_greeting(&g);
    struct seal *seal = seal_new(tls, true, NULL);
    int fd = stranger_connect(n);
    uint8_t bytes[16384];
    int rv;

    assert_non_null(seal);
    rv = seal_shake(seal);
    while (rv == 0) {
        send_wire(fd, seal, SIZE_MAX, recording);
        run_until(w, receive(fd, seal, bytes, sizeof(bytes)));
        rv = seal_shake(seal);
    }
    assert_int_equal(rv, 1);
    assert_int_equal(seal_write(seal, frame->bytes, frame->len), 0);
    send_wire(fd, seal, SIZE_MAX, recording);
    buf_unref(frame);
    *ret_seal = seal;
    return fd;
}

/* `bytes` from a stranger are refused for `reason`, with one line that has `text`. */
static void expect_refused_bytes(struct world *w, const void *bytes, size_t len, enum transport_refusal reason,
                                 const char *text)
{
    struct node *a = &w->nodes[0];
    uint64_t before = node_refused_for(a, reason);
    int fd = stranger_connect(a);

    stranger_send(fd, bytes, len);
    run_until(w, stranger_closed(fd));
    assert_int_equal(close(fd), 0);
    assert_int_equal(node_refused_for(a, reason), before + 1);
    if (count_lines(a->log, text) != 1) {
        fail_msg("not one \"%s\" in: %s", text, a->log);
    }
}

/* ---- keys ---- */

static void test_other_key(void **state)
{
    struct world *w = *state;
    struct plan plan = {.n = 3};
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct node *c = &w->nodes[2];

    plan.tls[2] = world_key(w, OTHER_KEY);
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    node_start(w, 2, &plan);
    run_until(w, a->ups == 1 && b->ups == 1 && node_refused(c) >= 6);
    assert_string_equal(a->events, "up 2;");
    assert_string_equal(c->events, "");
    assert_true(node_refused_for(a, REFUSED_KEY) >= 2);
    assert_int_equal(node_refused_for(a, REFUSED_KEY), node_refused(a));
    assert_int_equal(count_lines(a->log, "refused 127.0.0.1:"), 1);
    assert_int_equal(count_lines(a->log, "it has another key: give every peer the same key file"), 1);
    assert_int_equal(count_lines(c->log, "refused server.1 at 127.0.0.1:"), 1);
    assert_int_equal(count_lines(c->log, "the other end refuses this one's key"), 2);
    node_stop(c);
    run_until(w, c->transport == NULL);
    tls_free(plan.tls[2]);
}

/* White space at its end is not part of a key. */
static void test_same_key_in_another_file(void **state)
{
    struct world *w = *state;
    struct plan plan = {.n = 2};

    plan.tls[0] = world_key(w, OTHER_KEY);
    plan.tls[1] = world_key(w, OTHER_KEY " \r\n\n");
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, w->nodes[0].ups == 1 && w->nodes[1].ups == 1);
    node_stop(&w->nodes[0]);
    node_stop(&w->nodes[1]);
    run_until(w, w->nodes[0].transport == NULL && w->nodes[1].transport == NULL);
    tls_free(plan.tls[0]);
    tls_free(plan.tls[1]);
}

static void expect_bad_key(const char *path, const char *text)
{
    struct tls_config config = {.key_file = path};
    struct error err = {{0}};
    struct tls *tls;

    assert_int_equal(tls_new(&config, &tls, &err), -EINVAL);
    if (strstr(err.text, text) == NULL || strncmp(err.text, path, strlen(path)) != 0) {
        fail_msg("no \"%s\" in: %s", text, err.text);
    }
}

static void test_key_files(void **state)
{
    struct world *w = *state;
    char large[TLS_KEY_FILE_MAX + 2];
    const char *path;
    unsigned mode;

    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    expect_bad_key(world_file(w, "none", NULL),
                   "can't be opened: No such file or directory; copy it from another peer");
    expect_bad_key(world_file(w, "short", "0123456789abcdef0123456789abcde\n\n\n\n"), "has 31 bytes, which could be");
    expect_bad_key(world_file(w, "empty", ""), "has 0 bytes");
    expect_bad_key(world_file(w, "large", large), "has more than 4096 bytes");
    expect_bad_key(world_file(w, "same", "00000000000000000000000000000000000000000000001"),
                   "hardly more than one letter");
    expect_bad_key(w->dir, "is not a file");
    path = world_file(w, "open", OTHER_KEY);
    for (mode = 0; mode <= 0777; mode++) {
        if ((mode & 077) != 0) {
            assert_int_equal(chmod(path, mode), 0);
            expect_bad_key(path, "others than its owner may read or write it: chmod 600 ");
        }
    }
    if (geteuid() == 0) {
        assert_int_equal(chmod(path, 0400), 0);
        assert_int_equal(chown(path, 12345, 0), 0);
        expect_bad_key(path, "belongs to another user (uid 12345)");
    }
}

/* What is agreed on, as it goes over the wire: TLS 1.3 with a Diffie-Hellman exchange, and nothing for a later time. */
struct seen {
    unsigned tickets;
    unsigned messages;
};

static void on_message(int writing, int version, int type, const void *bytes, size_t len, SSL *ssl, void *arg)
{
    struct seen *seen = arg;

    (void)writing;
    (void)version;
    if (type != SSL3_RT_HANDSHAKE || len == 0) {
        return;
    }
    seen->messages++;
    seen->tickets += *(const uint8_t *)bytes == SSL3_MT_NEWSESSION_TICKET ? 1 : 0;
    if (*(const uint8_t *)bytes == SSL3_MT_FINISHED) {
        assert_int_equal(SSL_version(ssl), TLS1_3_VERSION);
        assert_int_equal(SSL_get_negotiated_group(ssl), NID_X25519);
        assert_int_equal(SSL_get_early_data_status(ssl), SSL_EARLY_DATA_NOT_SENT);
    }
}

static void test_what_is_agreed_on(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct seen seen = {0};

    SSL_CTX_set_msg_callback(w->tls->ctx, on_message);
    SSL_CTX_set_msg_callback_arg(w->tls->ctx, &seen);
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, w->nodes[0].ups == 1 && w->nodes[1].ups == 1);
    node_send(&w->nodes[0], 2, 0, NULL);
    node_flush(&w->nodes[0]);
    node_send(&w->nodes[1], 1, 0, NULL);
    node_flush(&w->nodes[1]);
    run_until(w, w->nodes[0].packets == 1 && w->nodes[1].packets == 1);
    assert_true(seen.messages >= 8);
    assert_int_equal(seen.tickets, 0);
}

/* OpenSSL takes a shared key for a session, and sessions grow too old to be taken up again; keys do not. */
static void test_a_key_does_not_grow_old(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;

    assert_true(SSL_SESSION_set_time(w->tls->shared, time(NULL) - 400L * 86400) > 0);
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, w->nodes[0].ups == 1 && w->nodes[1].ups == 1);
}

/* Long connections change their keys, in the middle of everything. */
static void test_keys_change(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct buf *body = buf_new(100000);
    uint64_t i;

    tls_set_rekey(w->tls, 3);
    memset(body->bytes, 'x', body->cap);
    body->len = body->cap;
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1 && b->ups == 1);
    for (i = 0; i < 500; i++) {
        node_send(a, 2, i, i % 5 == 0 ? body : NULL);
        node_flush(a);
        node_send(b, 1, i, i % 7 == 0 ? body : NULL);
        node_flush(b);
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    run_until(w, a->packets == 500 && b->packets == 500);
    assert_int_equal(a->downs + b->downs, 0);
    buf_unref(body);
}

/* ---- without TLS, or nonsense ---- */

static void test_plaintext_to_tls(void **state)
{
    struct world *w = *state;
    const struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    struct buf *frame = packet_encode_greeting(&g);
    const struct plan plan = {.n = 2};
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct tls *tls = w->tls;

    node_start(w, 0, &plan);
    expect_refused_bytes(w, frame->bytes, frame->len, REFUSED_PLAINTEXT,
                         "it speaks without TLS: only peers with the key may connect to this port");
    expect_refused_bytes(w, "z", 1, REFUSED_PLAINTEXT, "it speaks without TLS");
    w->tls = NULL;
    node_start(w, 1, &plan);
    w->tls = tls;
    run_until(w, node_refused(a) >= 5);
    assert_string_equal(a->events, "");
    assert_string_equal(b->events, "");
    assert_int_equal(count_lines(a->log, "refused"), 1);
    assert_int_equal(count_lines(b->log, "before its greeting: trying again; its log says why"), 1);
    buf_unref(frame);
}

static void test_tls_to_plaintext(void **state)
{
    struct world *w = *state;
    const struct plan plan = {.n = 2};
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct tls *tls = w->tls;

    w->tls = NULL;
    node_start(w, 0, &plan);
    w->tls = tls;
    node_start(w, 1, &plan);
    run_until(w, node_refused(a) >= 3);
    assert_string_equal(a->events, "");
    assert_string_equal(b->events, "");
    assert_int_equal(node_refused_for(a, REFUSED_TLS), node_refused(a));
    assert_int_equal(count_lines(a->log, "it speaks TLS, and this peer does not: give this one the key"), 1);
    run_until(w, count_lines(b->log, "during the TLS handshake: trying again; its log says why") == 1);
}

/* A certificate instead of the key, an older TLS, other protocols, noise. */
static void test_garbage(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\n\r\n";
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    uint8_t noise[20000];
    uint32_t seed = 1;
    size_t i;
    size_t j;

    node_start(w, 0, &plan);
    expect_refused_bytes(w, http, strlen(http), REFUSED_STRANGER, "what it sent is not TLS");
    for (i = 0; i < 20; i++) {
        int fd = stranger_connect(a);

        for (j = 0; j < sizeof(noise); j++) {
            seed = seed * 1103515245 + 12345;
            noise[j] = (uint8_t)(seed >> 16);
        }
        memcpy(noise, "\x16\x03\x01\x3f\x00\x01\x00\x3e\xfc\x03\x03", 1 + i % 11); /* ever more like a ClientHello */
        stranger_send(fd, noise, sizeof(noise));
        run_until(w, stranger_closed(fd));
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(node_refused(a), 21);
    assert_string_equal(a->events, "");
    assert_true(count_lines(a->log, "refused 127.0.0.1:") <= 3);
}

/* A client of OpenSSL's without the key, as strict or lenient as may be. */
static void expect_client_refused(struct world *w, int version, const char *text)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = ctx != NULL ? SSL_new(ctx) : NULL;
    struct node *a = &w->nodes[0];
    int fd = stranger_connect(a);
    int rv = 0;

    assert_non_null(ssl);
    assert_int_equal(SSL_set_min_proto_version(ssl, version), 1);
    assert_int_equal(SSL_set_max_proto_version(ssl, version), 1);
    assert_int_equal(SSL_set_fd(ssl, fd), 1);
    while (rv != 1 && SSL_get_error(ssl, rv = SSL_connect(ssl)) == SSL_ERROR_WANT_READ) {
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    assert_int_not_equal(rv, 1);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    assert_int_equal(close(fd), 0);
    if (count_lines(a->log, text) != 1) {
        fail_msg("not one \"%s\" in: %s", text, a->log);
    }
}

static void test_clients_without_the_key(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;

    node_start(w, 0, &plan);
    expect_client_refused(w, TLS1_3_VERSION, "it does not use the shared key");
    expect_client_refused(w, TLS1_2_VERSION, "it does not speak TLS 1.3");
    assert_string_equal(w->nodes[0].events, "");
}

/* ---- in pieces, and again ---- */

static void test_byte_by_byte(void **state)
{
    const struct packet_greeting g = {.sid = 2, .sid_to = 1, .nonce = 5};
    const struct plan plan = {.n = 2};
    struct buf *frame = packet_encode_greeting(&g);
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct zab_packet packet = {.type = ZAB_PING};
    struct buf *ping = packet_encode(&packet, 0);
    struct seal *seal = seal_new(w->tls, true, NULL);
    uint8_t byte;
    int rv = 0;
    int fd;

    node_start(w, 0, &plan);
    fd = stranger_connect(a);
    while ((rv = seal_shake(seal)) == 0) {
        send_wire(fd, seal, 1, NULL);
        run_until(w, receive(fd, seal, &byte, 1));
    }
    assert_int_equal(rv, 1);
    assert_int_equal(seal_write(seal, frame->bytes, frame->len), 0);
    assert_int_equal(seal_write(seal, ping->bytes, ping->len), 0);
    send_wire(fd, seal, 1, NULL);
    run_until(w, a->ups == 1 && a->packets == 1);
    seal_free(seal);
    assert_int_equal(close(fd), 0);
    run_until(w, a->downs == 1);
    buf_unref(frame);
    buf_unref(ping);
}

/* What a peer has sent, sent once more by somebody who has recorded it: all at once, and as the answers come. */
static void test_replay(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct recording recording = {.len = 0};
    struct seal *seal;
    uint8_t bytes[4096];
    size_t hello;
    int fd;

    node_start(w, 0, &plan);
    fd = sealed_peer(w, a, w->tls, &recording, &seal);
    run_until(w, a->ups == 1);
    seal_free(seal);
    assert_int_equal(close(fd), 0);
    run_until(w, a->downs == 1);
    expect_refused_bytes(w, recording.bytes, recording.len, REFUSED_HANDSHAKE,
                         "a recording played again: see that both ends");
    hello = 5 + ((size_t)recording.bytes[3] << 8) + recording.bytes[4];
    fd = stranger_connect(a);
    stranger_send(fd, recording.bytes, hello);
    run_until(w, recv(fd, bytes, sizeof(bytes), 0) > 0);
    stranger_send(fd, recording.bytes + hello, recording.len - hello);
    run_until(w, stranger_closed(fd));
    assert_int_equal(close(fd), 0);
    assert_int_equal(node_refused_for(a, REFUSED_HANDSHAKE), 2);
    assert_string_equal(a->events, "up 2;down 2;");
}

/* Whoever is on the way cannot change a byte of what peers say. */
static void test_changed_on_the_way(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct zab_packet packet = {.type = ZAB_PING};
    struct buf *ping = packet_encode(&packet, 0);
    struct buf *wire;
    struct seal *seal;
    int fd;

    node_start(w, 0, &plan);
    fd = sealed_peer(w, a, w->tls, NULL, &seal);
    run_until(w, a->ups == 1);
    assert_int_equal(seal_write(seal, ping->bytes, ping->len), 0);
    wire = seal_take(seal);
    wire->bytes[wire->len - 1] ^= 1;
    stranger_send(fd, wire->bytes, wire->len);
    run_until(w, a->downs == 1);
    assert_int_equal(a->packets, 0);
    assert_int_equal(node_refused_for(a, REFUSED_HANDSHAKE), 1);
    assert_int_equal(count_lines(a->log, "connection lost"), 0);
    assert_int_equal(close(fd), 0);
    buf_unref(wire);
    buf_unref(ping);
    seal_free(seal);
}

/* ---- crowds ---- */

/* Many that begin a handshake and leave it at that: a peer still gets in, and all of them have to go. */
static void test_half_open(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct seal *seal = seal_new(w->tls, true, NULL);
    struct buf *hello;
    int fds[200];
    size_t i;

    assert_int_equal(seal_shake(seal), 0);
    hello = seal_take(seal);
    node_start(w, 0, &plan);
    for (i = 0; i < 200; i++) {
        fds[i] = stranger_connect(a);
        stranger_send(fds[i], hello->bytes, hello->len);
        (void)uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1);
    for (i = 0; i < 200; i++) {
        run_until(w, stranger_closed(fds[i]));
        assert_int_equal(close(fds[i]), 0);
    }
    assert_true(node_refused(a) >= 200);
    assert_true(node_refused_for(a, REFUSED_CROWD) + node_refused_for(a, REFUSED_RATE) >= 184);
    assert_true(count_lines(a->log, "refused ") <= 3);
    assert_int_equal(a->downs, 0);
    buf_unref(hello);
    seal_free(seal);
}

/* One host whose handshakes fail all the time is soon not even listened to; later it is again. */
static void test_failures_are_rate_limited(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    unsigned i;

    node_start(w, 0, &plan);
    for (i = 0; i < 100; i++) {
        int fd = stranger_connect(a);

        (void)send(fd, "GET /", 5, MSG_NOSIGNAL);
        run_until(w, stranger_closed(fd));
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(node_refused(a), 100);
    assert_true(node_refused_for(a, REFUSED_STRANGER) >= 32);
    assert_true(node_refused_for(a, REFUSED_RATE) > 0);
    assert_int_equal(count_lines(a->log, "refused 127.0.0.1:"), 2);
    assert_int_equal(count_lines(a->log, "most are turned away unheard"), 1);
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1);
}

/* A handshake that is left before its end has cost as much as one that fails, and counts as one. */
static void test_handshakes_left_are_rate_limited(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    struct seal *seal = seal_new(w->tls, true, NULL);
    struct buf *hello;
    char answer[64];
    unsigned i;

    assert_int_equal(seal_shake(seal), 0);
    hello = seal_take(seal);
    node_start(w, 0, &plan);
    for (i = 0; i < 100; i++) {
        int fd = stranger_connect(a);
        ssize_t n = -1;

        (void)send(fd, hello->bytes, hello->len, MSG_NOSIGNAL);
        run_until(w, (n = recv(fd, answer, sizeof(answer), MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
        assert_int_equal(close(fd), 0);
    }
    run_until(w, node_refused_for(a, REFUSED_RATE) > 0);
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1);
    buf_unref(hello);
    seal_free(seal);
}

/* Whoever has addresses without number does not fill the log with them; a lost peer still has its line. */
static void test_many_addresses(void **state)
{
    const struct plan plan = {.n = 2};
    struct world *w = *state;
    struct node *a = &w->nodes[0];
    unsigned i;

    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, a->ups == 1);
    for (i = 0; i < 300; i++) {
        int fd = stranger_connect_from(a, INADDR_LOOPBACK + 256 + i);

        (void)send(fd, "GET /", 5, MSG_NOSIGNAL);
        run_until(w, stranger_closed(fd));
        assert_int_equal(close(fd), 0);
    }
    assert_int_equal(node_refused(a), 300);
    assert_true(count_lines(a->log, "refused ") > 100);
    assert_true(count_lines(a->log, "refused ") <= 128);
    node_stop(&w->nodes[1]);
    run_until(w, a->downs == 1);
    assert_int_equal(count_lines(a->log, "server.2 at 127.0.0.1"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup_tls, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_other_key),
        TEST(test_same_key_in_another_file),
        TEST(test_key_files),
        TEST(test_what_is_agreed_on),
        TEST(test_a_key_does_not_grow_old),
        TEST(test_keys_change),
        TEST(test_plaintext_to_tls),
        TEST(test_tls_to_plaintext),
        TEST(test_garbage),
        TEST(test_clients_without_the_key),
        TEST(test_byte_by_byte),
        TEST(test_replay),
        TEST(test_changed_on_the_way),
        TEST(test_half_open),
        TEST(test_failures_are_rate_limited),
        TEST(test_handshakes_left_are_rate_limited),
        TEST(test_many_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
