// SPDX-License-Identifier: MIT
/* `explain`: the whole way of a guest virtual address, as <memvirt/explain.h> has it. */
#include <memvirt/explain.h>

#include <errno.h>

#include "base/error.h"
#include "monitor/command.h"

static void add_line(void *opaque, const char *line)
{
    text_print(opaque, "%s\n", line);
}

/* As many as the flags say: read is what none of them means. */
static int read_asked(const struct value *arguments, struct mv_asked *ret, struct mv_error *err)
{
    bool write = value_bool_at(arguments, "write"), fetch = value_bool_at(arguments, "fetch");
    bool user = value_bool_at(arguments, "user"), supervisor = value_bool_at(arguments, "supervisor");
    bool implicit = value_bool_at(arguments, "implicit");
    if ((write && fetch) || user + supervisor + implicit > 1) {
        return error_set(err, -EINVAL, "bad-flags", NULL, "it can be only one of %s",
                         write && fetch ? "write and fetch" : "user, supervisor and implicit");
    }
    *ret = (struct mv_asked){
        .access = write   ? MV_ACCESS_WRITE
                  : fetch ? MV_ACCESS_FETCH
                          : MV_ACCESS_READ,
        .who = user         ? MV_WHO_USER
               : implicit   ? MV_WHO_IMPLICIT
               : supervisor ? MV_WHO_SUPERVISOR
                            : MV_WHO_CURRENT,
    };
    return 0;
}

static struct value *rights_value(unsigned rights)
{
    static const char *const names[] = {"W", "U", "X"};
    struct value *list = value_list();
    for (unsigned i = 0; list && i < 3; i++) {
        list = rights >> i & 1 ? value_with_item(list, value_text(names[i])) : list;
    }
    return list;
}

static struct value *way_value(const struct mv_place *place)
{
    struct value *list = value_list();
    for (size_t i = 0; list && i < place->way_count && i < MV_PLACE_WAY_MAX; i++) {
        list = value_with_item(list, value_text(mv_region_name(place->way[i].region)));
    }
    return list;
}

static struct value *entries_value(const struct mv_chain *chain)
{
    struct value *list = value_list();
    for (size_t i = 0; list && i < chain->entry_count; i++) {
        const struct mv_chain_entry *entry = &chain->entries[i];
        struct value *value = value_with(value_object(), "name", value_text(entry->name));
        value = value_with(value, "level", value_number(entry->level));
        value = value_with(value, "index", value_number(entry->index));
        value = value_with(value, "value", value_address(entry->value));
        value = value_with(value, "rights", rights_value(entry->rights));
        value = value_with(value, "gpa", value_address(entry->at.gpa.raw));
        list = value_with_item(list, value_with(value, "hva", value_address(entry->at.hva.raw)));
    }
    return list;
}

static struct value *page_value(const struct mv_chain *chain)
{
    const struct mv_place *page = &chain->page;
    struct value *value = value_with(value_object(), "gpa", value_address(page->gpa.raw));
    value = value_with(value, "size", value_number(chain->page_size_bytes));
    value = value_with(value, "rights", rights_value(chain->rights));
    value = value_with(value, "readonly", value_bool(page->readonly));
    value = value_with(value, "way", way_value(page));
    if (page->has_slot) {
        value = value_with(value, "slot", value_number(page->slot.id));
    }
    if (page->region) {
        value = value_with(value, "region", value_text(page->region));
        value = value_with(value, "offset", value_address(page->region_offset));
    }
    return page->hva.raw != 0 ? value_with(value, "hva", value_address(page->hva.raw)) : value;
}

static struct value *verdict_value(const struct mv_verdict *verdict)
{
    struct value *value = value_with(value_object(), "rule", value_text(mv_rule_name(verdict->rule)));
    value = value_with(value, "text", value_text(verdict->text));
    value = value_with(value, "vector", value_number(verdict->vector));
    return value_with(value, "error-code", value_number(verdict->error_code));
}

static struct value *chain_value(const struct mv_chain *chain)
{
    struct text text;
    struct value *value = value_with(value_object(), "gva", value_address(chain->gva.raw));
    value = value_with(value, "paging", value_text(mv_paging_mode_name(chain->mode)));
    value = value_with(value, "entries", entries_value(chain));
    value = value_with(value, "end", value_text(mv_chain_end_name(chain->end)));
    if (chain->end == MV_CHAIN_COMPLETE || chain->end == MV_CHAIN_NOT_RAM) {
        value = value_with(value, "page", page_value(chain));
    }
    value = value_with(value, "verdict", verdict_value(&chain->verdict));
    text_init(&text, COMMAND_TEXT_MAX);
    mv_chain_print(chain, add_line, &text);
    struct value *lines = text.overflowed ? NULL : value_text_bytes(text.bytes, text.length);
    text_finish(&text);
    return value_with(value, "human-readable-text", lines);
}

int explain_run(struct session *session, const struct value *arguments, struct value **ret, struct mv_error *err)
{
    struct mv_vm *vm = session->monitor->options.vm;
    struct mv_vcpu *vcpu = registers_vcpu(session, err);
    struct mv_asked asked;
    struct mv_chain chain;
    int rc = vcpu ? read_asked(arguments, &asked, err) : -EINVAL;
    if (rc < 0) {
        return rc;
    }
    mv_vm_pause(vm);
    rc = mv_explain_access(vcpu, mv_gva(value_number_at(arguments, "address")), &asked, &chain, err);
    mv_vm_resume(vm);
    if (rc < 0) {
        return rc;
    }
    *ret = chain_value(&chain);
    mv_chain_release(&chain);
    return 0;
}
