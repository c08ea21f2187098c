// SPDX-License-Identifier: MIT
/* The table and the CSV: a row for each number, a column for each scheme. */
#include "replay.h"

#include <stdio.h>

#define SOFT(field)                                                                                               \
    static double field(const struct replay_column *c)                                                            \
    {                                                                                                             \
        return (double)c->result.soft.field;                                                                      \
    }
#define GUEST(field)                                                                                              \
    static double field(const struct replay_column *c)                                                            \
    {                                                                                                             \
        return (double)c->result.field;                                                                           \
    }

GUEST(references)
SOFT(accesses)
SOFT(l1_misses)
SOFT(tlb_misses)
SOFT(walks)
SOFT(walk_refs)
SOFT(walk_refs_nested)
SOFT(flushes)
SOFT(guest_faults)
GUEST(demand_faults)
GUEST(cow_faults)
GUEST(bad_references)
SOFT(exits_total)
SOFT(exits_ept_violation)
SOFT(exits_ept_misconfig)
SOFT(exits_npf)
SOFT(exits_page_fault)
SOFT(exits_table_write)
SOFT(exits_cr3)
SOFT(exits_invlpg)
SOFT(exits_timer)
SOFT(exits_physical)
SOFT(tables)
SOFT(tables_built)
SOFT(tables_zapped)
SOFT(table_bytes)
GUEST(guest_tables)
GUEST(guest_tables_built)
GUEST(guest_table_writes)
GUEST(guest_pages)

static double tlb_hits(const struct replay_column *c)
{
    return (double)(c->result.soft.accesses - c->result.soft.tlb_misses);
}

static double mean_refs(const struct replay_column *c)
{
    return c->result.soft.walks ? (double)c->result.soft.walk_refs / (double)c->result.soft.walks : 0;
}

static double cycles_tlb(const struct replay_column *c)
{
    return c->modelled.tlb;
}

static double cycles_walks(const struct replay_column *c)
{
    return c->modelled.walks;
}

static double cycles_faults(const struct replay_column *c)
{
    return c->modelled.guest_faults;
}

static double cycles_exits(const struct replay_column *c)
{
    return c->modelled.exits;
}

static double cycles_total(const struct replay_column *c)
{
    return c->modelled.total;
}

const struct replay_row replay_rows[] = {
    {"references", "references", references, false},
    {"accesses", "accesses", accesses, false},
    {"TLB hits", "tlb_hits", tlb_hits, false},
    {"L1 TLB misses", "tlb_l1_misses", l1_misses, false},
    {"TLB misses", "tlb_misses", tlb_misses, false},
    {"TLB flushes", "tlb_flushes", flushes, false},
    {"walks", "walks", walks, false},
    {"walk references", "walk_refs", walk_refs, false},
    {"  to the hypervisor's tables", "walk_refs_nested", walk_refs_nested, false},
    {"  mean", "walk_refs_mean", mean_refs, true},
    {"guest faults", "guest_faults", guest_faults, false},
    {"  demand", "demand_faults", demand_faults, false},
    {"  copy-on-write", "cow_faults", cow_faults, false},
    {"references that fault for good", "bad_references", bad_references, false},
    {"exits", "exits_total", exits_total, false},
    {"  EPT violations", "exits_ept_violation", exits_ept_violation, false},
    {"  EPT misconfigurations", "exits_ept_misconfig", exits_ept_misconfig, false},
    {"  nested page faults", "exits_npf", exits_npf, false},
    {"  page faults", "exits_page_fault", exits_page_fault, false},
    {"  writes to shadowed tables", "exits_table_write", exits_table_write, false},
    {"  CR3 loads", "exits_cr3_load", exits_cr3, false},
    {"  INVLPG", "exits_invlpg", exits_invlpg, false},
    {"  timer", "exits_timer", exits_timer, false},
    {"  of these by table writes", "exits_table_writes", exits_physical, false},
    {"tables of the hypervisor", "tables", tables, false},
    {"  built", "tables_built", tables_built, false},
    {"  zapped", "tables_zapped", tables_zapped, false},
    {"  bytes", "table_bytes", table_bytes, false},
    {"tables of the guest", "guest_tables", guest_tables, false},
    {"  built", "guest_tables_built", guest_tables_built, false},
    {"  entries written", "guest_table_writes", guest_table_writes, false},
    {"pages of the guest", "guest_pages", guest_pages, false},
    {"modelled cycles", "cycles", cycles_total, false},
    {"  second-level TLB", "cycles_tlb", cycles_tlb, false},
    {"  walks", "cycles_walks", cycles_walks, false},
    {"  guest faults", "cycles_guest_faults", cycles_faults, false},
    {"  exits", "cycles_exits", cycles_exits, false},
};
const size_t replay_row_count = sizeof replay_rows / sizeof replay_rows[0];

static void print_value(const struct replay_row *row, const struct replay_column *column, int width)
{
    printf(row->is_mean ? "%*.2f" : "%*.0f", width, row->value(column));
}

/* Walks by their number of references, in one line for each scheme. */
static void print_histogram(const struct replay_column *column)
{
    printf("walks of %s by references:", column->mmu);
    for (unsigned i = 0; i < MV_SOFT_WALK_REFS_MAX; i++) {
        if (column->result.soft.walk_histogram[i] > 0) {
            printf(" %u%s: %llu", i, i == MV_SOFT_WALK_REFS_MAX - 1 ? "+" : "",
                   (unsigned long long)column->result.soft.walk_histogram[i]);
        }
    }
    putchar('\n');
}

void replay_print_text(const struct replay_report *report)
{
    printf("%-32s", report->source_format);
    for (size_t i = 0; i < report->count; i++) {
        printf("%16s", report->columns[i].mmu);
    }
    putchar('\n');
    for (size_t r = 0; r < replay_row_count; r++) {
        printf("%-32s", replay_rows[r].title);
        for (size_t i = 0; i < report->count; i++) {
            print_value(&replay_rows[r], &report->columns[i], 16);
        }
        putchar('\n');
    }
    for (size_t i = 0; i < report->count; i++) {
        print_histogram(&report->columns[i]);
    }
    puts(
        "Cycles are a sum of constants (memvirt replay --costs); data caches, overlap and the program itself are not in "
        "it.");
}

void replay_print_csv(const struct replay_report *report)
{
    printf("mmu");
    for (size_t r = 0; r < replay_row_count; r++) {
        printf(",%s", replay_rows[r].name);
    }
    putchar('\n');
    for (size_t i = 0; i < report->count; i++) {
        printf("%s", report->columns[i].mmu);
        for (size_t r = 0; r < replay_row_count; r++) {
            putchar(',');
            print_value(&replay_rows[r], &report->columns[i], 0);
        }
        putchar('\n');
    }
}
