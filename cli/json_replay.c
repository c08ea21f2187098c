// SPDX-License-Identifier: MIT
#include "json.h"
#include "json_value.h"
#include "replay.h"

static json_t *tlb(const struct mv_soft_counts *s)
{
    json_t *o = json_object();
    o = json_with(o, "l1_misses", json_number(s->l1_misses));
    o = json_with(o, "misses", json_number(s->tlb_misses));
    o = json_with(o, "hits", json_number(s->accesses - s->tlb_misses));
    return json_with(o, "flushes", json_number(s->flushes));
}

/* {"24": 1000}: walks by their number of references. */
static json_t *histogram(const struct mv_soft_counts *s)
{
    json_t *o = json_object();
    for (unsigned i = 0; i < MV_SOFT_WALK_REFS_MAX; i++) {
        char key[8];
        snprintf(key, sizeof key, "%u", i);
        if (s->walk_histogram[i] > 0) {
            o = json_with(o, key, json_number(s->walk_histogram[i]));
        }
    }
    return o;
}

static json_t *walk(const struct mv_soft_counts *s)
{
    json_t *o = json_object();
    o = json_with(o, "refs", json_number(s->walk_refs));
    o = json_with(o, "mean", json_real(s->walks ? (double)s->walk_refs / (double)s->walks : 0));
    o = json_with(o, "count", json_number(s->walks));
    o = json_with(o, "nested_refs", json_number(s->walk_refs_nested));
    o = json_with(o, "accessed_set", json_number(s->accessed_set));
    o = json_with(o, "dirty_set", json_number(s->dirty_set));
    return json_with(o, "histogram", histogram(s));
}

static json_t *exits(const struct mv_soft_counts *s)
{
    json_t *o = json_object();
    o = json_with(o, "total", json_number(s->exits_total));
    o = json_with(o, "ept_violation", json_number(s->exits_ept_violation));
    o = json_with(o, "ept_misconfig", json_number(s->exits_ept_misconfig));
    o = json_with(o, "npf", json_number(s->exits_npf));
    o = json_with(o, "page_fault", json_number(s->exits_page_fault));
    o = json_with(o, "table_write", json_number(s->exits_table_write));
    o = json_with(o, "cr3_load", json_number(s->exits_cr3));
    o = json_with(o, "registers", json_number(s->exits_registers));
    o = json_with(o, "invlpg", json_number(s->exits_invlpg));
    o = json_with(o, "timer", json_number(s->exits_timer));
    o = json_with(o, "pml_full", json_number(s->exits_pml_full));
    o = json_with(o, "mmio", json_number(s->exits_mmio));
    return json_with(o, "by_table_writes", json_number(s->exits_physical));
}

static json_t *tables(const struct mv_soft_counts *s)
{
    json_t *o = json_object();
    o = json_with(o, "pages", json_number(s->tables));
    o = json_with(o, "bytes", json_number(s->table_bytes));
    o = json_with(o, "built", json_number(s->tables_built));
    return json_with(o, "zapped", json_number(s->tables_zapped));
}

static json_t *guest(const struct mv_replay_result *r)
{
    json_t *o = json_object();
    o = json_with(o, "demand_faults", json_number(r->demand_faults));
    o = json_with(o, "cow_faults", json_number(r->cow_faults));
    o = json_with(o, "cow_copies", json_number(r->cow_copies));
    o = json_with(o, "spurious_faults", json_number(r->spurious_faults));
    o = json_with(o, "bad_references", json_number(r->bad_references));
    o = json_with(o, "switches", json_number(r->switches));
    o = json_with(o, "forks", json_number(r->forks));
    o = json_with(o, "exits", json_number(r->exits));
    o = json_with(o, "unmaps", json_number(r->unmaps));
    o = json_with(o, "processes", json_number(r->processes));
    o = json_with(o, "pages", json_number(r->guest_pages));
    o = json_with(o, "tables", json_number(r->guest_tables));
    o = json_with(o, "tables_built", json_number(r->guest_tables_built));
    return json_with(o, "table_writes", json_number(r->guest_table_writes));
}

static json_t *cycles(const struct mv_modelled *m)
{
    json_t *o = json_object();
    o = json_with(o, "total", json_real(m->total));
    o = json_with(o, "tlb", json_real(m->tlb));
    o = json_with(o, "walks", json_real(m->walks));
    o = json_with(o, "guest_faults", json_real(m->guest_faults));
    o = json_with(o, "exits", json_real(m->exits));
    return json_with(o, "flushes", json_real(m->flushes));
}

static json_t *scheme(const struct replay_column *column)
{
    const struct mv_soft_counts *s = &column->result.soft;
    json_t *o = json_object();
    o = json_with(o, "mmu", json_text(column->mmu));
    o = json_with(o, "accesses", json_number(s->accesses));
    o = json_with(o, "tlb", tlb(s));
    o = json_with(o, "walk", walk(s));
    o = json_with(o, "guest_faults", json_number(s->guest_faults));
    o = json_with(o, "exits", exits(s));
    o = json_with(o, "tables", tables(s));
    o = json_with(o, "references", json_number(column->result.references));
    o = json_with(o, "guest", guest(&column->result));
    return json_with(o, "cycles", cycles(&column->modelled));
}

static json_t *constants(const struct mv_costs *costs)
{
    struct mv_cost list[32];
    size_t count = mv_costs_list(costs, list, sizeof list / sizeof list[0]);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *o = json_object();
        o = json_with(o, "name", json_text(list[i].name));
        o = json_with(o, "cycles", json_real(list[i].cycles));
        array = json_with_item(array, json_with(o, "source", json_text(list[i].source)));
    }
    return array;
}

bool json_print_replay(const struct replay_report *report)
{
    json_t *schemes = json_array();
    for (size_t i = 0; i < report->count; i++) {
        schemes = json_with_item(schemes, scheme(&report->columns[i]));
    }
    json_t *o = json_with(json_object(), "schemes", schemes);
    o = json_with(o, "source", json_text(report->source));
    o = json_with(o, "format", json_text(report->source_format));
    return json_print(json_with(o, "costs", constants(report->costs)));
}
