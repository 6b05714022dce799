/* utimensat(2), and which call moves which time. */
#include "step.h"

#include <sys/time.h>
#include <sys/xattr.h>
#include <time.h>

static void set_times(const char *path, struct timespec atime, struct timespec mtime)
{
    struct timespec times[2] = {atime, mtime};

    DO(utimensat(AT_FDCWD, path, times, 0));
}

static void show_exact(const char *path)
{
    struct stat st = look(path);

    step_text("%s: atime %ld.%09ld mtime %ld.%09ld", path, st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec,
              st.st_mtim.tv_nsec);
}

static void times_exact(const struct test *t)
{
    static const struct timespec values[] = {
        {0, 0},          {1, 1},  {1000000000, 123456789}, {2147483647, 999999999}, {2147483648, 0},
        {4294967295, 5}, {-1, 0}, {-2147483648, 7}};

    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        set_times("f", values[i], (struct timespec){.tv_sec = 99});
        show_exact("f");
        set_times("f", (struct timespec){.tv_sec = 98}, values[i]);
        show_exact("f");
        set_times("d", values[i], values[i]);
        show_exact("d");
    }
}

static void times_far(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    set_times("f", (struct timespec){.tv_sec = 15032385535}, (struct timespec){.tv_sec = 15032385535});
    show_exact("f");
    set_times("f", (struct timespec){.tv_sec = 15032385536}, (struct timespec){.tv_sec = 15032385536});
    show_exact("f");
    set_times("f", (struct timespec){.tv_sec = -2147483649}, (struct timespec){.tv_sec = -2147483649});
    show_exact("f");
}

static void times_omit_and_now(const struct test *t)
{
    struct timespec omit = {.tv_nsec = UTIME_OMIT};
    struct timespec now = {.tv_nsec = UTIME_NOW};

    (void)t;
    DO(put("f", "x"));
    set_times("f", (struct timespec){.tv_sec = 10}, (struct timespec){.tv_sec = 20});
    struct stat before = look("f");
    tick();
    set_times("f", omit, omit);
    show_times("f", &before);
    set_times("f", (struct timespec){.tv_sec = 30}, omit);
    show_times("f", &before);
    before = look("f");
    tick();
    set_times("f", omit, (struct timespec){.tv_sec = 40});
    show_times("f", &before);
    before = look("f");
    set_times("f", now, omit);
    show_times("f", &before);
    before = look("f");
    set_times("f", omit, now);
    show_times("f", &before);
    struct stat st = look("f");
    step_text("atime and mtime differ by %s", labs(st.st_atim.tv_sec - st.st_mtim.tv_sec) < 100 ? "little" : "much");
    DO(utimensat(AT_FDCWD, "f", NULL, 0));
    st = look("f");
    step_text("atime and mtime are %s",
              st.st_atim.tv_sec == st.st_mtim.tv_sec && st.st_atim.tv_nsec == st.st_mtim.tv_nsec ? "one" : "two");
}

static void times_invalid(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    set_times("f", (struct timespec){.tv_nsec = 1000000000}, (struct timespec){0});
    set_times("f", (struct timespec){0}, (struct timespec){.tv_nsec = -1});
    set_times("no", (struct timespec){0}, (struct timespec){0});
    set_times("no", (struct timespec){.tv_nsec = UTIME_OMIT}, (struct timespec){.tv_nsec = UTIME_OMIT});
    DO(utimensat(AT_FDCWD, "f", NULL, 0x4000000));
    DO(utimensat(-1, "f", NULL, 0));
    DO(futimens(-1, NULL));
}

static void times_by_descriptor(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 3, .tv_nsec = 4}, {.tv_sec = 5, .tv_nsec = 6}};

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(futimens(fd, times));
    show_exact("f");
    DO(utimensat(fd, "", times, AT_EMPTY_PATH));
    DO(close(fd));
    DO(mkdir("d", 0755));
    fd = DO_FD(open("d", O_RDONLY));
    DO(futimens(fd, times));
    show_exact("d");
    DO(close(fd));
}

static void times_of_others(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 3}, {.tv_sec = 5}};
    struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    struct timespec half[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};

    (void)t;
    DO(put("f", "x"));
    DO(put("w", "x"));
    DO(chmod("w", 0666));
    become(SOME_UID, SOME_GID);
    DO(utimensat(AT_FDCWD, "f", times, 0));
    DO(utimensat(AT_FDCWD, "f", NULL, 0));
    DO(utimensat(AT_FDCWD, "f", now, 0));
    DO(utimensat(AT_FDCWD, "w", times, 0));
    DO(utimensat(AT_FDCWD, "w", NULL, 0));
    DO(utimensat(AT_FDCWD, "w", now, 0));
    DO(utimensat(AT_FDCWD, "w", half, 0));
    become(0, 0);
}

/* What a call does to the times of a file, or of the directory it is in. */
struct mover {
    const char *name;
    void (*move)(void);
    const char *watched;
};

static void move_nothing_read(void)
{
    show_contents("f");
}

static void move_write(void)
{
    DO(put("f", "changed"));
}

static void move_overwrite(void)
{
    int fd = DO_FD(open("f", O_WRONLY));
    DO(write(fd, "y", 1));
    DO(close(fd));
}

static void move_write_nothing(void)
{
    int fd = DO_FD(open("f", O_WRONLY));
    DO(write(fd, "y", 0));
    DO(close(fd));
}

static void move_open_for_writing(void)
{
    DO(close(open("f", O_RDWR)));
}

static void move_truncate(void)
{
    DO(truncate("f", 2));
}

static void move_truncate_same(void)
{
    DO(truncate("f", 4));
}

static void move_ftruncate(void)
{
    int fd = DO_FD(open("f", O_WRONLY));
    DO(ftruncate(fd, 1));
    DO(close(fd));
}

static void move_ftruncate_same(void)
{
    int fd = DO_FD(open("f", O_WRONLY));
    DO(ftruncate(fd, 4));
    DO(close(fd));
}

static void move_open_trunc(void)
{
    DO(close(open("f", O_WRONLY | O_TRUNC)));
}

static void move_chmod(void)
{
    DO(chmod("f", 0600));
}

static void move_chmod_same(void)
{
    DO(chmod("f", 0644));
}

static void move_chown(void)
{
    DO(chown("f", geteuid(), getegid()));
}

static void move_chown_nothing(void)
{
    DO(chown("f", (uid_t)-1, (gid_t)-1));
}

static void move_setxattr(void)
{
    DO(setxattr("f", "user.a", "1", 1, 0));
}

static void move_append(void)
{
    int fd = DO_FD(open("f", O_WRONLY | O_APPEND));
    DO(write(fd, "y", 1));
    DO(close(fd));
}

static void move_create(void)
{
    DO(put("new", "x"));
}

static void move_create_existing(void)
{
    DO(close(open("f", O_CREAT | O_WRONLY, 0644)));
}

static void move_mkdir(void)
{
    DO(mkdir("sub", 0755));
}

static void move_symlink(void)
{
    DO(symlink("x", "l"));
}

static void move_unlink(void)
{
    DO(unlink("f"));
}

static void move_rename(void)
{
    DO(rename("f", "g"));
}

static void move_failing(void)
{
    DO(mkdir("f", 0755));
}

static void move_write_below(void)
{
    DO(put("f", "other"));
}

static const struct mover movers[] = {
    {"write", move_write, "f"},
    {"overwrite", move_overwrite, "f"},
    {"write_nothing", move_write_nothing, "f"},
    {"open_for_writing", move_open_for_writing, "f"},
    {"truncate", move_truncate, "f"},
    {"truncate_same", move_truncate_same, "f"},
    {"ftruncate", move_ftruncate, "f"},
    {"ftruncate_same", move_ftruncate_same, "f"},
    {"open_trunc", move_open_trunc, "f"},
    {"chmod", move_chmod, "f"},
    {"chmod_same", move_chmod_same, "f"},
    {"chown", move_chown, "f"},
    {"chown_nothing", move_chown_nothing, "f"},
    {"setxattr", move_setxattr, "f"},
    {"append", move_append, "f"},
    {"create_existing", move_create_existing, "f"},
    {"read", move_nothing_read, "f"},
    {"dir_create", move_create, "."},
    {"dir_create_existing", move_create_existing, "."},
    {"dir_mkdir", move_mkdir, "."},
    {"dir_symlink", move_symlink, "."},
    {"dir_unlink", move_unlink, "."},
    {"dir_rename", move_rename, "."},
    {"dir_failing", move_failing, "."},
    {"dir_write_below", move_write_below, "."},
};

static void times_moved(const struct test *t)
{
    const struct mover *mover = t->a;

    DO(put("f", "text"));
    struct stat before = look(mover->watched);
    tick();
    mover->move();
    show_times(mover->watched, &before);
}

static void times_of_a_draft(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 100}, {.tv_sec = 200}};

    (void)t;
    int fd = DO_FD(open("f", O_WRONLY | O_CREAT, 0644));
    DO(write(fd, "x", 1));
    DO(futimens(fd, times));
    DO(close(fd));
    show_exact("f");
    fd = DO_FD(open("f", O_WRONLY));
    DO(utimensat(AT_FDCWD, "f", times, 0));
    DO(close(fd));
    show_exact("f");
}

static void times_set_then_written(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 100}, {.tv_sec = 200}};

    (void)t;
    int fd = DO_FD(open("f", O_WRONLY | O_CREAT, 0644));
    DO(futimens(fd, times));
    DO(write(fd, "x", 1));
    DO(close(fd));
    struct stat st = look("f");
    step_text("mtime is %s", st.st_mtim.tv_sec == 200 ? "as it was set" : "of the write");
}

static void times_of_the_future(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 4000000000}, {.tv_sec = 4000000000}};

    (void)t;
    DO(put("f", "x"));
    DO(utimensat(AT_FDCWD, "f", times, 0));
    struct stat before = look("f");
    DO(put("f", "y"));
    show_times("f", &before);
    DO(mkdir("d", 0755));
    DO(utimensat(AT_FDCWD, "d", times, 0));
    before = look("d");
    DO(mkdir("d/e", 0755));
    show_times("d", &before);
    DO(utimensat(AT_FDCWD, "f", NULL, 0));
    show_times("f", &before);
}

static void times_of_new_nodes(const struct test *t)
{
    static const char *const names[] = {"f", "d", "l"};

    (void)t;
    DO(put("f", ""));
    DO(mkdir("d", 0755));
    DO(symlink("x", "l"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat st = look(names[i]);
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        step_text("%s: atime %s mtime, %s ctime; %s", names[i],
                  st.st_atim.tv_nsec == st.st_mtim.tv_nsec && st.st_atim.tv_sec == st.st_mtim.tv_sec ? "=" : "!=",
                  st.st_ctim.tv_nsec == st.st_mtim.tv_nsec && st.st_ctim.tv_sec == st.st_mtim.tv_sec ? "=" : "!=",
                  labs(now.tv_sec - st.st_mtim.tv_sec) < 60 ? "now" : "not now");
    }
}

void theme_times(void)
{
    CASE(times_exact);
    CASE(times_far);
    CASE(times_omit_and_now);
    CASE(times_invalid);
    CASE(times_by_descriptor);
    CASE_ROOT(times_of_others);
    CASE(times_of_a_draft);
    CASE(times_set_then_written);
    CASE(times_of_the_future);
    CASE(times_of_new_nodes);
    for (size_t i = 0; i < sizeof(movers) / sizeof(movers[0]); i++) {
        test_add(&(struct test){.run = times_moved, .a = &movers[i]}, "times_moved_by_%s", movers[i].name);
    }
}
