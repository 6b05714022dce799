/*
 * epochs: what a peer has promised and reached (ZAB: f.p and f.a), and whose dataDir this is. One small checksummed
 * file, `epochs`, replaced as a whole.
 */
#ifndef STORE_EPOCHS_H
#define STORE_EPOCHS_H

#include "disk.h"
#include "error.h"

struct epochs {
    uint64_t sid;            /* of the server this dataDir belongs to */
    uint32_t accepted_epoch; /* the newest epoch a NEWEPOCH was acknowledged for */
    uint64_t accepted_from;  /* the leader that proposed it */
    bool sole;               /* the current epoch is of an ensemble of one */
    uint32_t current_epoch;  /* the newest epoch whose history is on this disk */
};

/* -ENOENT when there is none (an empty dataDir); -EBADMSG when damaged; -EPROTO when its format is newer. */
int epochs_load(struct disk *d, struct epochs *ret_epochs, struct error *err);
int epochs_save(struct disk *d, const struct epochs *e, struct error *err);

#endif
