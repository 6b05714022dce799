/*
 * error: a sentence about what went wrong with the world ("load snapshot.300000012: bad checksum at offset 8192"),
 * filled at the bottom, wrapped with context on the way up, printed once at the top.
 */
#ifndef STORE_ERROR_H
#define STORE_ERROR_H

#define ERROR_MAX 512

struct error {
    char text[ERROR_MAX]; /* cut, never overrun */
};

/* Sets the text; returns `rv` so that callers write `return error_set(err, -EIO, "...")`. `e` may be NULL. */
int error_set(struct error *e, int rv, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text; returns rv. */
int error_wrap(struct error *e, int rv, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
