/* The steps of a scenario that do something. */
#include "sim_script.h"

#include "store/tree_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- servers ---- */

static void boot(struct sim_script *sc, struct sim_peer *p)
{
    if (p->replica != NULL) {
        script_bad(sc, "that server is up");
    }
    sc->sim->current = p;
    sim_peer_boot(p);
    sc->sim->current = NULL;
}

static void act_start(struct sim_script *sc, const struct script_step *st)
{
    bool alone = script_is(st, st->n - 1, "alone");
    unsigned i;

    for (i = 1; i < st->n - alone; i++) {
        struct sim_peer *p = script_peer(sc, st, i);

        p->alone = alone;
        boot(sc, p);
        if (p->replica == NULL) {
            sim_fail(sc->sim, "server %" PRIu64 " does not start: %s", p->sid, p->fatal);
        }
    }
}

static void act_try(struct sim_script *sc, const struct script_step *st)
{
    boot(sc, script_peer(sc, st, 1));
}

static void act_refuses(struct sim_script *sc, const struct script_step *st)
{
    struct sim_peer *p = script_peer(sc, st, 1);

    (void)script_word(sc, st, 2);
    boot(sc, p);
    if (p->replica != NULL) {
        sim_fail(sc->sim, "server %" PRIu64 " starts", p->sid);
    }
    if (strstr(p->fatal, st->rest[2]) == NULL) {
        sim_fail(sc->sim, "server %" PRIu64 " does not start, but says: %s", p->sid, p->fatal);
    }
}

static void act_kill(struct sim_script *sc, const struct script_step *st)
{
    unsigned i;

    for (i = 1; i < st->n; i++) {
        sim_peer_crash(script_peer(sc, st, i), script_is(st, 0, "power"), SIM_NEVER);
    }
}

static void act_keep(struct sim_script *sc, const struct script_step *st)
{
    crash_disk_set_kept(script_peer(sc, st, 1)->disk, (unsigned)script_number(sc, st, 2));
}

static void act_stop(struct sim_script *sc, const struct script_step *st)
{
    sim_peer_stop(script_peer(sc, st, 1));
}

static void act_wipe(struct sim_script *sc, const struct script_step *st)
{
    struct sim_peer *p = script_peer(sc, st, 1);

    sim_peer_wipe(p);
    crash_disk_set_kept(p->disk, 0);
}

static void act_pause(struct sim_script *sc, const struct script_step *st)
{
    script_peer(sc, st, 1)->paused_until_us = sc->sim->now_us + script_number(sc, st, 2) * SIM_MS;
}

static int64_t signed_number(struct sim_script *sc, const struct script_step *st, unsigned i)
{
    char *end;
    int64_t value = strtoll(script_word(sc, st, i), &end, 10);

    if (*end != '\0') {
        script_bad(sc, "a number is expected");
    }
    return value;
}

static void act_clock(struct sim_script *sc, const struct script_step *st)
{
    script_peer(sc, st, 1)->wall_skew_ns += signed_number(sc, st, 2) * 1000000000;
}

static void act_drift(struct sim_script *sc, const struct script_step *st)
{
    struct sim_peer *p = script_peer(sc, st, 1);

    if (p->replica != NULL) {
        script_bad(sc, "a clock drifts from the start of a server on");
    }
    p->drift_ppm = (int32_t)signed_number(sc, st, 2);
}

static void act_rot(struct sim_script *sc, const struct script_step *st)
{
    struct sim_peer *p = script_peer(sc, st, 1);
    /* What the digest covers and no invariant of the simulator needs. */
    struct tree *t = (struct tree *)replica_tree(p->replica);

    t->next_ino++;
    p->rotten = true;
}

/* ---- the network ---- */

static void act_cut(struct sim_script *sc, const struct script_step *st)
{
    unsigned from;
    unsigned to;

    if (strchr(script_word(sc, st, 1), '>') != NULL) {
        script_way(sc, st, 1, &from, &to);
        sim_net_stall(sc->sim, from, to, 1);
        return;
    }
    from = script_peer(sc, st, 1)->index;
    for (to = 0; to < sc->sim->n_peers; to++) {
        if (to != from) {
            sim_net_stall(sc->sim, from, to, 1);
            sim_net_stall(sc->sim, to, from, 1);
        }
    }
}

static void act_mend(struct sim_script *sc, const struct script_step *st)
{
    (void)st;
    sim_net_unstall_all(sc->sim);
    memset(sc->rules, 0, sizeof(sc->rules));
}

static void act_break(struct sim_script *sc, const struct script_step *st)
{
    unsigned a = script_peer(sc, st, 1)->index;
    unsigned b = script_peer(sc, st, 2)->index;

    if (script_is(st, 0, "halfopen")) {
        sim_net_half_open(sc->sim, a, b);
    } else {
        sim_net_lose(sc->sim, a, b);
        sim_net_lose(sc->sim, b, a);
    }
}

static void act_rule(struct sim_script *sc, const struct script_step *st)
{
    unsigned from;
    unsigned to;

    script_way(sc, st, 1, &from, &to);
    sc->rules[from][to] = (struct script_rule){
        .active = true,
        .cuts = script_is(st, 0, "lose"),
        .type = script_packet(sc, st, 2),
        .skip = st->n > 3 ? (unsigned)script_number(sc, st, 3) : 0,
    };
}

static void act_release(struct sim_script *sc, const struct script_step *st)
{
    unsigned from;
    unsigned to;

    script_way(sc, st, 1, &from, &to);
    if (sc->rules[from][to].holding) {
        sim_net_stall(sc->sim, from, to, -1);
    }
    sc->rules[from][to] = (struct script_rule){.active = false};
}

/* ---- disks ---- */

static void act_disk(struct sim_script *sc, const struct script_step *st)
{
    struct sim_peer *p = script_peer(sc, st, 1);

    if (script_is(st, 2, "hold") || script_is(st, 2, "release")) {
        sim_peer_hold_disk(p, script_is(st, 2, "hold"));
    } else if (script_is(st, 2, "fail-sync")) {
        crash_disk_fail_sync_after(p->disk, 0);
    } else if (script_is(st, 2, "crash-after")) {
        crash_disk_crash_after(p->disk, script_number(sc, st, 3));
    } else if (script_is(st, 2, "full")) {
        crash_disk_set_free(p->disk, script_number(sc, st, 3));
    } else if (script_is(st, 2, "room")) {
        crash_disk_set_free(p->disk, CRASH_DISK_UNLIMITED);
    } else {
        script_bad(sc, "disk N hold|release|fail-sync|crash-after|full|room is expected");
    }
}

struct pick {
    const char *prefix;
    bool newest;
    uint64_t best;
    char name[64];
};

/* The file with this prefix whose number is the lowest, or the highest. */
static int pick_cb(void *arg, const char *name)
{
    struct pick *pick = arg;
    size_t len = strlen(pick->prefix);
    uint64_t zxid;
    char *end;

    if (strncmp(name, pick->prefix, len) != 0 || strlen(name) >= sizeof(pick->name)) {
        return 0;
    }
    zxid = strtoull(name + len, &end, 16);
    if (*end != '\0' || (pick->name[0] != '\0' && (zxid > pick->best) != pick->newest)) {
        return 0;
    }
    pick->best = zxid;
    memcpy(pick->name, name, strlen(name) + 1);
    return 0;
}

static void act_flip(struct sim_script *sc, const struct script_step *st)
{
    struct sim_peer *p = script_peer(sc, st, 1);
    struct pick pick = {.prefix = "log."};

    if (script_is(st, 2, "snapshot")) {
        pick = (struct pick){.prefix = "snapshot.", .newest = true};
    } else if (script_is(st, 2, "epochs")) {
        pick.prefix = "epochs";
    }
    if (crash_disk_is_dead(p->disk)) {
        crash_disk_restart(p->disk);
    }
    if (p->disk->ops->list(p->disk, pick_cb, &pick) != 0 || pick.name[0] == '\0' ||
        crash_disk_flip(p->disk, pick.name, script_number(sc, st, 3), 0x10) != 0) {
        script_bad(sc, "there is no such byte");
    }
}

/* ---- calls and time ---- */

static void act_run(struct sim_script *sc, const struct script_step *st)
{
    script_run_for(sc, script_number(sc, st, 1) * SIM_MS);
}

const struct script_verb script_acts[] = {
    {"start", act_start}, {"try", act_try},     {"refuses", act_refuses},  {"kill", act_kill},
    {"power", act_kill},  {"keep", act_keep},   {"stop", act_stop},        {"wipe", act_wipe},
    {"pause", act_pause}, {"clock", act_clock}, {"drift", act_drift},      {"rot", act_rot},
    {"cut", act_cut},     {"mend", act_mend},   {"break", act_break},      {"halfopen", act_break},
    {"hold", act_rule},   {"lose", act_rule},   {"release", act_release},  {"disk", act_disk},
    {"flip", act_flip},   {"run", act_run},     {"submit", script_submit}, {NULL, NULL},
};
