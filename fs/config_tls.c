/*
 * With what peers prove to each other who they are: one key that all have, or certificates. Their files are read here,
 * so that what is wrong with one is told before anything runs.
 */
#include "config_int.h"

#include "consensus/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PASSWORD_MAX 1024 /* bytes of a password and its newline */

static bool check_type(const struct config_place *at, const char *key, const char *type, struct text *problems)
{
    if (type == NULL || strcasecmp(type, "PEM") == 0) {
        return true;
    }
    config_problem(problems, at, "%s=%s: key and certificates must be PEM; convert them: openssl pkcs12 -in OLD -nodes",
                   key, type);
    return false;
}

/* The password in ssl.quorum.keyStore.passwordPath: its first line. */
static bool read_password(struct config *c, const struct config_place *at, struct text *problems)
{
    char line[PASSWORD_MAX];
    FILE *file = fopen(c->key_password_path, "re");
    bool read = file != NULL && fgets(line, sizeof(line), file) != NULL;

    if (file != NULL) {
        (void)fclose(file); /* nothing was written to it */
    }
    if (!read) {
        config_problem(problems, at, "ssl.quorum.keyStore.passwordPath: %s can't be read, or is empty",
                       c->key_password_path);
        return false;
    }
    line[strcspn(line, "\r\n")] = '\0';
    free(c->key_password);
    c->key_password = config_strdup(line);
    explicit_bzero(line, sizeof(line));
    return true;
}

static bool check_certificates(struct config *c, const struct config_place *at, struct text *problems)
{
    bool ok = check_type(at, "ssl.quorum.keyStore.type", c->key_type, problems) &&
              check_type(at, "ssl.quorum.trustStore.type", c->trust_type, problems);

    if (c->key_store == NULL || c->trust_store == NULL) {
        config_problem(problems, at,
                       "there is no %s: certificates need both, ssl.quorum.keyStore.location (PEM: private "
                       "key and certificate) and ssl.quorum.trustStore.location (PEM: those that are trusted)",
                       c->key_store == NULL ? "key store" : "trust store");
        return false;
    }
    return ok && (c->key_password_path == NULL || read_password(c, at, problems));
}

void config_release_tls(struct config *c)
{
    free(c->key_file);
    free(c->key_store);
    free(c->key_type);
    if (c->key_password != NULL) {
        explicit_bzero(c->key_password, strlen(c->key_password));
    }
    free(c->key_password);
    free(c->key_password_path);
    free(c->trust_store);
    free(c->trust_type);
    tls_free(c->tls);
}

bool config_load_tls(struct config *c, const struct config_place *at, struct text *problems)
{
    struct tls_config tls = {.key_file = c->key_file, .check_hosts = c->check_hosts != 0};
    struct error err = {""};

    if (!c->ssl_quorum && (c->key_store != NULL || c->trust_store != NULL)) {
        text_printf(&c->notes, "%s: ssl.quorum.* has no effect without sslQuorum=true\n", at->file);
    }
    if (c->ssl_quorum && c->key_file != NULL) {
        config_problem(problems, at, "there are a key file and certificates; keep one of the two");
        return false;
    }
    if (c->ssl_quorum) {
        if (!check_certificates(c, at, problems)) {
            return false;
        }
        tls.key_store = c->key_store;
        tls.key_store_password = c->key_password;
        tls.trust_store = c->trust_store;
    } else if (c->key_file == NULL) {
        return true;
    }
    if (tls_new(&tls, &c->tls, &err) != 0) {
        text_printf(problems, "%s\n", err.text);
        return false;
    }
    if (err.text[0] != '\0') {
        text_printf(&c->notes, "%s\n", err.text);
    }
    return true;
}
