#include "daemon.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The first read of the mount is answered by the child, so this shows more than that mount(2) worked. */
static int probe_mount(const char *probe, int exit_code_unanswered)
{
    char bytes[256];
    int fd = open(probe, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, bytes, sizeof(bytes)) : -1;

    if (len <= 0) {
        fprintf(stderr, "znodefs: %s: %s\n", probe, len < 0 ? strerror(errno) : "is empty");
        return exit_code_unanswered;
    }
    (void)close(fd); /* only read */
    return 0;
}

static int child_exit_code(pid_t child, int exit_code_unanswered)
{
    int status;

    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return exit_code_unanswered;
        }
    }
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    fprintf(stderr, "znodefs: ended by signal %d\n", WTERMSIG(status));
    return exit_code_unanswered;
}

static void parent_wait(int fd, pid_t child, const char *probe, int exit_code_unanswered)
{
    char byte;
    ssize_t len;

    do {
        len = read(fd, &byte, 1);
    } while (len < 0 && errno == EINTR);
    if (len != 1) {
        exit(child_exit_code(child, exit_code_unanswered));
    }
    exit(probe != NULL ? probe_mount(probe, exit_code_unanswered) : 0);
}

int daemon_fork(struct daemon *d, const char *probe, int exit_code_unanswered)
{
    int fds[2];
    pid_t child;

    if (pipe2(fds, O_CLOEXEC) != 0) {
        return -errno;
    }
    child = fork();
    if (child < 0) {
        int rv = -errno;

        (void)close(fds[0]);
        (void)close(fds[1]);
        return rv;
    }
    if (child > 0) {
        (void)close(fds[1]);
        parent_wait(fds[0], child, probe, exit_code_unanswered);
    }
    (void)close(fds[0]);
    d->ready_fd = fds[1];
    return 0;
}

void daemon_ready(struct daemon *d)
{
    int null;

    if (d->ready_fd < 0) {
        return;
    }
    log_detach();
    (void)setsid(); /* fails only for a group's leader, which a forked child is not */
    if (chdir("/") != 0) {
        log_printf("chdir /: %s", strerror(errno));
    }
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0) {
        log_printf("leaving the terminal: %s", strerror(errno));
    }
    if (null > STDERR_FILENO) {
        (void)close(null);
    }
    if (write(d->ready_fd, "", 1) != 1) {
        log_printf("nobody waits for this peer any more: %s", strerror(errno));
    }
    (void)close(d->ready_fd);
    d->ready_fd = -1;
}
