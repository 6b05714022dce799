/*
 * sim_client: what the files about clients share.
 *
 * A client belongs to one peer, has one call outstanding, and a directory of its own, of which it knows exactly what
 * it must contain: `now`. What a call would make of it is `next`. A call whose outcome is unknown (its peer died, it
 * was given up, no quorum for too long) leaves both possible until a barrier under the same peer has passed: then one
 * of them is what the peer shows, for good.
 */
#ifndef TESTS_SIM_SIM_CLIENT_H
#define TESTS_SIM_SIM_CLIENT_H

#include "sim.h"

#define MODEL_NODES 20
#define MODEL_DATA  512
#define MODEL_NAME  24
#define SIM_LOCKS   3
#define TOKEN_LEN   13 /* "client:number\n": one record of the shared file */

struct model_node {
    bool used;
    enum node_kind kind;
    int parent; /* index, -1: the client's directory */
    char name[MODEL_NAME];
    uint64_t ino; /* 0: not known yet */
    uint32_t len;
    uint8_t data[MODEL_DATA];
    uint32_t mode;
    uint32_t version;
    char xattr[MODEL_NAME]; /* of user.sim; empty: none */
};

struct model {
    uint64_t home; /* the directory's inode number, 0: not made yet */
    struct model_node nodes[MODEL_NODES];
};

enum client_act {
    ACT_NONE,
    ACT_PRIVATE, /* something in the client's own directory */
    ACT_HOME,    /* makes it */
    ACT_SHARED_FILE,
    ACT_LOCKS,
    ACT_APPEND_SHARED,
    ACT_LOCK,
    ACT_UNLOCK,
    ACT_KEY, /* a key that all share: see sim_keys.c */
    ACT_BARRIER,
    ACT_RESOLVE, /* a barrier after which the tree tells what became of `pending` */
};

enum token_state {
    TOKEN_UNKNOWN,
    TOKEN_PRESENT,
    TOKEN_ABSENT,
};

/* A call as it was made: the op points into it. */
struct client_op {
    enum client_act act;
    struct op op;
    struct op_range range;
    char name[MODEL_NAME];
    char new_name[MODEL_NAME];
    uint8_t data[MODEL_DATA];
    int expected; /* errno */
    int created;  /* the node of `next` that gets the outcome's inode number, -1: none */
    unsigned lock;
    uint64_t token;
    unsigned key;
    unsigned key_op; /* of its history */
};

struct sim_client {
    struct replica_call call; /* first member */
    struct sim *sim;
    unsigned index;
    unsigned peer;
    bool outstanding;
    uint64_t call_gen;
    bool unknown; /* `pending` may or may not have happened */
    struct client_op pending;
    struct client_op asked; /* the call outstanding */
    uint64_t op_hash;
    uint64_t zxid_before; /* the newest zxid committed when it was asked */
    struct model now;
    struct model next;
    uint64_t unique;
    unsigned burst;
    int lock_held;              /* -1: none */
    char lock_mark[MODEL_NAME]; /* what stands in the lock's file when it is this client's */
    uint8_t *tokens;            /* enum token_state of each token of the shared file */
    size_t n_tokens;
    size_t cap_tokens;
};

struct sim_world {
    uint64_t shared; /* inode numbers, 0: not made yet */
    uint64_t locks;
    int holders[SIM_LOCKS]; /* client, -1: none */
    struct sim_keys *keys;
};

/* ---- sim_model.c ---- */

/* Chooses something to do in the directory: fills c->asked and c->next. */
void model_choose(struct sim_client *c);
/* Does the tree show exactly `m` as the directory of `c`? If not, says where. */
bool model_matches(const struct model *m, const struct tree *t, char *why, size_t size);
/* Learns the inode numbers that `m` does not know yet. */
void model_learn(struct model *m, const struct tree *t);
/* A name or data that no other call of any client has. */
void client_unique(struct sim_client *c, const char *prefix, char *text, size_t size);

/* ---- sim_keys.c ---- */

void sim_keys_init(struct sim *s);
void sim_keys_release(struct sim *s);
/* Chooses a call on a key: fills in c->asked. False when there is none just now. */
bool sim_key_choose(struct sim_client *c, const struct tree *t);
/* What came of the call `o`: an answer; nothing that is known; it has certainly not happened. */
void sim_key_answered(struct sim_client *c, const struct client_op *o, const struct tree *t, int err);
void sim_key_unknown(struct sim_client *c, const struct client_op *o);
void sim_key_void(struct sim_client *c, const struct client_op *o);
/* No call is under way: are all histories linearizable? */
void sim_keys_verify(struct sim *s);

#endif
