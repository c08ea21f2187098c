// SPDX-License-Identifier: MIT
/**
 * @file explain.h
 * The whole way of one address: GVA -> every guest table entry -> every entry of the hypervisor's tables on the
 * way to it -> GPA -> slot -> region, through which aliases -> HVA -> HPA; and, for an access that would not
 * succeed, the rule that it breaks. Looking is not touching: no A or D bit is set, no table is made, nothing is
 * counted.
 */
#ifndef MEMVIRT_EXPLAIN_H
#define MEMVIRT_EXPLAIN_H

#include <memvirt/mtree.h>
#include <memvirt/soft.h>
#include <memvirt/vm.h>

MV_BEGIN_DECLS

/** Regions on the way to a place that are told of; of more the first ones are. */
#define MV_PLACE_WAY_MAX 12

/** Where a guest physical address ends up in the host. */
struct mv_place {
    mv_gpa_t gpa;
    const char *region; /**< name of the region that answers, or NULL when none does; see mv_chain */
    const char *type;   /**< "ram", "rom" or "i/o", or NULL */
    uint64_t region_offset;
    mv_hva_t hva; /**< RAM and ROM; else 0 */
    bool hpa_valid;
    mv_hpa_t hpa;
    const char
        *hpa_reason; /**< why there is no hpa: "not-ram", "not-present", "no-permission", "no-pagemap"; or NULL */
    bool readonly;   /**< guest writes are refused */
    bool has_slot;
    struct mv_slot slot; /**< that has it */
    size_t way_count;    /**< regions that it is found through, from the space's root to `region`; may be more than
                              MV_PLACE_WAY_MAX */
    struct mv_way_step way[MV_PLACE_WAY_MAX];
    struct mv_nested nested; /**< how the hardware gets there: NONE but for "soft" with EPT or NPT */
};

/** One table entry that the walk read. */
struct mv_chain_entry {
    const char *name;   /**< "PML5E", "PML4E", "PDPTE", "PDE" or "PTE"; static */
    unsigned level;     /**< 5 to 1 */
    unsigned index;     /**< in its table */
    struct mv_place at; /**< where the entry itself is; PAE's PDPTE: where the register was loaded from */
    uint64_t value;
    unsigned rights; /**< MV_RIGHT_, ANDed from the root to here: what is left to whoever goes on */
};

/** Rights of a guest's entry. Reading needs none. */
enum mv_right {
    MV_RIGHT_W = 1, /**< R/W */
    MV_RIGHT_U = 2, /**< U/S */
    MV_RIGHT_X = 4, /**< not NX */
};

/** At most so many names of bits in an entry. */
#define MV_ENTRY_FLAGS_MAX 16

/** Why a chain ends. */
enum mv_chain_end {
    MV_CHAIN_COMPLETE,      /**< it reaches host memory */
    MV_CHAIN_NOT_PRESENT,   /**< the last entry's P bit is 0 */
    MV_CHAIN_RESERVED_BIT,  /**< the last entry has a reserved bit set */
    MV_CHAIN_NON_CANONICAL, /**< the address is none in this mode */
    MV_CHAIN_TABLE_NOT_RAM, /**< a table is where no RAM is */
    MV_CHAIN_NOT_RAM,       /**< the page itself is MMIO or unassigned */
};

/** Whose access it is. */
enum mv_who {
    MV_WHO_CURRENT,    /**< the vCPU's, as its SS.DPL says */
    MV_WHO_USER,       /**< CPL 3 */
    MV_WHO_SUPERVISOR, /**< CPL 0 to 2; under SMAP its RFLAGS.AC counts */
    MV_WHO_IMPLICIT,   /**< the processor's own, as to a descriptor table: a supervisor's, whatever AC is */
};

/** What is to be judged. */
struct mv_asked {
    enum mv_access access;
    enum mv_who who;
    bool asks_accel; /**< also ask the accelerator where it leads: "kvm" sets A in the guest's entries for that */
};

/** The rule that an access breaks first. */
enum mv_rule {
    MV_RULE_NONE, /**< it succeeds */
    MV_RULE_NON_CANONICAL,
    MV_RULE_NOT_PRESENT,
    MV_RULE_RESERVED_BIT,
    MV_RULE_NO_TABLE,       /**< a table is where no slot is */
    MV_RULE_USER,           /**< a user's access to a supervisor's page */
    MV_RULE_WRITE,          /**< a write to a read-only page: a user's, or with CR0.WP */
    MV_RULE_NOT_EXECUTABLE, /**< NX */
    MV_RULE_SMEP,
    MV_RULE_SMAP,
    MV_RULE_KEY,           /**< PKRU or PKRS */
    MV_RULE_UNASSIGNED,    /**< no region answers there */
    MV_RULE_MMIO,          /**< a device's region does */
    MV_RULE_READONLY_SLOT, /**< a write to ROM, or through what makes RAM read-only */
    MV_RULE_NO_SLOT,       /**< RAM that no slot has: the VMM makes the access */
};

/** "none", "not-present", "smep", ... Static. */
MV_API const char *mv_rule_name(enum mv_rule rule);

#define MV_VERDICT_TEXT_SIZE 256

/** What becomes of an access. */
struct mv_verdict {
    enum mv_rule rule;
    unsigned level;    /**< of the guest's entry that is the reason; 0: none is */
    uint64_t reserved; /**< RESERVED_BIT: which of its bits */
    uint8_t vector;    /**< of the exception that the guest takes: 14; 13, or 12 for the stack segment; 0: none */
    uint32_t error_code;             /**< of a #PF */
    char text[MV_VERDICT_TEXT_SIZE]; /**< one sentence with the entry and the control bits that matter */
};

/** "complete", "not-present", ... Static. */
MV_API const char *mv_chain_end_name(enum mv_chain_end end);

/** Registers that take part. */
struct mv_chain_registers {
    uint64_t cr0, cr3, cr4, efer, rflags;
    unsigned cpl;
    bool has_keys; /**< the next two are known: with the accelerator "soft" */
    uint32_t pkru, pkrs;
};

/** Names in it are good until mv_chain_release(). */
struct mv_chain {
    mv_gva_t gva;
    enum mv_paging_mode mode;
    uint64_t cr3;
    size_t entry_count; /**< 0 with paging off */
    struct mv_chain_entry entries[5];
    enum mv_chain_end end;
    uint64_t page_size_bytes; /**< of the guest's page: 4K, 2M, 4M, 1G; 0 with paging off or when there is none */
    struct mv_place page;     /**< COMPLETE and NOT_RAM: where gva is */
    unsigned rights;          /**< COMPLETE and NOT_RAM: MV_RIGHT_, over all levels */
    unsigned key;             /**< likewise: the page's protection key */
    struct mv_chain_registers registers;
    struct mv_shadow shadow; /**< end NONE but for "soft" with shadow tables */
    bool is_judged;          /**< by mv_explain_access(): what follows is there */
    struct mv_asked asked;
    bool is_user; /**< whose access that is */
    struct mv_verdict verdict;
    bool asks_accel;             /**< it was asked: by mv_explain(), or because it was to be */
    struct mv_translation accel; /**< what the accelerator says of the same gva */
    const struct mv_view *view;  /**< keeps the names alive */
};

/**
 * Explain `gva` as vCPU `vcpu` would translate it now. Only while the VM is not running, or by who paused it.
 * The accelerator is asked as well, at the end: "kvm" sets A in the entries on the way then. Else nothing changes.
 * @return 0; -EBUSY; or what the host says about the registers. A gva that leads nowhere is no error: see `end`.
 */
MV_API int mv_explain(struct mv_vcpu *vcpu, mv_gva_t gva, struct mv_chain *ret, struct mv_error *err);
/** The same, and judge an access; the accelerator is asked only if it is to be. @return as mv_explain(); an access
 * that is refused is no error: see `verdict` */
MV_API int mv_explain_access(struct mv_vcpu *vcpu, mv_gva_t gva, const struct mv_asked *asked,
                             struct mv_chain *ret, struct mv_error *err);
MV_API void mv_chain_release(struct mv_chain *chain);

/** Print a chain for people, line by line. */
MV_API void mv_chain_print(const struct mv_chain *chain, mv_print_fn *print, void *opaque);

/**
 * The names of the bits that are set in entry `index` and mean something there, low bits first: P RW US PWT PCD A
 * D PS PAT G NX.
 * @return how many; 0 for one that is not present
 */
MV_API size_t mv_entry_flags(const struct mv_chain *chain, size_t index, const char *ret[MV_ENTRY_FLAGS_MAX]);
/** The same for an entry of the hypervisor's tables: of EPT R W X IPAT PS A D, of NPT as those of a guest. The
 * bits of one that is not present or refused are the hypervisor's own: none is named. */
MV_API size_t mv_nested_flags(const struct mv_nested *nested, size_t index, const char *ret[MV_ENTRY_FLAGS_MAX]);

/** The same for an entry of shadow tables: as those of a guest, and HOST-W and MMU-W, by which the hypervisor
 * knows why W is not there; MMIO; SWITCH, where the guest's own table is next. */
MV_API size_t mv_shadow_flags(const struct mv_shadow *shadow, size_t index, const char *ret[MV_ENTRY_FLAGS_MAX]);
/** "none", "fix", "open", "store", "without-wp", "reflect", "no-slot", "read-only-slot". Static. */
MV_API const char *mv_shadow_answer_name(enum mv_shadow_answer answer);

/** The numbers of the bits that are set: "12, 52-62". @return `ret` */
MV_API const char *mv_bits_text(uint64_t bits, char *ret, size_t size);

/**
 * Find pages that the guest has touched: leaf entries with the accessed bit. Pages whose gva is not their gpa come
 * before identity-mapped ones; of many, `capacity` are spread evenly over all of them, in order of gva.
 * @return how many were written; 0 with paging off
 */
MV_API size_t mv_touched_pages(struct mv_vcpu *vcpu, mv_gva_t *ret, size_t capacity);

MV_END_DECLS

#endif
