/* rename(2), renameat2(2): every kind of node over every other, and what is special. */
#include "step.h"

static const char *const kinds[] = {"none", "file", "dir", "full", "link", "dangling"};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void make(const char *name, const char *kind)
{
    char below[64];

    if (strcmp(kind, "file") == 0) {
        (void)put(name, name);
    } else if (strcmp(kind, "dir") == 0) {
        (void)mkdir(name, 0755);
    } else if (strcmp(kind, "full") == 0) {
        (void)mkdir(name, 0755);
        (void)snprintf(below, sizeof(below), "%s/x", name);
        (void)put(below, "below");
    } else if (strcmp(kind, "link") == 0) {
        (void)mkdir("real", 0755);
        (void)symlink("real", name);
    } else if (strcmp(kind, "dangling") == 0) {
        (void)symlink("nowhere", name);
    }
}

static void rename_kinds(const struct test *t)
{
    make("a", t->a);
    make("b", t->b);
    if (t->c == 0) {
        DO(rename("a", "b"));
    } else if (t->c == RENAME_NOREPLACE) {
        DO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
    } else {
        DO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
    }
    show("a");
    show("b");
    show(".");
}

static void rename_to_itself(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(rename("f", "f"));
    DO(rename("d", "d"));
    DO(rename("./f", "f"));
    DO(renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_NOREPLACE));
    DO(renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_EXCHANGE));
    DO(rename("no", "no"));
    show_names(".");
}

static void rename_below_itself(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(mkdir("d/e", 0755));
    DO(rename("d", "d/x"));
    DO(rename("d", "d/e/x"));
    DO(rename("d", "d/e"));
    DO(renameat2(AT_FDCWD, "d", AT_FDCWD, "d/e", RENAME_EXCHANGE));
    DO(renameat2(AT_FDCWD, "d/e", AT_FDCWD, "d", RENAME_EXCHANGE));
    DO(rename("d/e", "d"));
    show("d/e");
}

static void rename_over_ancestor(const struct test *t)
{
    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("a/b", 0755));
    DO(mkdir("a/b/c", 0755));
    DO(put("a/b/f", "x"));
    DO(rename("a/b/c", "a"));
    DO(rename("a/b/f", "a"));
    DO(rename("a/b/f", "a/b"));
    show_names("a/b");
}

static void rename_dot(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(rename(".", "x"));
    DO(rename("..", "x"));
    DO(rename("d/.", "x"));
    DO(rename("d/..", "x"));
    DO(rename("d", "."));
    DO(rename("d", ".."));
    DO(rename("d", "d/."));
    DO(rename("no", "."));
    DO(renameat2(AT_FDCWD, "d", AT_FDCWD, ".", RENAME_NOREPLACE));
    DO(renameat2(AT_FDCWD, "d", AT_FDCWD, ".", RENAME_EXCHANGE));
}

static void rename_flags_invalid(const struct test *t)
{
    (void)t;
    DO(put("a", "a"));
    DO(put("b", "b"));
    DO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
    DO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT | RENAME_EXCHANGE));
    DO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 8));
    DO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 0x80000000u));
    show_contents("a");
    show_contents("b");
}

static void rename_whiteout(const struct test *t)
{
    (void)t;
    DO(put("a", "a"));
    DO(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_WHITEOUT));
    DO(unlink("a"));
    DO(rename("b", "c"));
}

static void rename_trailing_slash(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(mkdir("e", 0755));
    DO(symlink("d", "l"));
    DO(rename("d/", "x/"));
    DO(rename("x", "y/"));
    DO(rename("y/", "z"));
    DO(rename("f/", "g"));
    DO(rename("f", "g/"));
    DO(rename("f", "z/"));
    DO(rename("l/", "m"));
    DO(rename("z/", "e/"));
    DO(renameat2(AT_FDCWD, "e/", AT_FDCWD, "f", RENAME_EXCHANGE));
    DO(renameat2(AT_FDCWD, "e/", AT_FDCWD, "f/", RENAME_EXCHANGE));
    show_names(".");
}

static void rename_keeps_the_node(const struct test *t)
{
    (void)t;
    DO(put("f", "contents"));
    DO(chmod("f", 0640));
    DO(mkdir("d", 0755));
    DO(symlink("../f", "d/l"));
    struct stat before = look("f");
    DO(rename("f", "d/g"));
    struct stat after = look("d/g");
    step_text("the node is %s", before.st_ino == after.st_ino ? "the same" : "another");
    show("d/g");
    show_contents("d/g");
    DO(rename("d", "e"));
    show_contents("e/g");
}

static void rename_subtree_to_another_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("a/s", 0755));
    DO(mkdir("a/s/t", 0755));
    DO(put("a/s/t/f", "deep"));
    DO(mkdir("b", 0755));
    show("a");
    show("b");
    DO(rename("a/s", "b/s"));
    show("a");
    show("b");
    show_contents("b/s/t/f");
    DO(stat("b/s/../../b/s/t/f", &(struct stat){0}));
    show_same("b/s/..", "b");
}

static void rename_open_target(const struct test *t)
{
    (void)t;
    DO(put("a", "new"));
    DO(put("b", "old"));
    int fd = DO_FD(open("b", O_RDWR));
    DO(rename("a", "b"));
    show_fd("fd", fd);
    show_read("read(fd)", fd, 10, 0);
    DO(write(fd, "gone", 4));
    show_fd("fd", fd);
    DO(close(fd));
    show_contents("b");
}

static void rename_open_source(const struct test *t)
{
    (void)t;
    DO(put("a", "first"));
    int fd = DO_FD(open("a", O_RDWR));
    DO(rename("a", "b"));
    DO(write(fd, "FIR", 3));
    DO(close(fd));
    show_contents("b");
    show("a");
}

static void rename_exchange_links_counted(const struct test *t)
{
    (void)t;
    DO(mkdir("p", 0755));
    DO(mkdir("q", 0755));
    DO(mkdir("p/d", 0755));
    DO(put("q/f", "f"));
    DO(renameat2(AT_FDCWD, "p/d", AT_FDCWD, "q/f", RENAME_EXCHANGE));
    show("p");
    show("q");
    show("p/d");
    show("q/f");
}

static void rename_in_removed_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(put("f", "x"));
    int fd = DO_FD(open("d", O_RDONLY | O_DIRECTORY));
    DO(rmdir("d"));
    DO(renameat(AT_FDCWD, "f", fd, "f"));
    DO(renameat(fd, "f", AT_FDCWD, "g"));
    DO(close(fd));
}

static void rename_between_directories_by_descriptor(const struct test *t)
{
    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("b", 0755));
    DO(put("a/f", "x"));
    int a = DO_FD(open("a", O_RDONLY | O_DIRECTORY));
    int b = DO_FD(open("b", O_PATH));
    DO(renameat(a, "f", b, "g"));
    DO(renameat(a, "g", b, "g"));
    DO(renameat(-1, "f", b, "g"));
    DO(renameat(b, "g", -1, "g"));
    int f = DO_FD(openat(b, "g", O_RDONLY));
    DO(renameat(f, "g", b, "h"));
    show_names("b");
}

static void rename_to_proc(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(rename("f", "/proc/x"));
    DO(rename("/proc/version", "f"));
    DO(link("f", "/proc/x"));
}

static void rename_times(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(mkdir("d/sub", 0755));
    struct stat f = look("f");
    struct stat here = look(".");
    struct stat d = look("d");
    struct stat sub = look("d/sub");
    tick();
    DO(rename("f", "d/f"));
    show_times("d/f", &f);
    show_times(".", &here);
    show_times("d", &d);
    tick();
    DO(rename("d/sub", "sub"));
    show_times("sub", &sub);
}

static void rename_same_file_does_nothing(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    struct stat f = look("f");
    struct stat here = look(".");
    tick();
    DO(rename("f", "f"));
    show_times("f", &f);
    show_times(".", &here);
}

void theme_rename(void)
{
    static const struct {
        const char *name;
        int flag;
    } flags[] = {{"rename", 0}, {"noreplace", RENAME_NOREPLACE}, {"exchange", RENAME_EXCHANGE}};

    for (size_t f = 0; f < sizeof(flags) / sizeof(flags[0]); f++) {
        for (size_t i = 0; i < N_KINDS; i++) {
            for (size_t j = 0; j < N_KINDS; j++) {
                test_add(&(struct test){.run = rename_kinds, .a = kinds[i], .b = kinds[j], .c = flags[f].flag},
                         "%s.%s.to.%s", flags[f].name, kinds[i], kinds[j]);
            }
        }
    }
    CASE(rename_to_itself);
    CASE(rename_below_itself);
    CASE(rename_over_ancestor);
    CASE(rename_dot);
    CASE(rename_flags_invalid);
    CASE(rename_whiteout);
    CASE(rename_trailing_slash);
    CASE(rename_keeps_the_node);
    CASE(rename_subtree_to_another_directory);
    CASE(rename_open_target);
    CASE(rename_open_source);
    CASE(rename_exchange_links_counted);
    CASE(rename_in_removed_directory);
    CASE(rename_between_directories_by_descriptor);
    CASE(rename_to_proc);
    CASE(rename_times);
    CASE(rename_same_file_does_nothing);
}
