// SPDX-License-Identifier: MIT
/**
 * @file replay.h
 * Replay: a trace (trace.h) under one MMU scheme, counted. Behind the trace stands a small guest operating system
 * that owns page tables in guest memory and maps what is touched; below it a VM on the accelerator "soft". Several
 * schemes are compared by feeding the same records to one replay of each.
 */
#ifndef MEMVIRT_REPLAY_H
#define MEMVIRT_REPLAY_H

#include <memvirt/soft.h>
#include <memvirt/trace.h>

MV_BEGIN_DECLS

struct mv_replay_options {
    const char *mmu; /**< "native", "ept", "npt", "shadow", "hybrid"; with properties of "soft" behind a comma if
                        need be */
    const char *tlb; /**< as the property of "soft": "L1=64x4:L2=1536x12"; NULL: that */
    const char *host_page;  /**< "4K", "2M", "1G": largest page of the hypervisor's tables; NULL: 4K */
    const char *guest_page; /**< the pages that the guest maps; NULL: 4K */
    unsigned levels;        /**< of the guest's tables and the hypervisor's: 4 or 5; 0: 4 */
    bool walk_caches;       /**< paging-structure caches and a nested TLB */
    uint64_t memory_bytes;  /**< of the guest; a multiple of 1 GiB; 0: 16 GiB. It is not reserved on the host */
};

struct mv_replay;

/** @return 0; -EINVAL ("bad-option", "bad-property"); -ENOMEM; or what the host says */
MV_API int mv_replay_create(const struct mv_replay_options *options, struct mv_replay **ret, struct mv_error *err);
/** NULL is allowed. */
MV_API void mv_replay_destroy(struct mv_replay *replay);

/**
 * Carry out records. One thread at a time; different replays at the same time.
 * @return 0; -ENOSPC ("guest-memory"); -EINVAL ("bad-event", "too-many-processes"); -ENOMEM; -EIO. After an error
 * the replay can only be asked for its result, which has all before it.
 */
MV_API int mv_replay_feed(struct mv_replay *replay, const mv_trace_record_t *records, size_t count,
                          struct mv_error *err);

struct mv_replay_result {
    struct mv_soft_counts soft;
    uint64_t references; /**< records that are references; one that crosses a page is one */
    /** What the guest's operating system has done. */
    uint64_t demand_faults, cow_faults, cow_copies, spurious_faults, bad_references;
    uint64_t switches, forks, exits, unmaps, processes;
    uint64_t guest_table_writes, guest_tables, guest_tables_built, guest_pages;
};

/** Any time between two feeds. */
MV_API void mv_replay_result(const struct mv_replay *replay, struct mv_replay_result *ret);

/** Go on in another process, as a SWITCH record would, but make none. Any time between two feeds.
 * @return 0; -ENOENT ("no-process") */
MV_API int mv_replay_switch(struct mv_replay *replay, uint64_t process, struct mv_error *err);

/** For questions about its addresses: mv_explain() and its like. As long as the replay. */
MV_API struct mv_vcpu *mv_replay_vcpu(struct mv_replay *replay);
MV_API const char *mv_replay_mmu(const struct mv_replay *replay);

/** How much an event costs, in cycles. What there is no constant for is not modelled. */
struct mv_cost {
    const char *name; /**< "walk_ref" and so on; static */
    double cycles;
    const char *source; /**< where the figure comes from, one line; static, or the file's */
};

struct mv_costs;

/** The built-in constants, or those of a file over them: lines of "name cycles source...", # begins a remark.
 * @return 0; what open(2) says; -EINVAL ("malformed") */
MV_API int mv_costs_load(const char *path_or_null, struct mv_costs **ret, struct mv_error *err);
MV_API void mv_costs_destroy(struct mv_costs *costs);
/** @return the number of constants; at most `capacity` are written */
MV_API size_t mv_costs_list(const struct mv_costs *costs, struct mv_cost *ret, size_t capacity);

/** Cycles by the model: TLB, walks, guest faults, exits; their sum is `total`. */
struct mv_modelled {
    double tlb, walks, guest_faults, exits, flushes, total;
};
MV_API void mv_model(const struct mv_costs *costs, const struct mv_replay_result *result, struct mv_modelled *ret);

MV_END_DECLS

#endif
