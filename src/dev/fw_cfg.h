// SPDX-License-Identifier: MIT
/*
 * fw_cfg: how firmware and test guests ask a VMM about the machine (QEMU's "Firmware Configuration Device"). The
 * guest writes an item's key to the selector, which rewinds it, and reads the item from the data port byte by
 * byte.
 *
 * Missing: writing items. DMA is in fw_cfg_dma.h; without it the ID says that there is none.
 */
#ifndef DEV_FW_CFG_H
#define DEV_FW_CFG_H

#include <memvirt/region.h>

/* The selector, and the data port, of which accesses of up to 4 bytes take as many bytes of the item. */
#define FW_CFG_PORTS 2

enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x0000, /* "QEMU"; made by fw_cfg_create() */
    FW_CFG_ID = 0x0001,        /* u32, the interfaces there are; made by fw_cfg_create() */
    FW_CFG_RAM_SIZE = 0x0003,  /* u64, in bytes */
    FW_CFG_NB_CPUS = 0x0005,   /* u16 */
    FW_CFG_MAX_CPUS = 0x000f,  /* u16 */
    FW_CFG_DIRECTORY = 0x0019, /* what files there are; made by fw_cfg_create() */
    FW_CFG_FIRST_FILE = 0x0020,
};

/* Make the device's region, of that name, to be mapped; the device goes with it. @return 0 or -ENOMEM */
int fw_cfg_create(struct mv_machine *machine, const char *name, struct mv_region **ret, struct mv_error *err);

/*
 * Add an item to the fw_cfg device behind `region`; the bytes are copied. Any thread, also while the guest runs.
 * @return 0; -EEXIST ("duplicate": there is an item with this key); -ENOMEM
 */
int fw_cfg_add(struct mv_region *region, uint16_t key, const void *bytes, size_t length, struct mv_error *err);

/* Longest name of a file. */
#define FW_CFG_NAME_MAX 55

/*
 * Add a file: an item with the next free key, which the guest finds by its name in the directory.
 * @return 0; -EINVAL ("bad-name": it is too long); -ENOMEM
 */
int fw_cfg_add_file(struct mv_region *region, const char *name, const void *bytes, size_t length,
                    struct mv_error *err);

/* What the selector and the data port do, for another interface to the same items. Any thread. */
void fw_cfg_select(struct mv_region *region, uint16_t key);
void fw_cfg_take(struct mv_region *region, uint8_t *ret_bytes, size_t length);
void fw_cfg_skip(struct mv_region *region, size_t length);
/* Say in the ID that there is DMA. */
void fw_cfg_say_dma(struct mv_region *region);

/* As fw_cfg_add(), for a number, which the guest finds in little-endian order. */
int fw_cfg_add_u16(struct mv_region *region, uint16_t key, uint16_t value, struct mv_error *err);
int fw_cfg_add_u64(struct mv_region *region, uint16_t key, uint64_t value, struct mv_error *err);

#endif
