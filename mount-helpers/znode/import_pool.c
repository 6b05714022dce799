/*
 * import_pool: each change waits for its commit, and many that wait at once are committed together. So several threads
 * make entries; each has a queue of its own, and a path always goes into the same one.
 */
#include "import.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define WORKERS         16
#define QUEUED_MAX      1024                  /* entries that wait, over all workers */
#define QUEUED_DATA_MAX (2 * IMPORT_FILE_MAX) /* bytes of theirs */

struct worker {
    struct pool *pool;
    pthread_t thread;
    struct entry *first;
    struct entry **last;
    pthread_cond_t wanted;
};

struct pool {
    struct target target;
    bool verbose;
    bool ending;
    pthread_mutex_t lock;
    pthread_cond_t room; /* less is queued, or nothing */
    size_t queued;       /* with those that are being made */
    size_t queued_bytes;
    struct pool_result result;
    struct worker workers[WORKERS];
};

/* With the lock held. */
static void note_failure(struct pool *p, const char *path, const char *what, int rv)
{
    int code = exit_of(rv);

    p->result.failed++;
    p->result.stopped = p->result.stopped || code == ZNODE_NO_QUORUM || rv == -ENOSPC || rv == -EDQUOT;
    if (p->result.code == ZNODE_OK) {
        p->result.code = code;
    }
    complain("%s%s: %s%s%s", *path == '\0' ? "./" : "", path, what != NULL ? what : "", what != NULL ? ": " : "",
             reason(rv));
}

static void make_one(struct worker *w, struct place *place, struct entry *e)
{
    struct pool *p = w->pool;
    const char *what;
    bool stopped = p->result.stopped;
    int rv;

    (void)pthread_mutex_unlock(&p->lock);
    rv = stopped ? 0 : entry_make(&p->target, place, e, &what);
    (void)pthread_mutex_lock(&p->lock);
    if (rv != 0) {
        note_failure(p, e->path, what, rv);
    } else if (!stopped) {
        p->result.made++;
        p->result.bytes += e->len;
        if (p->verbose) {
            (void)fprintf(stderr, "%s\n", *e->path == '\0' ? "./" : e->path);
        }
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    struct place place = {0};

    (void)pthread_mutex_lock(&p->lock);
    while (w->first != NULL || !p->ending) {
        struct entry *e = w->first;

        if (e == NULL) {
            (void)pthread_cond_wait(&w->wanted, &p->lock);
            continue;
        }
        w->first = e->next;
        if (w->first == NULL) {
            w->last = &w->first;
        }
        make_one(w, &place, e);
        p->queued--;
        p->queued_bytes -= e->len;
        (void)pthread_cond_signal(&p->room);
        entry_free(e);
    }
    (void)pthread_mutex_unlock(&p->lock);
    place_release(&place);
    return NULL;
}

struct pool *pool_new(const struct target *t, bool verbose)
{
    struct pool *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        abort();
    }
    p->target = *t;
    p->verbose = verbose;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->room, NULL);
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *w = &p->workers[i];

        w->pool = p;
        w->last = &w->first;
        (void)pthread_cond_init(&w->wanted, NULL);
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            complain("no more threads");
            abort();
        }
    }
    return p;
}

bool pool_add(struct pool *p, struct entry *e)
{
    struct worker *w = &p->workers[XXH3_64bits(e->path, strlen(e->path)) % WORKERS];
    bool go_on;

    (void)pthread_mutex_lock(&p->lock);
    while (p->queued >= QUEUED_MAX || (p->queued > 0 && p->queued_bytes + e->len > QUEUED_DATA_MAX)) {
        (void)pthread_cond_wait(&p->room, &p->lock);
    }
    p->queued++;
    p->queued_bytes += e->len;
    e->next = NULL;
    *w->last = e;
    w->last = &e->next;
    (void)pthread_cond_signal(&w->wanted);
    go_on = !p->result.stopped;
    (void)pthread_mutex_unlock(&p->lock);
    return go_on;
}

void pool_wait(struct pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->queued > 0) {
        (void)pthread_cond_wait(&p->room, &p->lock);
    }
    (void)pthread_mutex_unlock(&p->lock);
}

void pool_fail(struct pool *p, const char *path, const char *what, int rv)
{
    (void)pthread_mutex_lock(&p->lock);
    note_failure(p, path, what, rv);
    (void)pthread_mutex_unlock(&p->lock);
}

struct pool_result pool_result(struct pool *p)
{
    struct pool_result result;

    (void)pthread_mutex_lock(&p->lock);
    result = p->result;
    (void)pthread_mutex_unlock(&p->lock);
    return result;
}

void pool_free(struct pool *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->ending = true;
    for (size_t i = 0; i < WORKERS; i++) {
        (void)pthread_cond_signal(&p->workers[i].wanted);
    }
    (void)pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < WORKERS; i++) {
        (void)pthread_join(p->workers[i].thread, NULL);
        (void)pthread_cond_destroy(&p->workers[i].wanted);
    }
    (void)pthread_cond_destroy(&p->room);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}
