/* symlink(2), readlink(2), link(2), and what may not be made. */
#include "step.h"

#include <sys/socket.h>
#include <sys/un.h>

static void link_file(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(link("f", "g"));
    show("f");
    show("g");
}

static void link_directory(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(link("d", "e"));
}

static void link_existing(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(put("g", "y"));
    DO(link("f", "g"));
    DO(link("f", "f"));
    DO(link("no", "g"));
    DO(link("no", "h"));
    DO(link("f", "no/h"));
    DO(link("f", "g/h"));
}

static void linkat_flags(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(symlink("f", "l"));
    DO(linkat(AT_FDCWD, "l", AT_FDCWD, "m", 0x8000000));
    DO(linkat(AT_FDCWD, "l", AT_FDCWD, "m", AT_SYMLINK_FOLLOW));
    int fd = DO_FD(open("f", O_RDONLY));
    DO(linkat(fd, "", AT_FDCWD, "n", AT_EMPTY_PATH));
    DO(linkat(fd, "", AT_FDCWD, "n", 0));
    DO(linkat(AT_FDCWD, "l", AT_FDCWD, "o", 0));
    DO(close(fd));
}

static void mknod_kinds(const struct test *t)
{
    (void)t;
    DO(mknod("file", S_IFREG | 0640, 0));
    DO(mknod("file_too", 0600, 0));
    DO(mknod("fifo", S_IFIFO | 0644, 0));
    DO(mkfifo("fifo_too", 0644));
    DO(mknod("char", S_IFCHR | 0644, 0x103));
    DO(mknod("block", S_IFBLK | 0644, 0x700));
    DO(mknod("socket", S_IFSOCK | 0644, 0));
    DO(mknod("dir", S_IFDIR | 0755, 0));
    DO(mknod("link", S_IFLNK | 0755, 0));
    DO(mknod("file", S_IFREG | 0640, 0));
    show("file");
    show("file_too");
}

static void socket_bind(const struct test *t)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "s"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)t;
    DO(bind(fd, (const struct sockaddr *)&name, sizeof(name)));
    DO(close(fd));
}

static void symlink_targets(const struct test *t)
{
    (void)t;
    DO(symlink("", "empty"));
    DO(symlink("x", "short"));
    DO(symlink("/absolute/../path//x/", "odd"));
    DO(symlink("with space\nand\tnewline", "space"));
    DO(symlink(many('a', 254), "long254"));
    DO(symlink(many('b', 1024), "long1024"));
    DO(symlink(many('c', 4094), "long4094"));
    DO(symlink(many('c', 4095), "long4095"));
    DO(symlink(many('c', 4096), "long4096"));
    show("short");
    show("odd");
    show("space");
    show("long1024");
    show("long4094");
    show("long4095");
}

static void symlink_existing(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(symlink("x", "l"));
    DO(symlink("x", "f"));
    DO(symlink("x", "d"));
    DO(symlink("x", "l"));
    DO(symlink("x", "no/l"));
    DO(symlink("x", "f/l"));
}

static void readlink_sizes(const struct test *t)
{
    char target[16] = "..............";

    (void)t;
    DO(symlink("0123456789", "l"));
    DO(readlink("l", target, 4));
    step_bytes("target", target, 6);
    DO(readlink("l", target, 10));
    step_bytes("target", target, 12);
    DO(readlink("l", target, 11));
    DO(put("f", "x"));
    DO(readlink("f", target, sizeof(target)));
    DO(readlink(".", target, sizeof(target)));
    int fd = DO_FD(open("l", O_PATH | O_NOFOLLOW));
    DO(readlinkat(fd, "", target, sizeof(target)));
    DO(close(fd));
}

static void symlink_modes_and_owner(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(symlink("f", "l"));
    show("l");
    DO(chmod("l", 0600));
    show("f");
    DO(fchmodat(AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW));
    DO(lchown("l", (uid_t)-1, getegid()));
    show("l");
    DO(truncate("l", 0));
    show("f");
}

static void symlink_through(const struct test *t)
{
    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("a/b", 0755));
    DO(put("a/f", "contents"));
    DO(symlink("a/b", "l"));
    DO(symlink("../f", "a/b/up"));
    show_contents("l/up");
    show_contents("l/../f");
    DO(put("l/new", "through"));
    show_names("a/b");
    DO(mkdir("l/d", 0755));
    DO(rename("l/new", "l/d/new"));
    show_names("a/b/d");
    DO(unlink("l"));
    show_names(".");
}

static void symlink_loops(const struct test *t)
{
    (void)t;
    DO(symlink("b", "a"));
    DO(symlink("a", "b"));
    DO(symlink(".", "here"));
    DO(stat("a", &(struct stat){0}));
    DO(open("a", O_RDONLY));
    DO(open("a", O_RDWR | O_CREAT, 0644));
    DO(mkdir("a", 0755));
    DO(mkdir("a/x", 0755));
    DO(put("here/here/here/f", "x"));
    show_names("here/here");
    DO(rename("a", "c"));
    DO(stat("b", &(struct stat){0}));
    show_names(".");
}

static void symlink_open_creates_target(const struct test *t)
{
    (void)t;
    DO(symlink("made", "l"));
    DO(close(open("l", O_WRONLY | O_CREAT | O_EXCL, 0644)));
    DO(close(open("l", O_WRONLY | O_CREAT, 0644)));
    show_names(".");
    DO(symlink("no/made", "m"));
    DO_FD(open("m", O_WRONLY | O_CREAT, 0644));
    DO(mkdir("l2", 0755));
    DO(symlink("dir-made", "ld"));
    DO(mkdir("ld", 0755));
    DO(mkdir("ld/", 0755));
    show_names(".");
}

static void symlink_replaced_while_followed(const struct test *t)
{
    (void)t;
    DO(put("one", "1"));
    DO(put("two", "2"));
    DO(symlink("one", "l"));
    show_contents("l");
    DO(symlink("two", "m"));
    DO(rename("m", "l"));
    show_contents("l");
    DO(unlink("l"));
    DO(symlink("one", "l"));
    show_contents("l");
    DO(unlink("l"));
    DO(put("l", "a file now"));
    show("l");
    show_contents("l");
}

static void symlink_times(const struct test *t)
{
    struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 2000}};

    (void)t;
    DO(put("f", "x"));
    DO(symlink("f", "l"));
    struct stat f = look("f");
    DO(utimensat(AT_FDCWD, "l", times, AT_SYMLINK_NOFOLLOW));
    struct stat l = look("l");
    step_text("mtime %ld", l.st_mtim.tv_sec);
    show_times("f", &f);
    DO(utimensat(AT_FDCWD, "l", times, 0));
    f = look("f");
    step_text("mtime %ld", f.st_mtim.tv_sec);
}

void theme_links(void)
{
    CASE(link_file);
    CASE(link_directory);
    CASE(link_existing);
    CASE(linkat_flags);
    CASE(mknod_kinds);
    CASE(socket_bind);
    CASE(symlink_targets);
    CASE(symlink_existing);
    CASE(readlink_sizes);
    CASE(symlink_modes_and_owner);
    CASE(symlink_through);
    CASE(symlink_loops);
    CASE(symlink_open_creates_target);
    CASE(symlink_replaced_while_followed);
    CASE(symlink_times);
}
