// SPDX-License-Identifier: MIT
/* The steps that boards have in common. */
#include <stdio.h>
#include <stdlib.h>

#include "base/addr.h"
#include "board/board.h"
#include "dev/apic.h"
#include "dev/debug_exit.h"
#include "dev/debugcon.h"
#include "dev/empty_ports.h"
#include "dev/fw_cfg.h"
#include "dev/serial.h"

#define RAM_ABOVE_4G_GPA (4 * GIB)
#define APIC_GPA UINT64_C(0xfee00000)
#define IO_PORTS (64 * KIB)
#define DEBUG_EXIT_PORT 0xf4
#define SERIAL_PORT 0x3f8
#define EXIT_STATUS_MASK 0xff

/* --- what the devices do ----------------------------------------------------------------------- */

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

void board_reset(void *opaque, const char *how)
{
    struct mv_board *board = opaque;
    char text[MV_ERROR_TEXT_SIZE];
    snprintf(text, sizeof text, "the guest asked for a reset by %s, which this board answers by stopping", how);
    pthread_mutex_lock(&board->vm_lock);
    if (board->vm) {
        mv_vm_stop(board->vm, MV_STOP_SHUTDOWN, 0, text);
    }
    pthread_mutex_unlock(&board->vm_lock);
}

void board_power_off(void *opaque)
{
    struct mv_board *board = opaque;
    pthread_mutex_lock(&board->vm_lock);
    if (board->vm) {
        mv_vm_stop(board->vm, MV_STOP_EXIT, 0, "the guest switched its power off");
    }
    pthread_mutex_unlock(&board->vm_lock);
}

/* --- building ---------------------------------------------------------------------------------- */

int build_place(struct mv_region *container, uint64_t offset, struct mv_region *child, struct mv_error *err)
{
    int rc = mv_region_add(container, offset, child, 0, err);
    mv_region_put(child);
    return rc;
}

int build_steps(struct build *build, build_step *const *steps, size_t count, struct mv_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = steps[i](build, err);
    }
    return rc;
}

int build_system(struct build *build, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "system",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    return mv_region_create(build->machine, &options, &build->system, err);
}

/* The caller gets a reference to the block too. */
static int build_on_block(struct build *build, const struct mv_region_options *options,
                          const struct mv_block_options *of_block, struct mv_block **ret_block,
                          struct mv_region **ret, struct mv_error *err)
{
    struct mv_block_options block_options = *of_block;
    block_options.name = options->name;
    block_options.size_bytes = options->size_bytes;
    struct mv_block *block;
    int rc = mv_block_create(build->machine, &block_options, &block, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_region_options with_block = *options;
    with_block.block = block;
    rc = mv_region_create(build->machine, &with_block, ret, err);
    if (rc < 0) {
        mv_block_put(block);
        return rc;
    }
    *ret_block = block;
    return 0;
}

int build_memory(struct build *build, const struct mv_region_options *options, void **ret_bytes,
                 struct mv_region **ret, struct mv_error *err)
{
    const struct mv_block_options anonymous = {.kind = MV_BLOCK_ANONYMOUS};
    struct mv_block *block;
    int rc = build_on_block(build, options, &anonymous, &block, ret, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_block_info info;
    mv_block_info(block, &info);
    *ret_bytes = hva_pointer(info.hva);
    mv_block_put(block);
    return 0;
}

/* A window on RAM from `offset` of it, shown at `gpa`. */
static int place_ram_window(struct build *build, const struct mv_region_options *window, uint64_t gpa,
                            struct mv_error *err)
{
    struct mv_region *alias;
    int rc = mv_region_create(build->machine, window, &alias, err);
    return rc < 0 ? rc : build_place(build->system, gpa, alias, err);
}

int build_ram(struct build *build, const char *name, uint64_t below, struct mv_region **ret_ram,
              struct mv_error *err)
{
    const uint64_t ram_bytes = build->options->ram_bytes;
    const struct mv_region_options ram_options = {
        .name = name,
        .kind = MV_REGION_RAM,
        .size_bytes = ram_bytes,
    };
    const struct mv_block_options anonymous = {.kind = MV_BLOCK_ANONYMOUS};
    const struct mv_block_options *of_block = build->options->ram ? build->options->ram : &anonymous;
    struct mv_region *ram;
    int rc = build_on_block(build, &ram_options, of_block, &build->board->ram, &ram, err);
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
    if (rc < 0) {
        mv_region_put(ram);
        return rc;
    }
    *ret_ram = ram;
    return 0;
}

int build_apic(struct build *build, const struct build_names *names, struct mv_error *err)
{
    const struct apic_options options = {
        .name = names->apic,
        .size_bytes = names->apic_bytes,
        .vcpus = build->options->vcpus,
        .init = board_init_ipi,
        .startup = board_startup_ipi,
        .opaque = build->board,
    };
    struct mv_region *apic;
    int rc = apic_create(build->machine, &options, &apic, err);
    if (rc < 0) {
        return rc;
    }
    rc = mv_region_add(build->system, APIC_GPA, apic, names->apic_priority, err);
    mv_region_put(apic);
    return rc;
}

int build_ports(struct build *build, struct mv_error *err)
{
    return empty_ports_create(build->machine, "io", IO_PORTS, &build->ports, err);
}

int build_consoles(struct build *build, const struct build_names *names, struct mv_error *err)
{
    const struct sink sink = {.write = board_print, .opaque = build->board};
    struct mv_region *debugcon;
    int rc = debugcon_create(build->machine, names->debugcon, &sink, &debugcon, err);
    if (rc < 0) {
        return rc;
    }
    rc = build_place(build->ports, names->debugcon_port, debugcon, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_region *serial;
    rc = serial_create(build->machine, &sink, &serial, err);
    return rc < 0 ? rc : build_place(build->ports, SERIAL_PORT, serial, err);
}

int build_debug_exit(struct build *build, const struct build_names *names, struct mv_error *err)
{
    const struct debug_exit_options options = {
        .name = names->debug_exit,
        .exit = board_exit,
        .opaque = build->board,
    };
    struct mv_region *debug_exit;
    int rc = debug_exit_create(build->machine, &options, &debug_exit, err);
    return rc < 0 ? rc : build_place(build->ports, DEBUG_EXIT_PORT, debug_exit, err);
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

int build_fw_cfg(struct build *build, const struct build_names *names, struct mv_region **ret,
                 struct mv_error *err)
{
    struct mv_region *fw_cfg;
    int rc = fw_cfg_create(build->machine, names->fw_cfg, &fw_cfg, err);
    if (rc < 0) {
        return rc;
    }
    rc = add_facts(build, fw_cfg, err);
    if (rc < 0) {
        mv_region_put(fw_cfg);
        return rc;
    }
    *ret = fw_cfg;
    return 0;
}
