/*
 * main: arguments and zoo.cfg in, one peer and its mount wired together on one libuv loop, exit code out.
 *
 *   STARTING --peer and mount are there--> SERVING --signal, umount-->
 * UNMOUNTING --mount ended--> STOPPING --> ENDED |                                     | ^
 *       +--- failed: exit code ---------------+---- the peer ended by itself: detach, exit at once    | no mount
 *
 * With a subtree to be mounted, WAITING stands between the peer and the mount: only a state shows whether it exists.
 */
#include "config.h"
#include "consensus/peer.h"
#include "daemon.h"
#include "genkey.h"
#include "log.h"
#include "mount.h"
#include "options.h"
#include "report.h"
#include "subtree.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_USAGE = 1,
    EXIT_CODE_CONFIG = 2,
    EXIT_CODE_DATA = 3,
    EXIT_CODE_MOUNTPOINT = 4,
    EXIT_CODE_ADDRESS = 5,
};

/* Of the daemon, if it is started with 0. */
#define PEER_NICE (-10)
/* Committed transactions kept in memory, so that a peer that was away shortly gets a DIFF; what is older
 * comes from the log. */
#define WINDOW_BYTES (16u * 1024u * 1024u)
/* Of frames for one peer: what all writers of some mounts may have under way (REPLICA_WINDOW_BYTES), and more. */
#define QUEUE_BYTES_MAX (64u * 1024u * 1024u)

/* An observer that is not listed keeps less: it has nobody to bring up to date. */
#define WINDOW_BYTES_UNLISTED (1024u * 1024u)

enum stage { STARTING, WAITING, SERVING, UNMOUNTING, STOPPING, ENDED };

struct app {
    struct options options;
    struct config config;
    struct daemon daemon;
    char *mountpoint; /* absolute; NULL: none */
    char *probe;      /* the file that the parent reads to see that the mount answers */
    uv_loop_t loop;
    uv_signal_t signals[3];
    size_t n_signals;
    struct peer *peer;
    struct mount *mount;
    struct report report;
    struct report_server *servers;
    struct transport_peer *others;
    struct zab_server *members;
    uv_timer_t wait; /* for the first synchronization, when a subtree is to be mounted */
    struct replica_listener listener;
    uint64_t root; /* what is mounted; 0: the whole tree */
    int code;      /* to end with */
    enum stage stage;
};

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);

    if (p == NULL) {
        abort();
    }
    return p;
}

/* ---- the end ---- */

static void stop_signals(struct app *app)
{
    while (app->n_signals > 0) {
        uv_close((uv_handle_t *)&app->signals[--app->n_signals], NULL);
    }
}

static void stop_peer(struct app *app)
{
    assert(app->mount == NULL);
    app->stage = STOPPING;
    peer_stop(app->peer);
}

static void on_mount_ended(void *arg)
{
    struct app *app = arg;

    log_printf("%s", app->stage == UNMOUNTING ? "the mount is gone" : "the mount was taken away: ending");
    app->mount = NULL; /* freed by itself */
    app->report.mount = NULL;
    stop_peer(app);
}

static void on_peer_ended(void *arg, const char *text)
{
    struct app *app = arg;

    app->peer = NULL; /* freed by itself */
    if (text == NULL) {
        app->stage = ENDED;
        stop_signals(app);
        return;
    }
    log_printf("the peer cannot go on: %s", text);
    /* The tree is gone with the peer, and requests may not see that: the process ends with all it has open, which
     * answers them. Detached first, so that no dead mount stays in the way of the next start. */
    if (app->mount != NULL && umount2(app->mountpoint, MNT_DETACH) != 0) {
        log_printf("umount %s: %s; call fusermount3 -u -z", app->mountpoint, strerror(errno));
    }
    _exit(EXIT_CODE_DATA);
}

static void stop_waiting(struct app *app);

static void on_signal(uv_signal_t *handle, int signum)
{
    struct app *app = handle->data;

    if (app->stage == WAITING) {
        log_printf("%s: ending", strsignal(signum));
        stop_waiting(app);
        app->code = EXIT_CODE_MOUNTPOINT; /* whoever waits is told that nothing was mounted */
        stop_peer(app);
        return;
    }
    if (app->stage != SERVING) {
        log_printf("%s again: still ending", strsignal(signum));
        return;
    }
    log_printf("%s: ending", strsignal(signum));
    if (app->mount != NULL) {
        app->stage = UNMOUNTING;
        mount_stop(app->mount);
    } else {
        stop_peer(app);
    }
}

/* ---- the start ---- */

static void on_log(void *arg, const char *text)
{
    (void)arg;
    log_line(text);
}

static int watch_signals(struct app *app)
{
    static const int signums[] = {SIGTERM, SIGINT, SIGHUP};
    size_t i;

    for (i = 0; i < sizeof(signums) / sizeof(signums[0]); i++) {
        uv_signal_t *handle = &app->signals[i];
        int rv = uv_signal_init(&app->loop, handle);

        if (rv == 0) {
            app->n_signals++;
            handle->data = app;
            rv = uv_signal_start(handle, on_signal, signums[i]);
        }
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

/* What an unlisted observer knows of the others: where participants may be. */
static void fill_hosts(struct app *app, struct peer_config *pc)
{
    const struct config *c = &app->config;
    size_t i;

    app->others = allocate(c->n_hosts, sizeof(*app->others));
    for (i = 0; i < c->n_hosts; i++) {
        app->others[i] = (struct transport_peer){.host = c->hosts[i].host, .port = c->hosts[i].port};
    }
    pc->transport.peers = app->others;
    pc->transport.n_peers = c->n_hosts;
    pc->transport.loopback_only = !c->insecure && c->tls == NULL;
}

/* Who takes part, as each layer wants to be told. */
static void fill_servers(struct app *app, struct peer_config *pc)
{
    const struct config *c = &app->config;
    size_t i;

    app->members = allocate(c->n_servers + 1, sizeof(*app->members));
    app->others = allocate(c->n_servers, sizeof(*app->others));
    app->servers = allocate(c->n_servers, sizeof(*app->servers));
    for (i = 0; i < c->n_servers; i++) {
        const struct config_server *s = &c->servers[i];
        bool v6 = strchr(s->host, ':') != NULL;
        struct text address;

        text_init(&address);
        text_printf(&address, v6 ? "[%s]:%u" : "%s:%u", s->host, s->peer_port);
        app->servers[i] = (struct report_server){.sid = s->sid, .address = address.chars, .observer = s->observer};
        app->members[i] = (struct zab_server){.sid = s->sid, .observer = s->observer};
        if (s->sid != c->sid) {
            app->others[pc->transport.n_peers++] =
                (struct transport_peer){.sid = s->sid, .host = s->host, .port = s->peer_port, .observer = s->observer};
        }
    }
    if (c->n_servers == 0) {
        app->members[0] = (struct zab_server){.sid = c->sid};
    }
    pc->replica.zab.servers = app->members;
    pc->replica.zab.n_servers = c->n_servers > 0 ? c->n_servers : 1;
    pc->transport.peers = app->others;
}

static void fill_peer_config(struct app *app, struct peer_config *pc)
{
    const struct config *c = &app->config;
    const struct config_server *self = config_server(c, c->sid);

    memset(pc, 0, sizeof(*pc));
    if (c->n_hosts > 0) {
        fill_hosts(app, pc);
    } else {
        fill_servers(app, pc);
    }
    pc->data_dir = c->data_dir;
    pc->replica.zab.sid = c->sid;
    pc->replica.zab.observer = c->n_hosts > 0 || (self != NULL && self->observer);
    pc->replica.zab.tick_ms = (uint32_t)c->tick_ms;
    pc->replica.zab.init_limit = (uint32_t)c->init_limit;
    pc->replica.zab.sync_limit = (uint32_t)c->sync_limit;
    pc->replica.zab.peer_timeout_ms = (uint32_t)c->peer_timeout_ms;
    pc->replica.zab.window_bytes = c->n_hosts > 0 ? WINDOW_BYTES_UNLISTED : WINDOW_BYTES;
    pc->replica.timeo_ms = app->options.timeo_ms;
    pc->replica.data_max = (uint32_t)c->data_max;
    /* A segment is not shorter than the zeros that are written ahead in it. */
    pc->replica.log.segment_bytes =
        c->prealloc_bytes > TXNLOG_SEGMENT_BYTES_DEFAULT ? c->prealloc_bytes : TXNLOG_SEGMENT_BYTES_DEFAULT;
    pc->replica.log.prealloc_bytes = c->prealloc_bytes;
    pc->replica.snap_count = c->snap_count;
    pc->replica.snap_bytes = c->snap_bytes;
    pc->replica.snap_retain = (unsigned)c->snap_retain;
    pc->transport.sid = c->sid;
    pc->transport.observer = pc->replica.zab.observer;
    pc->transport.queue_bytes_max = QUEUE_BYTES_MAX;
    pc->transport.tls = c->tls;
    if (self != NULL && !self->observer) {
        pc->transport.listen_host = c->listen_all ? "0.0.0.0" : self->host;
        pc->transport.listen_port = self->peer_port;
    }
}

static int start_peer(struct app *app)
{
    const struct peer_callbacks cb = {.ended = on_peer_ended, .log = on_log, .arg = app};
    struct peer_config pc;
    struct error err = {""};
    int rv;

    fill_peer_config(app, &pc);
    rv = peer_start(&app->loop, &pc, &cb, &app->peer, &err);
    if (rv == 0) {
        return EXIT_CODE_OK;
    }
    log_printf("%s", err.text[0] != '\0' ? err.text : strerror(-rv));
    switch (rv) {
    case -EADDRINUSE:
    case -EADDRNOTAVAIL:
    case -EAFNOSUPPORT:
        return EXIT_CODE_ADDRESS;
    default:
        return EXIT_CODE_DATA;
    }
}

static int start_mount(struct app *app)
{
    static const char *const tls_words[] = {[TLS_NONE] = "none", [TLS_KEY] = "key", [TLS_CERTIFICATE] = "certificate"};
    const struct options *o = &app->options;
    const struct mount_options mo = {.source = o->source,
                                     .mountpoint = app->mountpoint,
                                     .root = app->root,
                                     .read_only = o->read_only,
                                     .sync = o->sync,
                                     .soft = o->soft,
                                     .strict = o->strict,
                                     .allow_other = o->allow_other,
                                     .debug = o->debug,
                                     .timeo_ms = o->timeo_ms,
                                     .data_max = (uint32_t)app->config.data_max,
                                     .fuse_options = (const char *const *)o->fuse_options,
                                     .n_fuse_options = o->n_fuse_options,
                                     .log = on_log,
                                     .log_arg = app};
    struct error err = {""};
    int fd;
    int rv;

    app->report = (struct report){.peer = app->peer,
                                  .servers = app->servers,
                                  .n_servers = app->config.n_servers,
                                  .insecure = app->config.insecure != 0 && app->config.tls == NULL,
                                  .tls = tls_words[tls_kind(app->config.tls)]};
    if (app->mountpoint == NULL) {
        return EXIT_CODE_OK;
    }
    rv = mount_start(&app->loop, peer_replica(app->peer), &app->report, &mo, on_mount_ended, app, &app->mount, &err);
    if (rv != 0) {
        log_printf("%s", err.text[0] != '\0' ? err.text : strerror(-rv));
        return EXIT_CODE_MOUNTPOINT;
    }
    app->report.mount = app->mount;
    fd = mount_fd(app->mount);
    peer_close_in_child(app->peer, &fd, 1);
    return EXIT_CODE_OK;
}

static void begin_serving(struct app *app)
{
    struct replica_status status;

    app->code = start_mount(app);
    if (app->code != EXIT_CODE_OK) {
        stop_peer(app);
        return;
    }
    app->stage = SERVING;
    replica_status(peer_replica(app->peer), &status);
    log_printf("server %llu serves %s%s", (unsigned long long)status.sid,
               app->mountpoint != NULL ? "at " : "without a mount", app->mountpoint != NULL ? app->mountpoint : "");
    daemon_ready(&app->daemon);
}

/* ---- waiting for the subtree that is to be mounted ---- */

static void stop_waiting(struct app *app)
{
    replica_unlisten(peer_replica(app->peer), &app->listener);
    uv_close((uv_handle_t *)&app->wait, NULL);
}

/* There is a state now, or there has been none for timeo. */
static void on_wait(uv_timer_t *timer)
{
    struct app *app = timer->data;
    struct replica *replica = peer_replica(app->peer);
    struct error err = {""};
    int rv = 0;

    stop_waiting(app);
    if (!replica_readable(replica)) {
        rv =
            error_set(&err, -ETIMEDOUT,
                      "mount of %s: no leader has said within %g s (-o timeo) whether the subtree exists: see that the "
                      "hosts listed are the ensemble's participants, all of them, and that it has a quorum",
                      app->options.source, app->options.timeo_ms / 1000.0);
    } else {
        rv = subtree_find(replica_tree(replica), app->config.subtree, &app->root, &err);
    }
    if (rv == 0) {
        begin_serving(app);
        return;
    }
    log_printf("%s", err.text);
    app->code = EXIT_CODE_MOUNTPOINT;
    stop_peer(app);
}

/* Not from within the replica: the mount is begun by the loop. */
static void on_status(void *arg)
{
    struct app *app = arg;
    int rv;

    if (app->stage == WAITING && replica_readable(peer_replica(app->peer))) {
        rv = uv_timer_start(&app->wait, on_wait, 0, 0);
        assert(rv == 0);
    }
}

static void begin_waiting(struct app *app)
{
    int rv = uv_timer_init(&app->loop, &app->wait);

    assert(rv == 0);
    app->stage = WAITING;
    app->wait.data = app;
    app->listener = (struct replica_listener){.arg = app, .status = on_status};
    replica_listen(peer_replica(app->peer), &app->listener);
    rv = uv_timer_start(&app->wait, on_wait, app->options.timeo_ms, 0);
    assert(rv == 0);
}

/* Runs the loop until everything has ended; returns the exit code. */
static int serve(struct app *app)
{
    int rv = uv_loop_init(&app->loop);

    if (rv == 0) {
        rv = watch_signals(app);
    }
    if (rv != 0) {
        log_printf("libuv: %s", uv_strerror(rv));
        return EXIT_CODE_DATA;
    }
    app->code = start_peer(app);
    if (app->code != EXIT_CODE_OK) {
        stop_signals(app);
    } else if (app->config.subtree != NULL) {
        begin_waiting(app);
    } else {
        begin_serving(app);
    }
    (void)uv_run(&app->loop, UV_RUN_DEFAULT); /* returns once every handle is closed */
    rv = uv_loop_close(&app->loop);
    assert(rv == 0);
    return app->code;
}

/* ---- before the loop ---- */

static int tell(const struct text *problems, int code)
{
    const char *s = problems->chars;

    while (s != NULL && *s != '\0') {
        size_t len = strcspn(s, "\n");

        fprintf(stderr, "znodefs: %.*s\n", (int)len, s);
        s += len + (s[len] == '\n' ? 1 : 0);
    }
    return code;
}

/* Where the mount goes, made absolute. */
static int resolve_mountpoint(struct app *app)
{
    const char *given = app->options.mountpoint;
    struct stat st;

    if (app->options.unmounted) {
        return EXIT_CODE_OK;
    }
    app->mountpoint = realpath(given, NULL);
    if (app->mountpoint == NULL || stat(app->mountpoint, &st) != 0) {
        fprintf(stderr, "znodefs: mountpoint %s: %s%s%s\n", given, strerror(errno),
                errno == ENOENT     ? "; create it: mkdir -p "
                : errno == ENOTCONN ? "; a daemon that died left it behind, detach it: fusermount3 -u -z "
                                    : "",
                errno == ENOENT || errno == ENOTCONN ? given : "");
        return EXIT_CODE_MOUNTPOINT;
    }
    if (!S_ISDIR(st.st_mode)) {
        fprintf(stderr, "znodefs: mountpoint %s is not a directory\n", given);
        return EXIT_CODE_MOUNTPOINT;
    }
    if (asprintf(&app->probe, "%s/.znodefs/status", app->mountpoint) < 0) {
        abort();
    }
    return EXIT_CODE_OK;
}

/* Each peer and each observer is a connection, and each open file of the tree none. What can't be raised is enough for
 * most. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Heartbeats and elections are a matter of milliseconds, and what waits for a peer waits for its processor time: it
 * goes before what only computes, where that is permitted and nobody has said otherwise. Threads made later inherit it.
 */
static void raise_priority(void)
{
    errno = 0;
    if (getpriority(PRIO_PROCESS, 0) == 0 && errno == 0) {
        (void)setpriority(PRIO_PROCESS, 0, PEER_NICE);
    }
}

static int start(struct app *app)
{
    int code;
    int rv;

    code = resolve_mountpoint(app);
    if (code != EXIT_CODE_OK) {
        return code;
    }
    rv = log_open(app->options.log_path);
    if (rv != 0) {
        fprintf(stderr, "znodefs: log %s: %s\n", app->options.log_path, strerror(-rv));
        return EXIT_CODE_USAGE;
    }
    if (!app->options.foreground) {
        rv = daemon_fork(&app->daemon, app->probe, EXIT_CODE_MOUNTPOINT);
        if (rv != 0) {
            fprintf(stderr, "znodefs: fork: %s\n", strerror(-rv));
            return EXIT_CODE_DATA;
        }
    }
    raise_descriptor_limit();
    raise_priority();
    log_lines(&app->options.notes);
    log_lines(&app->config.notes);
    return serve(app);
}

static int run(struct app *app, int argc, char **argv, struct text *problems)
{
    if (options_parse(&app->options, argc, argv, problems) != 0) {
        return tell(problems, EXIT_CODE_USAGE);
    }
    if (app->options.help) {
        options_usage(stdout);
        return EXIT_CODE_OK;
    }
    if (app->options.version) {
        printf("znodefs %s\n", ZNODEFS_VERSION);
        return EXIT_CODE_OK;
    }
    if (app->options.genkey) {
        return genkey(app->options.source) ? EXIT_CODE_OK : EXIT_CODE_USAGE;
    }
    if (app->options.hosts) {
        if (config_parse_hosts(&app->config, app->options.source, problems) != 0) {
            return tell(problems, EXIT_CODE_USAGE);
        }
        if (config_load_hosts(&app->config, &app->options.overrides, problems) != 0) {
            return tell(problems, EXIT_CODE_CONFIG);
        }
        return start(app);
    }
    if (config_load(&app->config, app->options.standalone ? NULL : app->options.source, &app->options.overrides,
                    problems) != 0) {
        return tell(problems, EXIT_CODE_CONFIG);
    }
    return start(app);
}

static void release(struct app *app)
{
    size_t i;

    for (i = 0; app->servers != NULL && i < app->config.n_servers; i++) {
        free((char *)app->servers[i].address);
    }
    free(app->servers);
    free(app->others);
    free(app->members);
    free(app->mountpoint);
    free(app->probe);
    config_release(&app->config);
    options_release(&app->options);
}

int main(int argc, char **argv)
{
    struct app app = {.daemon = {.ready_fd = -1}};
    struct text problems;
    int code;

    (void)signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error of write, not the end */
    text_init(&problems);
    config_init(&app.config);
    code = run(&app, argc, argv, &problems);
    text_release(&problems);
    release(&app);
    return code;
}
