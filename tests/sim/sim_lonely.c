/*
 * An ensemble of one: what a standalone peer is before it grows, and what operators are told to start when all other
 * members have lost their disks.
 *
 *   one boots alone --enough work--> it goes down in some way --> all boot with the whole configuration
 */
#include "sim.h"

#include <inttypes.h>

void sim_lonely_begin(struct sim *s, struct sim_peer *p)
{
    s->lonely = (int)p->index;
    s->lonely_ops = s->stats.ops + sim_between(s, 1, s->config.lonely_ops);
    p->alone = true;
    sim_trace(s, "p%" PRIu64 " is alone", p->sid);
    sim_push(s, sim_below(s, 300 * SIM_MS),
             (struct sim_event){.kind = SIM_EV_BOOT, .peer = p->index, .gen = p->incarnation});
}

static void down(struct sim *s, struct sim_peer *p)
{
    if (p->replica != NULL) {
        sim_peer_crash(p, sim_chance(s, 50), SIM_NEVER);
    }
}

void sim_lonely_look(struct sim *s)
{
    unsigned i;

    if (s->lonely < 0 || (s->stats.ops < s->lonely_ops && s->phase == SIM_PHASE_FAULTS)) {
        return;
    }
    sim_trace(s, "TOGETHER");
    down(s, &s->peers[s->lonely]);
    s->peers[s->lonely].alone = false;
    s->lonely = -1;
    for (i = 0; i < s->n_peers; i++) {
        sim_push(s, sim_below(s, 500 * SIM_MS),
                 (struct sim_event){.kind = SIM_EV_BOOT, .peer = i, .gen = s->peers[i].incarnation});
    }
}

void sim_lonely_fault(struct sim *s)
{
    struct sim_peer *p = &s->peers[s->lonely];

    sim_peer_crash(p, sim_chance(s, 50), sim_between(s, 1, 300) * SIM_MS);
}

/* One that has on its disk all that was ever committed. */
static struct sim_peer *find_survivor(struct sim *s)
{
    unsigned start = (unsigned)sim_below(s, s->config.n_participants);
    unsigned i;

    for (i = 0; i < s->config.n_participants; i++) {
        struct sim_peer *p = &s->peers[(start + i) % s->config.n_participants];

        if (p->replica != NULL && !p->excused && p->epoch_saved > 0 && p->zxid_durable >= sim_check_last(s)) {
            return p;
        }
    }
    return NULL;
}

bool sim_lonely_lose(struct sim *s)
{
    struct sim_peer *survivor = find_survivor(s);
    unsigned i;

    if (survivor == NULL || s->config.n_participants < 3 || sim_check_last(s) == 0) {
        return false;
    }
    for (i = 0; i < s->n_peers; i++) {
        struct sim_peer *p = &s->peers[i];

        sim_peer_crash(p, true, SIM_NEVER);
        if (p != survivor && (!p->observer || sim_chance(s, 30))) {
            sim_peer_wipe(p);
        }
    }
    sim_lonely_begin(s, survivor);
    return true;
}
