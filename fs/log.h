/* log: one line per event, with the time: on stderr, in a file, or in syslog once there is no stderr any more. */
#ifndef FS_LOG_H
#define FS_LOG_H

#include "text.h"

/* Appends to `path` from now on; NULL: stderr. Negative errno. */
int log_open(const char *path);

/* stderr is about to go: lines without a file go to syslog from now on. */
void log_detach(void);

/* One line, without its newline. */
void log_line(const char *text);
void log_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Several lines, each ending in a newline. */
void log_lines(const struct text *lines);

#endif
