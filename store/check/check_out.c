/*
 * check_out: every item is one line: 'item name key=value ...', or with --json an object {"item": ..., "name": ...,
 * "key": value, ...}. Zxids and ids are strings there, as JSON's numbers end at 2^53.
 */
#include "check.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define NS_PER_S 1000000000

static void put(struct out *o, const char *text)
{
    (void)fputs(text, o->file); /* a failure shows in ferror() at the end */
}

static void begin_field(struct out *o, const char *key)
{
    (void)fprintf(o->file, o->json ? ", \"%s\": " : " %s=", key);
}

/* The length of the UTF-8 sequence that begins here, 0 if none does: no overlong forms, no surrogates. */
static size_t utf8_len(const uint8_t *p, size_t len)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : 4;

    if (p[0] > 0xf4 || (p[0] >= 0x80 && p[0] < 0xc2) || n > len) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f)) {
        return 0;
    }
    return n;
}

/* As PATH in ctl: blanks, controls, backslashes and what is not UTF-8 become \ooo; in JSON that backslash is doubled.
 */
static void put_escaped(struct out *o, const char *bytes, size_t len)
{
    const uint8_t *p = (const uint8_t *)bytes;
    size_t n;

    for (; len > 0; p += n, len -= n) {
        n = utf8_len(p, len);
        if (n == 0 || p[0] <= ' ' || p[0] == '\\' || p[0] == 0x7f) {
            n = 1;
            (void)fprintf(o->file, o->json ? "\\\\%03o" : "\\%03o", p[0]);
        } else {
            put(o, o->json && p[0] == '"' ? "\\" : "");
            (void)fwrite(p, 1, n, o->file);
        }
    }
}

void out_begin(struct out *o, const char *kind, const char *name)
{
    if (o->json) {
        (void)fprintf(o->file, "{\"item\": \"%s\"", kind);
        if (name != NULL) {
            out_bytes(o, "name", name, strlen(name));
        }
        return;
    }
    put(o, kind);
    if (name != NULL) {
        put(o, " ");
        put_escaped(o, name, strlen(name));
    }
}

void out_word(struct out *o, const char *key, const char *value)
{
    begin_field(o, key);
    (void)fprintf(o->file, o->json ? "\"%s\"" : "%s", value);
}

void out_bytes(struct out *o, const char *key, const char *bytes, size_t len)
{
    begin_field(o, key);
    put(o, o->json ? "\"" : "");
    put_escaped(o, bytes, len);
    put(o, o->json ? "\"" : "");
}

void out_text(struct out *o, const char *key, const char *text)
{
    begin_field(o, key);
    if (!o->json) {
        (void)fprintf(o->file, "'%s'", text);
        return;
    }
    put(o, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            (void)fputc('\\', o->file);
        }
        (void)fputc((unsigned char)*text < ' ' ? ' ' : *text, o->file);
    }
    put(o, "\"");
}

void out_number(struct out *o, const char *key, uint64_t value)
{
    begin_field(o, key);
    (void)fprintf(o->file, "%" PRIu64, value);
}

void out_hex(struct out *o, const char *key, uint64_t value)
{
    begin_field(o, key);
    (void)fprintf(o->file, o->json ? "\"0x%" PRIx64 "\"" : "0x%" PRIx64, value);
}

void out_mode(struct out *o, const char *key, uint32_t value)
{
    begin_field(o, key);
    (void)fprintf(o->file, o->json ? "\"%04" PRIo32 "\"" : "%04" PRIo32, value);
}

void out_time(struct out *o, const char *key, int64_t ns)
{
    int64_t rest = ns % NS_PER_S < 0 ? ns % NS_PER_S + NS_PER_S : ns % NS_PER_S;
    time_t seconds = (time_t)((ns - rest) / NS_PER_S);
    char text[64];
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        text[0] = '\0';
    }
    begin_field(o, key);
    (void)fprintf(o->file, o->json ? "\"%s.%09" PRId64 "Z\"" : "%s.%09" PRId64 "Z", text, rest);
}

void out_end(struct out *o)
{
    put(o, o->json ? "}\n" : "\n");
}
