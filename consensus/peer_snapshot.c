/* A snapshot without a pause: a child writes the file while this process goes on. */
#include "peer_int.h"

#include <errno.h>
#include <string.h>

/* In the child, which is in dataDir/znodefs and opens its own disk. */
static int snapshot_run(void *arg, struct error *err)
{
    const struct state *const *state = arg;
    struct disk *disk;
    int rv = disk_posix_new(".", false, &disk);

    return rv != 0 ? rv : snapshot_save(disk, *state, err);
}

static void snapshot_ended(void *arg, int rv, const char *text)
{
    struct peer *p = arg;

    p->saving = false;
    if (p->phase != PEER_RUNNING) {
        return;
    }
    if (rv != 0) {
        peer_log(p, "no snapshot was written: %s%s%s", strerror(-rv), text[0] != '\0' ? ": " : "", text);
    }
    replica_on_snapshot(p->replica, rv);
}

int peer_snapshot_begin(struct peer *p, const struct state *state)
{
    const struct peer_child_task task = {
        .run = snapshot_run, .run_arg = &state, .ended = snapshot_ended, .ended_arg = p, .out_fd = -1};
    struct peer_child *child;
    int rv;

    if (p->saving) {
        return -EBUSY;
    }
    rv = peer_child_start(p, &task, &child);
    p->saving = rv == 0;
    return rv;
}
