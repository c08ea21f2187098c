// SPDX-License-Identifier: MIT
/* A chain in lines, for people. */
#include <memvirt/explain.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct out {
    mv_print_fn *print;
    void *opaque;
    char line[512];
    size_t used;
};

static void MV_PRINTF(2, 3) add(struct out *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(out->line + out->used, sizeof out->line - out->used, format, arguments);
    va_end(arguments);
    size_t room = sizeof out->line - 1 - out->used;
    out->used += length < 0 ? 0 : (size_t)length < room ? (size_t)length : room;
}

static void end_line(struct out *out)
{
    out->line[out->used] = '\0';
    out->print(out->opaque, out->line);
    out->used = 0;
}

static void add_words(struct out *out, const char *const *words, size_t count, const char *none)
{
    for (size_t i = 0; i < count; i++) {
        add(out, " %s", words[i]);
    }
    add(out, "%s", count == 0 ? none : "");
}

static void add_size(struct out *out, uint64_t bytes)
{
    static const char units[] = " KMGT";
    unsigned unit = 0;
    while (bytes >= 1024 && bytes % 1024 == 0 && unit < 4) {
        bytes /= 1024;
        unit++;
    }
    add(out, unit ? "%" PRIu64 "%c" : "%" PRIu64, bytes, units[unit]);
}

/* --- the second dimension
 * ---------------------------------------------------------------------------------------- */

static void add_rwx(struct out *out, unsigned rights)
{
    add(out, "%s%s%s%s", rights & 1u << MV_ACCESS_READ ? "R" : "", rights & 1u << MV_ACCESS_WRITE ? "W" : "",
        rights & 1u << MV_ACCESS_FETCH ? "X" : "", rights ? "" : "none");
}

static const char *answer_text(enum mv_nested_answer answer)
{
    switch (answer) {
    case MV_NESTED_REPAIR: return "the hypervisor maps the slot's page, and the access is tried again";
    case MV_NESTED_NO_SLOT: return "no slot has it: the hypervisor makes the access itself";
    case MV_NESTED_READONLY_SLOT: return "the slot is read-only: the hypervisor makes the access itself";
    case MV_NESTED_STORE: return "a table that is shadowed: the hypervisor makes the write";
    case MV_NESTED_NO_EXIT: break;
    }
    return "";
}

static const char *nested_end_text(enum mv_nested_end end)
{
    switch (end) {
    case MV_NESTED_NOT_PRESENT: return "not present";
    case MV_NESTED_DENIED: return "the entries do not allow it";
    case MV_NESTED_BAD_ENTRY: return "the entry is one that hardware refuses, which marks MMIO";
    case MV_NESTED_LOG_FULL: return "the page-modification log is full";
    case MV_NESTED_NONE:
    case MV_NESTED_SWITCHED:
    case MV_NESTED_MAPPED: break;
    }
    return "";
}

/* Intel SDM, "Exit Qualification for EPT Violations". */
static void add_qualification(struct out *out, uint64_t code)
{
    add(out, "      EPT violation, qualification 0x%" PRIx64 " (", code);
    add_rwx(out, code & 7);
    add(out, " of %s, allowed is ", code >> 8 & 1 ? "the page" : "a guest's table");
    add_rwx(out, code >> 3 & 7);
    add(out, ")");
}

/* AMD APM, "Nested versus Guest Page Faults". */
static void add_npf(struct out *out, uint64_t code)
{
    add(out, "      #NPF, error code 0x%" PRIx64 " (%s%s of %s)", code,
        code >> 3 & 1 ? "reserved bit, "
        : code & 1    ? "present, "
                      : "not present, ",
        code >> 4 & 1   ? "fetch"
        : code >> 1 & 1 ? "write"
                        : "read",
        code >> 32 & 1 ? "the page" : "a guest's table");
}

static void print_exit(struct out *out, const struct mv_nested *nested)
{
    if (strcmp(nested->exit, "ept_violation") == 0) {
        add_qualification(out, nested->code);
    } else if (strcmp(nested->exit, "npf") == 0) {
        add_npf(out, nested->code);
    } else {
        add(out, "      %s", strcmp(nested->exit, "ept_misconfig") == 0 ? "EPT misconfiguration" : nested->exit);
    }
    add(out, ": %s; ", nested_end_text(nested->end));
    add(out, "%s", answer_text(nested->answer));
    end_line(out);
}

static void print_nested(struct out *out, const struct mv_nested *nested)
{
    const char *flags[MV_ENTRY_FLAGS_MAX];
    for (size_t i = 0; i < nested->entry_count; i++) {
        const struct mv_nested_entry *entry = &nested->entries[i];
        add(out, "      %s %s[%u] = 0x%016" PRIx64 " ", nested->format, entry->name, entry->index, entry->value);
        add_words(out, flags, mv_nested_flags(nested, i, flags), "");
        end_line(out);
    }
    if (nested->end == MV_NESTED_NONE) {
        return;
    }
    if (nested->exit) {
        print_exit(out, nested);
        return;
    }
    add(out, "      %s: ", nested->format);
    add_rwx(out, nested->need);
    add(out, " needed, ");
    add_rwx(out, nested->rights);
    add(out, " allowed, page of ");
    add_size(out, nested->page_size_bytes);
    end_line(out);
}

/* --- places
 * ------------------------------------------------------------------------------------------------------ */

static void print_way(struct out *out, const struct mv_place *place)
{
    size_t told = place->way_count < MV_PLACE_WAY_MAX ? place->way_count : MV_PLACE_WAY_MAX;
    if (!place->region) {
        add(out, "      region: none");
        end_line(out);
        return;
    }
    add(out, "      region: ");
    for (size_t i = 0; i < told; i++) {
        const struct mv_region *region = place->way[i].region;
        bool is_alias = mv_region_kind(region) == MV_REGION_ALIAS;
        add(out, "%s%s%s", i > 0 ? " > " : "", is_alias ? "alias " : "", mv_region_name(region));
    }
    if (told < place->way_count || told == 0) {
        add(out, "%s%s", told > 0 ? " > ... > " : "", place->region);
    }
    add(out, "+0x%" PRIx64 " (%s%s)", place->region_offset, place->type, place->readonly ? ", read-only" : "");
    end_line(out);
}

static void print_place(struct out *out, const struct mv_place *place)
{
    if (place->has_slot) {
        uint64_t first = place->slot.gpa.raw;
        add(out, "      slot %u: 0x%" PRIx64 "-0x%" PRIx64 "%s%s", place->slot.id, first,
            first + (place->slot.size_bytes - 1), place->slot.flags & KVM_MEM_READONLY ? ", read-only" : "",
            place->slot.flags & KVM_MEM_LOG_DIRTY_PAGES ? ", logged" : "");
    } else {
        add(out, "      slot: none");
    }
    end_line(out);
    print_way(out, place);
    if (place->hva.raw != 0) {
        add(out, "      hva 0x%" PRIx64 ", ", place->hva.raw);
        if (place->hpa_valid) {
            add(out, "hpa 0x%" PRIx64, place->hpa.raw);
        } else {
            add(out, "no hpa: %s", place->hpa_reason);
        }
        end_line(out);
    }
    print_nested(out, &place->nested);
}

/* --- the chain
 * --------------------------------------------------------------------------------------------------- */

static void add_rights(struct out *out, unsigned rights)
{
    add(out, "%s%s%s%s", rights & MV_RIGHT_W ? " W" : "", rights & MV_RIGHT_U ? " U" : "",
        rights & MV_RIGHT_X ? " X" : "", rights ? "" : " none");
}

static void print_entry(struct out *out, const struct mv_chain *chain, size_t index)
{
    const struct mv_chain_entry *entry = &chain->entries[index];
    const char *flags[MV_ENTRY_FLAGS_MAX];
    add(out, "  %s[%u] = 0x%016" PRIx64 " ", entry->name, entry->index, entry->value);
    add_words(out, flags, mv_entry_flags(chain, index, flags), " not present");
    if (entry->value & 1) {
        add(out, "; rights so far:");
        add_rights(out, entry->rights);
    }
    end_line(out);
    add(out, "    at gpa 0x%" PRIx64, entry->at.gpa.raw);
    end_line(out);
    print_place(out, &entry->at);
}

static void print_registers(struct out *out, const struct mv_chain *chain)
{
    const struct mv_chain_registers *r = &chain->registers;
    if (chain->mode == MV_PAGING_OFF) {
        add(out, "  paging is off: a gva is its gpa");
        end_line(out);
        return;
    }
    add(out, "  %s paging, cr3 0x%" PRIx64 ", CPL %u; CR0.WP=%u EFER.NXE=%u CR4.SMEP=%u SMAP=%u PKE=%u PKS=%u",
        mv_paging_mode_name(chain->mode), chain->cr3, r->cpl, (unsigned)(r->cr0 >> 16 & 1),
        (unsigned)(r->efer >> 11 & 1), (unsigned)(r->cr4 >> 20 & 1), (unsigned)(r->cr4 >> 21 & 1),
        (unsigned)(r->cr4 >> 22 & 1), (unsigned)(r->cr4 >> 24 & 1));
    add(out, " EFLAGS.AC=%u", (unsigned)(r->rflags >> 18 & 1));
    end_line(out);
}

static void print_page(struct out *out, const struct mv_chain *chain)
{
    if (chain->end != MV_CHAIN_COMPLETE && chain->end != MV_CHAIN_NOT_RAM) {
        return;
    }
    add(out, "  page: gpa 0x%" PRIx64, chain->page.gpa.raw);
    if (chain->page_size_bytes > 0) {
        add(out, ", in a page of ");
        add_size(out, chain->page_size_bytes);
        add(out, "; rights:");
        add_rights(out, chain->rights);
        if (chain->registers.cr4 & (UINT64_C(5) << 22)) { /* PKE, PKS */
            add(out, "; protection key %u%s", chain->key, chain->registers.has_keys ? "" : ", not judged");
        }
    }
    end_line(out);
    print_place(out, &chain->page);
}

/* --- shadow tables
 * ----------------------------------------------------------------------------------------------- */

static void print_shadow_entry(struct out *out, const struct mv_shadow *shadow, size_t i)
{
    const struct mv_shadow_entry *entry = &shadow->entries[i];
    const char *flags[MV_ENTRY_FLAGS_MAX];
    add(out, "    %s[%u] = 0x%016" PRIx64 " ", entry->name, entry->index, entry->value);
    add_words(out, flags, mv_shadow_flags(shadow, i, flags), " not present");
    end_line(out);
    if (entry->has_table) {
        add(out, "      in place of the guest's table at gpa 0x%" PRIx64 ", whose rights are", entry->table.raw);
        add_rights(out, entry->rights);
    } else if (entry->role_count > 0 && strcmp(entry->role[0], "glue") == 0) {
        add(out, "      above the guest's tables");
    } else {
        add(out, "      in place of no table: pages from gpa 0x%" PRIx64 " on, whose rights are",
            entry->table.raw);
        add_rights(out, entry->rights);
    }
    add(out, "; role:");
    add_words(out, entry->role, entry->role_count, " plain");
    add(out, "%s", entry->open ? "; open: the guest may write to it, unseen until it flushes" : "");
    add(out, "%s", entry->unsync && !entry->open ? "; unsync: it may differ from the guest's" : "");
    end_line(out);
}

static const char *shadow_answer_text(enum mv_shadow_answer answer)
{
    switch (answer) {
    case MV_SHADOW_FIX: return "the hypervisor makes the entry from the guest's, and the access is tried again";
    case MV_SHADOW_OPEN:
        return "a write to a table of the guest's: it may be written from now on, and the access is tried again";
    case MV_SHADOW_STORE: return "the hypervisor makes the write, and takes along what it changes";
    case MV_SHADOW_WITHOUT_WP:
        return "the hypervisor makes the write: no entry of its own can stand for CR0.WP=0 under SMAP or keys";
    case MV_SHADOW_REFLECT: return "the guest's own fault, which the hypervisor hands on";
    case MV_SHADOW_NO_SLOT: return "no slot has it: MMIO";
    case MV_SHADOW_READONLY_SLOT: return "the slot is read-only: the hypervisor makes the access itself";
    case MV_SHADOW_NO_EXIT: break;
    }
    return "";
}

static void print_shadow_end(struct out *out, const struct mv_chain *chain)
{
    const struct mv_shadow *shadow = &chain->shadow;
    if (shadow->page_size_bytes > 0) {
        add(out, "    hva 0x%" PRIx64 ", page of ", shadow->hva.raw);
        add_size(out, shadow->page_size_bytes);
        add(out, "; rights:");
        add_rights(out, shadow->rights);
        add(out, "%s%s", shadow->is_table ? "; a table of the guest's, " : "",
            !shadow->is_table      ? ""
            : shadow->is_protected ? "write-protected"
                                   : "open");
        end_line(out);
    }
    if (shadow->exit) {
        add(out, "    #PF of the shadow tables, error code 0x%" PRIx64 ": %s; %s", shadow->code,
            nested_end_text(shadow->end), shadow_answer_text(shadow->answer));
        end_line(out);
    } else if (shadow->end == MV_NESTED_SWITCHED) {
        add(out, "    the guest's own tables from level %u on, through EPT: the first by its host address",
            shadow->guest_level);
        end_line(out);
    } else if (shadow->end == MV_NESTED_MAPPED) {
        bool is_stale = chain->page.hva.raw != shadow->hva.raw || (chain->is_judged && chain->verdict.vector != 0);
        add(out, "    the hardware lets it through%s",
            is_stale ? ", by what the guest's tables said before: it has not flushed since" : "");
        end_line(out);
    }
}

static void print_shadow(struct out *out, const struct mv_chain *chain)
{
    if (chain->shadow.end == MV_NESTED_NONE) {
        return;
    }
    add(out, "  shadow tables:%s",
        chain->shadow.entry_count == 0 && chain->shadow.end != MV_NESTED_SWITCHED ? " not even a root" : "");
    end_line(out);
    for (size_t i = 0; i < chain->shadow.entry_count; i++) {
        print_shadow_entry(out, &chain->shadow, i);
    }
    print_shadow_end(out, chain);
}

static void print_verdict(struct out *out, const struct mv_chain *chain)
{
    const struct mv_verdict *v = &chain->verdict;
    add(out, "  %s: %s", v->rule == MV_RULE_NONE ? "verdict" : mv_rule_name(v->rule), v->text);
    end_line(out);
    if (v->vector == 14) {
        add(out, "  the guest takes #PF, error code 0x%x, CR2 0x%" PRIx64, v->error_code, chain->gva.raw);
        end_line(out);
    } else if (v->vector != 0) {
        add(out, "  the guest takes #GP, or #SS if it came by the stack segment");
        end_line(out);
    }
}

void mv_chain_print(const struct mv_chain *chain, mv_print_fn *print, void *opaque)
{
    static const char *const kinds[] = {"a read", "a write", "a fetch"};
    struct out out = {.print = print, .opaque = opaque};
    add(&out, "gva 0x%" PRIx64, chain->gva.raw);
    if (chain->is_judged) {
        add(&out, ", %s %s", kinds[chain->asked.access],
            chain->is_user                        ? "by a user"
            : chain->asked.who == MV_WHO_IMPLICIT ? "by the processor itself"
                                                  : "by a supervisor");
    }
    end_line(&out);
    print_registers(&out, chain);
    for (size_t i = 0; i < chain->entry_count; i++) {
        print_entry(&out, chain, i);
    }
    print_page(&out, chain);
    print_shadow(&out, chain);
    if (chain->is_judged) {
        print_verdict(&out, chain);
    }
}
