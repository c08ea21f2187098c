// SPDX-License-Identifier: MIT
/*
 * The Intel 82371SB (PIIX3): function 0, the bridge to ISA. Its registers are storage: no interrupt is routed and
 * no bus is behind it. There is the reset control register at port 0xcf9 ("RC - Reset Control Register").
 */
#ifndef DEV_PIIX3_H
#define DEV_PIIX3_H

#include <memvirt/region.h>

#define PIIX3_RESET_PORTS 1

struct piix3_options {
    uint8_t devfn;
    /* Told that the guest wants a reset, and by what. In the writing thread, without a lock. Borrowed. */
    void (*reset)(void *opaque, const char *how);
    void *opaque;
};

/*
 * Plug the bridge into a PCI bus.
 * @param[out] ret_reset  the region of its reset port, to be mapped
 * @return 0 or -ENOMEM
 */
int piix3_create(struct mv_machine *machine, struct mv_region *bus, const struct piix3_options *options,
                 struct mv_region **ret_reset, struct mv_error *err);

#endif
