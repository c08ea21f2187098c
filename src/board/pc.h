// SPDX-License-Identifier: MIT
/* The pc board's two halves. */
#ifndef BOARD_PC_H
#define BOARD_PC_H

#include "board/board.h"

/* Where RAM below 4 GiB ends: QEMU's rule for the i440FX. */
uint64_t pc_ram_below_4g(uint64_t ram_bytes);

/* The I/O space, with `bus` as its PCI configuration mechanism's address and data ports. */
struct pc_bus {
    struct mv_region *index;
    struct mv_region *data;
};
int pc_build_ports(struct build *build, const struct pc_bus *bus, struct mv_error *err);

#endif
