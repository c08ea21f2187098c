// SPDX-License-Identifier: MIT
/*
 * Dirty rings: each vCPU has a ring into which the kernel writes the pages that the vCPU makes dirty, instead of a
 * bitmap for each slot (KVM API, "KVM_CAP_DIRTY_LOG_RING"). What a sync costs is a matter of what was written, not
 * of how much memory there is.
 *
 * An entry goes round: the kernel makes it DIRTY; we take it and make it RESET; KVM_RESET_DIRTY_RINGS has the
 * kernel catch the page's next write, and gives it the entry back. Only then is the page marked. If it was marked
 * before, a client could take the mark and look at the bytes, and a write after that would come too early for the
 * kernel to notice it again.
 *
 * A vCPU whose ring is full does not enter the guest: it empties all rings itself, in its own thread. So that this
 * is rare a thread of the VM's, the reaper, empties them now and then, while anything is logged.
 *
 * The kernel keeps some entries in reserve, so a ring is never full to the last one. If it is, it was overrun: a
 * kernel that executes a guest's instructions one by one (kvm-pvm does, 1024 at a time) may write more pages than
 * there are in reserve before it looks. Then nobody knows which pages are not in the ring, nor where in it the
 * kernel is. So all that is logged is marked, and its log is switched off and on again, which catches the next
 * write of each page. And from then on the ring is searched for entries; those between our place and the first one
 * are given back as well, so that the kernel's idea of how full it is comes right.
 *
 * Rings are emptied under the machine's control lock, so that slots stay what their numbers say, and while no vCPU
 * is in the guest: what some processors keep to themselves is in the rings then, and nobody overruns us.
 */
#ifndef VM_DIRTYRING_H
#define VM_DIRTYRING_H

#include <linux/kvm.h>
#include <memvirt/vm.h>
#include <pthread.h>

/* <linux/kvm.h> of older kernels does not have them. */
#ifndef KVM_EXIT_DIRTY_RING_FULL
#define KVM_EXIT_DIRTY_RING_FULL 31
#endif

/* A vCPU's. Owned by it; the entries are the accelerator's. */
struct dirty_ring {
    struct kvm_dirty_gfn *entries; /* NULL: there is none */
    uint32_t count;                /* a power of two */
    uint32_t next;                 /* modulo count: what the kernel fills next that we have not seen */
    bool drifted;                  /* it was overrun: the kernel may be further on */
    bool vain;                     /* it was full, and empty, when `next` was vain_next */
    uint32_t vain_next;
};

/* A VM's; `taken` is NULL if it has no rings. */
struct dirty_reaper {
    struct kvm_dirty_gfn *taken; /* entries that were taken and not marked yet; control lock */
    size_t taken_count;
    size_t taken_max;
    size_t given_back; /* of this and of others: what the kernel is to reset */
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* a leaf, of what follows */
    pthread_cond_t changed;
    bool ending;
};

/* Of a VM that has options.dirty_ring_entries. @return 0 or -ENOMEM */
int dirtyring_init(struct mv_vm *vm);
void dirtyring_finish(struct mv_vm *vm);

/* The reaper. It does not run before the start; ending it may wait for the control lock. @return 0 or -errno */
int dirtyring_start(struct mv_vm *vm);
void dirtyring_end(struct mv_vm *vm);

/* Empty the rings, and mark what was in them. Any thread. Should the host refuse, all that is logged is marked and
 * the VM stops. */
void dirtyring_reap(struct mv_vm *vm);
/* A vCPU's run ended for its ring is full. In its thread. */
void dirtyring_full(struct mv_vcpu *vcpu);

#endif
