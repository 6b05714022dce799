#include "text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_CAP_MIN 256

void text_init(struct text *t)
{
    memset(t, 0, sizeof(*t));
}

void text_release(struct text *t)
{
    if (t == NULL) {
        return;
    }
    free(t->chars);
    text_init(t);
}

/* Room for `more` characters and the NUL behind them. */
static void text_reserve(struct text *t, size_t more)
{
    size_t cap = t->cap > 0 ? t->cap : TEXT_CAP_MIN;

    assert(more < SIZE_MAX / 4 && t->len < SIZE_MAX / 4);
    while (cap <= t->len + more) {
        cap *= 2;
    }
    if (cap == t->cap) {
        return;
    }
    t->chars = realloc(t->chars, cap);
    if (t->chars == NULL) {
        abort();
    }
    t->cap = cap;
}

void text_printf(struct text *t, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    text_reserve(t, (size_t)len);

    va_start(args, format);
    (void)vsnprintf(t->chars + t->len, (size_t)len + 1, format, args);
    va_end(args);
    t->len += (size_t)len;
}

void text_add(struct text *t, const char *bytes, size_t len)
{
    text_reserve(t, len);
    memcpy(t->chars + t->len, bytes, len);
    t->len += len;
    t->chars[t->len] = '\0';
}
