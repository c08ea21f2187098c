// SPDX-License-Identifier: MIT
/*
 * libFuzzer target: any bytes as calls about slots, logs, rings and guest writes on a VM of one of the schemes, at
 * the edges of the address space as well, with a vCPU that looks and writes in between. After each call the
 * indices are as they must be; slots do not overlap, lookups find what is there, and a refused call has changed
 * nothing.
 *
 * Input: the scheme, then records of 16 bytes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "hypervisor/hv.h"
#include "hypervisor/mmu_ops.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PAGE GUEST_PAGE_SIZE
#define RAM_PAGES 256
#define LOG_WORDS 64
/* Larger slots are made, but not logged: a bitmap that is all ones takes memory. */
#define LOGGED_PAGES_MAX (LOG_WORDS * 64)

static void must(int truth)
{
    if (!truth) {
        abort();
    }
}

struct record {
    uint8_t call, id, flags, gpa_base, size_base, hva_base;
    int8_t gpa_pages, hva_pages;
    uint16_t size_pages, extra;
    uint32_t more;
};

struct world {
    struct hv_vm *vm;
    struct hv_vcpu *vcpu;
    uint64_t ram;
    int event;
};

/* Interesting numbers: ends of address spaces and where signs and carries are. */
static const uint64_t edges[] = {
    0,
    UINT64_C(1) << 20,
    UINT64_C(1) << 32,
    UINT64_C(1) << 30,
    UINT64_C(1) << 43,
    UINT64_C(1) << 46,
    UINT64_C(1) << 47,
    (UINT64_C(1) << 47) - PAGE,
    UINT64_C(1) << 52,
    UINT64_C(1) << 63,
    UINT64_MAX,
    UINT64_MAX - PAGE + 1,
};

static uint64_t edge(uint8_t which)
{
    return edges[which % (sizeof edges / sizeof edges[0])];
}

/* --- what must hold ------------------------------------------------------------------------------- */

struct check {
    const struct hv_slots *slots;
    const struct hv_slot *before;
    unsigned count;
};

static void check_slot(void *opaque, const struct hv_slot *slot)
{
    struct check *c = opaque;
    unsigned hint = c->count * 7;
    must(!c->before || hv_slot_last_gfn(c->before) < slot->base_gfn);
    must(hv_slot_of_id(c->slots, slot->id) == slot);
    must(hv_slot_of_gfn(c->slots, slot->base_gfn, &hint) == slot);
    must(hv_slot_of_gfn(c->slots, hv_slot_last_gfn(slot), &hint) == slot);
    must(hv_slot_from_gfn(c->slots, slot->base_gfn) == slot);
    must((slot->flags & HV_SLOT_INVALID) == 0);
    must(slot->npages >= 1 && slot->npages <= HV_SLOT_PAGES_MAX);
    c->before = slot;
    c->count++;
}

static void check_slots(const struct world *w)
{
    for (unsigned space = 0; space < HV_ADDRESS_SPACES; space++) {
        struct check c = {.slots = w->vm->slots[space]};
        must(slot_index_check(&c.slots->by_gfn) && slot_index_check(&c.slots->by_hva));
        hv_slots_each(c.slots, check_slot, &c);
        must(c.count == c.slots->count);
        must(!c.before || hv_slot_last_gfn(c.before) <= w->vm->max_gfn);
        uint64_t generation = atomic_load(&c.slots->generation);
        must(generation < HV_GENERATION_UPDATING && generation % HV_ADDRESS_SPACES == space);
    }
}

/* --- calls ---------------------------------------------------------------------------------------- */

static void set_slot(struct world *w, const struct record *r)
{
    struct kvm_userspace_memory_region region = {
        .slot = r->id | (uint32_t)(r->flags >> 6) << 16,
        .flags = r->flags & 7,
        .guest_phys_addr = edge(r->gpa_base) + (uint64_t)(int64_t)r->gpa_pages * PAGE,
        .memory_size = edge(r->size_base) + r->size_pages * PAGE,
        .userspace_addr = r->hva_base < 128 ? w->ram : edge(r->hva_base),
    };
    region.userspace_addr += (uint64_t)(int64_t)r->hva_pages * PAGE;
    if (r->extra == 1) {
        region.slot = r->more;
    } else if (r->extra == 2) {
        region.guest_phys_addr += r->more;
    } else if (r->extra == 3) {
        region.memory_size += r->more;
    }
    if (region.memory_size / PAGE > LOGGED_PAGES_MAX) {
        region.flags &= ~(uint32_t)KVM_MEM_LOG_DIRTY_PAGES;
    }
    uint64_t before = atomic_load(&w->vm->slots[0]->generation) + atomic_load(&w->vm->slots[1]->generation);
    unsigned count = w->vm->slots[0]->count + w->vm->slots[1]->count;
    int rc = hv_set_slot(w->vm, &region);
    uint64_t swaps =
        (atomic_load(&w->vm->slots[0]->generation) + atomic_load(&w->vm->slots[1]->generation) - before) / 2;
    must(swaps <= 2);
    must(rc == 0 || w->vm->slots[0]->count + w->vm->slots[1]->count == count);
    must(rc == 0 || rc == -EINVAL || rc == -EEXIST || rc == -ENOMEM);
}

static void logs(struct world *w, const struct record *r)
{
    uint64_t bits[LOG_WORDS];
    uint32_t id = r->id | (uint32_t)(r->flags >> 6) << 16;
    struct kvm_clear_dirty_log clear = {
        .slot = id, .num_pages = r->more % 5000, .first_page = r->extra, .dirty_bitmap = bits};
    memset(bits, r->flags, sizeof bits);
    if (r->flags & 1) {
        must(hv_get_dirty_log(w->vm, &(struct kvm_dirty_log){.slot = id, .dirty_bitmap = bits}) <= 0);
    } else if (r->more % 5000 <= LOGGED_PAGES_MAX) {
        must(hv_clear_dirty_log(w->vm, &clear) <= 0);
    }
}

/* The vCPU does what it is asked to and looks at some pages; those of the RAM it reads and writes. */
static void look(struct world *w, const struct record *r)
{
    uint64_t gpa = edge(r->gpa_base) + (uint64_t)(int64_t)r->gpa_pages * PAGE + r->extra % PAGE;
    enum mv_access kind = r->flags % 3 == 0   ? MV_ACCESS_READ
                          : r->flags % 3 == 1 ? MV_ACCESS_WRITE
                                              : MV_ACCESS_FETCH;
    if (hv_ring_is_full(w->vcpu)) {
        return;
    }
    rendezvous_enter(&w->vcpu->inside);
    if (hv_request_take(&w->vcpu->requests) & HV_REQUEST_RELOAD_ROOT) {
        must(w->vm->mmu->load_root(w->vcpu) == 0);
    }
    w->vcpu->space = r->flags >> 7;
    uint8_t *bytes = hv_guest_bytes(w->vcpu, mv_gpa(gpa), kind);
    uint64_t at = (uint64_t)(uintptr_t)bytes;
    if (bytes && at >= w->ram && at < w->ram + RAM_PAGES * PAGE) {
        *bytes = (uint8_t)(*bytes + 1);
    }
    uint64_t value = r->more;
    (void)hv_io_write(w->vcpu, r->flags & 8 ? HV_IO_PORTS : HV_IO_MEMORY, r->extra, &value, 1 + r->id % 8);
    rendezvous_leave(&w->vcpu->inside);
    w->vcpu->space = 0;
}

static void devices(struct world *w, const struct record *r)
{
    if (r->flags & 0x40) {
        const struct kvm_coalesced_mmio_zone zone = {
            .addr = r->flags & 0x20 ? edge(r->gpa_base) : r->extra, .size = r->more, .pio = r->id % 3};
        must((r->id & 0x80 ? hv_coalesce(w->vm, &zone) : hv_uncoalesce(w->vm, &zone)) <= 0);
        return;
    }
    const struct kvm_ioeventfd event = {.datamatch = r->more % 4,
                                        .addr = r->extra,
                                        .len = r->size_base % 9,
                                        .fd = w->event,
                                        .flags = r->flags % 64};
    must(hv_ioeventfd(w->vm, &event) <= 0);
}

static void rings(struct world *w, const struct record *r)
{
    uint32_t count;
    struct kvm_dirty_gfn *entries = hv_ring_entries(w->vcpu, &count);
    if (!entries) {
        must(hv_reset_dirty_rings(w->vm) == -EINVAL);
        return;
    }
    for (uint32_t i = 0; i < r->size_base; i++) { /* what the user may write */
        struct kvm_dirty_gfn *entry = &entries[(r->extra + i) % count];
        entry->flags |= KVM_DIRTY_GFN_F_RESET;
        if (r->flags & 1) {
            entry->slot = r->more;
            entry->offset = edge(r->gpa_base) + i;
        }
    }
    int taken = hv_reset_dirty_rings(w->vm);
    must(taken >= 0 && (uint32_t)taken <= count);
}

static void step(struct world *w, const struct record *r)
{
    struct hv_pre_fault range = {edge(r->gpa_base) + (uint64_t)(int64_t)r->gpa_pages * PAGE,
                                 r->size_pages % 64 * PAGE, 0};
    switch (r->call % 10) {
    case 0: logs(w, r); break;
    case 1:
    case 2: look(w, r); break;
    case 3: devices(w, r); break;
    case 4: rings(w, r); break;
    case 5: must(hv_pre_fault(w->vcpu, &range) <= 0); break;
    case 6: must(hv_enable_manual_protect(w->vm, r->flags) <= 0); break;
    default: set_slot(w, r); break;
    }
    check_slots(w);
}

/* Made once. */
static uint64_t ram_of_the_process(void)
{
    static void *ram;
    if (!ram) {
        ram = mmap(NULL, RAM_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(ram != MAP_FAILED);
    }
    return (uint64_t)(uintptr_t)ram;
}

static void open_world(struct world *w, uint8_t how)
{
    static int event = -1;
    if (event < 0) {
        event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    const bool is_hybrid = how % 4 == 3 && (how & 8);
    const struct hv_options options = {
        .mmu = how % 4 == 0   ? HV_MMU_NATIVE
               : how % 4 == 1 ? HV_MMU_EPT
               : how % 4 == 2 ? HV_MMU_NPT
               : is_hybrid    ? HV_MMU_HYBRID
                              : HV_MMU_SHADOW,
        .no_unsync = is_hybrid,
        .tdp_levels = how & 16 ? 5 : 4,
        .level_max = 3,
        .address_bits = how & 32 ? 52 : 46,
        .access_dirty = !is_hybrid,
        .zap_slot_only = (how & 64) != 0,
    };
    *w = (struct world){.ram = ram_of_the_process(), .event = event};
    must(hv_vm_create(&options, &w->vm) == 0);
    if (how & 128) {
        must(hv_enable_dirty_ring(w->vm, 4096) == 0);
    }
    must(hv_vcpu_create(w->vm, 0, &w->vcpu) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w;
    struct record r;
    if (size < 1) {
        return 0;
    }
    open_world(&w, data[0]);
    for (size_t at = 1; at + sizeof r <= size && at < 1000 * sizeof r; at += sizeof r) {
        memcpy(&r, data + at, sizeof r);
        step(&w, &r);
    }
    hv_vcpu_destroy(w.vcpu);
    hv_vm_destroy(w.vm);
    return 0;
}
