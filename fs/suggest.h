/* suggest: "did you mean ...?" for a misspelt word. */
#ifndef FS_SUGGEST_H
#define FS_SUGGEST_H

#include <stddef.h>

/* How many letters must be changed, added or dropped to make `b` of `a`, upper and lower case being equal. */
size_t suggest_distance(const char *a, const char *b);

/* A search for the word nearest to `word`. Offer every candidate, then ask for the best. */
struct suggest {
    const char *word;
    const char *best; /* NULL: none is near enough */
    size_t distance;
};

void suggest_init(struct suggest *s, const char *word);
void suggest_offer(struct suggest *s, const char *candidate);

#endif
