#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *e, int rv, const char *format, ...)
{
    va_list args;

    if (e == NULL) {
        return rv;
    }
    va_start(args, format);
    if (vsnprintf(e->text, sizeof(e->text), format, args) < 0) {
        e->text[0] = '\0';
    }
    va_end(args);
    return rv;
}

int error_wrap(struct error *e, int rv, const char *format, ...)
{
    char inner[ERROR_MAX];
    size_t used;
    va_list args;

    if (e == NULL) {
        return rv;
    }
    memcpy(inner, e->text, sizeof(inner));
    inner[sizeof(inner) - 1] = '\0';
    va_start(args, format);
    if (vsnprintf(e->text, sizeof(e->text), format, args) < 0) {
        e->text[0] = '\0';
    }
    va_end(args);
    used = strlen(e->text);
    /* A cut text is still a text: the length that snprintf would have liked is of no interest. */
    (void)snprintf(e->text + used, sizeof(e->text) - used, ": %s", inner);
    return rv;
}
