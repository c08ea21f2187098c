// SPDX-License-Identifier: MIT
/*
 * An I/O APIC's registers (Intel 82093AA data sheet): index and data windows, ID, version, and a redirection table
 * of 24 entries that is storage. No interrupt comes in or goes out.
 */
#ifndef DEV_IOAPIC_H
#define DEV_IOAPIC_H

#include <memvirt/region.h>

#define IOAPIC_SIZE 0x1000

/* Make the device's region, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int ioapic_create(struct mv_machine *machine, struct mv_region **ret, struct mv_error *err);

#endif
