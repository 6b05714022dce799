/*
 * Dialling: one peer_link's way from "not connected" to a connection that greets.
 *
 *      dial_start --> addresses (numeric: at once; names: uv_getaddrinfo, anew at every dial: lesson 10)
 *          ^              |
 *          |              v
 *          |      try the next address <--- it failed before the greeting
 *          |              | none left
 *          +-- timer: backoff, 20 ms doubling to 250 ms
 */
#include "transport_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

void address_format(const struct sockaddr_storage *address, char *ret_host, char *ret_address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
    bool v6 = address->ss_family == AF_INET6;
    int rv;

    rv = v6 ? uv_ip6_name(in6, ret_host, INET6_ADDRSTRLEN) : uv_ip4_name(in4, ret_host, INET6_ADDRSTRLEN);
    assert(rv == 0);
    rv = snprintf(ret_address, ADDRESS_MAX, v6 ? "[%s]:%u" : "%s:%u", ret_host,
                  ntohs(v6 ? in6->sin6_port : in4->sin_port));
    assert(rv > 0 && rv < (int)ADDRESS_MAX);
}

static size_t addresses_copy(const struct addrinfo *list, struct sockaddr_storage *addresses, size_t max)
{
    const struct addrinfo *ai;
    size_t n = 0;

    for (ai = list; ai != NULL && n < max; ai = ai->ai_next) {
        if (ai->ai_family == AF_INET || ai->ai_family == AF_INET6) {
            memset(&addresses[n], 0, sizeof(addresses[n]));
            memcpy(&addresses[n], ai->ai_addr, ai->ai_addrlen);
            n++;
        }
    }
    return n;
}

/* 1 if `host` is a numeric address, which needs no thread and no name server. */
static size_t address_numeric(const char *host, uint16_t port, struct sockaddr_storage *address)
{
    memset(address, 0, sizeof(*address));
    return uv_ip4_addr(host, port, (struct sockaddr_in *)address) == 0 ||
                   uv_ip6_addr(host, port, (struct sockaddr_in6 *)address) == 0
               ? 1
               : 0;
}

static struct addrinfo resolve_hints(void)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};

    return hints;
}

/* Blocks: for the listening address only, at start. */
size_t dial_addresses(const char *host, uint16_t port, struct sockaddr_storage *addresses, size_t max)
{
    struct addrinfo hints = resolve_hints();
    struct addrinfo *list;
    char service[8];
    size_t n = address_numeric(host, port, &addresses[0]);

    if (n > 0) {
        return n;
    }
    (void)snprintf(service, sizeof(service), "%u", port);
    if (getaddrinfo(host, service, &hints, &list) != 0) {
        return 0;
    }
    n = addresses_copy(list, addresses, max);
    freeaddrinfo(list);
    return n;
}

static void dial_timer_cb(uv_timer_t *timer)
{
    dial_start(timer->data);
}

/* Dials again after the backoff, which doubles. */
static void dial_later(struct peer_link *pl)
{
    int rv = uv_timer_start(&pl->timer, dial_timer_cb, pl->twin ? TWIN_MS : pl->backoff_ms, 0);

    assert(rv == 0);
    if (pl->backoff_ms == 0) {
        pl->backoff_ms = BACKOFF_MIN_MS;
    } else if (pl->backoff_ms < BACKOFF_MAX_MS) {
        pl->backoff_ms = pl->backoff_ms * 2 < BACKOFF_MAX_MS ? pl->backoff_ms * 2 : BACKOFF_MAX_MS;
    }
}

void dial_soon(struct peer_link *pl, uint64_t delay_ms)
{
    int rv = uv_timer_start(&pl->timer, dial_timer_cb, delay_ms, 0);

    assert(rv == 0);
}

static bool address_allowed(const struct peer_link *pl, const struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;

    if (!pl->by_host || !pl->t->loopback_only) {
        return true;
    }
    return address->ss_family == AF_INET ? ntohl(in4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
                                         : IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

/* Leaves out addresses that may not be dialled. */
static void dial_skip_forbidden(struct peer_link *pl)
{
    while (pl->next_address < pl->n_addresses && !address_allowed(pl, &pl->addresses[pl->next_address])) {
        log_limited(
            pl->t, LOG_UNREACHABLE, pl->host,
            "%s is not dialled: it is outside this machine's loopback: mount with -o keyFile=FILE, with a copy of the "
            "other peers' key, or, if the network is trusted, with -o insecure=yes",
            pl->name);
        pl->next_address++;
    }
}

static void dial_next_address(struct peer_link *pl)
{
    dial_skip_forbidden(pl);
    if (pl->next_address < pl->n_addresses) {
        pl->dial = conn_dial(pl, &pl->addresses[pl->next_address++]);
    } else {
        dial_later(pl);
    }
}

static void resolve_failed(struct peer_link *pl, int rv)
{
    log_limited(pl->t, LOG_UNREACHABLE, pl->host, "%s: cannot resolve %s: %s: trying again; check the name in %s",
                pl->name, pl->host, uv_strerror(rv),
                pl->by_host && pl->member_sid == 0 ? "the list of hosts" : "its line of zoo.cfg");
    dial_later(pl);
}

static void resolve_cb(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct peer_link *pl = req->data;

    pl->resolving = false;
    if (status == 0) {
        pl->n_addresses = addresses_copy(list, pl->addresses, ADDRESSES_MAX);
        uv_freeaddrinfo(list);
    }
    if (!pl->t->stopping) {
        if (status == 0) {
            dial_next_address(pl);
        } else {
            resolve_failed(pl, status);
        }
    }
    transport_unpend(pl->t);
}

void dial_start(struct peer_link *pl)
{
    struct addrinfo hints = resolve_hints();
    char service[8];
    int rv;

    assert(!pl->resolving);
    assert(pl->dial == NULL);
    /* Somebody else's connection leads to who is expected there. */
    pl->twin = pl->member_sid != 0 && transport_link(pl->t, pl->member_sid) != NULL;
    if (pl->twin) {
        dial_later(pl);
        return;
    }
    pl->next_address = 0;
    pl->n_addresses = address_numeric(pl->host, pl->port, &pl->addresses[0]);
    if (pl->n_addresses > 0) {
        dial_next_address(pl);
        return;
    }
    (void)snprintf(service, sizeof(service), "%u", pl->port);
    pl->resolve.data = pl;
    rv = uv_getaddrinfo(pl->t->loop, &pl->resolve, resolve_cb, pl->host, service, &hints);
    if (rv != 0) {
        resolve_failed(pl, rv);
        return;
    }
    pl->resolving = true;
    pl->t->pending++;
}

/* The dialled connection is gone. After one that worked, dial at once; else try the name's next address first. */
void dial_ended(struct peer_link *pl, bool was_up, uint64_t lasted_ms)
{
    pl->dial = NULL;
    if (pl->by_host) {
        link_forget(pl); /* it may have said who it is and been refused then */
    }
    if (!was_up) {
        dial_next_address(pl);
        return;
    }
    if (lasted_ms >= STABLE_MS) {
        pl->backoff_ms = 0;
    }
    dial_later(pl);
}

void dial_stop(struct peer_link *pl)
{
    if (pl->resolving) {
        /* Refused when it already runs: then the callback comes later. */
        (void)uv_cancel((uv_req_t *)&pl->resolve);
    }
}
