/* tree: what a directory holds, in one line and in a form that is the same on every file system. */
#ifndef TESTS_CONFORMANCE_TREE_H
#define TESTS_CONFORMANCE_TREE_H

/* One step for each node below `name` in the directory `dir_fd`. */
void tree_show(int dir_fd, const char *name);

#endif
