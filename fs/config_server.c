#include "config_int.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define HOST_MAX 255 /* letters of a DNS name */

#define SERVER_FORM "server.N=host:peerPort:electionPort[:participant|:observer][;clientPort]"

/* ---- one line ---- */

bool config_parse_port(const char *s, uint16_t *ret_port)
{
    uint64_t number;

    if (strncmp(s, "0x", 2) == 0 || !config_parse_number(s, &number) || number < 1 || number > 65535) {
        return false;
    }
    *ret_port = (uint16_t)number;
    return true;
}

/* Cuts the host off the front of `*rest`: up to a colon, or within brackets. NULL if there is none. */
char *config_take_host(char **rest)
{
    char *host = *rest;
    char *end;

    if (*host == '[') {
        host++;
        end = strchr(host, ']');
        if (end == NULL || (end[1] != ':' && end[1] != '\0')) {
            return NULL;
        }
        *rest = end[1] == ':' ? end + 2 : end + 1;
    } else {
        end = strchr(host, ':');
        *rest = end != NULL ? end + 1 : host + strlen(host);
    }
    if (end != NULL) {
        *end = '\0';
    }
    return *host != '\0' && strlen(host) <= HOST_MAX ? host : NULL;
}

/* The next part up to a colon, "" when there is none. */
static char *take_part(char **rest)
{
    char *part = *rest;
    char *end = strchr(part, ':');

    if (end != NULL) {
        *end = '\0';
        *rest = end + 1;
    } else {
        *rest = part + strlen(part);
    }
    return part;
}

static bool check_client(const struct config_place *at, char *client, struct text *problems)
{
    char *colon = strrchr(client, ':');
    uint16_t port;

    if (!config_parse_port(colon != NULL ? colon + 1 : client, &port)) {
        config_problem(problems, at, "the clientPort \"%s\" after the \";\" is no port from 1 to 65535", client);
        return false;
    }
    return true; /* checked, but nothing listens there yet */
}

static bool check_host(const struct config_place *at, const char *host, const char *after, struct text *problems)
{
    if (host == NULL) {
        config_problem(problems, at, "there is no host in it; the form is " SERVER_FORM);
        return false;
    }
    if (strchr(host, '|') != NULL || strchr(after, '|') != NULL) {
        config_problem(problems, at, "several addresses for one server are not there yet; keep one");
        return false;
    }
    return true;
}

static bool parse_ports(struct config_server *s, const struct config_place *at, char *rest, struct text *problems)
{
    const char *peer = take_part(&rest);
    const char *election = take_part(&rest);
    const char *role = take_part(&rest);

    if (*peer == '\0' || *election == '\0' || *rest != '\0') {
        config_problem(problems, at,
                       "\"%s\" is not followed by two ports; the form is " SERVER_FORM ", with an IPv6 address in [ ]",
                       s->host);
        return false;
    }
    if (!config_parse_port(peer, &s->peer_port) || !config_parse_port(election, &s->election_port)) {
        config_problem(problems, at, "the port \"%s\" is no number from 1 to 65535",
                       config_parse_port(peer, &s->peer_port) ? election : peer);
        return false;
    }
    s->observer = strcmp(role, "observer") == 0;
    if (*role != '\0' && !s->observer && strcmp(role, "participant") != 0) {
        config_problem(problems, at, "\"%s\" is neither participant nor observer", role);
        return false;
    }
    return true;
}

/* `value` is cut to pieces. */
static bool parse_server(struct config_server *s, const struct config_place *at, char *value, struct text *problems)
{
    char *client = strchr(value, ';');
    char *rest = value;
    char *host;

    if (client != NULL) {
        *client++ = '\0';
        if (!check_client(at, client, problems)) {
            return false;
        }
    }
    host = config_take_host(&rest);
    if (!check_host(at, host, rest, problems)) {
        return false;
    }
    s->host = host;
    return parse_ports(s, at, rest, problems);
}

bool config_add_server(struct config *c, const struct config_place *at, const char *number, const char *value,
                       struct text *problems)
{
    struct config_server s = {.file = at->file, .line = at->line};
    const struct config_server *other;
    struct config_server *grown;
    char *copy;

    if (!config_parse_number(number, &s.sid) || s.sid < 1 || s.sid > CONFIG_SID_MAX) {
        config_problem(problems, at, "server.%s: the number of a server is from 1 to %d", number, CONFIG_SID_MAX);
        return false;
    }
    other = config_server(c, s.sid);
    if (other != NULL) {
        config_problem(problems, at, "server.%llu is given already in %s:%u; every server has a number of its own",
                       (unsigned long long)s.sid, other->file, other->line);
        return false;
    }
    copy = config_strdup(value);
    if (!parse_server(&s, at, copy, problems)) {
        free(copy);
        return false;
    }
    s.host = config_strdup(s.host);
    free(copy);
    grown = realloc(c->servers, (c->n_servers + 1) * sizeof(*grown));
    if (grown == NULL) {
        abort();
    }
    c->servers = grown;
    c->servers[c->n_servers++] = s;
    return true;
}

/* ---- all lines together ---- */

static bool shares(const struct config_server *a, const struct config_server *b, uint16_t *ret_port)
{
    const uint16_t of_a[] = {a->peer_port, a->election_port};
    size_t i;

    if (strcasecmp(a->host, b->host) != 0) {
        return false;
    }
    for (i = 0; i < 2; i++) {
        if (of_a[i] == b->peer_port || of_a[i] == b->election_port) {
            *ret_port = of_a[i];
            return true;
        }
    }
    return false;
}

static struct config_place place(const struct config_server *s)
{
    return (struct config_place){.file = s->file, .line = s->line};
}

static void check_shared_ports(const struct config *c, struct text *problems)
{
    size_t i;
    size_t j;

    for (i = 0; i < c->n_servers; i++) {
        const struct config_server *s = &c->servers[i];
        struct config_place at = place(s);
        uint16_t port;

        if (s->peer_port == s->election_port) {
            config_problem(problems, &at,
                           "the peer port and the election port of server.%llu are both %u; give it two, "
                           "for example %s:%u:%u",
                           (unsigned long long)s->sid, s->peer_port, s->host, 2887u + (unsigned)s->sid,
                           3887u + (unsigned)s->sid);
        }
        for (j = 0; j < i; j++) {
            const struct config_server *o = &c->servers[j];

            if (shares(s, o, &port)) {
                config_problem(problems, &at,
                               "server.%llu and server.%llu (%s:%u) both use %s:%u; servers on one host need "
                               "ports of their own, for example %s:%u:%u and %s:%u:%u",
                               (unsigned long long)s->sid, (unsigned long long)o->sid, o->file, o->line, s->host, port,
                               o->host, 2887u + (unsigned)o->sid, 3887u + (unsigned)o->sid, s->host,
                               2887u + (unsigned)s->sid, 3887u + (unsigned)s->sid);
            }
        }
    }
}

static bool address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;

        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;

        return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
    }
    return false;
}

bool config_host_is_loopback(const char *host)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    struct addrinfo *a;
    bool loopback = true;

    if (getaddrinfo(host, NULL, &hints, &list) != 0) {
        return false;
    }
    for (a = list; a != NULL; a = a->ai_next) {
        loopback = loopback && address_is_loopback(a->ai_addr);
    }
    freeaddrinfo(list);
    return loopback;
}

#define INSECURE_MEANS                                                                                                 \
    "without a key anyone who reaches the peer port can read and change everything. Make one, copy it to every "       \
    "peer, and name it: znodefs --genkey /etc/znodefs.key, and the line znodefs.keyFile=/etc/znodefs.key (or "         \
    "certificates, see README). If only trusted machines reach the port, add the line znodefs.insecure=yes instead"

static void check_reach(const struct config *c, struct text *problems)
{
    size_t i;

    if (c->insecure || c->key_file != NULL || c->ssl_quorum || c->n_servers == 0) {
        return;
    }
    if (c->listen_all) {
        config_problem(problems, &(struct config_place){.file = c->path},
                       "quorumListenOnAllIPs=true listens outside "
                       "loopback: " INSECURE_MEANS);
        return;
    }
    for (i = 0; i < c->n_servers; i++) {
        const struct config_server *s = &c->servers[i];
        struct config_place at = place(s);

        if (!config_host_is_loopback(s->host)) {
            config_problem(problems, &at, "%s is not on this machine's loopback (or does not resolve): " INSECURE_MEANS,
                           s->host);
            return; /* once is enough */
        }
    }
}

void config_check_servers(struct config *c, struct text *problems)
{
    size_t participants = 0;
    size_t i;

    check_shared_ports(c, problems);
    check_reach(c, problems);
    for (i = 0; i < c->n_servers; i++) {
        participants += c->servers[i].observer ? 0 : 1;
    }
    if (c->n_servers > 0 && participants == 0) {
        struct config_place at = place(&c->servers[0]);

        config_problem(problems, &at, "every server is an observer; at least one must be a participant");
    } else if (participants > 0 && participants % 2 == 0) {
        text_printf(&c->notes, "%zu participants survive the loss of %zu, as %zu would; an odd number is better\n",
                    participants, participants / 2 - 1, participants - 1);
    }
}
