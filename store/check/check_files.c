/* check_files: each file by itself, so that one that is damaged does not hide what the others are. */
#include "check.h"

#include "store/state_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static uint64_t size_of(struct check *c, const char *name)
{
    struct disk_file *file;
    uint64_t size = 0;

    if (c->disk->ops->open(c->disk, name, 0, &file) == 0) {
        if (c->disk->ops->size(file, &size) != 0) {
            size = 0;
        }
        c->disk->ops->close(file);
    }
    return size;
}

static const char *state_word(int rv, const char *good)
{
    return rv == 0 ? good : check_level_of(rv) == CHECK_DAMAGE ? "damaged" : "unread";
}

static void check_epochs(struct check *c)
{
    struct error err = {.text = ""};
    struct epochs e = {0};
    int rv = epochs_load(c->disk, &e, &err);

    if (rv == -ENOENT) {
        return; /* whether it may be missing is for recovery to say */
    }
    c->n_files_seen++;
    out_begin(&c->out, "epochs", "epochs");
    out_word(&c->out, "state", state_word(rv, "whole"));
    if (rv == 0) {
        out_number(&c->out, "server", e.sid);
        out_number(&c->out, "accepted_epoch", e.accepted_epoch);
        out_number(&c->out, "accepted_from", e.accepted_from);
        out_number(&c->out, "current_epoch", e.current_epoch);
        out_word(&c->out, "alone", e.sole ? "yes" : "no");
    }
    out_number(&c->out, "size", size_of(c, "epochs"));
    out_end(&c->out);
    if (rv != 0) {
        check_tell(c, check_level_of(rv), "epochs", "%s", err.text);
    }
}

/* ---- snapshots ---- */

static void show_snapshot(struct check *c, const char *name, int rv, const struct state *s)
{
    out_begin(&c->out, "snapshot", name);
    out_word(&c->out, "state", state_word(rv, "whole"));
    if (rv == 0) {
        out_hex(&c->out, "zxid", state_zxid(s));
        out_number(&c->out, "znodes", tree_count(state_tree(s)));
        out_number(&c->out, "sessions", s->sessions.by_id.count);
        out_number(&c->out, "data_bytes", tree_data_bytes(state_tree(s)));
        out_hex(&c->out, "digest", state_digest(s));
        out_hex(&c->out, "ensemble", state_ensemble(s));
    }
    out_number(&c->out, "size", size_of(c, name));
    out_end(&c->out);
}

static void check_snapshot(struct check *c, uint64_t zxid)
{
    struct error err = {.text = ""};
    struct state *s = NULL;
    char name[64];
    int rv;

    (void)snprintf(name, sizeof(name), "snapshot.%" PRIx64, zxid);
    rv = snapshot_load(c->disk, zxid, &s, &err);
    c->n_files_seen++;
    show_snapshot(c, name, rv, s);
    if (rv != 0) {
        check_tell(c, check_level_of(rv), name, "%s", err.text);
        return;
    }
    c->snapshots[c->n_snapshots++] = zxid;
    if (check_lists(c, c->list_snapshots, name)) {
        check_list_state(c, s);
    }
    state_free(s);
}

static void check_snapshots(struct check *c)
{
    uint64_t *zxids = NULL;
    size_t n = 0;
    int rv = snapshot_list(c->disk, &zxids, &n);

    if (rv != 0) {
        check_tell(c, CHECK_UNREAD, NULL, "list the snapshots: %s", strerror(-rv));
        return;
    }
    c->snapshots = calloc(n + 1, sizeof(*c->snapshots));
    if (c->snapshots == NULL) {
        abort();
    }
    for (size_t i = 0; i < n; i++) {
        check_snapshot(c, zxids[i]);
    }
    free(zxids);
}

/* ---- the log ---- */

/* Recovery decodes only what it applies; here all of it is tried. */
struct decoding {
    uint64_t zxid_bad; /* the first that holds no transaction, 0: none */
};

static int try_record(void *arg, const struct txnlog_record *r)
{
    struct decoding *d = arg;
    struct txn_decoded decoded;

    if (txn_decode(r->payload, r->len, &decoded) == 0) {
        txn_decoded_release(&decoded);
    } else if (d->zxid_bad == 0) {
        d->zxid_bad = r->zxid;
    }
    return 0;
}

static void show_segment(struct check *c, const struct scanner *s, const struct segment_look *look, int rv)
{
    out_begin(&c->out, "log", s->name);
    out_word(&c->out, "state",
             state_word(rv, look->header_torn || look->tail_torn ? "torn"
                            : look->records == 0                 ? "empty"
                                                                 : "whole"));
    if (look->records > 0) {
        out_hex(&c->out, "first", look->segment.zxid_first);
        out_hex(&c->out, "last", look->segment.zxid_last);
    }
    out_number(&c->out, "records", look->records);
    out_number(&c->out, "end", look->end);
    out_number(&c->out, "durable", s->durable);
    out_number(&c->out, "size", s->size);
    out_end(&c->out);
}

static void tell_torn(struct check *c, const struct scanner *s, const struct segment_look *look)
{
    if (look->header_torn) {
        check_tell(c, CHECK_NOTE, s->name, "torn at offset 0, when it was made: the next start removes it");
    } else if (look->tail_torn) {
        check_tell(c, CHECK_NOTE, s->name,
                   "torn at offset %" PRIu64 ": nobody was told of what stood behind; the next start cuts it off there",
                   look->end);
    }
}

/* *zxid_last: where the segment before ended, 0: there is none, or it is not known. */
static void check_segment(struct check *c, struct scanner *s, bool is_last, uint64_t *zxid_last)
{
    struct segment_look look = {0};
    struct decoding decoding = {0};
    struct error err = {.text = ""};
    int rv;

    rv = segment_look_header(s, is_last, &look, &err);
    if (rv == 0 && !look.header_torn) {
        rv = segment_look_records(s, is_last, try_record, &decoding, &look, &err);
    }
    show_segment(c, s, &look, rv);
    if (rv != 0) {
        check_tell(c, check_level_of(rv), s->name, "%s", err.text);
    }
    tell_torn(c, s, &look);
    if (decoding.zxid_bad != 0) {
        check_tell(c, CHECK_DAMAGE, s->name, "the record 0x%" PRIx64 " holds no transaction this program knows",
                   decoding.zxid_bad);
    }
    if (*zxid_last != 0 && look.end > 0 && look.segment.zxid_prev != *zxid_last) {
        check_tell(c, CHECK_DAMAGE, s->name,
                   "a gap: the segment before it ends at 0x%" PRIx64 ", this one continues 0x%" PRIx64, *zxid_last,
                   look.segment.zxid_prev);
    }
    *zxid_last = rv == 0 ? look.segment.zxid_last : 0;
    if (look.records > 0 && check_lists(c, c->list_log, s->name)) {
        check_list_segment(c, s, is_last);
    }
}

static void check_log(struct check *c)
{
    struct error err = {.text = ""};
    uint64_t zxid_last = 0;
    uint64_t *zxids = NULL;
    struct scanner s;
    size_t n = 0;
    int rv = txnlog_list(c->disk, &zxids, &n);

    if (rv != 0) {
        check_tell(c, CHECK_UNREAD, NULL, "list the log: %s", strerror(-rv));
    }
    for (size_t i = 0; i < n; i++) {
        c->n_files_seen++;
        rv = scanner_open(c->disk, zxids[i], &s, &err);
        if (rv != 0) {
            check_tell(c, CHECK_UNREAD, NULL, "%s", err.text);
            zxid_last = 0;
            continue;
        }
        check_segment(c, &s, i + 1 == n, &zxid_last);
        scanner_close(&s);
    }
    free(zxids);
}

/* ---- the rest ---- */

static int other_cb(void *arg, const char *name)
{
    struct check *c = arg;
    uint64_t zxid;

    if (strcmp(name, "epochs") == 0 || strcmp(name, "lock") == 0 || segment_name_parse(name, &zxid)) {
        return 0;
    }
    for (size_t i = 0; i < c->n_snapshots; i++) {
        char whole[64];

        (void)snprintf(whole, sizeof(whole), "snapshot.%" PRIx64, c->snapshots[i]);
        if (strcmp(name, whole) == 0) {
            return 0;
        }
    }
    out_begin(&c->out, "other", name);
    out_number(&c->out, "size", size_of(c, name));
    out_end(&c->out);
    return 0;
}

void check_files(struct check *c)
{
    int rv;

    check_epochs(c);
    check_snapshots(c);
    check_log(c);
    rv = c->disk->ops->list(c->disk, other_cb, c);
    if (rv != 0) {
        check_tell(c, CHECK_UNREAD, NULL, "list the directory: %s", strerror(-rv));
    }
}
