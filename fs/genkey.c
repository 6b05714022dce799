/*
 * A key file as it is made: 32 random bytes in hexadecimal, so that it can be copied through any terminal.
 *
 *      64 letters of 0-9a-f | newline
 */
#include "genkey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define RANDOM_BYTES 32
#define KEY_BYTES    (2 * RANDOM_BYTES + 1)

static bool failed(const char *what, const char *mend)
{
    fprintf(stderr, "znodefs: --genkey: %s: %s%s\n", what, strerror(errno), mend);
    return false;
}

/* What the shell has opened for us may be there for everybody to read, as its umask says. */
static bool close_to_others(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return failed("stdout", "");
    }
    if (S_ISREG(st.st_mode) && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0 && fchmod(fd, 0600) != 0) {
        return failed("stdout", "; name the file as an argument instead");
    }
    return true;
}

static bool write_key(int fd, const char *name)
{
    uint8_t bytes[RANDOM_BYTES];
    char key[KEY_BYTES + 1];
    size_t i;
    bool ok;

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        return failed("getrandom", "");
    }
    for (i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(key + 2 * i, 3, "%02x", bytes[i]);
    }
    key[KEY_BYTES - 1] = '\n';
    errno = EIO; /* what a short write is told as */
    ok = write(fd, key, KEY_BYTES) == (ssize_t)KEY_BYTES;
    explicit_bzero(bytes, sizeof(bytes));
    explicit_bzero(key, sizeof(key));
    return ok ? true : failed(name, "");
}

bool genkey(const char *path)
{
    bool ok;
    int fd;

    if (path == NULL) {
        return close_to_others(STDOUT_FILENO) && write_key(STDOUT_FILENO, "stdout");
    }
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return failed(path, errno == EEXIST ? "; it is kept as it is: name another, or remove it first" : "");
    }
    ok = write_key(fd, path) && (fsync(fd) == 0 || failed(path, ""));
    if (close(fd) != 0 && ok) {
        ok = failed(path, "");
    }
    if (!ok) {
        (void)unlink(path); /* half a key helps nobody; if it stays, the daemon refuses it */
    }
    return ok;
}
