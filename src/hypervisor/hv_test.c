// SPDX-License-Identifier: MIT
#include "hypervisor/hv.h"

#include "hypervisor/hv_test.h"

static void options(void **state)
{
    (void)state;
    const struct {
        struct hv_options options;
        int rc;
    } cases[] = {
        {{.mmu = HV_MMU_NATIVE, .level_max = 1, .address_bits = 32}, 0},
        {{.mmu = HV_MMU_NATIVE, .level_max = 3, .address_bits = 52}, 0},
        {{.mmu = HV_MMU_NATIVE, .level_max = 0, .address_bits = 48}, -EINVAL},
        {{.mmu = HV_MMU_NATIVE, .level_max = 4, .address_bits = 48}, -EINVAL},
        {{.mmu = HV_MMU_NATIVE, .level_max = 1, .address_bits = 31}, -EINVAL},
        {{.mmu = HV_MMU_NATIVE, .level_max = 1, .address_bits = 53}, -EINVAL},
        {{.mmu = HV_MMU_NATIVE, .level_max = 1, .address_bits = 48, .log_by = HV_LOG_BY_PML}, -EINVAL},
        {{.mmu = HV_MMU_NATIVE, .level_max = 1, .address_bits = 48, .log_by = HV_LOG_BY_DIRTY_BIT}, -EINVAL},
        {{.mmu = HV_MMU_NATIVE, .level_max = 1, .address_bits = 48, .execute_only = true}, -EINVAL},
        {{.mmu = HV_MMU_EPT, .level_max = 1, .address_bits = 48, .tdp_levels = 3}, -EINVAL},
        {{.mmu = HV_MMU_EPT, .level_max = 1, .address_bits = 48, .tdp_levels = 4, .log_by = HV_LOG_BY_PML},
         -EINVAL},
        {{.mmu = HV_MMU_NPT, .level_max = 1, .address_bits = 48, .tdp_levels = 4, .execute_only = true}, -EINVAL},
        {{.mmu = (enum hv_mmu_kind)9, .level_max = 1, .address_bits = 48}, -ENOTSUP},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hv_vm *vm = NULL;
        assert_int_equal(hv_vm_create(&cases[i].options, &vm), cases[i].rc);
        if (vm) {
            assert_int_equal(vm->max_gfn, (UINT64_C(1) << (cases[i].options.address_bits - 12)) - 1);
            hv_vm_destroy(vm);
        }
    }
}

static void vcpus(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *a, *b, *c;
    assert_int_equal(hv_vcpu_create(vm, 0, &a), 0);
    assert_int_equal(hv_vcpu_create(vm, 1, &b), 0);
    assert_int_equal(hv_vcpu_create(vm, 1, &c), -EEXIST);
    /* The first access comes after these. */
    assert_int_equal(hv_request_take(&a->requests), HV_REQUEST_RELOAD_ROOT | HV_REQUEST_LOGGING);
    hv_vcpu_destroy(b);
    assert_int_equal(hv_vcpu_create(vm, 1, &b), 0);
    hv_vcpu_destroy(a);
    hv_vcpu_destroy(b);
    hv_vm_destroy(vm);
}

/* Asked of all; it counts as done when somebody was inside. */
static void flushing(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *a = new_vcpu(vm, 0), *b = new_vcpu(vm, 1);
    hv_flush_all(vm);
    assert_int_equal(hv_request_take(&a->requests), HV_REQUEST_FLUSH);
    assert_int_equal(hv_request_take(&b->requests), HV_REQUEST_FLUSH);
    assert_int_equal(hv_request_take(&b->requests), 0);
    assert_int_equal(flushes(vm), 1);
    assert_int_equal(vm->counters.remote_tlb_flush, 0);
    hv_vcpu_destroy(a);
    hv_vcpu_destroy(b);
    hv_vm_destroy(vm);
}

/* --- the native scheme -------------------------------------------------------------------------------- */

static enum hv_answer exit_at(struct hv_vcpu *vcpu, uint64_t gpa, enum mv_access kind)
{
    const struct pt_exit exit = {.reason = PT_EXIT_NO_MEMORY, .access = {.kind = kind}, .gpa = mv_gpa(gpa)};
    rendezvous_enter(&vcpu->inside);
    enum hv_answer answer = hv_handle_exit(vcpu, &exit);
    rendezvous_leave(&vcpu->inside);
    return answer;
}

static void what_an_exit_becomes(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    assert_int_equal(exit_at(vcpu, 0x5000, MV_ACCESS_READ), HV_EMULATE);
    assert_int_equal(exit_at(vcpu, 0x5000, MV_ACCESS_READ), HV_EMULATE);
    /* A slot that comes makes an end of what was remembered. */
    assert_int_equal(set(vm, 0, 0, 5, 1, HVA), 0);
    assert_int_equal(exit_at(vcpu, 0x5000, MV_ACCESS_READ), HV_RETRY);
    assert_int_equal(set(vm, 1, RO, 6, 1, HVA), 0);
    assert_int_equal(exit_at(vcpu, 0x6000, MV_ACCESS_WRITE), HV_EMULATE);
    assert_int_equal(exit_at(vcpu, 0x6000, MV_ACCESS_READ), HV_RETRY);
    assert_int_equal(exit_at(vcpu, 0x6000, MV_ACCESS_FETCH), HV_RETRY);
    assert_int_equal(vcpu->counters.pf_taken, 6);
    assert_int_equal(vcpu->counters.pf_emulate, 3);
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

static void bytes_of_the_guest(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    assert_int_equal(set(vm, 0, 0, 5, 2, HVA), 0);
    assert_int_equal(set(vm, 1, RO, 7, 1, HVA + 16 * PAGE), 0);
    assert_int_equal(set(vm, 1 << 16, 0, 5, 1, HVA + 32 * PAGE), 0);
    assert_ptr_equal(bytes_at(vcpu, 0x5000, MV_ACCESS_WRITE), (void *)HVA);
    assert_ptr_equal(bytes_at(vcpu, 0x6fff, MV_ACCESS_READ), (void *)(HVA + 0x1fff));
    assert_ptr_equal(bytes_at(vcpu, 0x7008, MV_ACCESS_FETCH), (void *)(HVA + 16 * PAGE + 8));
    assert_null(bytes_at(vcpu, 0x7008, MV_ACCESS_WRITE));
    assert_null(bytes_at(vcpu, 0x8000, MV_ACCESS_READ));
    assert_null(bytes_at(vcpu, 0x4fff, MV_ACCESS_READ));
    assert_null(bytes_at(vcpu, UINT64_MAX, MV_ACCESS_READ));
    vcpu->space = 1;
    assert_ptr_equal(bytes_at(vcpu, 0x5000, MV_ACCESS_READ), (void *)(HVA + 32 * PAGE));
    assert_null(bytes_at(vcpu, 0x6000, MV_ACCESS_READ));
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* A slot may be there and its memory not: with host address 0 one can tell without looking. */
static void a_slot_at_host_address_0(void **state)
{
    (void)state;
    for (unsigned mmu = HV_MMU_NATIVE; mmu <= HV_MMU_NPT; mmu++) {
        struct hv_vm *vm = new_vm_of((struct hv_options){.mmu = (enum hv_mmu_kind)mmu, .access_dirty = true});
        struct hv_vcpu *vcpu = new_vcpu(vm, 0);
        assert_int_equal(set(vm, 0, 0, 512, 512 * 4, 0), 0);
        assert_null(bytes_at(vcpu, 512 * PAGE, MV_ACCESS_READ));
        if (mmu == HV_MMU_NATIVE) {
            assert_int_equal(exit_at(vcpu, 512 * PAGE, MV_ACCESS_READ), HV_ERROR);
            assert_int_equal(vcpu->error, -EFAULT);
        } else {
            struct hv_pre_fault range = {512 * PAGE, 3 * PAGE, 0};
            assert_int_equal(hv_pre_fault(vcpu, &range), -EFAULT);
            range.gpa = 1024 * PAGE;
            assert_int_equal(hv_pre_fault(vcpu, &range), 0);
        }
        hv_vcpu_destroy(vcpu);
        hv_vm_destroy(vm);
    }
}

/* While a slot goes: no bytes, and try again. */
static struct hv_vcpu *in_the_window;
static bool saw_window;

static bool look_in_the_window(struct hv_vm *vm)
{
    (void)vm;
    assert_null(bytes_at(in_the_window, 0x5000, MV_ACCESS_READ));
    assert_int_equal(exit_at(in_the_window, 0x5000, MV_ACCESS_READ), HV_RETRY);
    assert_int_equal(exit_at(in_the_window, 0x5000, MV_ACCESS_WRITE), HV_RETRY);
    saw_window = true;
    return true;
}

static void the_window_of_a_delete(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_mmu_ops ops = *vm->mmu;
    ops.zap_all = look_in_the_window;
    vm->mmu = &ops;
    in_the_window = new_vcpu(vm, 0);
    assert_int_equal(set(vm, 0, 0, 5, 1, HVA), 0);
    assert_int_equal(set(vm, 0, 0, 9, 1, HVA), 0);
    assert_true(saw_window);
    assert_int_equal(exit_at(in_the_window, 0x5000, MV_ACCESS_READ), HV_EMULATE);
    assert_ptr_equal(bytes_at(in_the_window, 0x9000, MV_ACCESS_READ), (void *)HVA);
    hv_vcpu_destroy(in_the_window);
    hv_vm_destroy(vm);
}

/* --- KVM_PRE_FAULT_MEMORY ------------------------------------------------------------------------------ */

static void pre_fault_refuses(void **state)
{
    (void)state;
    struct hv_vm *vm = new_vm();
    struct hv_vcpu *vcpu = new_vcpu(vm, 0);
    const struct hv_pre_fault bad[] = {
        {0, 0, 0},
        {0, PAGE, 1},
        {1, PAGE, 0},
        {0, PAGE + 1, 0},
        {(uint64_t)0 - PAGE, PAGE, 0},
        {PAGE, (uint64_t)0 - PAGE, 0},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hv_pre_fault range = bad[i];
        assert_int_equal(hv_pre_fault(vcpu, &range), -EINVAL);
    }
    struct hv_pre_fault range = {0, PAGE, 0};
    assert_int_equal(set(vm, 0, 0, 0, 1, HVA), 0);
    assert_int_equal(hv_pre_fault(vcpu, &range), -EOPNOTSUPP); /* no tables */
    hv_vcpu_destroy(vcpu);
    hv_vm_destroy(vm);
}

/* As KVM's own test has it: all of 2 MiB and a page; one page more is left, and then it is said why. */
static void pre_fault_goes_forward(void **state)
{
    (void)state;
    for (unsigned level = 1; level <= 2; level++) {
        struct hv_vm *vm;
        const struct hv_options o = {.mmu = HV_MMU_EPT,
                                     .tdp_levels = 4,
                                     .level_max = (uint8_t)level,
                                     .address_bits = 48,
                                     .access_dirty = true};
        assert_int_equal(hv_vm_create(&o, &vm), 0);
        struct hv_vcpu *vcpu;
        assert_int_equal(hv_vcpu_create(vm, 0, &vcpu), 0);
        uint64_t size = 2 * MIB + PAGE;
        unsigned char *ram = aligned_alloc(2 * MIB, 4 * MIB);
        assert_non_null(ram);
        memset(ram, 1, 4 * MIB);
        assert_int_equal(set(vm, 0, 0, 512, size / PAGE, (uint64_t)(uintptr_t)ram), 0);
        struct hv_pre_fault range = {2 * MIB, size, 0};
        assert_int_equal(hv_pre_fault(vcpu, &range), 0);
        assert_int_equal(range.size, 0);
        assert_int_equal(range.gpa, 2 * MIB + size);
        struct hv_counters counters;
        pthread_mutex_lock(&vm->slots_lock);
        hv_counters_read(vm, &counters);
        pthread_mutex_unlock(&vm->slots_lock);
        assert_int_equal(counters.pages_2m, level == 2 ? 1 : 0);
        assert_int_equal(counters.pages_4k, level == 2 ? 1 : 513);
        range = (struct hv_pre_fault){2 * MIB + 5 * PAGE, size - 4 * PAGE, 0};
        assert_int_equal(hv_pre_fault(vcpu, &range), 0);
        assert_int_equal(range.size, PAGE);
        assert_int_equal(range.gpa, 2 * MIB + size);
        assert_int_equal(hv_pre_fault(vcpu, &range), -ENOENT);
        assert_int_equal(range.size, PAGE);
        hv_vcpu_destroy(vcpu);
        hv_vm_destroy(vm);
        free(ram);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options),
        cmocka_unit_test(vcpus),
        cmocka_unit_test(flushing),
        cmocka_unit_test(what_an_exit_becomes),
        cmocka_unit_test(bytes_of_the_guest),
        cmocka_unit_test(a_slot_at_host_address_0),
        cmocka_unit_test(the_window_of_a_delete),
        cmocka_unit_test(pre_fault_refuses),
        cmocka_unit_test(pre_fault_goes_forward),
    };
    return cmocka_run_group_tests_name("hv", tests, NULL, NULL);
}
