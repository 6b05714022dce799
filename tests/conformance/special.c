/* The file system as a whole: statfs(2), statx(2), limits, calls between two file systems. */
#include "step.h"

#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

static void statfs_fields(const struct test *t)
{
    struct statvfs st;

    (void)t;
    DO(statvfs(".", &st));
    step_text("names of %lu bytes", st.f_namemax);
    step_text("%s", st.f_bsize > 0 && st.f_blocks >= st.f_bfree && st.f_bfree >= st.f_bavail && st.f_bavail > 0
                        ? "blocks in order"
                        : "blocks out of order");
    step_text("%s", st.f_files >= st.f_ffree && st.f_ffree > 0 ? "nodes in order" : "nodes out of order");
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(fstatvfs(fd, &st));
    DO(close(fd));
    fd = DO_FD(open("f", O_PATH));
    DO(fstatvfs(fd, &st));
    DO(close(fd));
}

static void path_limits(const struct test *t)
{
    (void)t;
    DO(pathconf(".", _PC_NAME_MAX));
    DO(pathconf(".", _PC_PATH_MAX));
    DO(pathconf(".", _PC_NO_TRUNC));
    DO(pathconf(".", _PC_CHOWN_RESTRICTED));
    DO(pathconf(".", _PC_SYMLINK_MAX));
}

static void stat_block_size(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    struct stat st = look("f");
    step_text("block size %ld", (long)st.st_blksize);
}

static void stat_blocks(const struct test *t)
{
    (void)t;
    DO(put("f", ""));
    struct stat st = look("f");
    step_text("empty: %ld blocks", (long)st.st_blocks);
    DO(put("f", many('x', 10000)));
    st = look("f");
    step_text("10000 bytes: %ld blocks", (long)st.st_blocks);
    DO(symlink("x", "l"));
    st = look("l");
    step_text("symlink: %ld blocks", (long)st.st_blocks);
}

static void statx_ways(const struct test *t)
{
    struct statx st = {0};

    (void)t;
    DO(put("f", "12345"));
    DO(symlink("f", "l"));
    DO(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &st));
    step_text("mode %o size %llu, basic %s", st.stx_mode, (unsigned long long)st.stx_size,
              (st.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS ? "all" : "not all");
    DO(statx(AT_FDCWD, "l", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &st));
    step_text("kind %o", st.stx_mode & S_IFMT);
    DO(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_SIZE, &st));
    DO(statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_SIZE, &st));
    DO(statx(AT_FDCWD, "f", 0x40000000, STATX_SIZE, &st));
    int fd = DO_FD(open("f", O_PATH));
    DO(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &st));
    DO(statx(fd, "", 0, STATX_SIZE, &st));
    step_text("size %llu", (unsigned long long)st.stx_size);
    DO(close(fd));
    DO(statx(AT_FDCWD, "no", 0, STATX_SIZE, &st));
}

static void statx_birth(const struct test *t)
{
    struct statx st = {0};

    (void)t;
    DO(put("f", "x"));
    DO(statx(AT_FDCWD, "f", 0, STATX_BTIME, &st));
    step_text("birth time %s", (st.stx_mask & STATX_BTIME) != 0 ? "given" : "not given");
}

static void empty_path_flags(const struct test *t)
{
    struct stat st;

    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    int file = DO_FD(open("f", O_RDONLY));
    int dir = DO_FD(open("d", O_RDONLY));
    DO(fstatat(file, "", &st, AT_EMPTY_PATH));
    DO(fstatat(file, "", &st, 0));
    DO(fstatat(dir, "", &st, AT_EMPTY_PATH));
    DO(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
    DO(fstatat(-1, "", &st, AT_EMPTY_PATH));
    DO(fstatat(file, "x", &st, 0));
    DO(fstatat(AT_FDCWD, "f", &st, 0x40000000));
    DO(fchownat(file, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH));
    DO(fchownat(file, "", (uid_t)-1, (gid_t)-1, 0));
    DO(syscall(SYS_faccessat2, file, "", R_OK, AT_EMPTY_PATH));
    DO(utimensat(file, "", NULL, AT_EMPTY_PATH));
    DO(close(file));
    DO(close(dir));
}

static void between_file_systems(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(rename("f", "/dev/shm/conformance-no"));
    DO(link("f", "/dev/shm/conformance-no"));
    DO(rename("/proc/self/status", "g"));
    DO(renameat2(AT_FDCWD, "f", AT_FDCWD, "/dev/shm", RENAME_EXCHANGE));
    show_names(".");
}

static void file_handles(const struct test *t)
{
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int mount_id;

    (void)t;
    DO(put("f", "x"));
    DO(name_to_handle_at(AT_FDCWD, "f", &handle.head, &mount_id, 0));
}

static void inode_numbers(const struct test *t)
{
    struct stat a;
    struct stat b;

    (void)t;
    DO(put("a", "x"));
    DO(put("b", "y"));
    a = look("a");
    b = look("b");
    step_text("two files have %s number", a.st_ino == b.st_ino ? "one" : "each a");
    step_text("%s device", a.st_dev == b.st_dev ? "one" : "not one");
    DO(put("a", "z"));
    step_text("written again: %s", look("a").st_ino == a.st_ino ? "the same" : "another");
    DO(chmod("a", 0600));
    step_text("changed: %s", look("a").st_ino == a.st_ino ? "the same" : "another");
}

void theme_special(void)
{
    CASE(statfs_fields);
    CASE(path_limits);
    CASE(stat_block_size);
    CASE(stat_blocks);
    CASE(statx_ways);
    CASE(statx_birth);
    CASE(empty_path_flags);
    CASE(between_file_systems);
    CASE(file_handles);
    CASE(inode_numbers);
}
