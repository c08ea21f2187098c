// SPDX-License-Identifier: MIT
#include "hypervisor/ring.h"

#include "hypervisor/hv_test.h"

#define BYTES 4096u /* 256 entries, of which 64 are kept free */
#define COUNT (BYTES / 16)

static struct hv_vm *new_ring_vm(void)
{
    struct hv_vm *vm = new_vm();
    assert_int_equal(hv_enable_dirty_ring(vm, BYTES), 0);
    return vm;
}

/* The user takes entries [from, from + count). */
static void harvest(struct hv_vcpu *vcpu, unsigned from, unsigned count)
{
    uint32_t size;
    struct kvm_dirty_gfn *entries = hv_ring_entries(vcpu, &size);
    assert_int_equal(size, COUNT);
    for (unsigned i = 0; i < count; i++) {
        struct kvm_dirty_gfn *entry = &entries[(from + i) % size];
        assert_int_equal(entry->flags, KVM_DIRTY_GFN_F_DIRTY);
        entry->flags |= KVM_DIRTY_GFN_F_RESET;
    }
}

static void the_states_of_an_entry(void **state)
{
    (void)state;
    struct hv_vm *vm = new_ring_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    uint32_t size;
    struct kvm_dirty_gfn *entries = hv_ring_entries(vcpu, &size);
    assert_int_equal(set(vm, 1 << 16 | 3, LOG, 100, 8, HVA), 0);
    vcpu->space = 1;
    assert_int_equal(entries[0].flags, 0);
    dirty_page(vcpu, 105);
    assert_int_equal(entries[0].flags, KVM_DIRTY_GFN_F_DIRTY);
    assert_int_equal(entries[0].slot, 1 << 16 | 3);
    assert_int_equal(entries[0].offset, 5);
    assert_int_equal(entries[1].flags, 0);
    assert_int_equal(hv_reset_dirty_rings(vm), 0); /* nobody has harvested it */
    assert_int_equal(entries[0].flags, KVM_DIRTY_GFN_F_DIRTY);
    entries[0].flags = KVM_DIRTY_GFN_F_RESET; /* 10 is harvested like 11 */
    assert_int_equal(hv_reset_dirty_rings(vm), 1);
    assert_int_equal(entries[0].flags, 0);
    entries[1].flags = KVM_DIRTY_GFN_F_RESET | KVM_DIRTY_GFN_F_DIRTY; /* never was dirty */
    assert_int_equal(hv_reset_dirty_rings(vm), 0);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

static void only_in_order(void **state)
{
    (void)state;
    struct hv_vm *vm = new_ring_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    assert_int_equal(set(vm, 0, LOG, 0, 64, HVA), 0);
    for (unsigned i = 0; i < 6; i++) {
        dirty_page(vcpu, i);
    }
    harvest(vcpu, 2, 2);
    assert_int_equal(hv_reset_dirty_rings(vm), 0);
    harvest(vcpu, 0, 1);
    assert_int_equal(hv_reset_dirty_rings(vm), 1);
    harvest(vcpu, 1, 1);
    assert_int_equal(hv_reset_dirty_rings(vm), 3);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* Full is said at the soft limit, until enough was taken back; many times around. */
static void full_and_around(void **state)
{
    (void)state;
    struct hv_vm *vm = new_ring_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    unsigned written = 0;
    assert_int_equal(set(vm, 0, LOG, 0, 10000, HVA), 0);
    assert_false(hv_ring_is_full(vcpu));
    for (unsigned round = 0; round < 20; round++) {
        unsigned before = written;
        while (!hv_ring_is_full(vcpu)) {
            dirty_page(vcpu, written++ % 10000);
        }
        assert_int_equal(written - before, COUNT - DIRTY_RING_RESERVED);
        for (unsigned i = 0; i < DIRTY_RING_RESERVED; i++) { /* what one entry into the guest may still add */
            dirty_page(vcpu, written++ % 10000);
        }
        harvest(vcpu, before, DIRTY_RING_RESERVED);
        assert_int_equal(hv_reset_dirty_rings(vm), DIRTY_RING_RESERVED);
        assert_true(hv_ring_is_full(vcpu));
        harvest(vcpu, before + DIRTY_RING_RESERVED, COUNT - DIRTY_RING_RESERVED);
        assert_int_equal(hv_reset_dirty_rings(vm), COUNT - DIRTY_RING_RESERVED);
        assert_false(hv_ring_is_full(vcpu));
    }
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* --- what is protected ------------------------------------------------------------------------------ */

static struct {
    uint64_t first[16], mask[16];
    unsigned count;
} seen;

static bool note_protect(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first_gfn, uint64_t mask)
{
    (void)vm;
    (void)slot;
    assert_true(seen.count < 16);
    seen.first[seen.count] = first_gfn;
    seen.mask[seen.count++] = mask;
    return true;
}

static void entries_of_one_window_go_together(void **state)
{
    (void)state;
    struct hv_vm *vm = new_ring_vm();
    struct hv_mmu_ops ops = *vm->mmu;
    ops.log_protect = note_protect;
    vm->mmu = &ops;
    seen.count = 0;
    struct hv_vcpu *a = new_vcpu(vm, 0), *b = new_vcpu(vm, 1);
    assert_int_equal(set(vm, 0, LOG, 1000, 200, HVA), 0);
    assert_int_equal(set(vm, 1, LOG, 2000, 64, HVA), 0);
    const uint64_t gfns[] = {1003, 1001, 1063, 1064, 1010, 2002};
    for (unsigned i = 0; i < 6; i++) {
        dirty_page(a, gfns[i]);
    }
    dirty_page(b, 1199);
    harvest(a, 0, 6);
    harvest(b, 0, 1);
    uint64_t before = flushes(vm);
    assert_int_equal(hv_reset_dirty_rings(vm), 7);
    assert_int_equal(flushes(vm), before + 1);
    assert_int_equal(seen.count, 5);
    const uint64_t first[] = {1192, 1000, 1064, 1000, 2000}; /* b is the newer, so the first in the list */
    const uint64_t mask[] = {1 << 7, 1 << 3 | 1 << 1 | UINT64_C(1) << 63, 1, 1 << 10, 1 << 2};
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(seen.first[i], first[i]);
        assert_true(seen.mask[i] == mask[i]);
    }
    assert_int_equal(hv_reset_dirty_rings(vm), 0);
    assert_int_equal(flushes(vm), before + 1);
    hv_vcpu_destroy(a);
    hv_vcpu_destroy(b);
    hv_vm_destroy(vm);
}

/* The user may write what it likes into an entry that it takes. */
static void nonsense_in_an_entry(void **state)
{
    (void)state;
    struct hv_vm *vm = new_ring_vm();
    struct hv_mmu_ops ops = *vm->mmu;
    ops.log_protect = note_protect;
    vm->mmu = &ops;
    seen.count = 0;
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    uint32_t size;
    struct kvm_dirty_gfn *entries = hv_ring_entries(vcpu, &size);
    assert_int_equal(set(vm, 0, LOG, 0, 70, HVA), 0);
    const uint32_t slots[] = {0, 0, 0, 7, 65535, 2 << 16, 0xffffffff, 1 << 16, 0};
    const uint64_t pages[] = {70, UINT64_MAX, 1u << 20, 0, 0, 0, 0, 0, 69};
    for (unsigned i = 0; i < 9; i++) {
        dirty_page(vcpu, i);
        entries[i].slot = slots[i];
        entries[i].offset = pages[i];
    }
    harvest(vcpu, 0, 9);
    assert_int_equal(hv_reset_dirty_rings(vm), 9);
    for (unsigned i = 0; i < seen.count; i++) {
        assert_int_equal(seen.first[i], 64);
        assert_int_equal(seen.mask[i] & ~(uint64_t)0x3f, 0);
    }
    assert_int_equal(seen.mask[seen.count - 1], 1 << 5);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

static void sizes_with_pml(void **state)
{
    (void)state;
    struct hv_vm *vm =
        new_vm_of((struct hv_options){.mmu = HV_MMU_EPT, .log_by = HV_LOG_BY_PML, .access_dirty = true});
    assert_int_equal(hv_enable_dirty_ring(vm, 8192), -EINVAL); /* 64 and 512 entries are kept free */
    assert_int_equal(hv_enable_dirty_ring(vm, 16384), 0);
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    assert_int_equal(vcpu->ring->soft_limit, 1024 - 64 - 512);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
    vm = new_vm_of((struct hv_options){.mmu = HV_MMU_EPT, .log_by = HV_LOG_BY_DIRTY_BIT, .access_dirty = true});
    assert_int_equal(hv_enable_dirty_ring(vm, 65536), -EINVAL);
    hv_vm_destroy(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_states_of_an_entry), cmocka_unit_test(only_in_order),
        cmocka_unit_test(full_and_around),        cmocka_unit_test(entries_of_one_window_go_together),
        cmocka_unit_test(nonsense_in_an_entry),   cmocka_unit_test(sizes_with_pml),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
