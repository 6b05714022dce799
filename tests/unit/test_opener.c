/* opener: what /proc tells about real processes and their descriptors. */
#include "fs/process.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A file that has no name any more, opened with `flags`; its device and inode number. */
static int file_open(char *path, int flags, struct stat *ret_st)
{
    int fd = open(path, flags | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, ret_st), 0);
    return fd;
}

struct file {
    char dir[64];
    char path[96];
};

static int setup(void **state)
{
    struct file *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_opener.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->path, sizeof(f->path), "%s/file", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct file *f = *state;

    (void)unlink(f->path);
    (void)rmdir(f->dir);
    free(f);
    return 0;
}

static void test_counts_writable_descriptors(void **state)
{
    struct file *f = *state;
    struct opener self;
    struct stat st;
    int a = file_open(f->path, O_WRONLY, &st);
    bool any;
    int b;
    int c;
    int d;

    opener_of(getpid(), &self);
    assert_int_equal(self.tgid, getpid());
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 1);
    assert_true(any);
    b = dup(a);
    c = file_open(f->path, O_RDONLY, &st);
    d = file_open(f->path, O_RDWR | O_APPEND, &st);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 2);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_RDWR, &any), 1);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino + 1000000, O_WRONLY, &any), 0);
    assert_int_equal(opener_fds(self.tgid, st.st_dev + 1000000, st.st_ino, O_WRONLY, &any), 0);
    assert_int_equal(close(a), 0);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 1);
    assert_int_equal(close(b), 0);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 0);
    assert_int_equal(close(c), 0);
    assert_int_equal(close(d), 0);
}

/* What is kept of a process shows what its descriptors are now, not what they were when it was opened. */
static void test_a_number_is_used_again(void **state)
{
    struct file *f = *state;
    struct opener self;
    struct stat st;
    bool any;
    int fd = file_open(f->path, O_WRONLY, &st);
    int other;

    opener_of(getpid(), &self);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 1);
    other = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_int_equal(dup2(other, fd), fd);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 0);
    assert_int_equal(file_open(f->path, O_WRONLY, &st), fd);
    assert_int_equal(opener_fds(self.tgid, st.st_dev, st.st_ino, O_WRONLY, &any), 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(other), 0);
}

/* More descriptors than are kept open, and than one listing holds. */
static void test_many_descriptors(void **state)
{
    enum { MANY = 300 };
    struct file *f = *state;
    int fds[MANY];
    struct stat st;
    bool any;

    for (int i = 0; i < MANY; i++) {
        fds[i] = file_open(f->path, O_WRONLY, &st);
    }
    assert_int_equal(opener_fds(getpid(), st.st_dev, st.st_ino, O_WRONLY, &any), MANY);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(close(fds[i]), 0);
    }
    assert_int_equal(opener_fds(getpid(), st.st_dev, st.st_ino, O_WRONLY, &any), 0);
}

static int open_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 4096; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* As many processes as one likes: some are kept, all are told apart, and in the end nothing is open. */
static void test_many_processes(void **state)
{
    enum { MANY = 150 };
    pid_t children[MANY];
    struct opener openers[MANY];
    int before;
    bool any;

    (void)state;
    process_forget_all();
    before = open_descriptors();
    for (int i = 0; i < MANY; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            (void)pause();
            _exit(0);
        }
        opener_of(children[i], &openers[i]);
        assert_int_equal(openers[i].tgid, children[i]);
        assert_int_equal(opener_fds(children[i], 1, 1, O_WRONLY, &any), 0);
        assert_true(any);
    }
    assert_true(open_descriptors() - before < 1024);
    for (int i = 0; i < MANY; i++) {
        assert_true(opener_is(&openers[i], children[i]));
        assert_false(opener_is(&openers[i], children[(i + 1) % MANY]));
        assert_int_equal(kill(children[i], SIGKILL), 0);
        assert_int_equal(waitpid(children[i], NULL, 0), children[i]);
        assert_false(opener_is(&openers[i], children[i]));
        assert_int_equal(opener_fds(children[i], 1, 1, O_WRONLY, &any), 0);
        assert_false(any);
    }
    process_forget_all();
    assert_int_equal(open_descriptors(), before);
}

static void *thread_main(void *arg)
{
    const struct opener *self = arg;
    struct opener o;
    bool any;
    pid_t tid = (pid_t)syscall(SYS_gettid);

    assert_true(tid != getpid());
    opener_of(tid, &o);
    assert_int_equal(o.tgid, getpid());
    assert_true(o.identity == self->identity);
    assert_true(opener_is(self, tid));
    assert_int_equal(opener_fds(tid, 1, 1, O_WRONLY, &any), 0);
    assert_true(any);
    assert_true(opener_is(self, tid)); /* as it is kept */
    return NULL;
}

static void test_a_thread_is_its_process(void **state)
{
    struct opener self;
    pthread_t thread;

    (void)state;
    opener_of(getpid(), &self);
    assert_int_equal(pthread_create(&thread, NULL, thread_main, &self), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_another_process_is_another(void **state)
{
    struct opener self;
    struct opener reused;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        (void)pause();
        _exit(0);
    }
    opener_of(getpid(), &self);
    assert_false(opener_is(&self, child));
    assert_false(opener_is(&self, 0));
    reused = self;
    reused.identity--; /* the same pid, of another time */
    assert_false(opener_is(&reused, getpid()));
    assert_false(opener_dying(child));
    assert_int_equal(kill(child, SIGKILL), 0);
    {
        siginfo_t info;
        assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    }
    assert_true(opener_dying(child)); /* a zombie still tells */
    assert_true(opener_killed(child));
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(opener_killed(child));
}

static void test_nobody(void **state)
{
    struct opener o;
    bool any;

    (void)state;
    opener_of(0, &o);
    assert_int_equal(o.tgid, 0);
    opener_of(-1, &o);
    assert_int_equal(o.tgid, 0);
    o.tgid = 0x3ffffff; /* beyond pid_max's limit */
    assert_int_equal(opener_fds(o.tgid, 1, 1, O_WRONLY, &any), 0);
    assert_false(any);
}

static void test_rights(void **state)
{
    pid_t child;
    int ready[2];
    char c;

    (void)state;
    assert_false(opener_in_group(0, 0));
    assert_true(opener_may_set_ids(0, 0));
    assert_false(opener_may_set_ids(0, 5));
    if (geteuid() != 0) {
        return;
    }
    assert_int_equal(pipe(ready), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const gid_t groups[] = {17, 4000000000u};
        if (setgroups(2, groups) != 0 || setresuid(5, 5, 5) != 0 || write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    assert_true(opener_may_set_ids(getpid(), 0));
    assert_false(opener_may_set_ids(child, 5));
    assert_true(opener_in_group(child, 17));
    assert_true(opener_in_group(child, 4000000000u));
    assert_false(opener_in_group(child, 1));
    assert_false(opener_in_group(child, 7));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void test_device_of_a_mount(void **state)
{
    uint64_t dev;
    struct stat st;

    (void)state;
    assert_int_equal(stat("/proc", &st), 0);
    assert_int_equal(opener_mount_dev("/proc", &dev), 0);
    assert_true(dev == st.st_dev);
    assert_true(opener_mount_dev("/no/such/mount", &dev) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_counts_writable_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_number_is_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_descriptors, setup, teardown),
        cmocka_unit_test(test_many_processes),
        cmocka_unit_test(test_a_thread_is_its_process),
        cmocka_unit_test(test_another_process_is_another),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_device_of_a_mount),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
