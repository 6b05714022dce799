/*
 * Transports on loopback, on one loop, each with a record of what it told; and strangers, who are bare sockets.
 */
#ifndef TESTS_TRANSPORT_FIXTURE_H
#define TESTS_TRANSPORT_FIXTURE_H

#include "consensus/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define NODES       4

/* One transport with all it told. Node i has server id i + 1. */
struct node {
    uv_loop_t *loop;
    struct transport *transport; /* NULL: stopped */
    uint64_t sid;
    uint64_t ensemble;
    uint16_t port;
    bool closed;
    char *events; /* "up 2;down 2;" */
    char *log;    /* lines */
    size_t ups;
    size_t downs;
    size_t packets;
    uint64_t zxid_next; /* of the packets: they come in order */
    size_t body_bytes;
    bool in_call; /* a function of the transport is running: no callback may come */
};

struct world {
    uv_loop_t loop;
    uv_timer_t deadline;
    bool late;
    struct node nodes[NODES];
    struct tls *tls; /* of all nodes that have none in their plan; NULL: none */
    char dir[32];    /* for keys and certificates; "": none yet */
};

/* What may differ from "all of `n` listed, all participants". */
struct plan {
    size_t n;
    unsigned observers; /* bit i: node i */
    size_t queue_bytes_max;
    uint32_t silent_ms;
    const char *host; /* NULL: 127.0.0.1 */
    struct tls *tls[NODES];
};

/* Runs the loop until the condition holds. */
#define run_until(w, condition)                                                                                        \
    do {                                                                                                               \
        (w)->late = false;                                                                                             \
        assert_int_equal(uv_timer_start(&(w)->deadline, world_on_deadline, DEADLINE_MS, 0), 0);                        \
        while (!(condition)) {                                                                                         \
            (void)uv_run(&(w)->loop, UV_RUN_ONCE);                                                                     \
            if ((w)->late) {                                                                                           \
                world_print(w);                                                                                        \
                fail_msg("not within %d ms: %s", DEADLINE_MS, #condition);                                             \
            }                                                                                                          \
        }                                                                                                              \
        assert_int_equal(uv_timer_stop(&(w)->deadline), 0);                                                            \
    } while (0)

struct transport_callbacks node_callbacks(struct node *n);
/* A port that was free a moment ago. */
uint16_t free_port(void);
int world_setup(void **state);
int world_setup_tls(void **state); /* all have one key */
/* A key made of `text`. */
struct tls *world_key(struct world *w, const char *text);
/* The path of a file in w->dir, valid until the next call; written with `contents` unless NULL, readable by nobody
 * else. */
const char *world_file(struct world *w, const char *name, const char *contents);
int world_teardown(void **state);
void node_stop(struct node *n);
void world_print(const struct world *w);
int node_try_start(struct world *w, size_t index, const struct plan *plan, struct error *err);
void node_start(struct world *w, size_t index, const struct plan *plan);
void node_send(struct node *n, uint64_t sid, uint64_t zxid, struct buf *body);
void node_flush(struct node *n);
size_t count_lines(const char *log, const char *part);
uint64_t node_refused(const struct node *n);
uint64_t node_refused_for(const struct node *n, enum transport_refusal reason);
int stranger_connect(const struct node *n);
int stranger_connect_from(const struct node *n, uint32_t source); /* an address of loopback */
void stranger_send(int fd, const void *bytes, size_t len);
/* Reads away what is there; true once the other end has closed. */
bool stranger_closed(int fd);
void stranger_greet(int fd, const struct packet_greeting *g);
void world_on_deadline(uv_timer_t *timer); /* for run_until */
/* A stranger who greets node 1 so is refused with a line that has `text`. */
void expect_refused(struct world *w, const struct packet_greeting *g, const char *text);

#endif
