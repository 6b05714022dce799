/* options: the command line: znodefs [-f] [-d] [-V] [-h] [-o opt,...] SOURCE MOUNTPOINT. */
#ifndef FS_OPTIONS_H
#define FS_OPTIONS_H

#include "config.h"

#include <stdio.h>

struct options {
    bool foreground;
    bool debug;
    bool version; /* asked for; the rest is not checked then */
    bool help;
    bool genkey;            /* asked for; source is the file then, or NULL */
    const char *source;     /* as given; in argv */
    const char *mountpoint; /* as given; in argv */
    bool standalone;        /* what SOURCE is: this, */
    bool hosts;             /* or a list of hosts, not looked into yet; else a zoo.cfg */
    bool unmounted;         /* MOUNTPOINT is `none` */
    bool tls_given;         /* an option about TLS, insecure= included */
    bool read_only;
    bool sync;
    bool soft;
    bool strict;
    bool allow_other;
    uint32_t timeo_ms;
    struct config_overrides overrides; /* data_dir is data_dir below */
    char *data_dir;
    char *log_path; /* -o log=, or NULL */
    char *key_file; /* these: as data_dir */
    char *key_store;
    char *trust_store;
    char **fuse_options; /* to pass on, each as -o would name it */
    size_t n_fuse_options;
    struct text notes; /* lines for the log: options known but not there yet */
};

/* -EINVAL: `problems` has a line for each thing that is wrong. `o` is to be released in either case. */
int options_parse(struct options *o, int argc, char **argv, struct text *problems);
void options_release(struct options *o);

void options_usage(FILE *out);

#endif
