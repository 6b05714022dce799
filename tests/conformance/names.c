/* Names of all bytes and lengths, and trees that are deeper than a path is long. */
#include "step.h"

#include <limits.h>

static void names_of_every_byte(const struct test *t)
{
    int wrong = 0;

    (void)t;
    for (int byte = 1; byte < 256; byte++) {
        char name[3] = {(char)byte, 'x', '\0'};
        struct stat st;
        if (byte == '/') {
            continue;
        }
        if (put(name, "x") != 0 || lstat(name, &st) != 0) {
            step_text("byte %d: %d", byte, errno);
            wrong++;
        }
    }
    step_text("%d wrong", wrong);
}

static void names_odd(const struct test *t)
{
    static const char *const names[] = {" ",         "  ",    "...",      "....",  "-rf",          "a\nb",
                                        "\x01",      "\xff",  "\xc3\xa4", "\xc3",  "a\\b",         "*?[",
                                        ".znodefs2", ".hide", "CON",      "a:b",   "\xed\xa0\x80", "~",
                                        "\x7f",      "\"'`$", "name.",    " lead", "trail ",       "e\xcc\x81"};

    (void)t;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        DO(mkdir(names[i], 0755));
        DO(mkdir(names[i], 0755));
    }
    show_names(".");
    DO(rename("CON", "con"));
    DO(mkdir("CON", 0755));
    show(".");
}

static void names_differ_by_case(const struct test *t)
{
    (void)t;
    DO(put("name", "lower"));
    DO(put("NAME", "upper"));
    DO(put("Name", "mixed"));
    show_contents("name");
    show_contents("NAME");
    DO(unlink("Name"));
    show_names(".");
}

static void names_long(const struct test *t)
{
    char *n255 = many('n', 255);
    char *n256 = many('n', 256);
    char *m255 = many('m', 255);

    (void)t;
    DO(put(n255, "long"));
    DO(put(n256, "longer"));
    show(n255);
    DO(rename(n255, n256));
    DO(rename(n255, m255));
    DO(symlink("x", n255));
    DO(symlink("x", n256));
    DO(unlink(n256));
    DO(rmdir(n256));
    DO(mkdir(n256, 0755));
    DO(lstat(n256, &(struct stat){0}));
    DO(open(n256, O_RDONLY));
    DO(open(n256, O_RDONLY | O_CREAT, 0644));
    DO(link(m255, n256));
    DO(mknod(n256, S_IFREG | 0644, 0));
    DO(mkdir(m255, 0755));
    DO(unlink(m255));
    DO(mkdir(m255, 0755));
    DO(chdir(m255));
    DO(mkdir(m255, 0755));
}

static void names_long_of_any_byte(const struct test *t)
{
    char name[256];
    int made = 0;

    (void)t;
    for (int start = 1; start < 256; start += 17) {
        for (int i = 0; i < 255; i++) {
            int byte = 1 + (start + i) % 255;
            name[i] = (char)(byte == '/' ? 'x' : byte);
        }
        name[255] = '\0';
        made += put(name, "x") == 0 ? 1 : 0;
    }
    step_text("%d were made", made);
}

static void path_of_every_length(const struct test *t)
{
    char *path = many('/', PATH_MAX + 10);
    static const size_t lengths[] = {PATH_MAX - 2, PATH_MAX - 1, PATH_MAX, PATH_MAX + 1};

    (void)t;
    DO(mkdir("d", 0755));
    path[0] = 'd';
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        path[lengths[i]] = '\0';
        step_text("length %zu", lengths[i]);
        DO(stat(path, &(struct stat){0}));
        path[lengths[i] - 1] = 'f';
        DO(open(path, O_RDWR | O_CREAT, 0644) < 0 ? -1 : 0);
        path[lengths[i] - 1] = '/';
        path[lengths[i]] = '/';
    }
    show_names("d");
}

static void tree_deeper_than_a_path(const struct test *t)
{
    char *name = many('d', 200);
    char path[2 * PATH_MAX];
    int depth = 0;

    (void)t;
    while (depth < 45 && mkdir(name, 0755) == 0 && chdir(name) == 0) {
        depth++;
    }
    step_text("%d deep", depth);
    DO(put("f", "at the bottom"));
    show_contents("f");
    DO(getcwd(path, PATH_MAX) == NULL ? -1 : 0);
    DO(rename("f", "../f"));
    DO(mkdir("x", 0755));
    DO(rename("x", "../../x"));
    DO(rmdir("../../x"));
    for (int i = 0; i < depth; i++) {
        if (chdir("..") != 0) {
            step_text("chdir(..) failed at %d", i);
        }
    }
    show_names(".");
    DO(rename(name, "moved"));
    show("moved");
}

static void tree_of_many_short_names(const struct test *t)
{
    int depth = 0;

    (void)t;
    while (depth < 300 && mkdir("d", 0755) == 0 && chdir("d") == 0) {
        depth++;
    }
    step_text("%d deep", depth);
    DO(put("f", "x"));
    while (depth > 0 && chdir("..") == 0) {
        depth--;
    }
    show_names(".");
}

static void names_reserved(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir(".znodefs", 0755));
    DO(open(".znodefs", O_CREAT | O_EXCL | O_WRONLY, 0644) < 0 ? -1 : 0);
    DO(symlink("x", ".znodefs"));
    DO(rename("f", ".znodefs"));
    DO(renameat2(AT_FDCWD, "f", AT_FDCWD, ".znodefs", RENAME_NOREPLACE));
    DO(rename(".znodefs", "g"));
    DO(rmdir("g"));
    DO(rmdir(".znodefs"));
    DO(unlink(".znodefs"));
    show_names(".");
}

static void path_with_dots(const struct test *t)
{
    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("a/b", 0755));
    DO(put("a/f", "x"));
    show_contents("./a/./b/../f");
    show_contents("a//b///..//f");
    show_same("a/b/../..", ".");
    DO(stat("a/f/..", &(struct stat){0}));
    DO(stat("a/no/..", &(struct stat){0}));
    DO(stat("a/f/.", &(struct stat){0}));
    DO(mkdir("a/b/../c", 0755));
    show_names("a");
}

void theme_names(void)
{
    CASE(names_of_every_byte);
    CASE(names_odd);
    CASE(names_differ_by_case);
    CASE(names_long);
    CASE(names_long_of_any_byte);
    CASE(path_of_every_length);
    CASE(tree_deeper_than_a_path);
    CASE(tree_of_many_short_names);
    CASE(names_reserved);
    CASE(path_with_dots);
}
