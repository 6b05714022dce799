/*
 * What people write: the first byte says where: 'z' in a zoo.cfg, 'h' as hosts, 'o' on the command line (arguments
 * apart by newlines). Whatever is refused must be refused with a reason.
 */
#include "input.h"

#include "fs/config.h"
#include "fs/options.h"

#include <netdb.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARGUMENTS_MAX 64

/* Names are not asked for: numbers alone are addresses here. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    (void)node;
    (void)service;
    (void)hints;
    (void)res;
    return EAI_NONAME;
}

static void require_told(int rv, const struct text *problems)
{
    REQUIRE(rv <= 0);
    REQUIRE((rv != 0) == (problems->len > 0));
}

static void try_zoo_cfg(const uint8_t *bytes, size_t len)
{
    struct config_overrides overrides = {.data_dir = "/"};
    int fd = memfd_create("zoo.cfg", MFD_CLOEXEC);
    struct config c;
    struct text problems;
    char path[64];

    REQUIRE(fd >= 0);
    REQUIRE(write(fd, bytes, len) == (ssize_t)len);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    for (overrides.sid = 0; overrides.sid < 2; overrides.sid++) {
        text_init(&problems);
        config_init(&c);
        require_told(config_load(&c, path, &overrides, &problems), &problems);
        config_release(&c);
        text_release(&problems);
    }
    (void)close(fd);
}

static void try_hosts(const char *source)
{
    struct config_overrides overrides = {.insecure = true};
    struct config c;
    struct text problems;
    int rv;

    text_init(&problems);
    config_init(&c);
    rv = config_parse_hosts(&c, source, &problems);
    require_told(rv, &problems);
    if (rv == 0) {
        REQUIRE(c.n_hosts > 0 && c.n_hosts <= CONFIG_HOSTS_MAX);
        REQUIRE(c.subtree == NULL || (c.subtree[0] == '/' && c.subtree[1] != '\0'));
        require_told(config_load_hosts(&c, &overrides, &problems), &problems);
    }
    config_release(&c);
    text_release(&problems);
}

static void try_options(char *line)
{
    char name[] = "znodefs";
    char *argv[ARGUMENTS_MAX + 2] = {name};
    struct options o;
    struct text problems;
    int argc = 1;

    for (char *word; argc <= ARGUMENTS_MAX && (word = strsep(&line, "\n")) != NULL;) {
        argv[argc++] = word;
    }
    text_init(&problems);
    require_told(options_parse(&o, argc, argv, &problems), &problems);
    options_release(&o);
    text_release(&problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char *text;

    if (len == 0 || memmem(bytes, len, "dynamicConfigFile", 17) != NULL) {
        return 0; /* any file of this machine could be named */
    }
    text = malloc(len);
    REQUIRE(text != NULL);
    memcpy(text, bytes + 1, len - 1);
    text[len - 1] = '\0';
    if (bytes[0] == 'h') {
        try_hosts(text);
    } else if (bytes[0] == 'o') {
        try_options(text);
    } else {
        try_zoo_cfg(bytes + 1, len - 1);
    }
    free(text);
    return 0;
}
