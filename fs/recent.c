#include "recent.h"

#include "handle.h"

#include <string.h>

void recent_add(struct recent *r, const struct node *n)
{
    struct recent_node *kept = &r->nodes[r->next];

    if (n->kind == NODE_DIR || n->data_len > RECENT_DATA_MAX) {
        return;
    }
    buf_unref(kept->data);
    kept->ino = n->ino;
    stat_of_node(n, &kept->stat);
    kept->stat.st_nlink = 0;
    kept->data = n->data == NULL ? NULL : buf_ref(n->data);
    kept->len = n->data_len;
    r->next = (r->next + 1) % RECENT_MAX;
}

const struct recent_node *recent_instead(struct recent *r, pid_t pid, uint64_t ino)
{
    unsigned place = (unsigned)pid % RECENT_MAX;
    bool again = r->told[place].pid == pid && r->told[place].ino != 0 && r->told[place].ino != ino;

    for (unsigned i = 0; again && i < RECENT_MAX; i++) {
        if (r->nodes[i].ino == ino) {
            return &r->nodes[i];
        }
    }
    r->told[place].pid = pid;
    r->told[place].ino = ino;
    return NULL;
}

void recent_release(struct recent *r)
{
    for (unsigned i = 0; i < RECENT_MAX; i++) {
        buf_unref(r->nodes[i].data);
    }
    memset(r, 0, sizeof(*r));
}
