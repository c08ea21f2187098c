// SPDX-License-Identifier: MIT
/*
 * An 8259 interrupt controller as far as its registers go (Intel 8259A data sheet): initialisation, mask, and its
 * edge/level register. No interrupt is ever requested, so IRR and ISR read as 0.
 */
#ifndef DEV_PIC_H
#define DEV_PIC_H

#include <memvirt/region.h>

#define PIC_PORTS 2
#define PIC_ELCR_PORTS 1
#define PIC_ELCR_FIRST 0xf8  /* which inputs can be level-triggered, of the controller at 20 */
#define PIC_ELCR_SECOND 0xde /* and at a0 */

/* Make the regions "pic" and "elcr", to be mapped; the device goes with the last. @return 0 or -ENOMEM */
int pic_create(struct mv_machine *machine, uint8_t elcr_mask, struct mv_region **ret_pic,
               struct mv_region **ret_elcr, struct mv_error *err);

#endif
