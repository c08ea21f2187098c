// SPDX-License-Identifier: MIT
#include "json_chain.h"

#include "report.h"

json_t *json_words(const char *const *words, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        array = json_with_item(array, json_text(words[i]));
    }
    return array;
}

json_t *json_slot(const struct mv_slot *slot)
{
    const char *flags[REPORT_SLOT_FLAGS_MAX];
    const size_t count = report_slot_flags(slot->flags, flags);
    json_t *object = json_object();
    object = json_with(object, "id", json_number(slot->id));
    object = json_with(object, "gpa", json_number(slot->gpa.raw));
    object = json_with(object, "size", json_number(slot->size_bytes));
    object = json_with(object, "flags", json_number(slot->flags));
    object = json_with(object, "flag_names", json_words(flags, count));
    return json_with(object, "hva", json_number(slot->hva.raw));
}

static json_t *letters(unsigned set, const char *const names[3])
{
    const char *words[3];
    size_t count = 0;
    for (unsigned i = 0; i < 3; i++) {
        if (set >> i & 1) {
            words[count++] = names[i];
        }
    }
    return json_words(words, count);
}

static json_t *guest_rights(unsigned rights)
{
    static const char *const names[] = {"W", "U", "X"};
    return letters(rights, names);
}

static json_t *nested_rights(unsigned rights)
{
    static const char *const names[] = {"R", "W", "X"};
    return letters(rights, names);
}

/* --- the second dimension ----------------------------------------------------------------------- */

static json_t *nested_entries(const struct mv_nested *nested)
{
    json_t *array = json_array();
    for (size_t i = 0; i < nested->entry_count; i++) {
        const struct mv_nested_entry *entry = &nested->entries[i];
        const char *flags[MV_ENTRY_FLAGS_MAX];
        json_t *object = json_with(json_object(), "name", json_text(entry->name));
        object = json_with(object, "level", json_number(entry->level));
        object = json_with(object, "index", json_number(entry->index));
        object = json_with(object, "value", json_hex(entry->value));
        object = json_with(object, "flags", json_words(flags, mv_nested_flags(nested, i, flags)));
        array = json_with_item(array, json_with(object, "hva", json_hex(entry->at.raw)));
    }
    return array;
}

static const char *const nested_ends[] = {"none",      "mapped",   "not-present", "denied",
                                          "bad-entry", "log-full", "switched"};

static json_t *nested_value(const struct mv_nested *nested)
{
    static const char *const answers[] = {"none", "repair", "no-slot", "read-only-slot", "store"};
    if (nested->end == MV_NESTED_NONE) {
        return json_null();
    }
    json_t *object = json_with(json_object(), "format", json_text(nested->format));
    object = json_with(object, "entries", nested_entries(nested));
    object = json_with(object, "need", nested_rights(nested->need));
    object = json_with(object, "rights", nested_rights(nested->rights));
    object = json_with(object, "end", json_text(nested_ends[nested->end]));
    object =
        json_with(object, "size", nested->page_size_bytes ? json_number(nested->page_size_bytes) : json_null());
    object = json_with(object, "exit", json_text(nested->exit));
    object = json_with(object, "code", nested->exit ? json_hex(nested->code) : json_null());
    return json_with(object, "answer", json_text(answers[nested->answer]));
}

/* --- shadow tables ------------------------------------------------------------------------------ */

static json_t *shadow_entries(const struct mv_shadow *shadow)
{
    json_t *array = json_array();
    for (size_t i = 0; i < shadow->entry_count; i++) {
        const struct mv_shadow_entry *entry = &shadow->entries[i];
        const char *flags[MV_ENTRY_FLAGS_MAX];
        json_t *object = json_with(json_object(), "name", json_text(entry->name));
        object = json_with(object, "level", json_number(entry->level));
        object = json_with(object, "index", json_number(entry->index));
        object = json_with(object, "value", json_hex(entry->value));
        object = json_with(object, "flags", json_words(flags, mv_shadow_flags(shadow, i, flags)));
        object = json_with(object, "hva", json_hex(entry->at.raw));
        object = json_with(object, "table", entry->has_table ? json_hex(entry->table.raw) : json_null());
        object = json_with(object, "rights", guest_rights(entry->rights));
        object = json_with(object, "role", json_words(entry->role, entry->role_count));
        object = json_with(object, "unsync", json_boolean(entry->unsync));
        array = json_with_item(array, json_with(object, "open", json_boolean(entry->open)));
    }
    return array;
}

static json_t *shadow_value(const struct mv_shadow *shadow)
{
    if (shadow->end == MV_NESTED_NONE) {
        return json_null();
    }
    bool has_page = shadow->page_size_bytes > 0;
    json_t *object = json_with(json_object(), "entries", shadow_entries(shadow));
    object = json_with(object, "end", json_text(nested_ends[shadow->end]));
    object =
        json_with(object, "guest_level", shadow->guest_level ? json_number(shadow->guest_level) : json_null());
    object = json_with(object, "rights", guest_rights(shadow->rights));
    object = json_with(object, "size", has_page ? json_number(shadow->page_size_bytes) : json_null());
    object = json_with(object, "hva", has_page ? json_hex(shadow->hva.raw) : json_null());
    object = json_with(object, "is_table", json_boolean(shadow->is_table));
    object = json_with(object, "write_protected", json_boolean(shadow->is_protected));
    object = json_with(object, "exit", json_text(shadow->exit));
    object = json_with(object, "code", shadow->exit ? json_hex(shadow->code) : json_null());
    return json_with(object, "answer", json_text(mv_shadow_answer_name(shadow->answer)));
}

/* --- places ------------------------------------------------------------------------------------- */

static json_t *way_value(const struct mv_place *place)
{
    json_t *array = json_array();
    for (size_t i = 0; i < place->way_count && i < MV_PLACE_WAY_MAX; i++) {
        const struct mv_way_step *step = &place->way[i];
        const enum mv_region_kind kind = mv_region_kind(step->region);
        json_t *object = json_with(json_object(), "region", json_text(mv_region_name(step->region)));
        object = json_with(object, "kind",
                           json_text(kind == MV_REGION_ALIAS       ? "alias"
                                     : kind == MV_REGION_CONTAINER ? "container"
                                                                   : mv_region_type(step->region)));
        array = json_with_item(array, json_with(object, "offset", json_hex(step->offset)));
    }
    return array;
}

static json_t *json_with_place(json_t *object, const struct mv_place *place)
{
    object = json_with(object, "gpa", json_hex(place->gpa.raw));
    object = json_with(object, "region", json_text(place->region));
    object = json_with(object, "type", json_text(place->type));
    object = json_with(object, "offset", place->region ? json_number(place->region_offset) : json_null());
    object = json_with(object, "hva", place->hva.raw != 0 ? json_hex(place->hva.raw) : json_null());
    object = json_with(object, "hpa", place->hpa_valid ? json_hex(place->hpa.raw) : json_null());
    object = json_with(object, "hpa_reason", place->hpa_valid ? json_null() : json_text(place->hpa_reason));
    object = json_with(object, "readonly", json_boolean(place->readonly));
    object = json_with(object, "slot", place->has_slot ? json_number(place->slot.id) : json_null());
    object = json_with(object, "way", way_value(place));
    return json_with(object, "nested", nested_value(&place->nested));
}

/* --- the chain ---------------------------------------------------------------------------------- */

static json_t *entries_value(const struct mv_chain *chain)
{
    json_t *array = json_array();
    for (size_t i = 0; i < chain->entry_count; i++) {
        const struct mv_chain_entry *entry = &chain->entries[i];
        const char *flags[MV_ENTRY_FLAGS_MAX];
        json_t *object = json_with(json_object(), "name", json_text(entry->name));
        object = json_with(object, "level", json_number(entry->level));
        object = json_with(object, "index", json_number(entry->index));
        object = json_with(object, "value", json_hex(entry->value));
        object = json_with(object, "flags", json_words(flags, mv_entry_flags(chain, i, flags)));
        object = json_with(object, "rights", guest_rights(entry->rights));
        array = json_with_item(array, json_with_place(object, &entry->at));
    }
    return array;
}

/* null unless an access was judged. */
static json_t *verdict_value(const struct mv_chain *chain)
{
    static const char *const kinds[] = {"read", "write", "fetch"};
    const struct mv_verdict *v = &chain->verdict;
    if (!chain->is_judged) {
        return json_null();
    }
    json_t *object = json_with(json_object(), "access", json_text(kinds[chain->asked.access]));
    object = json_with(object, "who",
                       json_text(chain->is_user                        ? "user"
                                 : chain->asked.who == MV_WHO_IMPLICIT ? "implicit"
                                                                       : "supervisor"));
    object = json_with(object, "rule", json_text(mv_rule_name(v->rule)));
    object = json_with(object, "text", json_text(v->text));
    object = json_with(object, "level", v->level ? json_number(v->level) : json_null());
    object = json_with(object, "reserved", v->reserved ? json_hex(v->reserved) : json_null());
    object = json_with(object, "vector", v->vector ? json_number(v->vector) : json_null());
    return json_with(object, "error_code", v->vector == 14 ? json_number(v->error_code) : json_null());
}

json_t *json_with_chain(json_t *object, const struct mv_chain *chain)
{
    object = json_with(object, "paging", json_text(mv_paging_mode_name(chain->mode)));
    object = json_with(object, "cr3", json_hex(chain->cr3));
    object = json_with(object, "entries", entries_value(chain));
    object = json_with(object, "end", json_text(mv_chain_end_name(chain->end)));
    object = json_with(object, "shadow", shadow_value(&chain->shadow));
    return json_with(object, "verdict", verdict_value(chain));
}

json_t *json_chain_page(const struct mv_chain *chain)
{
    if (chain->end != MV_CHAIN_COMPLETE && chain->end != MV_CHAIN_NOT_RAM) {
        return json_null();
    }
    json_t *object = json_object();
    object = json_with(object, "size", chain->page_size_bytes ? json_number(chain->page_size_bytes) : json_null());
    object = json_with_place(object, &chain->page);
    object = json_with(object, "rights", guest_rights(chain->rights));
    return json_with(object, "key", json_number(chain->key));
}
