/* What a seed decides about the ensemble, its machines and its clients. */
#include "sim.h"

#include <stdio.h>

/* Mostly three and five, as people run it, and each other size now and then. */
static unsigned draw_participants(struct sim *s)
{
    static const unsigned sizes[] = {3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 1, 2, 4, 6, 7};

    return sizes[sim_below(s, sizeof(sizes) / sizeof(sizes[0]))];
}

static void draw_times(struct sim *s, struct sim_config *c)
{
    if (sim_chance(s, 20)) {
        /* As shipped. */
        c->tick_ms = 2000;
        c->peer_timeout_ms = 1000;
        c->timeo_ms = 5000;
    } else {
        c->tick_ms = (uint32_t)sim_between(s, 100, 500);
        c->peer_timeout_ms = (uint32_t)sim_between(s, 100, 400);
        c->timeo_ms = (uint32_t)sim_between(s, 200, 2000);
    }
    c->net_us = sim_chance(s, 70) ? sim_between(s, 50, 1000) : sim_between(s, 1000, 20000);
    c->disk_us = sim_chance(s, 70) ? sim_between(s, 100, 2000) : sim_between(s, 2000, 40000);
    c->fault_interval_us = sim_between(s, 150, 600) * SIM_MS;
    if (c->peer_timeout_ms > 400) {
        c->fault_interval_us *= 2;
    }
    c->calm_percent = sim_chance(s, 50) ? (unsigned)sim_between(s, 50, 95) : (unsigned)sim_between(s, 0, 50);
    c->early_faults = sim_chance(s, 30);
    c->drift_ppm = sim_chance(s, 50) ? 200 : (sim_chance(s, 70) ? 5000 : 50000);
}

/* Small enough that segments end, windows are left behind and snapshots are needed, many times in a run. */
static void draw_sizes(struct sim *s, struct sim_config *c)
{
    c->window_bytes = sim_chance(s, 60) ? sim_between(s, 200, 4000) : sim_between(s, 4000, 200000);
    c->snap_count = sim_chance(s, 70) ? sim_between(s, 10, 150) : sim_between(s, 150, 1000);
    c->snap_bytes = sim_between(s, 5000, 1000000);
    c->snap_retain = sim_chance(s, 60) ? 1 : (unsigned)sim_between(s, 2, 4);
    c->log.segment_bytes = sim_between(s, 5000, 65536); /* the header alone has 4096 */
    c->log.prealloc_bytes = sim_between(s, 512, 8192);
}

static void draw_clients(struct sim *s, struct sim_config *c)
{
    unsigned peers = c->n_participants + c->n_observers;
    unsigned per_peer = (unsigned)sim_between(s, 1, 5);

    c->n_clients = peers * per_peer;
    if (c->n_clients < 4) {
        c->n_clients = 4;
    }
    if (c->n_clients > SIM_CLIENTS_MAX) {
        c->n_clients = SIM_CLIENTS_MAX;
    }
    /* The work shall last as long as the faults do: about half of the time there is no leader. */
    c->think_us = c->fault_interval_us * s->faults_min * c->n_clients / (s->ops_min + 1);
}

void sim_config_draw(struct sim *s)
{
    struct sim_config *c = &s->config;
    unsigned i;

    c->n_participants = draw_participants(s);
    c->n_observers = c->n_participants > 1 && sim_chance(s, 25) ? (unsigned)sim_between(s, 1, 2) : 0;
    if (c->n_participants + c->n_observers > SIM_PEERS_MAX) {
        c->n_observers = SIM_PEERS_MAX - c->n_participants;
    }
    c->unlisted = c->n_observers > 0 && sim_chance(s, 60);
    c->forgetful = c->unlisted && sim_chance(s, 60);
    draw_times(s, c);
    draw_sizes(s, c);
    draw_clients(s, c);
    c->wipes = c->n_participants >= 3 && sim_chance(s, 40);
    c->disk_errors = sim_chance(s, 30);
    c->grows = c->n_participants > 1 && sim_chance(s, 15);
    c->losses = c->n_participants >= 3 && sim_chance(s, 20);
    c->lonely_ops = sim_between(s, 1, 200);
    s->n_peers = c->n_participants + c->n_observers;
    for (i = 0; i < s->n_peers; i++) {
        s->servers[i].sid = i + 1;
        s->servers[i].observer = i >= c->n_participants;
    }
    sim_trace(s, "CONFIG participants %u observers %u%s clients %u tick %u timeout %u timeo %u window %zu snap %llu",
              c->n_participants, c->n_observers, c->unlisted ? " (unlisted)" : "", c->n_clients, c->tick_ms,
              c->peer_timeout_ms, c->timeo_ms, c->window_bytes, (unsigned long long)c->snap_count);
}
