/* sim_runs: many seeds and scenarios in parallel, each in a process of its own. */
#ifndef TESTS_SIM_SIM_RUNS_H
#define TESTS_SIM_SIM_RUNS_H

#include "sim.h"

#define SIM_JOBS_MAX 256

struct sim_runs {
    struct sim_options sim;
    uint64_t first;
    uint64_t seeds;
    bool twice;      /* each seed: the trace hashes must be equal */
    bool file_twice; /* only those of the file */
    bool verbose;
    bool stop_at_failure;
    bool covers; /* what was never exercised is a failure */
    unsigned jobs;
    unsigned seconds; /* as many seeds as can be run in this time; 0: `seeds` */
    const char *file; /* seeds that come before, one a line; NULL: none */
    char **scenarios; /* paths, which come first */
    size_t n_scenarios;
    const char *program;
};

/* The exit code. */
int sim_runs(const struct sim_runs *o);

#endif
