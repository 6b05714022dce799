/* mkdir(2), readdir(3) and what stands around it. */
#include "step.h"

#include <sys/syscall.h>

static void mkdir_existing(const struct test *t)
{
    (void)t;
    DO(put("f", "x"));
    DO(symlink("nowhere", "l"));
    DO(mkdir("d", 0755));
    DO(mkdir("d", 0755));
    DO(mkdir("d/", 0755));
    DO(mkdir("f", 0755));
    DO(mkdir("l", 0755));
    DO(mkdir(".", 0755));
    DO(mkdir("..", 0755));
    DO(mkdir("/", 0755));
    DO(mkdir("d/.", 0755));
    DO(mkdir("d/..", 0755));
    DO(mkdir("new/", 0755));
    show_names(".");
}

static void mkdir_modes(const struct test *t)
{
    static const mode_t modes[] = {0, 0777, 01777, 02777, 04777, 07777, 0700};
    char name[16];

    (void)t;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        (void)snprintf(name, sizeof(name), "d%zu", i);
        DO(mkdir(name, modes[i]));
        show(name);
        DO(chmod(name, 0755));
    }
}

static void mkdir_at(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    DO(put("f", "x"));
    int dir = DO_FD(open("d", O_PATH));
    int file = DO_FD(open("f", O_RDONLY));
    DO(mkdirat(dir, "e", 0755));
    DO(mkdirat(dir, "e/g", 0755));
    DO(mkdirat(dir, "no/g", 0755));
    DO(mkdirat(file, "e", 0755));
    DO(mkdirat(-5, "e", 0755));
    show_names("d");
    show("d");
    show("d/e");
}

static void readdir_types(const struct test *t)
{
    const struct dirent *entry;
    int dots = 0;
    int wrong = 0;
    struct stat st;

    (void)t;
    DO(put("f", "x"));
    DO(mkdir("d", 0755));
    DO(symlink("f", "l"));
    DIR *dir = opendir(".");
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') {
            dots += entry->d_type == DT_DIR ? 1 : 0;
        }
        if (lstat(entry->d_name, &st) != 0 || entry->d_ino != st.st_ino ||
            (mode_t)DTTOIF(entry->d_type) != (st.st_mode & S_IFMT)) {
            wrong++;
            step_text("%s is not what it says", entry->d_name);
        }
    }
    step_text("%d dots, %d wrong", dots, wrong);
    DO(closedir(dir));
}

static void readdir_dots_of_a_subdirectory(const struct test *t)
{
    const struct dirent *entry;
    struct stat st;

    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("a/b", 0755));
    DIR *dir = opendir("a/b");
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (fstatat(dirfd(dir), entry->d_name, &st, 0) != 0) {
            step_text("%s cannot be looked at", entry->d_name);
        } else {
            step_text("%s: inode number %s", entry->d_name, st.st_ino == entry->d_ino ? "right" : "wrong");
        }
    }
    DO(closedir(dir));
    show_same("a/b/..", "a");
    show_same("a/b/.", "a/b");
}

static void make_many(const char *folder, int count)
{
    char name[64];

    (void)mkdir(folder, 0755);
    for (int i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "%s/entry-%04d", folder, i);
        int fd = open(name, O_CREAT | O_WRONLY, 0644);
        if (fd < 0) {
            step_text("open(%s) failed: %d", name, errno);
        } else {
            (void)close(fd);
        }
    }
}

static void readdir_many(const struct test *t)
{
    static bool seen[1500];
    const struct dirent *entry;
    int twice = 0;
    int n = 0;

    (void)t;
    make_many("d", 1500);
    DIR *dir = opendir("d");
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        long number = strncmp(entry->d_name, "entry-", 6) == 0 ? strtol(entry->d_name + 6, NULL, 10) : -1;
        if (number >= 0 && number < 1500) {
            twice += seen[number] ? 1 : 0;
            seen[number] = true;
            n++;
        }
    }
    step_text("%d entries, %d of them twice", n, twice);
    DO(closedir(dir));
}

static void readdir_and_unlink_each(const struct test *t)
{
    const struct dirent *entry;
    int removed = 0;

    (void)t;
    make_many("d", 700);
    DIR *dir = opendir("d");
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        removed += entry->d_name[0] != '.' && unlinkat(dirfd(dir), entry->d_name, 0) == 0 ? 1 : 0;
    }
    step_text("%d removed", removed);
    DO(closedir(dir));
    DO(rmdir("d"));
}

static void readdir_seek(const struct test *t)
{
    char names[100][256];
    long places[100];
    const struct dirent *entry;
    int n = 0;
    int wrong = 0;

    (void)t;
    make_many("d", 60);
    DIR *dir = opendir("d");
    while (dir != NULL && n < 100) {
        places[n] = telldir(dir);
        entry = readdir(dir);
        if (entry == NULL) {
            break;
        }
        (void)snprintf(names[n], sizeof(names[n]), "%s", entry->d_name);
        n++;
    }
    step_text("%d entries", n);
    for (int i = n - 1; i >= 0; i--) {
        seekdir(dir, places[i]);
        entry = readdir(dir);
        wrong += entry == NULL || strcmp(entry->d_name, names[i]) != 0 ? 1 : 0;
    }
    step_text("%d wrong after seekdir", wrong);
    rewinddir(dir);
    entry = readdir(dir);
    step_text("after rewinddir %s", entry != NULL && strcmp(entry->d_name, names[0]) == 0 ? "the first" : "another");
    seekdir(dir, places[n]);
    step_text("at the end %s", readdir(dir) == NULL ? "nothing" : "something");
    DO(closedir(dir));
}

static void readdir_seek_behind_removed(const struct test *t)
{
    const struct dirent *entry;
    char names[100][256];
    long place = 0;
    int n = 0;
    int kept = 0;

    (void)t;
    make_many("d", 60);
    DIR *dir = opendir("d");
    while (dir != NULL && n < 30 && (entry = readdir(dir)) != NULL) {
        (void)snprintf(names[n++], sizeof(names[0]), "%s", entry->d_name);
        place = telldir(dir);
    }
    for (int i = 0; i < n; i++) {
        if (names[i][0] != '.') {
            kept -= unlinkat(dirfd(dir), names[i], 0) == 0 ? 1 : 0;
        }
    }
    seekdir(dir, place);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        kept += entry->d_name[0] != '.' ? 1 : 0;
    }
    rewinddir(dir);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        kept -= entry->d_name[0] != '.' ? 1 : 0;
    }
    /* Those behind the place, less those removed, less those that are left: 60 - 2 * removed, whatever the order. */
    step_text("%s", kept < 0 && kept >= -30 ? "each that stayed was listed" : "something is missing");
    rewinddir(dir);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    }
    DO(closedir(dir));
    DO(rmdir("d"));
}

static void readdir_sees_later_entries_after_rewind(const struct test *t)
{
    const struct dirent *entry;
    bool seen = false;

    (void)t;
    DO(mkdir("d", 0755));
    DIR *dir = opendir("d");
    while (dir != NULL && readdir(dir) != NULL) {
    }
    DO(put("d/later", "x"));
    rewinddir(dir);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        seen = seen || strcmp(entry->d_name, "later") == 0;
    }
    step_text("it is %s", seen ? "seen" : "not seen");
    DO(closedir(dir));
}

static void getdents_small_buffer(const struct test *t)
{
    char buf[512];
    int n = 0;

    (void)t;
    DO(put("f", "x"));
    int fd = DO_FD(open(".", O_RDONLY | O_DIRECTORY));
    DO(syscall(SYS_getdents64, fd, buf, 1));
    while (syscall(SYS_getdents64, fd, buf, 40) > 0) {
        n++;
    }
    step_text("%d entries one by one", n);
    DO(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
    DO(lseek(fd, 0, SEEK_SET));
    step_text("%s", syscall(SYS_getdents64, fd, buf, sizeof(buf)) > 0 ? "again from the start" : "nothing");
    DO(close(fd));
    fd = DO_FD(open("f", O_RDONLY));
    DO(syscall(SYS_getdents64, fd, buf, sizeof(buf)));
    DO(close(fd));
}

static void directory_links(const struct test *t)
{
    (void)t;
    DO(mkdir("d", 0755));
    for (int i = 0; i < 100; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "d/%d", i);
        if (mkdir(name, 0755) != 0) {
            step_text("mkdir(%s) failed", name);
        }
    }
    show("d");
    DO(rename("d/1", "1"));
    show("d");
    DO(rmdir("d/2"));
    show("d");
}

static void working_directory_moves(const struct test *t)
{
    char path[4096];

    (void)t;
    DO(mkdir("a", 0755));
    DO(mkdir("a/b", 0755));
    DO(mkdir("c", 0755));
    DO(chdir("a/b"));
    DO(rename("../../a/b", "../../c/d"));
    DO(getcwd(path, sizeof(path)) == NULL ? -1 : 0);
    step_text("%s", strlen(path) > 3 && strcmp(path + strlen(path) - 3, "c/d") == 0 ? "c/d" : "elsewhere");
    DO(put("f", "x"));
    show_names("../../c/d");
    show_names("..");
}

static void fchdir_and_dotdot(const struct test *t)
{
    (void)t;
    DO(mkdir("a", 0755));
    DO(put("f", "here"));
    int fd = DO_FD(open("a", O_PATH | O_DIRECTORY));
    int file = DO_FD(open("f", O_RDONLY));
    DO(fchdir(file));
    DO(fchdir(fd));
    show_contents("../f");
    DO(chdir(".."));
    show_contents("f");
}

void theme_dirs(void)
{
    CASE(mkdir_existing);
    CASE(mkdir_modes);
    CASE(mkdir_at);
    CASE(readdir_types);
    CASE(readdir_dots_of_a_subdirectory);
    CASE(readdir_many);
    CASE(readdir_and_unlink_each);
    CASE(readdir_seek);
    CASE(readdir_seek_behind_removed);
    CASE(readdir_sees_later_entries_after_rewind);
    CASE(getdents_small_buffer);
    CASE(directory_links);
    CASE(working_directory_moves);
    CASE(fchdir_and_dotdot);
}
