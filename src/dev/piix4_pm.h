// SPDX-License-Identifier: MIT
/*
 * The power management function of the Intel 82371AB (PIIX4): its configuration space, and the ACPI registers that
 * it maps where PMBA (40) says once PMREGMISC (80) bit 0 is set.
 *
 *     +0   acpi-evt  PM1 status and enable
 *     +4   acpi-cnt  PM1 control; SLP_EN with sleep type 0 switches the power off
 *     +8   acpi-tmr  24 bits that count with 3.579545 MHz
 *     b2   apm-io    control and status; f1 and f0 switch SCI_EN, which the firmware's SMI handler would do
 *     afe0 acpi-gpe0 storage
 *
 * The devices of the board are in none of its decode ranges: those registers are storage. No SMI, no SCI and no
 * SMBus; APMC_EN (5b bit 1) is set from the start, which tells firmware that SMM is taken care of.
 */
#ifndef DEV_PIIX4_PM_H
#define DEV_PIIX4_PM_H

#include <memvirt/region.h>

#include "dev/timebase.h"

#define PIIX4_APM_PORT 0xb2
#define PIIX4_GPE_PORT 0xafe0

struct piix4_pm_options {
    uint8_t devfn;
    struct mv_region *ports; /* the root of the I/O space: where its regions go */
    struct timebase timebase;
    /* Told that the guest switches the power off. In the writing thread, without a lock. Borrowed. */
    void (*power_off)(void *opaque);
    void *opaque;
};

/* Plug the function into a PCI bus, and its regions into the ports. @return 0 or -ENOMEM */
int piix4_pm_create(struct mv_machine *machine, struct mv_region *bus, const struct piix4_pm_options *options,
                    struct mv_error *err);

#endif
