/* Modes, owners, set-id bits, the sticky bit, and what other users may do. */
#include "step.h"

#include <sys/syscall.h>
#include <sys/xattr.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

#define A_UID 5001
#define B_UID 5002
#define A_GID 6001
#define B_GID 6002

static void chmod_bits(const struct test *t)
{
    static const mode_t modes[] = {0, 0777, 0644, 04755, 02755, 01777, 06711, 07777, 010777, 0100600};

    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        DO(chmod("f", modes[i]));
        show("f");
        DO(chmod("d", modes[i]));
        show("d");
    }
    DO(chmod("d", 0755));
}

static void fchmod_and_fchmodat(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(fchmod(fd, 0640));
    show("f");
    DO(fchmodat(AT_FDCWD, "f", 0600, 0));
    show_fd("fd", fd);
    DO(fchmodat(AT_FDCWD, "no", 0600, 0));
    DO(syscall(SYS_fchmodat2, fd, "", 0755, AT_EMPTY_PATH));
    show("f");
    DO(close(fd));
}

static void chown_by_root(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(chown("f", A_UID, A_GID));
    show("f");
    DO(chown("f", (uid_t)-1, B_GID));
    show("f");
    DO(chown("f", B_UID, (gid_t)-1));
    show("f");
    DO(chown("f", (uid_t)-1, (gid_t)-1));
    show("f");
    DO(chown("f", 0xfffffffeu, 0xfffffffeu));
    show("f");
    int fd = DO_FD(open("f", O_RDONLY));
    DO(fchown(fd, 1, 2));
    DO(fchownat(fd, "", 3, 4, AT_EMPTY_PATH));
    show_fd("fd", fd);
    DO(close(fd));
}

static void chown_by_others(const struct test *t)
{
    (void)t;
    DO(chmod(".", 0777));
    DO(put("roots", "x"));
    become(A_UID, A_GID);
    DO(put("f", "x"));
    DO(chown("f", B_UID, (gid_t)-1));
    DO(chown("f", A_UID, (gid_t)-1));
    DO(chown("f", (uid_t)-1, B_GID));
    DO(chown("f", (uid_t)-1, A_GID));
    DO(chown("roots", A_UID, A_GID));
    DO(chown("roots", (uid_t)-1, (gid_t)-1));
    DO(chmod("roots", 0777));
    DO(chmod("f", 0600));
    become(B_UID, B_GID);
    DO(chmod("f", 0666));
    DO(chown("f", B_UID, B_GID));
    become(0, 0);
    show("f");
    show("roots");
}

static void set_id_cleared_by_chown(const struct test *t)
{
    static const mode_t modes[] = {06755, 04711, 02711, 02644, 06644};

    (void)t;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        DO(put("f", "x"));
        DO(chmod("f", modes[i]));
        DO(chown("f", A_UID, A_GID));
        show("f");
        DO(chmod("f", modes[i]));
        DO(chown("f", (uid_t)-1, (gid_t)-1));
        show("f");
        DO(chmod("f", modes[i]));
        become(A_UID, A_GID);
        DO(chown("f", A_UID, A_GID));
        show("f");
        become(0, 0);
        DO(unlink("f"));
    }
    DO(mkdir("d", 0755));
    DO(chmod("d", 07777));
    DO(chown("d", A_UID, A_GID));
    show("d");
}

/* One way to change the contents of a set-id file. */
struct change_way {
    const char *name;
    long (*change)(const char *path);
};

static long change_write(const char *path)
{
    int fd = open(path, O_WRONLY);

    return fd < 0 || write(fd, "y", 1) != 1 ? -1 : close(fd);
}

static long change_pwrite_later(const char *path)
{
    int fd = open(path, O_RDWR);

    return fd < 0 || pwrite(fd, "y", 1, 10) != 1 ? -1 : close(fd);
}

static long change_append(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND);

    return fd < 0 || write(fd, "y", 1) != 1 ? -1 : close(fd);
}

static long change_sync(const char *path)
{
    int fd = open(path, O_WRONLY | O_SYNC);

    return fd < 0 || write(fd, "y", 1) != 1 ? -1 : close(fd);
}

static long change_truncate(const char *path)
{
    return truncate(path, 0);
}

static long change_ftruncate(const char *path)
{
    int fd = open(path, O_WRONLY);

    return fd < 0 || ftruncate(fd, 0) != 0 ? -1 : close(fd);
}

static long change_open_trunc(const char *path)
{
    int fd = open(path, O_WRONLY | O_TRUNC);

    return fd < 0 ? -1 : close(fd);
}

static long change_write_nothing(const char *path)
{
    int fd = open(path, O_WRONLY);

    return fd < 0 || write(fd, "y", 0) != 0 ? -1 : close(fd);
}

static const struct change_way change_ways[] = {
    {"write", change_write},           {"pwrite", change_pwrite_later},
    {"append", change_append},         {"sync", change_sync},
    {"truncate", change_truncate},     {"ftruncate", change_ftruncate},
    {"open_trunc", change_open_trunc}, {"write_nothing", change_write_nothing},
};

/* t->c: the mode; by another user, by the owner, and by root. */
static void set_id_cleared(const struct test *t)
{
    const struct change_way *way = t->a;
    mode_t mode = (mode_t)t->c;

    DO(put("f", "contents"));
    DO(chown("f", A_UID, A_GID));
    DO(chmod("f", mode));
    become(B_UID, B_GID);
    step_text("by another: %ld", way->change("f"));
    show("f");
    become(0, 0);
    DO(chmod("f", mode));
    become(A_UID, A_GID);
    step_text("by the owner: %ld", way->change("f"));
    show("f");
    become(0, 0);
    DO(chmod("f", mode));
    step_text("by root: %ld", way->change("f"));
    show("f");
    show_contents("f");
}

static void set_id_own_file(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(chmod("f", 06777));
    show("f");
    DO(change_write("f"));
    show("f");
    DO(chmod("f", 06777));
    DO(chown("f", (uid_t)-1, getegid()));
    show("f");
    DO(chmod("f", 06777));
    DO(change_truncate("f"));
    show("f");
}

static void set_gid_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0777));
    DO(chown("d", A_UID, A_GID));
    DO(chmod("d", 02777));
    DO(put("d/f", "x"));
    DO(mkdir("d/sub", 0755));
    DO(mkdir("d/sub/sub", 0755));
    DO(symlink("x", "d/l"));
    DO(mknod("d/n", S_IFREG | 0644, 0));
    DO(close(open("d/x", O_CREAT | O_WRONLY, 02775)));
    become(B_UID, B_GID);
    DO(close(open("d/y", O_CREAT | O_WRONLY, 02775)));
    DO(close(open("d/z", O_CREAT | O_WRONLY, 06755)));
    DO(mkdir("d/w", 0755));
    become(0, 0);
    show("d/f");
    show("d/sub");
    show("d/sub/sub");
    show("d/l");
    show("d/n");
    show("d/x");
    show("d/y");
    show("d/z");
    show("d/w");
    DO(mkdir("e", 0755));
    DO(rename("e", "d/e"));
    show("d/e");
}

static void set_gid_by_stranger(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(chown("f", A_UID, B_GID));
    DO(chown("d", A_UID, B_GID));
    become(A_UID, A_GID);
    DO(chmod("f", 02755));
    DO(chmod("d", 02755));
    become(0, 0);
    show("f");
    show("d");
}

static void sticky_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("s", 0777));
    DO(chmod("s", 01777));
    become(A_UID, A_GID);
    DO(put("s/a", "a"));
    DO(put("s/a2", "a2"));
    DO(mkdir("s/ad", 0777));
    become(B_UID, B_GID);
    DO(unlink("s/a"));
    DO(rmdir("s/ad"));
    DO(rename("s/a", "s/b"));
    DO(put("s/b", "b"));
    DO(rename("s/b", "s/a"));
    DO(rename("s/b", "s/ad/b"));
    DO(renameat2(AT_FDCWD, "s/b", AT_FDCWD, "s/a", RENAME_EXCHANGE));
    DO(unlink("s/b"));
    become(A_UID, A_GID);
    DO(unlink("s/a"));
    DO(rename("s/a2", "s/a3"));
    become(0, 0);
    DO(unlink("s/a3"));
    show_names("s");
}

static void sticky_directory_of_another(const struct test *t)
{
    (void)t;
    DO(mkdir("s", 0777));
    DO(chmod("s", 01777));
    DO(chown("s", A_UID, A_GID));
    become(B_UID, B_GID);
    DO(put("s/b", "b"));
    become(A_UID, A_GID);
    DO(unlink("s/b"));
    become(0, 0);
    show_names("s");
}

static int opened(const char *path, int flags)
{
    int fd = open(path, flags);

    return fd < 0 ? -1 : close(fd);
}

/* t->c: the mode of file and directory; what owner, group and others may do. */
static void permission_bits(const struct test *t)
{
    static const struct {
        uid_t uid;
        gid_t gid;
        const char *who;
    } people[] = {{A_UID, B_GID, "owner"}, {B_UID, A_GID, "group"}, {B_UID, B_GID, "other"}};
    mode_t mode = (mode_t)t->c;
    char list[64];

    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(put("d/in", "in"));
    DO(chown("f", A_UID, A_GID));
    DO(chown("d", A_UID, A_GID));
    DO(chmod("f", mode));
    DO(chmod("d", mode));
    for (size_t i = 0; i < sizeof(people) / sizeof(people[0]); i++) {
        become(people[i].uid, people[i].gid);
        step_text("as %s", people[i].who);
        DO(opened("f", O_RDONLY));
        DO(opened("f", O_WRONLY));
        DO(opened("f", O_RDWR | O_TRUNC));
        DO(truncate("f", 1));
        DO(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
        DO(faccessat(AT_FDCWD, "f", W_OK, AT_EACCESS));
        DO(faccessat(AT_FDCWD, "f", X_OK, AT_EACCESS));
        DO(open("d", O_RDONLY | O_DIRECTORY) < 0 ? -1 : 0);
        DO(lstat("d/in", &(struct stat){0}));
        DO(close(open("d/new", O_CREAT | O_WRONLY | O_EXCL, 0644)));
        DO(unlink("d/new"));
        DO(rename("d/in", "d/out"));
        DO(rename("d/out", "d/in"));
        DO(chdir("d") != 0 ? -1 : chdir(".."));
        DO(utimensat(AT_FDCWD, "f", NULL, 0));
        DO(listxattr("f", list, sizeof(list)));
        DO(getxattr("f", "user.x", list, sizeof(list)));
        DO(setxattr("f", "user.x", "v", 1, 0));
        DO(removexattr("f", "user.x"));
        become(0, 0);
    }
}

static void search_permission_on_the_way(const struct test *t)
{
    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("a/b", 0755));
    DO(put("a/b/f", "x"));
    DO(chmod("a", 0600));
    DO(chown("a", A_UID, A_GID));
    become(A_UID, A_GID);
    DO(stat("a/b", &(struct stat){0}));
    DO(stat("a/b/f", &(struct stat){0}));
    DO(mkdir("a/x", 0755));
    show("a");
    DO(chmod("a", 0100));
    DO(stat("a/b/f", &(struct stat){0}));
    DO_FD(open("a", O_RDONLY));
    DO(mkdir("a/x", 0755));
    become(0, 0);
}

static void access_of_real_user(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(chmod("f", 0600));
    become(A_UID, A_GID);
    DO(access("f", R_OK));
    DO(faccessat(AT_FDCWD, "f", R_OK, AT_EACCESS));
    DO(access("f", F_OK));
    DO(access("f", 64));
    become(0, 0);
    DO(access("f", R_OK | W_OK));
    DO(access("f", X_OK));
    DO(chmod("f", 0601));
    DO(access("f", X_OK));
    DO(chmod("f", 0));
    DO(access("f", R_OK | W_OK));
}

static void open_descriptor_keeps_its_rights(const struct test *t)
{
    (void)t;
    DO(chmod(".", 0777));
    become(A_UID, A_GID);
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "one", 3));
    DO(fchmod(fd, 0));
    DO(write(fd, "two", 3));
    show_read("pread(fd)", fd, 10, 0);
    DO_FD(open("f", O_RDONLY));
    DO(ftruncate(fd, 4));
    DO(close(fd));
    become(0, 0);
    show("f");
    show_contents("f");
}

static void create_in_foreign_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(put("d/f", "x"));
    become(A_UID, A_GID);
    DO_FD(open("d/new", O_CREAT | O_WRONLY, 0644));
    DO(mkdir("d/new", 0755));
    DO(symlink("x", "d/new"));
    DO(mknod("d/new", S_IFREG | 0644, 0));
    DO(unlink("d/f"));
    DO(rename("d/f", "d/g"));
    DO(rmdir("d"));
    DO(link("d/f", "d/h"));
    DO(mkdir("d/f", 0755));
    DO_FD(open("d/f", O_CREAT | O_EXCL | O_WRONLY, 0644));
    become(0, 0);
}

static void rename_directory_of_another(const struct test *t)
{
    (void)t;
    /* Moving a directory writes its "..": who may not write it may not move it elsewhere. */
    DO(chmod(".", 0777));
    DO(mkdir("d", 0755));
    DO(mkdir("to", 0777));
    DO(chmod("to", 0777));
    become(A_UID, A_GID);
    DO(rename("d", "e"));
    DO(rename("e", "to/e"));
    become(0, 0);
    show_names(".");
}

static void execute_permission(const struct test *t)
{
    char *const none[] = {NULL};

    (void)t;
    DO(put("f", "no program"));
    DO(chmod("f", 0644));
    DO(execve("f", none, none));
    DO(chmod("f", 0755));
    DO(execve("f", none, none));
    DO(execve(".", none, none));
}

void theme_access(void)
{
    static const int set_id_modes[] = {06777, 04777, 02777, 02767, 06666};
    static const int modes[] = {0700, 0070, 0007, 0644, 0077, 0711, 0555, 0};

    CASE(chmod_bits);
    CASE(fchmod_and_fchmodat);
    CASE(set_id_own_file);
    CASE(execute_permission);
    CASE_ROOT(chown_by_root);
    CASE_ROOT(chown_by_others);
    CASE_ROOT(set_id_cleared_by_chown);
    CASE_ROOT(set_gid_directory);
    CASE_ROOT(set_gid_by_stranger);
    CASE_ROOT(sticky_directory);
    CASE_ROOT(sticky_directory_of_another);
    CASE_ROOT(search_permission_on_the_way);
    CASE_ROOT(access_of_real_user);
    CASE_ROOT(open_descriptor_keeps_its_rights);
    CASE_ROOT(create_in_foreign_directory);
    CASE_ROOT(rename_directory_of_another);
    for (size_t i = 0; i < sizeof(change_ways) / sizeof(change_ways[0]); i++) {
        for (size_t j = 0; j < sizeof(set_id_modes) / sizeof(set_id_modes[0]); j++) {
            test_add(&(struct test){.run = set_id_cleared, .root = true, .a = &change_ways[i], .c = set_id_modes[j]},
                     "set_id_%o_%s", (unsigned)set_id_modes[j], change_ways[i].name);
        }
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        test_add(&(struct test){.run = permission_bits, .root = true, .c = modes[i]}, "permission_bits_%03o",
                 (unsigned)modes[i]);
    }
}
