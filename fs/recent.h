/*
 * recent: files and symlinks that were removed just now, for whoever found their names right before.
 *
 * Between a LOOKUP and the request on what it found, the node may be removed: the answer is ESTALE, upon which the
 * kernel looks the name up again, but only once (LOOKUP_REVAL). Where names are replaced all the time the second try
 * can come too late as well, and ESTALE would reach the program, which no disk says. The second try therefore gets what
 * a disk would have given it: the node that the name led to.
 */
#ifndef FS_RECENT_H
#define FS_RECENT_H

#include "store/tree.h"

#include <sys/stat.h>
#include <sys/types.h>

#define RECENT_MAX      64           /* nodes kept, and processes remembered */
#define RECENT_DATA_MAX (256 * 1024) /* bytes of one of them; larger ones are not kept */

#define RECENT_NO_INO UINT64_MAX

struct recent_node {
    uint64_t ino; /* 0: none */
    struct stat stat;
    struct buf *data; /* owned reference; NULL: empty */
    uint32_t len;
};

struct recent {
    struct recent_node nodes[RECENT_MAX];
    unsigned next;
    struct {
        pid_t pid;
        uint64_t ino;
    } told[RECENT_MAX]; /* whom ESTALE was told last, by pid, and about which inode */
};

/* The node is about to be removed. */
void recent_add(struct recent *r, const struct node *n);

/* ESTALE is the answer to the thread `pid` about `ino` (RECENT_NO_INO: about a name), unless this returns a node: then
 * it was told so about another one before, and shall have this. Valid until the next change to the tree. */
const struct recent_node *recent_instead(struct recent *r, pid_t pid, uint64_t ino);

void recent_release(struct recent *r);

#endif
