#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static int log_fd = STDERR_FILENO;
static bool to_syslog;

int log_open(const char *path)
{
    int fd;

    if (path == NULL) {
        return 0;
    }
    /* Appending in whole lines: a second daemon, or logrotate's copytruncate, may share the file. */
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    log_fd = fd;
    return 0;
}

void log_detach(void)
{
    if (log_fd == STDERR_FILENO) {
        openlog("znodefs", LOG_PID, LOG_DAEMON);
        to_syslog = true;
    }
}

void log_line(const char *text)
{
    struct timespec now;
    struct tm utc;
    char stamp[32] = "";
    struct text line;

    if (to_syslog) {
        syslog(LOG_NOTICE, "%s", text);
        return;
    }
    (void)clock_gettime(CLOCK_REALTIME, &now); /* can't fail with this clock */
    if (gmtime_r(&now.tv_sec, &utc) == NULL || strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        stamp[0] = '\0';
    }
    text_init(&line);
    text_printf(&line, "%s.%03ldZ %s\n", stamp, now.tv_nsec / 1000000, text);
    if (write(log_fd, line.chars, line.len) < 0) {
        /* A log that can't be written must not stop the peer, and there is no other place to tell. */
        errno = 0;
    }
    text_release(&line);
}

void log_printf(const char *format, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        abort();
    }
    va_end(args);
    log_line(text);
    free(text);
}

void log_lines(const struct text *lines)
{
    const char *s = lines->len > 0 ? lines->chars : "";

    while (*s != '\0') {
        size_t len = strcspn(s, "\n");

        log_printf("%.*s", (int)len, s);
        s += len + (s[len] == '\n' ? 1 : 0);
    }
}
