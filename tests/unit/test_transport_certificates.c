/* Transports that prove by certificates who they are, made by the test: good ones, and each kind of bad one. */
#include "tls_fixture.h"
#include "transport_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define DAY   86400L
#define HOSTS "DNS:localhost,IP:127.0.0.1"

static const struct subject authority = {"the ensemble's", NULL, -DAY, DAY, true};
static const struct subject good = {"a peer", HOSTS, -DAY, DAY, false};

/* A world with an authority that all trust. */
struct certified {
    struct signer ca;
    char trust[128];
};

static struct certified certified_new(struct world *w)
{
    struct certified c = {.ca = signer_new(&authority, NULL)};

    (void)snprintf(c.trust, sizeof(c.trust), "%s", world_file(w, "trust.pem", NULL));
    signer_write_certificate(&c.ca, c.trust);
    return c;
}

/* What a peer with this certificate is given; signed by `by`, or by itself (NULL). */
static struct tls *certified_tls(struct world *w, const struct certified *c, const struct subject *subject,
                                 const struct signer *by, const char *warning)
{
    struct signer own = signer_new(subject, by);
    struct tls_config config = {.trust_store = c->trust, .check_hosts = true};
    struct error err = {{0}};
    struct tls *tls = NULL;

    config.key_store = world_file(w, "store.pem", NULL);
    signer_write_store(&own, config.key_store, NULL);
    signer_release(&own);
    if (tls_new(&config, &tls, &err) != 0 || strstr(err.text, warning) == NULL ||
        (*warning == '\0') != (*err.text == '\0')) {
        fail_msg("\"%s\" instead of \"%s\"", err.text, warning);
    }
    return tls;
}

static void stop_all(struct world *w, struct plan *plan)
{
    size_t i;

    for (i = 0; i < plan->n; i++) {
        node_stop(&w->nodes[i]);
    }
    for (i = 0; i < plan->n; i++) {
        run_until(w, w->nodes[i].transport == NULL);
        tls_free(plan->tls[i]);
    }
}

static void test_good(void **state)
{
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct plan plan = {.n = 3};
    size_t i;

    for (i = 0; i < 3; i++) {
        plan.tls[i] = certified_tls(w, &c, &good, &c.ca, "");
        assert_int_equal(tls_kind(plan.tls[i]), TLS_CERTIFICATE);
        node_start(w, i, &plan);
    }
    run_until(w, w->nodes[0].ups == 2 && w->nodes[1].ups == 2 && w->nodes[2].ups == 2);
    for (i = 0; i < 2000; i++) {
        node_send(&w->nodes[0], 3, i, NULL);
    }
    node_flush(&w->nodes[0]);
    run_until(w, w->nodes[2].packets == 2000);
    stop_all(w, &plan);
    signer_release(&c.ca);
}

/* A chain over an authority in between, which the key store holds; names as hosts. */
static void test_chain(void **state)
{
    static const struct subject between = {"in between", NULL, -DAY, DAY, true};
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct signer middle = signer_new(&between, &c.ca);
    struct plan plan = {.n = 2, .host = "localhost"};
    size_t i;

    for (i = 0; i < 2; i++) {
        struct tls_config config = {.trust_store = c.trust, .check_hosts = true};
        struct signer own = signer_new(&good, &middle);
        char middle_path[128];
        char command[400];
        struct error err = {{0}};

        (void)snprintf(middle_path, sizeof(middle_path), "%s", world_file(w, "middle.pem", NULL));
        signer_write_certificate(&middle, middle_path);
        config.key_store = world_file(w, "store.pem", NULL);
        signer_write_store(&own, config.key_store, NULL);
        (void)snprintf(command, sizeof(command), "cat %s >> %s", middle_path, config.key_store);
        assert_int_equal(system(command), 0);
        assert_int_equal(tls_new(&config, &plan.tls[i], &err), 0);
        signer_release(&own);
        node_start(w, i, &plan);
    }
    run_until(w, w->nodes[0].ups == 1 && w->nodes[1].ups == 1);
    stop_all(w, &plan);
    signer_release(&middle);
    signer_release(&c.ca);
}

/* Node 1 is good, node 2 dials it with `tls`, and neither will have the other: node 1 says `accepting`, node 2
 * `dialling`, each once. */
static void expect_refused_both(struct world *w, const struct certified *c, struct tls *tls, const char *accepting,
                                const char *dialling)
{
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct plan plan = {.n = 2, .tls = {certified_tls(w, c, &good, &c->ca, ""), tls}};

    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, node_refused_for(a, REFUSED_CERTIFICATE) >= 3 && node_refused_for(b, REFUSED_CERTIFICATE) >= 1);
    assert_string_equal(a->events, "");
    assert_string_equal(b->events, "");
    assert_int_equal(count_lines(a->log, "refused 127.0.0.1:"), 1);
    if (count_lines(a->log, accepting) != 1 || count_lines(b->log, dialling) != 1) {
        fail_msg("no \"%s\" or no \"%s\" in: %s%s", accepting, dialling, a->log, b->log);
    }
    stop_all(w, &plan);
}

static void test_expired(void **state)
{
    static const struct subject expired = {"a peer", HOSTS, -2 * DAY, -60, false};
    struct world *w = *state;
    struct certified c = certified_new(w);

    expect_refused_both(w, &c, certified_tls(w, &c, &expired, &c.ca, "the certificate has expired"),
                        "its certificate is not accepted (certificate has expired): renew or correct",
                        "the other end refuses this one's certificate (certificate expired)");
    signer_release(&c.ca);
}

static void test_not_valid_yet(void **state)
{
    static const struct subject early = {"a peer", HOSTS, 3600, DAY, false};
    struct world *w = *state;
    struct certified c = certified_new(w);

    expect_refused_both(w, &c, certified_tls(w, &c, &early, &c.ca, "not valid yet"), "(certificate is not yet valid)",
                        "the other end refuses this one's certificate");
    signer_release(&c.ca);
}

static void test_self_signed(void **state)
{
    struct world *w = *state;
    struct certified c = certified_new(w);

    expect_refused_both(w, &c, certified_tls(w, &c, &good, NULL, ""), "(self-signed certificate)",
                        "the other end refuses this one's certificate (unknown CA)");
    signer_release(&c.ca);
}

static void test_foreign(void **state)
{
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct signer foreign = signer_new(&authority, NULL); /* of the same name */

    expect_refused_both(w, &c, certified_tls(w, &c, &good, &foreign, ""), "its certificate is not accepted",
                        "the other end refuses this one's certificate");
    signer_release(&foreign);
    signer_release(&c.ca);
}

static void test_authority_by_a_peer(void **state)
{
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct signer peer = signer_new(&good, &c.ca); /* which may not sign others */

    expect_refused_both(w, &c, certified_tls(w, &c, &good, &peer, ""), "its certificate is not accepted",
                        "the other end refuses this one's certificate");
    signer_release(&peer);
    signer_release(&c.ca);
}

/* The wrong one waits to be dialled. */
static void test_dialled_is_bad(void **state)
{
    static const struct subject expired = {"a peer", HOSTS, -2 * DAY, -60, false};
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct plan plan = {.n = 2};

    plan.tls[0] = certified_tls(w, &c, &expired, &c.ca, "expired");
    plan.tls[1] = certified_tls(w, &c, &good, &c.ca, "");
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    run_until(w, node_refused_for(b, REFUSED_CERTIFICATE) >= 3 && node_refused_for(a, REFUSED_CERTIFICATE) >= 3);
    assert_int_equal(count_lines(b->log, "refused server.1 at 127.0.0.1:"), 1);
    assert_int_equal(count_lines(b->log, "(certificate has expired)"), 1);
    assert_int_equal(count_lines(a->log, "the other end refuses this one's certificate (certificate expired)"), 1);
    assert_string_equal(a->events, "");
    stop_all(w, &plan);
    signer_release(&c.ca);
}

/* A certificate of the ensemble's, but for another host. Refused by who dials, and by who is dialled. */
static void test_other_host(void **state)
{
    static const struct subject elsewhere = {"127.0.0.1", "DNS:elsewhere,IP:192.0.2.1", -DAY, DAY, false};
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct node *d = &w->nodes[2];
    struct plan plan = {.n = 3};

    plan.tls[0] = certified_tls(w, &c, &good, &c.ca, "");
    plan.tls[1] = certified_tls(w, &c, &elsewhere, &c.ca, "");
    plan.tls[2] = certified_tls(w, &c, &good, &c.ca, "");
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    node_start(w, 2, &plan);
    run_until(w, a->ups == 1 && d->ups == 1 && node_refused_for(a, REFUSED_CERTIFICATE) >= 2 &&
                     node_refused_for(d, REFUSED_CERTIFICATE) >= 2);
    assert_string_equal(a->events, "up 3;");
    assert_string_equal(b->events, "");
    assert_int_equal(count_lines(a->log, "its certificate is not for 127.0.0.1, the host of server.2"), 1);
    assert_int_equal(count_lines(d->log, "(IP address mismatch)"), 1);
    stop_all(w, &plan);
    signer_release(&c.ca);
}

/* An ensemble with a key and one with certificates have nothing to say to each other. */
static void test_key_and_certificate(void **state)
{
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct node *a = &w->nodes[0];
    struct node *b = &w->nodes[1];
    struct node *d = &w->nodes[2];
    struct plan plan = {.n = 3};

    plan.tls[0] = certified_tls(w, &c, &good, &c.ca, "");
    plan.tls[1] = world_key(w, "0123456789abcdef0123456789abcdef");
    plan.tls[2] = certified_tls(w, &c, &good, &c.ca, "");
    node_start(w, 0, &plan);
    node_start(w, 1, &plan);
    node_start(w, 2, &plan);
    run_until(w, a->ups == 1 && d->ups == 1 && node_refused(a) >= 2 && node_refused(b) >= 4);
    assert_string_equal(b->events, "");
    assert_int_equal(count_lines(b->log, "it has certificates instead of the shared key: give every peer"), 1);
    assert_int_equal(count_lines(b->log, "it does not use the shared key"), 1);
    stop_all(w, &plan);
    signer_release(&c.ca);
}

/* ---- files ---- */

static void expect_bad_files(const struct tls_config *config, const char *text)
{
    struct error err = {{0}};
    struct tls *tls;

    assert_int_equal(tls_new(config, &tls, &err), -EINVAL);
    if (strstr(err.text, text) == NULL) {
        fail_msg("no \"%s\" in: %s", text, err.text);
    }
}

static void test_files(void **state)
{
    struct world *w = *state;
    struct certified c = certified_new(w);
    struct signer own = signer_new(&good, &c.ca);
    struct signer other = signer_new(&good, &c.ca);
    struct tls_config config = {.trust_store = c.trust};
    struct error err = {{0}};
    struct tls *tls;
    char store[128];

    (void)snprintf(store, sizeof(store), "%s", world_file(w, "store.pem", NULL));
    config.key_store = store;
    signer_write_store(&own, store, "a password");
    expect_bad_files(&config, "store.pem: no private key of the certificate can be read from it");
    config.key_store_password = "another password";
    expect_bad_files(&config, "with a password, ssl.quorum.keyStore.password names it");
    config.key_store_password = "a password";
    assert_int_equal(tls_new(&config, &tls, &err), 0);
    tls_free(tls);
    config.key_store_password = NULL;
    signer_write_store(&own, store, NULL);
    assert_int_equal(chmod(store, 0640), 0);
    expect_bad_files(&config, "store.pem: others than its owner may read or write it: chmod 600 ");
    assert_int_equal(chmod(store, 0600), 0);
    config.trust_store = world_file(w, "trust.txt", "these are no certificates\n");
    expect_bad_files(&config, "trust.txt: no certificates can be read from it");
    config.trust_store = c.trust;
    EVP_PKEY_free(other.key);
    other.key = own.key; /* the certificate of one with the key of the other */
    signer_write_store(&other, store, NULL);
    expect_bad_files(&config, "store.pem: no private key of the certificate can be read from it (key values mismatch)");
    signer_write_certificate(&own, store);
    expect_bad_files(&config, "no private key");
    X509_free(other.certificate);
    signer_release(&own);
    signer_release(&c.ca);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_good),
        TEST(test_chain),
        TEST(test_expired),
        TEST(test_not_valid_yet),
        TEST(test_self_signed),
        TEST(test_foreign),
        TEST(test_authority_by_a_peer),
        TEST(test_dialled_is_bad),
        TEST(test_other_host),
        TEST(test_key_and_certificate),
        TEST(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
