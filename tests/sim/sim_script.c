/*
 * Scenarios: an ensemble in which only happens what a file says. The network takes half a millisecond, disks as long as
 * `disk` says, nothing is left to chance, and the invariants of sim_check.c are looked at as always.
 *
 * A line is a step; `#` begins a comment. First what the ensemble is:
 *
 *   lesson N                     of design.md, section 4; none: only a case that was found
 *   servers N | observers N | unlisted          numbered from 1, the observers last; unlisted: no zoo.cfg has them
 *   window BYTES | snapcount N | segment BYTES | prealloc BYTES | retain N | timeo MS | timeout MS | disk-us US
 *   sweep N                      the whole scenario for each value of $i from 0 to N
 *
 * Then what happens (sim_script_act.c):
 *
 *   start N...                   boots them; `alone` at the end: with a configuration that lists nobody else
 *   try N                        the same, and it may lose power again while it starts
 *   refuses N TEXT               it does not start, and says TEXT
 *   kill N... | power N...       kill -9, or the machine's power: what was not synced is lost
 *   keep N PERCENT               but so much of it at the next power cut (in pieces, at random)
 *   stop N | wipe N              asked to end; its dataDir is empty afterwards (down)
 *   pause N MS                   SIGSTOP and SIGCONT
 *   clock N SECONDS | drift N PPM
 *   cut 3>1 | cut 3 | mend       holds up what is sent one way, or to and from a server; mends everything
 *   break 1 2 | halfopen 1 2     the connection ends; only 1 learns of it
 *   hold 3>1 TYPE [K]            what is sent from the next packet (after K) of this type on is held up
 *   release 3>1                  and comes now
 *   lose 3>1 TYPE [K]            the connection breaks just before that packet
 *   disk N hold | release | fail-sync | crash-after OPS | full BYTES | room
 *   flip N log|snapshot|epochs OFFSET           a bit rots: of the oldest segment, the newest snapshot
 *   rot N                        something in its memory changes
 *   submit NAME N [bounded] create|mkdir|append|set|remove|barrier [PATH [DATA]]
 *   run MS
 *
 * And what must come of it (sim_script_expect.c): `expect` now, `wait` within a minute, or `within MS` before it:
 *
 *   leader N | leader none | role N ROLE | ready N... | agree | dead N TEXT | readable N yes|no
 *   call NAME ok|pending|lost|ENAME
 *   file N PATH = DATA | file N PATH absent
 *   mark                         forgets the packets sent so far, of which
 *   sent 3>1 TYPE =|>= K         counts those
 *   order 3>1 TYPE TYPE          the second one was not sent before the first
 */
#include "sim_script.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_US (60 * SIM_S)

/* ---- words ---- */

_Noreturn void script_bad(struct sim_script *sc, const char *what)
{
    sim_fail(sc->sim, "%s", what);
}

const char *script_word(struct sim_script *sc, const struct script_step *st, unsigned i)
{
    if (i >= st->n) {
        script_bad(sc, "a word is missing");
    }
    return st->words[i];
}

bool script_is(const struct script_step *st, unsigned i, const char *word)
{
    return i < st->n && strcmp(st->words[i], word) == 0;
}

static uint64_t number_at(struct sim_script *sc, const char *text, char **end)
{
    if (!isdigit((unsigned char)text[0])) {
        script_bad(sc, "a number is expected");
    }
    return strtoull(text, end, 10);
}

uint64_t script_number(struct sim_script *sc, const struct script_step *st, unsigned i)
{
    char *end;
    uint64_t value = number_at(sc, script_word(sc, st, i), &end);

    if (*end != '\0') {
        script_bad(sc, "a number is expected");
    }
    return value;
}

static struct sim_peer *peer_at(struct sim_script *sc, const char *text, char **end)
{
    uint64_t n = number_at(sc, text, end);

    if (n == 0 || n > sc->sim->n_peers) {
        script_bad(sc, "there is no such server");
    }
    return &sc->sim->peers[n - 1];
}

struct sim_peer *script_peer(struct sim_script *sc, const struct script_step *st, unsigned i)
{
    char *end;
    struct sim_peer *p = peer_at(sc, script_word(sc, st, i), &end);

    if (*end != '\0') {
        script_bad(sc, "a server is expected");
    }
    return p;
}

void script_way(struct sim_script *sc, const struct script_step *st, unsigned i, unsigned *ret_from, unsigned *ret_to)
{
    char *end;

    *ret_from = peer_at(sc, script_word(sc, st, i), &end)->index;
    if (*end != '>') {
        script_bad(sc, "FROM>TO is expected");
    }
    *ret_to = peer_at(sc, end + 1, &end)->index;
    if (*end != '\0' || *ret_from == *ret_to) {
        script_bad(sc, "FROM>TO is expected");
    }
}

enum zab_packet_type script_packet(struct sim_script *sc, const struct script_step *st, unsigned i)
{
    const char *name = script_word(sc, st, i);
    unsigned type;

    for (type = 1; type < ZAB_PACKET_TYPE_COUNT; type++) {
        if (strcmp(zab_packet_name(type), name) == 0) {
            return type;
        }
    }
    script_bad(sc, "there is no such packet");
}

/* ---- time ---- */

void script_run_for(struct sim_script *sc, uint64_t us)
{
    struct sim *s = sc->sim;
    uint64_t until = s->now_us + us;

    /* So that there is always an event, and none long after the time. */
    sim_push(s, us, (struct sim_event){.kind = SIM_EV_PHASE});
    while (s->now_us < until) {
        sim_step(s);
    }
}

void script_until(struct sim_script *sc, const struct script_step *st,
                  bool (*is_so)(struct sim_script *sc, const struct script_step *st))
{
    struct sim *s = sc->sim;
    uint64_t until = s->now_us + sc->limit_us;
    char peers[1024];

    sim_push(s, sc->limit_us, (struct sim_event){.kind = SIM_EV_PHASE});
    while (!is_so(sc, st)) {
        if (s->now_us >= until) {
            sim_describe_peers(s, peers, sizeof(peers));
            sim_fail(s, "it is not so; peers:%s", peers);
        }
        sim_step(s);
    }
}

/* ---- what the network asks ---- */

void sim_script_on_send(struct sim *s, unsigned from, unsigned to, enum zab_packet_type type)
{
    struct sim_script *sc = s->script;

    if (sc->n_sent == SCRIPT_SENT_MAX) {
        script_bad(sc, "too many packets without a `mark`");
    }
    sc->sent[sc->n_sent++] = (struct script_sent){.from = (uint8_t)from, .to = (uint8_t)to, .type = (uint8_t)type};
}

bool sim_script_may_deliver(struct sim *s, unsigned from, unsigned to, enum zab_packet_type type)
{
    struct script_rule *rule = &s->script->rules[from][to];

    if (!rule->active || rule->type != type) {
        return true;
    }
    if (rule->skip > 0) {
        rule->skip--;
        return true;
    }
    rule->active = false;
    if (rule->cuts) {
        sim_net_lose(s, from, to);
        sim_trace(s, "LOSE %s", zab_packet_name(type));
    } else {
        rule->holding = true;
        sim_net_stall(s, from, to, 1);
        sim_trace(s, "HOLD %s", zab_packet_name(type));
    }
    return false;
}

void sim_script_where(const struct sim_script *sc, char *text, size_t size)
{
    (void)snprintf(text, size, "%s:%zu (round %" PRIu64 "): %s", sc->path, sc->at + 1, sc->value,
                   sc->at < sc->n_lines ? sc->lines[sc->at] : "the end");
}

/* ---- lines ---- */

static void read_lines(struct sim_script *sc)
{
    FILE *file = fopen(sc->path, "r");
    char line[SCRIPT_LINE];

    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", sc->path, strerror(errno));
        exit(2);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        sc->lines = realloc(sc->lines, (sc->n_lines + 1) * sizeof(*sc->lines));
        if (sc->lines == NULL) {
            abort();
        }
        sc->lines[sc->n_lines] = strdup(line);
        if (sc->lines[sc->n_lines] == NULL) {
            abort();
        }
        sc->n_lines++;
    }
    (void)fclose(file);
}

/* Puts the value of this round where $i stands, and cuts a comment off. */
static void substitute(const struct sim_script *sc, const char *line, char *text, size_t size)
{
    size_t len = 0;

    while (*line != '\0' && *line != '#' && len + 24 < size) {
        if (line[0] == '$' && line[1] == 'i') {
            len += (size_t)snprintf(text + len, size - len, "%" PRIu64, sc->value);
            line += 2;
        } else {
            text[len++] = *line++;
        }
    }
    while (len > 0 && isspace((unsigned char)text[len - 1])) {
        len--;
    }
    text[len] = '\0';
}

static void split(struct sim_script *sc, struct script_step *st)
{
    char *at = st->text;

    substitute(sc, sc->lines[sc->at], st->whole, sizeof(st->whole));
    memcpy(st->text, st->whole, sizeof(st->text));
    st->n = 0;
    while (*(at += strspn(at, " \t")) != '\0') {
        if (st->n == SCRIPT_WORDS) {
            script_bad(sc, "too many words");
        }
        st->rest[st->n] = st->whole + (at - st->text);
        st->words[st->n++] = at;
        at += strcspn(at, " \t");
        if (*at != '\0') {
            *at++ = '\0';
        }
    }
}

/* ---- the ensemble ---- */

static void set_defaults(struct sim *s)
{
    s->config = (struct sim_config){
        .n_participants = 3,
        .tick_ms = 2000,
        .peer_timeout_ms = 1000,
        .timeo_ms = 5000,
        .window_bytes = 1 << 20,
        .snap_count = 1000000,
        .snap_bytes = 1 << 30,
        .snap_retain = 3,
        .log = {.segment_bytes = 65536, .prealloc_bytes = 8192},
        .disk_us = 1000,
    };
}

/* True if the step is about what the ensemble is. */
static bool set_option(struct sim_script *sc, const struct script_step *st)
{
    struct sim_config *c = &sc->sim->config;
    uint64_t n = st->n == 2 && isdigit((unsigned char)st->words[1][0]) ? script_number(sc, st, 1) : 0;

    if (script_is(st, 0, "lesson")) {
        sc->lesson = (unsigned)n;
    } else if (script_is(st, 0, "servers")) {
        c->n_participants = (unsigned)n;
    } else if (script_is(st, 0, "observers")) {
        c->n_observers = (unsigned)n;
    } else if (script_is(st, 0, "unlisted")) {
        c->unlisted = true;
    } else if (script_is(st, 0, "window")) {
        c->window_bytes = n;
    } else if (script_is(st, 0, "snapcount")) {
        c->snap_count = n;
    } else if (script_is(st, 0, "segment")) {
        c->log.segment_bytes = n;
    } else if (script_is(st, 0, "prealloc")) {
        c->log.prealloc_bytes = n;
    } else if (script_is(st, 0, "retain")) {
        c->snap_retain = (unsigned)n;
    } else if (script_is(st, 0, "timeo")) {
        c->timeo_ms = (uint32_t)n;
    } else if (script_is(st, 0, "timeout")) {
        c->peer_timeout_ms = (uint32_t)n;
    } else if (script_is(st, 0, "disk-us")) {
        c->disk_us = n;
    } else if (script_is(st, 0, "sweep")) {
        sc->sweep = n;
    } else {
        return false;
    }
    return true;
}

static void begin(struct sim_script *sc)
{
    struct sim *s = sc->sim;
    unsigned i;

    s->n_peers = s->config.n_participants + s->config.n_observers;
    if (s->config.n_participants == 0 || s->n_peers > SIM_PEERS_MAX) {
        script_bad(sc, "too many servers, or none");
    }
    for (i = 0; i < s->n_peers; i++) {
        s->servers[i] = (struct zab_server){.sid = i + 1, .observer = i >= s->config.n_participants};
    }
    sim_check_init(s);
    for (i = 0; i < s->n_peers; i++) {
        sim_peer_init(s, i);
        s->peers[i].wall_skew_ns = 0;
        crash_disk_set_kept(s->peers[i].disk, 0);
    }
    sim_clients_init(s);
}

static void act(struct sim_script *sc, const struct script_step *st)
{
    const struct script_verb *v;

    for (v = script_acts; v->word != NULL; v++) {
        if (script_is(st, 0, v->word)) {
            v->action(sc, st);
            return;
        }
    }
    for (v = script_expects; v->word != NULL; v++) {
        if (script_is(st, 0, v->word)) {
            v->action(sc, st);
            return;
        }
    }
    script_bad(sc, "there is no such step");
}

static void run_lines(struct sim_script *sc)
{
    struct script_step st;
    bool begun = false;

    for (sc->at = 0; sc->at < sc->n_lines; sc->at++) {
        split(sc, &st);
        if (st.n == 0 || (!begun && set_option(sc, &st))) {
            continue;
        }
        if (!begun) {
            begun = true;
            begin(sc);
        }
        sc->limit_us = WAIT_US;
        sim_trace(sc->sim, "STEP %s", st.whole);
        act(sc, &st);
    }
    if (!begun) {
        script_bad(sc, "a scenario without a step");
    }
}

/* ---- all of it ---- */

static void add_up(struct sim_stats *to, const struct sim *s)
{
    uint64_t us = to->simulated_us + s->now_us;

    sim_stats_add(to, &s->stats);
    to->simulated_us = us;
}

static void run_once(struct sim_script *sc, const struct sim_options *options, struct sim_stats *ret_stats)
{
    struct sim_options own = *options;

    own.seed = sc->value;
    sc->sim = sim_new(&own);
    sc->sim->script = sc;
    set_defaults(sc->sim);
    memset(sc->rules, 0, sizeof(sc->rules));
    sc->n_sent = 0;
    run_lines(sc);
    add_up(ret_stats, sc->sim);
    sim_free(sc->sim);
    script_calls_release(sc);
    sc->sim = NULL;
}

void sim_script_run(const char *path, const struct sim_options *options, struct sim_stats *ret_stats)
{
    struct sim_script *sc = sim_alloc(sizeof(*sc));
    size_t i;

    sc->path = path;
    read_lines(sc);
    memset(ret_stats, 0, sizeof(*ret_stats));
    do {
        run_once(sc, options, ret_stats);
        sc->value++;
    } while (sc->value <= sc->sweep);
    sim_cover_lesson(ret_stats, sc->lesson);
    for (i = 0; i < sc->n_lines; i++) {
        free(sc->lines[i]);
    }
    free(sc->lines);
    free(sc);
}
