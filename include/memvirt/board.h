// SPDX-License-Identifier: MIT
/**
 * @file board.h
 * Boards: a machine's memory map with its devices.
 *
 * The `minimal` board:
 *
 *     RAM       0 up to 3 GiB; the rest, if any, from 4 GiB up
 *     scratch   d0000000-d0000fff   a device for tests: a 64-bit register at 0, the constant 6d656d76 at 8
 *     apic      fee00000-fee00fff   a local APIC with no more than ID, INIT and start-up IPI
 *     boot.rom  ffff0000-ffffffff   ROM, full of HLT instructions
 *     ports     e9 debug console, f4 exit, 3f8-3ff serial console, 510-511 fw_cfg
 */
#ifndef MEMVIRT_BOARD_H
#define MEMVIRT_BOARD_H

#include <memvirt/vm.h>

MV_BEGIN_DECLS

struct mv_board;

struct mv_board_options {
    uint64_t ram_bytes; /**< a multiple of 4 KiB, at least 64 KiB */
    unsigned vcpus;     /**< what fw_cfg tells the guest; 1 to 255 */

    /** Told every byte that the guest prints on serial port or debug console, in order, one call at a time, in a
     * vCPU's thread. It must not access the guest's console itself. */
    void (*console)(void *opaque, const void *bytes, size_t length);
    void *console_opaque;
};

/**
 * Build the minimal board's regions, blocks and spaces in a machine.
 * @return 0; -EINVAL ("bad-ram-size", "bad-vcpus"); -ENOMEM; or what the host says to so much memory
 */
MV_API int mv_board_create(struct mv_machine *machine, const struct mv_board_options *options,
                           struct mv_board **ret, struct mv_error *err);

/** End a board; its VM must be gone, and nobody accesses its regions any more, even through a view. NULL is
 * allowed. */
MV_API void mv_board_destroy(struct mv_board *board);

/** Its spaces, for mv_vm_create(): guest physical memory, and I/O ports. They live as long as the board. */
MV_API struct mv_space *mv_board_memory(struct mv_board *board);
MV_API struct mv_space *mv_board_io(struct mv_board *board);

/** Connect the devices that act on a VM: the exit port, and the APIC's INIT and start-up IPI. NULL disconnects. */
MV_API void mv_board_connect(struct mv_board *board, struct mv_vm *vm);

MV_END_DECLS

#endif
