/* Descriptors: dup, fork, flags, mappings, copies between them. */
#include "step.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

static void dup_shares_the_offset(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    int other = DO_FD(dup(fd));
    DO(write(fd, "one", 3));
    DO(write(other, "two", 3));
    DO(lseek(fd, 0, SEEK_CUR));
    DO(close(fd));
    DO(write(other, "three", 5));
    show_read("pread(other)", other, 20, 0);
    DO(close(other));
    show_contents("f");
}

static void dup_flags(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    int other = DO_FD(fcntl(fd, F_DUPFD, 50));
    DO(fcntl(other, F_GETFD));
    DO(fcntl(fd, F_GETFD));
    DO(fcntl(other, F_GETFL) & (O_APPEND | O_ACCMODE));
    DO(fcntl(fd, F_SETFL, O_NONBLOCK));
    DO(fcntl(other, F_GETFL) & (O_APPEND | O_NONBLOCK));
    DO(fcntl(fd, F_SETFL, O_DIRECT));
    DO(fcntl(fd, F_SETFL, O_NOATIME) < 0 ? -1 : 0);
}

static void write_in_the_child(void *arg)
{
    const int *fd = arg;

    DO(write(*fd, "child", 5));
    DO(close(*fd));
}

static void fork_shares_the_offset(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "parent ", 7));
    in_child(write_in_the_child, &fd);
    DO(lseek(fd, 0, SEEK_CUR));
    DO(write(fd, " parent", 7));
    DO(close(fd));
    show_contents("f");
}

static void exit_in_the_child(void *arg)
{
    (void)arg;
}

static void fork_and_exit(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "x", 1));
    in_child(exit_in_the_child, NULL);
    DO(write(fd, "y", 1));
    show_read("pread(fd)", fd, 10, 0);
    DO(close(fd));
    show_contents("f");
}

static void close_and_reopen_often(const struct test *t)
{
    (void)t;
    for (int i = 0; i < 20; i++) {
        int fd = open("f", O_RDWR | O_CREAT, 0644);
        if (fd < 0 || lseek(fd, 0, SEEK_END) != i || write(fd, "x", 1) != 1 || close(fd) != 0) {
            step_text("wrong at %d", i);
        }
    }
    show_contents("f");
}

static void map_private(const struct test *t)
{
    (void)t;
    DO(put("f", "mapped contents"));
    int fd = DO_FD(open("f", O_RDWR));
    char *map = mmap(NULL, 15, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    DO(map == MAP_FAILED ? -1 : 0);
    if (map != MAP_FAILED) {
        step_bytes("map", map, 15);
        map[0] = 'M';
        step_bytes("map", map, 15);
        show_contents("f");
        DO(munmap(map, 15));
    }
    DO(close(fd));
}

static void map_private_read_only(const struct test *t)
{
    (void)t;
    DO(put("f", "mapped contents"));
    int fd = DO_FD(open("f", O_RDONLY));
    char *map = mmap(NULL, 15, PROT_READ, MAP_PRIVATE, fd, 0);
    DO(map == MAP_FAILED ? -1 : 0);
    DO(close(fd));
    if (map != MAP_FAILED) {
        step_bytes("map", map, 15);
        DO(unlink("f"));
        step_bytes("map", map, 15);
        DO(munmap(map, 15));
    }
}

static void map_execute(const struct test *t)
{
    (void)t;
    DO(put("f", "mapped contents"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(mmap(NULL, 15, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    DO(mmap(NULL, 15, PROT_READ, MAP_PRIVATE, fd, 1) == MAP_FAILED ? -1 : 0);
    DO(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    DO(close(fd));
    fd = DO_FD(open("f", O_WRONLY));
    DO(mmap(NULL, 15, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    DO(close(fd));
}

static void map_shared_write(const struct test *t)
{
    (void)t;
    DO(put("f", "mapped contents"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(mmap(NULL, 15, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    DO(close(fd));
}

static void map_shared_read(const struct test *t)
{
    (void)t;
    DO(put("f", "mapped contents"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(mmap(NULL, 15, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    DO(close(fd));
}

static void temporary_file(const struct test *t)
{
    (void)t;
    DO_FD(open(".", O_TMPFILE | O_RDWR, 0644));
    DO_FD(open(".", O_TMPFILE | O_RDONLY, 0644));
    show_names(".");
}

static void temporary_file_by_name(const struct test *t)
{
    char name[] = "tmpXXXXXX";

    (void)t;
    int fd = mkstemp(name);
    step_text("mkstemp %s", fd >= 0 ? "works" : "fails");
    show_fd("fd", fd);
    DO(unlink(name));
    DO(write(fd, "scratch", 7));
    show_read("pread(fd)", fd, 10, 0);
    DO(close(fd));
    show_names(".");
    FILE *file = tmpfile();
    step_text("tmpfile %s", file != NULL ? "works" : "fails");
    if (file != NULL) {
        (void)fclose(file);
    }
}

static void allocate(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "abc", 3));
    DO(fallocate(fd, 0, 0, 10));
    show_fd("fd", fd);
    DO(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100));
    DO(fallocate(fd, 0, 0, 5));
    DO(fallocate(fd, 0, -1, 5));
    DO(fallocate(fd, 0, 0, 0));
    DO(close(fd));
    show_contents("f");
}

static void allocate_by_the_library(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "abc", 3));
    DO(posix_fallocate(fd, 0, 10));
    show_fd("fd", fd);
    DO(close(fd));
    show_contents("f");
}

static void punch_hole(const struct test *t)
{
    (void)t;
    DO(put("f", "0123456789"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2, 3));
    DO(fallocate(fd, FALLOC_FL_ZERO_RANGE, 6, 2));
    DO(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 2, 3));
    DO(close(fd));
    show_contents("f");
}

static void copy_range(const struct test *t)
{
    off_t from = 2;
    off_t to = 1;

    (void)t;
    DO(put("f", "0123456789"));
    int in = DO_FD(open("f", O_RDONLY));
    int out = DO_FD(open("g", O_RDWR | O_CREAT, 0644));
    DO(copy_file_range(in, NULL, out, NULL, 4, 0));
    DO(copy_file_range(in, &from, out, &to, 3, 0));
    DO(copy_file_range(in, NULL, out, NULL, 100, 0));
    DO(copy_file_range(in, NULL, out, NULL, 100, 0));
    DO(copy_file_range(in, NULL, out, NULL, 100, 1));
    DO(copy_file_range(out, NULL, in, NULL, 1, 0));
    DO(lseek(in, 0, SEEK_CUR));
    DO(lseek(out, 0, SEEK_CUR));
    DO(close(in));
    DO(close(out));
    show_contents("g");
}

static void copy_range_in_one_file(const struct test *t)
{
    off_t from = 0;
    off_t to = 5;

    (void)t;
    DO(put("f", "0123456789"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(copy_file_range(fd, &from, fd, &to, 5, 0));
    from = 0;
    to = 2;
    DO(copy_file_range(fd, &from, fd, &to, 5, 0));
    DO(close(fd));
    show_contents("f");
}

static void send_and_splice(const struct test *t)
{
    int pipe_fds[2];
    off_t at = 2;

    (void)t;
    DO(put("f", "0123456789"));
    int in = DO_FD(open("f", O_RDONLY));
    int out = DO_FD(open("g", O_WRONLY | O_CREAT, 0644));
    DO(sendfile(out, in, NULL, 3));
    DO(sendfile(out, in, &at, 3));
    DO(pipe(pipe_fds));
    DO(splice(in, NULL, pipe_fds[1], NULL, 4, 0));
    DO(splice(pipe_fds[0], NULL, out, NULL, 4, 0));
    DO(close(in));
    DO(close(out));
    show_contents("g");
}

static void poll_files(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    struct pollfd p = {.fd = open("f", O_RDWR), .events = POLLIN | POLLOUT | POLLPRI};
    DO(poll(&p, 1, 0));
    step_text("events %x", (unsigned)p.revents);
    DO(close(p.fd));
    p.fd = open(".", O_RDONLY);
    DO(poll(&p, 1, 0));
    DO(close(p.fd));
}

static void ioctls(const struct test *t)
{
    int value = 0;

    (void)t;
    DO(put("f", "0123456789"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(ioctl(fd, FIONREAD, &value));
    DO(ioctl(fd, 0x5401, &value));
    DO(ioctl(fd, 0x12345678, &value));
    DO(isatty(fd) == 0 ? -1 : 0);
    DO(close(fd));
}

static void inode_flags(const struct test *t)
{
    long value = 0;

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(ioctl(fd, _IOR('f', 1, long), &value));
    DO(close(fd));
}

static void direct_reads(const struct test *t)
{
    char *aligned = NULL;

    (void)t;
    DO(put("f", "0123456789"));
    int fd = DO_FD(open("f", O_RDONLY | O_DIRECT));
    DO(posix_memalign((void **)&aligned, 4096, 4096));
    DO(pread(fd, aligned, 4096, 0));
    step_bytes("read", aligned, 10);
    DO(pread(fd, aligned, 4096, 4096));
    DO(close(fd));
    free(aligned);
}

static void direct_unaligned(const struct test *t)
{
    char buf[16];

    (void)t;
    DO(put("f", "0123456789"));
    int fd = DO_FD(open("f", O_RDONLY | O_DIRECT));
    DO(pread(fd, buf + 1, 3, 1));
    DO(close(fd));
}

static void direct_writes(const struct test *t)
{
    char *aligned = NULL;

    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT | O_DIRECT, 0644));
    DO(posix_memalign((void **)&aligned, 4096, 4096));
    memset(aligned, 'd', 4096);
    DO(pwrite(fd, aligned, 4096, 0));
    DO(pwrite(fd, aligned, 4096, 8192));
    DO(close(fd));
    free(aligned);
    show_contents("f");
}

static void sync_calls(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "x", 1));
    DO(fsync(fd));
    DO(fdatasync(fd));
    DO(sync_file_range(fd, 0, 1, SYNC_FILE_RANGE_WRITE));
    DO(syncfs(fd));
    DO(close(fd));
    fd = DO_FD(open("f", O_RDONLY));
    DO(fsync(fd));
    DO(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    DO(readahead(fd, 0, 10));
    DO(close(fd));
    fd = DO_FD(open(".", O_RDONLY));
    DO(fsync(fd));
    DO(close(fd));
}

static void through_proc(const struct test *t)
{
    char path[64];

    (void)t;
    DO(put("f", "contents"));
    int fd = DO_FD(open("f", O_RDONLY));
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int writer = DO_FD(open(path, O_WRONLY));
    DO(write(writer, "CON", 3));
    DO(close(writer));
    show_read("pread(fd)", fd, 20, 0);
    DO(close(fd));
    show_contents("f");
}

static void streams(const struct test *t)
{
    char line[64] = "";

    (void)t;
    FILE *file = fopen("f", "w+");
    for (int i = 0; file != NULL && i < 1000; i++) {
        (void)fprintf(file, "line %d\n", i);
    }
    DO(fflush(file));
    rewind(file);
    DO(fgets(line, sizeof(line), file) == NULL ? -1 : 0);
    step_bytes("line", line, strlen(line));
    DO(fseek(file, -9, SEEK_END));
    DO(fgets(line, sizeof(line), file) == NULL ? -1 : 0);
    step_bytes("line", line, strlen(line));
    DO(fclose(file));
    show_contents("f");
    file = fopen("f", "a");
    (void)fputs("more\n", file);
    DO(fclose(file));
    show("f");
}

void theme_handles(void)
{
    CASE(dup_shares_the_offset);
    CASE(dup_flags);
    CASE(fork_shares_the_offset);
    CASE(fork_and_exit);
    CASE(close_and_reopen_often);
    CASE(map_private);
    CASE(map_private_read_only);
    CASE(map_execute);
    CASE(map_shared_write);
    CASE(map_shared_read);
    CASE(temporary_file);
    CASE(temporary_file_by_name);
    CASE(allocate);
    CASE(allocate_by_the_library);
    CASE(punch_hole);
    CASE(copy_range);
    CASE(copy_range_in_one_file);
    CASE(send_and_splice);
    CASE(poll_files);
    CASE(ioctls);
    CASE(inode_flags);
    CASE(direct_reads);
    CASE(direct_unaligned);
    CASE(direct_writes);
    CASE(sync_calls);
    CASE(through_proc);
    CASE(streams);
}
