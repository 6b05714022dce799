/*
 * config: a peer's zoo.cfg, read as ZooKeeper reads it, and checked to the last key.
 *
 * Everything that is wrong is told at once: one line per problem, "FILE:LINE: what; mend".
 */
#ifndef FS_CONFIG_H
#define FS_CONFIG_H

#include "text.h"

#include <stdbool.h>
#include <stdint.h>

struct tls;

#define CONFIG_SID_MAX          255
#define CONFIG_FILE_MAX         (1024 * 1024) /* bytes of a zoo.cfg */
#define CONFIG_PEER_TIMEOUT_MIN 50            /* milliseconds */
#define CONFIG_MS_MAX           86400000
#define CONFIG_HOSTS_MAX        CONFIG_SID_MAX
#define CONFIG_PEER_PORT        2888
#define CONFIG_STANDALONE_DIR   "/var/lib/znodefs"

struct config_server {
    uint64_t sid;
    char *host;
    uint16_t peer_port;
    uint16_t election_port;
    bool observer;
    const char *file; /* where it stands; belongs to struct config */
    unsigned line;
};

/* One of the hosts that an unlisted observer dials. */
struct config_host {
    char *host;
    uint16_t port;
};

struct config {
    char *path;         /* the zoo.cfg; NULL: standalone, or an unlisted observer */
    char *dynamic_path; /* dynamicConfigFile, or NULL */
    char *data_dir;     /* absolute once config_load() has succeeded; NULL: an observer that keeps nothing */
    char *peer_type;    /* peerType, or NULL */
    uint64_t sid;
    struct config_server *servers; /* empty: alone, listening nowhere */
    size_t n_servers;
    struct config_host *hosts; /* what an unlisted observer dials; empty: this is none */
    size_t n_hosts;
    char *subtree; /* "/a/b" without a slash at its end: becomes the root of the mount; NULL: the whole tree */
    uint64_t tick_ms;
    uint64_t init_limit;
    uint64_t sync_limit;
    uint64_t peer_timeout_ms;
    uint64_t data_max;
    uint64_t snap_count;
    uint64_t snap_bytes;
    uint64_t snap_retain;
    uint64_t prealloc_bytes;
    uint64_t listen_all; /* quorumListenOnAllIPs */
    uint64_t insecure;
    char *key_file;      /* znodefs.keyFile, or NULL */
    uint64_t ssl_quorum; /* sslQuorum: certificates */
    char *key_store;     /* ssl.quorum.keyStore.location and so on, each or NULL */
    char *key_type;
    char *key_password;
    char *key_password_path;
    char *trust_store;
    char *trust_type;
    uint64_t check_hosts; /* ssl.quorum.hostnameVerification */
    struct tls *tls;      /* made of these; NULL: peers do not authenticate */
    struct text notes;    /* lines for the log: ignored keys and the like */
};

/* What the command line says instead of the file. */
struct config_overrides {
    uint64_t sid;             /* 0: not given */
    const char *data_dir;     /* NULL: not given */
    bool insecure;            /* for a list of hosts only, as is what follows */
    uint64_t peer_timeout_ms; /* 0: not given */
    const char *key_file;     /* these: NULL: not given */
    const char *key_store;
    const char *trust_store;
    bool unchecked_hosts;
};

void config_init(struct config *c);
void config_release(struct config *c);

/* Reads and checks `path`, or what `standalone` stands for when it is NULL. -EINVAL: `problems` says what and how to
 * mend it, a line each. `c` has been initialised, and is to be released in either case. */
int config_load(struct config *c, const char *path, const struct config_overrides *overrides, struct text *problems);

/* Reads a list of hosts, `host[:port][,host[:port]...][:/subtree]`, into hosts and subtree. -EINVAL: `problems` says
 * what and how to mend it. */
int config_parse_hosts(struct config *c, const char *source, struct text *problems);

/* The same as config_load() for an unlisted observer, after config_parse_hosts(). */
int config_load_hosts(struct config *c, const struct config_overrides *overrides, struct text *problems);

const struct config_server *config_server(const struct config *c, uint64_t sid);

/* Does every address of `host` lie on this machine's loopback? A name that does not resolve may lie anywhere. */
bool config_host_is_loopback(const char *host);

#endif
