// SPDX-License-Identifier: MIT
/*
 * A device for tests of MMIO: at 0 a 64-bit register that keeps what is written to it, in accesses of 1 to 8 bytes
 * to any aligned part; at 8 the 32-bit constant SCRATCH_ID; the rest of its page reads 0 and ignores writes.
 */
#ifndef DEV_SCRATCH_H
#define DEV_SCRATCH_H

#include <memvirt/region.h>

#define SCRATCH_SIZE 0x1000
#define SCRATCH_ID UINT32_C(0x6d656d76) /* "vmem" in memory */

/* Make the device's region, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int scratch_create(struct mv_machine *machine, struct mv_region **ret, struct mv_error *err);

#endif
