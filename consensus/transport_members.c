/*
 * Whom an unlisted observer is to dial besides the hosts it was given: a participant that it reaches tells it of the
 * others, as its own zoo.cfg has them. So one host is enough, whoever leads; and a participant that moves is found at
 * its new address as soon as one of the others knows it.
 *
 * They travel as text in the answering greeting, a line each: "sid host port\n".
 */
#include "transport_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 320 /* with the longest name DNS knows */

size_t members_text(const struct transport *t, char *text, size_t size)
{
    size_t len = 0;
    size_t i;

    for (i = 0; i < t->n_links; i++) {
        const struct peer_link *pl = &t->links[i];
        int n;

        if (pl->observer) {
            continue;
        }
        n = snprintf(text + len, size - len, "%" PRIu64 " %s %u\n", pl->sid, pl->host, pl->port);
        if (n < 0 || (size_t)n >= size - len) {
            return len; /* the observer hears of some only: it may be given more hosts */
        }
        len += (size_t)n;
    }
    return len;
}

/* A host of the command line, or one learned of already. */
static struct peer_link *find_host(struct transport *t, const char *host, uint16_t port)
{
    struct peer_link *pl;
    size_t i;

    for (i = 0; i < t->n_links; i++) {
        if (t->links[i].port == port && strcmp(t->links[i].host, host) == 0) {
            return &t->links[i];
        }
    }
    for (pl = t->learned; pl != NULL; pl = pl->next_learned) {
        if (pl->port == port && strcmp(pl->host, host) == 0) {
            return pl;
        }
    }
    return NULL;
}

static struct peer_link *find_member(struct transport *t, uint64_t sid)
{
    struct peer_link *pl;

    for (pl = t->learned; pl != NULL && pl->member_sid != sid; pl = pl->next_learned) {
    }
    return pl;
}

static void learn(struct transport *t, uint64_t sid, const char *host, uint16_t port)
{
    struct peer_link *pl = find_member(t, sid);

    if (find_host(t, host, port) != NULL) {
        return;
    }
    if (pl != NULL) {
        link_move(pl, host, port);
        return;
    }
    if (t->n_learned >= MEMBERS_MAX) {
        return;
    }
    link_new_learned(t, sid, host, port);
}

/* Takes one line, which is cut to pieces. What makes no sense is passed over: it is only a hint. */
static void learn_line(struct transport *t, char *line)
{
    char *host;
    char *space;
    char *end;
    uint64_t sid = strtoull(line, &end, 10);
    unsigned long port;

    host = end + 1;
    space = *end == ' ' ? strrchr(host, ' ') : NULL;
    if (sid == 0 || sid == t->sid || zab_sid_is_unlisted(sid) || space == NULL || space == host) {
        return;
    }
    *space = '\0';
    port = strtoul(space + 1, &end, 10);
    if (*end == '\0' && port >= 1 && port <= UINT16_MAX) {
        learn(t, sid, host, (uint16_t)port);
    }
}

void members_learn(struct transport *t, const char *text, size_t len)
{
    const char *end = text + len;

    assert(t->observer);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        char line[LINE_BYTES];
        size_t n;

        if (newline == NULL) {
            return;
        }
        n = (size_t)(newline - text);
        if (n < sizeof(line)) {
            memcpy(line, text, n);
            line[n] = '\0';
            learn_line(t, line);
        }
        text = newline + 1;
    }
}
