/* genkey: makes a key that peers share. */
#ifndef FS_GENKEY_H
#define FS_GENKEY_H

#include <stdbool.h>

/* Writes a new key to a new file that only its owner may read, or to stdout (NULL; a file that it leads to becomes such
 * a one, too). False after telling on stderr what went wrong. */
bool genkey(const char *path);

#endif
