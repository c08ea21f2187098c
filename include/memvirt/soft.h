// SPDX-License-Identifier: MIT
/**
 * @file soft.h
 * Bring your own CPU: the accelerator "soft" has a processor's MMU and a hypervisor, but nothing that executes
 * instructions. A caller who does (an emulator, a trace, a test) makes a VM on it, sets registers as on any vCPU
 * (mv_vcpu_set_sregs()), and reads, writes, fetches and translates by guest-virtual address. What would happen to
 * a guest comes back as a value: its own fault, an MMIO access, a stop.
 *
 * A VM is made by mv_vm_create() with the accelerator "soft", or "soft,PROPERTY=VALUE,...":
 *
 * - mmu=native, ept (default), npt: the second dimension; shadow: tables of the hypervisor's in place of the
 * guest's; hybrid: these above, and the guest's own and EPT below, for the tables that `policy` says
 * - host-page=4K, 2M, 1G (default): largest page of the hypervisor's tables
 * - levels=4 (default), 5: of EPT's or NPT's tables; shadow ones have as many as the guest's
 * - tlb=off (default), or L1=64x4 and, each behind a colon, L2=1536x12, L1-2M=, L1-1G=, L2-1G=: entries x ways;
 * off is a cache that counts nothing
 * - walk-caches=on (default with tlb=off), off (else): paging-structure caches
 * - nested-tlb=on, off (default): a cache of the second dimension
 * - log-by=write-protection (default), dirty-bit, pml: how writes to logged pages are noticed. A harvest reads all
 * tables with dirty-bit, which does not go with dirty rings, and takes D from each dirty page with pml
 * - access-dirty=on (default), off: A and D bits in the hypervisor's tables; hybrid has none in EPT
 * - eager-split=on, off (default): split large pages when logging begins
 * - nx-huge-pages=on, off (default): large pages are not executable
 * - mmio-caching=on (default), off: the hypervisor's tables remember that an address is no RAM's, for cheaper
 * exits
 * - execute-only=on, off (default): what is only fetched is mapped for that alone; of EPT
 * - populate=on, off (default): ask the host for a page before it is mapped, by a system call; what it cannot give
 * is a HOST_ERROR then, and not a signal
 * - watch-host=on, off (default): what other code of the process does to the machine's blocks by madvise(2),
 * munmap(2) and mremap(2) is noticed, and their translations go: by userfaultfd(2), for one VM of a machine at
 * most. Blocks that the VM begins with and that the host does not let it watch make mv_vm_create() fail: later
 * ones are counted (mv_vm_counters(), "host_blocks_unwatched"; "host_events" are what was reported). The library's
 * own mv_block_discard() needs none of this
 * - unsync=on (default), off: of shadow; the guest may write to its lowest tables, once it has, without exits
 * until it flushes
 * - emulate-supervisor=on, off (default): of shadow; accesses that ring 3 does not make go by the guest's tables
 * in software, and never by the hypervisor's, as with a KVM on a host without hardware virtualization
 * - slot-zap-all=on (default), off: a slot that is deleted or moved takes all of the VM's translations along, as
 * KVM's KVM_X86_QUIRK_SLOT_ZAP_ALL, and not its own alone
 * - shadow-pages=64 and more (default: 2 % of the memory's pages): how many tables of shadow, or hybrid, there may
 * be; those of EPT do not count
 * - policy=agile (default), shadow, nested, nest-1 to nest-4: of hybrid; which tables of the guest's are nested:
 * those that are written often, none, all, those up to that level (1: page tables). See struct mv_hybrid_policy
 * - policy-writes=N, policy-interval=N: of policy=agile; a table of level 1 is nested when it was written so
 * often in one interval, one of the next level eight times as often; and shadowed again when it was not changed
 * for one. An interval is N walks of a vCPU
 * - rmap-max=1 and more (default 1000): how many mappings of one page are kept; one that has more than one beyond
 * loses them all, and they come again as they are used: KVM's RMAP_RECYCLE_THRESHOLD
 * - address-bits=36 to 52 (default 48): MAXPHYADDR of the guest
 * - 1g-pages=on (default), off: the processor has pages of 1 GiB, for guests and for the hypervisor
 * - vendor=intel (default), amd: whose processor it is; AMD's reserve bit 8 of a PML4E
 *
 * A property that means nothing to the scheme (host-page, levels, eager-split, nested-tlb, nx-huge-pages,
 * populate, mmio-caching, slot-zap-all, unsync, shadow-pages, rmap-max, policy) is refused.
 *
 * Threads: calls with the same vCPU come one at a time, from any thread; with different vCPUs at the same time.
 * The tree may be edited meanwhile. Not from a listener.
 */
#ifndef MEMVIRT_SOFT_H
#define MEMVIRT_SOFT_H

#include <memvirt/hybrid.h>
#include <memvirt/paging.h>

MV_BEGIN_DECLS

struct mv_vcpu; /* vm.h */

enum mv_soft_end {
    MV_SOFT_DONE,
    MV_SOFT_FAULT,      /**< the guest's own: #PF or #GP */
    MV_SOFT_MMIO,       /**< no RAM there, or a write to ROM */
    MV_SOFT_RING_FULL,  /**< a dirty ring must be harvested first: mv_vm's dirty log */
    MV_SOFT_HOST_ERROR, /**< the host has no memory left, or no page behind a slot */
};

/** The rule that an access broke. */
enum mv_soft_rule {
    MV_SOFT_RULE_NONE,
    MV_SOFT_RULE_NOT_PRESENT,
    MV_SOFT_RULE_RESERVED_BIT,
    MV_SOFT_RULE_RIGHTS, /**< W, U, X against CR0.WP, EFER.NXE, SMEP, SMAP */
    MV_SOFT_RULE_KEY,    /**< PKRU or PKRS */
    MV_SOFT_RULE_NON_CANONICAL,
    MV_SOFT_RULE_NO_TABLE, /**< a table is where no memory is */
};

/** "not present" and so on. Static. */
MV_API const char *mv_soft_rule_name(enum mv_soft_rule rule);

/** A fault for the guest to take. */
struct mv_soft_fault {
    uint8_t vector;      /**< 14: #PF; 13: #GP, or #SS if the address came from the stack segment */
    uint32_t error_code; /**< of a #PF */
    mv_gva_t address;    /**< of a #PF: for CR2 */
    enum mv_soft_rule rule;
    uint8_t level;     /**< of the entry that is the reason; 0: none was read */
    uint64_t entry;    /**< as it was read */
    uint64_t reserved; /**< RESERVED_BIT: which of its bits */
};

struct mv_soft_outcome {
    enum mv_soft_end end;
    size_t done_bytes; /**< of the access, before what `end` tells of */
    struct mv_soft_fault fault;
    /** MMIO: the next `size` bytes are at `gpa`, and within one page: do them (mv_space_read(), mv_space_write()),
     * and continue behind them. Eventfds and gathered writes have been seen to. */
    struct {
        mv_gpa_t gpa;
        uint32_t size;
    } mmio;
    int error; /**< HOST_ERROR: a negative errno */
};

/** Whether a data access is one that the processor makes by itself, such as to a GDT: as supervisor, and SMAP does
 * not ask EFLAGS.AC. */
enum mv_soft_mode {
    MV_SOFT_EXPLICIT,
    MV_SOFT_IMPLICIT,
};

/**
 * Access guest memory by guest-virtual address, as the vCPU's registers say: privilege by SS's DPL, AC by RFLAGS.
 * The bytes may cross pages; those before a fault have been transferred.
 * @return outcome->end. With a vCPU of another accelerator: HOST_ERROR, -ENOTSUP.
 */
MV_API enum mv_soft_end mv_soft_read(struct mv_vcpu *vcpu, mv_gva_t gva, void *ret_bytes, size_t size,
                                     enum mv_soft_mode mode, struct mv_soft_outcome *outcome);
MV_API enum mv_soft_end mv_soft_write(struct mv_vcpu *vcpu, mv_gva_t gva, const void *bytes, size_t size,
                                      enum mv_soft_mode mode, struct mv_soft_outcome *outcome);
MV_API enum mv_soft_end mv_soft_fetch(struct mv_vcpu *vcpu, mv_gva_t gva, void *ret_bytes, size_t size,
                                      struct mv_soft_outcome *outcome);

/**
 * A window on a vCPU: what the two functions below it need to do an access without a call, when its page was
 * reached a moment ago. Its members are not for anybody else. Good as long as the vCPU; for the vCPU's own thread.
 */
struct mv_soft_line {
    uint64_t page[3]; /* by enum mv_access */
    uint64_t addend;
};
#define MV_SOFT_LINES 1024u
struct mv_soft_window {
    struct mv_vcpu *vcpu;
    const struct mv_soft_line *const *lines; /* of the mode that the vCPU is in */
    const unsigned *pending;
    uint32_t *inside; /* and, behind it, whether somebody waits for us */
    bool fences;
};

/** With tlb=off, which has such pages; else every access is a call. @return 0 or -ENOTSUP */
MV_API int mv_soft_window_open(struct mv_vcpu *vcpu, struct mv_soft_window *ret);

/** The byte of `gva` if it and the `size - 1` behind it are in a page that was reached; the caller then leaves. */
static inline void *mv_soft_window_enter(const struct mv_soft_window *w, mv_gva_t gva, size_t size,
                                         enum mv_access kind)
{
    const struct mv_soft_line *line = &(*w->lines)[(gva.raw >> 12) & (MV_SOFT_LINES - 1)];
    __atomic_store_n(w->inside, 1, __ATOMIC_RELAXED);
    if (__builtin_expect(w->fences, 0)) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    unsigned others =
        __atomic_load_n(w->pending, __ATOMIC_RELAXED) | __atomic_load_n(w->inside + 1, __ATOMIC_RELAXED);
    if (__builtin_expect(line->page[kind] == ((gva.raw + (size - 1)) & ~UINT64_C(0xfff)) && others == 0, 1)) {
        return (void *)(uintptr_t)(gva.raw + line->addend);
    }
    return NULL;
}

static inline void mv_soft_window_leave(const struct mv_soft_window *w)
{
    __atomic_store_n(w->inside, 0, __ATOMIC_RELEASE);
}

/** mv_soft_read() and mv_soft_write() of explicit accesses; quick where `size` is a constant. */
static inline enum mv_soft_end mv_soft_window_read(const struct mv_soft_window *w, mv_gva_t gva, void *ret_bytes,
                                                   size_t size, struct mv_soft_outcome *outcome)
{
    const void *host = mv_soft_window_enter(w, gva, size, MV_ACCESS_READ);
    if (__builtin_expect(host != NULL, 1)) {
        __builtin_memcpy(ret_bytes, host, size);
        mv_soft_window_leave(w);
        return MV_SOFT_DONE;
    }
    mv_soft_window_leave(w);
    return mv_soft_read(w->vcpu, gva, ret_bytes, size, MV_SOFT_EXPLICIT, outcome);
}

/** The same for 8 bytes, whose value stays in a register. */
static inline enum mv_soft_end mv_soft_window_read64(const struct mv_soft_window *w, mv_gva_t gva, uint64_t *ret,
                                                     struct mv_soft_outcome *outcome)
{
    const void *host = mv_soft_window_enter(w, gva, sizeof *ret, MV_ACCESS_READ);
    if (__builtin_expect(host != NULL, 1)) {
        __builtin_memcpy(ret, host, sizeof *ret);
        mv_soft_window_leave(w);
        return MV_SOFT_DONE;
    }
    mv_soft_window_leave(w);
    uint64_t value;
    enum mv_soft_end end = mv_soft_read(w->vcpu, gva, &value, sizeof value, MV_SOFT_EXPLICIT, outcome);
    if (end == MV_SOFT_DONE) {
        *ret = value;
    }
    return end;
}

static inline enum mv_soft_end mv_soft_window_write(const struct mv_soft_window *w, mv_gva_t gva,
                                                    const void *bytes, size_t size,
                                                    struct mv_soft_outcome *outcome)
{
    void *host = mv_soft_window_enter(w, gva, size, MV_ACCESS_WRITE);
    if (__builtin_expect(host != NULL, 1)) {
        __builtin_memcpy(host, bytes, size);
        mv_soft_window_leave(w);
        return MV_SOFT_DONE;
    }
    mv_soft_window_leave(w);
    return mv_soft_write(w->vcpu, gva, bytes, size, MV_SOFT_EXPLICIT, outcome);
}

/** Where a byte is. */
struct mv_soft_place {
    mv_gpa_t gpa;
    mv_hva_t hva;       /**< good until the memory behind it goes */
    uint8_t page_shift; /**< of the smaller of the guest's page and the hypervisor's */
};

/** Translate for an access of `kind` and make all it takes: A and D bits, the hypervisor's tables. The byte is not
 * touched. What is no RAM is MMIO. */
MV_API enum mv_soft_end mv_soft_touch(struct mv_vcpu *vcpu, mv_gva_t gva, enum mv_access kind,
                                      struct mv_soft_place *ret, struct mv_soft_outcome *outcome);

/**
 * Write 8 bytes of guest-physical memory, as a guest's kernel does through a mapping that its TLB has: no walk is
 * made, but all that the hypervisor must do for the page is done and counted. `gpa` is a multiple of 8. What is no
 * RAM is MMIO.
 */
MV_API enum mv_soft_end mv_soft_write_physical(struct mv_vcpu *vcpu, mv_gpa_t gpa, uint64_t value,
                                               struct mv_soft_outcome *outcome);
/** Likewise, but nothing is counted: looking is not touching. @return false: no RAM */
MV_API bool mv_soft_peek_physical(struct mv_vcpu *vcpu, mv_gpa_t gpa, uint64_t *ret);

/** Instructions that concern translation. CR3: with CR4.PCIDE, bit 63 keeps the new PCID's translations.
 * @return false: the processor would raise #GP, and nothing has changed */
MV_API bool mv_soft_load_cr3(struct mv_vcpu *vcpu, uint64_t cr3);
MV_API void mv_soft_invlpg(struct mv_vcpu *vcpu, mv_gva_t gva);
MV_API bool mv_soft_invpcid(struct mv_vcpu *vcpu, unsigned type, uint64_t pcid, mv_gva_t gva);
/** WRPKRU, and IA32_PKRS. */
MV_API void mv_soft_set_keys(struct mv_vcpu *vcpu, uint32_t pkru, uint32_t pkrs);

/**
 * Map guest-physical memory of the vCPU's VM before it is touched, as KVM_PRE_FAULT_MEMORY; of hybrid, in EPT.
 * What is done is taken off the front of the range; both are multiples of 4096.
 * @return 0 if at least one page was done; -EINVAL (the range); -ENOENT (no slot); -EOPNOTSUPP (native, shadow);
 *         -ENOTSUP (a vCPU of another accelerator); or what the host says
 */
MV_API int mv_soft_pre_fault(struct mv_vcpu *vcpu, mv_gpa_t *gpa, uint64_t *size_bytes);

/** Host memory of the VM's becomes read-only for its vCPUs, which ask again before they write to it: what a kernel
 * tells KVM when it shares pages. Any thread that is in no access. @return 0 or -ENOTSUP */
MV_API int mv_soft_protect_host(struct mv_vcpu *vcpu, struct mv_range hva);
/** Whether vCPUs have accessed host memory since it was aged; its accessed bits are cleared. TLBs are not flushed,
 * so an access that one has does not show. @return 1, 0, or -ENOTSUP */
MV_API int mv_soft_age_host(struct mv_vcpu *vcpu, struct mv_range hva);
/** The same, and nothing is cleared. */
MV_API int mv_soft_test_age_host(struct mv_vcpu *vcpu, struct mv_range hva);

/** With nx-huge-pages=on: let every `ratio`th of the large pages that fetches have split be large again, in order
 * of address; 0: none. @return 0; -EOPNOTSUPP (native, shadow); -ENOTSUP */
MV_API int mv_soft_recover_huge_pages(struct mv_vcpu *vcpu, unsigned ratio);

/**
 * Shadow: how many tables there may be, as KVM_SET_NR_MMU_PAGES says it to KVM; of more, some go at once. Until
 * then it is what `shadow-pages` says, or 2 % of the memory's pages, and 64 at least, as with KVM. In the way of a
 * limit those go first that were used least of late; roots of vCPUs stay, so they can be more for a while. Other
 * schemes keep the number, and nothing comes of it. Any thread that is in no access. @return 0; -EINVAL: less than
 * 64; -ENOTSUP
 */
MV_API int mv_soft_set_shadow_pages(struct mv_vcpu *vcpu, uint64_t pages);
/** KVM_GET_NR_MMU_PAGES: the limit. @return 0 or -ENOTSUP */
MV_API int mv_soft_shadow_pages(struct mv_vcpu *vcpu, uint64_t *ret_pages);
/**
 * Shadow: memory for the host, which runs short of it; what KVM's shrinker does. Up to `pages` tables go, those
 * first that were used least of late, and their memory is the host's when the call returns. Guests fault and have
 * them made again. `ret_pages`: how many went; 0 under other schemes. Any thread that is in no access. @return 0
 * or -ENOTSUP
 */
MV_API int mv_soft_shrink_shadow(struct mv_vcpu *vcpu, uint64_t pages, uint64_t *ret_pages);

/** With mmu=hybrid: the policy (hybrid.h) of the vCPU's VM; NULL: the one that it was made with. It is copied, all
 * tables are forgotten. Any thread that is in no access. @return 0; -EOPNOTSUPP (not hybrid); -ENOTSUP (a vCPU of
 * another accelerator) */
MV_API int mv_soft_set_policy(struct mv_vcpu *vcpu, const struct mv_hybrid_policy *policy);

/** Longest walk that the histogram tells apart; longer ones are in the last. */
#define MV_SOFT_WALK_REFS_MAX 64

/** What the vCPU's hardware has counted, and what its exits were. */
struct mv_soft_counts {
    uint64_t accesses;   /**< translations: one for each page of an access */
    uint64_t l1_misses;  /**< of the TLB; 0 with tlb=off */
    uint64_t tlb_misses; /**< of its last level: these walk */
    uint64_t walks;
    uint64_t walk_refs;                             /**< memory references of walks, all of them */
    uint64_t walk_refs_nested;                      /**< of these, to the hypervisor's tables */
    uint64_t walk_histogram[MV_SOFT_WALK_REFS_MAX]; /**< walks by their number of references */
    uint64_t accessed_set, dirty_set;               /**< bits set in the guest's tables */
    uint64_t flushes;                               /**< of a part or all of the TLB */
    uint64_t guest_faults;
    uint64_t exits_total;
    uint64_t exits_ept_violation, exits_ept_misconfig, exits_npf, exits_pml_full, exits_mmio;
    /** Of a shadowed guest: #PF, its own or the hypervisor's; writes to its tables, made for it or let through
     * from now on; MOV to CR3; other changes of registers that decide on translation; INVLPG and INVPCID. */
    uint64_t exits_page_fault, exits_table_write, exits_cr3, exits_registers, exits_invlpg;
    uint64_t exits_timer;    /**< of hybrid: an interval of its policy was over */
    uint64_t exits_physical; /**< of all these, by mv_soft_write_physical() */
    uint64_t tables;         /**< pages of the hypervisor's tables at the moment, of the VM */
    uint64_t tables_built, tables_zapped;
    uint64_t table_bytes; /**< with what describes them */
};

/** @return 0, or -ENOTSUP: a vCPU of another accelerator */
MV_API int mv_soft_counts(struct mv_vcpu *vcpu, struct mv_soft_counts *ret);

/** Told of what happens off the fast way. A member may be NULL. Called in the thread of the access, in the
 * middle of it: whoever edits the tree, takes a dirty log or discards memory waits for its end, so a hook does
 * none of this, nor waits for who does, nor uses a vCPU. */
struct mv_soft_hooks {
    void *opaque;
    /** An entry was read: of the guest's tables, or (nested) of the hypervisor's, where `at` is a host address. */
    void (*step)(void *opaque, bool nested, unsigned level, uint64_t at, uint64_t entry);
    void (*fill)(void *opaque, mv_gva_t gva, mv_gpa_t gpa, unsigned page_shift);
    void (*flush)(void *opaque, const char *what);
    void (*fault)(void *opaque, const struct mv_soft_fault *fault);
    /** `reason` is a static word: "ept_violation"; `code` its qualification or error code. */
    void (*exit)(void *opaque, const char *reason, mv_gpa_t gpa, uint64_t code);
};

/** `hooks` is copied; NULL: none, and none cost anything. @return 0 or -ENOTSUP */
MV_API int mv_soft_set_hooks(struct mv_vcpu *vcpu, const struct mv_soft_hooks *hooks);

/* --- Looking at the second dimension, as explain.h does ------------------------------------------------------ */

/** What a guest-physical address is wanted for. */
enum mv_nested_use {
    MV_NESTED_READ,
    MV_NESTED_WRITE,
    MV_NESTED_FETCH,
    MV_NESTED_TABLE,        /**< an entry of a guest's page table, to be read */
    MV_NESTED_TABLE_UPDATE, /**< and to get its A or D bit */
};

enum mv_nested_end {
    MV_NESTED_NONE, /**< there is no second dimension */
    MV_NESTED_MAPPED,
    MV_NESTED_NOT_PRESENT,
    MV_NESTED_DENIED,    /**< the entries do not allow it */
    MV_NESTED_BAD_ENTRY, /**< EPT misconfiguration; NPT: a reserved bit is set. So an entry for MMIO looks */
    MV_NESTED_LOG_FULL,  /**< the page-modification log has no room for it */
    MV_NESTED_SWITCHED,  /**< hybrid: from here on the guest's own tables are walked */
};

/** What the hypervisor would do about an exit. */
enum mv_nested_answer {
    MV_NESTED_NO_EXIT,
    MV_NESTED_REPAIR,        /**< a slot has the page: it is mapped, and the access tried again */
    MV_NESTED_NO_SLOT,       /**< it makes the access itself: MMIO */
    MV_NESTED_READONLY_SLOT, /**< the same, for a write */
    MV_NESTED_STORE,         /**< hybrid: it makes the write, which is to a table that is shadowed */
};

/** An entry of the hypervisor's tables. */
struct mv_nested_entry {
    const char *name; /**< "PML4E" and so on; static */
    unsigned level, index;
    mv_hva_t at;
    uint64_t value;
};

struct mv_nested {
    enum mv_nested_end end;
    const char *format; /**< "ept" or "npt"; static. NULL: NONE */
    unsigned need;      /**< rights that the use asks for: 1 << enum mv_access, ORed */
    unsigned rights;    /**< those that the entries leave, ANDed; 0 where one is not present */
    size_t entry_count;
    struct mv_nested_entry entries[5];
    uint64_t page_size_bytes; /**< of the mapping, if there is one; else 0 */
    mv_hva_t hva;             /**< of the byte, likewise */
    const char *exit;         /**< "ept_violation", "ept_misconfig", "npf", "pml_full"; NULL: none. Static */
    uint64_t code;            /**< EPT violation: the exit qualification; #NPF: the error code */
    enum mv_nested_answer answer;
};

/* --- Looking at shadow tables -------------------------------------------------------------------------------- */

/** What the hypervisor of a shadowed guest would do about the #PF that it gets. */
enum mv_shadow_answer {
    MV_SHADOW_NO_EXIT, /**< the shadow entries let the access through, or the address is none */
    MV_SHADOW_FIX,     /**< it makes or changes an entry, and the access is tried again */
    MV_SHADOW_OPEN,    /**< a write to a lowest table of the guest's: the guest may write to it until it flushes */
    MV_SHADOW_STORE,   /**< it makes the write, which is to a table that is shadowed */
    MV_SHADOW_WITHOUT_WP, /**< it makes the write: under SMAP or keys no entry of its own can stand for CR0.WP=0 */
    MV_SHADOW_REFLECT,    /**< the fault is the guest's own */
    MV_SHADOW_NO_SLOT,    /**< MMIO */
    MV_SHADOW_READONLY_SLOT, /**< a write to where the slot is read-only */
};

#define MV_SHADOW_ROLE_MAX 12

/** An entry of a shadow table, and what the table stands for. */
struct mv_shadow_entry {
    const char *name; /**< "PML4E" and so on; static */
    unsigned level, index;
    mv_hva_t at;
    uint64_t value;
    bool has_table;  /**< a table of the guest's is shadowed by it */
    mv_gpa_t table;  /**< that table; without: the first byte of what it maps, if it does */
    unsigned rights; /**< MV_RIGHT_: of the guest's entries that lead to the table, ANDed */
    bool unsync;     /**< entries may differ from the guest's, as those of a TLB may */
    bool open;       /**< the guest may write to its table, unnoticed until it flushes */
    size_t role_count;
    const char *role[MV_SHADOW_ROLE_MAX]; /**< what else decides which table it is: "direct", "cr0.wp" and so on */
};

/** Shadow tables on the way of one address, as the hardware would walk them, and what an access would come to. */
struct mv_shadow {
    enum mv_nested_end end; /**< NONE: there are no shadow tables. BAD_ENTRY: MMIO is marked so */
    size_t entry_count;     /**< 0: not even a root, or the address is none; SWITCHED: the root is the guest's */
    struct mv_shadow_entry entries[5];
    unsigned guest_level;     /**< SWITCHED: of the first of the guest's own tables; else 0 */
    unsigned rights;          /**< MV_RIGHT_ of the page */
    uint64_t page_size_bytes; /**< of the mapping, if there is one; else 0 */
    mv_hva_t hva;             /**< of the byte, likewise */
    bool is_table;            /**< a guest's table that is shadowed lies there */
    bool is_protected;        /**< and therefore no entry lets a write through */
    const char *exit;         /**< "page_fault", or NULL: none. Static */
    uint64_t code;            /**< its error code */
    enum mv_shadow_answer answer;
};

MV_END_DECLS

#endif
