// SPDX-License-Identifier: MIT
#include <memvirt/explain.h>

#include <string.h>

#include "base/error.h"
#include "base/os.h"
#include "vm/walk.h"

const char *mv_chain_end_name(enum mv_chain_end end)
{
    switch (end) {
    case MV_CHAIN_COMPLETE: return "complete";
    case MV_CHAIN_NOT_PRESENT: return "not-present";
    case MV_CHAIN_RESERVED_BIT: return "reserved-bit";
    case MV_CHAIN_NON_CANONICAL: return "non-canonical";
    case MV_CHAIN_TABLE_NOT_RAM: return "table-not-ram";
    case MV_CHAIN_NOT_RAM: return "not-ram";
    }
    return "unknown";
}

static struct mv_place place_of(const struct mv_view *view, gpa_t gpa)
{
    struct mv_place place = {.gpa = gpa, .hpa_reason = "not-ram"};
    struct mv_section section;
    if (!mv_view_lookup(view, gpa, &section)) {
        return place;
    }
    uint64_t delta = gpa.raw - section.range.first;
    place.region = mv_region_name(section.region);
    place.type = mv_region_type(section.region);
    place.region_offset = section.offset + delta;
    if (section.hva.raw != 0) {
        place.hva = hva_add(section.hva, delta);
        enum os_hpa_result result = os_hpa_of(place.hva, &place.hpa);
        place.hpa_valid = result == OS_HPA_OK;
        place.hpa_reason = os_hpa_result_name(result);
    }
    return place;
}

static enum mv_chain_end chain_end(const struct x86_walk *walk, const struct mv_place *page)
{
    switch (walk->end) {
    case X86_WALK_MAPPED: return page->hva.raw != 0 ? MV_CHAIN_COMPLETE : MV_CHAIN_NOT_RAM;
    case X86_WALK_NOT_PRESENT: return MV_CHAIN_NOT_PRESENT;
    case X86_WALK_RESERVED_BIT: return MV_CHAIN_RESERVED_BIT;
    case X86_WALK_NON_CANONICAL: return MV_CHAIN_NON_CANONICAL;
    case X86_WALK_UNREADABLE: break;
    }
    return MV_CHAIN_TABLE_NOT_RAM;
}

int mv_explain(struct mv_vcpu *vcpu, mv_gva_t gva, struct mv_chain *ret, struct mv_error *err)
{
    struct mv_space *memory = vcpu->vm->options.memory;
    struct kvm_sregs sregs;
    struct mv_translation accel;
    int rc = mv_vcpu_get_sregs(vcpu, &sregs, err);
    if (rc == 0) {
        rc = mv_vcpu_translate(vcpu, gva, &accel, err);
    }
    if (rc < 0) {
        return rc;
    }
    struct paging paging = walk_paging(vcpu->vm, &sregs);
    struct x86_walk walk;
    x86_walk(&paging, gva, walk_read, memory, &walk);

    struct mv_chain chain = {
        .gva = gva,
        .mode = paging.mode,
        .cr3 = sregs.cr3,
        .entry_count = walk.count,
        .page_size_bytes = walk.page_size_bytes,
        .accel = accel,
        .view = mv_space_view(memory),
    };
    for (unsigned i = 0; i < walk.count; i++) {
        chain.entries[i] = (struct mv_chain_entry){
            .name = x86_entry_name(walk.steps[i].level),
            .level = walk.steps[i].level,
            .index = walk.steps[i].index,
            .at = place_of(chain.view, walk.steps[i].at),
            .value = walk.steps[i].entry,
        };
    }
    if (walk.end == X86_WALK_MAPPED) {
        chain.page = place_of(chain.view, walk.gpa);
    }
    chain.end = chain_end(&walk, &chain.page);
    *ret = chain;
    return 0;
}

void mv_chain_release(struct mv_chain *chain)
{
    mv_view_release(chain->view);
    chain->view = NULL;
}

/* --- pages that the guest touched -------------------------------------------------------------- */

/* More entries than 4 GiB mapped by 4 KiB pages, several times over. */
#define TOUCHED_ENTRIES_MAX (UINT64_C(1) << 23)

enum mapping {
    MAPPING_OTHER,
    MAPPING_IDENTITY,
};

/* First counts the leaves of one kind, then picks `wanted` of them, evenly spread. */
struct picker {
    enum mapping mapping;
    uint64_t seen;
    uint64_t total; /* when picking */
    size_t wanted;  /* when picking; 0 when counting */
    size_t picked;
    mv_gva_t *ret;
};

static bool consider(void *opaque, const struct x86_leaf *leaf)
{
    struct picker *p = opaque;
    enum mapping mapping = leaf->gva.raw == leaf->gpa.raw ? MAPPING_IDENTITY : MAPPING_OTHER;
    if (!(leaf->entry & X86_ENTRY_A) || mapping != p->mapping) {
        return true;
    }
    /* The k-th pick of n is number k * (total - 1) / (n - 1): the first, the last, and what is between. */
    uint64_t next = p->wanted > 1 ? p->picked * (p->total - 1) / (p->wanted - 1) : 0;
    if (p->picked < p->wanted && p->seen == next) {
        p->ret[p->picked++] = leaf->gva;
    }
    p->seen++;
    return p->wanted == 0 || p->picked < p->wanted;
}

static size_t pick(struct mv_space *memory, const struct paging *paging, enum mapping mapping, mv_gva_t *ret,
                   size_t capacity)
{
    struct picker p = {.mapping = mapping};
    x86_for_each_leaf(paging, TOUCHED_ENTRIES_MAX, walk_read, memory, consider, &p);
    size_t wanted = p.seen < capacity ? (size_t)p.seen : capacity;
    if (wanted == 0) {
        return 0;
    }
    p = (struct picker){.mapping = mapping, .total = p.seen, .wanted = wanted, .ret = ret};
    x86_for_each_leaf(paging, TOUCHED_ENTRIES_MAX, walk_read, memory, consider, &p);
    return p.picked;
}

size_t mv_touched_pages(struct mv_vcpu *vcpu, mv_gva_t *ret, size_t capacity)
{
    struct mv_space *memory = vcpu->vm->options.memory;
    struct kvm_sregs sregs;
    if (mv_vcpu_get_sregs(vcpu, &sregs, NULL) < 0) {
        return 0;
    }
    struct paging paging = walk_paging(vcpu->vm, &sregs);
    size_t count = pick(memory, &paging, MAPPING_OTHER, ret, capacity);
    if (count < capacity) {
        count += pick(memory, &paging, MAPPING_IDENTITY, ret + count, capacity - count);
    }
    return count;
}
