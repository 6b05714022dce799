/* Snapshots for learners, as the child that makes them does it: piece by piece, when it is asked. */
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int stream_sink(void *arg, const uint8_t *bytes, size_t len)
{
    struct sim_stream *st = arg;

    if (st->cap - st->len < len) {
        st->cap = 2 * (st->len + len);
        st->bytes = realloc(st->bytes, st->cap);
        assert(st->bytes != NULL);
    }
    memcpy(st->bytes + st->len, bytes, len);
    st->len += len;
    return 0;
}

/* The stream for this learner; a free one when there is none. */
static struct sim_stream *stream_of(struct sim_peer *p, uint64_t sid)
{
    struct sim_stream *found = NULL;
    unsigned i;

    for (i = 0; i < SIM_PEERS_MAX; i++) {
        if (p->streams[i].bytes != NULL && p->streams[i].sid == sid) {
            return &p->streams[i];
        }
        found = p->streams[i].bytes == NULL ? &p->streams[i] : found;
    }
    assert(found != NULL);
    found->sid = sid;
    return found;
}

void sim_stream_close(void *arg, uint64_t sid)
{
    struct sim_peer *p = arg;
    struct sim_stream *st = stream_of(p, sid);

    free(st->bytes);
    *st = (struct sim_stream){.sid = sid, .gen = st->gen + 1};
}

int sim_stream_open(void *arg, uint64_t sid, const struct state *state)
{
    struct sim_peer *p = arg;
    struct sim_stream *st = stream_of(p, sid);

    assert(st->bytes == NULL);
    if (p->sim->script == NULL && p->sim->phase == SIM_PHASE_FAULTS && sim_chance(p->sim, 5)) {
        return -EAGAIN; /* as when a process can't be made */
    }
    return snapshot_write(state, stream_sink, st);
}

void sim_stream_pull(void *arg, uint64_t sid)
{
    struct sim_peer *p = arg;
    struct sim_stream *st = stream_of(p, sid);

    assert(st->bytes != NULL);
    sim_push(p->sim, sim_jitter(p->sim, 2000),
             (struct sim_event){
                 .kind = SIM_EV_PIECE, .peer = p->index, .other = (unsigned)(st - p->streams), .gen = st->gen});
}

/* Mostly a few pieces; now and then very many, so that much happens in between. */
void sim_stream_on_piece(struct sim_peer *p, const struct sim_event *e)
{
    struct sim *s = p->sim;
    struct sim_stream *st = &p->streams[e->other];
    size_t len;
    size_t at = st->pos;

    if (st->bytes == NULL || st->gen != e->gen) {
        return;
    }
    if (s->script == NULL && s->phase == SIM_PHASE_FAULTS && sim_chance(s, 1)) {
        replica_on_piece(p->replica, st->sid, NULL, 0, -EINTR);
        return;
    }
    len = s->script != NULL || sim_chance(s, 50) ? st->len / 3 + 1 : sim_between(s, 1, 2000);
    len = len < st->len - at ? len : st->len - at;
    len = len < REPLICA_PIECE_MAX ? len : REPLICA_PIECE_MAX;
    st->pos += len;
    replica_on_piece(p->replica, st->sid, st->bytes + at, len, len > 0 ? 1 : 0);
}
