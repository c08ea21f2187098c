// SPDX-License-Identifier: MIT
/*
 * Cycles by constants. A model of this kind says which scheme pays for what, and not how long a program runs: data
 * caches, overlapping walks, prefetching and the program's own instructions are not in it.
 */
#include <errno.h>
#include <memvirt/replay.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum cost {
#define COST(id, name, cycles, source) COST_##id,
#include "replay/costs.def"
#undef COST
    COST_COUNT,
};

static const struct mv_cost defaults[COST_COUNT] = {
#define COST(id, name, cycles, source) [COST_##id] = {name, cycles, source},
#include "replay/costs.def"
#undef COST
};

struct mv_costs {
    struct mv_cost list[COST_COUNT];
    char *text; /* of the file; sources point into it */
};

static int malformed(const char *path, unsigned line, const char *why, struct mv_error *err)
{
    return error_set(err, -EINVAL, "malformed", path, "%s: line %u: %s", path, line, why);
}

static struct mv_cost *cost_named(struct mv_costs *costs, const char *name)
{
    for (size_t i = 0; i < COST_COUNT; i++) {
        if (strcmp(costs->list[i].name, name) == 0) {
            return &costs->list[i];
        }
    }
    return NULL;
}

/* "name cycles source..." */
static int read_line(struct mv_costs *costs, const char *path, unsigned number, char *line, struct mv_error *err)
{
    char *save, *name = strtok_r(line, " \t\r", &save);
    if (!name || name[0] == '#') {
        return 0;
    }
    const char *cycles = strtok_r(NULL, " \t\r", &save);
    struct mv_cost *cost = cost_named(costs, name);
    if (!cost) {
        return malformed(path, number, "there is no constant of this name", err);
    }
    char *end = NULL;
    double value = cycles ? strtod(cycles, &end) : -1;
    if (!cycles || *end || !(value >= 0 && value <= 1e12)) {
        return malformed(path, number, "no number of cycles", err);
    }
    cost->cycles = value;
    cost->source = save && *save ? save : path;
    return 0;
}

static int read_text(struct mv_costs *costs, const char *path, struct mv_error *err)
{
    unsigned number = 0;
    char *next = costs->text;
    while (next) {
        char *line = next;
        next = strchr(line, '\n');
        if (next) {
            *next++ = 0;
        }
        int rc = read_line(costs, path, ++number, line, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

#define FILE_BYTES_MAX 65536

static int read_file(struct mv_costs *costs, const char *path, struct mv_error *err)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        return error_host(err, error_errno(), path, "%s", path);
    }
    costs->text = calloc(1, FILE_BYTES_MAX + 1);
    size_t n = costs->text ? fread(costs->text, 1, FILE_BYTES_MAX, f) : 0;
    bool is_whole = costs->text && !ferror(f) && fgetc(f) == EOF && strlen(costs->text) == n;
    fclose(f);
    if (!costs->text) {
        return error_set(err, -ENOMEM, "no-memory", path, "%s: out of memory", path);
    }
    return is_whole ? read_text(costs, path, err) : malformed(path, 1, "it is no short text", err);
}

int mv_costs_load(const char *path_or_null, struct mv_costs **ret, struct mv_error *err)
{
    struct mv_costs *costs = calloc(1, sizeof *costs);
    if (!costs) {
        return error_set(err, -ENOMEM, "no-memory", "costs", "costs: out of memory");
    }
    memcpy(costs->list, defaults, sizeof defaults);
    int rc = path_or_null ? read_file(costs, path_or_null, err) : 0;
    if (rc < 0) {
        mv_costs_destroy(costs);
        return rc;
    }
    *ret = costs;
    return 0;
}

void mv_costs_destroy(struct mv_costs *costs)
{
    if (costs) {
        free(costs->text);
        free(costs);
    }
}

size_t mv_costs_list(const struct mv_costs *costs, struct mv_cost *ret, size_t capacity)
{
    for (size_t i = 0; i < COST_COUNT && i < capacity; i++) {
        ret[i] = costs->list[i];
    }
    return COST_COUNT;
}

void mv_model(const struct mv_costs *costs, const struct mv_replay_result *result, struct mv_modelled *ret)
{
    const struct mv_cost *c = costs->list;
    const struct mv_soft_counts *s = &result->soft;
    ret->tlb = (double)(s->l1_misses - s->tlb_misses) * c[COST_L2_HIT].cycles;
    ret->walks = (double)s->walk_refs * c[COST_WALK_REF].cycles;
    ret->guest_faults = (double)s->guest_faults * c[COST_GUEST_FAULT].cycles;
    ret->exits = (double)s->exits_total * (c[COST_EXIT].cycles + c[COST_EXIT_WORK].cycles);
    ret->flushes = (double)s->flushes * c[COST_FLUSH].cycles;
    ret->total = ret->tlb + ret->walks + ret->guest_faults + ret->exits + ret->flushes;
}
