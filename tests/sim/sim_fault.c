/* What goes wrong: processes, machines, disks, the network, clocks. Each fault is mended by itself after a while. */
#include "sim.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum fault_kind {
    FAULT_KILL,
    FAULT_POWER,
    FAULT_DISK_CRASH, /* the machine loses power between two operations of a disk job */
    FAULT_KILL_LEADER,
    FAULT_POWER_LEADER,
    FAULT_DISK_CRASH_LEADER,
    FAULT_POWER_SOME,
    FAULT_POWER_ALL,
    FAULT_STOP,
    FAULT_BREAK,
    FAULT_BREAK_PEER,
    FAULT_PARTITION,
    FAULT_ISOLATE_LEADER,
    FAULT_ONE_WAY,
    FAULT_MUTE_LEADER, /* it hears, but is not heard */
    FAULT_SLOW_DISK,
    FAULT_PAUSE,
    FAULT_PAUSE_LEADER,
    FAULT_CLOCK,
    FAULT_SYNC_ERROR,
    FAULT_DISK_FULL,
    FAULT_WIPE,
    FAULT_FLAP,
    FAULT_HALF_OPEN,
    FAULT_IN_SNAPSHOT,
    FAULT_DISK_ERROR,
    FAULT_OBSERVER,
    FAULT_LOSE_ALL_BUT_ONE,
    FAULT_STALE_LEADER, /* it is paused, others elect another, and when it goes on one of them is wiped */
    FAULT_KIND_COUNT
};

struct fault {
    const char *name;
    unsigned weight;
};

static const struct fault faults[FAULT_KIND_COUNT] = {
    [FAULT_KILL] = {"kill", 8},
    [FAULT_POWER] = {"power", 8},
    [FAULT_DISK_CRASH] = {"power within a disk job", 10},
    [FAULT_KILL_LEADER] = {"kill the leader", 6},
    [FAULT_POWER_LEADER] = {"power of the leader", 4},
    [FAULT_DISK_CRASH_LEADER] = {"power within a disk job of the leader", 5},
    [FAULT_POWER_SOME] = {"power of some", 3},
    [FAULT_POWER_ALL] = {"power of all", 2},
    [FAULT_STOP] = {"stop", 3},
    [FAULT_BREAK] = {"break a connection", 6},
    [FAULT_BREAK_PEER] = {"break all connections of a peer", 3},
    [FAULT_PARTITION] = {"partition", 6},
    [FAULT_ISOLATE_LEADER] = {"isolate the leader", 6},
    [FAULT_ONE_WAY] = {"stall one way", 5},
    [FAULT_MUTE_LEADER] = {"mute the leader", 3},
    [FAULT_SLOW_DISK] = {"slow disk", 5},
    [FAULT_PAUSE] = {"pause", 4},
    [FAULT_PAUSE_LEADER] = {"pause the leader", 3},
    [FAULT_CLOCK] = {"clock", 2},
    [FAULT_SYNC_ERROR] = {"failing sync", 3},
    [FAULT_DISK_FULL] = {"full disk", 2},
    [FAULT_WIPE] = {"wipe", 6},
    [FAULT_FLAP] = {"flapping ways", 4},
    [FAULT_HALF_OPEN] = {"half-open connection", 4},
    [FAULT_IN_SNAPSHOT] = {"within a snapshot", 5},
    [FAULT_DISK_ERROR] = {"failing disk operation", 3},
    [FAULT_OBSERVER] = {"observer leaves", 6},
    [FAULT_STALE_LEADER] = {"paused leader, wiped voter", 6},
    [FAULT_LOSE_ALL_BUT_ONE] = {"all but one lose their disks", 1},
};

_Static_assert(FAULT_KIND_COUNT < SIM_FAULTS_MAX, "each kind has its counter");

const char *sim_fault_name(unsigned kind)
{
    return kind < FAULT_KIND_COUNT ? faults[kind].name : NULL;
}

/* What a heal mends. */
enum heal_kind {
    HEAL_STALLS, /* `arg` is a matrix of bits: 8 * from + to */
    HEAL_DISK,   /* the disk of `peer` has room again */
    HEAL_FLAP,   /* the next turn of flap `arg` */
    HEAL_WIPE,   /* it gets worse: one that is not `peer` is wiped */
    HEAL_TRAP,   /* `peer` is hit, in the way `arg` says */
};

static uint64_t duration_us(struct sim *s)
{
    return sim_chance(s, 85) ? sim_between(s, 20, 1000) * SIM_MS : sim_between(s, 1000, 5000) * SIM_MS;
}

static uint64_t away_us(struct sim *s)
{
    return sim_chance(s, 85) ? sim_between(s, 5, 800) * SIM_MS : sim_between(s, 800, 5000) * SIM_MS;
}

/* ---- whom it hits ---- */

static struct sim_peer *any_peer(struct sim *s)
{
    return &s->peers[sim_below(s, s->n_peers)];
}

static struct sim_peer *the_leader(struct sim *s)
{
    struct replica_status st;
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if (s->peers[i].replica != NULL) {
            replica_status(s->peers[i].replica, &st);
            if (st.role == ZAB_LEADING) {
                return &s->peers[i];
            }
        }
    }
    return any_peer(s);
}

static bool is_ready(const struct sim_peer *p)
{
    struct replica_status st;

    if (p->replica == NULL) {
        return false;
    }
    replica_status(p->replica, &st);
    return st.quorum && st.zxid > 0;
}

static bool someone_is_ready(const struct sim *s)
{
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if (is_ready(&s->peers[i])) {
            return true;
        }
    }
    return false;
}

/* ---- the network ---- */

static uint64_t way_bit(unsigned from, unsigned to)
{
    return UINT64_C(1) << (from * SIM_PEERS_MAX + to);
}

static void stall_ways(struct sim *s, uint64_t ways, int delta)
{
    unsigned from;
    unsigned to;

    for (from = 0; from < s->n_peers; from++) {
        for (to = 0; to < s->n_peers; to++) {
            if ((ways & way_bit(from, to)) != 0) {
                sim_net_stall(s, from, to, delta);
            }
        }
    }
}

/* Of the ways that lead from one side to the other; `back`: and those that lead back. */
static void cut(struct sim *s, unsigned side, bool back)
{
    uint64_t ways = 0;
    unsigned a;
    unsigned b;

    for (a = 0; a < s->n_peers; a++) {
        for (b = 0; b < s->n_peers; b++) {
            if ((side & (1u << a)) != 0 && (side & (1u << b)) == 0) {
                ways |= way_bit(a, b) | (back ? way_bit(b, a) : 0);
            }
        }
    }
    stall_ways(s, ways, 1);
    sim_push(s, duration_us(s),
             (struct sim_event){.kind = SIM_EV_HEAL, .other = HEAL_STALLS, .gen = s->fault_gen, .arg = ways});
}

static void break_all(struct sim *s, const struct sim_peer *p)
{
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if (i != p->index) {
            sim_net_break(s, p->index, i, 50 * SIM_MS);
        }
    }
}

static void break_one(struct sim *s)
{
    unsigned a = (unsigned)sim_below(s, s->n_peers);
    unsigned b = (unsigned)sim_below(s, s->n_peers);

    if (a != b) {
        sim_net_break(s, a, b, sim_chance(s, 80) ? 20 * SIM_MS : 2 * SIM_S);
    }
}

/* ---- machines ---- */

static void power_of(struct sim *s, unsigned percent)
{
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        if (sim_chance(s, percent)) {
            sim_peer_crash(&s->peers[i], true, away_us(s));
        }
    }
}

/* By seconds, by a year, or to 1970. */
static void turn_clock(struct sim_peer *p)
{
    struct sim *s = p->sim;
    int64_t year_ns = INT64_C(365) * 86400 * 1000000000;

    if (sim_chance(s, 70)) {
        p->wall_skew_ns += (int64_t)sim_below(s, 20000) * 1000000 - INT64_C(10000000000);
    } else if (sim_chance(s, 70)) {
        p->wall_skew_ns += sim_chance(s, 50) ? year_ns : -year_ns;
    } else {
        p->wall_skew_ns = INT64_C(-1700000000000000000);
    }
}

static void pause_process(struct sim_peer *p)
{
    if (p->replica != NULL) {
        p->paused_until_us = p->sim->now_us + duration_us(p->sim);
    }
}

static void slow_disk(struct sim_peer *p)
{
    struct sim *s = p->sim;

    p->slow_us = sim_between(s, 5, 500) * SIM_MS;
    p->slow_until_us = s->now_us + duration_us(s) * 2;
}

static void fail_sync(struct sim_peer *p)
{
    if (p->replica != NULL) {
        p->excused = true;
        crash_disk_fail_sync_after(p->disk, sim_below(p->sim, 6));
    }
}

static void fill_disk(struct sim_peer *p)
{
    struct sim *s = p->sim;

    if (p->replica != NULL) {
        crash_disk_set_free(p->disk, sim_below(s, 20000));
        sim_push(s, duration_us(s),
                 (struct sim_event){.kind = SIM_EV_HEAL, .other = HEAL_DISK, .peer = p->index, .gen = s->fault_gen});
    }
}

/* A dataDir may be lost at any time, as long as a quorum is left that has a vote (lesson 12). */
static void wipe(struct sim *s, struct sim_peer *p, uint64_t away)
{
    unsigned voters = 0;
    unsigned i;

    for (i = 0; i < s->n_peers; i++) {
        voters += i != p->index && !s->peers[i].observer && s->peers[i].epoch_saved > 0 ? 1 : 0;
    }
    if (voters < s->config.n_participants / 2 + 1 || sim_check_last(s) == 0) {
        return;
    }
    sim_peer_wipe(p);
    sim_push(s, away, (struct sim_event){.kind = SIM_EV_BOOT, .peer = p->index, .gen = p->incarnation});
}

/* Long enough for another to be elected. Just before it goes on, one of the others loses its disk. */
static void stale_leader(struct sim *s)
{
    struct sim_peer *p = the_leader(s);
    uint64_t us = s->config.peer_timeout_ms * SIM_MS * sim_between(s, 2, 5);

    if (p->replica == NULL) {
        return;
    }
    p->paused_until_us = s->now_us + us;
    sim_push(s, us - sim_below(s, 30 * SIM_MS),
             (struct sim_event){.kind = SIM_EV_HEAL, .other = HEAL_WIPE, .peer = p->index, .gen = s->fault_gen});
}

static void wipe_other(struct sim *s, unsigned than)
{
    struct sim_peer *p = any_peer(s);

    if (s->lonely < 0 && p->index != than) {
        wipe(s, p, sim_below(s, 20 * SIM_MS));
    }
}

/* Held up and released by turns, until there was enough of it. */
static void flap_turn(struct sim *s, unsigned slot)
{
    struct sim_flap *f = &s->flaps[slot];

    f->left--;
    stall_ways(s, f->ways, f->left % 2 == 1 ? 1 : -1);
    if (f->left > 0) {
        sim_push(s, sim_between(s, 5, 400) * SIM_MS,
                 (struct sim_event){.kind = SIM_EV_HEAL, .other = HEAL_FLAP, .gen = s->fault_gen, .arg = slot});
    }
}

static void flap(struct sim *s)
{
    unsigned slot = (unsigned)sim_below(s, SIM_FLAPS);
    unsigned a = (unsigned)sim_below(s, s->n_peers);
    unsigned b = (unsigned)sim_below(s, s->n_peers);
    struct sim_flap *f = &s->flaps[slot];

    if (f->left > 0 || a == b) {
        return;
    }
    f->ways = way_bit(a, b) | (sim_chance(s, 50) ? way_bit(b, a) : 0);
    f->left = 2 * (unsigned)sim_between(s, 2, 8);
    flap_turn(s, slot);
}

static void half_open(struct sim *s)
{
    unsigned a = (unsigned)sim_below(s, s->n_peers);
    unsigned b = (unsigned)sim_below(s, s->n_peers);

    if (a != b) {
        sim_net_half_open(s, a, b);
    }
}

static void fail_operation(struct sim_peer *p)
{
    if (p->replica != NULL) {
        p->excused = true;
        crash_disk_fail_op_after(p->disk, sim_below(p->sim, 20));
    }
}

static void observer_leaves(struct sim *s)
{
    struct sim_peer *p = &s->peers[s->config.n_participants + sim_below(s, s->config.n_observers)];

    if (sim_chance(s, 50)) {
        sim_peer_stop(p);
    } else {
        sim_peer_crash(p, sim_chance(s, 50), away_us(s));
    }
}

/* What may happen while a snapshot is on its way, or becomes the state. */
static void spring_trap(struct sim *s, unsigned from, unsigned to, enum zab_packet_type type)
{
    unsigned what = (unsigned)sim_below(s, 4);

    s->snap_trap = false;
    if (type == ZAB_SNAP_END) {
        crash_disk_crash_after(s->peers[to].disk, sim_below(s, 12));
        return;
    }
    sim_push(s, sim_below(s, 10 * SIM_MS),
             (struct sim_event){
                 .kind = SIM_EV_HEAL, .other = HEAL_TRAP, .gen = s->fault_gen, .arg = what << 16 | from << 8 | to});
}

static void trapped(struct sim *s, uint64_t arg)
{
    unsigned from = arg >> 8 & 0xff;
    unsigned to = arg & 0xff;

    switch (arg >> 16) {
    case 0:
        sim_peer_crash(&s->peers[from], false, away_us(s));
        return;
    case 1:
        sim_peer_crash(&s->peers[to], true, away_us(s));
        return;
    case 2:
        sim_net_break(s, from, to, 5 * SIM_MS);
        return;
    default:
        cut(s, 1u << from, true);
    }
}

void sim_fault_on_packet(struct sim *s, unsigned from, unsigned to, enum zab_packet_type type)
{
    if (s->snap_trap && (type == ZAB_SNAP || type == ZAB_SNAP_DATA || type == ZAB_SNAP_END) && sim_chance(s, 40)) {
        spring_trap(s, from, to, type);
    }
}

static void crash_in_job(struct sim_peer *p)
{
    if (p->replica != NULL) {
        crash_disk_crash_after(p->disk, sim_chance(p->sim, 70) ? sim_below(p->sim, 12) : sim_below(p->sim, 60));
    }
}

/* ---- one fault ---- */

static void inject_network(struct sim *s, enum fault_kind kind)
{
    unsigned all = (1u << s->n_peers) - 1;

    switch (kind) {
    case FAULT_BREAK:
        break_one(s);
        return;
    case FAULT_BREAK_PEER:
        break_all(s, any_peer(s));
        return;
    case FAULT_PARTITION:
        cut(s, (unsigned)sim_between(s, 0, all), true);
        return;
    case FAULT_ISOLATE_LEADER:
        cut(s, 1u << the_leader(s)->index, true);
        return;
    case FAULT_ONE_WAY:
        cut(s, (unsigned)sim_between(s, 0, all), false);
        return;
    case FAULT_MUTE_LEADER:
        cut(s, 1u << the_leader(s)->index, false);
        return;
    case FAULT_FLAP:
        flap(s);
        return;
    case FAULT_HALF_OPEN:
        half_open(s);
        return;
    case FAULT_IN_SNAPSHOT:
        s->snap_trap = true;
        return;
    default:
        assert(false);
    }
}

static void inject_machine(struct sim *s, enum fault_kind kind)
{
    switch (kind) {
    case FAULT_KILL:
        sim_peer_crash(any_peer(s), false, away_us(s));
        return;
    case FAULT_POWER:
        sim_peer_crash(any_peer(s), true, away_us(s));
        return;
    case FAULT_DISK_CRASH:
        crash_in_job(any_peer(s));
        return;
    case FAULT_KILL_LEADER:
        sim_peer_crash(the_leader(s), false, away_us(s));
        return;
    case FAULT_POWER_LEADER:
        sim_peer_crash(the_leader(s), true, away_us(s));
        return;
    case FAULT_DISK_CRASH_LEADER:
        crash_in_job(the_leader(s));
        return;
    case FAULT_POWER_SOME:
        power_of(s, 40);
        return;
    case FAULT_POWER_ALL:
        power_of(s, 100);
        return;
    case FAULT_STOP:
        sim_peer_stop(any_peer(s));
        return;
    case FAULT_PAUSE:
        pause_process(any_peer(s));
        return;
    case FAULT_PAUSE_LEADER:
        pause_process(the_leader(s));
        return;
    case FAULT_CLOCK:
        turn_clock(any_peer(s));
        return;
    case FAULT_SLOW_DISK:
        slow_disk(any_peer(s));
        return;
    case FAULT_SYNC_ERROR:
        fail_sync(any_peer(s));
        return;
    case FAULT_DISK_FULL:
        fill_disk(any_peer(s));
        return;
    case FAULT_WIPE:
        wipe(s, any_peer(s), away_us(s));
        return;
    case FAULT_STALE_LEADER:
        stale_leader(s);
        return;
    case FAULT_DISK_ERROR:
        fail_operation(any_peer(s));
        return;
    case FAULT_OBSERVER:
        observer_leaves(s);
        return;
    case FAULT_LOSE_ALL_BUT_ONE:
        (void)sim_lonely_lose(s);
        return;
    default:
        inject_network(s, kind);
    }
}

static unsigned weight_of(const struct sim *s, unsigned kind)
{
    switch (kind) {
    case FAULT_SYNC_ERROR:
    case FAULT_DISK_FULL:
    case FAULT_DISK_ERROR:
        return s->config.disk_errors ? faults[kind].weight : 0;
    case FAULT_WIPE:
    case FAULT_STALE_LEADER:
        return s->config.wipes ? faults[kind].weight : 0;
    case FAULT_OBSERVER:
        return s->config.n_observers > 0 ? faults[kind].weight : 0;
    case FAULT_LOSE_ALL_BUT_ONE:
        return s->config.losses ? faults[kind].weight : 0;
    default:
        return faults[kind].weight;
    }
}

static enum fault_kind draw_kind(struct sim *s)
{
    unsigned total = 0;
    unsigned at;
    unsigned k;

    for (k = 0; k < FAULT_KIND_COUNT; k++) {
        total += weight_of(s, k);
    }
    at = (unsigned)sim_below(s, total);
    for (k = 0; at >= weight_of(s, k); k++) {
        at -= weight_of(s, k);
    }
    return (enum fault_kind)k;
}

/* ---- when ---- */

void sim_fault_next(struct sim *s)
{
    uint64_t mean = s->config.fault_interval_us;

    sim_push(s, sim_between(s, mean / 5, mean * 9 / 5), (struct sim_event){.kind = SIM_EV_FAULT});
}

void sim_fault_on_event(struct sim *s)
{
    enum fault_kind kind;

    if (s->phase != SIM_PHASE_FAULTS) {
        return;
    }
    if ((sim_check_last(s) == 0 && !s->config.early_faults) ||
        (!someone_is_ready(s) && sim_chance(s, s->config.calm_percent))) {
        sim_fault_next(s);
        return;
    }
    if (s->lonely >= 0) {
        sim_lonely_fault(s);
        sim_fault_next(s);
        return;
    }
    kind = draw_kind(s);
    sim_trace(s, "FAULT %s", faults[kind].name);
    inject_machine(s, kind);
    sim_cover(s, SIM_COVER_FAULT + kind);
    s->stats.faults++;
    sim_fault_next(s);
}

void sim_fault_heal(struct sim *s, const struct sim_event *e)
{
    if (e->gen != s->fault_gen) {
        return;
    }
    if (e->other == HEAL_STALLS) {
        sim_trace(s, "HEAL 0x%016" PRIx64, e->arg);
        stall_ways(s, e->arg, -1);
    } else if (e->other == HEAL_FLAP) {
        flap_turn(s, (unsigned)e->arg);
    } else if (e->other == HEAL_WIPE) {
        wipe_other(s, e->peer);
    } else if (e->other == HEAL_TRAP) {
        trapped(s, e->arg);
    } else {
        crash_disk_set_free(s->peers[e->peer].disk, CRASH_DISK_UNLIMITED);
    }
}

void sim_fault_heal_all(struct sim *s)
{
    unsigned i;

    sim_trace(s, "HEAL all");
    s->fault_gen++;
    memset(s->flaps, 0, sizeof(s->flaps));
    s->snap_trap = false;
    sim_net_unstall_all(s);
    for (i = 0; i < s->n_peers; i++) {
        struct sim_peer *p = &s->peers[i];

        p->paused_until_us = 0;
        p->slow_until_us = 0;
        crash_disk_crash_after(p->disk, CRASH_DISK_NEVER);
        crash_disk_fail_sync_after(p->disk, CRASH_DISK_NEVER);
        crash_disk_fail_op_after(p->disk, CRASH_DISK_NEVER);
        crash_disk_set_free(p->disk, CRASH_DISK_UNLIMITED);
    }
}
