// SPDX-License-Identifier: MIT
/* The minimal board: what is where. */
#include <string.h>

#include "base/addr.h"
#include "board/board.h"
#include "dev/apic.h"
#include "dev/scratch.h"

#define RAM_BELOW_4G_MAX (3 * GIB)
#define SCRATCH_GPA UINT64_C(0xd0000000)
#define ROM_GPA UINT64_C(0xffff0000)
#define ROM_BYTES (64 * KIB) /* whole pages on hosts with pages of up to 64 KiB */
#define ROM_FILL 0xf4        /* HLT: a jump into the ROM stops there */

static const struct build_names names = {
    .apic = "apic",
    .apic_bytes = APIC_SIZE,
    .debugcon = "debugcon",
    .debugcon_port = 0xe9,
    .debug_exit = "debug-exit",
    .fw_cfg = "fw_cfg",
};

static int minimal_ram(struct build *build, struct mv_error *err)
{
    const uint64_t ram_bytes = build->options->ram_bytes;
    struct mv_region *ram;
    int rc = build_ram(build, "ram", ram_bytes < RAM_BELOW_4G_MAX ? ram_bytes : RAM_BELOW_4G_MAX, &ram, err);
    if (rc == 0) {
        mv_region_put(ram);
    }
    return rc;
}

static int minimal_rom(struct build *build, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "boot.rom",
        .kind = MV_REGION_ROM,
        .size_bytes = ROM_BYTES,
    };
    struct mv_region *rom;
    void *bytes = NULL;
    int rc = build_memory(build, &options, &bytes, &rom, err);
    if (rc < 0) {
        return rc;
    }
    memset(bytes, ROM_FILL, ROM_BYTES);
    return build_place(build->system, ROM_GPA, rom, err);
}

static int minimal_scratch(struct build *build, struct mv_error *err)
{
    struct mv_region *scratch;
    int rc = scratch_create(build->machine, &scratch, err);
    return rc < 0 ? rc : build_place(build->system, SCRATCH_GPA, scratch, err);
}

static int minimal_apic(struct build *build, struct mv_error *err)
{
    return build_apic(build, &names, err);
}

static int minimal_consoles(struct build *build, struct mv_error *err)
{
    return build_consoles(build, &names, err);
}

static int minimal_debug_exit(struct build *build, struct mv_error *err)
{
    return build_debug_exit(build, &names, err);
}

static int minimal_fw_cfg(struct build *build, struct mv_error *err)
{
    struct mv_region *fw_cfg;
    int rc = build_fw_cfg(build, &names, &fw_cfg, err);
    return rc < 0 ? rc : build_place(build->ports, FW_CFG_PORT, fw_cfg, err);
}

int minimal_build(struct build *build, struct mv_error *err)
{
    static build_step *const steps[] = {
        build_system, minimal_ram,      minimal_rom,        minimal_scratch, minimal_apic,
        build_ports,  minimal_consoles, minimal_debug_exit, minimal_fw_cfg,
    };
    return build_steps(build, steps, sizeof steps / sizeof steps[0], err);
}
