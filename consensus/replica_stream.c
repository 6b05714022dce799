/*
 * Snapshots out to learners. The host produces the bytes of the state as it is when the stream is opened (a forked
 * child); they are sent piece by piece, as fast as the learner takes them in:
 *
 *   waiting --a place is free--> open: SNAP, SNAP_DATA ... --all of it--> SNAP_END, reported to zab
 *
 * The learner acknowledges what it has on its disk (SYNC_ACK), and never has more than REPLICA_STREAM_BYTES on the way:
 * so neither end needs memory for a tree, whatever the network and the disks do, and heartbeats come through.
 */
#include "replica_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct snap_stream *stream_find(const struct replica *r, uint64_t sid)
{
    struct snap_stream *s = r->snap.streams;

    while (s != NULL && s->sid != sid) {
        s = s->next;
    }
    return s;
}

static void stream_send(struct replica *r, const struct snap_stream *s, enum zab_packet_type type, struct buf *body)
{
    struct zab_packet packet = {.type = type, .epoch = s->epoch, .zxid = s->zxid, .body = body};

    r->env.send(r->env.arg, s->sid, &packet);
}

static void stream_pull(struct replica *r, struct snap_stream *s)
{
    if (s->open && !s->pulling && s->sent - s->taken < REPLICA_STREAM_BYTES) {
        s->pulling = true;
        r->env.stream_pull(r->env.arg, s->sid);
    }
}

void stream_begin(struct replica *r, const struct zab_output *o)
{
    struct snap_stream **at = &r->snap.streams;
    struct snap_stream *s = replica_alloc(sizeof(*s));

    assert(stream_find(r, o->peer) == NULL);
    s->sid = o->peer;
    s->epoch = o->packet.epoch;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = s;
}

void stream_stop(struct replica *r, uint64_t sid)
{
    struct snap_stream **at = &r->snap.streams;
    struct snap_stream *s;

    while (*at != NULL && (*at)->sid != sid) {
        at = &(*at)->next;
    }
    s = *at;
    if (s == NULL) {
        return;
    }
    *at = s->next;
    if (s->open) {
        r->env.stream_close(r->env.arg, sid);
    }
    free(s);
}

void streams_stop_all(struct replica *r)
{
    while (r->snap.streams != NULL) {
        stream_stop(r, r->snap.streams->sid);
    }
}

/* It can't be given one now. It comes again. */
static void stream_fail(struct replica *r, uint64_t sid, int rv)
{
    replica_log(r, "snapshot for server %llu: %s; it synchronizes again", (unsigned long long)sid, strerror(-rv));
    stream_stop(r, sid);
    r->env.disconnect(r->env.arg, sid, "its snapshot could not be made");
}

/* False if it could not be; then it is gone. */
static bool stream_open(struct replica *r, struct snap_stream *s)
{
    int rv = r->env.stream_open(r->env.arg, s->sid, r->store.state);

    if (rv != 0) {
        stream_fail(r, s->sid, rv);
        return false;
    }
    s->open = true;
    s->zxid = state_zxid(r->store.state);
    replica_log(r, "server %llu is too far behind the log: it is sent a snapshot at zxid 0x%llx",
                (unsigned long long)s->sid, (unsigned long long)s->zxid);
    stream_send(r, s, ZAB_SNAP, NULL);
    stream_pull(r, s);
    return true;
}

void streams_run(struct replica *r)
{
    struct snap_stream *next;
    struct snap_stream *s;
    size_t n = 0;

    for (s = r->snap.streams; s != NULL && n < REPLICA_STREAMS_MAX; s = next) {
        next = s->next;
        n += s->open || stream_open(r, s);
    }
}

void stream_taken(struct replica *r, uint64_t sid, uint64_t bytes)
{
    struct snap_stream *s = stream_find(r, sid);

    if (s == NULL || bytes > s->sent || bytes < s->taken) {
        return;
    }
    s->taken = bytes;
    stream_pull(r, s);
}

static void stream_piece(struct replica *r, struct snap_stream *s, const uint8_t *bytes, size_t len)
{
    struct buf *body = buf_copy(bytes, len);

    stream_send(r, s, ZAB_SNAP_DATA, body);
    buf_unref(body);
    s->sent += len;
}

void replica_on_piece(struct replica *r, uint64_t sid, const uint8_t *bytes, size_t len, int rv)
{
    struct snap_stream *s = stream_find(r, sid);
    struct zab_input in = {.type = ZAB_IN_SNAP_SENT, .peer = sid};

    assert(s != NULL);
    assert(s->pulling);
    assert(len <= REPLICA_PIECE_MAX);
    s->pulling = false;
    if (rv < 0) {
        stream_fail(r, sid, rv);
        replica_pump(r, NULL);
        return;
    }
    if (len > 0) {
        stream_piece(r, s, bytes, len);
    }
    if (rv > 0) {
        stream_pull(r, s);
        replica_want_flush(r);
        return;
    }
    stream_send(r, s, ZAB_SNAP_END, NULL);
    in.zxid = s->zxid;
    stream_stop(r, sid);
    replica_pump(r, &in);
}
