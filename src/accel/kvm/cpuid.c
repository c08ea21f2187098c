// SPDX-License-Identifier: MIT
#include "accel/kvm/cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/error.h"

#define ENTRIES_AT_FIRST 128
#define ENTRIES_AT_MOST 4096

/* Intel SDM, CPUID: leaf 1 ECX bit 21 x2APIC, bit 24 TSC-deadline timer; EBX bits 31-24 the initial APIC id. */
#define LEAF1_ECX_X2APIC (1u << 21)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)

/* Leaf 80000001 EDX bit 26: 1 GiB pages; leaf 80000008 EAX bits 7-0: MAXPHYADDR, without it 36. */
#define LEAF_VENDOR 0u
#define VENDOR_AMD 0x68747541u   /* "Auth" of AuthenticAMD */
#define VENDOR_HYGON 0x6f677948u /* "Hygo" of HygonGenuine */
#define LEAF_EXTENDED 0x80000001u
#define LEAF_EXTENDED_EDX_1G_PAGES (1u << 26)
#define LEAF_ADDRESS_SIZES 0x80000008u
#define ADDRESS_BITS_DEFAULT 36

static int ask(int kvm_fd, uint32_t entries, struct kvm_cpuid2 **ret)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + entries * sizeof cpuid->entries[0]);
    if (!cpuid) {
        return -ENOMEM;
    }
    cpuid->nent = entries;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
        int rc = error_errno();
        free(cpuid);
        return rc;
    }
    *ret = cpuid;
    return 0;
}

/* The local APIC is not the kernel's: what only that one can do is not there. */
static void remove_apic_features(struct kvm_cpuid2 *cpuid)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == 1) {
            cpuid->entries[i].ecx &= ~(LEAF1_ECX_X2APIC | LEAF1_ECX_TSC_DEADLINE);
        }
    }
}

int kvm_cpuid_supported(int kvm_fd, struct kvm_cpuid2 **ret, struct mv_error *err)
{
    int rc = -E2BIG;
    for (uint32_t entries = ENTRIES_AT_FIRST; rc == -E2BIG && entries <= ENTRIES_AT_MOST; entries *= 2) {
        rc = ask(kvm_fd, entries, ret);
    }
    if (rc < 0) {
        return error_host(err, rc, "/dev/kvm", "/dev/kvm: KVM_GET_SUPPORTED_CPUID failed");
    }
    remove_apic_features(*ret);
    return 0;
}

static void set_apic_id(struct kvm_cpuid2 *cpuid, unsigned index)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        if (e->function == 1) {
            e->ebx = (e->ebx & 0x00ffffffu) | index << 24;
        } else if (e->function == 0xb || e->function == 0x1f) {
            e->edx = index; /* x2APIC id, in every subleaf */
        }
    }
}

int kvm_cpuid_set(int vcpu_fd, struct kvm_cpuid2 *cpuid, unsigned index, struct mv_error *err)
{
    set_apic_id(cpuid, index);
    if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0) {
        return error_host(err, error_errno(), "/dev/kvm", "vCPU %u: KVM_SET_CPUID2 failed", index);
    }
    return 0;
}

struct accel_paging kvm_cpuid_paging(const struct kvm_cpuid2 *cpuid)
{
    struct accel_paging paging = {.address_bits = ADDRESS_BITS_DEFAULT};
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
        if (e->function == LEAF_VENDOR) {
            paging.is_amd = e->ebx == VENDOR_AMD || e->ebx == VENDOR_HYGON;
        } else if (e->function == LEAF_EXTENDED) {
            paging.has_1g_pages = e->edx & LEAF_EXTENDED_EDX_1G_PAGES;
        } else if (e->function == LEAF_ADDRESS_SIZES && (e->eax & 0xff) >= 32) {
            paging.address_bits = e->eax & 0xff;
        }
    }
    return paging;
}
