// SPDX-License-Identifier: MIT
#include "mem_backend.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "message.h"
#include "size.h"

#define THREADS_MAX 1024
#define NODE_MAX 63

struct parsing {
    const char *text; /* all of it, for messages */
    struct mv_block_options block;
    bool has_threads;
};

static int wrong(const struct parsing *p, const char *what)
{
    return usage_error("run", "--mem-backend %s: %s", p->text, what);
}

/* "NAME=VALUE: WHAT". */
static int wrong_value(const struct parsing *p, const char *name, const char *value, const char *what)
{
    char text[256];
    snprintf(text, sizeof text, "%s=%s: %s", name, value, what);
    return wrong(p, text);
}

/*
 * The text up to the next single comma, with two of them as one, in place. The cursor moves behind it, and is NULL
 * after the last.
 */
static char *next_piece(char **cursor)
{
    char *piece = *cursor;
    char *to = piece;
    const char *from = piece;
    while (*from && (from[0] != ',' || from[1] == ',')) {
        from += *from == ',';
        *to++ = *from++;
    }
    *cursor = *from ? piece + (from - piece) + 1 : NULL;
    *to = '\0';
    return piece;
}

/* --- kinds ------------------------------------------------------------------------------------- */

static int set_page_size(struct parsing *p, const char *size)
{
    uint64_t bytes;
    if (size_parse(size, &bytes) != SIZE_OK || (bytes & (bytes - 1)) != 0) {
        return wrong(p, "the size of huge pages is a power of two with K, M or G, such as 2M or 1G");
    }
    p->block.page_size_bytes = bytes;
    return CLI_OK;
}

/* The piece is "KIND" or "KIND:ARGUMENT". */
static int set_kind(struct parsing *p, char *piece)
{
    char *argument = strchr(piece, ':');
    if (argument) {
        *argument++ = '\0';
    }
    if (strcmp(piece, "file") == 0) {
        p->block.kind = MV_BLOCK_FILE;
        p->block.path = argument;
        return argument && *argument ? CLI_OK : wrong(p, "which file? It is file:PATH");
    }
    if (strcmp(piece, "hugetlb") == 0) {
        p->block.kind = MV_BLOCK_HUGETLB;
        return argument ? set_page_size(p, argument) : CLI_OK;
    }
    if (strcmp(piece, "anon") == 0) {
        p->block.kind = MV_BLOCK_ANONYMOUS;
    } else if (strcmp(piece, "memfd") == 0) {
        p->block.kind = MV_BLOCK_MEMFD;
    } else {
        return wrong(p, "it must begin with anon, memfd, file:PATH or hugetlb");
    }
    return argument ? wrong(p, "only file and hugetlb have something after a colon") : CLI_OK;
}

/* --- options ----------------------------------------------------------------------------------- */

/* Those that are on or off. */
static const struct {
    const char *name;
    size_t offset; /* of an enum mv_choice in the block's options */
} switches[] = {
    {"dump", offsetof(struct mv_block_options, dump)},
    {"merge", offsetof(struct mv_block_options, mergeable)},
    {"prealloc", offsetof(struct mv_block_options, prealloc)},
    {"reserve", offsetof(struct mv_block_options, reserve)},
    {"share", offsetof(struct mv_block_options, shared)},
    {"thp", offsetof(struct mv_block_options, thp)},
};

/* True if `name` is one of them; then *ret_status is what became of it. */
static bool set_switch(struct parsing *p, const char *name, const char *value, int *ret_status)
{
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (strcmp(switches[i].name, name) != 0) {
            continue;
        }
        enum mv_choice *choice = (void *)((char *)&p->block + switches[i].offset);
        *ret_status = CLI_OK;
        if (strcmp(value, "on") == 0) {
            *choice = MV_ON;
        } else if (strcmp(value, "off") == 0) {
            *choice = MV_OFF;
        } else {
            *ret_status = wrong_value(p, name, value, "it is on or off");
        }
        return true;
    }
    return false;
}

static int set_threads(struct parsing *p, const char *value)
{
    uint64_t threads;
    if (!number_parse(value, THREADS_MAX, &threads) || threads == 0) {
        return wrong_value(p, "prealloc-threads", value, "there must be 1 to 1024");
    }
    p->block.populate.nthreads = (unsigned)threads;
    p->has_threads = true;
    return CLI_OK;
}

/* "3" or "0-3"; more of them are added, as in QEMU. */
static int add_nodes(struct parsing *p, const char *value)
{
    char first_text[16];
    uint64_t first, last;
    const char *dash = strchr(value, '-');
    size_t length = dash ? (size_t)(dash - value) : strlen(value);
    bool fits = length < sizeof first_text;
    snprintf(first_text, sizeof first_text, "%.*s", (int)(fits ? length : 0), value);
    if (!number_parse(first_text, NODE_MAX, &first) ||
        !number_parse(dash ? dash + 1 : first_text, NODE_MAX, &last) || last < first) {
        return wrong_value(p, "host-nodes", value, "it is a node or a range of nodes, 0 to 63, such as 0-1");
    }
    for (uint64_t node = first; node <= last; node++) {
        p->block.numa_nodes |= UINT64_C(1) << node;
    }
    return CLI_OK;
}

static const char *const policies[] = {
    [MV_NUMA_DEFAULT] = "default",
    [MV_NUMA_PREFERRED] = "preferred",
    [MV_NUMA_BIND] = "bind",
    [MV_NUMA_INTERLEAVE] = "interleave",
};

static int set_policy(struct parsing *p, const char *value)
{
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        if (strcmp(policies[i], value) == 0) {
            p->block.numa = (enum mv_numa_policy)i;
            return CLI_OK;
        }
    }
    return wrong_value(p, "policy", value, "it must be default, preferred, bind or interleave");
}

static int set_option(struct parsing *p, char *piece)
{
    int status;
    char *value = strchr(piece, '=');
    if (!value) {
        char text[256];
        snprintf(text, sizeof text, "%s: an option is NAME=VALUE", *piece ? piece : "nothing after a comma");
        return wrong(p, text);
    }
    *value++ = '\0';
    if (set_switch(p, piece, value, &status)) {
        return status;
    }
    if (strcmp(piece, "prealloc-threads") == 0) {
        return set_threads(p, value);
    }
    if (strcmp(piece, "host-nodes") == 0) {
        return add_nodes(p, value);
    }
    if (strcmp(piece, "policy") == 0) {
        return set_policy(p, value);
    }
    return wrong_value(p, piece, value,
                       "there is no such option; there are dump, host-nodes, merge, policy, prealloc, "
                       "prealloc-threads, reserve, share and thp");
}

/* --- the whole --------------------------------------------------------------------------------- */

static int check(const struct parsing *p)
{
    if (p->has_threads && p->block.prealloc != MV_ON) {
        return wrong(p, "prealloc-threads is of use with prealloc=on only");
    }
    if (p->block.numa == MV_NUMA_DEFAULT && p->block.numa_nodes) {
        return wrong(p, "host-nodes needs a policy: preferred, bind or interleave");
    }
    if (p->block.numa != MV_NUMA_DEFAULT && !p->block.numa_nodes) {
        return wrong(p, "a policy other than default needs host-nodes");
    }
    return CLI_OK;
}

int mem_backend_parse(const char *text, struct mem_backend *ret)
{
    struct parsing p = {.text = text};
    char *copy = strdup(text);
    char *path = NULL;
    if (!copy) {
        say("run: out of memory");
        return CLI_REFUSED;
    }
    char *cursor = copy;
    int status = set_kind(&p, next_piece(&cursor));
    while (status == CLI_OK && cursor) {
        status = set_option(&p, next_piece(&cursor));
    }
    if (status == CLI_OK) {
        status = check(&p);
    }
    if (status == CLI_OK && p.block.path) {
        path = strdup(p.block.path);
        if (!path) {
            say("run: out of memory");
            status = CLI_REFUSED;
        }
    }
    free(copy);
    if (status == CLI_OK) {
        p.block.path = path;
        *ret = (struct mem_backend){.block = p.block, .path = path};
    }
    return status;
}

void mem_backend_finish(struct mem_backend *backend)
{
    free(backend->path);
    *backend = (struct mem_backend){.path = NULL};
}

const char *mem_backend_policy_name(enum mv_numa_policy policy)
{
    return policies[policy];
}

const char *mem_backend_nodes_text(uint64_t nodes, char ret[MEM_BACKEND_NODES_SIZE])
{
    size_t used = 0;
    *ret = '\0';
    for (unsigned first = 0; first <= NODE_MAX; first++) {
        if (!(nodes >> first & 1)) {
            continue;
        }
        unsigned last = first;
        while (last < NODE_MAX && nodes >> (last + 1) & 1) {
            last++;
        }
        const char *comma = used > 0 ? "," : "";
        used += (size_t)(first == last
                             ? snprintf(ret + used, MEM_BACKEND_NODES_SIZE - used, "%s%u", comma, first)
                             : snprintf(ret + used, MEM_BACKEND_NODES_SIZE - used, "%s%u-%u", comma, first, last));
        first = last;
    }
    return ret;
}
