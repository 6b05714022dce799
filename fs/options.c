#include "options.h"

#include "suggest.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEO_MS_DEFAULT 5000
#define TIMEO_S_MIN      0.1
#define TIMEO_S_MAX      86400.0

enum option_kind {
    OPTION_ON,   /* sets a bool */
    OPTION_OFF,  /* clears it */
    OPTION_MYID, /* the kinds with a value: myid=N, ... */
    OPTION_DATA_DIR,
    OPTION_TIMEO,
    OPTION_LOG,
    OPTION_INSECURE,
    OPTION_KEY_FILE,
    OPTION_KEY_STORE,
    OPTION_TRUST_STORE,
    OPTION_CHECK_HOSTS,
    OPTION_PEER_TIMEOUT,
    OPTION_LATER,     /* announced, not there yet */
    OPTION_TOLERATED, /* mount(8)'s, for others to obey */
    OPTION_PASSED,    /* libfuse's and the kernel's */
};

struct option_rule {
    const char *name; /* one that ends in = or - is the beginning of words */
    enum option_kind kind;
    size_t offset;
};

#define ON(word, field)                                                                                                \
    {                                                                                                                  \
        word, OPTION_ON, offsetof(struct options, field)                                                               \
    }
#define OFF(word, field)                                                                                               \
    {                                                                                                                  \
        word, OPTION_OFF, offsetof(struct options, field)                                                              \
    }

static const struct option_rule rules[] = {
    {"myid=", OPTION_MYID, 0},
    {"dataDir=", OPTION_DATA_DIR, 0},
    {"timeo=", OPTION_TIMEO, 0},
    {"log=", OPTION_LOG, 0},
    {"insecure=", OPTION_INSECURE, 0},
    {"keyFile=", OPTION_KEY_FILE, 0},
    {"keyStore=", OPTION_KEY_STORE, 0},
    {"trustStore=", OPTION_TRUST_STORE, 0},
    {"hostnameVerification=", OPTION_CHECK_HOSTS, 0},
    {"peerTimeout=", OPTION_PEER_TIMEOUT, 0},
    ON("strict", strict),
    ON("soft", soft),
    ON("sync", sync),
    OFF("async", sync),
    ON("ro", read_only),
    OFF("rw", read_only),
    ON("allow_other", allow_other),
    OFF("noallow_other", allow_other),
    ON("debug", debug),
    {"noannounce", OPTION_LATER, 0},
    {"nocache", OPTION_LATER, 0},
    {"pagecache", OPTION_LATER, 0},
    {"auto", OPTION_TOLERATED, 0},
    {"noauto", OPTION_TOLERATED, 0},
    {"user", OPTION_TOLERATED, 0},
    {"user=", OPTION_TOLERATED, 0},
    {"nouser", OPTION_TOLERATED, 0},
    {"users", OPTION_TOLERATED, 0},
    {"owner", OPTION_TOLERATED, 0},
    {"group", OPTION_TOLERATED, 0},
    {"nofail", OPTION_TOLERATED, 0},
    {"defaults", OPTION_TOLERATED, 0},
    {"_netdev", OPTION_TOLERATED, 0},
    {"comment=", OPTION_TOLERATED, 0},
    {"x-", OPTION_TOLERATED, 0},
    {"X-", OPTION_TOLERATED, 0},
    {"default_permissions", OPTION_TOLERATED, 0}, /* always on */
    {"relatime", OPTION_TOLERATED, 0},            /* the kernel's defaults; libfuse does not know the words */
    {"nodiratime", OPTION_TOLERATED, 0},
    {"dev", OPTION_PASSED, 0},
    {"nodev", OPTION_PASSED, 0},
    {"suid", OPTION_PASSED, 0},
    {"nosuid", OPTION_PASSED, 0},
    {"exec", OPTION_PASSED, 0},
    {"noexec", OPTION_PASSED, 0},
    {"atime", OPTION_PASSED, 0},
    {"noatime", OPTION_PASSED, 0},
    {"dirsync", OPTION_PASSED, 0},
    {"auto_unmount", OPTION_PASSED, 0},
    {"allow_root", OPTION_PASSED, 0},
    {"fsname=", OPTION_PASSED, 0},
    {"subtype=", OPTION_PASSED, 0},
    {"max_read=", OPTION_PASSED, 0},
    {"context=", OPTION_PASSED, 0},
};
#define N_RULES (sizeof(rules) / sizeof(rules[0]))

static const struct option_rule *rule_find(const char *word)
{
    size_t i;

    for (i = 0; i < N_RULES; i++) {
        size_t len = strlen(rules[i].name);
        bool prefix = strchr("=-", rules[i].name[len - 1]) != NULL;

        if (prefix ? strncmp(rules[i].name, word, len) == 0 : strcmp(rules[i].name, word) == 0) {
            return &rules[i];
        }
    }
    return NULL;
}

static void tell_unknown(const char *word, struct text *problems)
{
    const char *equals = strchr(word, '=');
    char *name = strndup(word, equals != NULL ? (size_t)(equals + 1 - word) : strlen(word));
    struct suggest suggest;
    size_t i;

    if (name == NULL) {
        abort();
    }
    suggest_init(&suggest, name);
    for (i = 0; i < N_RULES; i++) {
        suggest_offer(&suggest, rules[i].name);
    }
    if (suggest.best != NULL) {
        text_printf(problems, "unknown option -o %s; did you mean %s?\n", word, suggest.best);
    } else {
        text_printf(problems, "unknown option -o %s; -h lists them\n", word);
    }
    free(name);
}

static char *copy_value(const char *word)
{
    char *value = strdup(strchr(word, '=') + 1);

    if (value == NULL) {
        abort();
    }
    return value;
}

static void set_myid(struct options *o, const char *value, struct text *problems)
{
    char *end = NULL;
    unsigned long sid = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || sid < 1 || sid > CONFIG_SID_MAX) {
        text_printf(problems, "-o myid=%s: give a number from 1 to %d\n", value, CONFIG_SID_MAX);
        return;
    }
    o->overrides.sid = sid;
}

static void set_timeo(struct options *o, const char *value, struct text *problems)
{
    char *end = NULL;
    double seconds = strtod(value, &end);

    /* Written so that a NaN is refused too. */
    if (*value < '0' || *value > '9' || *end != '\0' || !(seconds >= TIMEO_S_MIN && seconds <= TIMEO_S_MAX)) {
        text_printf(problems, "-o timeo=%s: give seconds from %g to %g\n", value, TIMEO_S_MIN, TIMEO_S_MAX);
        return;
    }
    o->timeo_ms = (uint32_t)(seconds * 1000);
}

static void set_path(char **field, const char *word, struct text *problems)
{
    if (strchr(word, '=')[1] == '\0') {
        text_printf(problems, "-o %s needs a path after the \"=\"\n", word);
        return;
    }
    free(*field);
    *field = copy_value(word);
}

/* False after telling a problem. */
static bool parse_yes(const char *word, struct text *problems, bool *ret_yes)
{
    const char *value = strchr(word, '=') + 1;

    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0) {
        text_printf(problems, "-o %s: say yes or no\n", word);
        return false;
    }
    *ret_yes = strcmp(value, "yes") == 0;
    return true;
}

static void set_tls(struct options *o, enum option_kind kind, const char *word, struct text *problems)
{
    bool yes = true;

    o->tls_given = true;
    switch (kind) {
    case OPTION_INSECURE:
        (void)parse_yes(word, problems, &o->overrides.insecure);
        return;
    case OPTION_CHECK_HOSTS:
        (void)parse_yes(word, problems, &yes);
        o->overrides.unchecked_hosts = !yes;
        return;
    case OPTION_KEY_FILE:
        set_path(&o->key_file, word, problems);
        return;
    case OPTION_KEY_STORE:
        set_path(&o->key_store, word, problems);
        return;
    default:
        assert(kind == OPTION_TRUST_STORE);
        set_path(&o->trust_store, word, problems);
        return;
    }
}

static void set_peer_timeout(struct options *o, const char *value, struct text *problems)
{
    char *end = NULL;
    unsigned long ms = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end != '\0' || ms < CONFIG_PEER_TIMEOUT_MIN || ms > CONFIG_MS_MAX) {
        text_printf(problems, "-o peerTimeout=%s: give milliseconds from %d to %d\n", value, CONFIG_PEER_TIMEOUT_MIN,
                    CONFIG_MS_MAX);
        return;
    }
    o->overrides.peer_timeout_ms = ms;
}

static void pass_on(struct options *o, const char *word)
{
    char **grown = realloc(o->fuse_options, (o->n_fuse_options + 1) * sizeof(*grown));

    if (grown == NULL) {
        abort();
    }
    o->fuse_options = grown;
    o->fuse_options[o->n_fuse_options] = strdup(word);
    if (o->fuse_options[o->n_fuse_options] == NULL) {
        abort();
    }
    o->n_fuse_options++;
}

static void take_word(struct options *o, const char *word, struct text *problems)
{
    const struct option_rule *rule = rule_find(word);

    if (rule == NULL) {
        tell_unknown(word, problems);
        return;
    }
    switch (rule->kind) {
    case OPTION_ON:
    case OPTION_OFF:
        *(bool *)(void *)((char *)o + rule->offset) = rule->kind == OPTION_ON;
        return;
    case OPTION_MYID:
        set_myid(o, strchr(word, '=') + 1, problems);
        return;
    case OPTION_DATA_DIR:
        set_path(&o->data_dir, word, problems);
        return;
    case OPTION_TIMEO:
        set_timeo(o, strchr(word, '=') + 1, problems);
        return;
    case OPTION_LOG:
        set_path(&o->log_path, word, problems);
        return;
    case OPTION_INSECURE:
    case OPTION_KEY_FILE:
    case OPTION_KEY_STORE:
    case OPTION_TRUST_STORE:
    case OPTION_CHECK_HOSTS:
        set_tls(o, rule->kind, word, problems);
        return;
    case OPTION_PEER_TIMEOUT:
        set_peer_timeout(o, strchr(word, '=') + 1, problems);
        return;
    case OPTION_LATER:
        text_printf(&o->notes, "-o %s is not there yet: it changes nothing\n", word);
        return;
    case OPTION_TOLERATED:
        return;
    case OPTION_PASSED:
        pass_on(o, word);
        return;
    }
}

/* Words are separated by commas; `\,` is a comma within a word, as for libfuse. */
static void take_list(struct options *o, const char *list, struct text *problems)
{
    struct text word;
    const char *s;

    text_init(&word);
    for (s = list;; s++) {
        if (*s == ',' || *s == '\0') {
            if (word.len > 0) {
                take_word(o, word.chars, problems);
            }
            text_release(&word);
        } else {
            s += s[0] == '\\' && (s[1] == ',' || s[1] == '\\') ? 1 : 0;
            text_add(&word, s, 1);
        }
        if (*s == '\0') {
            return;
        }
    }
}

static void check_source(struct options *o, struct text *problems)
{
    const char *s = o->source;

    if (strcmp(s, "standalone") == 0) {
        o->standalone = true;
    } else if (s[0] == '/' || strncmp(s, "./", 2) == 0 || strncmp(s, "../", 3) == 0) {
        o->standalone = false;
    } else if (access(s, F_OK) == 0) {
        text_printf(problems, "SOURCE %s is taken for a list of hosts; for the file write ./%s\n", s, s);
    } else {
        o->hosts = true;
    }
}

/* Options that mean something with one kind of SOURCE only. */
static void check_fits(const struct options *o, struct text *problems)
{
    if (o->hosts && o->overrides.sid != 0) {
        text_printf(problems, "-o myid does not go with a list of hosts: such a mount draws its own number; drop it\n");
    }
    if (!o->hosts && o->tls_given) {
        text_printf(problems,
                    "-o insecure, keyFile, keyStore, trustStore and hostnameVerification are for a list of hosts; "
                    "a zoo.cfg says znodefs.insecure=yes, znodefs.keyFile=FILE, ...\n");
    }
    if (!o->hosts && o->overrides.peer_timeout_ms != 0) {
        text_printf(problems, "-o peerTimeout is for a list of hosts; a zoo.cfg says znodefs.peerTimeout=...\n");
    }
}

static void check_operands(struct options *o, int argc, char **argv, struct text *problems)
{
    if (o->genkey) {
        o->source = argc == 1 ? argv[0] : NULL;
        if (argc > 1) {
            text_printf(problems, "--genkey makes one file at a time\n");
        }
        return;
    }
    if (argc != 2) {
        text_printf(problems, "%s: give SOURCE and MOUNTPOINT; -h explains both\n",
                    argc < 2 ? "something is missing" : "there is too much");
        return;
    }
    o->source = argv[0];
    o->mountpoint = argv[1];
    o->unmounted = strcmp(o->mountpoint, "none") == 0;
    check_source(o, problems);
    check_fits(o, problems);
}

int options_parse(struct options *o, int argc, char **argv, struct text *problems)
{
    static const struct option longs[] = {
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {"genkey", no_argument, NULL, 'K'}, {0}};
    size_t before = problems->len;
    int c;

    memset(o, 0, sizeof(*o));
    o->timeo_ms = TIMEO_MS_DEFAULT;
    o->allow_other = geteuid() == 0; /* others need a line in /etc/fuse.conf */
    opterr = 0;
    optind = 0; /* GNU's way to start afresh: tests parse more than once */
    while ((c = getopt_long(argc, argv, "fdVho:", longs, NULL)) != -1) {
        switch (c) {
        case 'f':
            o->foreground = true;
            break;
        case 'd':
            o->debug = true;
            o->foreground = true;
            break;
        case 'V':
            o->version = true;
            break;
        case 'h':
            o->help = true;
            break;
        case 'K':
            o->genkey = true;
            break;
        case 'o':
            take_list(o, optarg, problems);
            break;
        default:
            text_printf(problems, "unknown or incomplete option %s; -h lists them\n", argv[optind - 1]);
            break;
        }
    }
    o->overrides.data_dir = o->data_dir;
    o->overrides.key_file = o->key_file;
    o->overrides.key_store = o->key_store;
    o->overrides.trust_store = o->trust_store;
    if (!o->help && !o->version) {
        check_operands(o, argc - optind, argv + optind, problems);
    }
    return problems->len > before ? -EINVAL : 0;
}

void options_release(struct options *o)
{
    size_t i;

    for (i = 0; i < o->n_fuse_options; i++) {
        free(o->fuse_options[i]);
    }
    free(o->fuse_options);
    free(o->data_dir);
    free(o->log_path);
    free(o->key_file);
    free(o->key_store);
    free(o->trust_store);
    text_release(&o->notes);
    memset(o, 0, sizeof(*o));
}

void options_usage(FILE *out)
{
    static const char usage[] =
        "usage: znodefs [-f] [-d] [-V] [-h] [-o opt,...] SOURCE MOUNTPOINT\n"
        "       znodefs --genkey [FILE]\n"
        "\n"
        "Starts one peer of an ensemble and mounts the replicated tree. Returns once the mount answers.\n"
        "\n"
        "SOURCE      a zoo.cfg, beginning with / or ./ or ../; or the word standalone: an ensemble of one;\n"
        "            or the ensemble's participants, host[:port][,host[:port]...][:/subtree] (IPv6 as [addr]:port,\n"
        "            default port 2888): an observer that no zoo.cfg lists and that keeps nothing on disk\n"
        "MOUNTPOINT  a directory; or the word none: a peer without a mount\n"
        "\n"
        "  -f  stay in the foreground and log to stderr\n"
        "  -d  the same, and trace every request\n"
        "  -V  print the version\n"
        "  -h  print this\n"
        "  --genkey  make a key that peers share, in FILE or on stdout\n"
        "\n"
        "  -o myid=N         this server's number, instead of dataDir/myid\n"
        "  -o dataDir=DIR    instead of the zoo.cfg's; for standalone the default is " CONFIG_STANDALONE_DIR ",\n"
        "                    for a list of hosts none: then nothing is kept\n"
        "  -o keyFile=FILE   with hosts: the key that all peers share (a zoo.cfg says znodefs.keyFile)\n"
        "  -o keyStore=FILE,trustStore=FILE,hostnameVerification=no   with hosts: certificates, as PEM\n"
        "  -o insecure=yes   allow SOURCE to name hosts outside loopback without a key or certificates\n"
        "  -o peerTimeout=MS with hosts: the ensemble's znodefs.peerTimeout, if it is not 1000\n"
        "  -o log=FILE       log into FILE instead of stderr and, in the background, syslog\n"
        "  -o timeo=SECONDS  without a quorum for this long, calls that change something fail (default 5)\n"
        "  -o soft           closes that publish fail then, too, instead of waiting\n"
        "  -o strict         reads fail, too, while there is no quorum\n"
        "  -o sync           every write(2) is a transaction of its own\n"
        "  -o ro             read-only\n"
        "  -o allow_other    every user may enter, as permissions say (default for root); noallow_other: only you\n"
        "  -o noannounce, nocache, pagecache  are known, and not there yet\n"
        "  and those of mount(8) and FUSE: nodev, nosuid, noexec, noatime, auto_unmount, fsname=, max_read=, ...\n"
        "\n"
        "Exit codes: 0; 1 usage; 2 configuration; 3 dataDir foreign, newer, damaged or in use; 4 mountpoint;\n"
        "5 port or address.\n"
        "\n"
        "Example, on one machine:\n"
        "  mkdir -p /tmp/data /tmp/tree\n"
        "  znodefs -o dataDir=/tmp/data standalone /tmp/tree\n"
        "  echo hello > /tmp/tree/greeting; cat /tmp/tree/.znodefs/status\n"
        "  umount /tmp/tree\n";

    (void)fputs(usage, out); /* there is nobody to tell if this fails */
}
