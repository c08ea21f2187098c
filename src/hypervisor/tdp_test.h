// SPDX-License-Identifier: MIT
/*
 * For the tests of the second dimension: a VM, and a processor that is no more than a walk of its tables. The walk
 * is written from the manuals (Intel SDM, "EPT Translation Mechanism" and "EPT Misconfigurations"; AMD APM,
 * "Nested Paging") with numbers of its own, and shares nothing with paging/ or with the code under test. There is
 * no TLB: what a flush must do is seen in tests of accel/soft.
 */
#ifndef HYPERVISOR_TDP_TEST_H
#define HYPERVISOR_TDP_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/mman.h>

#include "hypervisor/dirty.h"
#include "hypervisor/notifier.h"
#include "hypervisor/tdp.h"

#define GIB_PAGES (UINT64_C(1) << 18)

/* What the tables say of a gfn. */
struct seen {
    bool is_present, is_refused; /* EPT misconfiguration, or a reserved bit */
    bool r, w, x, a, d;
    unsigned level;
    uint64_t entry, hva;
    uint64_t *word;
    uint64_t *path[6], path_entries[6]; /* of tables, by level */
};

/* Rights are those of all levels; A and D those of the last entry. */
static inline struct seen walk_ept(const void *root, unsigned levels, uint64_t gfn)
{
    struct seen s = {.r = true, .w = true, .x = true};
    uint64_t *table = (uint64_t *)(uintptr_t)root;
    for (unsigned level = levels; level >= 1; level--) {
        uint64_t *word = &table[gfn >> (9 * (level - 1)) & 511];
        uint64_t e = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        s.level = level, s.entry = e, s.word = word;
        if ((e & 7) == 0) {
            return s;
        }
        unsigned type = e >> 3 & 7;
        bool is_leaf = level == 1 || (e >> 7 & 1);
        if ((e & 3) == 2 || (is_leaf && (type == 2 || type == 3 || type == 7)) || (is_leaf && level > 3)) {
            s.is_refused = true;
            return s;
        }
        s.r = s.r && (e & 1), s.w = s.w && (e >> 1 & 1), s.x = s.x && (e >> 2 & 1);
        if (is_leaf) {
            uint64_t bytes = UINT64_C(4096) << (9 * (level - 1));
            s.hva = (e & 0x000ffffffffff000) + (gfn << 12 & (bytes - 1));
            s.a = e >> 8 & 1, s.d = e >> 9 & 1;
            s.is_present = true;
            return s;
        }
        s.path[level] = word, s.path_entries[level] = e;
        table = (uint64_t *)(uintptr_t)(e & 0x000ffffffffff000);
    }
    return s;
}

static inline struct seen walk_npt(const void *root, unsigned levels, uint64_t gfn)
{
    struct seen s = {.r = true, .w = true, .x = true};
    uint64_t *table = (uint64_t *)(uintptr_t)root;
    for (unsigned level = levels; level >= 1; level--) {
        uint64_t *word = &table[gfn >> (9 * (level - 1)) & 511];
        uint64_t e = __atomic_load_n(word, __ATOMIC_ACQUIRE);
        s.level = level, s.entry = e, s.word = word;
        if ((e & 1) == 0) {
            return s;
        }
        bool is_leaf = level == 1 || (e >> 7 & 1);
        if ((e >> 51 & 1) || (is_leaf && level > 3) || !(e >> 2 & 1)) {
            s.is_refused =
                true; /* every access is a user's: without U nothing works, and nothing of ours has none */
            return s;
        }
        s.w = s.w && (e >> 1 & 1), s.x = s.x && !(e >> 63);
        if (is_leaf) {
            uint64_t bytes = UINT64_C(4096) << (9 * (level - 1));
            s.hva = (e & 0x0007fffffffff000) + (gfn << 12 & (bytes - 1));
            s.a = e >> 5 & 1, s.d = e >> 6 & 1;
            s.is_present = true;
            return s;
        }
        s.path[level] = word, s.path_entries[level] = e;
        table = (uint64_t *)(uintptr_t)(e & 0x0007fffffffff000);
    }
    return s;
}

/* A machine of the tests. `ram` is where slots come from: enough address space for large pages, never touched
 * unless a test does. */
struct rig {
    struct hv_vm *vm;
    struct hv_vcpu *vcpu;
    char *ram;
    uint64_t ram_bytes;
    bool is_npt;
};

static inline const struct hv_options *rig_defaults(void)
{
    static const struct hv_options options = {
        .mmu = HV_MMU_EPT, .tdp_levels = 4, .level_max = 3, .address_bits = 46, .access_dirty = true};
    return &options;
}

/* Aligned to 1 GiB; nothing is reserved. */
static inline char *map_ram(uint64_t bytes)
{
    uint64_t gib = UINT64_C(1) << 30;
    char *at = mmap(NULL, bytes + gib, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(at != MAP_FAILED);
    uint64_t before = -(uint64_t)(uintptr_t)at & (gib - 1);
    if (before) {
        munmap(at, before);
    }
    munmap(at + before + bytes, gib - before);
    return at + before;
}

static inline struct rig rig_open(const struct hv_options *options, uint64_t ram_bytes)
{
    struct rig rig = {.ram_bytes = ram_bytes, .is_npt = options->mmu == HV_MMU_NPT};
    assert_int_equal(hv_vm_create(options, &rig.vm), 0);
    assert_int_equal(hv_vcpu_create(rig.vm, 0, &rig.vcpu), 0);
    rig.ram = map_ram(ram_bytes);
    return rig;
}

static inline void rig_close(struct rig *rig)
{
    hv_vcpu_destroy(rig->vcpu);
    hv_vm_destroy(rig->vm);
    munmap(rig->ram, rig->ram_bytes);
}

static inline int set_slot_of(struct rig *rig, uint32_t id, uint32_t flags, uint64_t gfn, uint64_t npages,
                              uint64_t at_page)
{
    struct kvm_userspace_memory_region region = {
        .slot = id,
        .flags = flags,
        .guest_phys_addr = gfn << 12,
        .memory_size = npages << 12,
        .userspace_addr = (uint64_t)(uintptr_t)rig->ram + (at_page << 12),
    };
    return hv_set_slot(rig->vm, &region);
}

static inline struct seen see_by(const struct hv_vm *vm, const void *root, uint64_t gfn)
{
    return vm->options.mmu == HV_MMU_NPT ? walk_npt(root, vm->options.tdp_levels, gfn)
                                         : walk_ept(root, vm->options.tdp_levels, gfn);
}

/* What the tables say now; all zero without a root. */
static inline struct seen see(const struct rig *rig, uint64_t gfn)
{
    const void *root = tdp_root(tdp_of(rig->vm), rig->vcpu->space);
    return root ? see_by(rig->vm, root, gfn) : (struct seen){0};
}

static inline bool seen_allows(const struct seen *s, enum mv_access kind)
{
    return s->is_present && (kind == MV_ACCESS_WRITE ? s->w : kind == MV_ACCESS_FETCH ? s->x : s->r);
}

/* The exit that a walk which ended like this is. */
static inline struct pt_exit exit_of(const struct hv_vm *vm, uint64_t gfn, enum mv_access kind,
                                     const struct seen *s)
{
    struct pt_exit exit = {.access = {.kind = kind}, .gpa = mv_gpa(gfn << 12)};
    if (vm->options.mmu == HV_MMU_NPT) {
        exit.reason = PT_EXIT_NPF;
        exit.code = (s->is_present || s->is_refused ? 1u : 0u) | (kind == MV_ACCESS_WRITE ? 2u : 0u) | 4u |
                    (s->is_refused ? 8u : 0u) | (kind == MV_ACCESS_FETCH ? 16u : 0u) | UINT64_C(1) << 32;
    } else if (s->is_refused) {
        exit.reason = PT_EXIT_EPT_MISCONFIG;
    } else {
        exit.reason = PT_EXIT_EPT_VIOLATION;
        exit.code = (kind == MV_ACCESS_READ ? 1u : kind == MV_ACCESS_WRITE ? 2u : 4u) | 0x180u;
        exit.code |= s->is_present ? (s->r ? 8u : 0u) | (s->w ? 16u : 0u) | (s->x ? 32u : 0u) : 0;
    }
    return exit;
}

static inline bool replace(uint64_t *word, uint64_t expected, uint64_t to)
{
    return to == expected ||
           __atomic_compare_exchange_n(word, &expected, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* A and D, as the processor sets them; with PML a page that becomes dirty is written down, here at once to where
 * the buffer goes. False, and perhaps some A, where an entry changed meanwhile. */
static inline bool set_accessed_dirty(struct hv_vcpu *vcpu, uint64_t gfn, const struct seen *s,
                                      enum mv_access kind)
{
    const struct hv_vm *vm = vcpu->vm;
    if (vm->options.mmu != HV_MMU_NPT && !vm->options.access_dirty) {
        return true;
    }
    uint64_t a = vm->options.mmu == HV_MMU_NPT ? 1u << 5 : 1u << 8, d = a << 1;
    for (unsigned level = vm->options.tdp_levels; level > s->level; level--) {
        if (!replace(s->path[level], s->path_entries[level], s->path_entries[level] | a)) {
            return false;
        }
    }
    if (!replace(s->word, s->entry, s->entry | a | (kind == MV_ACCESS_WRITE ? d : 0))) {
        return false;
    }
    if (vm->options.log_by == HV_LOG_BY_PML && kind == MV_ACCESS_WRITE && !(s->entry & d)) {
        hv_mark_dirty_gfn(vcpu, gfn);
    }
    return true;
}

struct touched {
    enum hv_answer answer; /* HV_RETRY: it went through */
    unsigned exits;        /* until then */
    uint64_t hva;
};

/* What accel/soft's loop does before an access. Inside. */
static inline void take_requests(struct hv_vcpu *vcpu)
{
    unsigned what = hv_request_take(&vcpu->requests);
    if (what & HV_REQUEST_RELOAD_ROOT) {
        assert_int_equal(vcpu->vm->mmu->load_root(vcpu), 0);
    }
}

typedef void access_fn(void *opaque, char *host);

/* One access; `access`, if any, is done to the page while the vCPU is inside. */
static inline struct touched touch_with(struct hv_vcpu *vcpu, uint64_t gfn, enum mv_access kind, access_fn *access,
                                        void *opaque)
{
    struct touched ret = {HV_RETRY, 0, 0};
    for (;;) {
        rendezvous_enter(&vcpu->inside);
        take_requests(vcpu);
        struct seen s = see_by(vcpu->vm, vcpu->root, gfn);
        if (seen_allows(&s, kind)) {
            bool done = set_accessed_dirty(vcpu, gfn, &s, kind);
            if (done && access) {
                access(opaque, (char *)(uintptr_t)s.hva);
            }
            rendezvous_leave(&vcpu->inside);
            if (done) {
                ret.hva = s.hva;
                return ret;
            }
            continue;
        }
        struct pt_exit exit = exit_of(vcpu->vm, gfn, kind, &s);
        ret.exits++;
        ret.answer = hv_handle_exit(vcpu, &exit);
        rendezvous_leave(&vcpu->inside);
        if (ret.answer != HV_RETRY) {
            return ret;
        }
    }
}

static inline struct touched touch(struct rig *rig, uint64_t gfn, enum mv_access kind)
{
    return touch_with(rig->vcpu, gfn, kind, NULL, NULL);
}

static inline struct hv_counters counters_of(struct rig *rig)
{
    struct hv_counters c;
    hv_counters_read(rig->vm, &c);
    return c;
}

static inline uint64_t page_hva(const struct rig *rig, uint64_t at_page)
{
    return (uint64_t)(uintptr_t)rig->ram + (at_page << 12);
}

static inline struct mv_range hva_range(const struct rig *rig, uint64_t at_page, uint64_t npages)
{
    return (struct mv_range){page_hva(rig, at_page), page_hva(rig, at_page + npages) - 1};
}

/* --- Every entry is one that spte.h describes, and the counters say what is there. */

struct census {
    uint64_t pages[6], tables, nx;
};

static inline void count_table(const struct hv_vm *vm, const pt_word_t *table, unsigned level, struct census *c)
{
    const struct pt_format *f = tdp_of(vm)->format;
    c->tables++;
    assert_int_equal(tdp_page_level(table), level);
    c->nx += (*tdp_page_header(table) & TDP_PAGE_NX) != 0;
    for (unsigned i = 0; i < 512; i++) {
        uint64_t e = pt_load(&table[i]);
        assert_true(spte_check(f, e, level) && e != SPTE_FROZEN);
        if (spte_is_table(f, e, level)) {
            count_table(vm, spte_table(e), level - 1, c);
        } else {
            c->pages[level] += spte_is_present(e);
        }
    }
}

/* Nobody runs. */
static inline void check_tables(struct rig *rig)
{
    struct census c = {0};
    for (unsigned space = 0; space < HV_ADDRESS_SPACES; space++) {
        const pt_word_t *root = tdp_root(tdp_of(rig->vm), space);
        if (root) {
            count_table(rig->vm, root, rig->vm->options.tdp_levels, &c);
        }
    }
    struct hv_counters now = counters_of(rig);
    assert_int_equal(now.tables, c.tables);
    assert_int_equal(now.tables, now.tables_built - now.tables_zapped);
    assert_int_equal(now.pages_4k, c.pages[1]);
    assert_int_equal(now.pages_2m, c.pages[2]);
    assert_int_equal(now.pages_1g, c.pages[3]);
    assert_int_equal(now.nx_lpage_splits, c.nx);
}

static inline void get_log(struct rig *rig, uint32_t id, void *bitmap)
{
    struct kvm_dirty_log log = {.slot = id, .dirty_bitmap = bitmap};
    assert_int_equal(hv_get_dirty_log(rig->vm, &log), 0);
}

static inline bool bit_of(const uint64_t *bitmap, uint64_t page)
{
    return bitmap[page / 64] >> (page % 64) & 1;
}

#endif
