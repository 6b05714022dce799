/* What must be in the tree when every call has ended: each client's directory, the shared file, the locks. */
#include "sim_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void verify_token(struct sim_peer *p, const uint8_t *bytes, uint64_t *last)
{
    struct sim *s = p->sim;
    char text[TOKEN_LEN + 1];
    unsigned client;
    uint64_t token;

    memcpy(text, bytes, TOKEN_LEN);
    text[TOKEN_LEN] = '\0';
    if (sscanf(text, "%3u:%8" SCNu64, &client, &token) != 2 || client >= s->config.n_clients ||
        token >= s->clients[client].n_tokens) {
        sim_fail(s, "server %" PRIu64 ": the shared file has a record that nobody wrote", p->sid);
    }
    if (token + 1 <= last[client]) {
        sim_fail(s, "server %" PRIu64 ": the shared file has token %" PRIu64 " of client %u twice or out of order",
                 p->sid, token, client);
    }
    if (s->clients[client].tokens[token] != TOKEN_PRESENT) {
        sim_fail(s, "server %" PRIu64 ": the shared file has token %" PRIu64 " of client %u, which failed", p->sid,
                 token, client);
    }
    last[client] = token + 1;
}

static void verify_shared(struct sim_peer *p)
{
    struct sim *s = p->sim;
    const struct node *n = tree_by_ino(replica_tree(p->replica), s->world->shared);
    uint64_t last[SIM_CLIENTS_MAX] = {0};
    uint64_t expected = 0;
    uint32_t len = n == NULL ? 0 : n->data_len;
    uint32_t at;
    unsigned i;
    size_t j;

    if (s->world->shared == 0) {
        return;
    }
    for (i = 0; i < s->config.n_clients; i++) {
        for (j = 0; j < s->clients[i].n_tokens; j++) {
            expected += s->clients[i].tokens[j] == TOKEN_PRESENT ? 1 : 0;
        }
    }
    if (len != expected * TOKEN_LEN) {
        sim_fail(s, "server %" PRIu64 ": the shared file has %u bytes, not %" PRIu64, p->sid, len,
                 expected * TOKEN_LEN);
    }
    for (at = 0; at < len; at += TOKEN_LEN) {
        verify_token(p, n->data->bytes + at, last);
    }
}

static void verify_locks(struct sim_peer *p)
{
    const struct sim_world *w = p->sim->world;
    const struct tree *t = replica_tree(p->replica);
    char name[MODEL_NAME];
    unsigned i;

    for (i = 0; i < SIM_LOCKS && w->locks != 0; i++) {
        (void)snprintf(name, sizeof(name), "l%u", i);
        if ((tree_lookup(t, w->locks, name, strlen(name)) != NULL) != (w->holders[i] >= 0)) {
            sim_fail(p->sim, "server %" PRIu64 ": lock %u is %s", p->sid, i,
                     w->holders[i] >= 0 ? "gone from its holder" : "there without a holder");
        }
    }
}

void sim_clients_verify(struct sim_peer *p)
{
    struct sim *s = p->sim;
    char why[160];
    unsigned i;

    for (i = 0; i < s->config.n_clients; i++) {
        if (!model_matches(&s->clients[i].now, replica_tree(p->replica), why, sizeof(why))) {
            sim_fail(s, "server %" PRIu64 " lost or changed what client %u was answered: %s", p->sid, i, why);
        }
    }
    verify_shared(p);
    verify_locks(p);
}
