/*
 * replica_load: what consensus and store cost below the mount. Three processes, each a peer on loopback with a dataDir
 * of its own; those that are asked to keep 256 writes of 100 bytes outstanding, at the interface that front ends use.
 *
 *   replica_load DIR SECONDS leader|follower|all
 *
 * DIR is where the dataDirs are made. Prints one line of key=value figures: writes, writes per second, and the CPU time
 * (user and system, every thread, the generator's share included) of all three processes per write, in microseconds.
 *
 *   parent --'w' (write), 's' (stop writing), 'e' (end)--> child
 *   parent <--'L' (leads, has a quorum), 'F' (follows, has one), 'N' (has none), 'd' (stopped writing)-- child
 */
#include "consensus/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PEERS       3
#define OUTSTANDING 256 /* over all that write */
#define PAYLOAD     100
#define WARM_UP_MS  1000
#define DEADLINE_MS 30000

struct child {
    pid_t pid;
    int fd; /* of the parent */
    uint16_t port;
    char state; /* 'L', 'F', 'N' */
};

/* ---- in a child ---- */

struct slot {
    struct replica_call call;
    struct host *host;
    uint64_t ino; /* 0: its file is being created */
};

struct host {
    uv_loop_t loop;
    uv_poll_t control;
    int fd;
    struct peer *peer;
    struct replica_listener listener;
    char told;
    size_t sid;
    struct slot slots[OUTSTANDING];
    size_t n_slots;
    size_t outstanding;
    bool writing;
    uint64_t *writes; /* in memory that the parent sees */
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void say(const struct host *h, char c)
{
    if (write(h->fd, &c, 1) != 1) {
        die("write to the parent");
    }
}

static void slot_done(struct replica_call *call, const struct outcome *outcome);

static void slot_submit(struct slot *s)
{
    static const uint8_t bytes[PAYLOAD];
    struct op_range range = {.offset = 0, .len = PAYLOAD, .bytes = bytes};
    struct op write_op = {.kind = OP_WRITE, .ino = s->ino, .ranges = &range, .n_ranges = 1};
    char name[64];
    int len = snprintf(name, sizeof(name), "peer-%zu-%td", s->host->sid, s - s->host->slots);
    struct op create_op = {.kind = OP_CREATE,
                           .ino = TREE_ROOT_INO,
                           .name = name,
                           .name_len = (size_t)len,
                           .node_kind = NODE_FILE,
                           .mode = 0644};

    s->call.done = slot_done;
    s->call.patience = REPLICA_HARD;
    s->host->outstanding++;
    replica_submit(peer_replica(s->host->peer), &s->call, s->ino == 0 ? &create_op : &write_op);
}

static void slot_done(struct replica_call *call, const struct outcome *outcome)
{
    struct slot *s = (struct slot *)call; /* its first member */
    struct host *h = s->host;

    if (outcome->err != 0) {
        errno = outcome->err;
        die("write");
    }
    if (s->ino == 0) {
        s->ino = outcome->ino;
    } else {
        (*h->writes)++;
    }
    h->outstanding--;
    if (h->writing) {
        slot_submit(s);
    } else if (h->outstanding == 0) {
        say(h, 'd');
    }
}

static void host_write(struct host *h)
{
    size_t i;

    h->writing = true;
    for (i = 0; i < h->n_slots; i++) {
        h->slots[i].host = h;
        slot_submit(&h->slots[i]);
    }
}

static void on_control(uv_poll_t *control, int status, int events)
{
    struct host *h = control->data;
    char c = 'e';

    (void)events;
    if (status != 0 || read(h->fd, &c, 1) <= 0 || c == 'e') {
        (void)uv_poll_stop(control);
        peer_stop(h->peer);
    } else if (c == 'w') {
        host_write(h);
    } else {
        h->writing = false;
    }
}

static void on_status(void *arg)
{
    struct host *h = arg;
    struct replica_status status;
    char state = 'N';

    replica_status(peer_replica(h->peer), &status);
    if (status.quorum) {
        state = status.role == ZAB_LEADING ? 'L' : 'F';
    }
    if (state != h->told) {
        h->told = state;
        say(h, state);
    }
}

static void on_ended(void *arg, const char *text)
{
    struct host *h = arg;

    if (text != NULL) {
        fprintf(stderr, "replica_load: peer %zu: %s\n", h->sid, text);
        exit(1);
    }
    uv_close((uv_handle_t *)&h->control, NULL);
}

static void on_log(void *arg, const char *text)
{
    const struct host *h = arg;

    if (getenv("REPLICA_LOAD_LOG") != NULL) {
        fprintf(stderr, "peer %zu: %s\n", h->sid, text);
    }
}

static void host_start(struct host *h, const char *dir, const struct child *children)
{
    struct zab_server servers[PEERS];
    struct transport_peer others[PEERS];
    struct peer_callbacks cb = {.ended = on_ended, .log = on_log, .arg = h};
    char data_dir[4096];
    struct peer_config config = {
        .replica = {.zab = {.sid = h->sid,
                            .servers = servers,
                            .n_servers = PEERS,
                            .tick_ms = 2000,
                            .init_limit = 10,
                            .sync_limit = 5,
                            .peer_timeout_ms = 1000,
                            .window_bytes = (size_t)16 << 20},
                    .timeo_ms = 5000,
                    .data_max = 1 << 20,
                    .snap_count = UINT64_MAX,
                    .snap_bytes = UINT64_MAX,
                    .snap_retain = 3},
        .transport = {.sid = h->sid,
                      .listen_host = "127.0.0.1",
                      .listen_port = children[h->sid - 1].port,
                      .peers = others},
        .data_dir = data_dir,
    };
    struct error err = {{0}};
    int n = snprintf(data_dir, sizeof(data_dir), "%s/data-%zu", dir, h->sid);
    size_t sid;

    if (n < 0 || (size_t)n >= sizeof(data_dir)) {
        errno = ENAMETOOLONG;
        die(dir);
    }
    for (sid = 1; sid <= PEERS; sid++) {
        servers[sid - 1] = (struct zab_server){.sid = sid};
        if (sid != h->sid) {
            others[config.transport.n_peers++] =
                (struct transport_peer){.sid = sid, .host = "127.0.0.1", .port = children[sid - 1].port};
        }
    }
    if (peer_start(&h->loop, &config, &cb, &h->peer, &err) != 0) {
        fprintf(stderr, "replica_load: peer %zu: %s\n", h->sid, err.text);
        exit(1);
    }
    h->listener = (struct replica_listener){.arg = h, .status = on_status};
    replica_listen(peer_replica(h->peer), &h->listener);
}

static int child_main(struct host *h, const char *dir, const struct child *children)
{
    if (uv_loop_init(&h->loop) != 0 || uv_poll_init(&h->loop, &h->control, h->fd) != 0) {
        die("uv");
    }
    h->control.data = h;
    if (uv_poll_start(&h->control, UV_READABLE, on_control) != 0) {
        die("uv_poll_start");
    }
    host_start(h, dir, children);
    return uv_run(&h->loop, UV_RUN_DEFAULT) == 0 && uv_loop_close(&h->loop) == 0 ? 0 : 1;
}

/* ---- the parent ---- */

/* Ports that were free a moment ago, held until all are drawn so that they differ. */
static void draw_ports(struct child *children)
{
    int fds[PEERS];
    size_t i;

    for (i = 0; i < PEERS; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(address);

        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&address, len) != 0 ||
            getsockname(fds[i], (struct sockaddr *)&address, &len) != 0) {
            die("bind");
        }
        children[i].port = ntohs(address.sin_port);
    }
    for (i = 0; i < PEERS; i++) {
        (void)close(fds[i]);
    }
}

static void start_children(struct child *children, const char *dir, size_t n_slots, uint64_t *writes)
{
    size_t i;

    draw_ports(children);
    for (i = 0; i < PEERS; i++) {
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
            die("socketpair");
        }
        children[i].fd = fds[0];
        children[i].state = 'N';
        children[i].pid = fork();
        if (children[i].pid < 0) {
            die("fork");
        }
        if (children[i].pid == 0) {
            struct host *h = calloc(1, sizeof(*h));

            if (h == NULL) {
                die("calloc");
            }
            h->sid = i + 1;
            h->fd = fds[1];
            h->told = 'N';
            h->n_slots = n_slots;
            h->writes = &writes[i];
            for (size_t k = 0; k <= i; k++) {
                (void)close(children[k].fd);
            }
            exit(child_main(h, dir, children));
        }
        (void)close(fds[1]);
    }
}

static void tell(const struct child *c, char what)
{
    if (write(c->fd, &what, 1) != 1) {
        die("write to a child");
    }
}

/* Takes in what children say, until one says `wanted` (0: anything). */
static void listen_for(struct child *children, char wanted)
{
    for (;;) {
        struct pollfd fds[PEERS];
        size_t i;

        for (i = 0; i < PEERS; i++) {
            fds[i] = (struct pollfd){.fd = children[i].fd, .events = POLLIN};
        }
        if (poll(fds, PEERS, DEADLINE_MS) <= 0) {
            fprintf(stderr, "replica_load: nothing heard for %d ms\n", DEADLINE_MS);
            exit(1);
        }
        for (i = 0; i < PEERS; i++) {
            char c = 0;

            if (fds[i].revents == 0) {
                continue;
            }
            if (read(children[i].fd, &c, 1) != 1) {
                fprintf(stderr, "replica_load: peer %zu has ended\n", i + 1);
                exit(1);
            }
            if (c != 'd') {
                children[i].state = c;
            }
            if (wanted == 0 || c == wanted) {
                return;
            }
        }
    }
}

static bool all_have_quorum(const struct child *children)
{
    size_t i;

    for (i = 0; i < PEERS; i++) {
        if (children[i].state == 'N') {
            return false;
        }
    }
    return true;
}

struct reading {
    double wall_us;
    double cpu_us[PEERS];
    uint64_t writes;
};

static double clock_us(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) != 0) {
        die("clock_gettime");
    }
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static struct reading read_all(const struct child *children, const uint64_t *writes)
{
    struct reading r = {.wall_us = clock_us(CLOCK_MONOTONIC)};
    size_t i;

    for (i = 0; i < PEERS; i++) {
        clockid_t id;

        if (clock_getcpuclockid(children[i].pid, &id) != 0) {
            die("clock_getcpuclockid");
        }
        r.cpu_us[i] = clock_us(id);
        r.writes += __atomic_load_n(&writes[i], __ATOMIC_RELAXED);
    }
    return r;
}

static void sleep_ms(unsigned long ms)
{
    struct timespec ts = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&ts, NULL);
}

static void print(const struct child *children, const struct reading *a, const struct reading *b)
{
    double n = (double)(b->writes - a->writes);
    double leader = 0;
    double followers = 0;
    size_t i;

    for (i = 0; i < PEERS; i++) {
        double cpu = (b->cpu_us[i] - a->cpu_us[i]) / n;

        if (children[i].state == 'L') {
            leader += cpu;
        } else {
            followers += cpu;
        }
    }
    printf("writes=%.0f per_second=%.0f cpu=%.2f leader=%.2f followers=%.2f\n", n, n * 1e6 / (b->wall_us - a->wall_us),
           leader + followers, leader, followers);
}

/* Does this child write, where `who` shall? Of two followers, the first. */
static bool is_writer(const struct child *children, size_t i, const char *who)
{
    if (strcmp(who, "all") == 0) {
        return true;
    }
    if (strcmp(who, "leader") == 0) {
        return children[i].state == 'L';
    }
    return children[i].state == 'F' && (i == 0 || children[0].state != 'F');
}

static int measure(struct child *children, const char *who, unsigned long seconds, const uint64_t *writes)
{
    struct reading before;
    struct reading after;
    size_t n = 0;
    size_t i;

    while (!all_have_quorum(children)) {
        listen_for(children, 0);
    }
    for (i = 0; i < PEERS; i++) {
        if (is_writer(children, i, who)) {
            tell(&children[i], 'w');
            n++;
        }
    }
    sleep_ms(WARM_UP_MS);
    before = read_all(children, writes);
    sleep_ms(seconds * 1000);
    after = read_all(children, writes);
    for (i = 0; i < PEERS; i++) {
        if (is_writer(children, i, who)) {
            tell(&children[i], 's');
        }
    }
    while (n-- > 0) {
        listen_for(children, 'd');
    }
    print(children, &before, &after);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long seconds = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    struct child children[PEERS];
    uint64_t *writes;
    int failed = 0;
    size_t i;

    if (argc != 4 || seconds < 1 || seconds > 3600 ||
        (strcmp(argv[3], "leader") != 0 && strcmp(argv[3], "follower") != 0 && strcmp(argv[3], "all") != 0)) {
        fprintf(stderr, "usage: replica_load DIR SECONDS leader|follower|all\n");
        return 2;
    }
    writes = mmap(NULL, PEERS * sizeof(*writes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (writes == MAP_FAILED) {
        die("mmap");
    }
    start_children(children, argv[1], strcmp(argv[3], "all") == 0 ? OUTSTANDING / PEERS : OUTSTANDING, writes);
    failed = measure(children, argv[3], seconds, writes);
    for (i = 0; i < PEERS; i++) {
        tell(&children[i], 'e');
    }
    for (i = 0; i < PEERS; i++) {
        int status;

        if (waitpid(children[i].pid, &status, 0) != children[i].pid || status != 0) {
            failed = 1;
        }
    }
    return failed;
}
