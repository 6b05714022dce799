/*
 * Many seeds and scenarios in parallel, each in a process of its own, so that an assertion of the code under test is a
 * failing run like any other.
 */
#include "sim_runs.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A run that takes this long hangs. */
#define RUN_SECONDS_MAX 300

struct report {
    struct sim_stats stats;
    uint64_t trace_hash;
};

/* A seed, or a scenario. */
struct run {
    const char *scenario;
    uint64_t seed;
    bool twice;
};

struct child {
    struct run run;
    FILE *errors;
    pid_t pid; /* 0: free */
    int report_fd;
};

struct totals {
    struct sim_stats stats;
    uint64_t passed;
    uint64_t failed;
    struct run run_failed; /* the first one */
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

/* ---- one run in a child ---- */

static void run_seed(const struct sim_options *options, bool twice, struct report *ret_report)
{
    struct report again;

    sim_run(options, &ret_report->stats, &ret_report->trace_hash);
    if (!twice) {
        return;
    }
    sim_run(options, &again.stats, &again.trace_hash);
    if (again.trace_hash != ret_report->trace_hash) {
        fprintf(stderr, "seed %" PRIu64 ": two runs differ: %016" PRIx64 " and %016" PRIx64 "\n", options->seed,
                ret_report->trace_hash, again.trace_hash);
        exit(1);
    }
}

_Noreturn static void child_main(const struct sim_runs *o, const struct run *run, int report_fd)
{
    struct sim_options so = o->sim;
    struct report report = {.trace_hash = 0};

    (void)alarm(RUN_SECONDS_MAX);
    so.seed = run->seed;
    if (run->scenario != NULL) {
        sim_script_run(run->scenario, &so, &report.stats);
    } else {
        run_seed(&so, run->twice, &report);
    }
    if (write(report_fd, &report, sizeof(report)) != (ssize_t)sizeof(report)) {
        die("report");
    }
    exit(0);
}

static void start(const struct sim_runs *o, struct child *c, const struct run *run)
{
    int fds[2];

    c->run = *run;
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
        child_main(o, run, fds[1]);
    }
    (void)close(fds[1]);
    c->report_fd = fds[0];
}

static const char *run_name(const struct run *run, char *text, size_t size)
{
    if (run->scenario != NULL) {
        (void)snprintf(text, size, "scenario %s", run->scenario);
    } else {
        (void)snprintf(text, size, "seed %" PRIu64, run->seed);
    }
    return text;
}

static void print_replay(const struct sim_runs *o, const struct run *run)
{
    if (run->scenario != NULL) {
        printf("  replay: %s --scenario %s --trace\n", o->program, run->scenario);
    } else {
        printf("  replay: %s --seed %" PRIu64 " --ops %" PRIu64 " --faults %" PRIu64 " --trace\n", o->program,
               run->seed, o->sim.ops, o->sim.faults);
    }
}

static void print_failure(const struct sim_runs *o, const struct child *c, int status)
{
    char line[4096];

    char name[512];

    printf("FAILED %s\n", run_name(&c->run, name, sizeof(name)));
    rewind(c->errors);
    while (fgets(line, sizeof(line), c->errors) != NULL) {
        printf("  %s", line);
    }
    if (WIFSIGNALED(status)) {
        printf("  ended by signal %d (%s)%s\n", WTERMSIG(status), strsignal(WTERMSIG(status)),
               WTERMSIG(status) == SIGALRM ? ": it hangs" : "");
    }
    print_replay(o, &c->run);
    fflush(stdout);
}

static void finish(const struct sim_runs *o, struct child *c, int status, struct totals *t)
{
    struct report report;
    char name[512];
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == 0 &&
              read(c->report_fd, &report, sizeof(report)) == (ssize_t)sizeof(report);

    if (ok) {
        t->passed++;
        sim_stats_add(&t->stats, &report.stats);
        if (o->verbose) {
            printf("%s: %" PRIu64 " ops, %" PRIu64 " faults, trace hash %016" PRIx64 "\n",
                   run_name(&c->run, name, sizeof(name)), report.stats.ops, report.stats.faults, report.trace_hash);
        }
    } else {
        if (t->failed++ == 0) {
            t->run_failed = c->run;
        }
        print_failure(o, c, status);
    }
    (void)close(c->report_fd);
    (void)fclose(c->errors);
    c->pid = 0;
}

/* ---- many ---- */

struct source {
    const struct sim_runs *o;
    uint64_t *listed; /* the seeds of the file */
    size_t n_listed;
    size_t next_listed;
    size_t next_scenario;
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

/* The scenarios first, then the seeds of the file, then the others. */
static bool next_run(struct source *src, struct run *ret_run)
{
    const struct sim_runs *o = src->o;
    struct run run = {.twice = o->twice};

    if (src->next_scenario < o->n_scenarios) {
        run.scenario = o->scenarios[src->next_scenario++];
    } else if (src->next_listed < src->n_listed) {
        run.seed = src->listed[src->next_listed++];
        run.twice = o->twice || o->file_twice;
    } else if (o->seconds > 0 ? now_s() < src->until : src->left > 0) {
        src->left--;
        run.seed = src->next++;
    } else {
        return false;
    }
    *ret_run = run;
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

static void run_all(const struct sim_runs *o, struct source *src, struct totals *t)
{
    struct child children[SIM_JOBS_MAX] = {{.pid = 0}};
    struct child *c;
    unsigned running = 0;
    bool more = true;
    struct run run;
    int status;
    pid_t pid;

    for (;;) {
        while (more && running < o->jobs) {
            more = !(o->stop_at_failure && t->failed > 0) && next_run(src, &run);
            if (more) {
                start(o, find_child(children, o->jobs, 0), &run);
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
    char name[512];

    printf("%" PRIu64 " ops, %" PRIu64 " faults, %" PRIu64 " crashes, %" PRIu64 " elections, %" PRIu64
           " transactions, %" PRIu64 " calls without an outcome\n",
           st->ops, st->faults, st->crashes, st->elections, st->txns, st->timeouts);
    printf("synchronized by DIFF %" PRIu64 ", TRUNC %" PRIu64 ", SNAP %" PRIu64 " times\n", st->diffs, st->truncs,
           st->snapshots_sent);
    printf("%.0f simulated seconds in %.1f s: %.0f per second, %.0f events per second\n",
           (double)st->simulated_us / 1e6, seconds, (double)st->simulated_us / 1e6 / seconds,
           (double)st->events / seconds);
    if (t->failed > 0) {
        printf("the first to fail was %s\n", run_name(&t->run_failed, name, sizeof(name)));
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", t->passed, t->failed);
}

int sim_runs(const struct sim_runs *o)
{
    struct source src = {.o = o, .next = o->first, .left = o->seeds};
    struct totals t;
    double begun = now_s();

    memset(&t, 0, sizeof(t));
    src.until = begun + o->seconds;
    if (o->file != NULL) {
        read_file(&src, o->file);
    }
    run_all(o, &src, &t);
    free(src.listed);
    if (sim_cover_print(&t.stats) > 0 && o->covers && t.failed == 0) {
        printf("FAILED coverage\n");
        t.failed++;
    }
    print_totals(&t, now_s() - begun);
    return t.failed > 0 ? 1 : 0;
}
