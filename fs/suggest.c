#include "suggest.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

/* Longer words are not compared: nobody misspells them by two letters only. */
#define SUGGEST_WORD_MAX 63

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t ab = a < b ? a : b;

    return ab < c ? ab : c;
}

size_t suggest_distance(const char *a, const char *b)
{
    size_t row[SUGGEST_WORD_MAX + 1]; /* distances between the start of `a` so far and every start of `b` */
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    size_t i;
    size_t j;

    if (a_len > SUGGEST_WORD_MAX || b_len > SUGGEST_WORD_MAX) {
        return SIZE_MAX;
    }
    for (j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (j = 1; j <= b_len; j++) {
            size_t above = row[j];
            size_t differs = tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]) ? 1 : 0;

            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + differs);
            diagonal = above;
        }
    }
    return row[b_len];
}

void suggest_init(struct suggest *s, const char *word)
{
    size_t len = strlen(word);

    s->word = word;
    s->best = NULL;
    /* One more than what is accepted: about a third of the letters may be wrong. */
    s->distance = (len < 3 ? 1 : len / 3 < 4 ? len / 3 : 4) + 1;
}

void suggest_offer(struct suggest *s, const char *candidate)
{
    size_t distance = suggest_distance(s->word, candidate);

    if (distance < s->distance) {
        s->distance = distance;
        s->best = candidate;
    }
}
