// SPDX-License-Identifier: MIT
/*
 * Generators: references without a program, for workloads whose answers are known by a formula. Each is a small
 * machine that makes its next reference; all state is in `struct generator`, so the same options give the same
 * records.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/error.h"
#include "replay/source.h"

/* Where their memory begins in each process. */
#define HEAP UINT64_C(0x100000000)
#define PAGE UINT64_C(4096)
#define SIZE_MAX_BYTES (UINT64_C(1) << 46)
#define PROCESSES_MAX 65536u
#define EVENTS_MAX 4u /* records that one step makes at most */

struct settings {
    uint64_t size, refs, processes, seed, stride, slice, passes;
};

struct generator;

struct generator_kind {
    const char *name;
    struct settings defaults;                      /* 0: it has no such option, or (refs) it is computed */
    uint64_t (*refs_of)(const struct settings *s); /* if refs is not given */
    /* Make one reference and the events before it. Returns how many records. */
    size_t (*step)(struct generator *g, mv_trace_record_t *ret);
};

struct generator {
    struct mv_trace trace;
    const struct generator_kind *kind;
    struct settings s;
    uint64_t done;   /* references made */
    uint64_t random; /* state */
    uint64_t at;     /* the kind's own: a position */
    uint64_t phase;
    uint64_t process;
    mv_trace_record_t records[SOURCE_BATCH + EVENTS_MAX];
};

/* splitmix64: a permutation of a counter, good enough to be uniform and fast. */
static uint64_t next_random(struct generator *g)
{
    uint64_t z = g->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

__extension__ typedef unsigned __int128 wide_t;

/* Uniform below n, without the bias of a remainder worth mentioning: n is far below 2^64. */
static uint64_t random_below(struct generator *g, uint64_t n)
{
    return (uint64_t)(((wide_t)next_random(g) * n) >> 64);
}

static mv_trace_record_t reference(enum mv_trace_kind kind, uint64_t offset)
{
    return mv_trace_record(kind, 3, HEAP + offset);
}

/* --- One process --------------------------------------------------------------------------------- */

/* RandomAccess of HPC Challenge: read, change and write a random word. */
static size_t step_gups(struct generator *g, mv_trace_record_t *ret)
{
    ret[0] = reference(MV_TRACE_MODIFY, random_below(g, g->s.size / 8) * 8);
    return 1;
}

/* Writes on, and begins again at the end. */
static size_t step_sequential(struct generator *g, mv_trace_record_t *ret)
{
    ret[0] = reference(MV_TRACE_WRITE, g->at);
    g->at = g->at + g->s.stride < g->s.size ? g->at + g->s.stride : 0;
    return 1;
}

/* One word of each page in turn, changed; again and again. */
static size_t step_cyclic(struct generator *g, mv_trace_record_t *ret)
{
    ret[0] = reference(MV_TRACE_MODIFY, g->at);
    g->at = g->at + PAGE < g->s.size ? g->at + PAGE : 0;
    return 1;
}

/*
 * A chain of pointers through all lines in an order that nobody can guess: a linear congruential generator of full
 * period (Hull and Dobell) over the next power of two; what is beyond the size is passed over.
 */
static size_t step_chase(struct generator *g, mv_trace_record_t *ret)
{
    uint64_t lines = g->s.size / 64;
    uint64_t modulus = UINT64_C(1) << (64 - __builtin_clzll(lines | 1));
    do {
        g->at = (g->at * UINT64_C(6364136223846793005) + (g->s.seed | 1)) & (modulus - 1);
    } while (g->at >= lines);
    ret[0] = reference(MV_TRACE_READ, g->at * 64);
    return 1;
}

/*
 * Searches in a B-tree of 16-way nodes of 256 bytes, level after level from a root at the front: `at` is the node
 * in its level, `phase` the level. A search goes down until the levels fill the size.
 */
static size_t step_btree(struct generator *g, mv_trace_record_t *ret)
{
    uint64_t nodes = g->s.size / 256, before = 0, width = 1;
    for (uint64_t level = 0; level < g->phase; level++) {
        before += width;
        width *= 16;
    }
    if (before + width > nodes) { /* below the leaves: the next search */
        g->phase = 0;
        g->at = 0;
        before = 0;
    }
    ret[0] = reference(MV_TRACE_READ, (before + g->at) * 256 + random_below(g, 16) * 16);
    g->at = g->at * 16 + random_below(g, 16);
    g->phase++;
    return 1;
}

/* --- Several processes ---------------------------------------------------------------------------- */

/*
 * A server that forks: the parent fills its memory; then one child after the other is forked, writes to a random
 * page of every four, and exits. `at` counts pages, `process` the children.
 */
static size_t step_fork(struct generator *g, mv_trace_record_t *ret)
{
    uint64_t pages = g->s.size / PAGE;
    size_t n = 0;
    if (g->process == 0) {
        if (g->at < pages) {
            ret[0] = reference(MV_TRACE_WRITE, g->at++ * PAGE);
            return 1;
        }
        g->at = pages; /* the parent is done */
    }
    if (g->at >= pages) {
        if (g->process != 0) {
            ret[n++] = mv_trace_event(MV_TRACE_SWITCH, 0);
            ret[n++] = mv_trace_event(MV_TRACE_EXIT, 1 + (g->process - 1) % g->s.processes);
        }
        g->process++;
        uint64_t child = 1 + (g->process - 1) % g->s.processes;
        ret[n++] = mv_trace_event(MV_TRACE_FORK, child);
        ret[n++] = mv_trace_event(MV_TRACE_SWITCH, child);
        g->at = 0;
    }
    uint64_t page = g->at + random_below(g, 4);
    g->at += 4;
    ret[n++] = reference(MV_TRACE_WRITE, (page < pages ? page : pages - 1) * PAGE);
    return n;
}

/* Processes with memory of their own take turns; each makes `slice` random references in its turn. */
static size_t step_switch(struct generator *g, mv_trace_record_t *ret)
{
    size_t n = 0;
    if (g->phase == g->s.slice) {
        g->phase = 0;
        g->process = (g->process + 1) % g->s.processes;
        ret[n++] = mv_trace_event(MV_TRACE_SWITCH, g->process);
    }
    g->phase++;
    ret[n++] = reference(next_random(g) & 1 ? MV_TRACE_WRITE : MV_TRACE_READ, random_below(g, g->s.size / 8) * 8);
    return n;
}

/* Page tables that are never at rest: memory is filled, page by page, gone through again, and unmapped. */
static size_t step_churn(struct generator *g, mv_trace_record_t *ret)
{
    size_t n = 0;
    if (g->at >= g->s.size) {
        g->at = 0;
        g->phase++;
    }
    if (g->phase == g->s.passes) {
        ret[n++] = mv_trace_event(MV_TRACE_LENGTH, g->s.size);
        ret[n++] = mv_trace_event(MV_TRACE_UNMAP, HEAP);
        g->phase = 0;
    }
    ret[n++] = reference(MV_TRACE_WRITE, g->at);
    g->at += PAGE;
    return n;
}

/* --- The kinds ------------------------------------------------------------------------------------ */

static uint64_t refs_one_pass(const struct settings *s)
{
    return (s->size + s->stride - 1) / s->stride;
}

static uint64_t refs_three_passes(const struct settings *s)
{
    return 3 * ((s->size + PAGE - 1) / PAGE);
}

static uint64_t refs_fork(const struct settings *s)
{
    uint64_t pages = s->size / PAGE;
    return pages + s->processes * ((pages + 3) / 4);
}

static uint64_t refs_churn(const struct settings *s)
{
    return 16 * s->passes * ((s->size + PAGE - 1) / PAGE);
}

static const struct generator_kind kinds[] = {
    {"gups", {.size = GIB, .refs = 10000000, .seed = 1}, NULL, step_gups},
    {"sequential", {.size = GIB, .stride = 64}, refs_one_pass, step_sequential},
    {"cyclic", {.size = 16 * MIB}, refs_three_passes, step_cyclic},
    {"chase", {.size = 256 * MIB, .refs = 10000000, .seed = 1}, NULL, step_chase},
    {"btree", {.size = GIB, .refs = 10000000, .seed = 1}, NULL, step_btree},
    {"fork", {.size = 64 * MIB, .processes = 16, .seed = 1}, refs_fork, step_fork},
    {"switch", {.size = 16 * MIB, .refs = 10000000, .processes = 8, .seed = 1, .slice = 1000}, NULL, step_switch},
    {"churn", {.size = 16 * MIB, .passes = 1}, refs_churn, step_churn},
};
#define KIND_COUNT (sizeof kinds / sizeof kinds[0])

/* --- Options -------------------------------------------------------------------------------------- */

static const struct generator_kind *kind_named(const char *source)
{
    size_t length = strcspn(source, ":");
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strlen(kinds[i].name) == length && memcmp(kinds[i].name, source, length) == 0) {
            return &kinds[i];
        }
    }
    return NULL;
}

const char *generator_options_of(const char *source)
{
    return kind_named(source) ? source + strcspn(source, ":") : NULL;
}

/* "64", "64K", "1G": binary for sizes, decimal for counts. */
static bool read_number(const char *text, size_t length, bool is_size, uint64_t *ret)
{
    static const char suffixes[] = "KMGT";
    uint64_t value = 0, unit = 1;
    size_t i = 0;
    for (; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) {
            return false;
        }
    }
    if (i == 0) {
        return false;
    }
    const char *suffix = i < length ? strchr(suffixes, text[i] & ~0x20) : NULL;
    if (suffix && text[i] != 0) {
        for (const char *s = suffixes; s <= suffix; s++) {
            unit *= is_size ? 1024 : 1000;
        }
        i++;
    }
    return i == length && !__builtin_mul_overflow(value, unit, ret);
}

struct option {
    const char *name;
    size_t offset;
    bool is_size;
    uint64_t min, max;
};

static const struct option option_table[] = {
    {"size", offsetof(struct settings, size), true, PAGE, SIZE_MAX_BYTES},
    {"refs", offsetof(struct settings, refs), false, 1, UINT64_MAX / 4},
    {"processes", offsetof(struct settings, processes), false, 1, PROCESSES_MAX},
    {"seed", offsetof(struct settings, seed), false, 0, UINT64_MAX},
    {"stride", offsetof(struct settings, stride), true, 1, SIZE_MAX_BYTES},
    {"slice", offsetof(struct settings, slice), false, 1, UINT64_MAX / 4},
    {"passes", offsetof(struct settings, passes), false, 1, 1000000},
};
#define OPTION_COUNT (sizeof option_table / sizeof option_table[0])

static uint64_t *setting(struct settings *s, const struct option *option)
{
    return (uint64_t *)((char *)s + option->offset);
}

/* One "name=value" of `length` bytes. */
static int read_option(struct generator *g, const char *text, size_t length, struct mv_error *err)
{
    struct settings defaults = g->kind->defaults;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &option_table[i];
        size_t name_length = strlen(option->name);
        if (length <= name_length || memcmp(text, option->name, name_length) != 0 || text[name_length] != '=') {
            continue;
        }
        bool has_it = *setting(&defaults, option) != 0 || strcmp(option->name, "refs") == 0;
        if (!has_it) {
            break;
        }
        uint64_t value;
        if (!read_number(text + name_length + 1, length - name_length - 1, option->is_size, &value) ||
            value < option->min || value > option->max) {
            return error_set(err, -EINVAL, "bad-option", g->kind->name,
                             "%s: '%.*s': %s is a number from %llu to %llu", g->kind->name, (int)length, text,
                             option->name, (unsigned long long)option->min, (unsigned long long)option->max);
        }
        *setting(&g->s, option) = value;
        return 0;
    }
    return error_set(err, -EINVAL, "bad-option", g->kind->name, "%s: it has no option '%.*s'", g->kind->name,
                     (int)length, text);
}

static int read_options(struct generator *g, const char *text, struct mv_error *err)
{
    while (*text) {
        text++; /* the colon or the comma */
        size_t length = strcspn(text, ",");
        int rc = read_option(g, text, length, err);
        if (rc < 0) {
            return rc;
        }
        text += length;
    }
    return 0;
}

/* --- As a source ---------------------------------------------------------------------------------- */

static int generator_read(struct mv_trace *trace, const mv_trace_record_t **ret_records, size_t *ret_count,
                          struct mv_error *err)
{
    (void)err;
    struct generator *g = (struct generator *)trace;
    size_t count = 0;
    while (count < SOURCE_BATCH && g->done < g->s.refs) {
        count += g->kind->step(g, g->records + count);
        g->done++;
    }
    *ret_records = g->records;
    *ret_count = count;
    return 0;
}

static double generator_progress(const struct mv_trace *trace)
{
    const struct generator *g = (const struct generator *)trace;
    return (double)g->done / (double)g->s.refs;
}

static void generator_close(struct mv_trace *trace)
{
    free(trace);
}

#define SOURCE(called)                                                                                            \
    {                                                                                                             \
        called, generator_read, generator_progress, generator_close                                               \
    }
static const struct source_kind sources[KIND_COUNT] = {
    SOURCE("gups"),  SOURCE("sequential"), SOURCE("cyclic"), SOURCE("chase"),
    SOURCE("btree"), SOURCE("fork"),       SOURCE("switch"), SOURCE("churn"),
};

int generator_open(const char *source, struct mv_trace **ret, struct mv_error *err)
{
    const struct generator_kind *kind = kind_named(source);
    struct generator *g = calloc(1, sizeof *g);
    if (!g) {
        return error_set(err, -ENOMEM, "no-memory", source, "%s: out of memory", source);
    }
    g->trace.kind = &sources[kind - kinds];
    snprintf(g->trace.name, sizeof g->trace.name, "%s", kind->name);
    g->kind = kind;
    g->s = kind->defaults;
    int rc = read_options(g, generator_options_of(source), err);
    if (rc < 0) {
        free(g);
        return rc;
    }
    if (g->s.refs == 0) {
        g->s.refs = kind->refs_of(&g->s);
    }
    g->random = g->s.seed;
    *ret = &g->trace;
    return 0;
}
