/*
 * load: the measuring program of `make bench`. Each mode prints one line of key=value figures, times in microseconds.
 *
 *   load fdatasync FILE N        overwrites written blocks of FILE (512 bytes), one fdatasync each
 *   load rtt N                   a 200-byte message and back over TCP on loopback, between two processes
 *   load owc FILE N              open(O_WRONLY|O_CREAT|O_TRUNC), write 100 bytes, close
 *   load orc DIR N               open, read, close of each of the files DIR/0 to DIR/N-1
 *   load fill DIR N              makes these files, 100 bytes each, by several processes at once
 *   load writers SECONDS FILE... one process per FILE, each open-write-close as above as fast as it can; `cpu` is the
 *                                time that these processes used for each write
 *   load gap FILE                writes until SIGTERM, then prints the longest time between two that succeeded
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD     100
#define BLOCK       512
#define FILE_BYTES  (1024 * 1024)
#define RTT_MESSAGE 200
#define FILLERS     32

static double now_us(void)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0) {
        abort();
    }
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

static void print_times(double *times, size_t n)
{
    qsort(times, n, sizeof(*times), compare);
    printf("n=%zu median=%.1f p10=%.1f p90=%.1f p99=%.1f max=%.1f\n", n, times[n / 2], times[n / 10], times[n * 9 / 10],
           times[n * 99 / 100], times[n - 1]);
}

static size_t count_arg(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (*end != '\0' || n < 1 || n > 100000000) {
        fprintf(stderr, "load: not a count: %s\n", text);
        exit(2);
    }
    return (size_t)n;
}

static double *times_new(size_t n)
{
    double *times = calloc(n, sizeof(*times));

    if (times == NULL) {
        die("calloc");
    }
    return times;
}

static int mode_fdatasync(const char *path, size_t n)
{
    char *zeros = calloc(1, FILE_BYTES);
    double *times = times_new(n);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t i;

    if (fd < 0 || zeros == NULL || write(fd, zeros, FILE_BYTES) != FILE_BYTES || fsync(fd) != 0) {
        die(path);
    }
    for (i = 0; i < n; i++) {
        double start = now_us();

        if (pwrite(fd, zeros, BLOCK, (off_t)(i * BLOCK % FILE_BYTES)) != BLOCK || fdatasync(fd) != 0) {
            die(path);
        }
        times[i] = now_us() - start;
    }
    print_times(times, n);
    free(times);
    free(zeros);
    return close(fd);
}

static void exchange(int fd, char *message, int first)
{
    size_t have = 0;

    if (first && write(fd, message, RTT_MESSAGE) != RTT_MESSAGE) {
        die("write");
    }
    while (have < RTT_MESSAGE) {
        ssize_t got = read(fd, message + have, RTT_MESSAGE - have);

        if (got <= 0) {
            die("read");
        }
        have += (size_t)got;
    }
    if (!first && write(fd, message, RTT_MESSAGE) != RTT_MESSAGE) {
        die("write");
    }
}

static int connect_pair(int listener, const struct sockaddr_in *address, int first)
{
    int one = 1;
    int fd = first ? socket(AF_INET, SOCK_STREAM, 0) : accept(listener, NULL, NULL);

    if (fd < 0 || (first && connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) {
        die("connect");
    }
    return fd;
}

static int mode_rtt(size_t n)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    char message[RTT_MESSAGE] = {0};
    double *times = times_new(n);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    pid_t pid;
    int fd;
    size_t i;

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0) {
        die("listen");
    }
    pid = fork();
    if (pid < 0) {
        die("fork");
    }
    fd = connect_pair(listener, &address, pid != 0);
    for (i = 0; i < n; i++) {
        double start = now_us();

        exchange(fd, message, pid != 0);
        times[i] = now_us() - start;
    }
    if (pid == 0) {
        _exit(0);
    }
    if (waitpid(pid, NULL, 0) != pid) {
        die("waitpid");
    }
    print_times(times, n);
    free(times);
    return 0;
}

static int write_once(const char *path)
{
    char bytes[PAYLOAD];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0) {
        return -errno;
    }
    memset(bytes, 'x', sizeof(bytes));
    if (write(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes)) {
        int rv = -errno;

        (void)close(fd);
        return rv;
    }
    return close(fd) == 0 ? 0 : -errno;
}

static int read_once(const char *path)
{
    char bytes[PAYLOAD];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, bytes, sizeof(bytes)) < 0) {
        return -errno;
    }
    return close(fd) == 0 ? 0 : -errno;
}

static int mode_owc(const char *path, size_t n)
{
    double *times = times_new(n);
    size_t i;

    for (i = 0; i < n; i++) {
        double start = now_us();

        if (write_once(path) != 0) {
            die(path);
        }
        times[i] = now_us() - start;
    }
    print_times(times, n);
    free(times);
    return 0;
}

static void numbered(const char *dir, size_t i, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/%zu", dir, i);

    if (n < 0 || n >= PATH_MAX) {
        errno = ENAMETOOLONG;
        die(dir);
    }
}

static int mode_orc(const char *dir, size_t n)
{
    double *times = times_new(n);
    char path[PATH_MAX];
    size_t i;

    /* So that no directory above costs anything. */
    if (chdir(dir) != 0) {
        die(dir);
    }
    for (i = 0; i < n; i++) {
        double start;

        numbered(".", i, path);
        start = now_us();
        if (read_once(path) != 0) {
            die(path);
        }
        times[i] = now_us() - start;
    }
    print_times(times, n);
    free(times);
    return 0;
}

/* Waits for `n` children; non-zero when one of them failed. */
static int wait_for(size_t n)
{
    int failed = 0;

    while (n-- > 0) {
        int status;

        if (wait(&status) < 0) {
            die("wait");
        }
        failed |= status;
    }
    return failed != 0;
}

static int mode_fill(const char *dir, size_t n)
{
    char path[PATH_MAX];
    size_t k;

    for (k = 0; k < FILLERS; k++) {
        pid_t pid = fork();

        if (pid < 0) {
            die("fork");
        }
        if (pid == 0) {
            for (size_t i = k; i < n; i += FILLERS) {
                numbered(dir, i, path);
                if (write_once(path) != 0) {
                    die(path);
                }
            }
            _exit(0);
        }
    }
    return wait_for(FILLERS);
}

static void write_until(const char *path, double end, size_t *count)
{
    while (now_us() < end) {
        if (write_once(path) != 0) {
            die(path);
        }
        (*count)++;
    }
}

static double children_cpu_us(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_CHILDREN, &usage) != 0) {
        die("getrusage");
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Processes, as users' shells are, not threads: the daemon looks through the descriptors of a file's opener. */
static int mode_writers(size_t seconds, char **paths, size_t n)
{
    size_t *counts = mmap(NULL, n * sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double start = now_us();
    size_t total = 0;
    double end;
    int failed;
    size_t i;

    if (counts == MAP_FAILED) {
        die("mmap");
    }
    for (i = 0; i < n; i++) {
        pid_t pid = fork();

        if (pid < 0) {
            die("fork");
        }
        if (pid == 0) {
            write_until(paths[i], start + (double)seconds * 1e6, &counts[i]);
            _exit(0);
        }
    }
    failed = wait_for(n);
    end = now_us();
    for (i = 0; i < n; i++) {
        total += counts[i];
    }
    printf("writers=%zu writes=%zu per_second=%.0f cpu=%.1f\n", n, total, (double)total * 1e6 / (end - start),
           children_cpu_us() / (double)total);
    (void)munmap(counts, n * sizeof(*counts));
    return failed;
}

static volatile sig_atomic_t ended;

static void on_term(int sig)
{
    (void)sig;
    ended = 1;
}

static int mode_gap(const char *path)
{
    struct sigaction sa = {.sa_handler = on_term};
    double last = now_us();
    double longest = 0;
    size_t n = 0;
    size_t errors = 0;

    if (sigaction(SIGTERM, &sa, NULL) != 0) {
        die("sigaction");
    }
    while (!ended) {
        double after;

        if (write_once(path) != 0) {
            errors++;
            continue;
        }
        after = now_us();
        if (n > 0 && after - last > longest) {
            longest = after - last;
        }
        last = after;
        n++;
        if (n == 1) {
            printf("ready\n");
            (void)fflush(stdout);
        }
    }
    printf("n=%zu errors=%zu gap=%.0f\n", n, errors, longest);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "fdatasync") == 0) {
        return mode_fdatasync(argv[2], count_arg(argv[3]));
    }
    if (argc == 3 && strcmp(argv[1], "rtt") == 0) {
        return mode_rtt(count_arg(argv[2]));
    }
    if (argc == 4 && strcmp(argv[1], "owc") == 0) {
        return mode_owc(argv[2], count_arg(argv[3]));
    }
    if (argc == 4 && strcmp(argv[1], "orc") == 0) {
        return mode_orc(argv[2], count_arg(argv[3]));
    }
    if (argc == 4 && strcmp(argv[1], "fill") == 0) {
        return mode_fill(argv[2], count_arg(argv[3]));
    }
    if (argc >= 4 && strcmp(argv[1], "writers") == 0) {
        return mode_writers(count_arg(argv[2]), argv + 3, (size_t)argc - 3);
    }
    if (argc == 3 && strcmp(argv[1], "gap") == 0) {
        return mode_gap(argv[2]);
    }
    fprintf(stderr, "usage: see the top of tests/bench/load.c\n");
    return 2;
}
