// SPDX-License-Identifier: MIT
/*
 * Just enough of a local APIC to start the other processors: one page, in which each vCPU sees registers of its
 * own.
 *
 * There: ID, version, and an ICR that sends INIT and start-up IPIs. Every other writable register is storage.
 * Missing: interrupts of every kind (fixed, lowest priority, NMI, SMI: ignored and counted; the LVT, the timer,
 * which does not count down, and the error status do nothing), logical destinations (ignored and counted), x2APIC,
 * and moving or disabling the page by IA32_APIC_BASE.
 */
#ifndef DEV_APIC_H
#define DEV_APIC_H

#include <memvirt/region.h>

#define APIC_SIZE 0x1000
#define APIC_MAX_VCPUS 255 /* an xAPIC ID has 8 bits, and 255 means everyone */

struct apic_options {
    const char *name;    /* of the region */
    uint64_t size_bytes; /* at least APIC_SIZE; beyond that page nothing is */
    unsigned vcpus;      /* 1 to APIC_MAX_VCPUS; vCPU n has ID n */
    /* Told each IPI for an existing vCPU, in the sending vCPU's thread, without a lock. Borrowed, as `opaque` is.
     */
    void (*init)(void *opaque, unsigned vcpu);
    void (*startup)(void *opaque, unsigned vcpu, uint8_t vector);
    void *opaque;
};

/* Make the device's region, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int apic_create(struct mv_machine *machine, const struct apic_options *options, struct mv_region **ret,
                struct mv_error *err);

/* How many IPIs were ignored because of their delivery mode or logical destination. Any thread. */
uint64_t apic_ignored_ipis(struct mv_region *region);

#endif
