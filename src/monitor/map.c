// SPDX-License-Identifier: MIT
/* Commands about the map: trees and views, blocks, slots. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "monitor/command.h"

/* --- info mtree
 * ----------------------------------------------------------------------------------------------- */

static void print_section(const struct mv_section *section, struct text *out)
{
    bool rom = section->hva.raw != 0 && section->readonly;
    text_print(out, "  %016" PRIx64 "-%016" PRIx64 " (prio 0, %s): %s", section->range.first, section->range.last,
               rom ? "rom" : mv_region_type(section->region), mv_region_name(section->region));
    if (section->offset != 0) {
        text_print(out, " @%016" PRIx64, section->offset);
    }
    text_add(out, "\n", 1);
}

static void print_view(struct mv_space *space, unsigned number, struct text *out)
{
    const struct mv_view *view = mv_space_view(space);
    const char *root = mv_region_name(mv_space_root(space));
    struct mv_section section;
    uint64_t at = 0;
    text_print(out, "FlatView #%u\n AS \"%s\", root: %s\n Root memory region: %s\n", number, mv_space_name(space),
               root, root);
    if (mv_view_count(view) == 0) {
        text_print(out, "  No rendered FlatView\n");
    }
    while (mv_view_next(view, mv_gpa(at), &section)) {
        print_section(&section, out);
        at = section.range.last + 1;
        if (at == 0) {
            break;
        }
    }
    text_add(out, "\n", 1);
    mv_view_release(view);
}

/* TODO(mtree): mv_mtree_print() as soon as it is there. */
int map_mtree(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    if (!value_bool_at(arguments, "flat")) {
        return error_set(err, -ENOTSUP, "no-trees", NULL, "mtree: only -f is there so far");
    }
    struct text text;
    text_init(&text, COMMAND_TEXT_MAX);
    print_view(mv_vm_memory(session->monitor->options.vm), 0, &text);
    print_view(mv_vm_io(session->monitor->options.vm), 1, &text);
    *ret = command_text_result(&text);
    return 0;
}

/* --- info ramblock
 * ---------------------------------------------------------------------------------------------- */

static struct value *block_value(const struct mv_block *block)
{
    struct mv_block_info info;
    mv_block_info(block, &info);
    struct value *value = value_with(value_object(), "name", value_text(info.id ? info.id : info.name));
    value = value_with(value, "page-size", value_number(info.page_size_bytes));
    value = value_with(value, "offset", value_address(info.ram_offset));
    value = value_with(value, "used", value_number(info.size_bytes));
    value = value_with(value, "total", value_number(info.max_size_bytes));
    return value_with(value, "hva", value_address(info.hva.raw));
}

int map_blocks(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)arguments;
    (void)err;
    struct mv_machine *machine = session->monitor->options.machine;
    struct value *blocks = value_list();
    for (struct mv_block *b = mv_block_next(machine, NULL); b; b = mv_block_next(machine, b)) {
        blocks = blocks ? value_with_item(blocks, block_value(b)) : NULL;
    }
    *ret = blocks;
    return 0;
}

static void print_page_size(uint64_t bytes, struct text *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    char number[32];
    while (bytes >= 1024 && bytes % 1024 == 0 && unit + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        unit++;
    }
    snprintf(number, sizeof number, "%" PRIu64 " %s", bytes, units[unit]);
    text_print(out, "%8s", number);
}

void map_print_blocks(const struct value *result, struct text *out)
{
    text_print(out, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used", "Total");
    for (size_t i = 0; i < result->many.count; i++) {
        const struct value *block = result->many.items[i].value;
        text_print(out, "%24s ", value_text_at(block, "name"));
        print_page_size(value_number_at(block, "page-size"), out);
        text_print(out, "  0x%016" PRIx64 " 0x%016" PRIx64 " 0x%016" PRIx64 "\n", value_number_at(block, "offset"),
                   value_number_at(block, "used"), value_number_at(block, "total"));
    }
}

/* --- info slots
 * ------------------------------------------------------------------------------------------------- */

static struct value *slot_value(const struct mv_slot *slot)
{
    struct value *value = value_with(value_object(), "slot", value_number(slot->id));
    value = value_with(value, "gpa", value_address(slot->gpa.raw));
    value = value_with(value, "size", value_number(slot->size_bytes));
    value = value_with(value, "hva", value_address(slot->hva.raw));
    value = value_with(value, "readonly", value_bool(slot->flags & KVM_MEM_READONLY));
    return value_with(value, "log-dirty-pages", value_bool(slot->flags & KVM_MEM_LOG_DIRTY_PAGES));
}

/* They may become more while room is made. */
static struct mv_slot *copy_slots(struct mv_vm *vm, size_t *ret_count)
{
    size_t capacity = mv_vm_slots(vm, NULL, 0);
    for (;;) {
        struct mv_slot *slots = calloc(capacity + 1, sizeof *slots);
        size_t count = slots ? mv_vm_slots(vm, slots, capacity) : 0;
        if (!slots || count <= capacity) {
            *ret_count = count;
            return slots;
        }
        free(slots);
        capacity = count;
    }
}

int map_slots(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    (void)arguments;
    size_t count;
    struct mv_slot *slots = copy_slots(session->monitor->options.vm, &count);
    if (!slots) {
        return error_set(err, -ENOMEM, "no-memory", NULL, "out of memory");
    }
    struct value *list = value_list();
    for (size_t i = 0; list && i < count; i++) {
        list = value_with_item(list, slot_value(&slots[i]));
    }
    free(slots);
    *ret = list;
    return 0;
}

void map_print_slots(const struct value *result, struct text *out)
{
    for (size_t i = 0; i < result->many.count; i++) {
        const struct value *slot = result->many.items[i].value;
        uint64_t gpa = value_number_at(slot, "gpa");
        uint64_t size = value_number_at(slot, "size");
        text_print(out,
                   "slot %3" PRIu64 "  gpa %016" PRIx64 "-%016" PRIx64 "  hva 0x%016" PRIx64 "  size 0x%" PRIx64,
                   value_number_at(slot, "slot"), gpa, gpa + size - 1, value_number_at(slot, "hva"), size);
        text_print(out, "%s%s\n", value_bool_at(slot, "readonly") ? "  readonly" : "",
                   value_bool_at(slot, "log-dirty-pages") ? "  log-dirty-pages" : "");
    }
}
