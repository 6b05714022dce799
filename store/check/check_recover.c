/* check_recover: what the next start will do, by the code that does it, on a disk that changes nothing. */
#include "check.h"

#include "store/state_int.h"
#include "store/zxid.h"

#include <errno.h>
#include <inttypes.h>

static void on_change(void *arg, const char *what)
{
    check_tell(arg, CHECK_NOTE, NULL, "the next start will %s", what);
}

/* A peer accepts an epoch, then takes part in it, then has transactions of it; each is durable before the next. */
static void check_epochs_fit(struct check *c, const struct store *s)
{
    const struct epochs *e = &s->epochs;

    if (e->current_epoch > e->accepted_epoch) {
        check_tell(c, CHECK_DAMAGE, "epochs",
                   "the current epoch %" PRIu32 " is beyond the accepted one, %" PRIu32
                   ": the file is of no peer that ever was",
                   e->current_epoch, e->accepted_epoch);
    }
    if (zxid_epoch(s->zxid_logged) > e->accepted_epoch) {
        check_tell(c, CHECK_DAMAGE, "epochs",
                   "there is history of epoch %" PRIu32 ", and only epoch %" PRIu32
                   " was accepted: the files are of different times or members; remove this member's data directory "
                   "and let it synchronize again from the others, or restore it from a backup as a whole",
                   zxid_epoch(s->zxid_logged), e->accepted_epoch);
    }
}

static void show(struct check *c, const struct store *s)
{
    uint64_t digest = state_digest_slow(s->state);

    out_begin(&c->out, "recovery", NULL);
    out_word(&c->out, "state", "whole");
    out_hex(&c->out, "zxid", state_zxid(s->state));
    out_hex(&c->out, "logged", s->zxid_logged);
    out_number(&c->out, "uncommitted", s->n_entries);
    out_number(&c->out, "znodes", tree_count(state_tree(s->state)));
    out_number(&c->out, "sessions", s->state->sessions.by_id.count);
    out_number(&c->out, "data_bytes", tree_data_bytes(state_tree(s->state)));
    out_hex(&c->out, "digest", digest);
    out_hex(&c->out, "ensemble", state_ensemble(s->state));
    out_end(&c->out);
    if (digest != state_digest(s->state)) {
        check_tell(c, CHECK_DAMAGE, NULL, "the digest that was kept up is 0x%" PRIx64 ": a fault of this program",
                   state_digest(s->state));
    }
}

void check_recovery(struct check *c)
{
    struct disk *view = check_view_new(c->disk, on_change, c);
    struct error err = {.text = ""};
    struct store store;
    int rv;

    rv = store_open(view, NULL, 0, &store, &err);
    if (rv != 0) {
        out_begin(&c->out, "recovery", NULL);
        out_word(&c->out, "state", "refused");
        out_end(&c->out);
        check_tell(c, check_level_of(rv), NULL, "%s", err.text);
        check_view_free(view);
        return;
    }
    show(c, &store);
    if (err.text[0] != '\0') {
        check_tell(c, CHECK_WARNING, NULL, "%s", err.text);
    }
    check_epochs_fit(c, &store);
    store_release(&store);
    check_view_free(view);
}
