/*
 * known: which directories the kernel has been told of and has not forgotten: a bit for each inode number.
 *
 * One that is removed meanwhile may still be somebody's working directory, and keeps its attributes until then.
 *
 * This rests on the kernel asking for each name again (no entry timeouts): a name that it keeps would go on leading to
 * what is removed, where ESTALE makes it ask. Whoever lets it keep names has to take those of removed directories away.
 */
#ifndef FS_KNOWN_H
#define FS_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

struct known_page;

struct known {
    struct known_page *pages; /* those with any bit set */
};

void known_add(struct known *k, uint64_t ino);
void known_drop(struct known *k, uint64_t ino);
bool known_has(const struct known *k, uint64_t ino);
void known_release(struct known *k);

#endif
