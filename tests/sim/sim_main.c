/*
 * The command line: many seeds in parallel, each in a process of its own, so that an assertion of the code under test
 * is a failing seed like any other.
 */
#include "sim.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define OPS_DEFAULT    2000
#define FAULTS_DEFAULT 50
#define SEEDS_DEFAULT  100
#define JOBS_MAX       256
/* A seed that runs for this long hangs. */
#define SEED_SECONDS_MAX 120
/* What --ci runs: the seeds that once found something, each twice, and some others. */
#define CI_FILE  "tests/sim/regression-seeds.txt"
#define CI_SEEDS 200

struct options {
    struct sim_options sim;
    uint64_t first;
    uint64_t seeds;
    bool single;
    bool twice;
    bool file_twice;
    bool verbose;
    bool stop_at_failure;
    unsigned jobs;
    unsigned seconds;
    const char *file;
    const char *program;
};

struct report {
    struct sim_stats stats;
    uint64_t trace_hash;
};

struct child {
    uint64_t seed;
    FILE *errors;
    pid_t pid; /* 0: free */
    int report_fd;
};

struct totals {
    struct sim_stats stats;
    uint64_t passed;
    uint64_t failed;
    uint64_t seed_failed; /* the first one */
};

static double now_s(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "znodefs-sim: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* ---- one seed in a child ---- */

_Noreturn static void child_main(const struct options *o, uint64_t seed, bool twice, int report_fd)
{
    struct sim_options so = o->sim;
    struct report report;
    struct report again;

    so.seed = seed;
    (void)alarm(SEED_SECONDS_MAX);
    sim_run(&so, &report.stats, &report.trace_hash);
    if (twice) {
        sim_run(&so, &again.stats, &again.trace_hash);
        if (again.trace_hash != report.trace_hash) {
            fprintf(stderr, "seed %" PRIu64 ": two runs differ: %016" PRIx64 " and %016" PRIx64 "\n", seed,
                    report.trace_hash, again.trace_hash);
            exit(1);
        }
    }
    if (write(report_fd, &report, sizeof(report)) != (ssize_t)sizeof(report)) {
        die("report");
    }
    exit(0);
}

static void start(const struct options *o, struct child *c, uint64_t seed, bool twice)
{
    int fds[2];

    c->seed = seed;
    c->errors = tmpfile();
    if (c->errors == NULL || pipe(fds) != 0) {
        die("start a seed");
    }
    fflush(stdout);
    c->pid = fork();
    if (c->pid < 0) {
        die("fork");
    }
    if (c->pid == 0) {
        (void)close(fds[0]);
        if (dup2(fileno(c->errors), STDERR_FILENO) < 0) {
            die("dup2");
        }
        child_main(o, seed, twice, fds[1]);
    }
    (void)close(fds[1]);
    c->report_fd = fds[0];
}

static void print_failure(const struct options *o, const struct child *c, int status)
{
    char line[4096];

    printf("FAILED seed %" PRIu64 "\n", c->seed);
    rewind(c->errors);
    while (fgets(line, sizeof(line), c->errors) != NULL) {
        printf("  %s", line);
    }
    if (WIFSIGNALED(status)) {
        printf("  ended by signal %d (%s)%s\n", WTERMSIG(status), strsignal(WTERMSIG(status)),
               WTERMSIG(status) == SIGALRM ? ": it hangs" : "");
    }
    printf("  replay: %s --seed %" PRIu64 " --ops %" PRIu64 " --faults %" PRIu64 " --trace\n", o->program, c->seed,
           o->sim.ops, o->sim.faults);
    fflush(stdout);
}

static void add_stats(struct sim_stats *to, const struct sim_stats *from)
{
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
}

static void finish(const struct options *o, struct child *c, int status, struct totals *t)
{
    struct report report;
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
              read(c->report_fd, &report, sizeof(report)) == (ssize_t)sizeof(report);

    if (ok) {
        t->passed++;
        add_stats(&t->stats, &report.stats);
        if (o->verbose) {
            printf("seed %" PRIu64 ": %" PRIu64 " ops, %" PRIu64 " faults, trace hash %016" PRIx64 "\n", c->seed,
                   report.stats.ops, report.stats.faults, report.trace_hash);
        }
    } else {
        if (t->failed++ == 0) {
            t->seed_failed = c->seed;
        }
        print_failure(o, c, status);
    }
    (void)close(c->report_fd);
    (void)fclose(c->errors);
    c->pid = 0;
}

/* ---- many ---- */

struct source {
    const struct options *o;
    uint64_t *listed; /* the seeds of the file */
    size_t n_listed;
    size_t next_listed;
    uint64_t next;
    uint64_t left;
    double until;
};

/* Read whole, before the first fork: a child that exits would move the position in a file that it shares. A line is
 * a seed, then what anyone wants to say about it. */
static void read_file(struct source *src, const char *name)
{
    FILE *file = fopen(name, "r");
    char line[512];
    char *end;
    uint64_t seed;

    if (file == NULL) {
        die(name);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        seed = strtoull(line, &end, 10);
        if (end != line) {
            src->listed = realloc(src->listed, (src->n_listed + 1) * sizeof(*src->listed));
            if (src->listed == NULL) {
                abort();
            }
            src->listed[src->n_listed++] = seed;
        }
    }
    (void)fclose(file);
}

/* The seeds of the file first, then the others. */
static bool next_seed(struct source *src, uint64_t *ret_seed, bool *ret_twice)
{
    if (src->next_listed < src->n_listed) {
        *ret_seed = src->listed[src->next_listed++];
        *ret_twice = src->o->twice || src->o->file_twice;
        return true;
    }
    if (src->o->seconds > 0 ? now_s() >= src->until : src->left == 0) {
        return false;
    }
    src->left--;
    *ret_seed = src->next++;
    *ret_twice = src->o->twice;
    return true;
}

static struct child *find_child(struct child *children, unsigned n, pid_t pid)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        if (children[i].pid == pid) {
            return &children[i];
        }
    }
    return NULL;
}

static void run_seeds(const struct options *o, struct source *src, struct totals *t)
{
    struct child children[JOBS_MAX] = {{0}};
    struct child *c;
    unsigned running = 0;
    bool more = true;
    bool twice;
    uint64_t seed;
    int status;
    pid_t pid;

    for (;;) {
        while (more && running < o->jobs) {
            more = !(o->stop_at_failure && t->failed > 0) && next_seed(src, &seed, &twice);
            if (more) {
                start(o, find_child(children, o->jobs, 0), seed, twice);
                running++;
            }
        }
        if (running == 0) {
            return;
        }
        pid = wait(&status);
        if (pid < 0) {
            die("wait");
        }
        c = find_child(children, o->jobs, pid);
        if (c != NULL) {
            finish(o, c, status, t);
            running--;
        }
    }
}

static void print_totals(const struct totals *t, double seconds)
{
    const struct sim_stats *st = &t->stats;

    printf("%" PRIu64 " ops, %" PRIu64 " faults, %" PRIu64 " crashes, %" PRIu64 " elections, %" PRIu64
           " transactions, %" PRIu64 " calls without an outcome\n",
           st->ops, st->faults, st->crashes, st->elections, st->txns, st->timeouts);
    printf("synchronized by DIFF %" PRIu64 ", TRUNC %" PRIu64 ", SNAP %" PRIu64 " times\n", st->diffs, st->truncs,
           st->snapshots_sent);
    printf("%.0f simulated seconds in %.1f s: %.0f per second, %.0f events per second\n",
           (double)st->simulated_us / 1e6, seconds, (double)st->simulated_us / 1e6 / seconds,
           (double)st->events / seconds);
    if (t->failed > 0) {
        printf("the first failing seed was %" PRIu64 "\n", t->seed_failed);
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", t->passed, t->failed);
}

static int run_many(const struct options *o)
{
    struct source src = {.o = o, .next = o->first, .left = o->seeds};
    struct totals t;
    double begun = now_s();

    memset(&t, 0, sizeof(t));
    src.until = begun + o->seconds;
    if (o->file != NULL) {
        read_file(&src, o->file);
    }
    run_seeds(o, &src, &t);
    free(src.listed);
    print_totals(&t, now_s() - begun);
    return t.failed > 0 ? 1 : 0;
}

/* In this process, for a debugger and for the trace. */
static int run_single(const struct options *o)
{
    struct totals t;
    uint64_t trace_hash;
    double begun = now_s();

    memset(&t, 0, sizeof(t));
    sim_run(&o->sim, &t.stats, &trace_hash);
    printf("seed %" PRIu64 ": trace hash %016" PRIx64 "\n", o->sim.seed, trace_hash);
    t.passed = 1;
    print_totals(&t, now_s() - begun);
    return 0;
}

/* ---- options ---- */

static const char usage_text[] =
    "usage: znodefs-sim [--seeds N] [--first S] [--file FILE] [--seconds T] [--jobs J] [--twice] [--verbose]\n"
    "       znodefs-sim --seed S [--trace]\n"
    "       znodefs-sim --ci\n"
    "  --ci           the seeds of tests/sim/regression-seeds.txt, each twice, and 200 others\n"
    "  --seeds N      how many seeds (100), beginning with --first S (1)\n"
    "  --file FILE    the seeds in FILE, one a line, before them\n"
    "  --seconds T    as many seeds as can be run in T seconds\n"
    "  --jobs J       so many at a time (one per processor)\n"
    "  --twice        run each seed twice: the trace hashes must be equal\n"
    "  --stop         begin no other seed after one has failed\n"
    "  --outcomes     without the checks that look at disks: find only what users could notice\n"
    "  --verbose      a line for each seed\n"
    "  --seed S       one seed, in this process; --trace prints every event\n"
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
    {"verbose", no_argument, NULL, 'v'},
    {"stop", no_argument, NULL, 'x'},
    {NULL, 0, NULL, 0},
};

static void set_option(struct options *o, int option)
{
    switch (option) {
    case 'n':
        o->seeds = number(optarg, UINT64_MAX);
        return;
    case 'f':
        o->first = number(optarg, UINT64_MAX);
        return;
    case 's':
        o->sim.seed = number(optarg, UINT64_MAX);
        o->single = true;
        return;
    case 't':
        o->sim.trace = true;
        return;
    case 'j':
        o->jobs = (unsigned)number(optarg, JOBS_MAX);
        return;
    case 'o':
        o->sim.ops = number(optarg, 100000000);
        return;
    case 'F':
        o->sim.faults = number(optarg, 100000000);
        return;
    case 'T':
        o->seconds = (unsigned)number(optarg, 1000000);
        return;
    case 'l':
        o->file = optarg;
        return;
    case '2':
        o->twice = true;
        return;
    case 'O':
        o->sim.outcomes_only = true;
        return;
    case 'c':
        o->file = CI_FILE;
        o->file_twice = true;
        o->seeds = CI_SEEDS;
        return;
    case 'v':
        o->verbose = true;
        return;
    case 'x':
        o->stop_at_failure = true;
        return;
    default:
        usage();
    }
}

int main(int argc, char **argv)
{
    struct options o = {.first = 1, .seeds = SEEDS_DEFAULT, .program = argv[0]};
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int option;

    o.sim.ops = OPS_DEFAULT;
    o.sim.faults = FAULTS_DEFAULT;
    o.jobs = processors > 0 && processors <= JOBS_MAX ? (unsigned)processors : 1;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        set_option(&o, option);
    }
    if (optind != argc || o.jobs == 0) {
        usage();
    }
    return o.single ? run_single(&o) : run_many(&o);
}
