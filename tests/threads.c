/* threads: what the thread sanitizer is to forgive. Linked into what SANITIZE=thread builds. */

const char *__tsan_default_suppressions(void);

/* libuv closes descriptors by system calls that the sanitizer does not see: the next file that gets such a number seems
 * to be the socket still that had it before, and every use of it a race with that socket's making. */
const char *__tsan_default_suppressions(void)
{
    return "race:__interceptor_socket$\n"
           "race:__interceptor_accept4$\n"
           "race:__interceptor_accept$\n"
           "race:__interceptor_socketpair$\n"
           "race:__interceptor_pipe2$\n";
}
