/*
 * report: the texts of .znodefs/status, peers and metrics (formats: .znodefs), rendered anew at each open.
 */
#ifndef FS_REPORT_H
#define FS_REPORT_H

#include "consensus/peer.h"
#include "text.h"

struct mount;

struct report_server {
    uint64_t sid;
    const char *address; /* "host:port" as configured */
    bool observer;
};

/* What the texts are made of; filled by main.c, lives as long as the daemon. */
struct report {
    struct peer *peer;
    struct mount *mount; /* NULL without one */
    const struct report_server *servers;
    size_t n_servers;
    bool insecure;
    const char *tls; /* key, certificate, none */
};

/* Each appends its text to `out`. */
void report_status(const struct report *r, struct text *out);
void report_peers(const struct report *r, struct text *out);
void report_metrics(const struct report *r, struct text *out);

#endif
