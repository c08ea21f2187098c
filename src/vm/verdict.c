// SPDX-License-Identifier: MIT
#include "vm/verdict.h"

#include <stdio.h>

#define CR4_SMAP (UINT64_C(1) << 21)

const char *mv_rule_name(enum mv_rule rule)
{
    static const char *const names[] = {
        [MV_RULE_NONE] = "none",
        [MV_RULE_NON_CANONICAL] = "non-canonical",
        [MV_RULE_NOT_PRESENT] = "not-present",
        [MV_RULE_RESERVED_BIT] = "reserved-bit",
        [MV_RULE_NO_TABLE] = "no-table",
        [MV_RULE_USER] = "user",
        [MV_RULE_WRITE] = "write-protected",
        [MV_RULE_NOT_EXECUTABLE] = "not-executable",
        [MV_RULE_SMEP] = "smep",
        [MV_RULE_SMAP] = "smap",
        [MV_RULE_KEY] = "protection-key",
        [MV_RULE_UNASSIGNED] = "unassigned",
        [MV_RULE_MMIO] = "mmio",
        [MV_RULE_READONLY_SLOT] = "read-only-slot",
        [MV_RULE_NO_SLOT] = "no-slot",
    };
    return (size_t)rule < sizeof names / sizeof names[0] ? names[rule] : "unknown";
}

static const char *who_text(const struct mv_chain *chain)
{
    return chain->is_user ? "a user's" : chain->asked.who == MV_WHO_IMPLICIT ? "an implicit" : "a supervisor's";
}

static const char *kind_text(enum mv_access kind)
{
    switch (kind) {
    case MV_ACCESS_READ: return "read";
    case MV_ACCESS_WRITE: return "write";
    case MV_ACCESS_FETCH: break;
    }
    return "fetch";
}

/* "PTE[3]" */
static const char *entry_text(const struct mv_chain_entry *entry, char ret[32])
{
    snprintf(ret, 32, "%s[%u]", entry->name, entry->index);
    return ret;
}

/* --- rights ("Determination of Access Rights") ----------------------------------------------------------------
 */

/* The first entry from the root that takes the right away. */
static const struct mv_chain_entry *who_takes(const struct mv_chain *chain, unsigned right)
{
    size_t i = 0;
    while (i + 1 < chain->entry_count && (chain->entries[i].rights & right)) {
        i++;
    }
    return &chain->entries[i];
}

/* In the order in which paging_compile() asks, so one of them it is. */
static void judge_rights(struct mv_chain *chain, struct pt_access access)
{
    struct mv_verdict *v = &chain->verdict;
    const struct mv_chain_entry *leaf = &chain->entries[chain->entry_count - 1], *entry = leaf;
    bool is_user_page = chain->rights & MV_RIGHT_U;
    char name[32];
    if (chain->is_user && !is_user_page) {
        v->rule = MV_RULE_USER;
        entry = who_takes(chain, MV_RIGHT_U);
        snprintf(v->text, sizeof v->text, "a user's %s of a supervisor's page: %s has U/S=0",
                 kind_text(access.kind), entry_text(entry, name));
    } else if (access.kind == MV_ACCESS_FETCH && !(chain->rights & MV_RIGHT_X)) {
        v->rule = MV_RULE_NOT_EXECUTABLE;
        entry = who_takes(chain, MV_RIGHT_X);
        snprintf(v->text, sizeof v->text, "a fetch from a page that is not executable: %s has NX=1, EFER.NXE=1",
                 entry_text(entry, name));
    } else if (access.kind == MV_ACCESS_FETCH) {
        v->rule = MV_RULE_SMEP;
        snprintf(v->text, sizeof v->text,
                 "a supervisor's fetch from a user's page: U/S=1 in every entry, CR4.SMEP=1");
    } else if (access.who == PT_SUPERVISOR && is_user_page && (chain->registers.cr4 & CR4_SMAP)) {
        v->rule = MV_RULE_SMAP;
        snprintf(v->text, sizeof v->text, "%s %s of a user's page: U/S=1 in every entry, CR4.SMAP=1, %s",
                 who_text(chain), kind_text(access.kind),
                 chain->asked.who == MV_WHO_IMPLICIT ? "and EFLAGS.AC does not count" : "EFLAGS.AC=0");
    } else {
        v->rule = MV_RULE_WRITE;
        entry = who_takes(chain, MV_RIGHT_W);
        snprintf(v->text, sizeof v->text, "%s write to a read-only page: %s has R/W=0%s", who_text(chain),
                 entry_text(entry, name), chain->is_user ? "" : ", CR0.WP=1");
    }
    v->level = entry->level;
}

static void judge_key(struct mv_chain *chain, const struct paging *paging, struct pt_access access,
                      bool also_rights)
{
    struct mv_verdict *v = &chain->verdict;
    bool is_user_page = chain->rights & MV_RIGHT_U;
    const char *name = is_user_page ? "PKRU" : "PKRS";
    uint32_t value = is_user_page ? paging->pkru : paging->pkrs;
    bool is_ad = value >> (2 * chain->key) & 1;
    v->rule = MV_RULE_KEY;
    v->level = chain->entries[chain->entry_count - 1].level;
    snprintf(v->text, sizeof v->text, "%s %s of a page with protection key %u: %s is 0x%x, bit %u (%s%u)=1%s%s",
             who_text(chain), kind_text(access.kind), chain->key, name, value, 2 * chain->key + !is_ad,
             is_ad ? "AD" : "WD", chain->key, is_ad || chain->is_user ? "" : ", CR0.WP=1",
             also_rights ? "; the page's rights refuse it, too" : "");
}

/* --- the walk ---------------------------------------------------------------------------------------------------
 */

static void judge_reserved(struct mv_chain *chain, const struct x86_walk *walk, const struct paging *paging)
{
    struct mv_verdict *v = &chain->verdict;
    const struct mv_chain_entry *entry = &chain->entries[chain->entry_count - 1];
    char name[32], bits[96];
    bool is_nx = (walk->reserved & X86_ENTRY_NX) && paging->entry_bytes == 8 && paging->mode != MV_PAGING_32BIT;
    v->rule = MV_RULE_RESERVED_BIT;
    v->level = entry->level;
    v->reserved = walk->reserved;
    snprintf(v->text, sizeof v->text, "%s has reserved bits set: %s%s", entry_text(entry, name),
             mv_bits_text(walk->reserved, bits, sizeof bits),
             is_nx && !(chain->registers.efer & X86_EFER_NXE) ? "; bit 63 is NX, and EFER.NXE=0" : "");
}

static void judge_walk(struct mv_chain *chain, const struct x86_walk *walk, const struct paging *paging)
{
    struct mv_verdict *v = &chain->verdict;
    const struct mv_chain_entry *last = &chain->entries[chain->entry_count > 0 ? chain->entry_count - 1 : 0];
    char name[32];
    switch (walk->end) {
    case X86_WALK_NON_CANONICAL:
        v->rule = MV_RULE_NON_CANONICAL;
        if (paging->linear_bits == 32) {
            snprintf(v->text, sizeof v->text, "the address has more than 32 bits");
        } else {
            snprintf(v->text, sizeof v->text, "the address is not canonical: bits 63 to %u are not all the same",
                     paging->linear_bits - 1);
        }
        break;
    case X86_WALK_NOT_PRESENT:
        v->rule = MV_RULE_NOT_PRESENT;
        v->level = last->level;
        snprintf(v->text, sizeof v->text, "%s is not present: P=0", entry_text(last, name));
        break;
    case X86_WALK_RESERVED_BIT: judge_reserved(chain, walk, paging); break;
    case X86_WALK_UNREADABLE:
        v->rule = MV_RULE_NO_TABLE;
        v->level = chain->entry_count > 0 ? last->level : 0;
        snprintf(v->text, sizeof v->text, "%s leads to a table at gpa 0x%" PRIx64 ", which no slot has",
                 chain->entry_count > 0 ? entry_text(last, name) : "CR3", walk->missing_at.raw);
        break;
    case X86_WALK_MAPPED: break;
    }
}

/* --- the guest may: what is there -------------------------------------------------------------------------------
 */

static void judge_place(struct mv_chain *chain, struct pt_access access)
{
    struct mv_verdict *v = &chain->verdict;
    const struct mv_place *page = &chain->page;
    uint64_t gpa = page->gpa.raw;
    bool is_refused = page->readonly || (page->has_slot && (page->slot.flags & KVM_MEM_READONLY));
    if (!page->region) {
        v->rule = MV_RULE_UNASSIGNED;
        snprintf(v->text, sizeof v->text, "no slot has gpa 0x%" PRIx64 ", and no region answers there", gpa);
    } else if (page->hva.raw == 0) {
        v->rule = MV_RULE_MMIO;
        snprintf(v->text, sizeof v->text,
                 "no slot has gpa 0x%" PRIx64 ": the access goes to %s, offset 0x%" PRIx64, gpa, page->region,
                 page->region_offset);
    } else if (access.kind == MV_ACCESS_WRITE && is_refused) {
        v->rule = MV_RULE_READONLY_SLOT;
        if (page->has_slot) {
            snprintf(v->text, sizeof v->text, "a write to slot %u, which is read-only: %s at gpa 0x%" PRIx64,
                     page->slot.id, page->region, gpa);
        } else {
            snprintf(v->text, sizeof v->text,
                     "a write to %s at gpa 0x%" PRIx64 ", which is read-only and in no slot", page->region, gpa);
        }
    } else if (!page->has_slot) {
        v->rule = MV_RULE_NO_SLOT;
        snprintf(v->text, sizeof v->text, "no slot has gpa 0x%" PRIx64 ": the access to %s is made by hand", gpa,
                 page->region);
    } else {
        snprintf(v->text, sizeof v->text, "%s %s is allowed", who_text(chain), kind_text(access.kind));
    }
}

void verdict_fill(struct mv_chain *chain, const struct x86_walk *walk, const struct paging *paging,
                  struct pt_access access)
{
    struct mv_verdict *v = &chain->verdict;
    *v = (struct mv_verdict){.rule = MV_RULE_NONE};
    if (walk->end != X86_WALK_MAPPED) {
        judge_walk(chain, walk, paging);
    } else if (walk->is_key_denied) {
        judge_key(chain, paging, access, walk->is_denied);
    } else if (walk->is_denied) {
        judge_rights(chain, access);
    } else {
        judge_place(chain, access);
        return;
    }
    bool is_gp = walk->end == X86_WALK_NON_CANONICAL;
    v->vector = is_gp ? 13 : 14;
    v->error_code = is_gp ? 0 : walk->error_code;
}
