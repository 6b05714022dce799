/* znode COMMAND ...: the table of commands, and the help. */
#include "znode.h"

#include <errno.h>
#include <string.h>

static const struct command *const commands[] = {
    &command_stat,
    &command_status,
    &command_export,
    &command_import,
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char examples[] =
    "Examples:\n"
    "  znode status /mnt                         is this mount up, and who leads\n"
    "  znode stat /mnt/app/config                versions, zxids and times of a znode\n"
    "  znode export -o app.tar /mnt/app          a backup, exact at one transaction\n"
    "  znode import /mnt/app-restored < app.tar  and back\n"
    "\n"
    "Exit codes: 0; 1 usage, or a failure without a number of its own; 6 no quorum; 8 absent;\n"
    "9 exists; 10 refused. `znode COMMAND --help` tells more about a command.\n";

static void print_commands(FILE *out)
{
    (void)fputs("usage: znode COMMAND [OPTION]... PATH\n\n", out);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        (void)fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    }
    (void)fputs("\n", out);
    (void)fputs(examples, out);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

/* Output that could not be written is a failure, whatever was done. */
static int finish(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        complain("write the output: %s", strerror(errno));
        return code == ZNODE_OK ? ZNODE_USAGE : code;
    }
    return code;
}

int main(int argc, char **argv)
{
    const struct command *c;

    if (argc < 2) {
        print_commands(stderr);
        return ZNODE_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        c = argc > 2 ? find_command(argv[2]) : NULL;
        if (c != NULL) {
            print_help(c);
        } else {
            print_commands(stdout);
        }
        return finish(ZNODE_OK);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        (void)printf("znode %s\n", ZNODEFS_VERSION);
        return finish(ZNODE_OK);
    }
    c = find_command(argv[1]);
    if (c == NULL) {
        complain("%s: there is no such command; `znode --help` lists them", argv[1]);
        return ZNODE_USAGE;
    }
    return finish(c->run(c, argc - 1, argv + 1));
}
