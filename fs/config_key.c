#include "config_int.h"
#include "suggest.h"

#include "store/txn.h"

#include <fnmatch.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum key_kind {
    KEY_NUMBER,  /* min to max */
    KEY_BOOL,    /* true, false, yes, no */
    KEY_TEXT,    /* anything but nothing */
    KEY_IGNORED, /* ZooKeeper's, without meaning here */
    KEY_REFUSED, /* ZooKeeper's; going on without it would be wrong. `mend` says why */
};

struct key {
    const char *name;
    enum key_kind kind;
    size_t offset; /* of the field in struct config: uint64_t, or char * for KEY_TEXT */
    uint64_t min;
    uint64_t max;
    const char *mend;
};

#define NUMBER(key, field, from, to)                                                                                   \
    {                                                                                                                  \
        key, KEY_NUMBER, offsetof(struct config, field), from, to, NULL                                                \
    }
#define BOOL(key, field)                                                                                               \
    {                                                                                                                  \
        key, KEY_BOOL, offsetof(struct config, field), 0, 0, NULL                                                      \
    }
#define TEXT(key, field)                                                                                               \
    {                                                                                                                  \
        key, KEY_TEXT, offsetof(struct config, field), 0, 0, NULL                                                      \
    }
#define IGNORED(key)                                                                                                   \
    {                                                                                                                  \
        key, KEY_IGNORED, 0, 0, 0, NULL                                                                                \
    }
#define REFUSED(key, mend)                                                                                             \
    {                                                                                                                  \
        key, KEY_REFUSED, 0, 0, 0, mend                                                                                \
    }

/* A day; longer is a slip of the pen. */
#define MS_MAX CONFIG_MS_MAX

static const struct key keys[] = {
    NUMBER("tickTime", tick_ms, 10, 600000),
    NUMBER("initLimit", init_limit, 1, 100000),
    NUMBER("syncLimit", sync_limit, 1, 100000),
    NUMBER("znodefs.peerTimeout", peer_timeout_ms, CONFIG_PEER_TIMEOUT_MIN, MS_MAX),
    NUMBER("jute.maxbuffer", data_max, 1024, TXN_DATA_MAX_LIMIT),
    NUMBER("snapCount", snap_count, 2, 1000000000000),
    NUMBER("snapSizeLimitInKb", snap_bytes, 0, 1ull << 40),
    NUMBER("preAllocSize", prealloc_bytes, 64, 1024 * 1024),
    NUMBER("autopurge.snapRetainCount", snap_retain, 3, 100000),
    BOOL("quorumListenOnAllIPs", listen_all),
    BOOL("znodefs.insecure", insecure),
    BOOL("sslQuorum", ssl_quorum),
    BOOL("ssl.quorum.hostnameVerification", check_hosts),
    TEXT("dataDir", data_dir),
    TEXT("dynamicConfigFile", dynamic_path),
    TEXT("peerType", peer_type),
    TEXT("znodefs.keyFile", key_file),
    TEXT("ssl.quorum.keyStore.location", key_store),
    TEXT("ssl.quorum.keyStore.type", key_type),
    TEXT("ssl.quorum.keyStore.password", key_password),
    TEXT("ssl.quorum.keyStore.passwordPath", key_password_path),
    TEXT("ssl.quorum.trustStore.location", trust_store),
    TEXT("ssl.quorum.trustStore.type", trust_type),
    REFUSED("group.*",
            "hierarchical quorums are not there: every participant counts as one; remove group.N and weight.N"),
    REFUSED("weight.*", "weighted votes are not there: every participant counts as one; remove group.N and weight.N"),
    REFUSED("ssl.quorum.crl", "revoked certificates are not looked up; remove it, and let certificates live shortly"),
    REFUSED("ssl.quorum.ocsp", "revoked certificates are not looked up; remove it, and let certificates live shortly"),
    REFUSED("quorum.auth.enableSasl", "peers authenticate by TLS; remove it, and see znodefs.keyFile"),
    IGNORED("4lw.commands.whitelist"),
    IGNORED("admin.*"),
    IGNORED("advancedFlowControlEnabled"),
    IGNORED("audit.*"),
    IGNORED("authProvider.*"),
    IGNORED("autopurge.purgeInterval"),
    IGNORED("client.portUnification"),
    IGNORED("clientPort"),
    IGNORED("clientPortAddress"),
    IGNORED("clientPortListenBacklog"),
    IGNORED("cnxTimeout"),
    IGNORED("commitProcessor.*"),
    IGNORED("connectionMaxTokens"),
    IGNORED("connectionTokenFillCount"),
    IGNORED("connectionTokenFillTime"),
    IGNORED("connectToLearnerMasterLimit"),
    IGNORED("dataLogDir"),
    IGNORED("digest.enabled"),
    IGNORED("electionAlg"),
    IGNORED("electionPortBindRetry"),
    IGNORED("enforce.*"),
    IGNORED("extendedTypesEnabled"),
    IGNORED("fastleader.*"),
    IGNORED("flushDelay"),
    IGNORED("forceSync"),
    IGNORED("fsync.warningthresholdms"),
    IGNORED("globalOutstandingLimit"),
    IGNORED("initialConfig"),
    IGNORED("jmx.*"),
    IGNORED("jute.maxbuffer.extrasize"),
    IGNORED("kerberos.*"),
    IGNORED("largeRequestMaxBytes"),
    IGNORED("largeRequestThreshold"),
    IGNORED("leader.*"),
    IGNORED("leaderServes"),
    IGNORED("learner.*"),
    IGNORED("localSessionsEnabled"),
    IGNORED("localSessionsUpgradingEnabled"),
    IGNORED("maxBatchSize"),
    IGNORED("maxClientCnxns"),
    IGNORED("maxCnxns"),
    IGNORED("maxResponseCacheSize"),
    IGNORED("maxGetChildrenResponseCacheSize"),
    IGNORED("maxSessionTimeout"),
    IGNORED("maxTimeToWaitForEpoch"),
    IGNORED("metricsProvider.*"),
    IGNORED("minSessionTimeout"),
    IGNORED("multiAddress.*"),
    IGNORED("netty.*"),
    IGNORED("nio.*"),
    IGNORED("observer.*"),
    IGNORED("observerMasterPort"),
    IGNORED("outstandingChanges.*"),
    IGNORED("portUnification"),
    IGNORED("quorum.*"),
    IGNORED("quorumCnxn.*"),
    IGNORED("readonlymode.enabled"),
    IGNORED("reconfigEnabled"),
    IGNORED("requestThrottler.*"),
    IGNORED("requireClientAuthScheme"),
    IGNORED("secureClientPort"),
    IGNORED("secureClientPortAddress"),
    IGNORED("serverCnxnFactory"),
    IGNORED("sessionRequireClientSASLAuth"),
    IGNORED("serverSaslClientEnabled"),
    IGNORED("skipACL"),
    IGNORED("snapshot.*"),
    IGNORED("ssl.*"),
    IGNORED("sslQuorumReloadCertFiles"),
    IGNORED("standaloneEnabled"),
    IGNORED("superUser"),
    IGNORED("syncEnabled"),
    IGNORED("tcpKeepAlive"),
    IGNORED("throttledOpWaitTime"),
    IGNORED("traceFile"),
    IGNORED("txnLogSizeLimitInKb"),
    IGNORED("version"), /* of a dynamicConfigFile */
    IGNORED("warningthresholdms"),
    IGNORED("watchManagerName"),
    IGNORED("X509AuthenticationProvider.*"),
    IGNORED("zookeeper.*"),
};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

static const struct key *key_find(const char *name)
{
    size_t i;

    for (i = 0; i < N_KEYS; i++) {
        if (fnmatch(keys[i].name, name, 0) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static void tell_unknown(const struct config_place *at, const char *name, struct text *problems)
{
    struct suggest suggest;
    size_t i;

    suggest_init(&suggest, name);
    suggest_offer(&suggest, "server.1");
    for (i = 0; i < N_KEYS; i++) {
        suggest_offer(&suggest, keys[i].name);
    }
    if (suggest.best != NULL) {
        config_problem(problems, at, "unknown key %s; did you mean %s?", name, suggest.best);
    } else {
        config_problem(problems, at, "unknown key %s; remove the line", name);
    }
}

static bool set_number(struct config *c, const struct key *key, const struct config_place *at, const char *value,
                       struct text *problems)
{
    uint64_t *field = (uint64_t *)(void *)((char *)c + key->offset);
    uint64_t number;

    if (!config_parse_number(value, &number)) {
        config_problem(problems, at,
                       "%s=%s is not a number; give one from %llu to %llu, and comments a line of their own", key->name,
                       value, (unsigned long long)key->min, (unsigned long long)key->max);
        return false;
    }
    if (number < key->min || number > key->max) {
        config_problem(problems, at, "%s=%s is out of range; give a number from %llu to %llu", key->name, value,
                       (unsigned long long)key->min, (unsigned long long)key->max);
        return false;
    }
    *field = number;
    if (field == &c->snap_bytes) { /* given in KiB; 0 means never because of the size */
        *field = number == 0 ? UINT64_MAX : number * 1024;
    } else if (field == &c->prealloc_bytes) {
        *field = number * 1024;
    }
    return true;
}

static bool set_bool(struct config *c, const struct key *key, const struct config_place *at, const char *value,
                     struct text *problems)
{
    uint64_t *field = (uint64_t *)(void *)((char *)c + key->offset);

    if (strcmp(value, "true") == 0 || strcmp(value, "yes") == 0) {
        *field = 1;
    } else if (strcmp(value, "false") == 0 || strcmp(value, "no") == 0) {
        *field = 0;
    } else {
        config_problem(problems, at, "%s=%s is neither yes nor no", key->name, value);
        return false;
    }
    return true;
}

static bool set_text(struct config *c, const struct key *key, const struct config_place *at, const char *value,
                     struct text *problems)
{
    char **field = (char **)(void *)((char *)c + key->offset);

    if (*value == '\0') {
        config_problem(problems, at, "%s has no value; give it one or remove the line", key->name);
        return false;
    }
    if (field == &c->peer_type && strcmp(value, "observer") != 0 && strcmp(value, "participant") != 0) {
        config_problem(problems, at, "peerType=%s is neither participant nor observer", value);
        return false;
    }
    free(*field);
    *field = config_strdup(value);
    return true;
}

static bool refuse(const struct key *key, const struct config_place *at, const char *name, const char *value,
                   struct text *problems)
{
    if (strcmp(value, "false") == 0) {
        return true; /* switched off is as good as absent */
    }
    config_problem(problems, at, "%s=%s: %s", name, value, key->mend);
    return false;
}

bool config_set_key(struct config *c, const struct config_place *at, const char *name, const char *value,
                    struct text *ignored, struct text *problems)
{
    const struct key *key = key_find(name);

    if (key == NULL) {
        tell_unknown(at, name, problems);
        return false;
    }
    switch (key->kind) {
    case KEY_NUMBER:
        return set_number(c, key, at, value, problems);
    case KEY_BOOL:
        return set_bool(c, key, at, value, problems);
    case KEY_TEXT:
        return set_text(c, key, at, value, problems);
    case KEY_REFUSED:
        return refuse(key, at, name, value, problems);
    case KEY_IGNORED:
        text_printf(ignored, "%s%s (line %u)", ignored->len > 0 ? ", " : "", name, at->line);
        return true;
    }
    return false;
}
