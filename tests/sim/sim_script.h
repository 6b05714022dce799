/*
 * sim_script: what the files about scenarios share. The language is drawn at the top of sim_script.c.
 */
#ifndef TESTS_SIM_SIM_SCRIPT_H
#define TESTS_SIM_SIM_SCRIPT_H

#include "sim.h"

#define SCRIPT_WORDS    24
#define SCRIPT_NAME     24
#define SCRIPT_DATA     4096
#define SCRIPT_LINE     512
#define SCRIPT_SENT_MAX 8192

/* A call that a step submits. */
struct script_call {
    struct replica_call call; /* first member */
    struct script_call *next;
    char name[SCRIPT_NAME];
    struct sim_peer *peer;
    bool pending;
    bool lost; /* its peer died first */
    struct outcome outcome;
};

/* A step's wish about packets of one type on one way. */
struct script_rule {
    bool active;
    bool cuts; /* the connection breaks before the packet; else it is held up with all behind it */
    bool holding;
    enum zab_packet_type type;
    unsigned skip; /* so many of them pass first */
};

struct script_sent {
    uint8_t from;
    uint8_t to;
    uint8_t type;
};

struct sim_script {
    struct sim *sim;
    const char *path;
    char **lines;
    size_t n_lines;
    size_t at;         /* the line under way */
    uint64_t value;    /* of this round's $i */
    uint64_t limit_us; /* of the next wait */
    unsigned lesson;
    uint64_t sweep;
    struct script_call *calls;
    struct script_rule rules[SIM_PEERS_MAX][SIM_PEERS_MAX]; /* [from][to] */
    struct script_sent sent[SCRIPT_SENT_MAX];               /* since the last `mark` */
    size_t n_sent;
};

/* The words of a line, and what stands behind each word as it was written. */
struct script_step {
    unsigned n;
    char *words[SCRIPT_WORDS];
    char text[SCRIPT_LINE];
    const char *rest[SCRIPT_WORDS]; /* from this word to the end of the line */
    char whole[SCRIPT_LINE];
};

typedef void (*script_action)(struct sim_script *sc, const struct script_step *st);

/* ---- sim_script.c ---- */

_Noreturn void script_bad(struct sim_script *sc, const char *what);
/* The word `i`, or the scenario is wrong. */
const char *script_word(struct sim_script *sc, const struct script_step *st, unsigned i);
bool script_is(const struct script_step *st, unsigned i, const char *word);
uint64_t script_number(struct sim_script *sc, const struct script_step *st, unsigned i);
struct sim_peer *script_peer(struct sim_script *sc, const struct script_step *st, unsigned i);
/* "3>1" */
void script_way(struct sim_script *sc, const struct script_step *st, unsigned i, unsigned *ret_from, unsigned *ret_to);
enum zab_packet_type script_packet(struct sim_script *sc, const struct script_step *st, unsigned i);
/* Lets `us` of simulated time pass. */
void script_run_for(struct sim_script *sc, uint64_t us);
/* Steps the simulation until `is_so` or the limit: then the scenario fails with what the step says. */
void script_until(struct sim_script *sc, const struct script_step *st,
                  bool (*is_so)(struct sim_script *sc, const struct script_step *st));

/* ---- sim_script_act.c, sim_script_call.c, sim_script_expect.c: the steps, by their first word ---- */

struct script_verb {
    const char *word;
    script_action action;
};
extern const struct script_verb script_acts[];
extern const struct script_verb script_expects[];

void script_submit(struct sim_script *sc, const struct script_step *st);
/* "ok", "pending", "lost" or an errno's name. */
const char *script_outcome(struct sim_script *sc, const struct script_step *st, unsigned i);
void script_calls_release(struct sim_script *sc);
/* The node at an absolute path in the tree of `p`, or NULL; *ret_parent and *ret_name (in `path`) say where it is or
 * would be. */
const struct node *script_node(struct sim_script *sc, const struct sim_peer *p, const char *path, uint64_t *ret_parent,
                               const char **ret_name);

#endif
