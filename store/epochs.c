/*
 * The file `epochs`, little-endian:
 *
 *    0  magic "ZNEPOCHS"
 *    8  u32 version (1)         12  u32 flags (bit 0: sole)
 *   16  u64 sid
 *   24  u32 accepted_epoch      28  u32 current_epoch
 *   32  u64 accepted_from
 *   40  u64 XXH3 of all bytes before it
 *
 * In every later version, too, the last 8 bytes are the checksum of all others, so that a newer file can be told from
 * a damaged one.
 */
#include "epochs.h"

#include "le.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define EPOCHS_SOLE     1u
#define EPOCHS_VERSION  1
#define EPOCHS_BYTES    48
#define EPOCHS_FILE_MAX 4096 /* room for what later versions add */

static const char epochs_magic[8] = {'Z', 'N', 'E', 'P', 'O', 'C', 'H', 'S'};

static int decode(const uint8_t *p, size_t len, struct epochs *ret_epochs, struct error *err)
{
    uint32_t version;

    if (len < EPOCHS_BYTES || memcmp(p, epochs_magic, sizeof(epochs_magic)) != 0 ||
        le_get64(p + len - 8) != XXH3_64bits(p, len - 8)) {
        return error_set(err, -EBADMSG,
                         "epochs is damaged (bad checksum): remove this member's data directory and let it "
                         "synchronize again from the others, or restore it from a backup");
    }
    version = le_get32(p + 8);
    if (version > EPOCHS_VERSION) {
        return error_set(err, -EPROTO,
                         "epochs has format version %" PRIu32 ", this program knows up to %d: "
                         "run the newer program that wrote it",
                         version, EPOCHS_VERSION);
    }
    ret_epochs->sole = (le_get32(p + 12) & EPOCHS_SOLE) != 0;
    ret_epochs->sid = le_get64(p + 16);
    ret_epochs->accepted_epoch = le_get32(p + 24);
    ret_epochs->current_epoch = le_get32(p + 28);
    ret_epochs->accepted_from = le_get64(p + 32);
    return 0;
}

int epochs_load(struct disk *d, struct epochs *ret_epochs, struct error *err)
{
    uint8_t *bytes;
    size_t len;
    int rv;

    rv = disk_read_all(d, "epochs", EPOCHS_FILE_MAX, &bytes, &len);
    if (rv == -EFBIG) {
        return error_set(err, -EBADMSG, "epochs is damaged (larger than %d bytes)", EPOCHS_FILE_MAX);
    }
    if (rv != 0) {
        return error_set(err, rv, "read epochs: %s", strerror(-rv));
    }
    rv = decode(bytes, len, ret_epochs, err);
    free(bytes);
    return rv;
}

int epochs_save(struct disk *d, const struct epochs *e, struct error *err)
{
    uint8_t bytes[EPOCHS_BYTES] = {0};
    int rv;

    memcpy(bytes, epochs_magic, sizeof(epochs_magic));
    le_put32(bytes + 8, EPOCHS_VERSION);
    le_put32(bytes + 12, e->sole ? EPOCHS_SOLE : 0);
    le_put64(bytes + 16, e->sid);
    le_put32(bytes + 24, e->accepted_epoch);
    le_put32(bytes + 28, e->current_epoch);
    le_put64(bytes + 32, e->accepted_from);
    le_put64(bytes + 40, XXH3_64bits(bytes, 40));
    rv = disk_replace(d, "epochs", bytes, sizeof(bytes));
    return rv == 0 ? 0 : error_set(err, rv, "write epochs: %s", strerror(-rv));
}
