// SPDX-License-Identifier: MIT
/*
 * The hybrid MMU, after agile paging (Gandhi, Hill, Swift: "Agile Paging: Exceeding the Best of Nested and Shadow
 * Paging", ISCA 2016, doi 10.1145/3007787.3001212): a walk begins in shadow tables, and an entry of theirs may
 * switch to the guest's own table, from where on it is one of two dimensions. docs/mmu.md, "Hybrid", has the
 * invariants.
 *
 * It is the shadow MMU and the tables of EPT for the same slots, and what is here is what they have to know of
 * each other. The shadow MMU's lock guards both, and the records of the policy. EPT is without A and D bits: a
 * reference to a guest table is a read then, and needs no right to write to one that is shadowed. Tables that are
 * shadowed are never unsync: what is written often is nested.
 */
#ifndef HYPERVISOR_HYBRID_H
#define HYPERVISOR_HYBRID_H

#include "hypervisor/hv.h"

#define HYBRID_BUCKETS 4096u
#define HYBRID_TABLES_MAX 65536u /* records; beyond, tables are as if nobody had written to them */

/* What is known of a guest's table, by its host address and its level. (One that is used at two is two.) */
struct hybrid_table {
    struct hybrid_table *next;
    uint64_t frame;    /* host address >> 12 */
    uint64_t interval; /* to which `writes` belong */
    uint64_t sum;      /* of its entries without A and D, when it was looked at last */
    struct mv_hybrid_table seen;
    bool has_sum;
};

struct hybrid {
    struct mv_hybrid_policy policy;
    struct hybrid_table **buckets;
    size_t count;
    uint64_t interval; /* the number of the present one */
};

/* All under the shadow MMU's lock, and inside. */

/* Whether the guest's table at gfn, of that level, is nested from now on, with all below it. It is never under
 * registers for which that is not done, nor in a slot that is not there or read-only. */
bool hybrid_nests(struct hv_vcpu *vcpu, uint64_t gfn, unsigned level);
/* A table that is shadowed is being written: the policy may have it nested. */
void hybrid_was_written(struct hv_vm *vm, uint64_t frame);
/* No entry of EPT lets a write to this host page through, or maps it large. @return whether one may have */
bool hybrid_protect(struct hv_vm *vm, uint64_t host);

/* Any thread, not inside, with none of the VM's locks: another policy, copied; NULL: that of the options. All
 * tables are shadowed until it says otherwise. */
void hybrid_set_policy(struct hv_vm *vm, const struct mv_hybrid_policy *policy);

/* --- hybrid_table.c --- */

struct hybrid_table *hybrid_find(const struct hybrid *h, uint64_t frame, unsigned level);
/* It is made if there is none. NULL: no memory, or too many. */
struct hybrid_table *hybrid_get(struct hybrid *h, uint64_t frame, unsigned level);
/* Written once more in the present interval. */
void hybrid_count_write(struct hybrid *h, struct hybrid_table *table);
/* An interval is over: nested tables are compared with what they were, and the policy is asked. */
void hybrid_look(struct hv_vm *vm);
void hybrid_forget_all(struct hybrid *h);
uint64_t hybrid_bytes(const struct hybrid *h);

#endif
