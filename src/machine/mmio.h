// SPDX-License-Identifier: MIT
/*
 * MMIO: from one guest access to calls of a device's handlers, by the rules of QEMU's MemoryRegionOps: what the
 * device accepts (`valid`), how a long access is cut (`mmio_piece`), and how one piece is split or widened to what
 * the handlers can do (`impl`).
 */
#ifndef MACHINE_MMIO_H
#define MACHINE_MMIO_H

#include "machine/region.h"

/* The handlers of every RAM device: the bytes, by one load or store of the size asked for. */
extern const struct mv_mmio_ops ram_device_ops;

/* How many bytes of an access of `length` at `offset` go to the device at once: 1, 2, 4 or 8. */
unsigned mmio_piece(const struct mv_region *region, uint64_t offset, size_t length);

/* Whether the device takes an access of 1, 2, 4 or 8 bytes. */
bool mmio_accepts(const struct mv_region *region, uint64_t offset, unsigned size_bytes, bool is_write,
                  struct mv_attrs attrs);
/* One access of 1, 2, 4 or 8 bytes. A refused read gives 0. */
enum mv_result mmio_read(const struct mv_region *region, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                         struct mv_attrs attrs);
enum mv_result mmio_write(const struct mv_region *region, uint64_t offset, unsigned size_bytes, uint64_t value,
                          struct mv_attrs attrs);

/*
 * The sizes, 1, 2, 4 and 8, added up, of which a naturally aligned access is one call of a handler with just that
 * offset, size and value: nothing to refuse, to cut, to widen or to swap. Most accesses to most devices are such.
 * None for a device with a guard.
 */
uint8_t mmio_simple_sizes(const struct mv_region *region);

/* Between a register's value and its bytes in guest memory, in the device's byte order. */
void mmio_value_to_bytes(const struct mv_region *region, uint64_t value, unsigned size_bytes, unsigned char *ret);
uint64_t mmio_bytes_to_value(const struct mv_region *region, const unsigned char *bytes, unsigned size_bytes);

#endif
