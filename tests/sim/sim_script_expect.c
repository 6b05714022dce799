/* The steps of a scenario that say what must be so. */
#include "sim_script.h"

#include <inttypes.h>
#include <string.h>

/* ---- what can be so ---- */

static bool status_of(const struct sim_peer *p, struct replica_status *ret_status)
{
    if (p->replica == NULL || p->ending) {
        return false;
    }
    replica_status(p->replica, ret_status);
    return true;
}

static bool leads(const struct sim_peer *p)
{
    struct replica_status st;

    return status_of(p, &st) && st.role == ZAB_LEADING && st.quorum;
}

static bool is_leader(struct sim_script *sc, const struct script_step *st)
{
    unsigned i;

    if (!script_is(st, 2, "none")) {
        return leads(script_peer(sc, st, 2));
    }
    for (i = 0; i < sc->sim->n_peers; i++) {
        if (leads(&sc->sim->peers[i])) {
            return false;
        }
    }
    return true;
}

static bool is_role(struct sim_script *sc, const struct script_step *st)
{
    struct replica_status status;

    return status_of(script_peer(sc, st, 2), &status) &&
           strcmp(zab_role_name(status.role), script_word(sc, st, 3)) == 0;
}

static bool is_ready(struct sim_script *sc, const struct script_step *st)
{
    struct replica_status status;
    unsigned i;

    for (i = 2; i < st->n; i++) {
        if (!status_of(script_peer(sc, st, i), &status) || !status.quorum) {
            return false;
        }
    }
    return true;
}

/* All that are up. */
static bool is_agreed(struct sim_script *sc, const struct script_step *st)
{
    unsigned up = 0;
    unsigned i;

    (void)st;
    for (i = 0; i < sc->sim->n_peers; i++) {
        up |= sc->sim->peers[i].replica != NULL ? 1u << i : 0;
    }
    return up != 0 && sim_all_agree(sc->sim, up);
}

static bool is_dead(struct sim_script *sc, const struct script_step *st)
{
    const struct sim_peer *p = script_peer(sc, st, 2);

    if (p->replica != NULL) {
        return false;
    }
    if (st->n > 3 && strstr(p->fatal, st->rest[3]) == NULL) {
        sim_fail(sc->sim, "server %" PRIu64 " has ended, but says: %s", p->sid, p->fatal);
    }
    return true;
}

static bool is_readable(struct sim_script *sc, const struct script_step *st)
{
    const struct sim_peer *p = script_peer(sc, st, 2);

    return p->replica != NULL && replica_readable(p->replica) == script_is(st, 3, "yes");
}

static bool is_answered(struct sim_script *sc, const struct script_step *st)
{
    return strcmp(script_outcome(sc, st, 2), script_word(sc, st, 3)) == 0;
}

static bool is_file(struct sim_script *sc, const struct script_step *st)
{
    const struct sim_peer *p = script_peer(sc, st, 2);
    const char *data = st->n > 5 ? st->rest[5] : "";
    const struct node *node;
    uint64_t parent;
    const char *name;

    if (p->replica == NULL) {
        return false;
    }
    node = script_node(sc, p, script_word(sc, st, 3), &parent, &name);
    if (script_is(st, 4, "absent")) {
        return node == NULL;
    }
    return node != NULL && node->data_len == strlen(data) &&
           (node->data_len == 0 || memcmp(node->data->bytes, data, node->data_len) == 0);
}

static bool is_sent(struct sim_script *sc, const struct script_step *st)
{
    enum zab_packet_type type = script_packet(sc, st, 3);
    uint64_t wanted = script_number(sc, st, 5);
    uint64_t n = 0;
    unsigned from;
    unsigned to;
    size_t i;

    script_way(sc, st, 2, &from, &to);
    for (i = 0; i < sc->n_sent; i++) {
        n += sc->sent[i].from == from && sc->sent[i].to == to && sc->sent[i].type == type;
    }
    return script_is(st, 4, "=") ? n == wanted : n >= wanted;
}

static bool is_in_order(struct sim_script *sc, const struct script_step *st)
{
    enum zab_packet_type first = script_packet(sc, st, 3);
    enum zab_packet_type second = script_packet(sc, st, 4);
    unsigned from;
    unsigned to;
    size_t i;

    script_way(sc, st, 2, &from, &to);
    for (i = 0; i < sc->n_sent; i++) {
        if (sc->sent[i].from == from && sc->sent[i].to == to &&
            (sc->sent[i].type == first || sc->sent[i].type == second)) {
            return sc->sent[i].type == first;
        }
    }
    return false;
}

/* ---- now, or in time ---- */

struct condition {
    const char *word;
    bool (*is_so)(struct sim_script *sc, const struct script_step *st);
};

static const struct condition conditions[] = {
    {"leader", is_leader},     {"role", is_role},     {"ready", is_ready}, {"agree", is_agreed},
    {"dead", is_dead},         {"file", is_file},     {"sent", is_sent},   {"order", is_in_order},
    {"readable", is_readable}, {"call", is_answered}, {NULL, NULL},
};

static const struct condition *condition_of(struct sim_script *sc, const struct script_step *st)
{
    const struct condition *c;

    for (c = conditions; c->word != NULL; c++) {
        if (script_is(st, 1, c->word)) {
            return c;
        }
    }
    script_bad(sc, "there is no such condition");
}

static void act_expect(struct sim_script *sc, const struct script_step *st)
{
    if (!condition_of(sc, st)->is_so(sc, st)) {
        char peers[1024];

        sim_describe_peers(sc->sim, peers, sizeof(peers));
        sim_fail(sc->sim, "it is not so; peers:%s", peers);
    }
}

static void act_wait(struct sim_script *sc, const struct script_step *st)
{
    script_until(sc, st, condition_of(sc, st)->is_so);
}

/* within MS CONDITION...: the words behind the time are a step of their own. */
static void act_within(struct sim_script *sc, const struct script_step *st)
{
    struct script_step wait = *st;
    unsigned i;

    sc->limit_us = script_number(sc, st, 1) * SIM_MS;
    for (i = 1; i + 1 < st->n; i++) {
        wait.words[i] = st->words[i + 1];
        wait.rest[i] = st->rest[i + 1];
    }
    wait.n = st->n - 1;
    act_wait(sc, &wait);
}

static void act_mark(struct sim_script *sc, const struct script_step *st)
{
    (void)st;
    sc->n_sent = 0;
}

const struct script_verb script_expects[] = {
    {"expect", act_expect}, {"wait", act_wait}, {"within", act_within}, {"mark", act_mark}, {NULL, NULL},
};
