// SPDX-License-Identifier: MIT
/*
 * The shadow MMU: tables of ours that map guest-virtual addresses straight to host addresses, one for each table
 * of the guest's that is in use. docs/mmu.md, "Shadow", has the invariants.
 *
 * `lock` guards everything here. A fault takes it inside; nobody waits for a rendezvous while holding it. What is
 * unlinked is freed by shadow_settle, which is not inside.
 */
#ifndef HYPERVISOR_SHADOW_H
#define HYPERVISOR_SHADOW_H

#include <assert.h>
#include <pthread.h>

#include "base/line.h"
#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"
#include "hypervisor/rmap.h"
#include "hypervisor/spte.h"
#include "hypervisor/tdp_page.h"
#include "paging/guest_walk.h"
#include "paging/shadow.h"

#define SHADOW_BUCKET_BITS_MIN 6u
#define SHADOW_PREVIOUS_ROOTS 3u
#define SHADOW_UNLINKED_MAX 256u    /* then they are freed before the next fault is repaired */
#define SHADOW_RMAP_MAX 1000u       /* hv_options.rmap_max as KVM has it */
#define SHADOW_FLOODING_WRITES 3u   /* without a fault in between: it is no table any more, or will not be soon */
#define SHADOW_PREFETCH 8u          /* neighbours that a fault maps, itself included */
#define SHADOW_AVAILABLE_MIN 5u     /* fewer pages below the limit: some go, */
#define SHADOW_AVAILABLE_REFILL 25u /* until there are so many again */
#define SHADOW_LOOKS 256u           /* at so many, for some that were not used; then the oldest go all the same */

/* What a shadow page's contents depend on besides its guest table. Equal words: the same. */
union shadow_role {
    struct {
        uint64_t level : 3; /* of our tables */
        uint64_t has_4_byte_entries : 1;
        uint64_t quadrant : 2; /* 4-byte entries: which part of the guest's table */
        uint64_t direct : 1;   /* no guest table: part of a large page, or paging is off. `frame` is a gfn */
        uint64_t glue : 1;     /* above the tables of a guest of 2 or 3 levels; it is a root's own */
        uint64_t access : 3;   /* PT_RIGHT_, ANDed over the guest's entries that lead here */
        uint64_t key : 4;      /* direct, and protection keys are on: of the large page */
        uint64_t smm : 1;
        /* Registers. */
        uint64_t no_execute : 1; /* EFER.NXE */
        uint64_t write_protect : 1;
        uint64_t smep_and_not_wp : 1, smap_and_not_wp : 1;
        uint64_t large_4m : 1, smep : 1, smap : 1, keys : 1, levels : 3; /* CR4.PSE; of the guest's paging */
    };
    uint64_t word;
};

/*
 * One table of ours. `unsync`: its entries may differ from the guest's table, as those of a TLB may. `open`: the
 * guest's table may be written without our noticing; else each entry that maps it is read-only. Open pages are
 * unsync, and of level 1.
 */
struct shadow_page {
    /* A line of the cache, all that a load of CR3 asks for. */
    _Alignas(CACHE_LINE) uint64_t frame; /* host address of the guest's table >> 12; direct: the first gfn */
    union shadow_role role;
    uint64_t generation;      /* another than the VM's: obsolete */
    struct shadow_page *next; /* of its bucket; once unlinked, of that list */
    pt_word_t *table;
    uint32_t roots;           /* vCPUs that keep it */
    uint16_t unsync_children; /* bits set below */
    uint8_t writes;           /* to the guest's table, since it was last used */
    bool unsync, open, zapped;
    bool used;    /* as a root, since that was last asked */
    uint64_t gfn; /* of the guest's table */

    uint64_t seq;                           /* not to be filled before TLBs are flushed this far */
    struct shadow_page *older, *newer;      /* by creation, or by when it was last found used */
    struct rmap_list parents;               /* entries that lead here */
    uint64_t unsync_child[PT_ENTRIES / 64]; /* entries that lead to an unsync page, perhaps over others */
};

struct shadow {
    pthread_mutex_t lock;
    struct tdp_pool pool;
    struct tdp_cache tables; /* taken from, under the lock */
    struct rmap rmap;
    struct shadow_page **buckets; /* these two are read without the lock as well, by who prefetches */
    unsigned bucket_bits;         /* 2^n buckets */
    uint64_t hashed_count;        /* pages in them: not more than there are buckets */
    struct shadow_page *oldest, *newest;
    uint64_t page_count;   /* with those that are unlinked */
    uint64_t page_bytes;   /* of what describes these */
    uint64_t guest_tables; /* pages that stand for one */
    uint64_t live_count;
    uint64_t generation;
    /* Losses of the right to write that TLBs may not know of are numbered; they know those up to `flushed`. */
    uint64_t seq, flushed, lost_everywhere;
    uint64_t asked; /* `seq` when who holds `mmu_lock` was last told to flush */
    struct shadow_page *unlinked;
    unsigned unlinked_count;
    bool can_unsync;
    bool can_populate;
    struct hybrid *hybrid; /* or NULL: some of the guest's tables are nested (hybrid.h) */
};

/* The registers that a root is for. */
struct shadow_root_key {
    union shadow_role role;
    uint64_t table; /* of CR3 */
    uint64_t pdptr[4];
};

/* Glue at the top. Its page says nothing of the guest's tables, and is in no hash. */
struct shadow_glue {
    struct shadow_page page;
    struct shadow_root_key key;
};

struct shadow_vcpu {
    struct paging guest, hardware;
    union shadow_role role;                               /* of the root; of other pages but for the first part */
    struct shadow_page *roots[1 + SHADOW_PREVIOUS_ROOTS]; /* the present one, and before it; NULL: none */
    pt_word_t *empty;                                     /* a root for who has none */
};

static inline struct shadow *shadow_of(const struct hv_vm *vm)
{
    return vm->mmu_state;
}

static inline struct shadow_vcpu *shadow_vcpu_of(const struct hv_vcpu *vcpu)
{
    return vcpu->mmu_state;
}

static inline struct shadow_page *shadow_page_of_table(const pt_word_t *table)
{
    return (struct shadow_page *)(uintptr_t)*tdp_page_header(table);
}

/* The page that has this entry, and the entry's place in it. */
static inline struct shadow_page *shadow_page_of_entry(const pt_word_t *entry)
{
    return shadow_page_of_table((const pt_word_t *)((uintptr_t)entry & ~(uintptr_t)GUEST_PAGE_MASK));
}

static inline unsigned shadow_index_of_entry(const pt_word_t *entry)
{
    return (unsigned)(((uintptr_t)entry & GUEST_PAGE_MASK) / sizeof *entry);
}

/* Hybrid: it leads to a table of the guest's. Such are in the reverse map of that page. */
static inline bool shadow_is_switch(uint64_t entry)
{
    return spte_is_present(entry) && (entry & SHADOW_SWITCH);
}

static inline bool shadow_is_table(uint64_t entry, unsigned level)
{
    return spte_is_table(&pt_format_shadow, entry, level) && !(entry & SHADOW_SWITCH);
}

static inline bool shadow_is_leaf(uint64_t entry, unsigned level)
{
    return spte_is_leaf(&pt_format_shadow, entry, level);
}

/* Whether it stands for a table of the guest's. */
static inline bool shadow_has_guest_table(const struct shadow_page *page)
{
    return !page->role.direct && !page->role.glue;
}

/* Hybrid: what stands for a root when the guest's uppermost table is nested. Its first entry is that root, and
 * nobody walks it: its level is one more than there are. */
static inline bool shadow_is_anchor(const struct shadow_page *page)
{
    return page->role.glue && page->role.level > 4;
}

/* The protection key in an entry of the guest's, if there are such. */
static inline unsigned shadow_key(union shadow_role role, uint64_t guest_entry)
{
    return role.keys ? guest_entry >> 59 & 15 : 0;
}

/* Neither zapped nor of an older generation. */
static inline bool shadow_is_valid(const struct shadow *s, const struct shadow_page *page)
{
    return !page->zapped && page->generation == s->generation;
}

static inline uint64_t shadow_level_pages(unsigned level)
{
    return UINT64_C(1) << (9 * (level - 1));
}

static inline void shadow_set_unsync(struct hv_vm *vm, struct shadow_page *page, bool unsync)
{
    hv_count(&vm->counters.mmu_unsync, (uint64_t)unsync - page->unsync);
    page->unsync = unsync;
}

/* The counter of leaves of a level. */
static inline uint64_t *shadow_pages_of(struct hv_counters *counters, unsigned level)
{
    return level == 1 ? &counters->pages_4k : level == 2 ? &counters->pages_2m : &counters->pages_1g;
}

/* --- shadow_page.c: what there is. All under the lock --------------------------------------------- */

struct shadow_wanted {
    uint64_t frame, gfn;
    union shadow_role role;
};

/* False: out of memory. */
bool shadow_hash_init(struct shadow *s);
void shadow_hash_finish(struct shadow *s);

/* It is there, or is made; its guest table is write-protected from now on. NULL: out of memory. */
struct shadow_page *shadow_page_get(struct hv_vm *vm, const struct shadow_wanted *wanted);
/* Without the lock: it will be asked for soon. Where it is to be found waits for a line of the cache else. */
void shadow_page_prefetch(const struct shadow *s, uint64_t frame);
/* One that is in no hash: part of a root. */
struct shadow_page *shadow_page_make_glue(struct hv_vm *vm, unsigned level);

/* The first, or the next valid one, that stands for the guest's table in this frame. NULL: no more. */
struct shadow_page *shadow_page_on(const struct shadow *s, uint64_t frame, const struct shadow_page *after);

/* An entry comes to lead to `child`. False: out of memory. It was empty. */
bool shadow_link(struct hv_vm *vm, pt_word_t *entry, struct shadow_page *child);
/* The same, to the guest's table in that frame, with the guest's rights so far. */
bool shadow_link_switch(struct hv_vm *vm, pt_word_t *entry, uint64_t frame, unsigned access);
/* An entry of that level becomes empty, whatever it was. (That it leads to a table of the guest's needs no level.)
 */
void shadow_clear_entry(struct hv_vm *vm, pt_word_t *entry, unsigned level);

/* Of a page that was linked and is unsync, or has such below it: its parents know. */
void shadow_tell_parents(struct shadow_page *page);
/* Room for what a fault may make: pages go, as shadow_evict has it. Before the fault has begun. */
void shadow_make_available(struct hv_vm *vm);
/*
 * Up to `pages` go: of the `looks` oldest, those that were not used since they were last looked at; those that
 * were count as new. If these are too few, the oldest. (KVM goes by age alone.) Roots of vCPUs stay. @return how
 * many
 */
uint64_t shadow_evict(struct hv_vm *vm, uint64_t pages, uint64_t looks);

/* It goes, with its entries; what they led to stays. Roots are told. */
void shadow_zap(struct hv_vm *vm, struct shadow_page *page);
void shadow_root_put(struct hv_vm *vm, struct shadow_page *page);
/* Pages of older generations go. */
void shadow_zap_obsolete(struct hv_vm *vm);

/* Not inside: all know what was lost and what was unlinked; and the latter is freed. */
void shadow_settle(struct hv_vm *vm);

int shadow_fill_cache(struct shadow *s, unsigned want);

/* It goes, and what nothing leads to then, too: its tables are not noticed any more. */
void shadow_zap_tree(struct hv_vm *vm, struct shadow_page *page);

/* --- shadow_protect.c: who may write to guest tables ---------------------------------------------- */

/* Whether a write to the frame has to be noticed. */
bool shadow_is_tracked(const struct shadow *s, uint64_t frame);
/* No table of the guest's that is shadowed lies in the page of that level. */
bool shadow_has_no_tables(const struct shadow *s, uint64_t host, unsigned level);
/* No entry lets a write to the frame through. */
void shadow_protect_frame(struct hv_vm *vm, struct shadow_page *page);
/* Every entry that maps it becomes empty. */
void shadow_clear_page(struct hv_vm *vm, const struct rmap_page *page);
/* An entry has lost the right to write to (a page that has) this host byte. */
void shadow_note_loss(struct shadow *s, uint64_t host, unsigned level);
/* Each page on the frame becomes open. False: it may not. */
bool shadow_open_frame(struct hv_vm *vm, uint64_t frame);

/* --- shadow_sync.c: entries agree with the guest's table again ------------------------------------ */

/* Whether it may be filled; else all must settle first. */
bool shadow_is_ready(const struct shadow *s, const struct shadow_page *page);
/* Before it is linked: it shows what the guest's tables say now, here and below. One that is unsync stays so.
 * False: all must settle, and then again. */
bool shadow_make_linkable(struct hv_vcpu *vcpu, struct shadow_page *page);
/* One that is unsync is so no more; if it is open it is protected before. False: likewise. */
bool shadow_sync_page(struct hv_vcpu *vcpu, struct shadow_page *page);
/* One entry. */
void shadow_sync_entry(struct hv_vcpu *vcpu, struct shadow_page *page, unsigned index);
/* Everything unsync below it. False: all must settle, and then again. `force`: what would have to wait is emptied.
 */
bool shadow_sync_below(struct hv_vcpu *vcpu, struct shadow_page *page, bool force);
/* Where the guest's entry is that an entry of the page stands for. */
uint64_t *shadow_guest_entry(const struct hv_vcpu *vcpu, const struct shadow_page *page, unsigned index);

/* --- shadow_root.c -------------------------------------------------------------------------------- */

/* Inside, under the lock: each entry on the way to an address under this root. */
void shadow_sync_path(struct hv_vcpu *vcpu, struct shadow_page *root, gva_t gva);
void shadow_drop_roots(struct hv_vcpu *vcpu);
int shadow_load_root(struct hv_vcpu *vcpu);
void shadow_set_regs(struct hv_vcpu *vcpu, const struct paging_regs *regs, const struct paging_cpu *cpu);
/* Whether it stands for what it was made for: an anchor whose entry went does not. Under the lock. */
bool shadow_root_is_good(const struct shadow *s, const struct shadow_page *page);
void shadow_load_cr3(struct hv_vcpu *vcpu, uint64_t cr3);
void shadow_set_keys(struct hv_vcpu *vcpu, uint32_t pkru, uint32_t pkrs);
void shadow_invalidate(struct hv_vcpu *vcpu, gva_t gva);
void shadow_invalidate_all(struct hv_vcpu *vcpu);

/* --- shadow_leaf.c -------------------------------------------------------------------------------- */

/* A page of the guest's, as its tables and the slot have it. */
struct shadow_leaf {
    const struct hv_slot *slot;
    uint64_t host; /* aligned to the level */
    unsigned level;
    uint8_t rights; /* PT_RIGHT_; W only if D is set */
    uint8_t key;
    bool is_write;   /* the fault's own access */
    bool is_tracked; /* a guest table that is shadowed: W is not given */
    bool is_young;
};

uint64_t shadow_make_leaf(const struct hv_vm *vm, const struct shadow_leaf *leaf);
/* More mappings than this are not kept, nor the one that was too many, as with KVM: who needs one faults again. */
bool shadow_is_full(const struct hv_vm *vm, const struct rmap_page *page);
void shadow_recycle(struct hv_vm *vm, const struct rmap_page *page);
/* The entry becomes that. False: out of memory. */
bool shadow_set_leaf(struct hv_vm *vm, pt_word_t *entry, unsigned level, uint64_t to);

/* --- shadow_fault.c, shadow_write.c --------------------------------------------------------------- */

enum hv_answer shadow_handle(struct hv_vcpu *vcpu, const struct pt_exit *exit);

/* A store into guest memory that was not made by the hardware. */
bool shadow_store(struct hv_vcpu *vcpu, gpa_t gpa, const void *bytes, unsigned size_bytes, bool *ret_is_table);
/* A caller wants to write there in ways that nobody sees. */
void shadow_give_up_tables(struct hv_vcpu *vcpu, gpa_t gpa);

#endif
