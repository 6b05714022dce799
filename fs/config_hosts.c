/*
 * What an observer that no zoo.cfg lists is told on the command line:
 *
 *     host[:port][,host[:port]...][:/subtree]        IPv6 addresses as [addr]:port
 */
#include "config_int.h"

#include "store/txn.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS_FORM "host[:port][,host[:port]...][:/subtree], with an IPv6 address in [ ]"

/* ---- the subtree ---- */

/* Is `name` (of `len` letters) something that a directory can hold? */
static bool component_ok(const char *name, size_t len)
{
    return len <= TXN_NAME_MAX && !(len == 1 && name[0] == '.') && !(len == 2 && name[0] == '.' && name[1] == '.');
}

/* Kept without superfluous slashes, so that each look-up has a name. */
static bool parse_subtree(struct config *c, const struct config_place *at, const char *path, struct text *problems)
{
    struct text clean;

    if (strlen(path) >= PATH_MAX) {
        config_problem(problems, at, "the subtree's path has more than %d letters", PATH_MAX - 1);
        return false;
    }
    text_init(&clean);
    while (*path != '\0') {
        size_t len = strcspn(path, "/");

        if (!component_ok(path, len)) {
            config_problem(problems, at,
                           "the subtree must be written without . and .. and with names of at most %d "
                           "letters",
                           TXN_NAME_MAX);
            text_release(&clean);
            return false;
        }
        if (len > 0) {
            text_printf(&clean, "/%.*s", (int)len, path);
        }
        path += len + (path[len] == '/' ? 1 : 0);
    }
    c->subtree = clean.chars; /* NULL when it was nothing but slashes: the whole tree */
    return true;
}

/* ---- the hosts ---- */

/* `part` is cut to pieces. */
static bool add_host(struct config *c, const struct config_place *at, char *part, struct text *problems)
{
    struct config_host *grown;
    uint16_t port = CONFIG_PEER_PORT;
    char *rest = part;
    char *host = config_take_host(&rest);

    if (host == NULL) {
        config_problem(problems, at, "there is a host missing in the list; the form is " HOSTS_FORM);
        return false;
    }
    if (*rest != '\0' && !config_parse_port(rest, &port)) {
        config_problem(problems, at, "\"%s\" after the host %s is no port from 1 to 65535; the form is " HOSTS_FORM,
                       rest, host);
        return false;
    }
    if (c->n_hosts >= CONFIG_HOSTS_MAX) {
        config_problem(problems, at, "there are more than %d hosts", CONFIG_HOSTS_MAX);
        return false;
    }
    grown = realloc(c->hosts, (c->n_hosts + 1) * sizeof(*grown));
    if (grown == NULL) {
        abort();
    }
    c->hosts = grown;
    c->hosts[c->n_hosts++] = (struct config_host){.host = config_strdup(host), .port = port};
    return true;
}

int config_parse_hosts(struct config *c, const char *source, struct text *problems)
{
    struct config_place at = {.file = source};
    char *copy = config_strdup(source);
    char *slash = strchr(copy, '/');
    char *part = copy;
    bool ok = true;

    if (slash != NULL) {
        if (slash == copy || slash[-1] != ':') {
            config_problem(problems, &at, "a subtree begins with \":/\"; the form is " HOSTS_FORM);
            ok = false;
        } else {
            slash[-1] = '\0';
            ok = parse_subtree(c, &at, slash, problems);
        }
    }
    while (ok && part != NULL) {
        char *comma = strchr(part, ',');

        if (comma != NULL) {
            *comma++ = '\0';
        }
        ok = add_host(c, &at, part, problems);
        part = comma;
    }
    free(copy);
    return ok ? 0 : -EINVAL;
}

/* ---- all of it ---- */

static void check_reach(const struct config *c, const struct config_place *at, struct text *problems)
{
    size_t i;

    if (c->insecure || c->key_file != NULL || c->ssl_quorum) {
        return;
    }
    for (i = 0; i < c->n_hosts; i++) {
        if (!config_host_is_loopback(c->hosts[i].host)) {
            config_problem(problems, at,
                           "%s is not on this machine's loopback (or does not resolve): without a key whoever is on "
                           "the way there can read and change everything. Add -o keyFile=FILE, with a copy of the "
                           "other peers' key. If the network is trusted, add -o insecure=yes instead",
                           c->hosts[i].host);
            return; /* once is enough */
        }
    }
}

static void take_tls(struct config *c, const struct config_overrides *overrides)
{
    c->key_file = overrides->key_file != NULL ? config_strdup(overrides->key_file) : NULL;
    c->key_store = overrides->key_store != NULL ? config_strdup(overrides->key_store) : NULL;
    c->trust_store = overrides->trust_store != NULL ? config_strdup(overrides->trust_store) : NULL;
    c->ssl_quorum = c->key_store != NULL || c->trust_store != NULL;
    c->check_hosts = !overrides->unchecked_hosts;
}

int config_load_hosts(struct config *c, const struct config_overrides *overrides, struct text *problems)
{
    struct config_place at = {.file = "SOURCE"};
    size_t before = problems->len;

    c->insecure = overrides->insecure;
    take_tls(c, overrides);
    c->data_max = TXN_DATA_MAX_LIMIT; /* the leader's bound counts, which is not known here */
    if (overrides->peer_timeout_ms != 0) {
        c->peer_timeout_ms = overrides->peer_timeout_ms;
    }
    (void)config_load_tls(c, &at, problems);
    check_reach(c, &at, problems);
    if (overrides->data_dir != NULL) {
        c->data_dir = config_strdup(overrides->data_dir);
        (void)config_resolve_data_dir(c, &at, problems);
    } else {
        c->snap_count = 0; /* never: there is no log that a snapshot could shorten */
        c->snap_bytes = 0;
    }
    return problems->len > before ? -EINVAL : 0;
}
