/* What runs have exercised: each type of packet, lesson, fault, operation and branch is counted; none may stay at zero.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const branch_names[SIM_BRANCH_COUNT] = {
    [SIM_BRANCH_DUPLICATE] = "duplicate answered",
    [SIM_BRANCH_EROFS] = "EROFS",
    [SIM_BRANCH_ETIMEDOUT] = "ETIMEDOUT",
    [SIM_BRANCH_BARRIER_EIO] = "EIO of a barrier",
    [SIM_BRANCH_LOST] = "call lost",
    [SIM_BRANCH_SNAPSHOT] = "snapshot written",
    [SIM_BRANCH_TRUNCATE] = "log truncated",
    [SIM_BRANCH_RESET] = "log replaced",
    [SIM_BRANCH_REPLAY] = "log replayed",
    [SIM_BRANCH_TAIL] = "tail not shown",
    [SIM_BRANCH_UNREADABLE] = "not readable",
    [SIM_BRANCH_ENDED] = "ended by itself",
    [SIM_BRANCH_ROOM_AGAIN] = "room again",
    [SIM_BRANCH_DISCONNECT] = "disconnected",
    [SIM_BRANCH_RESYNC] = "wiped and synchronized",
    [SIM_BRANCH_LINEARIZED] = "history linearizable",
};

void sim_cover(struct sim *s, unsigned point)
{
    s->stats.cover[point]++;
}

void sim_cover_branch(struct sim *s, enum sim_branch branch)
{
    sim_cover(s, SIM_COVER_BRANCH + branch);
}

void sim_cover_lesson(struct sim_stats *stats, unsigned lesson)
{
    if (lesson >= 1 && lesson <= SIM_LESSONS) {
        stats->cover[SIM_COVER_LESSON + lesson]++;
    }
}

void sim_stats_add(struct sim_stats *to, const struct sim_stats *from)
{
    unsigned i;

    to->events += from->events;
    to->ops += from->ops;
    to->faults += from->faults;
    to->elections += from->elections;
    to->txns += from->txns;
    to->crashes += from->crashes;
    to->snapshots_sent += from->snapshots_sent;
    to->truncs += from->truncs;
    to->diffs += from->diffs;
    to->timeouts += from->timeouts;
    to->simulated_us += from->simulated_us;
    for (i = 0; i < SIM_COVER_COUNT; i++) {
        to->cover[i] += from->cover[i];
    }
}

static const char *packet_name(unsigned i)
{
    return i >= 1 && i < ZAB_PACKET_TYPE_COUNT ? zab_packet_name(i) : NULL;
}

static const char *lesson_name(unsigned i)
{
    static char text[8];

    if (i < 1 || i > SIM_LESSONS) {
        return NULL;
    }
    (void)snprintf(text, sizeof(text), "%u:", i);
    return text;
}

static const char *op_name(unsigned i)
{
    return i < OP_KIND_COUNT ? op_kind_name(i) : NULL;
}

static const char *branch_name(unsigned i)
{
    return i < SIM_BRANCH_COUNT ? branch_names[i] : NULL;
}

struct group {
    const char *title;
    unsigned first;
    unsigned end;
    const char *(*name)(unsigned i); /* NULL: not counted */
};

static const struct group groups[] = {
    {"packets received", SIM_COVER_PACKET, SIM_COVER_LESSON, packet_name},
    {"scenarios by lesson", SIM_COVER_LESSON, SIM_COVER_FAULT, lesson_name},
    {"faults", SIM_COVER_FAULT, SIM_COVER_OP, sim_fault_name},
    {"operations", SIM_COVER_OP, SIM_COVER_BRANCH, op_name},
    {"branches", SIM_COVER_BRANCH, SIM_COVER_COUNT, branch_name},
};

unsigned sim_cover_print(const struct sim_stats *stats)
{
    const struct group *g;
    unsigned missing = 0;
    unsigned i;

    for (g = groups; g < groups + sizeof(groups) / sizeof(groups[0]); g++) {
        printf("%s:", g->title);
        for (i = g->first; i < g->end; i++) {
            if (g->name(i - g->first) != NULL) {
                printf("%s %s %" PRIu64, i > g->first + 1 ? "," : "", g->name(i - g->first), stats->cover[i]);
            }
        }
        putchar('\n');
    }
    for (g = groups; g < groups + sizeof(groups) / sizeof(groups[0]); g++) {
        for (i = g->first; i < g->end; i++) {
            if (g->name(i - g->first) != NULL && stats->cover[i] == 0) {
                printf("NEVER EXERCISED: %s: %s\n", g->title, g->name(i - g->first));
                missing++;
            }
        }
    }
    return missing;
}
