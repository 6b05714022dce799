/* LOOKUP, FORGET, READLINK, STATFS and the connection's settings. */
#include "dotznodefs.h"
#include "front.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#define BACKGROUND_MAX 1024 /* asynchronous requests in flight: RELEASEs, mostly */
#define STATFS_BLOCK   4096

void op_init(void *userdata, struct fuse_conn_info *conn)
{
    conn->max_write = FRONT_WRITE_MAX;
    conn->max_read = ((const struct mount *)userdata)->max_read;
    conn->max_background = BACKGROUND_MAX;
    conn->congestion_threshold = BACKGROUND_MAX;
    conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
    /* Drafts need each write as it is made; a name asked for twice may be another node the second time; requests are
     * kept as the kernel's bytes (park.c), which splice would hand over as a pipe. */
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_READDIRPLUS |
                              FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
                              FUSE_CAP_SPLICE_MOVE | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
                              FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_ASYNC_DIO);
}

/* ENOENT: there is no such name, or the directory is gone. ENAMETOOLONG: there can be none. */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct mount *m = mount_of(req);
    struct fuse_entry_param e = {.generation = 1};
    const struct node *n;
    int rv;

    if (dot_is(parent)) {
        dot_lookup(req, parent, name);
        return;
    }
    if (strcmp(name, DOT_NAME) == 0) {
        dot_reply_entry(req, parent);
        return;
    }
    if (strlen(name) > TXN_NAME_MAX) {
        (void)fuse_reply_err(req, ENAMETOOLONG);
        return;
    }
    n = tree_lookup(mount_tree(m), parent, name, strlen(name));
    if (n == NULL) {
        (void)fuse_reply_err(req, ENOENT);
        return;
    }
    e.ino = n->ino;
    rv = attr_of(m, n->ino, fuse_req_ctx(req)->pid, &e.attr);
    if (rv != 0) {
        (void)fuse_reply_err(req, -rv);
        return;
    }
    if (n->kind == NODE_DIR) {
        known_add(&m->known, n->ino);
    }
    (void)fuse_reply_entry(req, &e);
}

/* Inode numbers are the znodes' and never used again: there is nothing to forget but directories that are gone. */
static void forget(struct mount *m, fuse_ino_t ino)
{
    struct inode *i;

    known_drop(&m->known, ino);
    i = inode_find(&m->inodes, ino);
    if (i != NULL) {
        inode_forget(&m->inodes, i);
    }
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    (void)nlookup; /* all of them, or it was looked up again meanwhile: then all it costs is ESTALE once it is gone */
    forget(mount_of(req), ino);
    fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++) {
        forget(mount_of(req), forgets[i].ino);
    }
    fuse_reply_none(req);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    const struct node *n = tree_by_ino(mount_tree(mount_of(req)), ino);
    char target[TXN_SYMLINK_MAX + 1];
    const struct recent_node *gone = NULL;
    const struct buf *data;
    size_t len;

    if (n == NULL) {
        gone = recent_instead(&mount_of(req)->recent, fuse_req_ctx(req)->pid, ino);
    }
    if (n == NULL && gone == NULL) {
        (void)fuse_reply_err(req, ESTALE);
        return;
    }
    len = n != NULL ? n->data_len : gone->len;
    data = n != NULL ? n->data : gone->data;
    if ((n != NULL ? n->kind != NODE_SYMLINK : !S_ISLNK(gone->stat.st_mode)) || len > TXN_SYMLINK_MAX) {
        (void)fuse_reply_err(req, EINVAL);
        return;
    }
    if (len > 0) {
        memcpy(target, data->bytes, len);
    }
    target[len] = '\0';
    (void)fuse_reply_readlink(req, target);
}

/* Bytes and znodes in use. Without a quota it is this host's memory that bounds them. */
void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct statvfs st = {.f_bsize = STATFS_BLOCK, .f_frsize = STATFS_BLOCK, .f_namemax = TXN_NAME_MAX};
    struct replica_status status;
    uint64_t used;
    uint64_t room = uv_get_free_memory();

    (void)ino;
    replica_status(mount_of(req)->replica, &status);
    used = (status.bytes + STATFS_BLOCK - 1) / STATFS_BLOCK;
    st.f_blocks = used + room / STATFS_BLOCK;
    st.f_bfree = room / STATFS_BLOCK;
    st.f_bavail = st.f_bfree;
    st.f_ffree = room / sizeof(struct node);
    st.f_favail = st.f_ffree;
    st.f_files = status.znodes + st.f_ffree;
    (void)fuse_reply_statfs(req, &st);
}
