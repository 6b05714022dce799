/* zoo.cfg and the command line: what is accepted, and what is said about the rest. */
#include "fs/config.h"
#include "fs/options.h"
#include "fs/suggest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char dir[64];
    char *cfg;
    char *data;
    struct config config;
    struct config_overrides overrides;
    struct text problems;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_true(snprintf(f->dir, sizeof(f->dir), "/tmp/test_config.XXXXXX") > 0);
    assert_non_null(mkdtemp(f->dir));
    assert_true(asprintf(&f->cfg, "%s/zoo.cfg", f->dir) > 0);
    assert_true(asprintf(&f->data, "%s/data", f->dir) > 0);
    assert_int_equal(mkdir(f->data, 0700), 0);
    config_init(&f->config);
    text_init(&f->problems);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char *command = NULL;

    assert_true(asprintf(&command, "rm -rf %s", f->dir) > 0);
    assert_int_equal(system(command), 0);
    free(command);
    config_release(&f->config);
    text_release(&f->problems);
    free(f->cfg);
    free(f->data);
    free(f);
    return 0;
}

static void put(const char *path, const char *contents)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(contents, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void put_myid(struct fixture *f, const char *contents)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/myid", f->data) > 0);
    put(path, contents);
    free(path);
}

/* Loads `lines` with a dataDir line before them (line 1). */
static int load(struct fixture *f, const char *lines)
{
    struct text all;

    text_init(&all);
    text_printf(&all, "dataDir=%s\n%s", f->data, lines);
    put(f->cfg, all.chars);
    text_release(&all);
    config_release(&f->config);
    config_init(&f->config);
    text_release(&f->problems);
    return config_load(&f->config, f->cfg, &f->overrides, &f->problems);
}

static void says(const struct fixture *f, const char *words)
{
    if (f->problems.chars == NULL || strstr(f->problems.chars, words) == NULL) {
        fail_msg("\"%s\" is not in: %s", words, f->problems.chars != NULL ? f->problems.chars : "(nothing)");
    }
}

static void refused(struct fixture *f, const char *lines, const char *words)
{
    assert_int_not_equal(load(f, lines), 0);
    says(f, words);
}

static void accepted(struct fixture *f, const char *lines)
{
    if (load(f, lines) != 0) {
        fail_msg("refused: %s", f->problems.chars);
    }
}

#define THREE                                                                                                          \
    "server.1=localhost:2888:3888\nserver.2=127.0.0.1:2889:3889:participant;2181\nserver.3=[::1]:2890:3890:observer\n"

static void test_defaults(void **state)
{
    struct fixture *f = *state;

    put_myid(f, " 2\n");
    accepted(f, "# a comment\n\n  tickTime = 500 \n" THREE);
    assert_int_equal(f->config.sid, 2);
    assert_int_equal(f->config.tick_ms, 500);
    assert_int_equal(f->config.init_limit, 10);
    assert_int_equal(f->config.sync_limit, 5);
    assert_int_equal(f->config.peer_timeout_ms, 1000);
    assert_int_equal(f->config.data_max, 1024 * 1024);
    assert_int_equal(f->config.snap_count, 100000);
    assert_int_equal(f->config.snap_retain, 3);
    assert_int_equal(f->config.prealloc_bytes, 4 * 1024 * 1024);
    assert_int_equal(f->config.n_servers, 3);
    assert_string_equal(config_server(&f->config, 3)->host, "::1");
    assert_true(config_server(&f->config, 3)->observer);
    assert_int_equal(config_server(&f->config, 2)->peer_port, 2889);
    assert_int_equal(config_server(&f->config, 2)->election_port, 3889);
    assert_false(config_server(&f->config, 2)->observer);
    assert_non_null(strstr(f->config.notes.chars, "2 participants"));
}

static void test_numbers(void **state)
{
    struct fixture *f = *state;

    accepted(f, "jute.maxbuffer=0x200000\nsnapSizeLimitInKb=4\nznodefs.peerTimeout=250\npreAllocSize=64\n");
    assert_int_equal(f->config.data_max, 0x200000);
    assert_int_equal(f->config.snap_bytes, 4096);
    assert_int_equal(f->config.prealloc_bytes, 64 * 1024);
    assert_int_equal(f->config.peer_timeout_ms, 250);
    assert_int_equal(f->config.sid, 1);
    refused(f, "preAllocSize=63\n", "zoo.cfg:2: preAllocSize=63 is out of range; give a number from 64 to 1048576");
    refused(f, "preAllocSize=1048577\n", "zoo.cfg:2: preAllocSize=1048577 is out of range");
    refused(f, "tickTime=2s\n", "zoo.cfg:2: tickTime=2s is not a number");
    refused(f, "tickTime=2000 # ms\n", "not a number");
    refused(f, "tickTime=-1\n", "not a number");
    refused(f, "tickTime=\n", "not a number");
    refused(f, "tickTime=0\n", "out of range");
    refused(f, "initLimit=99999999999999999999999\n", "not a number");
    refused(f, "jute.maxbuffer=999999999999\n", "from 1024 to");
    refused(f, "znodefs.insecure=maybe\n", "neither yes nor no");
}

static void test_keys(void **state)
{
    struct fixture *f = *state;

    accepted(f, "clientPort=2181\nautopurge.purgeInterval=1\nadmin.enableServer=false\n");
    assert_non_null(strstr(f->config.notes.chars,
                           "clientPort (line 2), autopurge.purgeInterval (line 3), admin.enableServer (line 4)"));
    refused(f, "tikcTime=2000\n", "zoo.cfg:2: unknown key tikcTime; did you mean tickTime?");
    refused(f, "ticktime=2000\n", "did you mean tickTime?");
    refused(f, "frobnicate=1\n", "unknown key frobnicate");
    refused(f, "group.1=1:2\n", "group.1=1:2: hierarchical");
    accepted(f, "sslQuorum=false\n");
    refused(f, "tickTime\n", "is not key=value");
    refused(f, "=5\n", "no key before");
    refused(f, "tickTime=1000\ntickTime=2000\n", "zoo.cfg:3: tickTime is given already in line 2");
}

/* Loads one line, which names a file of the fixture's folder in place of its %s. */
static int load_naming(struct fixture *f, const char *line)
{
    char *lines = NULL;
    int rv;

    assert_true(asprintf(&lines, line, f->dir, f->dir) > 0);
    rv = load(f, lines);
    free(lines);
    return rv;
}

static void put_secret(struct fixture *f, const char *name, const char *contents, mode_t mode)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/%s", f->dir, name) > 0);
    put(path, contents);
    assert_int_equal(chmod(path, mode), 0);
    free(path);
}

#define KEY "0123456789abcdef0123456789abcdef\n"

static void test_key_file(void **state)
{
    struct fixture *f = *state;

    put_myid(f, "1\n");
    put_secret(f, "key", KEY, 0600);
    /* With it peers may be anywhere. */
    assert_int_equal(load_naming(f, "znodefs.keyFile=%s/key\nserver.1=192.0.2.1:2888:3888\n"), 0);
    assert_non_null(f->config.tls);
    put_secret(f, "key", KEY, 0644);
    assert_int_not_equal(load_naming(f, "znodefs.keyFile=%s/key\n"), 0);
    says(f, "/key: others than its owner may read or write it: chmod 600 ");
    put_secret(f, "key", "short\n", 0600);
    assert_int_not_equal(load_naming(f, "znodefs.keyFile=%s/key\nserver.1=192.0.2.1:2888:3888\n"), 0);
    says(f, "has 5 bytes, which could be guessed; a key has 32 or more: make one with znodefs --genkey");
    assert_null(strstr(f->problems.chars, "loopback")); /* one thing after the other */
    assert_int_not_equal(load_naming(f, "znodefs.keyFile=%s/none\n"), 0);
    says(f, "/none: can't be opened: No such file or directory; copy it from another peer");
    refused(f, "znodefs.keyFile=\n", "znodefs.keyFile has no value");
}

static void test_certificate_keys(void **state)
{
    struct fixture *f = *state;

    put_secret(f, "key", KEY, 0600);
    refused(f, "sslQuorum=true\n", "there is no key store: certificates need both, ssl.quorum.keyStore.location");
    refused(f, "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\n", "there is no trust store");
    refused(f, "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/t.pem\n",
            "/k.pem: can't be opened");
    refused(f,
            "sslQuorum=true\nssl.quorum.keyStore.location=/k\nssl.quorum.trustStore.location=/t\n"
            "ssl.quorum.keyStore.type=JKS\n",
            "ssl.quorum.keyStore.type=JKS: key and certificates must be PEM; convert them: openssl pkcs12");
    refused(f, "ssl.quorum.crl=true\n", "revoked certificates are not looked up");
    accepted(f, "ssl.quorum.crl=false\nssl.quorum.protocol=TLSv1.3\n");
    accepted(f, "ssl.quorum.keyStore.location=/k.pem\n");
    assert_non_null(strstr(f->config.notes.chars, "ssl.quorum.* has no effect without sslQuorum=true"));
    assert_int_not_equal(load_naming(f, "znodefs.keyFile=%s/key\nsslQuorum=true\n"), 0);
    says(f, "there are a key file and certificates; keep one of the two");
    assert_int_not_equal(load_naming(f, "sslQuorum=true\nssl.quorum.keyStore.location=%s/key\n"
                                        "ssl.quorum.trustStore.location=%s/key\n"),
                         0);
    says(f, "/key: no certificate can be read from it");
}

static void test_all_at_once(void **state)
{
    struct fixture *f = *state;

    refused(f, "tickTime=x\nsyncLimi=5\n", "zoo.cfg:2: ");
    says(f, "zoo.cfg:3: unknown key syncLimi; did you mean syncLimit?");
}

static void test_server_lines(void **state)
{
    struct fixture *f = *state;

    put_myid(f, "1");
    refused(f, "server.0=localhost:1:2\n", "from 1 to 255");
    refused(f, "server.x=localhost:1:2\n", "server.x: the number");
    refused(f, "server.1=localhost\n", "not followed by two ports");
    refused(f, "server.1=localhost:2888\n", "not followed by two ports");
    refused(f, "server.1=::1:2888:3888\n", "no host");
    refused(f, "server.1=fe80::1:2888:3888\n", "IPv6 address in [ ]");
    refused(f, "server.1=localhost:0:3888\n", "the port \"0\"");
    refused(f, "server.1=localhost:2888:70000\n", "the port \"70000\"");
    refused(f, "server.1=localhost:2888:3888:voter\n", "\"voter\" is neither");
    refused(f, "server.1=localhost:2888:3888;x\n", "clientPort \"x\"");
    refused(f, "server.1=localhost:2888:3888:observer\n", "every server is an observer");
    refused(f, "server.1=a:1:2|b:1:2\n", "zoo.cfg:2: ");
    refused(f, "server.01=localhost:2888:3888\nserver.1=localhost:2889:3889\n", "server.1 is given already");
    accepted(f, "server.1=localhost:2888:3888:participant;0.0.0.0:2181\n");
}

/* What tutorials for three servers on one machine make of it. */
static void test_shared_ports(void **state)
{
    struct fixture *f = *state;

    put_myid(f, "1");
    refused(f, "server.1=localhost:2888:3888\nserver.2=localhost:3888:3888\nserver.3=localhost:3888:3888\n",
            "zoo.cfg:4: server.3 and server.2 (");
    says(f, "zoo.cfg:3) both use localhost:3888");
    says(f, "for example localhost:2889:3889 and localhost:2890:3890");
    says(f, "zoo.cfg:3: the peer port and the election port of server.2 are both 3888");
    refused(f, "server.1=localhost:2888:2888\n", "zoo.cfg:2: the peer port and the election port of server.1");
}

static void test_loopback(void **state)
{
    struct fixture *f = *state;

    put_myid(f, "1");
    refused(f, "server.1=192.0.2.1:2888:3888\n", "znodefs.insecure=yes");
    says(f, "anyone who reaches the peer port can read and change everything");
    refused(f, "server.1=no-such-host.invalid:2888:3888\n", "no-such-host.invalid is not on this machine's loopback");
    refused(f, "quorumListenOnAllIPs=true\nserver.1=localhost:2888:3888\n", "listens outside loopback");
    accepted(f, "znodefs.insecure=yes\nserver.1=192.0.2.1:2888:3888\n");
    assert_true(config_host_is_loopback("127.3.4.5"));
    assert_true(config_host_is_loopback("::1"));
    assert_true(config_host_is_loopback("::ffff:127.0.0.1"));
    assert_false(config_host_is_loopback("::ffff:10.0.0.1"));
    assert_false(config_host_is_loopback("0.0.0.0"));
}

static void test_myid(void **state)
{
    struct fixture *f = *state;

    refused(f, THREE, "data/myid is missing");
    says(f, "echo 1 > ");
    put_myid(f, "7\n");
    refused(f, THREE, "there is no server.7 line");
    says(f, "listed are 1, 2, 3");
    put_myid(f, "one\n");
    refused(f, THREE, "must hold this server's number");
    put_myid(f, "3\n");
    f->overrides.sid = 2;
    refused(f, THREE, "drop one of the two");
    f->overrides.sid = 3;
    accepted(f, THREE);
}

static void test_data_dir(void **state)
{
    struct fixture *f = *state;
    struct text line;

    put(f->cfg, "tickTime=2000\n");
    assert_int_not_equal(config_load(&f->config, f->cfg, &f->overrides, &f->problems), 0);
    says(f, "dataDir is missing");
    f->overrides.data_dir = "/nonexistent/data";
    refused(f, "", "mkdir -p /nonexistent/data");
    f->overrides.data_dir = f->cfg;
    refused(f, "", "is not a directory");
    f->overrides.data_dir = f->data;
    text_init(&line);
    text_printf(&line, "dataDir=%s/elsewhere\n", f->dir);
    put(f->cfg, line.chars);
    text_release(&line);
    config_release(&f->config);
    config_init(&f->config);
    assert_int_equal(config_load(&f->config, f->cfg, &f->overrides, &f->problems), 0);
    assert_string_equal(f->config.data_dir, f->data);
}

static void test_files(void **state)
{
    struct fixture *f = *state;

    assert_int_not_equal(config_load(&f->config, "/nonexistent/zoo.cfg", &f->overrides, &f->problems), 0);
    says(f, "/nonexistent/zoo.cfg: can't be opened");
    config_release(&f->config);
    config_init(&f->config);
    assert_int_not_equal(config_load(&f->config, f->dir, &f->overrides, &f->problems), 0);
    says(f, "is not a file");
}

static void test_dynamic(void **state)
{
    struct fixture *f = *state;
    char *path = NULL;
    struct text line;

    assert_true(asprintf(&path, "%s/zoo.cfg.dynamic", f->dir) > 0);
    put(path, "version=100000000\n" THREE);
    put_myid(f, "2");
    text_init(&line);
    text_printf(&line, "dynamicConfigFile=%s\n", path);
    accepted(f, line.chars);
    assert_int_equal(f->config.n_servers, 3);
    put(path, "tickTime=3\n" THREE);
    refused(f, line.chars, "zoo.cfg.dynamic:1: tickTime does not belong");
    text_release(&line);
    free(path);
}

static void test_standalone(void **state)
{
    struct fixture *f = *state;

    f->overrides.data_dir = f->data;
    assert_int_equal(config_load(&f->config, NULL, &f->overrides, &f->problems), 0);
    assert_int_equal(f->config.sid, 1);
    assert_int_equal(f->config.n_servers, 0);
}

static void test_suggest(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(suggest_distance("", "abc"), 3);
    assert_int_equal(suggest_distance("ABC", "abc"), 0);
}

/* ---- the command line ---- */

static int parse(struct options *o, struct text *problems, char **argv)
{
    int argc = 0;

    while (argv[argc] != NULL) {
        argc++;
    }
    return options_parse(o, argc, argv, problems);
}
#define PARSE(o, problems, ...) parse(o, problems, (char *[]){"znodefs", __VA_ARGS__, NULL})

static void test_options(void **state)
{
    struct options o;
    struct text problems;

    (void)state;
    text_init(&problems);
    assert_int_equal(PARSE(&o, &problems, "./zoo.cfg", "/mnt", "-f", "-o",
                           "myid=3,ro,timeo=0.5,soft,_netdev,x-systemd.automount,noatime,fsname=a\\,b,noannounce"),
                     0);
    assert_true(o.foreground);
    assert_int_equal(o.overrides.sid, 3);
    assert_int_equal(o.timeo_ms, 500);
    assert_true(o.read_only && o.soft && !o.strict && !o.standalone && !o.unmounted);
    assert_int_equal(o.n_fuse_options, 2);
    assert_string_equal(o.fuse_options[0], "noatime");
    assert_string_equal(o.fuse_options[1], "fsname=a,b");
    assert_non_null(strstr(o.notes.chars, "noannounce is not there yet"));
    options_release(&o);
    assert_int_equal(PARSE(&o, &problems, "-o", "dataDir=/d", "standalone", "none"), 0);
    assert_true(o.standalone && o.unmounted);
    assert_string_equal(o.overrides.data_dir, "/d");
    options_release(&o);
    text_release(&problems);
}

static void test_options_refused(void **state)
{
    static const char *const cases[][3] = {
        {"-o", "stricy", "did you mean strict?"},
        {"-o", "timo=3", "did you mean timeo"},
        {"-o", "myid=0", "from 1 to 255"},
        {"-o", "timeo=nan", "give seconds"},
        {"-o", "timeo=-1", "give seconds"},
        {"-o", "dataDir=", "needs a path"},
        {"-o", "frobnicate", "unknown option -o frobnicate; -h"},
        {"-x", "-f", "unknown or incomplete option"},
        {"-f", "extra", "too much"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct options o;
        struct text problems;

        text_init(&problems);
        assert_int_not_equal(PARSE(&o, &problems, (char *)cases[i][0], (char *)cases[i][1], "standalone", "/mnt"), 0);
        if (strstr(problems.chars, cases[i][2]) == NULL) {
            fail_msg("\"%s\" is not in: %s", cases[i][2], problems.chars);
        }
        options_release(&o);
        text_release(&problems);
    }
}

static void hosts_refused(const char *source, const char *words)
{
    struct config c;
    struct text problems;

    config_init(&c);
    text_init(&problems);
    assert_int_not_equal(config_parse_hosts(&c, source, &problems), 0);
    if (strstr(problems.chars, words) == NULL) {
        fail_msg("\"%s\" is not in: %s", words, problems.chars);
    }
    config_release(&c);
    text_release(&problems);
}

static void test_hosts(void **state)
{
    struct fixture *f = *state;
    struct config *c = &f->config;

    assert_int_equal(config_parse_hosts(c, "a,b:7,[::1]:8,[fe80::2]:/x//y/", &f->problems), 0);
    assert_int_equal(c->n_hosts, 4);
    assert_string_equal(c->hosts[0].host, "a");
    assert_int_equal(c->hosts[0].port, 2888);
    assert_int_equal(c->hosts[1].port, 7);
    assert_string_equal(c->hosts[2].host, "::1");
    assert_int_equal(c->hosts[2].port, 8);
    assert_string_equal(c->hosts[3].host, "fe80::2");
    assert_int_equal(c->hosts[3].port, 2888);
    assert_string_equal(c->subtree, "/x/y");
    hosts_refused("a,,b", "a host missing");
    hosts_refused("", "a host missing");
    hosts_refused("a,", "a host missing");
    hosts_refused("::1", "[ ]");
    hosts_refused("[::1", "a host missing");
    hosts_refused("a:0", "no port");
    hosts_refused("a:65536", "no port");
    hosts_refused("a:1:2", "no port");
    hosts_refused("a/b", "begins with \":/\"");
    hosts_refused("a:/b/../c", "without . and ..");
}

static void test_hosts_loaded(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(config_parse_hosts(&f->config, "127.0.0.1,localhost:/", &f->problems), 0);
    assert_null(f->config.subtree);
    assert_int_equal(config_load_hosts(&f->config, &f->overrides, &f->problems), 0);
    assert_null(f->config.data_dir);
    assert_int_equal(f->config.snap_count, 0);
    assert_int_equal(config_parse_hosts(&f->config, "192.0.2.1", &f->problems), 0);
    assert_int_not_equal(config_load_hosts(&f->config, &f->overrides, &f->problems), 0);
    assert_non_null(strstr(f->problems.chars, "-o insecure=yes"));
    text_release(&f->problems);
    f->overrides.insecure = true;
    f->overrides.data_dir = f->data;
    assert_int_equal(config_load_hosts(&f->config, &f->overrides, &f->problems), 0);
    assert_string_equal(f->config.data_dir, f->data);
}

static void test_source(void **state)
{
    struct options o;
    struct text problems;

    (void)state;
    text_init(&problems);
    assert_int_equal(PARSE(&o, &problems, "-o", "insecure=yes,peerTimeout=3000", "host1,host2:/app", "/mnt"), 0);
    assert_true(o.hosts && !o.standalone && o.overrides.insecure);
    assert_int_equal(o.overrides.peer_timeout_ms, 3000);
    options_release(&o);
    assert_int_not_equal(PARSE(&o, &problems, "-o", "myid=3", "host1", "/mnt"), 0);
    assert_non_null(strstr(problems.chars, "-o myid does not go with a list of hosts"));
    options_release(&o);
    assert_int_not_equal(PARSE(&o, &problems, "-o", "insecure=yes", "standalone", "/mnt"), 0);
    assert_non_null(strstr(problems.chars, "znodefs.insecure=yes"));
    options_release(&o);
    assert_int_equal(PARSE(&o, &problems, "-o", "keyFile=/k,hostnameVerification=no", "host1", "/mnt"), 0);
    assert_string_equal(o.overrides.key_file, "/k");
    assert_true(o.overrides.unchecked_hosts);
    options_release(&o);
    assert_int_not_equal(PARSE(&o, &problems, "-o", "hostnameVerification=maybe", "host1", "/mnt"), 0);
    assert_non_null(strstr(problems.chars, "hostnameVerification=maybe: say yes or no"));
    options_release(&o);
    assert_int_equal(PARSE(&o, &problems, "--genkey"), 0);
    assert_true(o.genkey && o.source == NULL);
    options_release(&o);
    assert_int_not_equal(PARSE(&o, &problems, "--genkey", "a", "b"), 0);
    options_release(&o);
    assert_int_not_equal(PARSE(&o, &problems, "-f"), 0);
    assert_non_null(strstr(problems.chars, "something is missing"));
    options_release(&o);
    text_release(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared_ports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loopback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_key_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certificate_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_myid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_data_dir, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dynamic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_standalone, setup, teardown),
        cmocka_unit_test(test_suggest),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_options_refused),
        cmocka_unit_test_setup_teardown(test_hosts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hosts_loaded, setup, teardown),
        cmocka_unit_test(test_source),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
