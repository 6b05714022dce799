#include "park.h"

#include "dotznodefs.h"
#include "front.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct parked {
    struct parked *next;
    uint64_t deadline_ms;
    size_t len;
    uint8_t *bytes; /* aligned as the kernel's structs want it */
};

enum verdict {
    VERDICT_GO,
    VERDICT_UNREADABLE, /* nothing may be shown yet */
    VERDICT_PUBLISHING, /* the file is being published */
    VERDICT_REFUSE,     /* `strict` and no quorum */
};

static void park_timer_cb(uv_timer_t *timer);

int park_init(struct park *p, struct mount *m)
{
    int rv = uv_timer_init(m->loop, &p->timer);

    if (rv != 0) {
        return rv;
    }
    p->first = NULL;
    p->last = &p->first;
    p->mount = m;
    return 0;
}

/* Answers a request that libfuse has not seen. */
static void park_reply(struct park *p, const uint8_t *bytes, int err)
{
    struct fuse_in_header in;
    struct fuse_out_header out = {.len = sizeof(out), .error = err};

    memcpy(&in, bytes, sizeof(in));
    out.unique = in.unique;
    if (write(fuse_session_fd(p->mount->session), &out, sizeof(out)) < 0 && errno != ENOENT && errno != ENODEV) {
        mount_log(p->mount, "answer a request: %s", strerror(errno));
    }
}

/* Requests that nothing may hold up: they tell, or they end something. */
static bool never_waits(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_INIT:
    case FUSE_DESTROY:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_NOTIFY_REPLY:
    case FUSE_POLL:
        return true;
    default:
        return false;
    }
}

static bool only_reads(uint32_t opcode)
{
    switch (opcode) {
    case FUSE_LOOKUP:
    case FUSE_GETATTR:
    case FUSE_READLINK:
    case FUSE_READ:
    case FUSE_READDIR:
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
    case FUSE_STATFS:
        return true;
    default:
        return false;
    }
}

/* Whether it makes sense to wait for a publishing: there is a quorum, or an election runs. After timeo without one,
 * reads go on from the last state known. */
static bool may_publish(const struct mount *m)
{
    struct replica_status status;

    replica_status(m->replica, &status);
    return status.quorum || status.quorum_lost_ms < m->options.timeo_ms;
}

/* The name a LOOKUP asks for, NULL if it is not whole. */
static const char *lookup_name(const uint8_t *bytes, size_t len)
{
    const char *name = (const char *)bytes + sizeof(struct fuse_in_header);

    if (len <= sizeof(struct fuse_in_header) || memchr(name, '\0', len - sizeof(struct fuse_in_header)) == NULL) {
        return NULL;
    }
    return name;
}

static enum verdict judge(const struct mount *m, const uint8_t *bytes, size_t len)
{
    struct fuse_in_header in;
    const char *name = NULL;
    uint64_t ino;
    const struct inode *i;
    bool opens_tree;

    assert(len >= sizeof(in));
    memcpy(&in, bytes, sizeof(in));
    ino = in.nodeid;
    opens_tree = in.opcode == FUSE_OPEN && dot_is(ino) && dot_shows_tree(ino);
    if (never_waits(in.opcode) || (dot_is(ino) && !opens_tree)) {
        return VERDICT_GO;
    }
    if (in.opcode == FUSE_LOOKUP) {
        name = lookup_name(bytes, len);
        if (name == NULL || strcmp(name, DOT_NAME) == 0) {
            return VERDICT_GO;
        }
    }
    if (ino == m->options.root && in.opcode == FUSE_GETATTR) {
        return VERDICT_GO; /* or nobody could walk to .znodefs */
    }
    if (!replica_readable(m->replica)) {
        return VERDICT_UNREADABLE;
    }
    if (m->options.strict && (only_reads(in.opcode) || opens_tree)) {
        struct replica_status status;
        replica_status(m->replica, &status);
        if (!status.quorum) {
            return VERDICT_REFUSE;
        }
    }
    if (name != NULL) {
        const struct node *n = tree_lookup(mount_tree(m), ino, name, strlen(name));
        ino = n == NULL ? 0 : n->ino;
    }
    i = inode_find(&m->inodes, ino);
    return i != NULL && i->n_releasing > 0 && may_publish(m) ? VERDICT_PUBLISHING : VERDICT_GO;
}

static void park_arm(struct park *p)
{
    uint64_t now = uv_now(p->mount->loop);

    if (p->first == NULL) {
        (void)uv_timer_stop(&p->timer);
        return;
    }
    /* All wait equally long: the first in line is due first. */
    (void)uv_timer_start(&p->timer, park_timer_cb, p->first->deadline_ms > now ? p->first->deadline_ms - now : 0, 0);
    p->timer.data = p;
}

/* True if the INTERRUPT was for a parked request, which is then answered. */
static bool park_interrupt(struct park *p, const uint8_t *bytes, size_t len)
{
    struct fuse_interrupt_in target;

    if (len < sizeof(struct fuse_in_header) + sizeof(target)) {
        return false;
    }
    memcpy(&target, bytes + sizeof(struct fuse_in_header), sizeof(target));
    for (struct parked **at = &p->first; *at != NULL; at = &(*at)->next) {
        struct parked *q = *at;
        struct fuse_in_header in;
        memcpy(&in, q->bytes, sizeof(in));
        if (in.unique == target.unique) {
            park_reply(p, q->bytes, -EINTR);
            *at = q->next;
            if (p->last == &q->next) {
                p->last = at;
            }
            free(q->bytes);
            free(q);
            park_arm(p);
            return true;
        }
    }
    return false;
}

bool park_take(struct park *p, const struct fuse_buf *request)
{
    struct fuse_in_header in;
    struct parked *q;
    enum verdict verdict;

    if (request->size < sizeof(in)) {
        return false;
    }
    memcpy(&in, request->mem, sizeof(in));
    if (in.opcode == FUSE_INTERRUPT) {
        return park_interrupt(p, request->mem, request->size);
    }
    verdict = judge(p->mount, request->mem, request->size);
    if (verdict == VERDICT_GO) {
        return false;
    }
    if (verdict == VERDICT_REFUSE) {
        park_reply(p, request->mem, -EIO);
        return true;
    }
    q = calloc(1, sizeof(*q));
    if (q != NULL) {
        q->bytes = malloc(request->size);
    }
    if (q == NULL || q->bytes == NULL) {
        free(q);
        park_reply(p, request->mem, -ENOMEM);
        return true;
    }
    memcpy(q->bytes, request->mem, request->size);
    q->len = request->size;
    q->deadline_ms = uv_now(p->mount->loop) + p->mount->options.timeo_ms;
    *p->last = q;
    p->last = &q->next;
    park_arm(p);
    return true;
}

static void park_settle(struct park *p)
{
    struct parked *q = p->first;
    uint64_t now = uv_now(p->mount->loop);

    p->first = NULL; /* handlers may park others meanwhile: those queue up behind */
    p->last = &p->first;
    while (q != NULL) {
        struct parked *next = q->next;
        enum verdict verdict = judge(p->mount, q->bytes, q->len);
        bool due = q->deadline_ms <= now;
        q->next = NULL;
        if ((verdict == VERDICT_UNREADABLE || verdict == VERDICT_PUBLISHING) && !due) {
            *p->last = q;
            p->last = &q->next;
            q = next;
            continue;
        }
        if (verdict == VERDICT_UNREADABLE || verdict == VERDICT_REFUSE) {
            park_reply(p, q->bytes, -EIO);
        } else {
            /* Also when a publishing takes longer than timeo: reads go on from the last state known. */
            struct fuse_buf buf = {.size = q->len, .mem = q->bytes};
            fuse_session_process_buf(p->mount->session, &buf);
        }
        free(q->bytes);
        free(q);
        q = next;
    }
    park_arm(p);
}

void park_wake(struct park *p)
{
    if (p->first != NULL) {
        park_settle(p);
    }
}

static void park_timer_cb(uv_timer_t *timer)
{
    park_settle(timer->data);
}

void park_clear(struct park *p)
{
    while (p->first != NULL) {
        struct parked *q = p->first;
        p->first = q->next;
        free(q->bytes);
        free(q);
    }
    p->last = &p->first;
    (void)uv_timer_stop(&p->timer);
}
