/* unlink(2), rmdir(2), and what is left of a node without a name. */
#include "step.h"

#include <sys/syscall.h>
#include <sys/xattr.h>

static void unlink_kinds(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(symlink("f", "l"));
    DO(symlink("d", "ld"));
    DO(unlink("d"));
    DO(unlink("l"));
    DO(unlink("ld"));
    DO(unlink("f"));
    DO(unlink("f"));
    show_names(".");
}

static void rmdir_kinds(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(symlink("d", "l"));
    DO(rmdir("f"));
    DO(rmdir("l"));
    DO(rmdir("l/"));
    DO(rmdir("d"));
    DO(rmdir("d"));
    show_names(".");
}

static void rmdir_full(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(symlink("nowhere", "d/l"));
    DO(rmdir("d"));
    DO(unlink("d/l"));
    DO(mkdir("d/e", 0755));
    DO(rmdir("d"));
    DO(rmdir("d/e"));
    DO(rmdir("d"));
}

static void rmdir_dots(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(rmdir("d/."));
    DO(rmdir("d/.."));
    DO(rmdir("."));
    DO(rmdir(".."));
    DO(rmdir("d/e/.."));
    DO(unlink("."));
    DO(unlink(".."));
    show("d");
}

static void unlinkat_flags(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(put("f", "x"));
    DO(unlinkat(AT_FDCWD, "d", 0));
    DO(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR));
    DO(unlinkat(AT_FDCWD, "f", 0x4000000));
    DO(unlinkat(-1, "f", 0));
    DO(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
    DO(unlinkat(AT_FDCWD, "f", 0));
}

static void unlink_open_file(const struct test *t)
{
    (void)t;
    DO(put("f", "contents"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(unlink("f"));
    show_fd("fd", fd);
    show_read("pread(fd)", fd, 20, 0);
    DO(pwrite(fd, "CON", 3, 0));
    show_read("pread(fd)", fd, 20, 0);
    DO(ftruncate(fd, 4));
    show_fd("fd", fd);
    DO(ftruncate(fd, 6));
    show_read("pread(fd)", fd, 20, 0);
    DO(fchmod(fd, 0600));
    DO(fsync(fd));
    show_fd("fd", fd);
    DO(close(fd));
    show("f");
}

static void unlink_open_and_make_again(const struct test *t)
{
    (void)t;
    DO(put("f", "old"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(unlink("f"));
    DO(put("f", "new"));
    show_read("pread(fd)", fd, 20, 0);
    DO(write(fd, "older", 5));
    DO(close(fd));
    show_contents("f");
}

static void unlink_open_through_proc(const struct test *t)
{
    char path[64];

    (void)t;
    DO(put("f", "contents"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(unlink("f"));
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = DO_FD(open(path, O_RDWR));
    show_read("read(again)", again, 20, -1);
    DO(write(again, "!", 1));
    DO(close(again));
    show_read("pread(fd)", fd, 20, 0);
    again = DO_FD(open(path, O_RDWR | O_TRUNC));
    DO(close(again));
    show_fd("fd", fd);
    DO(close(fd));
}

static void unlink_open_xattrs(const struct test *t)
{
    char value[8];

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(fsetxattr(fd, "user.a", "1", 1, 0));
    DO(unlink("f"));
    DO(fgetxattr(fd, "user.a", value, sizeof(value)));
    DO(fsetxattr(fd, "user.b", "2", 1, 0));
    DO(fgetxattr(fd, "user.b", value, sizeof(value)));
    DO(fgetxattr(fd, "user.c", value, sizeof(value)));
    DO(fremovexattr(fd, "user.a"));
    DO(fgetxattr(fd, "user.a", value, sizeof(value)));
    DO(close(fd));
}

static void unlink_open_attributes(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 5}, {.tv_sec = 7, .tv_nsec = 9}};
    struct stat st;

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(unlink("f"));
    DO(fchmod(fd, 0711));
    DO(fchown(fd, (uid_t)-1, getegid()));
    DO(futimens(fd, times));
    DO(fstat(fd, &st));
    step_text("%o %ld %ld.%09ld", st.st_mode, st.st_atim.tv_sec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    DO(close(fd));
}

static void unlink_open_append(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDWR | O_APPEND));
    DO(unlink("f"));
    DO(write(fd, "yz", 2));
    show_read("pread(fd)", fd, 20, 0);
    DO(ftruncate(fd, 0));
    DO(write(fd, "new", 3));
    show_read("pread(fd)", fd, 20, 0);
    show_fd("fd", fd);
    DO(close(fd));
}

static void rmdir_working_directory(const struct test *t)
{
    char path[4096];

    (void)t;
    int here = DO_FD(open(".", O_RDONLY | O_DIRECTORY));
    DO(mkdir("d", 0755));
    DO(chdir("d"));
    DO(rmdir("../d"));
    DO(getcwd(path, sizeof(path)) == NULL ? -1 : 0);
    show(".");
    DO(mkdir("x", 0755));
    DO(open("f", O_CREAT | O_WRONLY, 0644));
    DO(symlink("a", "b"));
    DO(stat("..", &(struct stat){0}));
    DO(chdir(".."));
    DO(fchdir(here));
    show_names(".");
}

static void rmdir_open_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    int fd = DO_FD(open("d", O_RDONLY | O_DIRECTORY));
    DO(rmdir("d"));
    show_fd("fd", fd);
    DO(openat(fd, "f", O_CREAT | O_WRONLY, 0644));
    DO(mkdirat(fd, "e", 0755));
    DO(symlinkat("a", fd, "l"));
    DO(unlinkat(fd, "f", 0));
    DO(fchmod(fd, 0700));
    show_fd("fd", fd);
    char entries[256];
    DO(syscall(SYS_getdents64, fd, entries, sizeof(entries)));
    DO(close(fd));
}

static void rmdir_and_make_again(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    int fd = DO_FD(open("d", O_RDONLY | O_DIRECTORY));
    DO(rmdir("d"));
    DO(mkdir("d", 0711));
    DO(put("d/f", "x"));
    DO(faccessat(fd, "f", F_OK, 0));
    show_fd("fd", fd);
    show("d");
    DO(close(fd));
}

static void remove_times(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    struct stat here = look(".");
    tick();
    DO(unlink("f"));
    show_times(".", &here);
    here = look(".");
    tick();
    DO(rmdir("d"));
    show_times(".", &here);
    here = look(".");
    tick();
    DO(unlink("no"));
    show_times(".", &here);
}

static void remove_counts_links(const struct test *t)
{
    (void)t;
    show(".");
    DO(mkdir("a", 0755));
    DO(mkdir("b", 0755));
    DO(put("f", "x"));
    show(".");
    DO(rmdir("a"));
    show(".");
    DO(rmdir("b"));
    DO(unlink("f"));
    show(".");
}

static void remove_kept_by_path_descriptor(const struct test *t)
{
    char path[64];

    (void)t;
    DO(put("f", "contents"));
    int fd = DO_FD(open("f", O_PATH));
    DO(unlink("f"));
    show_fd("fd", fd);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = DO_FD(open(path, O_RDONLY));
    show_read("read(again)", again, 20, -1);
    DO(close(again));
    DO(close(fd));
}

void theme_remove(void)
{
    CASE(unlink_kinds);
    CASE(rmdir_kinds);
    CASE(rmdir_full);
    CASE(rmdir_dots);
    CASE(unlinkat_flags);
    CASE(unlink_open_file);
    CASE(unlink_open_and_make_again);
    CASE(unlink_open_through_proc);
    CASE(unlink_open_xattrs);
    CASE(unlink_open_attributes);
    CASE(unlink_open_append);
    CASE(rmdir_working_directory);
    CASE(rmdir_open_directory);
    CASE(rmdir_and_make_again);
    CASE(remove_times);
    CASE(remove_counts_links);
    CASE(remove_kept_by_path_descriptor);
}
