// SPDX-License-Identifier: MIT
/* The minimal board: what is where, and what its devices are connected to. */
#include <memvirt/board.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/error.h"
#include "dev/apic.h"
#include "dev/debug_exit.h"
#include "dev/debugcon.h"
#include "dev/fw_cfg.h"
#include "dev/scratch.h"
#include "dev/serial.h"

#define RAM_MIN_BYTES (64 * KIB)
#define RAM_BELOW_4G_MAX (3 * GIB)
#define RAM_ABOVE_4G_GPA (4 * GIB)
#define SCRATCH_GPA UINT64_C(0xd0000000)
#define APIC_GPA UINT64_C(0xfee00000)
#define ROM_GPA UINT64_C(0xffff0000)
#define ROM_BYTES (64 * KIB) /* whole pages on hosts with pages of up to 64 KiB */
#define ROM_FILL 0xf4        /* HLT: a jump into the ROM stops there */

#define IO_PORTS (64 * KIB)
#define DEBUGCON_PORT 0xe9
#define DEBUG_EXIT_PORT 0xf4
#define SERIAL_PORT 0x3f8
#define FW_CFG_PORT 0x510

#define EXIT_STATUS_MASK 0xff

/*
 * Owned by whoever made it. It owns its two spaces, and they own the regions, blocks and devices. The devices
 * borrow the board: no guest access may reach one after mv_board_destroy(), even if a view still shows it.
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

    struct mv_space *memory;
    struct mv_space *io;
};

/* --- what the devices do ----------------------------------------------------------------------------------------
 */

static void board_print(void *opaque, const void *bytes, size_t length)
{
    struct mv_board *board = opaque;
    if (board->console) {
        pthread_mutex_lock(&board->console_lock);
        board->console(board->console_opaque, bytes, length);
        pthread_mutex_unlock(&board->console_lock);
    }
}

static void board_exit(void *opaque, uint32_t value)
{
    struct mv_board *board = opaque;
    char text[MV_ERROR_TEXT_SIZE];
    snprintf(text, sizeof text, "the guest wrote 0x%" PRIx32 " to the exit port", value);
    pthread_mutex_lock(&board->vm_lock);
    if (board->vm) {
        mv_vm_stop(board->vm, MV_STOP_EXIT, (int)(value & EXIT_STATUS_MASK), text);
    }
    pthread_mutex_unlock(&board->vm_lock);
}

static void board_init_ipi(void *opaque, unsigned vcpu)
{
    struct mv_board *board = opaque;
    pthread_mutex_lock(&board->vm_lock);
    if (board->vm) {
        mv_vm_init_ipi(board->vm, vcpu);
    }
    pthread_mutex_unlock(&board->vm_lock);
}

static void board_startup_ipi(void *opaque, unsigned vcpu, uint8_t vector)
{
    struct mv_board *board = opaque;
    pthread_mutex_lock(&board->vm_lock);
    if (board->vm) {
        mv_vm_startup_ipi(board->vm, vcpu, vector);
    }
    pthread_mutex_unlock(&board->vm_lock);
}

void mv_board_connect(struct mv_board *board, struct mv_vm *vm)
{
    pthread_mutex_lock(&board->vm_lock);
    board->vm = vm;
    pthread_mutex_unlock(&board->vm_lock);
}

/* --- building ---------------------------------------------------------------------------------------------------
 */

/* What the building steps share. The regions are this struct's references; the finished spaces have their own. */
struct build {
    struct mv_machine *machine;
    const struct mv_board_options *options;
    struct mv_board *board;
    struct mv_region *system; /* the root of the memory space */
    struct mv_region *ports;  /* the root of the I/O space */
};

/* Puts a region where it belongs, and the caller's reference to it away. */
static int place(struct mv_region *container, uint64_t offset, struct mv_region *child, struct mv_error *err)
{
    int rc = mv_region_add(container, offset, child, 0, err);
    mv_region_put(child);
    return rc;
}

static int build_system(struct build *build, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "system",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    return mv_region_create(build->machine, &options, &build->system, err);
}

/* A region over the whole of a new block, whose host bytes live as long as the region. */
static int create_memory(struct mv_machine *machine, const struct mv_region_options *options, void **ret_bytes,
                         struct mv_region **ret, struct mv_error *err)
{
    const struct mv_block_options block_options = {
        .name = options->name,
        .kind = MV_BLOCK_ANONYMOUS,
        .size_bytes = options->size_bytes,
    };
    struct mv_block *block;
    int rc = mv_block_create(machine, &block_options, &block, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_block_info info;
    mv_block_info(block, &info);
    struct mv_region_options with_block = *options;
    with_block.block = block;
    rc = mv_region_create(machine, &with_block, ret, err);
    mv_block_put(block);
    if (rc == 0) {
        *ret_bytes = hva_pointer(info.hva);
    }
    return rc;
}

/* A window on RAM from `offset` of it, shown at `gpa`. */
static int place_ram_window(struct build *build, const struct mv_region_options *window, uint64_t gpa,
                            struct mv_error *err)
{
    struct mv_region *alias;
    int rc = mv_region_create(build->machine, window, &alias, err);
    return rc < 0 ? rc : place(build->system, gpa, alias, err);
}

/* One RAM region and two windows on it, for the devices below 4 GiB leave no room for it in one piece. */
static int build_ram(struct build *build, struct mv_error *err)
{
    const uint64_t ram_bytes = build->options->ram_bytes;
    const uint64_t below = ram_bytes < RAM_BELOW_4G_MAX ? ram_bytes : RAM_BELOW_4G_MAX;
    const struct mv_region_options ram_options = {
        .name = "ram",
        .kind = MV_REGION_RAM,
        .size_bytes = ram_bytes,
    };
    struct mv_region *ram;
    void *bytes;
    int rc = create_memory(build->machine, &ram_options, &bytes, &ram, err);
    if (rc < 0) {
        return rc;
    }
    const struct mv_region_options low = {
        .name = "ram-below-4g",
        .kind = MV_REGION_ALIAS,
        .size_bytes = below,
        .target = ram,
    };
    rc = place_ram_window(build, &low, 0, err);
    if (rc == 0 && ram_bytes > below) {
        const struct mv_region_options high = {
            .name = "ram-above-4g",
            .kind = MV_REGION_ALIAS,
            .size_bytes = ram_bytes - below,
            .target = ram,
            .target_offset_bytes = below,
        };
        rc = place_ram_window(build, &high, RAM_ABOVE_4G_GPA, err);
    }
    mv_region_put(ram);
    return rc;
}

static int build_rom(struct build *build, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "boot.rom",
        .kind = MV_REGION_ROM,
        .size_bytes = ROM_BYTES,
    };
    struct mv_region *rom;
    void *bytes = NULL;
    int rc = create_memory(build->machine, &options, &bytes, &rom, err);
    if (rc < 0) {
        return rc;
    }
    memset(bytes, ROM_FILL, ROM_BYTES);
    return place(build->system, ROM_GPA, rom, err);
}

static int build_scratch(struct build *build, struct mv_error *err)
{
    struct mv_region *scratch;
    int rc = scratch_create(build->machine, &scratch, err);
    return rc < 0 ? rc : place(build->system, SCRATCH_GPA, scratch, err);
}

static int build_apic(struct build *build, struct mv_error *err)
{
    const struct apic_options options = {
        .vcpus = build->options->vcpus,
        .init = board_init_ipi,
        .startup = board_startup_ipi,
        .opaque = build->board,
    };
    struct mv_region *apic;
    int rc = apic_create(build->machine, &options, &apic, err);
    return rc < 0 ? rc : place(build->system, APIC_GPA, apic, err);
}

/* A port without a device: nobody drives the bus, so it reads as ones. This is what software probes for. */
static enum mv_result empty_port_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                      struct mv_attrs attrs)
{
    (void)opaque;
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    *ret_value = UINT64_MAX;
    return MV_OK;
}

static enum mv_result empty_port_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                       struct mv_attrs attrs)
{
    (void)opaque;
    (void)offset;
    (void)size_bytes;
    (void)value;
    (void)attrs;
    return MV_OK;
}

static const struct mv_mmio_ops empty_port_ops = {
    .read = empty_port_read,
    .write = empty_port_write,
    .valid = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
};

static int build_ports(struct build *build, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "io",
        .kind = MV_REGION_MMIO,
        .size_bytes = IO_PORTS,
        .ops = &empty_port_ops,
    };
    return mv_region_create(build->machine, &options, &build->ports, err);
}

static int build_consoles(struct build *build, struct mv_error *err)
{
    const struct sink sink = {.write = board_print, .opaque = build->board};
    struct mv_region *debugcon;
    int rc = debugcon_create(build->machine, &sink, &debugcon, err);
    if (rc < 0) {
        return rc;
    }
    rc = place(build->ports, DEBUGCON_PORT, debugcon, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_region *serial;
    rc = serial_create(build->machine, &sink, &serial, err);
    return rc < 0 ? rc : place(build->ports, SERIAL_PORT, serial, err);
}

static int build_debug_exit(struct build *build, struct mv_error *err)
{
    const struct debug_exit_options options = {.exit = board_exit, .opaque = build->board};
    struct mv_region *debug_exit;
    int rc = debug_exit_create(build->machine, &options, &debug_exit, err);
    return rc < 0 ? rc : place(build->ports, DEBUG_EXIT_PORT, debug_exit, err);
}

static int add_facts(const struct build *build, struct mv_region *fw_cfg, struct mv_error *err)
{
    const uint16_t vcpus = (uint16_t)build->options->vcpus;
    int rc = fw_cfg_add_u64(fw_cfg, FW_CFG_RAM_SIZE, build->options->ram_bytes, err);
    if (rc == 0) {
        rc = fw_cfg_add_u16(fw_cfg, FW_CFG_NB_CPUS, vcpus, err);
    }
    if (rc == 0) {
        rc = fw_cfg_add_u16(fw_cfg, FW_CFG_MAX_CPUS, vcpus, err);
    }
    return rc;
}

static int build_fw_cfg(struct build *build, struct mv_error *err)
{
    struct mv_region *fw_cfg;
    int rc = fw_cfg_create(build->machine, &fw_cfg, err);
    if (rc < 0) {
        return rc;
    }
    rc = add_facts(build, fw_cfg, err);
    if (rc < 0) {
        mv_region_put(fw_cfg);
        return rc;
    }
    return place(build->ports, FW_CFG_PORT, fw_cfg, err);
}

static int build_spaces(struct build *build, struct mv_error *err)
{
    int rc = mv_space_create(build->machine, "memory", build->system, &build->board->memory, err);
    return rc < 0 ? rc : mv_space_create(build->machine, "I/O", build->ports, &build->board->io, err);
}

/* Each step leaves what it made in the tree or, when it fails, nothing. The spaces come last: until then, nobody
 * sees. */
static int build_all(struct build *build, struct mv_error *err)
{
    static int (*const steps[])(struct build *, struct mv_error *) = {
        build_system, build_ram,      build_rom,        build_scratch, build_apic,
        build_ports,  build_consoles, build_debug_exit, build_fw_cfg,  build_spaces,
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof steps / sizeof steps[0]; i++) {
        rc = steps[i](build, err);
    }
    return rc;
}

static void drop_spaces(struct mv_board *board)
{
    mv_space_destroy(board->io);
    mv_space_destroy(board->memory);
    board->io = NULL;
    board->memory = NULL;
}

static int build_in_transaction(struct build *build, struct mv_error *err)
{
    int rc = mv_machine_begin(build->machine, err);
    if (rc < 0) {
        return rc;
    }
    rc = build_all(build, err);
    if (rc < 0) {
        drop_spaces(build->board); /* what is left has nobody to show it to */
    }
    int commit_rc = mv_machine_commit(build->machine, rc < 0 ? NULL : err);
    return rc < 0 ? rc : commit_rc;
}

static int check_options(const struct mv_board_options *options, struct mv_error *err)
{
    if (!is_aligned(options->ram_bytes, GUEST_PAGE_SIZE) || options->ram_bytes < RAM_MIN_BYTES) {
        return error_set(err, -EINVAL, "bad-ram-size", "ram",
                         "ram: %" PRIu64
                         " bytes are no size for it: it must be a multiple of 4 KiB, at least 64 KiB",
                         options->ram_bytes);
    }
    if (options->vcpus < 1 || options->vcpus > APIC_MAX_VCPUS) {
        return error_set(err, -EINVAL, "bad-vcpus", "apic", "apic: %u vCPUs: there must be 1 to %d",
                         options->vcpus, APIC_MAX_VCPUS);
    }
    return 0;
}

int mv_board_create(struct mv_machine *machine, const struct mv_board_options *options, struct mv_board **ret,
                    struct mv_error *err)
{
    int rc = check_options(options, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_board *board = calloc(1, sizeof *board);
    if (!board) {
        return error_host(err, -ENOMEM, "board", "board: cannot make it");
    }
    board->console = options->console;
    board->console_opaque = options->console_opaque;
    pthread_mutex_init(&board->console_lock, NULL);
    pthread_mutex_init(&board->vm_lock, NULL);

    struct build build = {.machine = machine, .options = options, .board = board};
    rc = build_in_transaction(&build, err);
    mv_region_put(build.ports);
    mv_region_put(build.system);
    if (rc < 0) {
        mv_board_destroy(board);
        return rc;
    }
    *ret = board;
    return 0;
}

void mv_board_destroy(struct mv_board *board)
{
    if (board) {
        drop_spaces(board);
        pthread_mutex_destroy(&board->vm_lock);
        pthread_mutex_destroy(&board->console_lock);
        free(board);
    }
}

struct mv_space *mv_board_memory(struct mv_board *board)
{
    return board->memory;
}

struct mv_space *mv_board_io(struct mv_board *board)
{
    return board->io;
}
