/* What is read and written: offsets, holes, truncation, appends, sizes. */
#include "step.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static void write_and_read(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "hello", 5));
    DO(lseek(fd, 0, SEEK_CUR));
    show_read("read(fd)", fd, 10, -1);
    DO(lseek(fd, 1, SEEK_SET));
    show_read("read(fd)", fd, 2, -1);
    DO(lseek(fd, 0, SEEK_CUR));
    DO(write(fd, "XYZ", 3));
    show_fd("fd", fd);
    DO(lseek(fd, -2, SEEK_END));
    show_read("read(fd)", fd, 10, -1);
    show_read("read(fd)", fd, 10, -1);
    DO(close(fd));
    show_contents("f");
}

static void write_holes(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(pwrite(fd, "b", 1, 20));
    show_read("pread(fd)", fd, 30, 0);
    DO(pwrite(fd, "a", 1, 5));
    show_read("pread(fd)", fd, 30, 0);
    DO(lseek(fd, 30, SEEK_SET));
    DO(write(fd, "", 0));
    show_fd("fd", fd);
    DO(write(fd, "c", 1));
    show_fd("fd", fd);
    DO(close(fd));
    show_contents("f");
}

static void write_offsets_invalid(const struct test *t)
{
    char c = 0;

    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(pwrite(fd, "a", 1, -1));
    DO(pread(fd, &c, 1, -1));
    DO(lseek(fd, -1, SEEK_SET));
    DO(lseek(fd, -1, SEEK_END));
    DO(lseek(fd, 0, 99));
    DO(ftruncate(fd, -1));
    DO(truncate("f", -1));
    DO(lseek(fd, 0x7fffffffffffffff, SEEK_SET));
    DO(pread(fd, &c, 1, 1000));
    DO(pwrite(fd, "a", 0, 1000));
    DO(read(fd, (char *)8, 0));
    DO(close(fd));
    show("f");
}

static void write_bad_pointer(const struct test *t)
{
    (void)t;
    DO(put("f", "contents"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(syscall(SYS_write, fd, (void *)8, 4));
    DO(syscall(SYS_read, fd, (void *)8, 4));
    DO(syscall(SYS_pread64, fd, (void *)8, 4, 100));
    DO(close(fd));
    show_contents("f");
}

static void write_limits(const struct test *t)
{
    char *mib = many('m', 1 << 20);

    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, mib, 1 << 20));
    show_fd("fd", fd);
    DO(close(fd));
    show_contents("f");
    fd = DO_FD(open("f", O_RDWR));
    DO(pwrite(fd, "x", 1, (1 << 20) - 1));
    DO(close(fd));
    show("f");
}

static void write_beyond_a_mebibyte(const struct test *t)
{
    (void)t;
    DO(put("f", "old"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(pwrite(fd, "x", 1, 1 << 20));
    DO(close(fd));
    show("f");
}

static void truncate_beyond_a_mebibyte(const struct test *t)
{
    (void)t;
    DO(put("f", "old"));
    DO(truncate("f", 1 << 20));
    DO(truncate("f", (1 << 20) + 1));
    show("f");
}

static void ftruncate_beyond_a_mebibyte(const struct test *t)
{
    (void)t;
    DO(put("f", "old"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(ftruncate(fd, (1 << 20) + 1));
    DO(close(fd));
    show("f");
}

static void write_in_many_pieces(const struct test *t)
{
    char piece[100];

    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    for (int i = 0; i < 500; i++) {
        memset(piece, 'a' + i % 26, sizeof(piece));
        if (pwrite(fd, piece, (size_t)(1 + i % 100), (i * 37) % 20000) < 0) {
            step_text("pwrite failed at %d", i);
        }
    }
    show_fd("fd", fd);
    DO(close(fd));
    show_contents("f");
}

static void read_write_vectors(const struct test *t)
{
    char a[4] = "abc";
    char b[4] = "def";
    struct iovec v[3] = {{a, 3}, {NULL, 0}, {b, 3}};

    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(writev(fd, v, 3));
    DO(pwritev(fd, v, 3, 10));
    DO(writev(fd, v, 0));
    DO(syscall(SYS_writev, fd, v, -1));
    DO(lseek(fd, 0, SEEK_CUR));
    memset(a, 0, sizeof(a));
    DO(preadv(fd, v, 3, 1));
    step_bytes("a", a, 3);
    step_bytes("b", b, 3);
    DO(pwritev2(fd, v, 3, -1, RWF_APPEND));
    DO(pwritev2(fd, v, 3, 0, RWF_DSYNC));
    DO(preadv2(fd, v, 3, 0, RWF_NOWAIT | 0x8000));
    DO(close(fd));
    show_contents("f");
}

static void truncate_ways(const struct test *t)
{
    (void)t;
    DO(put("f", "0123456789"));
    DO(truncate("f", 4));
    show_contents("f");
    DO(truncate("f", 8));
    show_contents("f");
    DO(truncate("f", 8));
    DO(truncate("f", 0));
    show_contents("f");
    DO(truncate("no", 0));
    DO(mkdir("d", 0755));
    DO(truncate("d", 0));
    DO(truncate("f", 0x7fffffffffffffff));
}

static void ftruncate_ways(const struct test *t)
{
    (void)t;
    DO(put("f", "0123456789"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(lseek(fd, 6, SEEK_SET));
    DO(ftruncate(fd, 3));
    show_fd("fd", fd);
    DO(lseek(fd, 0, SEEK_CUR));
    show_read("read(fd)", fd, 10, -1);
    DO(write(fd, "Z", 1));
    show_read("pread(fd)", fd, 20, 0);
    DO(ftruncate(fd, 12));
    show_read("pread(fd)", fd, 20, 0);
    DO(ftruncate(fd, 5));
    DO(ftruncate(fd, 9));
    show_read("pread(fd)", fd, 20, 0);
    DO(close(fd));
    show_contents("f");
}

static void append_ways(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT | O_APPEND, 0644));
    DO(write(fd, "one", 3));
    DO(lseek(fd, 0, SEEK_CUR));
    DO(lseek(fd, 0, SEEK_SET));
    DO(write(fd, "two", 3));
    DO(lseek(fd, 0, SEEK_CUR));
    DO(pwrite(fd, "three", 5, 0));
    show_read("pread(fd)", fd, 20, 0);
    DO(write(fd, "", 0));
    show_fd("fd", fd);
    show_contents("f");
    DO(ftruncate(fd, 2));
    DO(write(fd, "end", 3));
    DO(close(fd));
    show_contents("f");
}

static void append_of_two(const struct test *t)
{
    (void)t;
    int a = DO_FD(open("f", O_WRONLY | O_CREAT | O_APPEND, 0644));
    int b = DO_FD(open("f", O_WRONLY | O_APPEND));
    DO(write(a, "1", 1));
    DO(write(b, "2", 1));
    DO(write(a, "3", 1));
    show_contents("f");
    DO(close(a));
    DO(write(b, "4", 1));
    DO(close(b));
    show_contents("f");
}

static void append_switched_on(const struct test *t)
{
    (void)t;
    DO(put("f", "start"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(fcntl(fd, F_SETFL, O_APPEND));
    DO(write(fd, "end", 3));
    DO(fcntl(fd, F_SETFL, 0));
    DO(pwrite(fd, "S", 1, 0));
    DO(close(fd));
    show_contents("f");
}

static void append_large(const struct test *t)
{
    char *half = many('h', 600000);

    (void)t;
    int fd = DO_FD(open("f", O_WRONLY | O_CREAT | O_APPEND, 0644));
    DO(write(fd, half, 600000));
    DO(write(fd, half, 400000));
    show_fd("fd", fd);
    DO(close(fd));
    show("f");
}

static void seek_data_and_holes(const struct test *t)
{
    (void)t;
    DO(put("f", "0123456789"));
    int fd = DO_FD(open("f", O_RDWR));
    DO(lseek(fd, 0, SEEK_DATA));
    DO(lseek(fd, 3, SEEK_DATA));
    DO(lseek(fd, 0, SEEK_HOLE));
    DO(lseek(fd, 10, SEEK_DATA));
    DO(lseek(fd, 10, SEEK_HOLE));
    DO(lseek(fd, 11, SEEK_HOLE));
    DO(lseek(fd, -1, SEEK_DATA));
    DO(close(fd));
}

static void seek_end_follows_the_file(const struct test *t)
{
    (void)t;
    DO(put("f", "12345"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(lseek(fd, 0, SEEK_END));
    DO(truncate("f", 9));
    DO(lseek(fd, 0, SEEK_END));
    DO(put("f", "1"));
    DO(lseek(fd, 0, SEEK_END));
    DO(close(fd));
}

static void read_sees_what_another_wrote(const struct test *t)
{
    (void)t;
    DO(put("f", "first"));
    int fd = DO_FD(open("f", O_RDONLY));
    show_read("read(fd)", fd, 10, -1);
    DO(put("f", "second and longer"));
    show_read("pread(fd)", fd, 20, 0);
    DO(truncate("f", 3));
    show_read("pread(fd)", fd, 20, 0);
    DO(close(fd));
}

static void read_of_one_version(const struct test *t)
{
    (void)t;
    DO(put("f", "aaaaaaaaaa"));
    int fd = DO_FD(open("f", O_RDONLY));
    show_read("read(fd)", fd, 5, -1);
    DO(put("f", "bbbbbbbbbb"));
    show_read("read(fd)", fd, 5, -1);
    show_read("read(fd)", fd, 5, -1);
    show_read("pread(fd)", fd, 10, 0);
    DO(close(fd));
}

static void write_seen_before_close(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(write(fd, "draft", 5));
    show_contents("f");
    show_fd("fd", fd);
    DO(fsync(fd));
    show_contents("f");
    DO(write(fd, " more", 5));
    show_contents("f");
    DO(close(fd));
    show_contents("f");
}

static void write_sync_seen_at_once(const struct test *t)
{
    (void)t;
    int fd = DO_FD(open("f", O_RDWR | O_CREAT | O_SYNC, 0644));
    DO(write(fd, "one", 3));
    show_contents("f");
    DO(write(fd, "two", 3));
    show_contents("f");
    DO(close(fd));
}

static void truncated_open_and_nothing_written(const struct test *t)
{
    (void)t;
    DO(put("f", "old"));
    int fd = DO_FD(open("f", O_WRONLY | O_TRUNC));
    show_fd("fd", fd);
    show_contents("f");
    DO(close(fd));
    show_contents("f");
    show("f");
}

static void two_writers(const struct test *t)
{
    (void)t;
    DO(put("f", "0123456789"));
    int a = DO_FD(open("f", O_RDWR));
    int b = DO_FD(open("f", O_RDWR));
    DO(pwrite(a, "AA", 2, 0));
    DO(pwrite(b, "BB", 2, 8));
    show_read("pread(a)", a, 20, 0);
    show_read("pread(b)", b, 20, 0);
    DO(close(a));
    DO(close(b));
    show_contents("f");
}

static void file_size_limit(const struct test *t)
{
    struct rlimit limit = {.rlim_cur = 100, .rlim_max = 100};

    (void)t;
    (void)signal(SIGXFSZ, SIG_IGN);
    int fd = DO_FD(open("f", O_RDWR | O_CREAT, 0644));
    DO(setrlimit(RLIMIT_FSIZE, &limit));
    DO(pwrite(fd, many('x', 150), 150, 0));
    DO(pwrite(fd, "x", 1, 100));
    DO(ftruncate(fd, 101));
    DO(ftruncate(fd, 100));
    DO(close(fd));
    show("f");
}

void theme_data(void)
{
    CASE(write_and_read);
    CASE(write_holes);
    CASE(write_offsets_invalid);
    CASE(write_bad_pointer);
    CASE(write_limits);
    CASE(write_beyond_a_mebibyte);
    CASE(truncate_beyond_a_mebibyte);
    CASE(ftruncate_beyond_a_mebibyte);
    CASE(write_in_many_pieces);
    CASE(read_write_vectors);
    CASE(truncate_ways);
    CASE(ftruncate_ways);
    CASE(append_ways);
    CASE(append_of_two);
    CASE(append_switched_on);
    CASE(append_large);
    CASE(seek_data_and_holes);
    CASE(seek_end_follows_the_file);
    CASE(read_sees_what_another_wrote);
    CASE(read_of_one_version);
    CASE(write_seen_before_close);
    CASE(write_sync_seen_at_once);
    CASE(truncated_open_and_nothing_written);
    CASE(two_writers);
    CASE(file_size_limit);
}
