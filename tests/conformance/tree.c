#include "tree.h"

#include "step.h"

#include <sys/xattr.h>

#define XATTR_NAMES 65536

struct names {
    char **names;
    size_t n;
    size_t cap;
};

static void names_add(struct names *l, const char *name)
{
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : l->cap * 2;
        l->names = realloc((void *)l->names, l->cap * sizeof(l->names[0]));
    }
    if (l->names == NULL || (l->names[l->n] = strdup(name)) == NULL) {
        abort();
    }
    l->n++;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct names names_in(int fd)
{
    struct names l = {0};
    DIR *dir = fdopendir(dup(fd));
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            names_add(&l, entry->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    if (l.n > 1) {
        qsort((void *)l.names, l.n, sizeof(l.names[0]), by_bytes);
    }
    return l;
}

static void names_free(struct names *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->names[i]);
    }
    free((void *)l->names);
}

/* The user's extended attributes, sorted. */
static void show_xattrs(int fd)
{
    char *list = malloc(XATTR_NAMES);
    ssize_t len = list == NULL ? -1 : flistxattr(fd, list, XATTR_NAMES);
    struct names l = {0};

    for (const char *name = list; len > 0 && name < list + len; name += strlen(name) + 1) {
        names_add(&l, name);
    }
    if (l.n > 1) {
        qsort((void *)l.names, l.n, sizeof(l.names[0]), by_bytes);
    }
    for (size_t i = 0; i < l.n; i++) {
        char *value = malloc(XATTR_NAMES);
        ssize_t size = value == NULL ? -1 : fgetxattr(fd, l.names[i], value, XATTR_NAMES);
        step_bytes(l.names[i], value, size < 0 ? 0 : (size_t)size);
        free(value);
    }
    names_free(&l);
    free(list);
}

static void show_file(int fd, const char *path, off_t size)
{
    char *bytes = malloc((size_t)size + 1);
    size_t len = 0;
    ssize_t n = 0;

    if (bytes == NULL) {
        abort();
    }
    while (len < (size_t)size + 1 && (n = read(fd, bytes + len, (size_t)size + 1 - len)) > 0) {
        len += (size_t)n;
    }
    step_bytes(path, bytes, len);
    free(bytes);
}

static void show_below(int fd, const char *path);

static void show_node(int dir_fd, const char *name, const char *path)
{
    char target[4096];
    struct stat st;
    ssize_t len;
    int fd;

    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        step_text("%s: cannot be looked at: %d", path, errno);
        return;
    }
    show_stat(path, &st);
    if (S_ISLNK(st.st_mode)) {
        len = readlinkat(dir_fd, name, target, sizeof(target));
        step_bytes(path, target, len < 0 ? 0 : (size_t)len);
        return;
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        return;
    }
    fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW);
    if (fd < 0) {
        step_text("%s: cannot be opened: %d", path, errno);
        return;
    }
    show_xattrs(fd);
    if (S_ISREG(st.st_mode)) {
        show_file(fd, path, st.st_size);
    } else {
        show_below(fd, path);
    }
    (void)close(fd);
}

/* Path by path through descriptors: a path may be longer than any call takes. */
static void show_below(int fd, const char *path)
{
    struct names l = names_in(fd);

    for (size_t i = 0; i < l.n; i++) {
        char *below;
        if (asprintf(&below, "%s/%s", path, l.names[i]) < 0) {
            abort();
        }
        show_node(fd, l.names[i], below);
        free(below);
    }
    names_free(&l);
}

void tree_show(int dir_fd, const char *name)
{
    show_node(dir_fd, name, ".");
}
