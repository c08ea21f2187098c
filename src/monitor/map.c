// SPDX-License-Identifier: MIT
/* Commands about the map: trees and views, blocks, slots. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <memvirt/mtree.h>

#include "base/error.h"
#include "monitor/command.h"

/* --- info mtree -------------------------------------------------------------------------------- */

/* For the flat views. */
static bool has_slot(void *opaque, struct mv_space *space, struct mv_range range)
{
    return mv_vm_has_slot(opaque, space, range);
}

static void add_line(void *opaque, const char *line)
{
    text_print(opaque, "%s\n", line);
}

static unsigned mtree_flags(const struct value *arguments)
{
    unsigned flags = 0;
    flags |= value_bool_at(arguments, "flat") ? MV_MTREE_FLAT : 0;
    flags |= value_bool_at(arguments, "dispatch") ? MV_MTREE_DISPATCH : 0;
    flags |= value_bool_at(arguments, "owner") ? MV_MTREE_OWNER : 0;
    flags |= value_bool_at(arguments, "disabled") ? MV_MTREE_DISABLED : 0;
    return flags;
}

int map_mtree(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    const struct mv_monitor_options *options = &session->monitor->options;
    const struct mv_mtree_accel accel = {.name = "KVM", .has_slot = has_slot, .opaque = options->vm};
    struct text text;
    text_init(&text, COMMAND_TEXT_MAX);
    int rc = mv_mtree_print(options->machine, mtree_flags(arguments), &accel, add_line, &text, err);
    if (rc < 0) {
        text_finish(&text);
        return rc;
    }
    *ret = command_text_result(&text);
    return 0;
}

/* --- info ramblock ----------------------------------------------------------------------------- */

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

/* --- info slots -------------------------------------------------------------------------------- */

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

static struct value *slot_value(const struct mv_slot *slot)
{
    struct value *value = value_with(value_object(), "slot", value_number(slot->id));
    value = value_with(value, "gpa", value_address(slot->gpa.raw));
    value = value_with(value, "size", value_number(slot->size_bytes));
    value = value_with(value, "hva", value_address(slot->hva.raw));
    value = value_with(value, "readonly", value_bool(slot->flags & KVM_MEM_READONLY));
    return value_with(value, "log-dirty-pages", value_bool(slot->flags & KVM_MEM_LOG_DIRTY_PAGES));
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
