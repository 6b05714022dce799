/* config_int: what the parts of config share. */
#ifndef FS_CONFIG_INT_H
#define FS_CONFIG_INT_H

#include "config.h"

/* A place in a file, for messages. */
struct config_place {
    const char *file;
    unsigned line;
};

void config_problem(struct text *problems, const struct config_place *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Never NULL: aborts when memory is out. */
char *config_strdup(const char *s);

/* A decimal number, or with `0x` a hexadecimal one, of which nothing is left over. */
bool config_parse_number(const char *s, uint64_t *ret_value);

/* Makes data_dir absolute, so that it holds in another working directory. False after telling a problem. */
bool config_resolve_data_dir(struct config *c, const struct config_place *at, struct text *problems);

/* config_server.c: a port from 1 to 65535; the host in front of `*rest`, up to a colon or within brackets, which is cut
 * off, NULL if there is none. */
bool config_parse_port(const char *s, uint16_t *ret_port);
char *config_take_host(char **rest);

/* config_key.c: sets what `key` means. Returns false after telling a problem. Keys without meaning here are gathered
 * in `ignored` ("key (line N), ..."). */
bool config_set_key(struct config *c, const struct config_place *at, const char *key, const char *value,
                    struct text *ignored, struct text *problems);

/* config_tls.c: reads the key or the certificates that are named. False after telling a problem. */
void config_release_tls(struct config *c);
bool config_load_tls(struct config *c, const struct config_place *at, struct text *problems);

/* config_server.c: a line server.N=..., `number` being the N. */
bool config_add_server(struct config *c, const struct config_place *at, const char *number, const char *value,
                       struct text *problems);
/* What can only be seen with all lines at hand: addresses that are given twice, or lie outside loopback. */
void config_check_servers(struct config *c, struct text *problems);

#endif
