#include "config_int.h"

#include "store/txn.h"
#include "store/txnlog.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MYID_FILE_MAX 64 /* bytes that are read of a myid file */

void config_problem(struct text *problems, const struct config_place *at, const char *format, ...)
{
    char *sentence = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&sentence, format, args) < 0) {
        abort();
    }
    va_end(args);
    if (at->line > 0) {
        text_printf(problems, "%s:%u: %s\n", at->file, at->line, sentence);
    } else {
        text_printf(problems, "%s: %s\n", at->file, sentence);
    }
    free(sentence);
}

char *config_strdup(const char *s)
{
    char *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }
    return copy;
}

bool config_parse_number(const char *s, uint64_t *ret_value)
{
    bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
    char *end = NULL;
    unsigned long long value;

    /* strtoull by itself takes signs and spaces. */
    if (!isxdigit((unsigned char)s[hex ? 2 : 0])) {
        return false;
    }
    errno = 0;
    value = strtoull(s, &end, hex ? 16 : 10);
    if (errno != 0 || *end != '\0') {
        return false;
    }
    *ret_value = value;
    return true;
}

void config_init(struct config *c)
{
    memset(c, 0, sizeof(*c));
    c->tick_ms = 2000;
    c->init_limit = 10;
    c->sync_limit = 5;
    c->peer_timeout_ms = 1000;
    c->data_max = TXN_DATA_MAX_DEFAULT;
    c->snap_count = 100000;
    c->snap_bytes = 4096ull * 1024 * 1024;
    c->snap_retain = 3;
    c->prealloc_bytes = TXNLOG_PREALLOC_BYTES_DEFAULT;
    c->check_hosts = 1;
    text_init(&c->notes);
}

void config_release(struct config *c)
{
    size_t i;

    if (c == NULL) {
        return;
    }
    for (i = 0; i < c->n_servers; i++) {
        free(c->servers[i].host);
    }
    free(c->servers);
    for (i = 0; i < c->n_hosts; i++) {
        free(c->hosts[i].host);
    }
    free(c->hosts);
    free(c->subtree);
    free(c->path);
    free(c->dynamic_path);
    free(c->data_dir);
    free(c->peer_type);
    config_release_tls(c);
    text_release(&c->notes);
    memset(c, 0, sizeof(*c));
}

const struct config_server *config_server(const struct config *c, uint64_t sid)
{
    size_t i;

    for (i = 0; i < c->n_servers; i++) {
        if (c->servers[i].sid == sid) {
            return &c->servers[i];
        }
    }
    return NULL;
}

/* ---- lines ---- */

/* Cuts the spaces at both ends off, in place. */
static char *trim(char *s)
{
    size_t len;

    while (isspace((unsigned char)*s)) {
        s++;
    }
    len = strlen(s);
    while (len > 0 && isspace((unsigned char)s[len - 1])) {
        len--;
    }
    s[len] = '\0';
    return s;
}

/* The keys that were seen, to tell of those that are given twice. */
struct seen {
    char *key;
    unsigned line;
    struct seen *next;
};

struct reader {
    struct config *config;
    struct config_place at;
    bool dynamic; /* a dynamicConfigFile */
    struct seen *seen;
    struct text ignored;
    struct text *problems;
};

/* True if the key has not been seen before in this file. */
static bool reader_first_time(struct reader *r, const char *key)
{
    struct seen *s;

    for (s = r->seen; s != NULL; s = s->next) {
        if (strcmp(s->key, key) == 0) {
            config_problem(r->problems, &r->at, "%s is given already in line %u; keep one of the two", key, s->line);
            return false;
        }
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        abort();
    }
    s->key = config_strdup(key);
    s->line = r->at.line;
    s->next = r->seen;
    r->seen = s;
    return true;
}

static void reader_line(struct reader *r, char *line)
{
    char *key = trim(line);
    char *equals = strchr(key, '=');
    char *value;

    if (*key == '\0' || *key == '#' || *key == '!') {
        return;
    }
    if (equals == NULL) {
        config_problem(r->problems, &r->at, "\"%s\" is not key=value; put a # before a comment", key);
        return;
    }
    *equals = '\0';
    key = trim(key);
    value = trim(equals + 1);
    if (*key == '\0') {
        config_problem(r->problems, &r->at, "there is no key before the \"=\"");
    } else if (!reader_first_time(r, key)) {
        return; /* told */
    } else if (strncmp(key, "server.", strlen("server.")) == 0) {
        (void)config_add_server(r->config, &r->at, key + strlen("server."), value, r->problems);
    } else if (r->dynamic && strcmp(key, "version") != 0) {
        config_problem(r->problems, &r->at, "%s does not belong into a dynamicConfigFile, which holds server.N lines",
                       key);
    } else {
        (void)config_set_key(r->config, &r->at, key, value, &r->ignored, r->problems);
    }
}

static void reader_release(struct reader *r)
{
    while (r->seen != NULL) {
        struct seen *next = r->seen->next;

        free(r->seen->key);
        free(r->seen);
        r->seen = next;
    }
    text_release(&r->ignored);
}

static bool check_readable(FILE *file, const struct config_place *at, struct text *problems)
{
    struct stat st;

    if (fstat(fileno(file), &st) != 0) {
        config_problem(problems, at, "can't be read: %s", strerror(errno));
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        config_problem(problems, at, "is not a file; name a zoo.cfg");
        return false;
    }
    if (st.st_size > CONFIG_FILE_MAX) {
        config_problem(problems, at, "has %lld bytes, more than any zoo.cfg (%d)", (long long)st.st_size,
                       CONFIG_FILE_MAX);
        return false;
    }
    return true;
}

static void read_lines(struct reader *r, FILE *file)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;

    while ((len = getline(&line, &cap, file)) >= 0) {
        r->at.line++;
        if (strlen(line) != (size_t)len) {
            config_problem(r->problems, &r->at, "there is a NUL byte in it; is this a text file?");
            break;
        }
        reader_line(r, line);
    }
    if (ferror(file)) {
        config_problem(r->problems, &r->at, "can't be read: %s", strerror(errno));
    }
    free(line);
}

static void read_file(struct config *c, const char *path, bool dynamic, struct text *problems)
{
    struct reader r = {.config = c, .at = {.file = path}, .dynamic = dynamic, .problems = problems};
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        config_problem(problems, &r.at, "can't be opened: %s", strerror(errno));
        return;
    }
    if (check_readable(file, &r.at, problems)) {
        read_lines(&r, file);
    }
    if (r.ignored.len > 0) {
        text_printf(&c->notes, "%s: keys of ZooKeeper without meaning here yet are ignored: %s\n", path,
                    r.ignored.chars);
    }
    reader_release(&r);
    (void)fclose(file); /* nothing was written to it */
}

/* ---- dataDir and myid ---- */

/* The directory made absolute: a daemon has another working directory than who started it. */
bool config_resolve_data_dir(struct config *c, const struct config_place *at, struct text *problems)
{
    struct stat st;
    char *absolute;

    if (c->path == NULL && c->n_hosts == 0 && strcmp(c->data_dir, CONFIG_STANDALONE_DIR) == 0) {
        (void)mkdir(c->data_dir, 0700); /* it may be there; if it can't be made, the next call says why */
    }
    if (stat(c->data_dir, &st) != 0) {
        config_problem(problems, at, "dataDir %s: %s%s%s", c->data_dir, strerror(errno),
                       errno == ENOENT ? "; create it: mkdir -p " : "", errno == ENOENT ? c->data_dir : "");
        return false;
    }
    if (!S_ISDIR(st.st_mode)) {
        config_problem(problems, at, "dataDir %s is not a directory", c->data_dir);
        return false;
    }
    absolute = realpath(c->data_dir, NULL);
    if (absolute == NULL) {
        config_problem(problems, at, "dataDir %s: %s", c->data_dir, strerror(errno));
        return false;
    }
    free(c->data_dir);
    c->data_dir = absolute;
    return true;
}

/* *ret_sid is 0 when there is no such file. False after telling a problem. */
static bool read_myid(const char *path, struct text *problems, uint64_t *ret_sid)
{
    struct config_place at = {.file = path, .line = 1};
    char bytes[MYID_FILE_MAX + 1] = "";
    FILE *file = fopen(path, "re");
    size_t len;
    uint64_t sid;

    if (file == NULL) {
        if (errno == ENOENT) {
            *ret_sid = 0;
            return true;
        }
        config_problem(problems, &at, "can't be opened: %s", strerror(errno));
        return false;
    }
    len = fread(bytes, 1, sizeof(bytes) - 1, file);
    (void)fclose(file); /* nothing was written to it */
    bytes[len] = '\0';
    if (!config_parse_number(trim(bytes), &sid) || sid < 1 || sid > CONFIG_SID_MAX) {
        config_problem(problems, &at,
                       "must hold this server's number and nothing else, from 1 to %d; write it: "
                       "echo 1 > %s",
                       CONFIG_SID_MAX, path);
        return false;
    }
    *ret_sid = sid;
    return true;
}

static void tell_unlisted(const struct config *c, const struct config_place *at, struct text *problems)
{
    struct text listed;
    size_t i;

    text_init(&listed);
    for (i = 0; i < c->n_servers; i++) {
        text_printf(&listed, "%s%llu", i > 0 ? ", " : "", (unsigned long long)c->servers[i].sid);
    }
    config_problem(problems, at,
                   "there is no server.%llu line for this server, whose number (myid) is %llu; listed are "
                   "%s; mend one or the other",
                   (unsigned long long)c->sid, (unsigned long long)c->sid, listed.chars);
    text_release(&listed);
}

static void find_myid(struct config *c, const struct config_place *at, uint64_t given, struct text *problems)
{
    char *path = NULL;
    uint64_t sid;

    if (asprintf(&path, "%s/myid", c->data_dir) < 0) {
        abort();
    }
    if (!read_myid(path, problems, &sid)) {
        goto out_free;
    }
    if (given != 0 && sid != 0 && sid != given) {
        config_problem(problems, at, "-o myid=%llu, but %s says %llu; drop one of the two", (unsigned long long)given,
                       path, (unsigned long long)sid);
        goto out_free;
    }
    c->sid = given != 0 ? given : sid;
    if (c->sid == 0 && c->n_servers == 0) {
        c->sid = 1; /* alone: no other could have that number */
    }
    if (c->sid == 0) {
        config_problem(problems, at,
                       "%s is missing; it says which of the server.N lines is this server. Write the "
                       "number into it: echo 1 > %s (or start with -o myid=1)",
                       path, path);
    } else if (c->n_servers > 0 && config_server(c, c->sid) == NULL) {
        tell_unlisted(c, at, problems);
    }
out_free:
    free(path);
}

/* ---- all of it ---- */

static void check_peer_type(struct config *c)
{
    const struct config_server *self = config_server(c, c->sid);
    bool observer = c->peer_type != NULL && strcmp(c->peer_type, "observer") == 0;

    if (self != NULL && c->peer_type != NULL && observer != self->observer) {
        text_printf(&c->notes, "peerType=%s is not what the line server.%llu says; the line counts\n", c->peer_type,
                    (unsigned long long)c->sid);
    }
}

int config_load(struct config *c, const char *path, const struct config_overrides *overrides, struct text *problems)
{
    struct config_place at = {.file = path != NULL ? path : "standalone"};
    size_t before = problems->len;

    if (path != NULL) {
        c->path = config_strdup(path);
        read_file(c, c->path, false, problems);
    }
    if (c->dynamic_path != NULL) {
        read_file(c, c->dynamic_path, true, problems);
    }
    if (problems->len > before) {
        return -EINVAL; /* the rest would only say again what follows from these */
    }
    if (overrides->data_dir != NULL) {
        free(c->data_dir);
        c->data_dir = config_strdup(overrides->data_dir);
    } else if (path == NULL) {
        c->data_dir = config_strdup(CONFIG_STANDALONE_DIR);
    }
    (void)config_load_tls(c, &at, problems);
    config_check_servers(c, problems);
    if (c->data_dir == NULL) {
        config_problem(problems, &at, "dataDir is missing; add a line like dataDir=/var/lib/znodefs");
    } else if (config_resolve_data_dir(c, &at, problems)) {
        find_myid(c, &at, overrides->sid, problems);
        check_peer_type(c);
    }
    return problems->len > before ? -EINVAL : 0;
}
