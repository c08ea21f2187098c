// SPDX-License-Identifier: MIT
/* The scheme of two dimensions for one format, as a struct hv_mmu_ops. Included by the file of each. */
#ifndef HYPERVISOR_TDP_INSTANCE_H
#define HYPERVISOR_TDP_INSTANCE_H

#include "hypervisor/tdp_age.h"
#include "hypervisor/tdp_fault.h"
#include "hypervisor/tdp_log.h"
#include "hypervisor/tdp_zap.h"

/* Thin functions, so that the format is a constant in what they inline; and the table of them. */
#define TDP_INSTANCE(ops_name, format, word)                                                                      \
    static int instance_vm_init(struct hv_vm *vm)                                                                 \
    {                                                                                                             \
        return tdp_vm_init(vm, &(format));                                                                        \
    }                                                                                                             \
    static enum hv_answer instance_handle(struct hv_vcpu *vcpu, const struct pt_exit *exit)                       \
    {                                                                                                             \
        return tdp_handle(&(format), vcpu, exit);                                                                 \
    }                                                                                                             \
    static int instance_pre_fault(struct hv_vcpu *vcpu, uint64_t gfn)                                             \
    {                                                                                                             \
        return tdp_pre_fault(&(format), vcpu, gfn);                                                               \
    }                                                                                                             \
    static bool instance_zap_gfns(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last)    \
    {                                                                                                             \
        return tdp_zap_gfns(&(format), vm, slot, first, last);                                                    \
    }                                                                                                             \
    static bool instance_log_start(struct hv_vm *vm, const struct hv_slot *slot)                                  \
    {                                                                                                             \
        return tdp_log_start(&(format), vm, slot);                                                                \
    }                                                                                                             \
    static bool instance_log_stop(struct hv_vm *vm, const struct hv_slot *slot)                                   \
    {                                                                                                             \
        return tdp_collapse(&(format), vm, slot);                                                                 \
    }                                                                                                             \
    static bool instance_log_harvest(struct hv_vm *vm, const struct hv_slot *slot)                                \
    {                                                                                                             \
        return tdp_log_harvest(&(format), vm, slot);                                                              \
    }                                                                                                             \
    static bool instance_log_protect(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first_gfn,            \
                                     uint64_t mask)                                                               \
    {                                                                                                             \
        return tdp_log_protect(&(format), vm, slot, first_gfn, mask);                                             \
    }                                                                                                             \
    static bool instance_log_protect_all(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first,            \
                                         uint64_t last)                                                           \
    {                                                                                                             \
        return tdp_log_protect_all(&(format), vm, slot, first, last);                                             \
    }                                                                                                             \
    static bool instance_age(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first, uint64_t last,         \
                             bool test_only)                                                                      \
    {                                                                                                             \
        return tdp_age(&(format), vm, slot, first, last, test_only);                                              \
    }                                                                                                             \
    static bool instance_write_protect(struct hv_vm *vm, const struct hv_slot *slot, uint64_t first,              \
                                       uint64_t last)                                                             \
    {                                                                                                             \
        return tdp_write_protect(&(format), vm, slot, first, last);                                               \
    }                                                                                                             \
    static bool instance_recover(struct hv_vm *vm, unsigned ratio)                                                \
    {                                                                                                             \
        return tdp_recover_nx(&(format), vm, ratio);                                                              \
    }                                                                                                             \
    static void instance_collect(struct hv_vm *vm)                                                                \
    {                                                                                                             \
        tdp_collect(&(format), vm);                                                                               \
    }                                                                                                             \
    const struct hv_mmu_ops ops_name = {                                                                          \
        .name = word,                                                                                             \
        .vm_init = instance_vm_init,                                                                              \
        .vm_finish = tdp_vm_finish,                                                                               \
        .vcpu_init = tdp_vcpu_init,                                                                               \
        .vcpu_finish = tdp_vcpu_finish,                                                                           \
        .handle = instance_handle,                                                                                \
        .pre_fault = instance_pre_fault,                                                                          \
        .load_root = tdp_load_root,                                                                               \
        .zap_all = tdp_unlink_roots,                                                                              \
        .zap_gfns = instance_zap_gfns,                                                                            \
        .log_start = instance_log_start,                                                                          \
        .log_stop = instance_log_stop,                                                                            \
        .log_harvest = instance_log_harvest,                                                                      \
        .log_protect = instance_log_protect,                                                                      \
        .log_protect_all = instance_log_protect_all,                                                              \
        .age = instance_age,                                                                                      \
        .write_protect = instance_write_protect,                                                                  \
        .recover = instance_recover,                                                                              \
        .collect = instance_collect,                                                                              \
        .present_root = tdp_present_root,                                                                         \
        .table_bytes = tdp_table_bytes,                                                                           \
    };

#endif
