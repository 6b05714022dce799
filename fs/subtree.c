#include "subtree.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>

int subtree_find(const struct tree *tree, const char *path, uint64_t *ret_ino, struct error *err)
{
    const char *rest = path != NULL ? path : "";
    uint64_t ino = TREE_ROOT_INO;

    while (*rest == '/') {
        const char *name = rest + 1;
        size_t len = strcspn(name, "/");
        const struct node *n = tree_lookup(tree, ino, name, len);

        rest = name + len;
        if (n == NULL) {
            return error_set(err, -ENOENT,
                             "the subtree %.*s does not exist: make it first (mkdir, through a mount of "
                             "the whole tree), or correct SOURCE",
                             (int)(rest - path), path);
        }
        if (n->kind != NODE_DIR) {
            return error_set(err, -ENOTDIR, "the subtree %.*s is not a directory: correct SOURCE", (int)(rest - path),
                             path);
        }
        ino = n->ino;
    }
    *ret_ino = ino;
    return 0;
}

static void map_at(uint64_t root, uint8_t *at)
{
    uint64_t id;

    memcpy(&id, at, sizeof(id));
    if (id == FUSE_ROOT_ID) {
        memcpy(at, &root, sizeof(root));
    }
}

void subtree_map(uint64_t root, uint8_t *request, size_t len)
{
    struct fuse_in_header in;

    if (root == FUSE_ROOT_ID || len < sizeof(in)) {
        return;
    }
    memcpy(&in, request, sizeof(in));
    map_at(root, request + offsetof(struct fuse_in_header, nodeid));
    /* Those that name a second node begin with it. */
    if ((in.opcode == FUSE_RENAME || in.opcode == FUSE_RENAME2 || in.opcode == FUSE_LINK) &&
        len >= sizeof(in) + sizeof(uint64_t)) {
        map_at(root, request + sizeof(in));
    }
}
