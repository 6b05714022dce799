#include "report.h"

#include "mount.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef ZNODEFS_VERSION
#define ZNODEFS_VERSION "0.0"
#endif

/* ---- status ---- */

static void add_time(struct text *out, int64_t ns)
{
    time_t seconds = (time_t)(ns / 1000000000);
    struct tm utc;
    char stamp[32];

    if (ns <= 0 || gmtime_r(&seconds, &utc) == NULL ||
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        text_printf(out, "-");
        return;
    }
    text_printf(out, "%s", stamp);
}

/* What was written and closed, and yet is not there. */
static void add_publish_lost(const struct report *r, struct text *out)
{
    struct mount_stats m = {0};

    if (r->mount != NULL) {
        mount_stats(r->mount, &m);
    }
    text_printf(out, "publish_error\t");
    add_time(out, m.publish_lost.wall_ns);
    if (m.publish_lost.err != 0) {
        text_printf(out, " inode %" PRIu64 ": %s", m.publish_lost.ino, strerror(m.publish_lost.err));
    }
    text_printf(out, "\n");
}

void report_status(const struct report *r, struct text *out)
{
    struct replica_status s;

    replica_status(peer_replica(r->peer), &s);
    text_printf(out, "state\t%s\n", zab_role_name(s.role));
    text_printf(out, "myid\t%" PRIu64 "\n", s.sid);
    text_printf(out, "role\t%s\n", s.observer ? "observer" : "participant");
    if (s.leader != 0) {
        text_printf(out, "leader\t%" PRIu64 "\n", s.leader);
    } else {
        text_printf(out, "leader\t-\n");
    }
    text_printf(out, "quorum\t%s\n", s.quorum ? "yes" : "no");
    text_printf(out, "quorum_lost_s\t%" PRIu64 ".%03u\n", s.quorum_lost_ms / 1000, (unsigned)(s.quorum_lost_ms % 1000));
    text_printf(out, "epoch\t%" PRIu32 "\n", s.epoch);
    text_printf(out, "zxid\t0x%" PRIx64 "\n", s.zxid);
    text_printf(out, "ensemble\t0x%" PRIx64 "\n", s.ensemble);
    text_printf(out, "znodes\t%" PRIu64 "\n", s.znodes);
    text_printf(out, "bytes\t%" PRIu64 "\n", s.bytes);
    text_printf(out, "disk\t%s\n", s.disk);
    text_printf(out, "announcer\tabsent\n");
    text_printf(out, "version\t%s\n", ZNODEFS_VERSION);
    /* Beyond the promised keys: what makes two peers comparable, and what is dangerous. */
    text_printf(out, "digest\t0x%016" PRIx64 "\n", s.digest);
    text_printf(out, "readable\t%s\n", s.readable ? "yes" : "no");
    text_printf(out, "tls\t%s\n", r->tls);
    text_printf(out, "insecure\t%s\n", r->insecure ? "yes" : "no");
    add_publish_lost(r, out);
}

/* ---- peers ---- */

static const char *configured_address(const struct report *r, uint64_t sid)
{
    size_t i;

    for (i = 0; i < r->n_servers; i++) {
        if (r->servers[i].sid == sid) {
            return r->servers[i].address;
        }
    }
    return NULL;
}

/* id, address, role, state, zxid, lag, connected_since */
static void add_peer(const struct report *r, const struct replica_status *s, const struct replica_peer_status *p,
                     struct text *out)
{
    const char *connected = peer_address(r->peer, p->sid);
    const char *address = configured_address(r, p->sid);
    const char *role = p->observer ? "observer" : "participant";
    const char *state = p->self ? zab_role_name(s->role) : p->role_known ? zab_role_name(p->role) : p->up ? "up" : "-";
    uint64_t zxid = p->self ? s->zxid : p->zxid;

    address = address != NULL ? address : connected != NULL ? connected : "-";
    text_printf(out, "%" PRIu64 "\t%s\t%s\t%s\t", p->sid, address, role, state);
    if (zxid == 0) {
        text_printf(out, "-\t-\t");
    } else if (zxid_epoch(zxid) != zxid_epoch(s->zxid)) {
        text_printf(out, "0x%" PRIx64 "\t-\t", zxid); /* transactions of another epoch can't be counted from here */
    } else {
        text_printf(out, "0x%" PRIx64 "\t%" PRIu64 "\t", zxid, s->zxid > zxid ? s->zxid - zxid : 0);
    }
    add_time(out, p->self ? 0 : p->connected_since_ns);
    text_printf(out, "\n");
}

/* All peers there are; the caller frees them. */
static struct replica_peer_status *all_peers(struct replica *replica, size_t *ret_n)
{
    size_t cap = replica_peers(replica, NULL, 0);
    struct replica_peer_status *peers = calloc(cap + 1, sizeof(*peers));
    size_t n;

    if (peers == NULL) {
        abort();
    }
    n = replica_peers(replica, peers, cap);
    *ret_n = n < cap ? n : cap;
    return peers;
}

void report_peers(const struct report *r, struct text *out)
{
    struct replica *replica = peer_replica(r->peer);
    struct replica_status s;
    size_t n;
    size_t i;
    struct replica_peer_status *peers = all_peers(replica, &n);

    replica_status(replica, &s);
    text_printf(out, "id\taddress\trole\tstate\tzxid\tlag\tconnected_since\n");
    for (i = 0; i < n; i++) {
        add_peer(r, &s, &peers[i], out);
    }
    free(peers);
}

/* ---- metrics: Prometheus text format ---- */

static void metric(struct text *out, const char *name, const char *type, const char *help, uint64_t value)
{
    text_printf(out, "# HELP znodefs_%s %s\n# TYPE znodefs_%s %s\nznodefs_%s %" PRIu64 "\n", name, help, name, type,
                name, value);
}

static void counter(struct text *out, const char *name, const char *help, uint64_t value)
{
    metric(out, name, "counter", help, value);
}

static void gauge(struct text *out, const char *name, const char *help, uint64_t value)
{
    metric(out, name, "gauge", help, value);
}

static void histogram(struct text *out, const char *name, const char *help, const struct histogram *h)
{
    uint64_t n = 0;
    size_t i;

    text_printf(out, "# HELP znodefs_%s %s\n# TYPE znodefs_%s histogram\n", name, help, name);
    for (i = 0; i < HISTOGRAM_BOUNDS; i++) {
        n += h->counts[i];
        text_printf(out, "znodefs_%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, (double)histogram_bound_ns(i) / 1e9, n);
    }
    n += h->counts[HISTOGRAM_BOUNDS];
    text_printf(out, "znodefs_%s_bucket{le=\"+Inf\"} %" PRIu64 "\nznodefs_%s_sum %.9f\nznodefs_%s_count %" PRIu64 "\n",
                name, n, name, (double)h->sum_ns / 1e9, name, n);
}

static void add_replica_metrics(const struct replica_status *s, struct text *out)
{
    gauge(out, "leading", "1 while this peer is the leader.", s->role == ZAB_LEADING ? 1 : 0);
    gauge(out, "quorum", "1 while a leader with a quorum is known and followed.", s->quorum ? 1 : 0);
    gauge(out, "epoch", "The current epoch.", s->epoch);
    gauge(out, "zxid_applied_counter", "Counter part of the last transaction applied.", zxid_counter(s->zxid));
    gauge(out, "zxid_logged_counter", "Counter part of the last transaction logged.", zxid_counter(s->zxid_logged));
    gauge(out, "znodes", "Znodes in the tree, the root included.", s->znodes);
    gauge(out, "tree_bytes", "Bytes of data, names and xattrs in the tree.", s->bytes);
    gauge(out, "disk_failed", "1 while the disk is full or failing.", s->disk_error != 0 ? 1 : 0);
    gauge(out, "calls_outstanding", "Changes and barriers of this peer that are not decided yet.",
          s->calls_outstanding);
    counter(out, "txns_applied_total", "Transactions applied since start.", s->txns_applied);
    counter(out, "log_syncs_total", "Syncs of the transaction log.", s->log_syncs);
    counter(out, "log_bytes_total", "Bytes written to the transaction log.", s->log_bytes);
    counter(out, "snapshots_total", "Snapshots written.", s->snapshots);
    counter(out, "elections_total", "Elections taken part in.", s->elections);
}

static void add_transport_metrics(const struct transport_stats *t, struct text *out)
{
    size_t i;

    counter(out, "peer_sent_bytes_total", "Bytes sent to peers.", t->bytes_sent);
    counter(out, "peer_received_bytes_total", "Bytes received from peers.", t->bytes_received);
    counter(out, "peer_sent_frames_total", "Frames sent to peers.", t->frames_sent);
    counter(out, "peer_received_frames_total", "Frames received from peers.", t->frames_received);
    text_printf(
        out, "# HELP znodefs_peer_connections_refused_total Connections refused: strangers, other keys, damage, ...\n"
             "# TYPE znodefs_peer_connections_refused_total counter\n");
    for (i = 0; i < TRANSPORT_REFUSALS; i++) {
        text_printf(out, "znodefs_peer_connections_refused_total{reason=\"%s\"} %" PRIu64 "\n",
                    transport_refusal_name((enum transport_refusal)i), t->refused[i]);
    }
}

static void add_mount_metrics(const struct mount_stats *m, struct text *out)
{
    counter(out, "fuse_requests_total", "Requests of the kernel.", m->requests);
    counter(out, "publishes_total", "Drafts published.", m->publishes);
    counter(out, "publish_errors_total", "Drafts that could not be published.", m->publish_errors);
    gauge(out, "open_files", "Files open through this mount.", m->open_files);
    gauge(out, "drafts", "Drafts not published yet.", m->drafts);
    histogram(out, "change_duration_seconds", "From a request of the kernel that changes something to its outcome.",
              &m->change_times);
}

static void add_peer_metrics(struct replica *replica, struct text *out)
{
    uint64_t unlisted = 0;
    size_t n;
    size_t i;
    struct replica_peer_status *peers = all_peers(replica, &n);

    text_printf(out, "# HELP znodefs_peer_up 1 while a connection to the peer is up.\n# TYPE znodefs_peer_up gauge\n");
    for (i = 0; i < n; i++) {
        /* Observers that are not listed are counted instead: each start of one would make a series of its own. */
        if (zab_sid_is_unlisted(peers[i].sid)) {
            unlisted += !peers[i].self;
            continue;
        }
        text_printf(out, "znodefs_peer_up{id=\"%" PRIu64 "\"} %d\n", peers[i].sid,
                    peers[i].up || peers[i].self ? 1 : 0);
    }
    free(peers);
    gauge(out, "unlisted_observers", "Connected observers that zoo.cfg does not list.", unlisted);
}

void report_metrics(const struct report *r, struct text *out)
{
    struct replica *replica = peer_replica(r->peer);
    struct replica_status s;
    struct transport_stats t;
    struct mount_stats m;

    text_printf(out,
                "# HELP znodefs_info The version that runs.\n# TYPE znodefs_info gauge\n"
                "znodefs_info{version=\"%s\"} 1\n",
                ZNODEFS_VERSION);
    replica_status(replica, &s);
    add_replica_metrics(&s, out);
    add_peer_metrics(replica, out);
    peer_transport_stats(r->peer, &t);
    add_transport_metrics(&t, out);
    histogram(out, "disk_job_duration_seconds", "Writes to the disk, mostly a batch of the log and its sync.",
              peer_job_times(r->peer));
    if (r->mount != NULL) {
        mount_stats(r->mount, &m);
        add_mount_metrics(&m, out);
    }
}
