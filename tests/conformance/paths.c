/* Every call that takes a path, against every path that is wrong, or odd. */
#include "step.h"

#include <limits.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

/* Raw calls: a path may be a bad pointer, which the C library (or a sanitizer) would follow. */
static long open_and_close(const char *path, int flags)
{
    long fd = syscall(SYS_openat, AT_FDCWD, path, flags, 0644);

    return fd < 0 ? fd : close((int)fd);
}

static long call_open(const char *p)
{
    return open_and_close(p, O_RDONLY);
}

static long call_open_write(const char *p)
{
    return open_and_close(p, O_WRONLY);
}

static long call_create(const char *p)
{
    return open_and_close(p, O_WRONLY | O_CREAT);
}

static long call_create_excl(const char *p)
{
    return open_and_close(p, O_RDWR | O_CREAT | O_EXCL);
}

static long call_open_dir(const char *p)
{
    return open_and_close(p, O_RDONLY | O_DIRECTORY);
}

static long call_open_nofollow(const char *p)
{
    return open_and_close(p, O_RDONLY | O_NOFOLLOW);
}

static long call_open_path(const char *p)
{
    return open_and_close(p, O_PATH);
}

static long call_mkdir(const char *p)
{
    return syscall(SYS_mkdirat, AT_FDCWD, p, 0755);
}

static long call_rmdir(const char *p)
{
    return syscall(SYS_unlinkat, AT_FDCWD, p, AT_REMOVEDIR);
}

static long call_unlink(const char *p)
{
    return syscall(SYS_unlinkat, AT_FDCWD, p, 0);
}

static long call_mknod(const char *p)
{
    return syscall(SYS_mknodat, AT_FDCWD, p, S_IFREG | 0644, 0);
}

static long call_symlink(const char *p)
{
    return syscall(SYS_symlinkat, "target", AT_FDCWD, p);
}

static long call_readlink(const char *p)
{
    char target[64];

    return syscall(SYS_readlinkat, AT_FDCWD, p, target, sizeof(target));
}

static long call_link_from(const char *p)
{
    return syscall(SYS_linkat, AT_FDCWD, p, AT_FDCWD, "linked", 0);
}

static long call_link_to(const char *p)
{
    return syscall(SYS_linkat, AT_FDCWD, "other", AT_FDCWD, p, 0);
}

static long call_rename_from(const char *p)
{
    return syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, "moved", 0);
}

static long call_rename_to(const char *p)
{
    return syscall(SYS_renameat2, AT_FDCWD, "other", AT_FDCWD, p, 0);
}

static long call_rename_dir_to(const char *p)
{
    return syscall(SYS_renameat2, AT_FDCWD, "otherdir", AT_FDCWD, p, 0);
}

static long call_stat(const char *p)
{
    struct stat st;

    return syscall(SYS_newfstatat, AT_FDCWD, p, &st, 0);
}

static long call_lstat(const char *p)
{
    struct stat st;

    return syscall(SYS_newfstatat, AT_FDCWD, p, &st, AT_SYMLINK_NOFOLLOW);
}

static long call_access(const char *p)
{
    return syscall(SYS_faccessat, AT_FDCWD, p, R_OK | W_OK);
}

static long call_chdir(const char *p)
{
    return syscall(SYS_chdir, p);
}

static long call_chmod(const char *p)
{
    return syscall(SYS_fchmodat, AT_FDCWD, p, 0700);
}

static long call_chown(const char *p)
{
    return syscall(SYS_fchownat, AT_FDCWD, p, geteuid(), getegid(), 0);
}

static long call_lchown(const char *p)
{
    return syscall(SYS_fchownat, AT_FDCWD, p, geteuid(), getegid(), AT_SYMLINK_NOFOLLOW);
}

static long call_truncate(const char *p)
{
    return syscall(SYS_truncate, p, (off_t)1);
}

static long call_utimens(const char *p)
{
    /* Without a path it would be about the descriptor, here none. */
    return p == NULL ? syscall(SYS_utimensat, AT_FDCWD, (void *)1, NULL, 0)
                     : syscall(SYS_utimensat, AT_FDCWD, p, NULL, 0);
}

static long call_statfs(const char *p)
{
    struct statfs st;

    return syscall(SYS_statfs, p, &st);
}

static long call_setxattr(const char *p)
{
    return syscall(SYS_setxattr, p, "user.x", "v", 1, 0);
}

static long call_lsetxattr(const char *p)
{
    return syscall(SYS_lsetxattr, p, "user.x", "v", 1, 0);
}

static long call_getxattr(const char *p)
{
    char value[8];

    return syscall(SYS_getxattr, p, "user.x", value, sizeof(value));
}

static long call_listxattr(const char *p)
{
    char list[256];

    return syscall(SYS_listxattr, p, list, sizeof(list));
}

static long call_removexattr(const char *p)
{
    return syscall(SYS_removexattr, p, "user.x");
}

static long call_execve(const char *p)
{
    char *const argv[] = {NULL};

    return syscall(SYS_execve, p, argv, argv);
}

struct path_call {
    const char *name;
    long (*call)(const char *path);
};

static const struct path_call calls[] = {
    {"open", call_open},
    {"open_write", call_open_write},
    {"create", call_create},
    {"create_excl", call_create_excl},
    {"open_dir", call_open_dir},
    {"open_nofollow", call_open_nofollow},
    {"open_path", call_open_path},
    {"mkdir", call_mkdir},
    {"rmdir", call_rmdir},
    {"unlink", call_unlink},
    {"mknod", call_mknod},
    {"symlink", call_symlink},
    {"readlink", call_readlink},
    {"link_from", call_link_from},
    {"link_to", call_link_to},
    {"rename_from", call_rename_from},
    {"rename_to", call_rename_to},
    {"rename_dir_to", call_rename_dir_to},
    {"stat", call_stat},
    {"lstat", call_lstat},
    {"access", call_access},
    {"chdir", call_chdir},
    {"chmod", call_chmod},
    {"chown", call_chown},
    {"lchown", call_lchown},
    {"truncate", call_truncate},
    {"utimens", call_utimens},
    {"statfs", call_statfs},
    {"setxattr", call_setxattr},
    {"lsetxattr", call_lsetxattr},
    {"getxattr", call_getxattr},
    {"listxattr", call_listxattr},
    {"removexattr", call_removexattr},
    {"execve", call_execve},
};

/* Long ones are made when they are needed: a letter repeated. */
struct path_kind {
    const char *name;
    const char *path;
    size_t repeat;
};

static const struct path_kind kinds[] = {
    {"missing", "no", 0},
    {"below_missing", "no/x", 0},
    {"file", "f", 0},
    {"below_file", "f/x", 0},
    {"file_slash", "f/", 0},
    {"missing_slash", "no/", 0},
    {"dir", "d", 0},
    {"dir_slash", "d/", 0},
    {"dir_dot", "d/.", 0},
    {"dir_dotdot", "d/..", 0},
    {"dot", ".", 0},
    {"loop", "loop", 0},
    {"below_loop", "loop/x", 0},
    {"dangling", "dangling", 0},
    {"dangling_slash", "dangling/", 0},
    {"below_dangling", "dangling/x", 0},
    {"link_to_file", "lf", 0},
    {"link_to_file_slash", "lf/", 0},
    {"link_to_dir", "ld", 0},
    {"link_to_dir_slash", "ld/", 0},
    {"below_link_to_dir", "ld/x", 0},
    {"name_255", NULL, 255},
    {"name_256", NULL, 256},
    {"path_4095", "./", 4095},
    {"path_4096", "./", 4096},
    {"empty", "", 0},
    {"bad_pointer", NULL, 0},
};

static const char *path_of(const struct path_kind *k)
{
    char *path;

    if (k->repeat == 0) {
        return k->path;
    }
    path = many(k->path == NULL ? 'n' : '/', k->repeat);
    if (k->path != NULL) {
        path[0] = '.'; /* ".////...//n" */
        path[k->repeat - 1] = 'n';
    }
    return path;
}

/* What the path leads to, and what the call needs beside it; nothing else, as there are many cases. */
static void make_fixtures(const struct path_call *call, const char *path)
{
    static const struct {
        const char *prefix;
        const char *target;
    } links[] = {{"loop", "loop"}, {"dangling", "nowhere"}, {"lf", "f"}, {"ld", "d"}};
    const char *leads_to = path;

    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        if (strncmp(path, links[i].prefix, strlen(links[i].prefix)) == 0) {
            (void)symlink(links[i].target, links[i].prefix);
            leads_to = links[i].target;
        }
    }
    if (leads_to[0] == 'f') {
        (void)put("f", "contents");
    } else if (leads_to[0] == 'd') {
        (void)mkdir("d", 0755);
    }
    if (call->call == call_link_to || call->call == call_rename_to) {
        (void)put("other", "other");
    } else if (call->call == call_rename_dir_to) {
        (void)mkdir("otherdir", 0755);
    }
}

static void path_case(const struct test *t)
{
    const struct path_call *call = t->a;
    const struct path_kind *kind = t->b;
    const char *path = path_of(kind);
    const char *text = path == NULL ? "bad pointer" : strlen(path) > 20 ? "long" : path;

    make_fixtures(call, path == NULL ? "" : path);
    errno = 0;
    (void)step_result(text, call->call(path == NULL ? (const char *)1 : path));
}

void theme_paths(void)
{
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (size_t j = 0; j < sizeof(kinds) / sizeof(kinds[0]); j++) {
            test_add(&(struct test){.run = path_case, .a = &calls[i], .b = &kinds[j]}, "path.%s.%s", calls[i].name,
                     kinds[j].name);
        }
    }
}
