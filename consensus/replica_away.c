/*
 * Away: a peer whose disk is full or failing has left the ensemble: it leads and follows nobody, and acknowledges
 * nothing, but it is there, and shows its last state as it does when the quorum is lost.
 *
 *   in the ensemble --a write failed--> away (full) --every so often: is there room?--> recovered, and in it again
 *                                       away (error), until it is restarted
 *
 * After a failed write nobody knows what the disk has, so nothing in memory says it either: coming back is recovering
 * from the disk, as at a start, in the thread for the disk. A failed sync is not followed by another (design: 4, lesson
 * 8). What was applied was committed by a quorum, whatever this disk has of it: if recovery ends before that, the state
 * shown stays, and what the leader then sends of it again is not applied again.
 */
#include "replica_int.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static bool is_full(int rv)
{
    return rv == -ENOSPC || rv == -EDQUOT;
}

static void plan_retry(struct replica *r)
{
    r->away.retry_ms = r->away.full ? r->env.now_ms(r->env.arg) + REPLICA_ROOM_MS : UINT64_MAX;
}

static void note_error(struct replica *r, int rv)
{
    r->disk.error = -rv;
    r->away.full = is_full(rv);
    r->disk.full = r->away.full;
    plan_retry(r);
}

static void say_why(struct replica *r, const char *text)
{
    if (r->away.full) {
        replica_log(r,
                    "%s: the disk is full. This server has left the ensemble; reads go on from its last state. Make "
                    "room for dataDir, at least %u MB: then it comes back by itself",
                    text, REPLICA_ROOM_BYTES >> 20);
    } else {
        replica_log(r,
                    "%s: the disk fails. This server has left the ensemble; nothing was acknowledged that is not on "
                    "disk, and reads go on from its last state. Check the disk and start this server again; if the "
                    "disk is lost, start it with an empty dataDir: it synchronizes from the others",
                    text);
    }
}

/* What was on its way to the disk or to others. */
static void drop_work(struct replica *r)
{
    disk_queue_drop_all(r);
    streams_stop_all(r);
    snapshot_incoming_free(r->snap.incoming);
    r->snap.incoming = NULL;
    r->snap.installing = false;
    replica_inputs_release(&r->inputs);
}

void away_leave(struct replica *r, int rv, const char *text)
{
    struct zab_input in = {.type = ZAB_IN_LEAVE};

    assert(!r->away.away);
    note_error(r, rv);
    say_why(r, text);
    drop_work(r);
    replica_input(r, &in); /* the last that this zab hears */
}

void away_begin(struct replica *r)
{
    r->away.away = true;
    drop_work(r);
    txnlog_close(r->store.log);
    r->store.log = NULL;
}

/* It could not even be recovered at the start. */
void away_start(struct replica *r, int rv, const char *text)
{
    note_error(r, rv);
    say_why(r, text);
    r->away.away = true;
}

void away_consider(struct replica *r)
{
    if (r->away.away && !r->stopping && !r->failed && r->env.now_ms(r->env.arg) >= r->away.retry_ms) {
        r->away.retry_ms = UINT64_MAX;
        disk_queue_recover(r);
    }
}

/* ---- back ---- */

/* In the thread for the disk. -ENOSPC while there is still no room. */
int away_recover(struct disk *d, const struct txnlog_config *log, size_t window_bytes, struct store *ret_store,
                 struct error *err)
{
    int rv = disk_probe_room(d, REPLICA_ROOM_BYTES);

    if (rv != 0) {
        return error_set(err, rv, "%s", strerror(-rv));
    }
    return store_open(d, log, window_bytes, ret_store, err);
}

/* zab hears of those who are connected, and they of a new beginning: what is still on its way was for the other zab. */
static void tell_peers(struct replica *r)
{
    struct zab_input in = {.type = ZAB_IN_PEER_UP};
    size_t i;

    for (i = 0; i < r->n_peers; i++) {
        if (r->peers[i].up) {
            in.peer = r->peers[i].sid;
            in.peer_observer = r->peers[i].observer;
            replica_input(r, &in);
            r->env.disconnect(r->env.arg, in.peer, "this server comes back with what its disk has");
        }
    }
}

static void take_store(struct replica *r, struct store *store)
{
    struct state *recovered = store->state;

    assert(r->store.log == NULL);
    store->state = r->store.state;
    r->store = *store;
    zab_free(r->zab);
    r->zab = replica_new_zab(r, state_zxid(recovered));
    replica_read_window(r);
    store_drop_entries(&r->store);
    r->disk.zxid_synced = r->store.zxid_logged;
    if (state_zxid(recovered) > state_zxid(r->store.state)) {
        snap_installed(r, recovered);
    } else {
        state_free(recovered);
    }
}

void away_recovered(struct replica *r, int rv, const char *text, struct store *store)
{
    struct zab_input in = {.type = ZAB_IN_START};
    struct error err;

    if (rv != 0) {
        if (!is_full(rv)) {
            note_error(r, rv);
            say_why(r, text);
        }
        plan_retry(r);
        return;
    }
    rv = replica_check_owner(r, &store->epochs, &err);
    if (rv != 0) {
        replica_fail(r, "%s", err.text);
        return;
    }
    replica_log(r, "there is room on the disk again: this server comes back with what is on it, up to zxid 0x%llx",
                (unsigned long long)store->zxid_logged);
    take_store(r, store);
    memset(store, 0, sizeof(*store));
    r->away.away = false;
    r->disk.error = 0;
    r->disk.full = false;
    r->explain_ms = r->env.now_ms(r->env.arg) + REPLICA_EXPLAIN_MS;
    replica_input(r, &in);
    tell_peers(r);
}
