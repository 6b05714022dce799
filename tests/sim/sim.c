/*
 * The event queue, the clock, and the phases of a run.
 *
 *   FAULTS --enough of both--> DRAIN --all agree--> POWER --all agree--> DONE
 *      |                         ^
 *      +--time is up--> QUIET ---+
 */
#include "sim_client.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Faults stop after this time, even if the work is not done. */
#define FAULTS_US_MAX (600 * SIM_S)
/* Without faults, the rest of the work must be done within this time. */
#define QUIET_US_MAX (120 * SIM_S)
/* Without faults and new work, every call must have ended and all peers agree within this time. */
#define DRAIN_US_MAX (60 * SIM_S)
#define PHASE_US     (20 * SIM_MS)

void *sim_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

/* ---- random numbers: splitmix64 (S. Vigna) ---- */

uint64_t sim_random(struct sim *s)
{
    uint64_t x;

    s->rng += 0x9e3779b97f4a7c15u;
    x = s->rng;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
    assert(n > 0);
    return sim_random(s) % n;
}

uint64_t sim_between(struct sim *s, uint64_t low, uint64_t high)
{
    assert(low <= high);
    return low + sim_below(s, high - low + 1);
}

bool sim_chance(struct sim *s, unsigned percent)
{
    return sim_below(s, 100) < percent;
}

uint64_t sim_jitter(struct sim *s, uint64_t n)
{
    return s->script != NULL ? n / 2 : sim_below(s, n);
}

/* ---- trace and failure ---- */

void sim_mix(struct sim *s, uint64_t value)
{
    uint64_t x = s->trace_hash ^ value;

    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
    s->trace_hash = x ^ (x >> 29);
}

void sim_trace(struct sim *s, const char *format, ...)
{
    va_list args;

    if (!s->trace) {
        return;
    }
    printf("%10" PRIu64 ".%03" PRIu64 " ", s->now_us / 1000, s->now_us % 1000);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void sim_fail(struct sim *s, const char *format, ...)
{
    char where[256] = "";
    va_list args;

    fflush(stdout);
    if (s->script != NULL) {
        sim_script_where(s->script, where, sizeof(where));
        fprintf(stderr, "%s, ", where);
    }
    fprintf(stderr, "seed %" PRIu64 ", at %" PRIu64 ".%03" PRIu64 " ms, event %" PRIu64 ": ", s->seed, s->now_us / 1000,
            s->now_us % 1000, s->stats.events);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* ---- the event queue: a binary heap by (time, order) ---- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void heap_grow(struct sim *s)
{
    size_t cap = s->cap_heap == 0 ? 256 : s->cap_heap * 2;
    struct sim_event *heap = realloc(s->heap, cap * sizeof(*heap));

    if (heap == NULL) {
        abort();
    }
    s->heap = heap;
    s->cap_heap = cap;
}

void sim_push(struct sim *s, uint64_t delay_us, struct sim_event e)
{
    size_t i = s->n_heap;

    if (s->n_heap == s->cap_heap) {
        heap_grow(s);
    }
    e.at_us = s->now_us + delay_us;
    e.order = s->order++;
    s->n_heap++;
    while (i > 0 && event_before(&e, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = e;
}

static struct sim_event heap_pop(struct sim *s)
{
    struct sim_event top = s->heap[0];
    struct sim_event last = s->heap[--s->n_heap];
    size_t i = 0;
    size_t child;

    for (child = 1; child < s->n_heap; child = 2 * i + 1) {
        if (child + 1 < s->n_heap && event_before(&s->heap[child + 1], &s->heap[child])) {
            child++;
        }
        if (event_before(&last, &s->heap[child])) {
            break;
        }
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* ---- phases ---- */

bool sim_all_agree(const struct sim *s, unsigned peers)
{
    struct replica_status st;
    uint64_t last = sim_check_last(s);
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if ((peers & (1u << i)) == 0) {
            continue;
        }
        if (s->peers[i].replica == NULL || s->peers[i].stopping || s->peers[i].ending) {
            return false;
        }
        replica_status(s->peers[i].replica, &st);
        if (!st.quorum || st.zxid != last) {
            return false;
        }
    }
    return true;
}

void sim_describe_peers(const struct sim *s, char *text, size_t size)
{
    struct replica_status st;
    size_t used = 0;
    unsigned i;
    int n;

    text[0] = '\0';
    for (i = 0; i < s->n_peers && used < size; i++) {
        const struct sim_peer *p = &s->peers[i];

        if (p->replica == NULL) {
            n = snprintf(text + used, size - used, " [%" PRIu64 " down]", p->sid);
        } else {
            replica_status(p->replica, &st);
            n = snprintf(text + used, size - used, " [%" PRIu64 " %s%s leader %" PRIu64 " epoch %u zxid 0x%" PRIx64 "]",
                         p->sid, zab_role_name(st.role), st.quorum ? " ready" : "", st.leader, st.epoch, st.zxid);
        }
        used += n > 0 ? (size_t)n : 0;
    }
}

static void no_progress(struct sim *s, const char *what)
{
    char peers[1024];
    char clients[1024];

    sim_describe_peers(s, peers, sizeof(peers));
    sim_clients_describe(s, clients, sizeof(clients));
    sim_fail(s, "no progress: %s; peers:%s; clients:%s", what, peers, clients);
}

static void enter_phase(struct sim *s, enum sim_phase phase, uint64_t limit_us)
{
    s->phase = phase;
    s->phase_deadline_us = s->now_us + limit_us;
    sim_trace(s, "PHASE %d", (int)phase);
}

static void verify_all(struct sim *s)
{
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        sim_check_peer(&s->peers[i]);
        sim_clients_verify(&s->peers[i]);
    }
}

static void power_cut(struct sim *s)
{
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        sim_peer_crash(&s->peers[i], true, sim_between(s, 1, 500) * SIM_MS);
    }
}

/* All had time to agree: did they? */
static void drained(struct sim *s)
{
    verify_all(s);
    sim_keys_verify(s);
    if (s->phase == SIM_PHASE_DRAIN) {
        power_cut(s);
        enter_phase(s, SIM_PHASE_POWER, DRAIN_US_MAX);
        return;
    }
    enter_phase(s, SIM_PHASE_DONE, 0);
}

static void look_how_far(struct sim *s)
{
    bool worked = s->stats.ops >= s->ops_min && s->lonely < 0;
    bool late = s->now_us >= s->phase_deadline_us;

    sim_lonely_look(s);
    switch (s->phase) {
    case SIM_PHASE_FAULTS:
        if ((worked && s->stats.faults >= s->faults_min) || late) {
            sim_fault_heal_all(s);
            enter_phase(s, worked ? SIM_PHASE_DRAIN : SIM_PHASE_QUIET, worked ? DRAIN_US_MAX : QUIET_US_MAX);
        }
        return;
    case SIM_PHASE_QUIET:
        if (worked) {
            enter_phase(s, SIM_PHASE_DRAIN, DRAIN_US_MAX);
        } else if (late) {
            no_progress(s, "nothing fails any more, and the work is not done");
        }
        return;
    case SIM_PHASE_DRAIN:
    case SIM_PHASE_POWER:
        if (sim_clients_idle(s) && sim_all_agree(s, (1u << s->n_peers) - 1)) {
            drained(s);
        } else if (late) {
            no_progress(s, "nothing fails any more, and calls are outstanding or peers differ");
        }
        return;
    case SIM_PHASE_DONE:
        return;
    }
}

/* ---- the loop ---- */

static void dispatch(struct sim *s, const struct sim_event *e)
{
    switch (e->kind) {
    case SIM_EV_FAULT:
        sim_fault_on_event(s);
        return;
    case SIM_EV_HEAL:
        sim_fault_heal(s, e);
        return;
    case SIM_EV_PHASE:
        if (s->script == NULL) {
            look_how_far(s);
            sim_push(s, PHASE_US, *e);
        }
        return;
    case SIM_EV_CLIENT:
    case SIM_EV_CANCEL:
        sim_client_on_event(s, e);
        break;
    case SIM_EV_DIAL:
    case SIM_EV_CONN_UP:
    case SIM_EV_CONN_DOWN:
    case SIM_EV_DELIVER:
        sim_net_on_event(s, e);
        break;
    case SIM_EV_BOOT:
    case SIM_EV_END:
    case SIM_EV_TIMER:
    case SIM_EV_FLUSH:
    case SIM_EV_JOB_RUN:
    case SIM_EV_JOB_DONE:
    case SIM_EV_SNAP_SAVE:
    case SIM_EV_SNAP_DONE:
    case SIM_EV_PIECE:
        sim_peer_on_event(&s->peers[e->peer], e);
        break;
    }
    sim_peer_after_step(&s->peers[e->peer]);
}

/* A stopped process (SIGSTOP) does nothing, and later everything that was waiting, in order. */
static bool is_paused(struct sim *s, const struct sim_event *e)
{
    const struct sim_peer *p = &s->peers[e->peer];

    if (e->kind == SIM_EV_FAULT || e->kind == SIM_EV_HEAL || e->kind == SIM_EV_PHASE ||
        p->paused_until_us <= s->now_us) {
        return false;
    }
    sim_push(s, p->paused_until_us - s->now_us, *e);
    return true;
}

void sim_step(struct sim *s)
{
    struct sim_event e;

    assert(s->n_heap > 0);
    e = heap_pop(s);
    assert(e.at_us >= s->now_us);
    s->now_us = e.at_us;
    if (is_paused(s, &e)) {
        return;
    }
    s->stats.events++;
    sim_mix(s, e.at_us);
    sim_mix(s, ((uint64_t)e.kind << 16) | (e.peer << 8) | e.other);
    s->current = &s->peers[e.peer];
    dispatch(s, &e);
    s->current = NULL;
}

static void boot_all(struct sim *s)
{
    unsigned i;

    if (s->config.grows) {
        sim_lonely_begin(s, &s->peers[sim_below(s, s->config.n_participants)]);
        return;
    }
    for (i = 0; i < s->n_peers; i++) {
        sim_push(s, sim_between(s, 0, 300) * SIM_MS, (struct sim_event){.kind = SIM_EV_BOOT, .peer = i});
    }
}

static void release_all(struct sim *s)
{
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        sim_peer_release(&s->peers[i]);
    }
    sim_net_release(s);
    sim_clients_release(s);
    sim_check_release(s);
    free(s->heap);
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *s = sim_alloc(sizeof(*s));

    s->seed = options->seed;
    s->rng = options->seed;
    s->trace = options->trace;
    s->outcomes_only = options->outcomes_only;
    s->ops_min = options->ops;
    s->faults_min = options->faults;
    s->lonely = -1;
    return s;
}

void sim_free(struct sim *s)
{
    release_all(s);
    free(s);
}

void sim_run(const struct sim_options *options, struct sim_stats *ret_stats, uint64_t *ret_trace_hash)
{
    struct sim *s = sim_new(options);
    unsigned i;

    sim_config_draw(s);
    sim_check_init(s);
    for (i = 0; i < s->n_peers; i++) {
        sim_peer_init(s, i);
    }
    boot_all(s);
    sim_clients_init(s);
    sim_push(s, PHASE_US, (struct sim_event){.kind = SIM_EV_PHASE});
    sim_fault_next(s);
    enter_phase(s, SIM_PHASE_FAULTS, FAULTS_US_MAX);
    while (s->phase != SIM_PHASE_DONE) {
        sim_step(s);
    }
    s->stats.simulated_us = s->now_us;
    *ret_stats = s->stats;
    *ret_trace_hash = s->trace_hash;
    sim_free(s);
}
