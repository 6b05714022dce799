/*
 * step: what a case is written in. Each step is one system call (or a look at a file) that prints its own text and what
 * came of it, in a form that does not depend on the time, the inode numbers or the file system's name:
 *
 *   DO(rename("a", "b"));                   prints  rename("a", "b") = ENOENT
 *   int fd = DO_FD(open("f", O_RDONLY));    prints  open("f", O_RDONLY) = fd
 *   show("f");                              prints  f: file 644 0:0 links 1 size 5
 *
 * A case runs in a process of its own whose working directory is the case's own, empty at first.
 */
#ifndef TESTS_CONFORMANCE_STEP_H
#define TESTS_CONFORMANCE_STEP_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define SOME_UID 12345 /* of nobody, and so is the group */
#define SOME_GID 12346

struct test {
    const char *name;
    void (*run)(const struct test *t);
    bool root;     /* it takes on users itself, and is of no use to others */
    const void *a; /* what a case of a table is about */
    const void *b;
    int c;
};

/* ---- what a theme says to main ---- */

/* Keeps a copy of what stands there; the name is the text that `format` makes. */
void test_add(const struct test *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define CASE(function)      test_add(&(struct test){.run = (function)}, "%s", #function)
#define CASE_ROOT(function) test_add(&(struct test){.run = (function), .root = true}, "%s", #function)

void theme_access(void);
void theme_data(void);
void theme_dirs(void);
void theme_execute(void);
void theme_handles(void);
void theme_links(void);
void theme_names(void);
void theme_open(void);
void theme_paths(void);
void theme_remove(void);
void theme_rename(void);
void theme_special(void);
void theme_times(void);
void theme_watch(void);
void theme_xattrs(void);

/* ---- steps ---- */

#define DO(...)    step_result(#__VA_ARGS__, (errno = 0, (long)(__VA_ARGS__)))
#define DO_FD(...) step_fd(#__VA_ARGS__, (errno = 0, (__VA_ARGS__)))

long step_result(const char *text, long result);
int step_fd(const char *text, int fd);
/* A step of any other text. */
void step_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Kind, mode, owner, links and size; a symlink's target. */
void show(const char *path);
void show_fd(const char *what, int fd);
void show_stat(const char *what, const struct stat *st);
/* The whole contents through a descriptor of its own. */
void show_contents(const char *path);
/* What one read(2) or pread(2) (offset not negative) gives. */
void show_read(const char *what, int fd, size_t size, off_t offset);
/* The names in a directory but "." and "..", sorted. */
void show_names(const char *path);
/* Whether two paths lead to one node. */
void show_same(const char *a, const char *b);
/* Which times differ from those in `before`, and which way. */
void show_times(const char *path, const struct stat *before);
/* Bytes as text, cut when there are many. */
void step_bytes(const char *what, const void *bytes, size_t len);

/* ---- helpers that are no steps ---- */

struct stat look(const char *path);
/* Returns once a file system with coarse times gives another one than before. */
void tick(void);
/* A file with these contents. 0 or -1. */
int put(const char *path, const char *contents);
/* `count` times `byte`, NUL-terminated; stays for ever. */
char *many(char byte, size_t count);
/* Takes on another user (root may come back with 0, 0). */
void become(uid_t uid, gid_t gid);
/* Runs `child` in a process of its own and waits for it. */
void in_child(void (*child)(void *arg), void *arg);

#endif
