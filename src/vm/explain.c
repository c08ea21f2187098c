// SPDX-License-Identifier: MIT
#include <memvirt/explain.h>

#include "accel/cpu.h"
#include "base/os.h"
#include "vm/verdict.h"
#include "vm/vm.h"
#include "vm/walk.h"

#define RFLAGS_AC (UINT64_C(1) << 18)

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

/* What a question is answered from. */
struct question {
    struct mv_vcpu *vcpu;
    struct mv_space *memory;
    struct paging paging;
    struct pt_access access;
    bool has_pdptrs; /* the PDPTE registers are known, and what a walk of PAE's begins with */
    uint64_t pdptrs[4];
    bool is_begun; /* an entry was read */
    struct x86_walk walk;
};

/* Page tables are where a slot is: so KVM reads them, and `soft`. */
static bool read_entry(void *opaque, gpa_t at, unsigned size_bytes, uint64_t *ret)
{
    struct question *q = opaque;
    struct mv_slot slot;
    bool is_first = !q->is_begun;
    q->is_begun = true;
    if (is_first && q->has_pdptrs) {
        *ret = q->pdptrs[(at.raw >> 3) & 3];
        return true;
    }
    return slots_find(q->vcpu->vm->slots, at, &slot) && walk_read(q->memory, at, size_bytes, ret);
}

static void look_nested(const struct question *q, enum mv_nested_use use, struct mv_place *place)
{
    const struct accel_cpu_ops *cpu = q->vcpu->vm->ops->cpu;
    if (cpu) {
        cpu->look_nested(q->vcpu->accel, place->gpa, use, &place->nested);
    }
}

static struct mv_place place_of(const struct question *q, const struct mv_view *view, gpa_t gpa,
                                enum mv_nested_use use)
{
    struct mv_place place = {.gpa = gpa, .hpa_reason = "not-ram"};
    struct mv_section section;
    place.has_slot = slots_find(q->vcpu->vm->slots, gpa, &place.slot);
    look_nested(q, use, &place);
    if (!mv_view_lookup(view, gpa, &section)) {
        return place;
    }
    uint64_t delta = gpa.raw - section.range.first;
    place.region = mv_region_name(section.region);
    place.type = mv_region_type(section.region);
    place.region_offset = section.offset + delta;
    place.readonly = section.readonly;
    place.way_count = mv_space_way(q->memory, gpa, place.way, MV_PLACE_WAY_MAX);
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

static int read_registers(struct mv_vcpu *vcpu, struct kvm_sregs *ret_sregs, struct mv_chain_registers *ret,
                          struct mv_error *err)
{
    struct kvm_regs regs;
    int rc = mv_vcpu_get_sregs(vcpu, ret_sregs, err);
    if (rc == 0) {
        rc = mv_vcpu_get_regs(vcpu, &regs, err);
    }
    if (rc < 0) {
        return rc;
    }
    *ret = (struct mv_chain_registers){.cr0 = ret_sregs->cr0,
                                       .cr3 = ret_sregs->cr3,
                                       .cr4 = ret_sregs->cr4,
                                       .efer = ret_sregs->efer,
                                       .rflags = regs.rflags,
                                       .cpl = ret_sregs->ss.dpl};
    const struct accel_cpu_ops *cpu = vcpu->vm->ops->cpu;
    if (cpu) {
        ret->has_keys = true;
        cpu->keys(vcpu->accel, &ret->pkru, &ret->pkrs);
    }
    return 0;
}

static enum pt_who who_of(const struct mv_asked *asked, const struct mv_chain_registers *registers)
{
    if (asked->who == MV_WHO_USER || (asked->who == MV_WHO_CURRENT && registers->cpl == 3)) {
        return PT_USER;
    }
    bool ac = registers->rflags & RFLAGS_AC;
    return asked->who != MV_WHO_IMPLICIT && ac ? PT_SUPERVISOR_AC : PT_SUPERVISOR;
}

/* Whether the walk would set A or D in this entry. */
static enum mv_nested_use use_of_entry(const struct question *q, unsigned i)
{
    const struct x86_walk_step *step = &q->walk.steps[i];
    bool is_allowed = q->walk.end == X86_WALK_MAPPED && !q->walk.is_denied && !q->walk.is_key_denied;
    bool is_leaf = i + 1 == q->walk.count;
    uint64_t bits = X86_ENTRY_A | (is_leaf && q->access.kind == MV_ACCESS_WRITE ? X86_ENTRY_D : 0);
    bool is_plain = q->paging.mode == MV_PAGING_PAE && step->level == 3;
    return is_allowed && !is_plain && (bits & ~step->entry) ? MV_NESTED_TABLE_UPDATE : MV_NESTED_TABLE;
}

/* PAE's PDPTEs are registers, so nobody goes to where they were loaded from; but with NPT a walk does (AMD APM,
 * "Nested Paging and Legacy PAE Mode"). */
static bool is_register(const struct question *q, unsigned i)
{
    return q->has_pdptrs && q->walk.steps[i].level == 3;
}

static enum mv_nested_use use_of_page(enum mv_access kind)
{
    return kind == MV_ACCESS_FETCH ? MV_NESTED_FETCH : kind == MV_ACCESS_WRITE ? MV_NESTED_WRITE : MV_NESTED_READ;
}

static void fill_chain(const struct question *q, struct mv_chain *chain)
{
    const struct x86_walk *walk = &q->walk;
    chain->view = mv_space_view(q->memory);
    chain->entry_count = walk->count;
    chain->page_size_bytes = walk->page_size_bytes;
    for (unsigned i = 0; i < walk->count; i++) {
        chain->entries[i] = (struct mv_chain_entry){
            .name = x86_entry_name(walk->steps[i].level),
            .level = walk->steps[i].level,
            .index = walk->steps[i].index,
            .at = place_of(q, chain->view, walk->steps[i].at, use_of_entry(q, i)),
            .value = walk->steps[i].entry,
            .rights = walk->steps[i].rights,
        };
        if (is_register(q, i)) {
            chain->entries[i].at.nested = (struct mv_nested){.end = MV_NESTED_NONE};
        }
    }
    if (walk->end == X86_WALK_MAPPED) {
        chain->page = place_of(q, chain->view, walk->gpa, use_of_page(q->access.kind));
        chain->rights = walk->rights;
        chain->key = walk->key;
    }
    chain->end = chain_end(walk, &chain->page);
}

/* Hybrid: the guest's tables from that level on are the hardware's, and the first of them is known by its host
 * address; what is above, or all, has the shadow in its place. */
static void keep_what_is_nested(struct mv_chain *chain)
{
    unsigned level = chain->shadow.guest_level;
    if (chain->shadow.end == MV_NESTED_NONE) {
        return;
    }
    for (size_t i = 0; i < chain->entry_count; i++) {
        if (chain->entries[i].level >= level) {
            chain->entries[i].at.nested = (struct mv_nested){.end = MV_NESTED_NONE};
        }
    }
    if (level == 0) {
        chain->page.nested = (struct mv_nested){.end = MV_NESTED_NONE};
    }
}

static int explain(struct mv_vcpu *vcpu, mv_gva_t gva, const struct mv_asked *asked, struct mv_chain *ret,
                   struct mv_error *err)
{
    struct kvm_sregs sregs;
    struct question q = {.vcpu = vcpu, .memory = vcpu->vm->options.memory};
    struct mv_chain chain = {.gva = gva};
    int rc = read_registers(vcpu, &sregs, &chain.registers, err);
    if (rc < 0) {
        return rc;
    }
    q.paging = walk_paging(vcpu->vm, &sregs);
    const struct accel_cpu_ops *cpu = vcpu->vm->ops->cpu;
    q.has_pdptrs = cpu && q.paging.mode == MV_PAGING_PAE && cpu->pdptrs(vcpu->accel, q.pdptrs);
    q.paging.pkru = chain.registers.pkru;
    q.paging.pkrs = chain.registers.pkrs;
    q.access = (struct pt_access){MV_ACCESS_READ, PT_SUPERVISOR_AC};
    if (asked) {
        q.access = (struct pt_access){asked->access, who_of(asked, &chain.registers)};
    }
    x86_walk_for(&q.paging, gva, &q.access, read_entry, &q, &q.walk);
    chain.asks_accel = !asked || asked->asks_accel;
    if (chain.asks_accel) { /* after the walk: KVM sets A */
        rc = mv_vcpu_translate(vcpu, gva, &chain.accel, err);
        if (rc < 0) {
            return rc;
        }
    }
    chain.mode = q.paging.mode;
    chain.cr3 = sregs.cr3;
    fill_chain(&q, &chain);
    if (cpu) {
        cpu->look_shadow(vcpu->accel, gva, &q.access, &chain.shadow);
        keep_what_is_nested(&chain);
    }
    if (asked) {
        chain.is_judged = true;
        chain.asked = *asked;
        chain.is_user = q.access.who == PT_USER;
        verdict_fill(&chain, &q.walk, &q.paging, q.access);
    }
    *ret = chain;
    return 0;
}

int mv_explain(struct mv_vcpu *vcpu, mv_gva_t gva, struct mv_chain *ret, struct mv_error *err)
{
    return explain(vcpu, gva, NULL, ret, err);
}

int mv_explain_access(struct mv_vcpu *vcpu, mv_gva_t gva, const struct mv_asked *asked, struct mv_chain *ret,
                      struct mv_error *err)
{
    return explain(vcpu, gva, asked, ret, err);
}

static void release_place(struct mv_place *place)
{
    for (size_t i = 0; i < place->way_count && i < MV_PLACE_WAY_MAX; i++) {
        mv_region_put(place->way[i].region);
    }
    place->way_count = 0;
}

void mv_chain_release(struct mv_chain *chain)
{
    for (size_t i = 0; i < chain->entry_count; i++) {
        release_place(&chain->entries[i].at);
    }
    release_place(&chain->page);
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
