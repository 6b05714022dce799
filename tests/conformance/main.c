/*
 * conformance: what each system call answers, on whatever file system it is shown.
 *
 *   conformance run DIRECTORY [UID [CASE...]]    runs the cases (all) in a directory of its own each, below DIRECTORY,
 *                                                as that user
 *   conformance tree DIRECTORY                   shows what the cases have left there
 *
 * One line for each case: its name, then its steps (step.h) or nodes, with tabs between them. Two file systems that
 * behave alike print the same.
 */
#include "step.h"
#include "tree.h"

#include <grp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>

#define CASE_SECONDS 60

static struct test *tests;
static size_t n_tests;

void test_add(const struct test *t, const char *format, ...)
{
    char *name;
    va_list args;

    tests = realloc(tests, (n_tests + 1) * sizeof(tests[0]));
    if (tests == NULL) {
        abort();
    }
    va_start(args, format);
    if (vasprintf(&name, format, args) < 0) {
        abort();
    }
    va_end(args);
    tests[n_tests] = *t;
    tests[n_tests].name = name;
    n_tests++;
}

static void add_all(void)
{
    theme_access();
    theme_data();
    theme_dirs();
    theme_execute();
    theme_handles();
    theme_links();
    theme_names();
    theme_open();
    theme_paths();
    theme_remove();
    theme_rename();
    theme_special();
    theme_times();
    theme_watch();
    theme_xattrs();
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* In the case's process. */
static void run_here(const struct test *t, uid_t uid)
{
    (void)umask(022);
    (void)alarm(CASE_SECONDS); /* what hangs shows as killed by a signal */
    if (chdir(t->name) != 0) {
        die(t->name);
    }
    if (uid != 0 && (setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0)) {
        die("take on the user");
    }
    t->run(t);
}

static void run_case(const struct test *t, uid_t uid)
{
    pid_t pid;
    int status;

    if (mkdir(t->name, 0755) != 0 || (uid != 0 && chown(t->name, uid, uid) != 0)) {
        die(t->name);
    }
    (void)fputs(t->name, stdout);
    (void)fflush(stdout);
    pid = fork();
    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        run_here(t, uid);
        _exit(0);
    }
    if (waitpid(pid, &status, 0) != pid) {
        die("waitpid");
    }
    if (WIFSIGNALED(status)) {
        step_text("killed by signal %d", WTERMSIG(status));
    } else if (status != 0) {
        step_text("exit %d", WEXITSTATUS(status));
    }
    (void)putchar('\n');
}

static bool is_among(const char *name, char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return names[0] == NULL;
}

static void run_all(uid_t uid, char *const *names)
{
    for (size_t i = 0; i < n_tests; i++) {
        if ((uid == 0 || !tests[i].root) && is_among(tests[i].name, names)) {
            run_case(&tests[i], uid);
        }
    }
}

static void tree_all(void)
{
    for (size_t i = 0; i < n_tests; i++) {
        if (access(tests[i].name, F_OK) == 0) {
            (void)fputs(tests[i].name, stdout);
            tree_show(AT_FDCWD, tests[i].name);
            (void)putchar('\n');
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        (void)fputs("usage: conformance run|tree DIRECTORY [UID [CASE...]]\n", stderr);
        return 1;
    }
    if (chdir(argv[2]) != 0) {
        die(argv[2]);
    }
    add_all();
    if (strcmp(argv[1], "run") == 0) {
        run_all(argc > 3 ? (uid_t)strtoul(argv[3], NULL, 10) : 0, argv + (argc > 3 ? 4 : 3));
    } else {
        tree_all();
    }
    for (size_t i = 0; i < n_tests; i++) {
        free((void *)(uintptr_t)tests[i].name);
    }
    free(tests);
    return ferror(stdout) != 0 || fflush(stdout) != 0 ? 2 : 0;
}
