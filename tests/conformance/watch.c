/* inotify(7): which events a change raises for who watches the directory, or the node itself. */
#include "step.h"

#include <sys/inotify.h>
#include <sys/xattr.h>

#define EVENTS (IN_ALL_EVENTS & ~(uint32_t)(IN_ACCESS))

static const struct {
    uint32_t bit;
    const char *name;
} event_names[] = {
    {IN_ATTRIB, "ATTRIB"},
    {IN_CLOSE_NOWRITE, "CLOSE_NOWRITE"},
    {IN_CLOSE_WRITE, "CLOSE_WRITE"},
    {IN_CREATE, "CREATE"},
    {IN_DELETE, "DELETE"},
    {IN_DELETE_SELF, "DELETE_SELF"},
    {IN_IGNORED, "IGNORED"},
    {IN_ISDIR, "ISDIR"},
    {IN_MODIFY, "MODIFY"},
    {IN_MOVED_FROM, "MOVED_FROM"},
    {IN_MOVED_TO, "MOVED_TO"},
    {IN_MOVE_SELF, "MOVE_SELF"},
    {IN_OPEN, "OPEN"},
};

static int watch(const char *path)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (fd < 0 || inotify_add_watch(fd, path, EVENTS) < 0) {
        step_text("watch %s failed: %d", path, errno);
    }
    return fd;
}

static void show_event(const struct inotify_event *e)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    for (size_t i = 0; i < sizeof(event_names) / sizeof(event_names[0]); i++) {
        if ((e->mask & event_names[i].bit) != 0) {
            (void)fprintf(out, "%s ", event_names[i].name);
        }
    }
    (void)fprintf(out, "%s%s", e->len > 0 ? e->name : "itself", e->cookie != 0 ? " with a cookie" : "");
    (void)fclose(out);
    step_text("%s", text);
    free(text);
}

/* All that there is by now, and ends the watch. */
static void show_events(int fd)
{
    _Alignas(struct inotify_event) char buf[65536];
    ssize_t len = read(fd, buf, sizeof(buf));

    for (ssize_t at = 0; at < len;) {
        const struct inotify_event *e = (const struct inotify_event *)(buf + at);
        show_event(e);
        at += (ssize_t)(sizeof(*e) + e->len);
    }
    (void)close(fd);
}

static void watch_file_made(const struct test *t)
{
    int fd = watch(".");

    (void)t;
    DO(put("f", "x"));
    show_events(fd);
}

static void watch_file_written(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = watch(".");
    int file = DO_FD(open("f", O_WRONLY));
    DO(write(file, "y", 1));
    DO(write(file, "z", 1));
    DO(close(file));
    show_events(fd);
}

static void watch_file_replaced_by_contents(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = watch("f");
    DO(put("f", "other"));
    show_events(fd);
}

static void watch_file_appended(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = watch("f");
    int file = DO_FD(open("f", O_WRONLY | O_APPEND));
    DO(write(file, "y", 1));
    DO(close(file));
    show_events(fd);
}

static void watch_file_read(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = watch(".");
    show_contents("f");
    show_events(fd);
}

static void watch_file_truncated(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = watch(".");
    DO(truncate("f", 0));
    show_events(fd);
    fd = watch("f");
    int file = DO_FD(open("f", O_WRONLY));
    DO(ftruncate(file, 5));
    DO(fsync(file));
    DO(close(file));
    show_events(fd);
}

static void watch_attributes(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2}};

    (void)t;
    DO(put("f", "x"));
    int fd = watch(".");
    DO(chmod("f", 0600));
    DO(chown("f", geteuid(), getegid()));
    DO(utimensat(AT_FDCWD, "f", times, 0));
    DO(setxattr("f", "user.a", "1", 1, 0));
    DO(removexattr("f", "user.a"));
    DO(chmod(".", 0700));
    show_events(fd);
    DO(chmod(".", 0755));
}

static void watch_directories(const struct test *t)
{
    int fd = watch(".");

    (void)t;
    DO(mkdir("d", 0755));
    DO(rename("d", "e"));
    DO(rmdir("e"));
    show_events(fd);
}

static void watch_removed(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    int above = watch(".");
    int file = watch("f");
    int folder = watch("d");
    DO(unlink("f"));
    DO(rmdir("d"));
    show_events(above);
    show_events(file);
    show_events(folder);
}

static void watch_removed_while_open(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int file = DO_FD(open("f", O_RDWR));
    int fd = watch("f");
    DO(unlink("f"));
    DO(write(file, "y", 1));
    DO(close(file));
    show_events(fd);
}

static void watch_moved(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(put("g", "y"));
    DO(mkdir("d", 0755));
    int above = watch(".");
    int target = watch("d");
    int file = watch("f");
    DO(rename("f", "d/f"));
    DO(rename("g", "d/f"));
    show_events(above);
    show_events(target);
    show_events(file);
}

static void watch_exchanged(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    int above = watch(".");
    DO(renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_EXCHANGE));
    show_events(above);
}

static void watch_links_made(const struct test *t)
{
    int fd = watch(".");

    (void)t;
    DO(symlink("x", "l"));
    DO(mknod("n", S_IFREG | 0644, 0));
    DO(unlink("l"));
    show_events(fd);
}

static void watch_failing(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = watch(".");
    DO(mkdir("f", 0755));
    DO(unlink("no"));
    DO(rename("no", "f"));
    DO(rename("f", "f"));
    show_events(fd);
}

void theme_watch(void)
{
    CASE(watch_file_made);
    CASE(watch_file_written);
    CASE(watch_file_replaced_by_contents);
    CASE(watch_file_appended);
    CASE(watch_file_read);
    CASE(watch_file_truncated);
    CASE(watch_attributes);
    CASE(watch_directories);
    CASE(watch_removed);
    CASE(watch_removed_while_open);
    CASE(watch_moved);
    CASE(watch_exchanged);
    CASE(watch_links_made);
    CASE(watch_failing);
}
