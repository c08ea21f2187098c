// SPDX-License-Identifier: MIT
/* The RAM of a report: what was asked of the host, and what it granted. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report.h"
#include "size.h"

const char *report_choice_name(enum mv_choice choice)
{
    switch (choice) {
    case MV_DEFAULT: break;
    case MV_ON: return "on";
    case MV_OFF: return "off";
    }
    return "default";
}

void report_grants(const struct report *report, struct report_grant ret[REPORT_GRANTS])
{
    const struct mv_block_info *ram = &report->ram;
    const struct report_grant grants[REPORT_GRANTS] = {
        {"share", {.asked = report->ram_share, .granted = ram->shared}},
        {"prealloc", ram->prealloc},
        {"reserve", ram->reserve},
        {"thp", ram->thp},
        {"merge", ram->mergeable},
        {"dump", ram->dump},
    };
    memcpy(ret, grants, sizeof grants);
}

static void print_numa(const struct mv_block_info *ram)
{
    char asked[MEM_BACKEND_NODES_SIZE], granted[MEM_BACKEND_NODES_SIZE];
    if (ram->numa_asked != MV_NUMA_DEFAULT) {
        printf("  %-9s asked %s of nodes %s, granted %s of nodes %s\n", "policy",
               mem_backend_policy_name(ram->numa_asked), mem_backend_nodes_text(ram->numa_nodes_asked, asked),
               mem_backend_policy_name(ram->numa_granted),
               mem_backend_nodes_text(ram->numa_nodes_granted, granted));
    }
}

static void print_usage(const struct report *report)
{
    const struct mv_block_usage *usage = &report->ram_usage;
    if (report->ram_failure[0]) {
        printf("  resident at the end: not known: %s\n", report->ram_failure);
        return;
    }
    printf("  resident at the end: %" PRIu64 " KiB, of it %" PRIu64 " KiB in huge pages\n",
           usage->resident_bytes / 1024, (usage->transparent_bytes + usage->hugetlb_bytes) / 1024);
}

/* What was left at its default, and is off as most often, is of no interest to people. */
static bool is_worth_a_line(const struct report_grant *g)
{
    bool usual = strcmp(g->name, "dump") == 0;
    return g->grant.asked != MV_DEFAULT || g->grant.granted != usual;
}

void report_print_ram(const struct report *report)
{
    const struct mv_block_info *ram = &report->ram;
    struct report_grant grants[REPORT_GRANTS];
    char size[SIZE_TEXT_SIZE], page[SIZE_TEXT_SIZE];
    printf("\nram: %s, %s%s%s, pages of %s\n", size_text(ram->size_bytes, size), mv_block_kind_name(ram->kind),
           report->ram_path ? " " : "", report->ram_path ? report->ram_path : "",
           size_text(ram->page_size_bytes, page));
    report_grants(report, grants);
    for (size_t i = 0; i < REPORT_GRANTS; i++) {
        const struct mv_grant *grant = &grants[i].grant;
        if (is_worth_a_line(&grants[i])) {
            printf("  %-9s asked %s, granted %s%s%s\n", grants[i].name, report_choice_name(grant->asked),
                   grant->granted ? "on" : "off", grant->why ? ": " : "", grant->why ? grant->why : "");
        }
    }
    if (ram->prealloc_bytes > 0) {
        printf("  %" PRIu64 " KiB preallocated by %u thread%s\n", ram->prealloc_bytes / 1024,
               ram->prealloc_nthreads, ram->prealloc_nthreads == 1 ? "" : "s");
    }
    print_numa(ram);
    print_usage(report);
}
