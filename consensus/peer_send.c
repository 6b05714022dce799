/*
 * The replica's streams: snapshots for learners, each from a child of its own (peer_stream.c). A piece that was asked
 * for is handed over before the loop waits, one a turn for each learner, so that whatever else has come goes between.
 */
#include "peer_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

struct peer_send {
    struct peer_send *next;
    struct peer_send *prev;
    struct peer *p;
    uint64_t sid;
    struct peer_stream *stream;
    bool wanted; /* a piece was asked for */
    bool dry;    /* and there is none yet */
};

static struct peer_send *send_find(const struct peer *p, uint64_t sid)
{
    struct peer_send *send;

    DL_SEARCH_SCALAR(p->sends, send, sid, sid);
    return send;
}

static void send_ready(void *arg)
{
    struct peer_send *send = arg;

    send->dry = false;
    peer_wake(send->p);
}

int peer_send_open(struct peer *p, uint64_t sid, const struct state *state)
{
    struct peer_send *send = calloc(1, sizeof(*send));
    int rv;

    assert(send_find(p, sid) == NULL);
    if (send == NULL || (p->piece == NULL && (p->piece = malloc(REPLICA_PIECE_MAX)) == NULL)) {
        abort();
    }
    send->p = p;
    send->sid = sid;
    rv = peer_stream_open(p, state, 0, send_ready, send, &send->stream);
    if (rv != 0) {
        free(send);
        return rv;
    }
    DL_APPEND(p->sends, send);
    return 0;
}

void peer_send_pull(struct peer *p, uint64_t sid)
{
    struct peer_send *send = send_find(p, sid);

    assert(send != NULL);
    send->wanted = true;
    peer_wake(p);
}

void peer_send_close(struct peer *p, uint64_t sid)
{
    struct peer_send *send = send_find(p, sid);

    assert(send != NULL);
    DL_DELETE(p->sends, send);
    peer_stream_close(send->stream);
    free(send);
}

/* The replica may close it, and others. */
static void send_piece(struct peer *p, uint64_t sid)
{
    struct peer_send *send = send_find(p, sid);
    ssize_t n;

    if (send == NULL || !send->wanted || send->dry) {
        return;
    }
    n = peer_stream_read(send->stream, p->piece, REPLICA_PIECE_MAX);
    if (n == -EAGAIN) {
        send->dry = true;
        return;
    }
    send->wanted = false;
    replica_on_piece(p->replica, sid, p->piece, n > 0 ? (size_t)n : 0, n > 0 ? 1 : (int)n);
}

void peer_sends_run(struct peer *p)
{
    uint64_t sids[REPLICA_STREAMS_MAX];
    struct peer_send *send;
    size_t n = 0;
    size_t i;

    DL_FOREACH(p->sends, send)
    {
        assert(n < REPLICA_STREAMS_MAX);
        sids[n++] = send->sid;
    }
    for (i = 0; i < n; i++) {
        send_piece(p, sids[i]);
    }
}

bool peer_sends_waiting(const struct peer *p)
{
    const struct peer_send *send;

    for (send = p->sends; send != NULL; send = send->next) {
        if (send->wanted && !send->dry) {
            return true;
        }
    }
    return false;
}
