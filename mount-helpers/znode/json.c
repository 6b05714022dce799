#include "znode.h"

#include <string.h>

size_t utf8_len(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;

    if (s[0] >= 0xf5 || (s[0] >= 0x80 && s[0] < 0xc2)) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0; /* the NUL at the end, too */
        }
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] >= 0x90)) {
        return 0; /* too long for what it says, a surrogate, or beyond Unicode */
    }
    return len;
}

static void put_text(FILE *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    (void)fputc('"', out);
    while (*s != '\0') {
        size_t len = utf8_len((const char *)s);

        if (len == 0) {
            (void)fprintf(out, "\\udc%02x", *s);
            len = 1;
        } else if (*s == '"' || *s == '\\') {
            (void)fprintf(out, "\\%c", *s);
        } else if (*s < 0x20 || *s == 0x7f) {
            (void)fprintf(out, "\\u%04x", *s);
        } else {
            (void)fwrite(s, 1, len, out);
        }
        s += len;
    }
    (void)fputc('"', out);
}

static void put_key(struct json *j, const char *key)
{
    (void)fputs(j->begun ? ", " : "{", j->out);
    j->begun = true;
    put_text(j->out, key);
    (void)fputs(": ", j->out);
}

void json_string(struct json *j, const char *key, const char *value)
{
    put_key(j, key);
    put_text(j->out, value);
}

void json_number(struct json *j, const char *key, uint64_t value)
{
    put_key(j, key);
    (void)fprintf(j->out, "%llu", (unsigned long long)value);
}

void json_end(struct json *j)
{
    (void)fputs(j->begun ? "}\n" : "{}\n", j->out);
}
