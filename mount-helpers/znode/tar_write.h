/*
 * tar_write: a tar of znodes, as POSIX pax has it, written to a descriptor. Equal znodes give equal bytes.
 */
#ifndef ZNODE_TAR_WRITE_H
#define ZNODE_TAR_WRITE_H

#include "store/tree.h"

struct tar_writer;

/* `comment` goes into the archive's global header. */
struct tar_writer *tar_writer_new(int fd, const char *comment);
/* Adds a znode under the name `path`, "./" for the root. Errors are kept until the end. */
void tar_writer_add(struct tar_writer *w, const struct node *n, const char *path);
/* Writes the end and frees; 0 or the first negative errno. */
int tar_writer_finish(struct tar_writer *w);

#endif
