// SPDX-License-Identifier: MIT
/* The report for people. Flat views look as in QEMU's `info mtree -f`. */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "size.h"

/* --- counters ---------------------------------------------------------------------------------- */

static int widest(const struct report_counters *counters)
{
    size_t width = 0;
    for (size_t i = 0; i < counters->count; i++) {
        const size_t length = strlen(counters->items[i].name);
        width = length > width ? length : width;
    }
    return (int)width;
}

static uint64_t sum(const struct report_counters *counters)
{
    uint64_t total = 0;
    for (size_t i = 0; i < counters->count; i++) {
        total += counters->items[i].value;
    }
    return total;
}

static void print_non_zero(const struct report_counters *counters)
{
    const int width = widest(counters);
    for (size_t i = 0; i < counters->count; i++) {
        if (counters->items[i].value > 0) {
            printf("  %-*s  %10" PRIu64 "\n", width, counters->items[i].name, counters->items[i].value);
        }
    }
}

static void print_stop(const struct mv_stop *stop)
{
    printf("stop: %s", mv_stop_reason_name(stop->reason));
    if (stop->reason == MV_STOP_EXIT || stop->reason == MV_STOP_REQUEST) {
        printf(", status %d", stop->status);
    }
    if (stop->vcpu >= 0) {
        printf(", by vCPU %d", stop->vcpu);
    }
    printf("\n  %s\n", stop->text);
}

static void print_exits(const struct report *report)
{
    const int width = widest(&report->exits);
    printf("\nexits to memvirt, by reason:\n");
    for (size_t i = 0; i < report->exits.count; i++) {
        printf("  %-*s  %10" PRIu64 "\n", width, report->exits.items[i].name, report->exits.items[i].value);
    }
    printf("  %-*s  %10" PRIu64 "\n", width, "total", report->exit_total);
}

static void print_access(const struct report_counters *access)
{
    if (sum(access) > 0) {
        printf("\naccesses that went wrong:\n");
        print_non_zero(access);
    }
}

static void print_kernel(const struct report *report)
{
    if (report->kernel.count == 0) {
        printf("\ncounters of %s: the kernel has no statistics\n", report->accel);
        return;
    }
    printf("\ncounters of %s in the kernel that are not 0, of %zu:\n", report->accel, report->kernel.count);
    print_non_zero(&report->kernel);
}

/* --- memory ------------------------------------------------------------------------------------ */

static void print_slot(const struct mv_slot *slot)
{
    const char *flags[REPORT_SLOT_FLAGS_MAX];
    char size[SIZE_TEXT_SIZE];
    const size_t count = report_slot_flags(slot->flags, flags);
    printf("  slot %-3" PRIu32 " gpa %016" PRIx64 "-%016" PRIx64 " hva 0x%" PRIx64 " (%s", slot->id, slot->gpa.raw,
           slot->gpa.raw + (slot->size_bytes - 1), slot->hva.raw, size_text(slot->size_bytes, size));
    for (size_t i = 0; i < count; i++) {
        printf(", %s", flags[i]);
    }
    printf(")\n");
}

static void print_slots(const struct report *report)
{
    printf("\nslots: %zu (", report->slot_count);
    for (size_t i = 0; i < report->slot_calls.count; i++) {
        printf("%s%s: %" PRIu64, i > 0 ? ", " : "", report->slot_calls.items[i].name,
               report->slot_calls.items[i].value);
    }
    printf(")\n");
    for (size_t i = 0; i < report->slot_count; i++) {
        print_slot(&report->slots[i]);
    }
}

static void print_view(const struct report_view *view)
{
    printf("\nflat view of %s, root %s:\n", view->space, view->root);
    for (size_t i = 0; i < view->count; i++) {
        const struct mv_section *s = &view->sections[i];
        const char *type = mv_region_type(s->region);
        const bool is_readonly_ram = s->readonly && strcmp(type, "ram") == 0;
        printf("  %016" PRIx64 "-%016" PRIx64 " (%s): %s", s->range.first, s->range.last,
               is_readonly_ram ? "ram, read-only" : type, mv_region_name(s->region));
        if (s->offset > 0) {
            printf(" @%016" PRIx64, s->offset);
        }
        printf("\n");
    }
}

/* --- chains ------------------------------------------------------------------------------------ */

/* "ram+0x1000", or "nothing". */
static void print_region(const struct mv_place *place)
{
    if (place->region) {
        printf("%s+0x%" PRIx64, place->region, place->region_offset);
    } else {
        printf("nothing");
    }
}

static void print_flags(const struct mv_chain *chain, size_t index)
{
    const char *flags[MV_ENTRY_FLAGS_MAX];
    char line[64] = "not present";
    const size_t count = mv_entry_flags(chain, index, flags);
    for (size_t i = 0, used = 0; i < count && used < sizeof line; i++) {
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%s", i > 0 ? " " : "", flags[i]);
    }
    printf("%-16s", line);
}

static void print_entry(const struct mv_chain *chain, size_t index)
{
    const struct mv_chain_entry *entry = &chain->entries[index];
    const int padding = 12 - printf("  %s[%u]", entry->name, entry->index);
    printf("%*s = 0x%016" PRIx64 "  ", padding > 0 ? padding : 0, "", entry->value);
    print_flags(chain, index);
    printf("  at gpa 0x%" PRIx64 " hva 0x%" PRIx64 " hpa ", entry->at.gpa.raw, entry->at.hva.raw);
    if (entry->at.hpa_valid) {
        printf("0x%" PRIx64 "\n", entry->at.hpa.raw);
    } else {
        printf("? (%s)\n", entry->at.hpa_reason);
    }
}

static void print_agreement(const struct report_chain *c)
{
    switch (c->agreement) {
    case REPORT_SAME: printf("  KVM_TRANSLATE agrees: gpa 0x%" PRIx64 "\n", c->chain.accel.gpa.raw); return;
    case REPORT_BOTH_NONE: printf("  KVM_TRANSLATE agrees: it finds no gpa\n"); return;
    case REPORT_DIFFERENT: break;
    }
    if (c->chain.accel.valid) {
        printf("  KVM_TRANSLATE differs: gpa 0x%" PRIx64 "%s\n", c->chain.accel.gpa.raw,
               c->chain.end == MV_CHAIN_NON_CANONICAL ? " (it does not ask whether an address is canonical)" : "");
    } else {
        printf("  KVM_TRANSLATE differs: it finds no gpa\n");
    }
}

/* "  slot 0, through system > alias low > ram" */
static void print_way(const struct mv_place *page)
{
    if (page->has_slot) {
        printf("  slot %u", page->slot.id);
    } else {
        printf("  no slot");
    }
    for (size_t i = 0; i < page->way_count && i < MV_PLACE_WAY_MAX; i++) {
        const struct mv_region *region = page->way[i].region;
        printf("%s%s%s", i > 0 ? " > " : ", through ", mv_region_kind(region) == MV_REGION_ALIAS ? "alias " : "",
               mv_region_name(region));
    }
    printf("%s\n", page->way_count > MV_PLACE_WAY_MAX ? " > ..." : "");
}

static void print_page(const struct report_chain *c)
{
    const struct mv_chain *chain = &c->chain;
    char size[SIZE_TEXT_SIZE];
    printf("  gpa 0x%" PRIx64 " (", chain->page.gpa.raw);
    print_region(&chain->page);
    if (chain->page_size_bytes != 0) {
        printf(", in a page of %s", size_text(chain->page_size_bytes, size));
    }
    printf(")\n");
    if (chain->end == MV_CHAIN_NOT_RAM) {
        printf("  hva none: %s\n", chain->page.region ? "a device is there" : "nothing is there");
        return;
    }
    print_way(&chain->page);
    printf("  hva 0x%" PRIx64 ", where the bytes are", chain->page.hva.raw);
    for (size_t i = 0; i < c->byte_count; i++) {
        printf(" %02x", c->bytes[i]);
    }
    if (chain->page.hpa_valid) {
        printf("\n  hpa 0x%" PRIx64 "\n", chain->page.hpa.raw);
    } else {
        printf("\n  hpa %s\n", report_hpa_sentence(chain->page.hpa_reason));
    }
}

static void print_verdict(const struct report_chain *c)
{
    static const char *const kinds[] = {"read", "write", "fetch"};
    const struct mv_chain *chain = &c->chain;
    const struct mv_verdict *v = &chain->verdict;
    if (chain->is_judged && v->rule == MV_RULE_NONE) {
        printf("  a %s with CPL %u: allowed\n", kinds[chain->asked.access], chain->registers.cpl);
    } else if (chain->is_judged) {
        printf("  a %s with CPL %u: %s: %s\n", kinds[chain->asked.access], chain->registers.cpl,
               mv_rule_name(v->rule), v->text);
    }
}

static void print_end(const struct report_chain *c)
{
    switch (c->chain.end) {
    case MV_CHAIN_COMPLETE:
    case MV_CHAIN_NOT_RAM: print_page(c); return;
    case MV_CHAIN_NOT_PRESENT: printf("  not mapped: the last entry is not present\n"); return;
    case MV_CHAIN_RESERVED_BIT: printf("  not mapped: the last entry has a reserved bit set\n"); return;
    case MV_CHAIN_NON_CANONICAL: printf("  not mapped: the address is not canonical\n"); return;
    case MV_CHAIN_TABLE_NOT_RAM: printf("  not mapped: a table is where no RAM is\n"); return;
    }
}

static const char *why_text(enum report_why why)
{
    switch (why) {
    case REPORT_RIP: return "of the next instruction";
    case REPORT_TOUCHED: return "of a page that the guest touched";
    case REPORT_ASKED: return "asked for";
    }
    return "";
}

static void print_chain(const struct report_chain *c)
{
    printf("\ngva 0x%" PRIx64 ", %s:\n", c->gva.raw, why_text(c->why));
    if (!c->explained) {
        printf("  not explained: %s\n", c->failure);
        return;
    }
    for (size_t i = 0; i < c->chain.entry_count; i++) {
        print_entry(&c->chain, i);
    }
    print_end(c);
    print_verdict(c);
    print_agreement(c);
}

static void print_mode(unsigned vcpu, const struct mv_chain *chain)
{
    if (chain->mode == MV_PAGING_OFF) {
        printf("\nvCPU %u has paging off: a gva is its gpa\n", vcpu);
    } else {
        printf("\nvCPU %u translates with %s paging, cr3 0x%" PRIx64 "\n", vcpu, mv_paging_mode_name(chain->mode),
               chain->cr3);
    }
}

static void print_chains(const struct report *report)
{
    const struct report_chain *first = report->chains;
    if (report->chain_count > 0 && first->explained) {
        print_mode(report->vcpu, &first->chain);
    }
    for (size_t i = 0; i < report->chain_count; i++) {
        print_chain(&report->chains[i]);
    }
}

void report_print_text(const struct report *report)
{
    print_stop(&report->stop);
    print_exits(report);
    print_access(&report->access);
    report_print_ram(report);
    print_slots(report);
    print_view(&report->memory);
    print_view(&report->io);
    print_kernel(report);
    print_chains(report);
}
