#include "transport_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void append(char **text, const char *more)
{
    size_t old = *text != NULL ? strlen(*text) : 0;
    char *longer = realloc(*text, old + strlen(more) + 1);

    assert_non_null(longer);
    memcpy(longer + old, more, strlen(more) + 1);
    *text = longer;
}

static void node_event(struct node *n, const char *what, uint64_t sid)
{
    char text[64];

    assert_false(n->in_call);
    (void)snprintf(text, sizeof(text), "%s %" PRIu64 ";", what, sid);
    append(&n->events, text);
}

static void on_up(void *arg, uint64_t sid, bool observer, const char *address)
{
    struct node *n = arg;

    assert_non_null(strstr(address, "127.0.0.1:"));
    node_event(n, observer ? "up observer" : "up", sid);
    n->ups++;
    assert_string_equal(transport_address(n->transport, sid), address);
}

static void on_down(void *arg, uint64_t sid)
{
    struct node *n = arg;

    node_event(n, "down", sid);
    n->downs++;
    assert_true(n->downs <= n->ups);
}

static void on_packet(void *arg, uint64_t sid, const struct zab_packet *packet)
{
    struct node *n = arg;

    (void)sid;
    assert_false(n->in_call);
    assert_int_equal(packet->zxid, n->zxid_next);
    n->zxid_next++;
    n->packets++;
    n->body_bytes += packet->body != NULL ? packet->body->len : 0;
}

static uint64_t on_ensemble(void *arg)
{
    struct node *n = arg;

    return n->ensemble;
}

static void on_log(void *arg, const char *text)
{
    struct node *n = arg;

    assert_null(strchr(text, '\n'));
    append(&n->log, text);
    append(&n->log, "\n");
}

static void on_closed(void *arg)
{
    struct node *n = arg;

    n->closed = true;
    n->transport = NULL;
}

void world_on_deadline(uv_timer_t *timer)
{
    struct world *w = timer->data;

    w->late = true;
}

/* A port that was free a moment ago. */
uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(close(fd), 0);
    return ntohs(address.sin_port);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    size_t i;

    assert_non_null(w);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    assert_int_equal(uv_timer_init(&w->loop, &w->deadline), 0);
    w->deadline.data = w;
    for (i = 0; i < NODES; i++) {
        w->nodes[i].loop = &w->loop;
        w->nodes[i].sid = i + 1;
        w->nodes[i].port = free_port();
        append(&w->nodes[i].events, "");
        append(&w->nodes[i].log, "");
    }
    *state = w;
    return 0;
}

const char *world_file(struct world *w, const char *name, const char *contents)
{
    static char path[128];
    FILE *file;

    if (w->dir[0] == '\0') {
        (void)snprintf(w->dir, sizeof(w->dir), "/tmp/test_tls.XXXXXX");
        assert_non_null(mkdtemp(w->dir));
    }
    (void)snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    if (contents != NULL) {
        file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fchmod(fileno(file), 0600), 0);
        assert_true(fputs(contents, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
    return path;
}

struct tls *world_key(struct world *w, const char *text)
{
    struct tls_config config = {.key_file = world_file(w, "key", text)};
    struct error err = {{0}};
    struct tls *tls;

    if (tls_new(&config, &tls, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(err.text, "");
    return tls;
}

int world_setup_tls(void **state)
{
    struct world *w;

    assert_int_equal(world_setup(state), 0);
    w = *state;
    w->tls = world_key(w, "0123456789abcdef0123456789abcdef\n");
    return 0;
}

static void world_remove_dir(struct world *w)
{
    char command[64];

    if (w->dir[0] != '\0') {
        (void)snprintf(command, sizeof(command), "rm -r %s", w->dir);
        assert_int_equal(system(command), 0);
    }
}

void node_stop(struct node *n)
{
    if (n->transport != NULL) {
        n->closed = false;
        n->in_call = true;
        transport_stop(n->transport, on_closed, n);
        n->in_call = false;
        assert_false(n->closed);
    }
}

int world_teardown(void **state)
{
    struct world *w = *state;
    size_t i;

    for (i = 0; i < NODES; i++) {
        node_stop(&w->nodes[i]);
    }
    uv_close((uv_handle_t *)&w->deadline, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    for (i = 0; i < NODES; i++) {
        assert_null(w->nodes[i].transport);
        free(w->nodes[i].events);
        free(w->nodes[i].log);
    }
    tls_free(w->tls);
    world_remove_dir(w);
    free(w);
    return 0;
}

void world_print(const struct world *w)
{
    size_t i;

    for (i = 0; i < NODES; i++) {
        print_message("node %zu: %s packets %zu\n%s", i + 1, w->nodes[i].events, w->nodes[i].packets, w->nodes[i].log);
    }
}

int node_try_start(struct world *w, size_t index, const struct plan *plan, struct error *err)
{
    struct node *n = &w->nodes[index];
    struct transport_peer peers[NODES];
    struct transport_config config = {
        .sid = n->sid,
        .observer = (plan->observers & (1u << index)) != 0,
        .nonce = uv_hrtime(),
        .listen_host = "127.0.0.1",
        .listen_port = n->port,
        .peers = peers,
        .queue_bytes_max = plan->queue_bytes_max,
        .silent_ms = plan->silent_ms,
        .tls = plan->tls[index] != NULL ? plan->tls[index] : w->tls,
    };
    struct transport_callbacks cb = node_callbacks(n);
    size_t i;
    int rv;

    for (i = 0; i < plan->n; i++) {
        if (i != index) {
            peers[config.n_peers++] = (struct transport_peer){
                .sid = i + 1,
                .host = plan->host != NULL ? plan->host : "127.0.0.1",
                .port = w->nodes[i].port,
                .observer = (plan->observers & (1u << i)) != 0,
            };
        }
    }
    n->in_call = true;
    rv = transport_start(&w->loop, &config, &cb, &n->transport, err);
    n->in_call = false;
    return rv;
}

void node_start(struct world *w, size_t index, const struct plan *plan)
{
    struct error err = {{0}};
    int rv = node_try_start(w, index, plan, &err);

    if (rv != 0) {
        fail_msg("start: %s", err.text);
    }
}

void node_send(struct node *n, uint64_t sid, uint64_t zxid, struct buf *body)
{
    struct zab_packet packet = {.type = body != NULL ? ZAB_PROPOSAL : ZAB_PING, .zxid = zxid, .body = body};

    n->in_call = true;
    transport_send(n->transport, sid, &packet);
    n->in_call = false;
}

void node_flush(struct node *n)
{
    n->in_call = true;
    transport_flush(n->transport);
    n->in_call = false;
}

size_t count_lines(const char *log, const char *part)
{
    size_t n = 0;
    const char *at;

    for (at = strstr(log, part); at != NULL; at = strstr(at, part)) {
        n++;
        at = strchr(at, '\n');
    }
    return n;
}

uint64_t node_refused(const struct node *n)
{
    struct transport_stats stats;
    uint64_t sum = 0;
    size_t i;

    transport_stats(n->transport, &stats);
    for (i = 0; i < TRANSPORT_REFUSALS; i++) {
        sum += stats.refused[i];
    }
    return sum;
}

uint64_t node_refused_for(const struct node *n, enum transport_refusal reason)
{
    struct transport_stats stats;

    transport_stats(n->transport, &stats);
    return stats.refused[reason];
}

/* ---- a stranger: a bare socket ---- */

int stranger_connect(const struct node *n)
{
    return stranger_connect_from(n, INADDR_LOOPBACK);
}

int stranger_connect_from(const struct node *n, uint32_t source)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(source)};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(n->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

void stranger_send(int fd, const void *bytes, size_t len)
{
    assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

/* Reads away what is there; true once the other end has closed. */
bool stranger_closed(int fd)
{
    char bytes[4096];
    ssize_t n;

    do {
        n = recv(fd, bytes, sizeof(bytes), 0);
    } while (n > 0);
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

void stranger_greet(int fd, const struct packet_greeting *g)
{
    struct buf *frame = packet_encode_greeting(g);

    stranger_send(fd, frame->bytes, frame->len);
    buf_unref(frame);
}
void expect_refused(struct world *w, const struct packet_greeting *g, const char *text)
{
    struct node *n = &w->nodes[1];
    int fd = stranger_connect(n);

    stranger_greet(fd, g);
    run_until(w, stranger_closed(fd));
    assert_int_equal(close(fd), 0);
    if (strstr(n->log, text) == NULL) {
        fail_msg("no \"%s\" in: %s", text, n->log);
    }
}

struct transport_callbacks node_callbacks(struct node *n)
{
    return (struct transport_callbacks){on_up, on_down, on_packet, on_ensemble, on_log, n};
}
