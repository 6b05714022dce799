/*
 * The kernel's side of the front end, as the kernel may behave: node ids and file handles are those it was given, a
 * file is released once and after all else that was asked of it; the rest is anything. The input:
 *
 *   u8 mount flags | [ u8 request | u8 how: 1 let it be answered first, 2.. which pid | arguments ] ...
 *
 * Each request that needs an answer gets one, and no other; its size is right; nothing stops.
 */
#include "fuse_host.h"
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODES_MAX    64
#define FILES_MAX    32
#define PENDING_MAX  128
#define REQUESTS_MAX 400
#define BODY_MAX     (HOST_DATA_MAX + 8192u)
#define IO_MAX       (HOST_DATA_MAX + 100u)
#define ANSWER_MAX   (256u * 1024)
#define QUIET_TURNS  4 /* without anything happening: it has come to rest */
#define TURNS_MAX    10000
#define DOT_BIT      (UINT64_C(1) << 63)
#define PID_NOBODY   0x7ffffff0

#define INTERRUPT_BIT 1 /* of the unique number, the rest being that of the request */

struct file {
    uint64_t fh;
    uint64_t ino;
    uint32_t flags;
    bool used;
    bool dir;
};

struct pending {
    uint64_t unique;
    uint64_t ino;
    uint32_t opcode;
    uint32_t size;  /* that was asked for */
    uint32_t flags; /* of open */
};

struct kernel {
    struct fuse_host host;
    uint64_t nodes[NODES_MAX];
    size_t n_nodes;
    struct file files[FILES_MAX];
    struct pending pending[PENDING_MAX];
    size_t n_pending;
    uint64_t unique;
    uint32_t pid;
    uint8_t body[BODY_MAX];
    size_t body_len;
};

static uint8_t answer[ANSWER_MAX];

/* ---- answers ---- */

static void know_node(struct kernel *k, uint64_t ino)
{
    REQUIRE(ino != 0);
    for (size_t i = 0; i < k->n_nodes; i++) {
        if (k->nodes[i] == ino) {
            return;
        }
    }
    if (k->n_nodes < NODES_MAX) {
        k->nodes[k->n_nodes++] = ino;
    }
}

static void know_file(struct kernel *k, const struct pending *p, uint64_t ino, const struct fuse_open_out *out)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!k->files[i].used) {
            k->files[i] = (struct file){.fh = out->fh,
                                        .ino = ino,
                                        .flags = p->flags & ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC),
                                        .used = true,
                                        .dir = p->opcode == FUSE_OPENDIR};
            return;
        }
    }
    REQUIRE(false); /* opens were not asked for without room */
}

static void on_entry(struct kernel *k, const uint8_t *body, size_t len, uint64_t *ret_ino)
{
    struct fuse_entry_out out;

    REQUIRE(len >= sizeof(out));
    memcpy(&out, body, sizeof(out));
    REQUIRE(out.nodeid == out.attr.ino && (out.attr.mode & S_IFMT) != 0);
    know_node(k, out.nodeid);
    *ret_ino = out.nodeid;
}

/* What an answer without an error consists of. */
static void on_success(struct kernel *k, const struct pending *p, const uint8_t *body, size_t len)
{
    struct fuse_write_out written;
    uint64_t ino = p->ino;

    switch (p->opcode) {
    case FUSE_LOOKUP:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_LINK:
        REQUIRE(len == sizeof(struct fuse_entry_out));
        on_entry(k, body, len, &ino);
        break;
    case FUSE_CREATE:
        REQUIRE(len == sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
        on_entry(k, body, len, &ino);
        know_file(k, p, ino, (const struct fuse_open_out *)(const void *)(body + sizeof(struct fuse_entry_out)));
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        REQUIRE(len == sizeof(struct fuse_open_out));
        know_file(k, p, ino, (const struct fuse_open_out *)(const void *)body);
        break;
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        REQUIRE(len == sizeof(struct fuse_attr_out));
        break;
    case FUSE_READ:
    case FUSE_READDIR:
        REQUIRE(len <= p->size);
        break;
    case FUSE_READLINK:
        REQUIRE(len > 0 && len < 4096);
        break;
    case FUSE_WRITE:
        REQUIRE(len == sizeof(written));
        memcpy(&written, body, sizeof(written));
        REQUIRE(written.size <= p->size);
        break;
    case FUSE_STATFS:
        REQUIRE(len == sizeof(struct fuse_statfs_out));
        break;
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
        REQUIRE(p->size == 0 ? len == sizeof(struct fuse_getxattr_out) : len <= p->size);
        break;
    case FUSE_POLL:
        REQUIRE(len == sizeof(struct fuse_poll_out));
        break;
    case FUSE_INIT:
        REQUIRE(len >= 24 && len <= sizeof(struct fuse_init_out));
        break;
    default:
        REQUIRE(len == 0);
        break;
    }
}

static void on_answer(struct kernel *k, size_t len)
{
    struct fuse_out_header out;

    REQUIRE(len >= sizeof(out));
    memcpy(&out, answer, sizeof(out));
    REQUIRE(out.len == len);
    if (out.unique == 0) {
        return; /* a notification */
    }
    REQUIRE(out.error <= 0 && out.error > -1000);
    if ((out.unique & INTERRUPT_BIT) != 0) {
        REQUIRE(out.error == -EAGAIN &&
                len == sizeof(out)); /* it came too late: the kernel would look whether to ask again */
        return;
    }
    for (size_t i = 0; i < k->n_pending; i++) {
        struct pending p = k->pending[i];

        if (p.unique == out.unique) {
            k->pending[i] = k->pending[--k->n_pending];
            REQUIRE(out.error == 0 || len == sizeof(out));
            if (out.error == 0) {
                on_success(k, &p, answer + sizeof(out), len - sizeof(out));
            }
            return;
        }
    }
    REQUIRE(false); /* nobody asked, or it was answered before */
}

static bool receive(struct kernel *k)
{
    bool any = false;
    ssize_t n;

    while ((n = recv(k->host.fd, answer, sizeof(answer), 0)) > 0) {
        on_answer(k, (size_t)n);
        any = true;
    }
    REQUIRE(n < 0 && errno == EAGAIN);
    return any;
}

/* Until nothing is to be done any more: then every answer is there. */
static void settle(struct kernel *k)
{
    unsigned quiet = 0;
    unsigned n;

    for (n = 0; n < TURNS_MAX && quiet < QUIET_TURNS; n++) {
        bool busy = fuse_host_turn(&k->host);

        busy = receive(k) || busy;
        quiet = busy ? 0 : quiet + 1;
    }
    REQUIRE(quiet == QUIET_TURNS);
    REQUIRE(k->n_pending == 0);
}

/* ---- requests ---- */

static void body_add(struct kernel *k, const void *bytes, size_t len)
{
    REQUIRE(len <= BODY_MAX - k->body_len);
    if (len > 0) {
        memcpy(k->body + k->body_len, bytes, len);
    }
    k->body_len += len;
}

static bool needs_answer(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

/* Sends what is in `body`; the loop has a turn, no more. `size`: that may be answered; of an INTERRUPT what it is for.
 */
static void ask(struct kernel *k, uint32_t opcode, uint64_t ino, uint32_t size, uint32_t flags)
{
    struct fuse_in_header in = {.len = (uint32_t)(sizeof(in) + k->body_len),
                                .opcode = opcode,
                                .unique = opcode == FUSE_INTERRUPT ? size | INTERRUPT_BIT : (k->unique += 2),
                                .nodeid = ino,
                                .pid = k->pid};
    struct iovec iov[2] = {{&in, sizeof(in)}, {k->body, k->body_len}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

    if (k->n_pending == PENDING_MAX) {
        settle(k);
    }
    if (needs_answer(opcode)) {
        k->pending[k->n_pending++] =
            (struct pending){.unique = in.unique, .ino = ino, .opcode = opcode, .size = size, .flags = flags};
    }
    REQUIRE(sendmsg(k->host.fd, &message, 0) == (ssize_t)in.len);
    k->body_len = 0;
    (void)uv_run(&k->host.loop, UV_RUN_NOWAIT);
    (void)receive(k);
}

static void init(struct kernel *k)
{
    struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
                              .minor = 31,
                              .max_readahead = 131072,
                              .flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS |
                                       FUSE_MAX_PAGES | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_PARALLEL_DIROPS};

    body_add(k, &in, sizeof(in));
    ask(k, FUSE_INIT, 0, 0, 0);
    settle(k);
}

static uint64_t some_node(const struct kernel *k, struct input *in)
{
    return k->nodes[input_u8(in) % k->n_nodes];
}

static struct file *some_file(struct kernel *k, struct input *in, bool dir)
{
    unsigned first = input_u8(in);

    for (unsigned i = 0; i < FILES_MAX; i++) {
        struct file *f = &k->files[(first + i) % FILES_MAX];

        if (f->used && f->dir == dir) {
            return f;
        }
    }
    return NULL;
}

static bool room_for_file(struct kernel *k)
{
    size_t open = 0;

    for (size_t i = 0; i < FILES_MAX; i++) {
        open += k->files[i].used;
    }
    for (size_t i = 0; i < k->n_pending; i++) {
        uint32_t opcode = k->pending[i].opcode;

        open += opcode == FUSE_OPEN || opcode == FUSE_OPENDIR || opcode == FUSE_CREATE;
    }
    return open < FILES_MAX;
}

static const char *const names[] = {"a", "b", "c", "d", "e", "f", ".znodefs", "status", "peers", "metrics", "snapshot"};
#define NAMES (sizeof(names) / sizeof(names[0]))

static const char *const xattrs[] = {"user.a",
                                     "user.b",
                                     "user.znode.data",
                                     "znode.version",
                                     "znode.czxid",
                                     "znode.fence",
                                     "system.posix_acl_access",
                                     "security.capability",
                                     "znode.dataLength",
                                     "user.",
                                     "znode.",
                                     "trusted.x"};
#define XATTRS (sizeof(xattrs) / sizeof(xattrs[0]))

/* With its NUL; never empty, as from the kernel. */
static void add_string(struct kernel *k, struct input *in, const char *const *known, size_t n_known, size_t max)
{
    uint8_t which = input_u8(in);
    const uint8_t *bytes;
    size_t len;

    if (which < 0xf0) {
        body_add(k, known[which % n_known], strlen(known[which % n_known]) + 1);
        return;
    }
    bytes = input_bytes(in, 1 + input_u16(in) % max, &len);
    len = strnlen((const char *)bytes, len);
    for (size_t i = 0; i < len; i++) {
        body_add(k, bytes[i] == '/' ? (const uint8_t *)"s" : &bytes[i], 1);
    }
    body_add(k, len == 0 ? "x" : "", len == 0 ? 2 : 1);
}

static void add_name(struct kernel *k, struct input *in)
{
    add_string(k, in, names, NAMES, 1024);
}

static void add_data(struct kernel *k, const uint8_t *bytes, size_t len, size_t len_total)
{
    size_t n;

    for (size_t at = 0; at < len_total; at += n) {
        n = len == 0 ? 1 : len_total - at < len ? len_total - at : len;
        body_add(k, len == 0 ? (const uint8_t *)"z" : bytes, n);
    }
}

/* Some bytes of the input, over and over, up to a length of its choice. */
static uint32_t add_some_data(struct kernel *k, struct input *in, uint32_t max)
{
    uint32_t total = (uint32_t)(input_u16(in) * (input_u8(in) > 0xc0 ? 64u : 1u)) % max;
    size_t len;
    const uint8_t *bytes = input_bytes(in, input_u8(in), &len);

    add_data(k, bytes, len, total);
    return total;
}

static uint64_t some_offset(struct input *in)
{
    uint8_t how = input_u8(in);

    return how < 0x80 ? how : how < 0xc0 ? input_u16(in) : input_uint(in, 8) >> 1;
}

static void ask_setattr(struct kernel *k, struct input *in)
{
    struct file *f = some_file(k, in, false);
    struct fuse_setattr_in a = {.valid = input_u16(in) & 0x7ff,
                                .size = some_offset(in),
                                .mode = input_u16(in),
                                .uid = input_u8(in),
                                .gid = input_u8(in),
                                .atime = input_uint(in, 8),
                                .mtime = input_uint(in, 4),
                                .atimensec = (uint32_t)input_uint(in, 4) % 1000000000,
                                .mtimensec = (uint32_t)input_uint(in, 4) % 1000000000};
    uint64_t ino = some_node(k, in);

    if ((a.valid & FATTR_FH) != 0 && f == NULL) {
        a.valid &= ~(uint32_t)FATTR_FH;
    }
    if ((a.valid & FATTR_FH) != 0) {
        a.fh = f->fh;
        ino = f->ino;
    }
    body_add(k, &a, sizeof(a));
    ask(k, FUSE_SETATTR, ino, 0, 0);
}

static void ask_getattr(struct kernel *k, struct input *in)
{
    struct fuse_getattr_in a = {0};

    body_add(k, &a, sizeof(a));
    ask(k, FUSE_GETATTR, some_node(k, in), 0, 0);
}

static void ask_make(struct kernel *k, struct input *in, uint32_t opcode)
{
    uint64_t parent = some_node(k, in);
    struct fuse_mknod_in node = {.mode = input_u16(in), .umask = 022};
    struct fuse_mkdir_in dir = {.mode = node.mode & 07777, .umask = 022};

    if ((input_u8(in) & 3) != 0) {
        node.mode = S_IFREG | (node.mode & 07777);
    }
    if (opcode == FUSE_MKNOD) {
        body_add(k, &node, sizeof(node));
    } else if (opcode == FUSE_MKDIR) {
        body_add(k, &dir, sizeof(dir));
    }
    add_name(k, in);
    if (opcode == FUSE_SYMLINK) {
        add_string(k, in, names, NAMES, 4095);
    }
    ask(k, opcode, parent, 0, 0);
}

static void ask_name(struct kernel *k, struct input *in, uint32_t opcode)
{
    uint64_t parent = some_node(k, in);

    add_name(k, in);
    ask(k, opcode, parent, 0, 0);
}

static void ask_rename(struct kernel *k, struct input *in)
{
    uint64_t parent = some_node(k, in);
    struct fuse_rename2_in a = {.newdir = some_node(k, in), .flags = input_u8(in) & 7};

    body_add(k, &a, sizeof(a));
    add_name(k, in);
    add_name(k, in);
    ask(k, FUSE_RENAME2, parent, 0, 0);
}

static void ask_link(struct kernel *k, struct input *in)
{
    struct fuse_link_in a = {.oldnodeid = some_node(k, in)};
    uint64_t parent = some_node(k, in);

    body_add(k, &a, sizeof(a));
    add_name(k, in);
    ask(k, FUSE_LINK, parent, 0, 0);
}

/* `.znodefs/snapshot` forks, which a fuzzer's process may not. */
static bool is_snapshot(uint64_t ino)
{
    return (ino & DOT_BIT) != 0 && (ino & 7) == 4;
}

static uint32_t open_flags(struct input *in)
{
    uint32_t flags = input_u16(in) & (O_ACCMODE | O_APPEND | O_TRUNC | O_DSYNC | O_SYNC | O_DIRECT | O_NONBLOCK);

    return (flags & O_ACCMODE) == O_ACCMODE ? flags & ~(uint32_t)O_ACCMODE : flags;
}

static void ask_open(struct kernel *k, struct input *in, uint32_t opcode)
{
    uint64_t ino = some_node(k, in);
    struct fuse_open_in a = {.flags = open_flags(in)};

    if (!room_for_file(k) || is_snapshot(ino)) {
        return;
    }
    body_add(k, &a, sizeof(a));
    ask(k, opcode, ino, 0, a.flags);
}

static void ask_create(struct kernel *k, struct input *in)
{
    uint64_t parent = some_node(k, in);
    struct fuse_create_in a = {
        .flags = open_flags(in) | O_CREAT, .mode = S_IFREG | (input_u16(in) & 07777), .umask = 022};

    if (!room_for_file(k)) {
        return;
    }
    body_add(k, &a, sizeof(a));
    add_name(k, in);
    ask(k, FUSE_CREATE, parent, 0, a.flags);
}

static void ask_read(struct kernel *k, struct input *in, uint32_t opcode)
{
    const struct file *f = some_file(k, in, opcode == FUSE_READDIR);
    struct fuse_read_in a = {.offset = some_offset(in), .size = (uint32_t)(input_u16(in) * 2u) % IO_MAX};

    if (f == NULL || (f->flags & O_ACCMODE) == O_WRONLY) {
        return;
    }
    a.fh = f->fh;
    a.flags = f->flags;
    body_add(k, &a, sizeof(a));
    ask(k, opcode, f->ino, a.size, 0);
}

static void ask_write(struct kernel *k, struct input *in)
{
    const struct file *f = some_file(k, in, false);
    struct fuse_write_in a = {.offset = some_offset(in)};
    size_t at = k->body_len;

    if (f == NULL || (f->flags & O_ACCMODE) == O_RDONLY) {
        return;
    }
    a.fh = f->fh;
    a.flags = f->flags;
    body_add(k, &a, sizeof(a));
    a.size = add_some_data(k, in, IO_MAX);
    memcpy(k->body + at, &a, sizeof(a));
    ask(k, FUSE_WRITE, f->ino, a.size, 0);
}

/* FLUSH, FSYNC, RELEASE and those of directories, POLL. */
static void ask_file(struct kernel *k, struct input *in, uint32_t opcode, bool dir)
{
    struct file *f = some_file(k, in, dir);
    struct fuse_flush_in flush = {.lock_owner = input_u8(in) & 3};
    struct fuse_fsync_in fsync_in = {0};
    struct fuse_release_in release = {.lock_owner = flush.lock_owner};
    struct fuse_poll_in poll_in = {.kh = 1 + flush.lock_owner, .flags = FUSE_POLL_SCHEDULE_NOTIFY, .events = 1};

    if (f == NULL) {
        return;
    }
    flush.fh = fsync_in.fh = release.fh = poll_in.fh = f->fh;
    release.flags = f->flags;
    switch (opcode) {
    case FUSE_FLUSH:
        body_add(k, &flush, sizeof(flush));
        break;
    case FUSE_POLL:
        body_add(k, &poll_in, sizeof(poll_in));
        break;
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR:
        body_add(k, &fsync_in, sizeof(fsync_in));
        break;
    default:
        settle(k); /* the last one: whoever asked something else holds the file */
        body_add(k, &release, sizeof(release));
        f->used = false;
        break;
    }
    ask(k, opcode, f->ino, 0, 0);
}

static void ask_xattr(struct kernel *k, struct input *in, uint32_t opcode)
{
    uint64_t ino = some_node(k, in);
    struct fuse_getxattr_in get = {.size = input_u16(in)};
    uint8_t set[FUSE_COMPAT_SETXATTR_IN_SIZE] = {0};
    uint32_t flags = input_u8(in) % 3;
    uint32_t size;

    if (opcode == FUSE_GETXATTR || opcode == FUSE_LISTXATTR) {
        body_add(k, &get, sizeof(get));
    } else if (opcode == FUSE_SETXATTR) {
        body_add(k, set, sizeof(set));
    }
    if (opcode != FUSE_LISTXATTR) {
        add_string(k, in, xattrs, XATTRS, 255);
    }
    if (opcode == FUSE_SETXATTR) {
        size = add_some_data(k, in, 65537);
        memcpy(k->body, &size, sizeof(size));
        memcpy(k->body + 4, &flags, sizeof(flags));
    }
    ask(k, opcode, ino, get.size, 0);
}

static void ask_interrupt(struct kernel *k, struct input *in)
{
    struct fuse_interrupt_in a;
    uint8_t which = input_u8(in);

    if (k->n_pending == 0) {
        return; /* libfuse keeps those that come too late for the request after them */
    }
    a.unique = k->pending[which % k->n_pending].unique;
    body_add(k, &a, sizeof(a));
    ask(k, FUSE_INTERRUPT, 0, (uint32_t)a.unique, 0);
}

static void ask_forget(struct kernel *k, struct input *in, bool batch)
{
    struct fuse_forget_in one = {.nlookup = 1};
    struct fuse_batch_forget_in many = {.count = 2};
    struct fuse_forget_one each = {.nodeid = some_node(k, in), .nlookup = 1};

    if (batch) {
        body_add(k, &many, sizeof(many));
        body_add(k, &each, sizeof(each));
        body_add(k, &each, sizeof(each));
    } else {
        body_add(k, &one, sizeof(one));
    }
    ask(k, batch ? FUSE_BATCH_FORGET : FUSE_FORGET, batch ? 0 : each.nodeid, 0, 0);
}

static void ask_other(struct kernel *k, struct input *in)
{
    static const uint32_t opcodes[] = {FUSE_STATFS, FUSE_READLINK, FUSE_LSEEK, FUSE_FALLOCATE,
                                       FUSE_BMAP,   FUSE_ACCESS,   FUSE_IOCTL, 200};
    uint32_t opcode = opcodes[input_u8(in) % (sizeof(opcodes) / sizeof(opcodes[0]))];
    uint8_t zeros[64] = {0};

    if (opcode != FUSE_STATFS && opcode != FUSE_READLINK) {
        body_add(k, zeros, sizeof(zeros));
    }
    ask(k, opcode, some_node(k, in), 0, 0);
}

static void ask_something(struct kernel *k, struct input *in)
{
    static const uint32_t makes[] = {FUSE_MKNOD, FUSE_MKDIR, FUSE_SYMLINK};
    static const uint32_t by_name[] = {FUSE_LOOKUP, FUSE_UNLINK, FUSE_RMDIR};
    static const uint32_t of_xattrs[] = {FUSE_SETXATTR, FUSE_GETXATTR, FUSE_LISTXATTR, FUSE_REMOVEXATTR};
    static const uint32_t of_file[] = {FUSE_FLUSH, FUSE_FSYNC, FUSE_RELEASE, FUSE_POLL};
    static const uint32_t of_dir[] = {FUSE_RELEASEDIR, FUSE_FSYNCDIR};
    static const uint32_t pids[] = {0, PID_NOBODY};
    uint8_t what = input_u8(in);
    uint8_t how = input_u8(in);

    k->pid = (how >> 1 & 3) < 2 ? (uint32_t)getpid() : pids[how >> 1 & 1];
    switch (what % 18) {
    case 0:
        ask_name(k, in, by_name[what / 18 % 3]);
        break;
    case 1:
        ask_make(k, in, makes[what / 18 % 3]);
        break;
    case 2:
        ask_xattr(k, in, of_xattrs[what / 18 % 4]);
        break;
    case 3:
        ask_file(k, in, of_file[what / 18 % 4], false);
        break;
    case 4:
        ask_file(k, in, of_dir[what / 18 % 2], true);
        break;
    case 5:
        ask_getattr(k, in);
        break;
    case 6:
        ask_setattr(k, in);
        break;
    case 7:
        ask_rename(k, in);
        break;
    case 8:
        ask_link(k, in);
        break;
    case 9:
        ask_open(k, in, FUSE_OPEN);
        break;
    case 10:
        ask_create(k, in);
        break;
    case 11:
        ask_read(k, in, FUSE_READ);
        break;
    case 12:
    case 13:
        ask_write(k, in);
        break;
    case 14:
        ask_read(k, in, FUSE_READDIR);
        break;
    case 15:
        ask_open(k, in, FUSE_OPENDIR);
        break;
    case 16:
        if (what / 18 % 2 == 0) {
            ask_interrupt(k, in);
        } else {
            ask_forget(k, in, what / 18 % 4 == 1);
        }
        break;
    default:
        ask_other(k, in);
        break;
    }
    if ((how & 1) != 0) {
        settle(k);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static struct kernel k;
    struct input in = {.at = bytes, .left = len};

    memset(&k, 0, sizeof(k));
    fuse_host_start(&k.host, input_u8(&in) & 7);
    k.nodes[k.n_nodes++] = FUSE_ROOT_ID;
    init(&k);
    for (unsigned n = 0; n < REQUESTS_MAX && in.left > 0; n++) {
        ask_something(&k, &in);
    }
    if (len % 2 == 0) {
        settle(&k); /* else it is unmounted with requests under way */
    }
    fuse_host_stop(&k.host);
    return 0;
}
