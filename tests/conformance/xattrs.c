/* Extended attributes. */
#include "step.h"

#include <sys/xattr.h>

static void show_list(const char *path)
{
    char *list = malloc(65536);
    ssize_t len = list == NULL ? -1 : listxattr(path, list, 65536);
    long user = 0;

    if (len < 0) {
        step_text("listxattr(%s) = %d", path, errno);
        free(list);
        return;
    }
    for (const char *name = list; name < list + len; name += strlen(name) + 1) {
        user += strncmp(name, "user.", 5) == 0 ? 1 : 0;
    }
    step_text("%s has %ld user attributes in %zd bytes", path, user, len);
    free(list);
}

static void show_value(const char *path, const char *name)
{
    char *value = malloc(65536);
    ssize_t len = value == NULL ? -1 : getxattr(path, name, value, 65536);

    if (len < 0) {
        step_text("getxattr(%s) = %s", name, strerrorname_np(errno));
    } else {
        step_bytes(name, value, (size_t)len);
    }
    free(value);
}

static void xattr_set_and_get(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    show_list("f");
    DO(setxattr("f", "user.a", "value", 5, 0));
    DO(setxattr("f", "user.b", "", 0, 0));
    DO(setxattr("f", "user.c", "with\0zero", 9, 0));
    show_value("f", "user.a");
    show_value("f", "user.b");
    show_value("f", "user.c");
    show_list("f");
    DO(setxattr("f", "user.a", "another", 7, 0));
    show_value("f", "user.a");
    DO(removexattr("f", "user.b"));
    DO(removexattr("f", "user.b"));
    show_value("f", "user.b");
    show_list("f");
}

static void xattr_flags(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "user.a", "1", 1, XATTR_REPLACE));
    DO(setxattr("f", "user.a", "1", 1, XATTR_CREATE));
    DO(setxattr("f", "user.a", "2", 1, XATTR_CREATE));
    DO(setxattr("f", "user.a", "3", 1, XATTR_REPLACE));
    DO(setxattr("f", "user.a", "4", 1, 4));
    DO(setxattr("f", "user.a", "5", 1, XATTR_CREATE | XATTR_REPLACE));
    DO(setxattr("f", "user.b", "5", 1, XATTR_CREATE | XATTR_REPLACE));
    show_value("f", "user.a");
}

static void xattr_buffer_sizes(const struct test *t)
{
    char value[16];

    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "user.a", "12345", 5, 0));
    DO(getxattr("f", "user.a", value, 0));
    DO(getxattr("f", "user.a", value, 4));
    DO(getxattr("f", "user.a", value, 5));
    DO(getxattr("f", "user.no", value, 0));
    DO(listxattr("f", value, 0));
    DO(listxattr("f", value, 6));
    DO(listxattr("f", value, 7));
}

static void xattr_names(const struct test *t)
{
    char value[16];

    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "", "1", 1, 0));
    DO(setxattr("f", "user", "1", 1, 0));
    DO(setxattr("f", "user.", "1", 1, 0));
    DO(getxattr("f", "user.", value, sizeof(value)));
    DO(getxattr("f", "", value, sizeof(value)));
    DO(setxattr("f", "nothing.a", "1", 1, 0));
    DO(getxattr("f", "nothing.a", value, sizeof(value)));
    DO(removexattr("f", "nothing.a"));
    DO(setxattr("f", "user.with space\n", "1", 1, 0));
    char *name = many('n', 256);
    memcpy(name, "user.", 5);
    DO(setxattr("f", name, "1", 1, 0));
    name[255] = '\0';
    DO(setxattr("f", name, "1", 1, 0));
    DO(getxattr("f", name, value, sizeof(value)));
    show_list("f");
}

static void xattr_values(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "user.small", many('s', 100), 100, 0));
    DO(setxattr("f", "user.k", many('k', 1000), 1000, 0));
    show_value("f", "user.k");
    DO(setxattr("f", "user.big", many('b', 65537), 65537, 0));
    show_list("f");
}

static void xattr_larger_than_a_block(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "user.big", many('b', 65536), 65536, 0));
    show_value("f", "user.big");
}

static void xattr_many(const struct test *t)
{
    char name[32];
    int set = 0;

    (void)t;
    DO(put("f", "x"));
    for (int i = 0; i < 50; i++) {
        (void)snprintf(name, sizeof(name), "user.n%02d", i);
        set += setxattr("f", name, name, strlen(name), 0) == 0 ? 1 : 0;
    }
    step_text("%d were set", set);
    show_list("f");
    show_value("f", "user.n31");
    DO(removexattr("f", "user.n31"));
    show_value("f", "user.n31");
    show_value("f", "user.n32");
}

static void xattr_on_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(setxattr("d", "user.a", "of a directory", 14, 0));
    show_value("d", "user.a");
    show_list("d");
    DO(rename("d", "e"));
    show_value("e", "user.a");
}

static void xattr_on_symlink(const struct test *t)
{
    char value[16];

    (void)t;
    DO(put("f", "x"));
    DO(symlink("f", "l"));
    DO(lsetxattr("l", "user.a", "1", 1, 0));
    DO(lgetxattr("l", "user.a", value, sizeof(value)));
    DO(llistxattr("l", value, sizeof(value)));
    DO(lremovexattr("l", "user.a"));
    DO(setxattr("l", "user.a", "1", 1, 0));
    show_value("f", "user.a");
}

static void xattr_by_descriptor(const struct test *t)
{
    char value[16];

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(fsetxattr(fd, "user.a", "1", 1, 0));
    DO(fgetxattr(fd, "user.a", value, sizeof(value)));
    DO(flistxattr(fd, value, sizeof(value)));
    DO(fremovexattr(fd, "user.a"));
    DO(fgetxattr(fd, "user.a", value, sizeof(value)));
    DO(close(fd));
    fd = DO_FD(open("f", O_PATH));
    DO(fsetxattr(fd, "user.a", "1", 1, 0));
    DO(close(fd));
}

static void xattr_namespaces(const struct test *t)
{
    char value[16];

    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "trusted.a", "1", 1, 0));
    DO(getxattr("f", "trusted.a", value, sizeof(value)));
    DO(setxattr("f", "security.a", "1", 1, 0));
    DO(getxattr("f", "security.a", value, sizeof(value)));
    DO(setxattr("f", "system.a", "1", 1, 0));
    DO(getxattr("f", "system.a", value, sizeof(value)));
    DO(getxattr("f", "system.posix_acl_access", value, sizeof(value)));
    DO(setxattr("f", "system.posix_acl_access", "x", 1, 0));
    DO(removexattr("f", "system.posix_acl_access"));
}

static void xattr_survives(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "user.a", "1", 1, 0));
    DO(put("f", "other contents"));
    show_value("f", "user.a");
    DO(chmod("f", 0600));
    DO(rename("f", "g"));
    show_value("g", "user.a");
    DO(put("f", "new"));
    show_value("f", "user.a");
    DO(rename("f", "g"));
    show_value("g", "user.a");
}

static void xattr_read_only_file(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(chmod("f", 0444));
    DO(setxattr("f", "user.a", "1", 1, 0));
    DO(chmod("f", 0));
    DO(getxattr("f", "user.a", NULL, 0));
    DO(listxattr("f", NULL, 0));
    DO(removexattr("f", "user.a"));
}

static void xattr_sticky_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0777));
    DO(chmod("d", 01777));
    become(SOME_UID, SOME_GID);
    DO(setxattr("d", "user.a", "1", 1, 0));
    become(0, 0);
    DO(chmod("d", 0777));
    become(SOME_UID, SOME_GID);
    DO(setxattr("d", "user.a", "1", 1, 0));
    become(0, 0);
}

static void xattr_times(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(setxattr("f", "user.a", "1", 1, 0));
    struct stat before = look("f");
    tick();
    DO(getxattr("f", "user.a", NULL, 0));
    show_times("f", &before);
    DO(removexattr("f", "user.a"));
    show_times("f", &before);
    before = look("f");
    tick();
    DO(removexattr("f", "user.a"));
    show_times("f", &before);
}

void theme_xattrs(void)
{
    CASE(xattr_set_and_get);
    CASE(xattr_flags);
    CASE(xattr_buffer_sizes);
    CASE(xattr_names);
    CASE(xattr_values);
    CASE(xattr_larger_than_a_block);
    CASE(xattr_many);
    CASE(xattr_on_directory);
    CASE(xattr_on_symlink);
    CASE(xattr_by_descriptor);
    CASE(xattr_namespaces);
    CASE(xattr_survives);
    CASE(xattr_read_only_file);
    CASE_ROOT(xattr_sticky_directory);
    CASE(xattr_times);
}
