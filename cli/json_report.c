// SPDX-License-Identifier: MIT
/* The report for programs; docs/report-format.md describes every member. */
#include <inttypes.h>

#include "json.h"
#include "json_chain.h"
#include "json_value.h"
#include "report.h"

/* --- counters ---------------------------------------------------------------------------------- */

static json_t *counters_value(const struct report_counters *counters)
{
    json_t *object = json_object();
    for (size_t i = 0; i < counters->count; i++) {
        object = json_with(object, counters->items[i].name, json_number(counters->items[i].value));
    }
    return object;
}

static json_t *stop_value(const struct mv_stop *stop)
{
    json_t *object = json_object();
    object = json_with(object, "reason", json_text(mv_stop_reason_name(stop->reason)));
    object = json_with(object, "status", json_integer(stop->status));
    object = json_with(object, "vcpu", stop->vcpu >= 0 ? json_integer(stop->vcpu) : json_null());
    return json_with(object, "text", json_text(stop->text));
}

/* --- memory ------------------------------------------------------------------------------------ */

static json_t *nodes_value(uint64_t nodes)
{
    json_t *array = json_array();
    for (unsigned node = 0; node < 64; node++) {
        if (nodes >> node & 1) {
            array = json_with_item(array, json_number(node));
        }
    }
    return array;
}

static json_t *policy_value(enum mv_numa_policy policy, uint64_t nodes)
{
    json_t *object = json_with(json_object(), "policy", json_text(mem_backend_policy_name(policy)));
    return json_with(object, "host_nodes", nodes_value(nodes));
}

static json_t *usage_value(const struct report *report)
{
    const struct mv_block_usage *usage = &report->ram_usage;
    if (report->ram_failure[0]) {
        return json_null();
    }
    json_t *object = json_with(json_object(), "resident", json_number(usage->resident_bytes));
    object = json_with(object, "transparent_huge", json_number(usage->transparent_bytes));
    object = json_with(object, "hugetlb", json_number(usage->hugetlb_bytes));
    object = json_with(object, "merged", json_number(usage->merged_bytes));
    return json_with(object, "swapped", json_number(usage->swapped_bytes));
}

static json_t *ram_value(const struct report *report)
{
    const struct mv_block_info *ram = &report->ram;
    struct report_grant grants[REPORT_GRANTS];
    report_grants(report, grants);
    json_t *object = json_with(json_object(), "kind", json_text(mv_block_kind_name(ram->kind)));
    object = json_with(object, "path", json_text(report->ram_path));
    object = json_with(object, "size", json_number(ram->size_bytes));
    object = json_with(object, "page_size", json_number(ram->page_size_bytes));
    object = json_with(object, "hva", json_number(ram->hva.raw));
    for (size_t i = 0; i < REPORT_GRANTS; i++) {
        const struct mv_grant *grant = &grants[i].grant;
        json_t *value = json_with(json_object(), "asked", json_text(report_choice_name(grant->asked)));
        value = json_with(value, "granted", json_boolean(grant->granted));
        object = json_with(object, grants[i].name, json_with(value, "why", json_text(grant->why)));
    }
    object = json_with(object, "prealloc_bytes", json_number(ram->prealloc_bytes));
    object = json_with(object, "prealloc_threads", json_number(ram->prealloc_nthreads));
    json_t *numa = json_with(json_object(), "asked", policy_value(ram->numa_asked, ram->numa_nodes_asked));
    numa = json_with(numa, "granted", policy_value(ram->numa_granted, ram->numa_nodes_granted));
    object = json_with(object, "numa", numa);
    return json_with(object, "usage", usage_value(report));
}

static json_t *slots_value(const struct report *report)
{
    json_t *array = json_array();
    for (size_t i = 0; i < report->slot_count; i++) {
        array = json_with_item(array, json_slot(&report->slots[i]));
    }
    return array;
}

static json_t *section_value(const struct mv_section *section)
{
    json_t *object = json_object();
    object = json_with(object, "first", json_hex(section->range.first));
    object = json_with(object, "last", json_hex(section->range.last));
    object = json_with(object, "type", json_text(mv_region_type(section->region)));
    object = json_with(object, "name", json_text(mv_region_name(section->region)));
    object = json_with(object, "offset", json_number(section->offset));
    return json_with(object, "readonly", json_boolean(section->readonly));
}

static json_t *view_value(const struct report_view *view)
{
    json_t *array = json_array();
    for (size_t i = 0; i < view->count; i++) {
        array = json_with_item(array, section_value(&view->sections[i]));
    }
    return array;
}

/* --- chains ------------------------------------------------------------------------------------ */

static json_t *bytes_value(const struct report_chain *c)
{
    char hex[2 * REPORT_BYTES + 1] = "";
    for (size_t i = 0; i < c->byte_count; i++) {
        snprintf(hex + 2 * i, 3, "%02x", c->bytes[i]);
    }
    return c->byte_count > 0 ? json_text(hex) : json_null();
}

/* null where the walk did not get to a page. */
static json_t *page_value(const struct report_chain *c)
{
    const struct mv_chain *chain = &c->chain;
    if (chain->end != MV_CHAIN_COMPLETE && chain->end != MV_CHAIN_NOT_RAM) {
        return json_null();
    }
    return json_with(json_chain_page(chain), "bytes", bytes_value(c));
}

static json_t *translate_value(const struct report_chain *c)
{
    const struct mv_translation *accel = &c->chain.accel;
    json_t *object = json_object();
    object = json_with(object, "valid", json_boolean(accel->valid));
    object = json_with(object, "gpa", accel->valid ? json_hex(accel->gpa.raw) : json_null());
    return json_with(object, "agrees", json_boolean(c->agreement != REPORT_DIFFERENT));
}

static json_t *chain_value(const struct report *report, const struct report_chain *c)
{
    json_t *object = json_object();
    object = json_with(object, "gva", json_hex(c->gva.raw));
    object = json_with(object, "why", json_text(report_why_name(c->why)));
    object = json_with(object, "vcpu", json_number(report->vcpu));
    object = json_with(object, "error", c->explained ? json_null() : json_text(c->failure));
    if (!c->explained) {
        return object;
    }
    object = json_with_chain(object, &c->chain);
    object = json_with(object, "page", page_value(c));
    return json_with(object, "translate", translate_value(c));
}

static json_t *chains_value(const struct report *report)
{
    json_t *array = json_array();
    for (size_t i = 0; i < report->chain_count; i++) {
        array = json_with_item(array, chain_value(report, &report->chains[i]));
    }
    return array;
}

/* --- all of it --------------------------------------------------------------------------------- */

bool json_print_report(const struct report *report)
{
    json_t *exits = json_with(counters_value(&report->exits), "total", json_number(report->exit_total));
    json_t *views = json_with(json_object(), "memory", view_value(&report->memory));
    views = json_with(views, "io", view_value(&report->io));

    json_t *object = json_object();
    object = json_with(object, "memvirt", json_text(mv_version()));
    object = json_with(object, "accel", json_text(report->accel));
    object = json_with(object, "stop", stop_value(&report->stop));
    object = json_with(object, "exits", exits);
    object = json_with(object, "access", counters_value(&report->access));
    object = json_with(object, "ram", ram_value(report));
    object = json_with(object, "slots", slots_value(report));
    object = json_with(object, "slot_calls", counters_value(&report->slot_calls));
    object = json_with(object, "kvm", counters_value(&report->kernel));
    object = json_with(object, "views", views);
    object = json_with(object, "chains", chains_value(report));
    object = json_with(object, "console", json_text_bytes(report->console->bytes, report->console->length));
    object = json_with(object, "console_dropped_bytes", json_number(report->console->dropped_bytes));
    return json_print(object);
}
