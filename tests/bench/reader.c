/*
 * reader: opens, reads and closes files drawn at random, a thousand times a second, until SIGTERM comes. Then it prints
 * one line of key=value figures, in milliseconds: the largest gap between two replies, how long a read took.
 *
 *   reader DIR COUNT
 *
 * DIR holds what grow has made: COUNT files DIR/D/F, 1000 in a directory. It says "reading" once it has begun.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FILES     1000
#define PERIOD_NS 1000000L
#define NICE      (-10) /* that of the daemon, whose pauses are looked for, not those of this program */

static volatile sig_atomic_t stopped;

static void on_term(int sig)
{
    (void)sig;
    stopped = 1;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct timespec now(void)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0) {
        die("clock_gettime");
    }
    return ts;
}

static double ms_between(const struct timespec *a, const struct timespec *b)
{
    return (double)(b->tv_sec - a->tv_sec) * 1e3 + (double)(b->tv_nsec - a->tv_nsec) / 1e6;
}

static void read_one(const char *dir, unsigned long count)
{
    unsigned long i = (unsigned long)random() % count;
    char path[4096];
    char bytes[256];
    int len = snprintf(path, sizeof(path), "%s/%lu/%lu", dir, i / FILES, i % FILES);
    int fd = len > 0 && (size_t)len < sizeof(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0 || read(fd, bytes, sizeof(bytes)) <= 0 || close(fd) != 0) {
        die(path);
    }
}

/* The next full millisecond, or now if that is over. */
static void wait_for_turn(struct timespec *due)
{
    struct timespec t = now();

    due->tv_nsec += PERIOD_NS;
    if (due->tv_nsec >= 1000000000L) {
        due->tv_nsec -= 1000000000L;
        due->tv_sec++;
    }
    if (ms_between(due, &t) > 0) {
        *due = t;
    } else {
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL);
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_term};
    unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    struct timespec due;
    struct timespec last;
    double gap = 0;
    double took = 0;
    unsigned long reads = 0;

    if (count == 0) {
        fprintf(stderr, "usage: reader DIR COUNT\n");
        return 2;
    }
    if (sigaction(SIGTERM, &action, NULL) != 0 || puts("reading") < 0 || fflush(stdout) != 0) {
        die("reader");
    }
    (void)setpriority(PRIO_PROCESS, 0, NICE); /* where it may */
    due = now();
    last = due;
    while (!stopped) {
        struct timespec begun;
        struct timespec done;

        wait_for_turn(&due);
        begun = now();
        read_one(argv[1], count);
        done = now();
        gap = ms_between(&last, &done) > gap ? ms_between(&last, &done) : gap;
        took += ms_between(&begun, &done);
        last = done;
        reads++;
    }
    printf("reads=%lu gap=%.2f mean=%.3f\n", reads, gap, reads == 0 ? 0 : took / (double)reads);
    return 0;
}
