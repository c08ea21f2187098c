// SPDX-License-Identifier: MIT
/*
 * fw_cfg's DMA: the guest writes the address of a request to eight ports, big-endian, high half first, and finds
 * the item copied into its memory when the write of the low half is done (QEMU's "Firmware Configuration Device",
 * "Guest-side DMA Interface"). Items cannot be written: a request for it fails.
 */
#ifndef DEV_FW_CFG_DMA_H
#define DEV_FW_CFG_DMA_H

#include <memvirt/space.h>

#define FW_CFG_DMA_PORTS 8

/*
 * Make the region for a fw_cfg device, of which it takes a reference, and say in that device's ID that there is
 * DMA. Until it is connected every request is ignored.
 * @return 0 or -ENOMEM
 */
int fw_cfg_dma_create(struct mv_machine *machine, const char *name, struct mv_region *fw_cfg,
                      struct mv_region **ret, struct mv_error *err);

/* Where requests are and copies go. Borrowed until it is connected to another or to NULL. Any thread. */
void fw_cfg_dma_connect(struct mv_region *region, struct mv_space *memory);

#endif
