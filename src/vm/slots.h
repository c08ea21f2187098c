// SPDX-License-Identifier: MIT
/*
 * Slots: which pieces of the memory space the accelerator has been given. A listener of the space turns what a
 * commit changes into slot calls: as many as there are slots that change, whatever exists besides.
 *
 * Only RAM and ROM in whole host pages becomes slots; what is left over is reached by MMIO exits and the view,
 * which gives the same bytes. A ROM is a read-only slot, or none where the accelerator has no read-only slots.
 */
#ifndef VM_SLOTS_H
#define VM_SLOTS_H

#include <memvirt/listener.h>
#include <memvirt/vm.h>

struct slot_table;

/* As accel_dirty_fn. */
typedef void slot_dirty_fn(void *opaque, uint64_t first, const uint64_t *words, uint64_t npages);

/* How the table reaches what it works for; the callbacks are called in the committing thread. */
struct slot_port {
    void *opaque;
    /* KVM_SET_USER_MEMORY_REGION; 0 or -errno. */
    int (*set_slot)(void *opaque, const struct kvm_userspace_memory_region *slot);
    /* Between the two no vCPU is in the guest: it must not see one slot of a commit changed and another not yet.
     */
    void (*hold_vcpus)(void *opaque);
    void (*release_vcpus)(void *opaque);
    /* KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG, 0 or -errno. The first is NULL if slots cannot be logged, the
     * second if getting clears. */
    int (*get_dirty_log)(void *opaque, const struct kvm_dirty_log *log);
    int (*clear_dirty_log)(void *opaque, const struct kvm_clear_dirty_log *log);
    /* Called in place of both, which are there all the same, or NULL: what it tells is cleared, and nothing is
     * copied. */
    int (*harvest_dirty_log)(void *opaque, uint32_t slot, slot_dirty_fn *each, void *each_opaque);
    /* For blocks with private pages, as in accel.h. NULL: no slot can have a guest_memfd. */
    int (*create_guest_memfd)(void *opaque, uint64_t size_bytes);
    int (*set_private_slot)(void *opaque, const struct kvm_userspace_memory_region *slot, int guest_memfd,
                            uint64_t offset_bytes);
    /* KVM_SET_MEMORY_ATTRIBUTES. NULL: no page can be private. */
    int (*set_attributes)(void *opaque, uint64_t gpa, uint64_t size_bytes, uint64_t attributes);
    /* Instead of both, where vCPUs keep rings: have all that guests wrote marked, by slots_mark(). */
    void (*reap)(void *opaque);
};

struct slot_limits {
    unsigned max_slots;
    uint64_t max_slot_bytes; /* a multiple of the page size */
    uint64_t page_bytes;     /* the host's */
    bool readonly_slots;
};

struct slot_counts {
    uint64_t commits; /* that told the table anything */
    uint64_t set_slot_calls;
};

/* NULL when out of memory. */
struct slot_table *slots_create(const struct slot_port *port, const struct slot_limits *limits);
/* Before the listener is destroyed: the accelerator's VM is about to go, and all its slots with it, without a
 * call. */
void slots_end(struct slot_table *table);
void slots_destroy(struct slot_table *table);

/* To be registered with the table as opaque. */
extern const struct mv_listener_ops slots_listener_ops;
extern const struct mv_listener_ops slots_ring_listener_ops; /* for a port that reaps */

/* The guest wrote those of 64 pages of a slot, from `first` on, whose bit is set; or any of what is logged. Under
 * the machine's control lock. A slot that is not there is passed over. */
void slots_mark(struct slot_table *table, uint32_t id, uint64_t first, uint64_t bits);
void slots_mark_all(struct slot_table *table);
/* The same, and have the accelerator begin anew to log what is logged. While no vCPU is in the guest. @return 0 or
 * -errno: what is logged then is not known */
int slots_log_anew(struct slot_table *table);

/* Mark all that guests wrote. Under the machine's control lock. */
void slots_sync(struct slot_table *table);

/* Any thread. */
size_t slots_copy(struct slot_table *table, struct mv_slot *ret, size_t capacity);
bool slots_find(struct slot_table *table, mv_gpa_t gpa, struct mv_slot *ret); /* false: none has it */
bool slots_have(struct slot_table *table, struct mv_range range);             /* all of it */
struct slot_counts slots_counts(struct slot_table *table);

/* How often pages that slots show were converted so far. Control lock held. */
uint64_t slots_conversions(const struct slot_table *table);

#endif
