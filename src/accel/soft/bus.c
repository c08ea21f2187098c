// SPDX-License-Identifier: MIT
/*
 * How the hardware reaches guest-physical memory without a second dimension: by slot. It is asked once for each
 * translation that a TLB keeps, and for each entry of a table that is walked.
 */
#include "accel/soft/internal.h"

/* The largest aligned block around gpa that lies in the slot: its bytes are all at the same distance. */
static unsigned block_shift(const struct hv_slot *slot, uint64_t gfn)
{
    static const unsigned shifts[] = {30, 21};
    for (unsigned i = 0; i < 2; i++) {
        uint64_t npages = UINT64_C(1) << (shifts[i] - GUEST_PAGE_SHIFT), first = gfn & ~(npages - 1);
        if (first >= slot->base_gfn && first + npages <= slot->base_gfn + slot->npages) {
            return shifts[i];
        }
    }
    return GUEST_PAGE_SHIFT;
}

static void *bytes(void *opaque, gpa_t gpa, enum mv_access kind, unsigned *ret_shift)
{
    struct accel_vcpu *vcpu = opaque;
    void *host = hv_guest_bytes(vcpu->hv, gpa, kind);
    if (!host) {
        return NULL;
    }
    uint64_t gfn = gpa.raw >> GUEST_PAGE_SHIFT;
    const struct hv_slot *slot = hv_slot_of_gfn(hv_slots(vcpu->hv), gfn, &vcpu->hv->slot_hint[vcpu->hv->space]);
    bool is_logged = kind == MV_ACCESS_WRITE && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES);
    *ret_shift = is_logged ? GUEST_PAGE_SHIFT : block_shift(slot, gfn);
    return host;
}

/* Where slots show the same bytes twice, the guest's tables say which it is; they may have changed since. */
static gpa_t gpa_of(void *opaque, gva_t gva, const void *host)
{
    struct accel_vcpu *vcpu = opaque;
    gpa_t gpa = mv_gpa(0), looked;
    if (hv_gpa_of(vcpu->hv, (uint64_t)(uintptr_t)host, &gpa) > 1 && soft_look(vcpu, gva, &looked) &&
        hv_guest_bytes(vcpu->hv, looked, MV_ACCESS_READ) == host) {
        return looked;
    }
    return gpa;
}

struct hw_bus soft_bus(struct accel_vcpu *vcpu)
{
    return (struct hw_bus){.bytes = bytes, .gpa_of = gpa_of, .opaque = vcpu};
}
