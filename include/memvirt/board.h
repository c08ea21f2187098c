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
 *
 * The `pc` board: an i440FX with the memory map of QEMU 7.2's `-M pc`, whose PAM and SMRAM registers work. A vCPU
 * starts it at its reset vector. docs/pc.md has the map and the devices.
 */
#ifndef MEMVIRT_BOARD_H
#define MEMVIRT_BOARD_H

#include <memvirt/vm.h>

MV_BEGIN_DECLS

struct mv_board;

enum mv_board_kind {
    MV_BOARD_MINIMAL,
    MV_BOARD_PC,
};

struct mv_board_options {
    enum mv_board_kind kind;
    uint64_t ram_bytes; /**< a multiple of 4 KiB, at least 64 KiB; pc: 1 MiB */
    /** What the RAM's block is made of; its name, its size and what belongs to them are the board's. NULL:
     * anonymous memory, with every option at its default. */
    const struct mv_block_options *ram;
    unsigned vcpus; /**< what fw_cfg tells the guest; 1 to 255 */

    const char
        *bios; /**< pc: a file, of which the size is a multiple of 64 KiB; NULL: 256 KiB of HLT instructions */
    bool vga_lowmem; /**< pc: a0000-bffff is the window of a display adapter (that never answers), not RAM */

    /** Told every byte that the guest prints on serial port or debug console, in order, one call at a time, in a
     * vCPU's thread. It must not access the guest's console itself. */
    void (*console)(void *opaque, const void *bytes, size_t length);
    void *console_opaque;
};

/**
 * Build a board's regions, blocks and spaces in a machine.
 * @return 0; -EINVAL ("bad-ram-size", "bad-vcpus", "bad-bios"); -ENOEXEC and what open(2) and
 *         read(2) say to its BIOS; -ENOMEM; or what mv_block_create() says to its RAM
 */
MV_API int mv_board_create(struct mv_machine *machine, const struct mv_board_options *options,
                           struct mv_board **ret, struct mv_error *err);

/** End a board; its VM must be gone, and nobody accesses its regions any more, even through a view. NULL is
 * allowed. */
MV_API void mv_board_destroy(struct mv_board *board);

/** Its spaces, for mv_vm_create(): guest physical memory, and I/O ports. They live as long as the board. */
MV_API struct mv_space *mv_board_memory(struct mv_board *board);
MV_API struct mv_space *mv_board_io(struct mv_board *board);

/** The block that is its RAM. It lives as long as the board; who needs it longer takes a reference. */
MV_API struct mv_block *mv_board_ram(struct mv_board *board);

/**
 * All its spaces, memory and I/O ports first; pc: then "cpu-smm-0", what a processor in system management mode
 * would see. @return how many there are, which may be more than `capacity`
 */
MV_API size_t mv_board_spaces(struct mv_board *board, struct mv_space **ret, size_t capacity);

/** Connect the devices that act on a VM: the exit port, reset and power, and the APIC's INIT and start-up IPI.
 * NULL disconnects. */
MV_API void mv_board_connect(struct mv_board *board, struct mv_vm *vm);

MV_END_DECLS

#endif
