#include "known.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#define PAGE_BITS 4096u
#define WORD_BITS 64u

struct known_page {
    UT_hash_handle hh;
    uint64_t number; /* inode number / PAGE_BITS */
    unsigned n;      /* bits set */
    uint64_t words[PAGE_BITS / WORD_BITS];
};

static struct known_page *page_find(const struct known *k, uint64_t ino)
{
    uint64_t number = ino / PAGE_BITS;
    struct known_page *p;

    HASH_FIND(hh, k->pages, &number, sizeof(number), p);
    return p;
}

static uint64_t *word_of(struct known_page *p, uint64_t ino)
{
    return &p->words[ino % PAGE_BITS / WORD_BITS];
}

static uint64_t bit_of(uint64_t ino)
{
    return 1ull << (ino % WORD_BITS);
}

bool known_has(const struct known *k, uint64_t ino)
{
    struct known_page *p = page_find(k, ino);

    return p != NULL && (*word_of(p, ino) & bit_of(ino)) != 0;
}

void known_add(struct known *k, uint64_t ino)
{
    struct known_page *p = page_find(k, ino);

    if (p == NULL) {
        p = calloc(1, sizeof(*p));
        if (p == NULL) {
            abort();
        }
        p->number = ino / PAGE_BITS;
        HASH_ADD(hh, k->pages, number, sizeof(p->number), p);
    }
    if ((*word_of(p, ino) & bit_of(ino)) == 0) {
        *word_of(p, ino) |= bit_of(ino);
        p->n++;
    }
}

static void page_free(struct known *k, struct known_page *p)
{
    HASH_DEL(k->pages, p);
    free(p);
}

void known_drop(struct known *k, uint64_t ino)
{
    struct known_page *p = page_find(k, ino);

    if (p == NULL || (*word_of(p, ino) & bit_of(ino)) == 0) {
        return;
    }
    *word_of(p, ino) &= ~bit_of(ino);
    assert(p->n > 0);
    p->n--;
    if (p->n == 0) {
        page_free(k, p);
    }
}

void known_release(struct known *k)
{
    struct known_page *p = k->pages;

    HASH_CLEAR(hh, k->pages);
    while (p != NULL) {
        struct known_page *next = p->hh.next;

        free(p);
        p = next;
    }
}
