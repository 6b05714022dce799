/*
 * What the disks of all peers are known to hold, from the calls that the replica makes of the log and the epochs file
 * (__wrap_X stands before X of the store, see sim.ldflags):
 *
 *   votes and ACKs   name what is on disk
 *   durability       a log that recovers reaches what its syncs had promised
 *   epoch after log  a current epoch on disk means that all that was committed under earlier epochs is on disk too
 */
#include "sim.h"

#include <inttypes.h>

int __real_txnlog_open(struct disk *d, const struct txnlog_config *config, txnlog_record_cb cb, void *arg,
                       struct txnlog **ret_log, struct error *err);
int __wrap_txnlog_open(struct disk *d, const struct txnlog_config *config, txnlog_record_cb cb, void *arg,
                       struct txnlog **ret_log, struct error *err);
int __real_txnlog_sync(struct txnlog *log, struct error *err);
int __wrap_txnlog_sync(struct txnlog *log, struct error *err);
int __real_txnlog_truncate(struct txnlog *log, uint64_t zxid, struct error *err);
int __wrap_txnlog_truncate(struct txnlog *log, uint64_t zxid, struct error *err);
int __real_txnlog_reset(struct txnlog *log, uint64_t zxid, struct error *err);
int __wrap_txnlog_reset(struct txnlog *log, uint64_t zxid, struct error *err);
int __real_epochs_save(struct disk *d, const struct epochs *e, struct error *err);
int __wrap_epochs_save(struct disk *d, const struct epochs *e, struct error *err);

static void set_durable(struct sim_peer *p, uint64_t zxid)
{
    p->zxid_durable = zxid;
    /* What it acknowledged before it was wiped, others rely on: as long as it is not synchronized, it has no vote. */
    if (!p->wiped || zxid > p->zxid_credited) {
        p->zxid_credited = zxid;
    }
    sim_trace(p->sim, "p%" PRIu64 " has 0x%" PRIx64 " on disk", p->sid, zxid);
}

/* Segments and their preallocation are as small as the seed says. */
int __wrap_txnlog_open(struct disk *d, const struct txnlog_config *config, txnlog_record_cb cb, void *arg,
                       struct txnlog **ret_log, struct error *err)
{
    int rv = __real_txnlog_open(d, &the_sim->config.log, cb, arg, ret_log, err);
    struct sim_peer *p = the_sim->current;

    (void)config;
    /* What it finds it makes durable. */
    if (rv == 0 && txnlog_last_zxid(*ret_log) > p->zxid_durable) {
        set_durable(p, txnlog_last_zxid(*ret_log));
    }
    return rv;
}

void sim_check_said(struct sim_peer *p, const struct zab_packet *packet)
{
    bool vote = packet->type == ZAB_VOTE && packet->role == ZAB_LOOKING;

    if ((vote || packet->type == ZAB_ACK || packet->type == ZAB_ACK_NEWLEADER) && packet->zxid > p->zxid_durable &&
        !p->observer && !p->sim->outcomes_only) {
        sim_fail(p->sim, "server %" PRIu64 " says %s of 0x%" PRIx64 " with 0x%" PRIx64 " on disk", p->sid,
                 zab_packet_name(packet->type), packet->zxid, p->zxid_durable);
    }
}

int __wrap_txnlog_sync(struct txnlog *log, struct error *err)
{
    int rv = __real_txnlog_sync(log, err);
    struct sim_peer *p = the_sim->current;

    if (rv == 0 && txnlog_last_zxid(log) > p->zxid_durable) {
        set_durable(p, txnlog_last_zxid(log));
    }
    return rv;
}

int __wrap_txnlog_truncate(struct txnlog *log, uint64_t zxid, struct error *err)
{
    struct sim_peer *p = the_sim->current;

    if (p->zxid_durable > zxid) {
        set_durable(p, zxid);
    }
    sim_cover_branch(p->sim, SIM_BRANCH_TRUNCATE);
    return __real_txnlog_truncate(log, zxid, err);
}

int __wrap_txnlog_reset(struct txnlog *log, uint64_t zxid, struct error *err)
{
    struct sim_peer *p = the_sim->current;
    int rv;

    if (p->zxid_durable > zxid) {
        set_durable(p, zxid);
    }
    rv = __real_txnlog_reset(log, zxid, err);
    if (rv == 0) {
        set_durable(p, zxid);
        sim_cover_branch(p->sim, SIM_BRANCH_RESET);
    }
    return rv;
}

int __wrap_epochs_save(struct disk *d, const struct epochs *e, struct error *err)
{
    struct sim_peer *p = the_sim->current;
    uint64_t needed = sim_check_committed_before(the_sim, e->current_epoch);
    int rv;

    /* An observer may be given what is known to be committed when it joins, and the rest later: it elects nobody. */
    if (e->current_epoch > p->epoch_saved && !p->observer && p->zxid_durable < needed && !the_sim->outcomes_only) {
        sim_fail(the_sim,
                 "server %" PRIu64 " writes epoch %u with 0x%" PRIx64 " on disk; 0x%" PRIx64 " was committed before",
                 p->sid, e->current_epoch, p->zxid_durable, needed);
    }
    rv = __real_epochs_save(d, e, err);
    if (rv == 0) {
        p->epoch_saved = e->current_epoch;
    }
    return rv;
}

void sim_check_booted(struct sim_peer *p)
{
    struct replica_status st;

    replica_status(p->replica, &st);
    if (st.zxid_logged < p->zxid_durable && !p->sim->outcomes_only) {
        sim_fail(p->sim, "server %" PRIu64 " recovers up to 0x%" PRIx64 ", though 0x%" PRIx64 " was synced", p->sid,
                 st.zxid_logged, p->zxid_durable);
    }
    set_durable(p, st.zxid_logged);
    p->zxid_shown = 0;
    if (st.zxid_logged > st.zxid) {
        sim_cover_branch(p->sim, SIM_BRANCH_TAIL);
    }
    sim_check_peer(p);
}

void sim_check_wiped(struct sim_peer *p)
{
    p->wiped = true;
    set_durable(p, 0);
    p->zxid_shown_ever = 0;
    p->epoch_saved = 0;
}
