/* The command line. */
#include "sim_runs.h"

#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPS_DEFAULT    2000
#define FAULTS_DEFAULT 50
#define SEEDS_DEFAULT  100
/* What --ci runs: the scenarios, the seeds that once found something, each twice, and some others. */
#define CI_FILE  "tests/sim/regression-seeds.txt"
#define CI_GLOB  "tests/sim/scenarios/*.txt"
#define CI_SEEDS 500

struct options {
    struct sim_runs runs;
    bool single;
    glob_t globbed;
};

/* In this process, for a debugger and for the trace. */
static int run_single(const struct sim_runs *o)
{
    struct sim_stats stats;
    uint64_t trace_hash = 0;

    if (o->n_scenarios > 0) {
        sim_script_run(o->scenarios[0], &o->sim, &stats);
        printf("scenario %s: it is so\n", o->scenarios[0]);
    } else {
        sim_run(&o->sim, &stats, &trace_hash);
        printf("seed %" PRIu64 ": trace hash %016" PRIx64 "\n", o->sim.seed, trace_hash);
    }
    printf("%" PRIu64 " ops, %" PRIu64 " faults, %.1f simulated seconds\n", stats.ops, stats.faults,
           (double)stats.simulated_us / 1e6);
    return 0;
}

static void all_scenarios(struct options *o)
{
    if (glob(CI_GLOB, 0, NULL, &o->globbed) != 0) {
        fprintf(stderr, "znodefs-sim: no %s: run it where the sources are\n", CI_GLOB);
        exit(2);
    }
    o->runs.scenarios = o->globbed.gl_pathv;
    o->runs.n_scenarios = o->globbed.gl_pathc;
}

/* ---- options ---- */

static const char usage_text[] =
    "usage: znodefs-sim [--seeds N] [--first S] [--file FILE] [--seconds T] [--jobs J] [--twice] [--verbose]\n"
    "       znodefs-sim --seed S [--trace]\n"
    "       znodefs-sim --scenario FILE [--trace]\n"
    "       znodefs-sim --ci\n"
    "  --ci           all scenarios, the seeds of tests/sim/regression-seeds.txt, each twice, and 500 others; what is\n"
    "                 never exercised is a failure\n"
    "  --scenarios    those of tests/sim/scenarios and, unless --seeds says so, no seed\n"
    "  --seeds N      how many seeds (100), beginning with --first S (1)\n"
    "  --file FILE    the seeds in FILE, one a line, before them\n"
    "  --seconds T    as many seeds as can be run in T seconds\n"
    "  --jobs J       so many at a time (one per processor)\n"
    "  --twice        run each seed twice: the trace hashes must be equal\n"
    "  --stop         begin no other seed after one has failed\n"
    "  --outcomes     without the checks that look at disks: find only what users could notice\n"
    "  --verbose      a line for each seed\n"
    "  --seed S       one seed, in this process; --trace prints every event; --scenario FILE the same\n"
    "  --ops N        operations of each seed (2000); --faults N its faults (50)\n";

_Noreturn static void usage(void)
{
    fputs(usage_text, stderr);
    exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value > max) {
        usage();
    }
    return value;
}

static const struct option long_options[] = {
    {"seeds", required_argument, NULL, 'n'},
    {"first", required_argument, NULL, 'f'},
    {"seed", required_argument, NULL, 's'},
    {"trace", no_argument, NULL, 't'},
    {"jobs", required_argument, NULL, 'j'},
    {"ops", required_argument, NULL, 'o'},
    {"faults", required_argument, NULL, 'F'},
    {"seconds", required_argument, NULL, 'T'},
    {"file", required_argument, NULL, 'l'},
    {"twice", no_argument, NULL, '2'},
    {"outcomes", no_argument, NULL, 'O'},
    {"ci", no_argument, NULL, 'c'},
    {"scenario", required_argument, NULL, 'S'},
    {"scenarios", no_argument, NULL, 'a'},
    {"verbose", no_argument, NULL, 'v'},
    {"stop", no_argument, NULL, 'x'},
    {NULL, 0, NULL, 0},
};

static void set_ci(struct options *o)
{
    o->runs.file = CI_FILE;
    o->runs.file_twice = true;
    o->runs.seeds = CI_SEEDS;
    o->runs.covers = true;
    all_scenarios(o);
}

static void set_option(struct options *o, int option)
{
    static char *scenario;
    struct sim_runs *r = &o->runs;

    switch (option) {
    case 'n':
        r->seeds = number(optarg, UINT64_MAX);
        return;
    case 'f':
        r->first = number(optarg, UINT64_MAX);
        return;
    case 's':
        r->sim.seed = number(optarg, UINT64_MAX);
        o->single = true;
        return;
    case 'S':
        scenario = optarg;
        r->scenarios = &scenario;
        r->n_scenarios = 1;
        o->single = true;
        return;
    case 'a':
        r->seeds = 0;
        all_scenarios(o);
        return;
    case 't':
        r->sim.trace = true;
        return;
    case 'j':
        r->jobs = (unsigned)number(optarg, SIM_JOBS_MAX);
        return;
    case 'o':
        r->sim.ops = number(optarg, 100000000);
        return;
    case 'F':
        r->sim.faults = number(optarg, 100000000);
        return;
    case 'T':
        r->seconds = (unsigned)number(optarg, 1000000);
        return;
    case 'l':
        r->file = optarg;
        return;
    case '2':
        r->twice = true;
        return;
    case 'O':
        r->sim.outcomes_only = true;
        return;
    case 'c':
        set_ci(o);
        return;
    case 'v':
        r->verbose = true;
        return;
    case 'x':
        r->stop_at_failure = true;
        return;
    default:
        usage();
    }
}

int main(int argc, char **argv)
{
    struct options o = {.runs = {.first = 1, .seeds = SEEDS_DEFAULT, .program = argv[0]}};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int option;
    int rv;

    o.runs.sim.ops = OPS_DEFAULT;
    o.runs.sim.faults = FAULTS_DEFAULT;
    o.runs.jobs = processors > 0 && processors <= SIM_JOBS_MAX ? (unsigned)processors : 1;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        set_option(&o, option);
    }
    if (optind != argc || o.runs.jobs == 0) {
        usage();
    }
    rv = o.single ? run_single(&o.runs) : sim_runs(&o.runs);
    if (o.globbed.gl_pathv != NULL) {
        globfree(&o.globbed);
    }
    return rv;
}
