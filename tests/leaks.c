/* leaks: what the leak sanitizer is to forgive. Linked into znodefs with SANITIZE=address only. */

const char *__lsan_default_options(void);
const char *__lsan_default_suppressions(void);

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

/* libfuse frees its copy of the mountpoint only when it unmounts by that path, where something else may be by then: a
 * mount that was detached while in use is therefore not unmounted by it. */
const char *__lsan_default_suppressions(void)
{
    return "leak:fuse_session_mount\n";
}
