// SPDX-License-Identifier: MIT
/*
 * The Intel 440FX's host bridge, 00:00.0: which of RAM and PCI answers between a0000 and fffff (Intel 440FX PCIset
 * data sheet, "PAM - Programmable Attribute Map Registers" and "SMRAM - System Management RAM Control Register").
 *
 *     register   59 high  5a low  5a high  ...  5f low  5f high
 *     range      f0000-   c0000-  c4000-        e8000-  ec000-      each 16 KiB, but the first 64 KiB
 *     bit 0 / 4  reads come from RAM, not from PCI
 *     bit 1 / 5  writes go to RAM
 *
 *     register 72, bit 6 (D_OPEN): a0000-bffff is RAM for everybody; bit 3 (G_SMRAME): for a processor in system
 *     management mode
 *
 * A write to the configuration space is one transaction, whatever it changes.
 *
 * As in QEMU 7.2: "reads PCI, writes RAM" is RAM for both, because no region does one thing for reads and another
 * for writes; D_LCK and D_CLS are storage.
 */
#ifndef DEV_I440FX_H
#define DEV_I440FX_H

#include <memvirt/region.h>

#define I440FX_PAM0 0x59
#define I440FX_SMRAM 0x72
#define I440FX_SMRAM_RESET 0x02
#define I440FX_SMRAM_ENABLE 0x08
#define I440FX_SMRAM_OPEN 0x40

/* Where the bridge is. It puts its own regions there: aliases of `ram` and `pci`. */
struct i440fx_options {
    struct mv_region *system; /* the root of memory */
    struct mv_region *ram;    /* at least 1 MiB */
    struct mv_region *pci;    /* what answers where RAM does not */
};

/*
 * Plug the bridge into a PCI bus, and its regions into the system.
 * @param[out] ret_smram  what is RAM in system management mode only; the reference is the caller's
 * @return 0 or -ENOMEM
 */
int i440fx_create(struct mv_machine *machine, struct mv_region *bus, const struct i440fx_options *options,
                  struct mv_region **ret_smram, struct mv_error *err);

#endif
