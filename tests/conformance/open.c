/* open(2): its flags, on files, directories and symlinks. */
#include "step.h"

#include <sys/syscall.h>

#ifndef O_TMPFILE
#error "needs O_TMPFILE"
#endif

struct flag_case {
    const char *name;
    int flags;
};

static const struct flag_case flag_cases[] = {
    {"rdonly", O_RDONLY},
    {"wronly", O_WRONLY},
    {"rdwr", O_RDWR},
    {"accmode_3", O_ACCMODE},
    {"creat", O_RDWR | O_CREAT},
    {"creat_excl", O_RDWR | O_CREAT | O_EXCL},
    {"excl_without_creat", O_RDWR | O_EXCL},
    {"trunc", O_RDWR | O_TRUNC},
    {"rdonly_trunc", O_RDONLY | O_TRUNC},
    {"creat_trunc", O_RDWR | O_CREAT | O_TRUNC},
    {"creat_rdonly_trunc", O_RDONLY | O_CREAT | O_TRUNC},
    {"append", O_RDWR | O_APPEND},
    {"append_trunc", O_RDWR | O_APPEND | O_TRUNC},
    {"directory", O_RDONLY | O_DIRECTORY},
    {"directory_write", O_RDWR | O_DIRECTORY},
    {"creat_directory", O_RDWR | O_CREAT | O_DIRECTORY},
    {"nofollow", O_RDONLY | O_NOFOLLOW},
    {"creat_nofollow", O_RDWR | O_CREAT | O_NOFOLLOW},
    {"path", O_PATH},
    {"path_nofollow", O_PATH | O_NOFOLLOW},
    {"path_directory", O_PATH | O_DIRECTORY},
    {"sync", O_RDWR | O_SYNC},
    {"dsync", O_RDWR | O_DSYNC},
    {"nonblock", O_RDWR | O_NONBLOCK},
    {"noatime", O_RDONLY | O_NOATIME},
    {"direct", O_RDONLY | O_DIRECT},
    {"largefile_cloexec_noctty", O_RDWR | O_LARGEFILE | O_CLOEXEC | O_NOCTTY},
    {"async", O_RDONLY | O_ASYNC},
    {"unknown_bits", O_RDONLY | 0x40000000},
};

static const char *const targets[] = {"no", "f", "d", "lf", "ld", "dangling", "loop"};

static void open_flags(const struct test *t)
{
    const struct flag_case *fc = t->a;
    const char *path = t->b;

    (void)put("f", "contents");
    (void)mkdir("d", 0755);
    (void)symlink("f", "lf");
    (void)symlink("d", "ld");
    (void)symlink("nowhere", "dangling");
    (void)symlink("loop", "loop");
    int fd = step_fd(path, open(path, fc->flags, 0640));
    if (fd >= 0) {
        show_fd("fd", fd);
        DO(fcntl(fd, F_GETFL) & ~O_LARGEFILE);
        char buf[4];
        if ((fc->flags & O_DIRECT) == 0) {
            DO(read(fd, buf, sizeof(buf)));
        }
        DO(write(fd, "XY", 2));
        DO(close(fd));
    }
    show(path);
    show_contents("f");
    show_names(".");
}

static void open_modes(const struct test *t)
{
    static const mode_t modes[] = {0, 0777, 07777, 04755, 02755, 01644, 0400, 0200};

    (void)t;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "f%zu", i);
        int fd = DO_FD(open(name, O_RDWR | O_CREAT | O_EXCL, modes[i]));
        DO(write(fd, "x", 1));
        DO(close(fd));
        show(name);
    }
}

static void open_umask(const struct test *t)
{
    static const mode_t masks[] = {0, 077, 0777, 027, 0111};

    (void)t;
    for (size_t i = 0; i < sizeof(masks) / sizeof(masks[0]); i++) {
        char name[16];
        (void)umask(masks[i]);
        (void)snprintf(name, sizeof(name), "f%zu", i);
        DO(close(open(name, O_WRONLY | O_CREAT, 0666)));
        show(name);
        (void)snprintf(name, sizeof(name), "d%zu", i);
        DO(mkdir(name, 0777));
        show(name);
    }
    (void)umask(022);
}

static void open_existing_keeps_mode(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(chmod("f", 0604));
    DO(close(open("f", O_WRONLY | O_CREAT | O_TRUNC, 0777)));
    show("f");
}

static void open_write_only_cannot_read(const struct test *t)
{
    char c;

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_WRONLY));
    DO(read(fd, &c, 1));
    DO(pread(fd, &c, 1, 0));
    DO(close(fd));
    fd = DO_FD(open("f", O_RDONLY));
    DO(write(fd, "y", 1));
    DO(pwrite(fd, "y", 1, 0));
    DO(ftruncate(fd, 0));
    DO(fallocate(fd, 0, 0, 10));
    DO(close(fd));
    show_contents("f");
}

static void open_path_does_little(const struct test *t)
{
    char c;

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_PATH));
    DO(read(fd, &c, 1));
    DO(write(fd, &c, 1));
    DO(fchmod(fd, 0600));
    DO(fchown(fd, (uid_t)-1, (gid_t)-1));
    DO(ftruncate(fd, 0));
    DO(fsync(fd));
    DO(lseek(fd, 0, SEEK_SET));
    show_fd("fd", fd);
    DO(fchownat(fd, "", (uid_t)-1, getegid(), AT_EMPTY_PATH));
    DO(close(fd));
}

static void open_creat_create_only_once(const struct test *t)
{
    (void)t;
    DO_FD(open("f", O_CREAT | O_EXCL | O_WRONLY, 0644));
    DO_FD(open("f", O_CREAT | O_EXCL | O_WRONLY, 0644));
    DO(unlink("f"));
    DO_FD(open("f", O_CREAT | O_EXCL | O_WRONLY, 0644));
    show("f");
}

static void open_nothing_to_write_in_mode(const struct test *t)
{
    (void)t;
    /* The descriptor may write although the new file's mode lets nobody. */
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0));
    DO(write(fd, "abc", 3));
    show_read("pread(fd)", fd, 10, 0);
    DO(close(fd));
    show("f");
}

static void open_at_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(put("d/f", "x"));
    int dir = DO_FD(open("d", O_RDONLY | O_DIRECTORY));
    int fd = DO_FD(openat(dir, "f", O_RDONLY));
    DO(close(fd));
    DO_FD(openat(dir, "no", O_RDONLY));
    DO_FD(openat(dir, "../d/f", O_RDONLY));
    DO_FD(openat(-1, "f", O_RDONLY));
    DO_FD(openat(dir, "", O_RDONLY));
    DO(rename("d", "e"));
    DO_FD(openat(dir, "f", O_RDONLY));
    DO_FD(openat(dir, "new", O_WRONLY | O_CREAT, 0644));
    show_names("e");
}

static void open_how(const struct test *t)
{
    struct {
        unsigned long long flags;
        unsigned long long mode;
        unsigned long long resolve;
    } how = {.flags = O_RDONLY};

    (void)t;
    DO(mkdir("d", 0755));
    DO(put("f", "x"));
    DO(symlink("../f", "d/l"));
    DO(symlink("f", "l"));
    int dir = DO_FD(open("d", O_RDONLY | O_DIRECTORY));
    how.resolve = 8; /* RESOLVE_BENEATH */
    DO_FD((int)syscall(SYS_openat2, dir, "../f", &how, sizeof(how)));
    DO_FD((int)syscall(SYS_openat2, dir, "l", &how, sizeof(how)));
    how.resolve = 4; /* RESOLVE_NO_SYMLINKS */
    DO_FD((int)syscall(SYS_openat2, AT_FDCWD, "l", &how, sizeof(how)));
    DO_FD((int)syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof(how)));
    how.resolve = 16; /* RESOLVE_IN_ROOT */
    DO_FD((int)syscall(SYS_openat2, dir, "/../../../no", &how, sizeof(how)));
    how.resolve = 1; /* RESOLVE_NO_XDEV */
    DO_FD((int)syscall(SYS_openat2, AT_FDCWD, "/proc/version", &how, sizeof(how)));
    how.mode = 0644;
    DO_FD((int)syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof(how)));
}

static void open_directory_for_data(const struct test *t)
{
    char c;

    (void)t;
    DO(mkdir("d", 0755));
    int fd = DO_FD(open("d", O_RDONLY));
    DO(read(fd, &c, 1));
    DO(pread(fd, &c, 1, 0));
    DO(write(fd, &c, 1));
    DO(ftruncate(fd, 0));
    DO(fallocate(fd, 0, 0, 1));
    DO(fsync(fd));
    DO(fdatasync(fd));
    DO(truncate("d", 0));
    DO(close(fd));
}

static void open_too_many_links_in_a_row(const struct test *t)
{
    char from[16];
    char to[16];

    (void)t;
    DO(put("l0", "end"));
    for (int i = 1; i <= 42; i++) {
        (void)snprintf(to, sizeof(to), "l%d", i - 1);
        (void)snprintf(from, sizeof(from), "l%d", i);
        if (symlink(to, from) != 0) {
            step_text("symlink %s failed", from);
        }
    }
    show_contents("l39");
    show_contents("l40");
    show_contents("l41");
    DO(stat("l42", &(struct stat){0}));
}

static void open_text_is_busy(const struct test *t)
{
    (void)t;
    DO(put("f", "#!/bin/false\n"));
    DO(chmod("f", 0755));
    int fd = DO_FD(open("f", O_WRONLY));
    char *const none[] = {NULL};
    DO(execve("./f", none, none));
    DO(close(fd));
}

static void open_limits(const struct test *t)
{
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));

    (void)t;
    DO(dup2(fd, -1));
    DO(close(-1));
    DO(close(987654));
    DO(fcntl(987654, F_GETFL));
    DO(fsync(-1));
    DO(fchmod(-1, 0));
    DO(close(fd));
    DO(close(fd));
}

void theme_open(void)
{
    for (size_t i = 0; i < sizeof(flag_cases) / sizeof(flag_cases[0]); i++) {
        for (size_t j = 0; j < sizeof(targets) / sizeof(targets[0]); j++) {
            test_add(&(struct test){.run = open_flags, .a = &flag_cases[i], .b = targets[j]}, "open.%s.%s",
                     flag_cases[i].name, targets[j]);
        }
    }
    CASE(open_modes);
    CASE(open_umask);
    CASE(open_existing_keeps_mode);
    CASE(open_write_only_cannot_read);
    CASE(open_path_does_little);
    CASE(open_creat_create_only_once);
    CASE(open_nothing_to_write_in_mode);
    CASE(open_at_directory);
    CASE(open_how);
    CASE(open_directory_for_data);
    CASE(open_too_many_links_in_a_row);
    CASE(open_text_is_busy);
    CASE(open_limits);
}
