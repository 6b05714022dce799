#include "dotznodefs.h"

#include "export.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

#define DOT_PLACE_BITS 3 /* below the directory's inode number */
#define DOT_DIR        0

struct dot_entry {
    const char *name;
    void (*render)(const struct report *r, struct text *out); /* NULL: the snapshot */
};

/* The place of a file in its inode number is its index here, from 1. */
static const struct dot_entry dot_entries[] = {
    {"status", report_status},
    {"peers", report_peers},
    {"metrics", report_metrics},
    {"snapshot", NULL},
};
#define DOT_ENTRIES (sizeof(dot_entries) / sizeof(dot_entries[0]))

struct dot_file {
    struct dot_file *next;
    struct dot_file *prev;
    struct export *export; /* of the snapshot; NULL: it is a text */
    struct text text;
    uint64_t generation;          /* of the status when it was rendered */
    struct fuse_pollhandle *poll; /* the newest: whoever polls it is woken by it; NULL: nobody waits */
};

static uint64_t dot_ino(uint64_t dir, unsigned place)
{
    return DOT_BIT | dir << DOT_PLACE_BITS | place;
}

static unsigned dot_place(uint64_t ino)
{
    return (unsigned)(ino & ((1u << DOT_PLACE_BITS) - 1));
}

static uint64_t dot_dir(uint64_t ino)
{
    return (ino & ~DOT_BIT) >> DOT_PLACE_BITS;
}

bool dot_shows_tree(uint64_t ino)
{
    unsigned place = dot_place(ino);

    return place != DOT_DIR && place <= DOT_ENTRIES && dot_entries[place - 1].render == NULL;
}

static void dot_stat(uint64_t ino, struct stat *ret_st)
{
    memset(ret_st, 0, sizeof(*ret_st));
    ret_st->st_ino = ino;
    ret_st->st_blksize = 4096;
    if (dot_place(ino) == DOT_DIR) {
        ret_st->st_mode = S_IFDIR | 0555;
        ret_st->st_nlink = 2;
    } else {
        ret_st->st_mode = S_IFREG | 0444;
        ret_st->st_nlink = 1;
        if (dot_shows_tree(ino)) {
            /* Whatever the permissions below the directory: for nobody but who could read dataDir as well. */
            ret_st->st_mode = S_IFREG | 0400;
            ret_st->st_uid = geteuid();
            ret_st->st_gid = getegid();
        }
    }
}

static void reply_entry(fuse_req_t req, uint64_t ino)
{
    struct fuse_entry_param e = {.ino = ino, .generation = 1};

    dot_stat(ino, &e.attr);
    (void)fuse_reply_entry(req, &e);
}

void dot_reply_entry(fuse_req_t req, fuse_ino_t parent)
{
    reply_entry(req, dot_ino(parent, DOT_DIR));
}

void dot_lookup(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    for (unsigned i = 0; dot_place(ino) == DOT_DIR && i < DOT_ENTRIES; i++) {
        if (strcmp(dot_entries[i].name, name) == 0) {
            reply_entry(req, ino | (i + 1));
            return;
        }
    }
    (void)fuse_reply_err(req, ENOENT);
}

void dot_getattr(fuse_req_t req, fuse_ino_t ino)
{
    struct stat st;

    dot_stat(ino, &st);
    (void)fuse_reply_attr(req, &st, 0);
}

void dot_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset)
{
    char buf[1024];
    size_t len = 0;

    if (size > sizeof(buf)) {
        size = sizeof(buf);
    }
    for (size_t i = (size_t)offset; i < DOT_ENTRIES + 2; i++) {
        struct stat st = {.st_ino = ino, .st_mode = S_IFDIR};
        const char *name = i == 0 ? "." : "..";
        size_t need;
        if (i >= 2) {
            st.st_ino = ino | (i - 1);
            st.st_mode = S_IFREG;
            name = dot_entries[i - 2].name;
        }
        need = fuse_add_direntry(req, buf + len, size - len, name, &st, (off_t)(i + 1));
        if (need > size - len) {
            break;
        }
        len += need;
    }
    (void)fuse_reply_buf(req, buf, len);
}

static void dot_render(struct mount *m, fuse_ino_t ino, struct dot_file *f)
{
    text_release(&f->text);
    text_init(&f->text);
    dot_entries[dot_place(ino) - 1].render(m->report, &f->text);
    f->generation = m->status_generation;
}

static void dot_poll_set(struct dot_file *f, struct fuse_pollhandle *ph)
{
    if (f->poll != NULL) {
        fuse_pollhandle_destroy(f->poll);
    }
    f->poll = ph;
}

static void dot_close(struct mount *m, struct dot_file *f)
{
    DL_DELETE(m->dot_files, f);
    dot_poll_set(f, NULL);
    if (f->export != NULL) {
        export_close(f->export);
    }
    text_release(&f->text);
    free(f);
}

void dot_close_all(struct mount *m)
{
    while (m->dot_files != NULL) {
        dot_close(m, m->dot_files);
    }
}

/* EBUSY: too many snapshots are open; ESTALE: of a directory that is gone. */
void dot_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct mount *m = mount_of(req);
    struct dot_file *f;
    int rv = 0;

    if (dot_place(ino) == DOT_DIR || dot_place(ino) > DOT_ENTRIES || (fi->flags & O_ACCMODE) != O_RDONLY) {
        (void)fuse_reply_err(req, EACCES);
        return;
    }
    f = calloc(1, sizeof(*f));
    if (f == NULL) {
        (void)fuse_reply_err(req, ENOMEM);
        return;
    }
    text_init(&f->text);
    if (dot_shows_tree(ino)) {
        rv = export_open(m, dot_dir(ino), &f->export);
        fi->nonseekable = 1;
    } else {
        dot_render(m, ino, f);
    }
    if (rv != 0) {
        free(f);
        (void)fuse_reply_err(req, -rv);
        return;
    }
    DL_APPEND(m->dot_files, f);
    fi->fh = (uintptr_t)f;
    fi->direct_io = 1;
    if (fuse_reply_open(req, fi) != 0) {
        dot_close(m, f);
    }
}

void dot_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct dot_file *f = (struct dot_file *)(uintptr_t)fi->fh;
    size_t at = (size_t)offset;

    if (f->export != NULL) {
        export_read(f->export, req, size, offset);
        return;
    }
    if (at == 0 && f->generation != mount_of(req)->status_generation) {
        dot_render(mount_of(req), ino, f); /* whoever polls reads again from the start */
    }
    if (at >= f->text.len) {
        (void)fuse_reply_buf(req, NULL, 0);
        return;
    }
    (void)fuse_reply_buf(req, f->text.chars + at, size < f->text.len - at ? size : f->text.len - at);
}

void dot_release(fuse_req_t req, struct fuse_file_info *fi)
{
    dot_close(mount_of(req), (struct dot_file *)(uintptr_t)fi->fh);
    (void)fuse_reply_err(req, 0);
}

void dot_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
    const struct mount *m = mount_of(req);
    struct dot_file *f = (struct dot_file *)(uintptr_t)fi->fh;
    unsigned events = POLLIN | POLLRDNORM;

    (void)ino;
    if (f->export == NULL && f->generation != m->status_generation) {
        events |= POLLPRI | POLLERR;
    }
    if (ph != NULL) {
        dot_poll_set(f, ph); /* all that the kernel has made for this open file are alike */
    }
    (void)fuse_reply_poll(req, events);
}

void dot_wake(struct mount *m)
{
    m->status_generation++;
    for (struct dot_file *f = m->dot_files; f != NULL; f = f->next) {
        if (f->poll != NULL) {
            (void)fuse_lowlevel_notify_poll(f->poll); /* wakes, and waits for nothing */
            dot_poll_set(f, NULL);
        }
    }
}
