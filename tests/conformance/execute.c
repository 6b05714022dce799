/* execve(2) of what is on the file system, and what may not be done to it meanwhile. */
#include "step.h"

#include <sys/wait.h>

static int copy_program(const char *from, const char *to)
{
    char bytes[65536];
    int in = open(from, O_RDONLY);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    ssize_t n;

    if (in < 0 || out < 0) {
        return -1;
    }
    while ((n = read(in, bytes, sizeof(bytes))) > 0) {
        if (write(out, bytes, (size_t)n) != n) {
            return -1;
        }
    }
    return n == 0 && close(out) == 0 ? close(in) : -1;
}

/* Runs it with one argument, and says how it ended. */
static void execute(const char *path, const char *argument)
{
    pid_t pid = fork();
    int status = 0;

    if (pid == 0) {
        (void)execl(path, path, argument, (char *)NULL);
        _exit(100 + (errno & 127));
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        step_text("%s could not be run", path);
        return;
    }
    step_text("%s %s: status %x", path, argument, (unsigned)status);
}

static void execute_program(const struct test *t)
{
    (void)t;
    DO(copy_program("/bin/true", "true"));
    execute("./true", "");
    DO(chmod("true", 0644));
    execute("./true", "");
    DO(chmod("true", 0111));
    execute("./true", "");
}

static void execute_script(const struct test *t)
{
    (void)t;
    DO(put("script", "#!/bin/sh\nexit $1\n"));
    DO(chmod("script", 0755));
    execute("./script", "7");
    DO(put("script", "#!/no/such/interpreter\n"));
    execute("./script", "7");
    DO(put("script", "#!./script\n"));
    execute("./script", "7");
    DO(put("script", ""));
    execute("./script", "7");
}

static void execute_in_the_child(void *arg)
{
    const int *fds = arg;

    (void)dup2(fds[0], STDIN_FILENO);
    (void)close(fds[1]);
    (void)execl("./cat", "./cat", (char *)NULL);
    _exit(1);
}

static void execute_and_write(const struct test *t)
{
    int fds[2];
    char c = 'x';
    int back[2];
    pid_t pid;

    (void)t;
    DO(copy_program("/bin/cat", "cat"));
    DO(pipe(fds));
    DO(pipe(back));
    pid = fork();
    if (pid == 0) {
        (void)dup2(back[1], STDOUT_FILENO);
        execute_in_the_child(fds);
    }
    /* It runs once it has passed something on. */
    DO(write(fds[1], "y", 1));
    DO(read(back[0], &c, 1));
    DO(open("cat", O_WRONLY) < 0 ? -1 : 0);
    DO(open("cat", O_RDONLY | O_TRUNC) < 0 ? -1 : 0);
    DO(truncate("cat", 0));
    DO(rename("cat", "dog"));
    DO(unlink("dog"));
    DO(close(fds[1]));
    DO(close(fds[0]));
    DO(waitpid(pid, NULL, 0) == pid ? 0 : -1);
}

void theme_execute(void)
{
    CASE(execute_program);
    CASE(execute_script);
    CASE(execute_and_write);
}
