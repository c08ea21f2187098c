// SPDX-License-Identifier: MIT
/* What every board is made of: the board itself, the steps that build one, and what its devices call. */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H

#include <memvirt/board.h>
#include <pthread.h>

/*
 * Owned by whoever made it. It owns its spaces, and they own the regions, blocks and devices. The devices borrow
 * the board: no guest access may reach one after mv_board_destroy(), even if a view still shows it.
 */
struct mv_board {
    /*
     * Held around the console callback, so that bytes come one after the other and in the order in which vCPUs
     * print. A leaf: the callback must not access the guest's console.
     */
    pthread_mutex_t console_lock;
    void (*console)(void *opaque, const void *bytes, size_t length);
    void *console_opaque;

    /*
     * Protects `vm`. Held around calls into the VM, all of which return at once and never access guest memory:
     * when mv_board_connect() returns, no device is using the VM that was connected before.
     */
    pthread_mutex_t vm_lock;
    struct mv_vm *vm; /* NULL: not connected */

    struct mv_block *ram; /* a reference; NULL until it is made */
    struct mv_space *memory;
    struct mv_space *io;
    struct mv_region *fw_cfg_dma; /* a reference, of what copies to `memory`; NULL: none */
    struct mv_space *smm;         /* what a processor in system management mode sees; NULL on boards without */
};

/* What the building steps share. The regions are this struct's references; the finished spaces have their own. */
struct build {
    struct mv_machine *machine;
    const struct mv_board_options *options;
    struct mv_board *board;
    struct mv_region *system; /* the root of the memory space */
    struct mv_region *ports;  /* the root of the I/O space */
    struct mv_region *smm;    /* the root of the space of system management mode; NULL: none */
};

typedef int build_step(struct build *build, struct mv_error *err);

/*
 * The boards. Each makes `system` and `ports` and all that is in them, and leaves what it made in the tree or,
 * when it fails, nothing. Called in a transaction, before any space is made: until then, nobody sees.
 */
build_step minimal_build;
build_step pc_build;

/* Do `count` steps, up to the first that fails. */
int build_steps(struct build *build, build_step *const *steps, size_t count, struct mv_error *err);

/* The two roots, empty. Ports without a device read as ones. */
build_step build_system;
build_step build_ports;

/* Puts a region where it belongs, and the caller's reference to it away. */
int build_place(struct mv_region *container, uint64_t offset, struct mv_region *child, struct mv_error *err);

/* A region over the whole of a new block, whose host bytes live as long as the region. */
int build_memory(struct build *build, const struct mv_region_options *options, void **ret_bytes,
                 struct mv_region **ret, struct mv_error *err);

/*
 * One RAM region `ram`, and windows on it named ram-below-4g and ram-above-4g: `below` bytes of it at 0, the rest
 * from 4 GiB up.
 */
int build_ram(struct build *build, const char *name, uint64_t below, struct mv_region **ret_ram,
              struct mv_error *err);

/* Consoles, fw_cfg and the exit port, which boards have under different names and at different ports. */
struct build_names {
    const char *apic;
    uint64_t apic_bytes;
    int apic_priority;
    const char *debugcon;
    uint16_t debugcon_port;
    const char *debug_exit;
    const char *fw_cfg;
};
int build_apic(struct build *build, const struct build_names *names, struct mv_error *err);
int build_consoles(struct build *build, const struct build_names *names, struct mv_error *err);
int build_debug_exit(struct build *build, const struct build_names *names, struct mv_error *err);

/* fw_cfg with what every board tells; the reference is the caller's, who places it. */
int build_fw_cfg(struct build *build, const struct build_names *names, struct mv_region **ret,
                 struct mv_error *err);

#define FW_CFG_PORT 0x510

/* What devices call when a guest asks for the end: `opaque` is the board. Any thread, in a handler. */
void board_reset(void *opaque, const char *how);
void board_power_off(void *opaque);

#endif
