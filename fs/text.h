/* text: a string that grows. */
#ifndef FS_TEXT_H
#define FS_TEXT_H

#include <stddef.h>

struct text {
    char *chars; /* NUL-terminated once anything was added; NULL before */
    size_t len;
    size_t cap;
};

void text_init(struct text *t);
void text_release(struct text *t);
/* Aborts when memory is out: texts are small. */
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_add(struct text *t, const char *bytes, size_t len);

#endif
