// SPDX-License-Identifier: MIT
/* The pc board: what is where in memory. Names, places and priorities are those of QEMU 7.2's `-M pc`. */
#include "board/pc.h"

#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "base/error.h"
#include "board/image_file.h"
#include "dev/hpet.h"
#include "dev/i440fx.h"
#include "dev/ioapic.h"
#include "dev/pci.h"

#define RAM_SPLIT_FROM UINT64_C(0xe0000000) /* this much RAM or more, and the hole below 4 GiB is 1 GiB wide */
#define RAM_BELOW_4G_SPLIT (3 * GIB)
#define VGA_GPA UINT64_C(0xa0000)
#define VGA_BYTES (128 * KIB)
#define PC_ROM_GPA UINT64_C(0xc0000)
#define PC_ROM_BYTES (128 * KIB)
#define IOAPIC_GPA UINT64_C(0xfec00000)
#define HPET_GPA UINT64_C(0xfed00000)

#define BIOS_UNIT (64 * KIB)
#define BIOS_MAX_BYTES (8 * MIB)
#define BIOS_DEFAULT_BYTES (256 * KIB)
#define BIOS_FILL 0xf4 /* HLT: without a file, the reset vector stops */
#define ISA_BIOS_MAX_BYTES (128 * KIB)

#define PCI_PRIORITY (-1) /* what nobody else takes */
#define OVER_PCI 1

/* The regions that the steps share, as references. */
struct pc {
    struct build *build;
    struct mv_region *ram;
    struct mv_region *pci;
    struct mv_region *smram;
    struct pc_bus bus;
};

uint64_t pc_ram_below_4g(uint64_t ram_bytes)
{
    return ram_bytes >= RAM_SPLIT_FROM ? RAM_BELOW_4G_SPLIT : ram_bytes;
}

/* --- pci, and what is in it -------------------------------------------------------------------- */

static int place_at(struct mv_region *container, uint64_t gpa, int priority, struct mv_region *child,
                    struct mv_error *err)
{
    int rc = mv_region_add(container, gpa, child, priority, err);
    mv_region_put(child);
    return rc;
}

static int add_pci(struct pc *pc, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "pci",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    int rc = mv_region_create(pc->build->machine, &options, &pc->pci, err);
    return rc < 0 ? rc : mv_region_add(pc->build->system, 0, pc->pci, PCI_PRIORITY, err);
}

/* Where option ROMs would be. */
static int add_pc_rom(struct pc *pc, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "pc.rom",
        .kind = MV_REGION_ROM,
        .size_bytes = PC_ROM_BYTES,
    };
    struct mv_region *rom;
    void *bytes;
    int rc = build_memory(pc->build, &options, &bytes, &rom, err);
    return rc < 0 ? rc : place_at(pc->pci, PC_ROM_GPA, OVER_PCI, rom, err);
}

/* The window of a display adapter that is not there: the addresses are taken, and nothing answers. */
static int add_vga_lowmem(struct pc *pc, struct mv_error *err)
{
    if (!pc->build->options->vga_lowmem) {
        return 0;
    }
    const struct mv_region_options options = {
        .name = "vga-lowmem",
        .kind = MV_REGION_MMIO,
        .size_bytes = VGA_BYTES,
    };
    struct mv_region *window;
    int rc = mv_region_create(pc->build->machine, &options, &window, err);
    return rc < 0 ? rc : place_at(pc->pci, VGA_GPA, OVER_PCI, window, err);
}

/* --- the firmware ------------------------------------------------------------------------------ */

static int bad_bios(const char *name, struct mv_error *err)
{
    return error_set(err, -EINVAL, "bad-bios", name,
                     "%s: its size is none of a BIOS: it must be a multiple of 64 KiB, at most 8 MiB", name);
}

static int add_isa_bios(struct pc *pc, struct mv_region *bios, uint64_t bios_bytes, struct mv_error *err)
{
    const uint64_t bytes = bios_bytes < ISA_BIOS_MAX_BYTES ? bios_bytes : ISA_BIOS_MAX_BYTES;
    const struct mv_region_options options = {
        .name = "isa-bios",
        .kind = MV_REGION_ALIAS,
        .size_bytes = bytes,
        .target = bios,
        .target_offset_bytes = bios_bytes - bytes,
        .readonly = true,
    };
    struct mv_region *alias;
    int rc = mv_region_create(pc->build->machine, &options, &alias, err);
    return rc < 0 ? rc : place_at(pc->pci, MIB - bytes, OVER_PCI, alias, err);
}

/* The ROM that ends at 4 GiB, and its last 128 KiB once more below 1 MiB. `contents` NULL: HLT. */
static int add_bios_of(struct pc *pc, const void *contents, uint64_t bytes, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "pc.bios",
        .kind = MV_REGION_ROM,
        .size_bytes = bytes,
    };
    struct mv_region *bios;
    void *host = NULL;
    int rc = build_memory(pc->build, &options, &host, &bios, err);
    if (rc < 0) {
        return rc;
    }
    if (contents) {
        memcpy(host, contents, bytes);
    } else {
        memset(host, BIOS_FILL, bytes);
    }
    rc = mv_region_add(pc->pci, 4 * GIB - bytes, bios, 0, err);
    if (rc == 0) {
        rc = add_isa_bios(pc, bios, bytes, err);
    }
    mv_region_put(bios);
    return rc;
}

static int add_bios(struct pc *pc, struct mv_error *err)
{
    const char *path = pc->build->options->bios;
    if (!path) {
        return add_bios_of(pc, NULL, BIOS_DEFAULT_BYTES, err);
    }
    struct image_file file;
    int rc = image_file_open(path, &file, err);
    if (rc < 0) {
        return rc;
    }
    if (!is_aligned(file.size_bytes, BIOS_UNIT) || file.size_bytes > BIOS_MAX_BYTES) {
        rc = bad_bios(file.name, err);
    } else {
        rc = image_file_fill(&file, 0, file.size_bytes, err);
    }
    if (rc == 0) {
        rc = add_bios_of(pc, file.bytes, file.size_bytes, err);
    }
    image_file_close(&file);
    return rc;
}

/* --- chips ------------------------------------------------------------------------------------- */

static int add_bridge(struct pc *pc, struct mv_error *err)
{
    int rc = pci_bus_create(pc->build->machine, &pc->bus.index, &pc->bus.data, err);
    if (rc < 0) {
        return rc;
    }
    const struct i440fx_options options = {.system = pc->build->system, .ram = pc->ram, .pci = pc->pci};
    return i440fx_create(pc->build->machine, pc->bus.data, &options, &pc->smram, err);
}

static int add_chips(struct pc *pc, struct mv_error *err)
{
    static const struct build_names names = {.apic = "apic-msi", .apic_bytes = MIB, .apic_priority = 4096};
    const struct timebase timebase = timebase_host();
    struct mv_region *region;
    int rc = ioapic_create(pc->build->machine, &region, err);
    if (rc == 0) {
        rc = place_at(pc->build->system, IOAPIC_GPA, 0, region, err);
    }
    if (rc == 0) {
        rc = hpet_create(pc->build->machine, &timebase, &region, err);
    }
    if (rc == 0) {
        rc = place_at(pc->build->system, HPET_GPA, 0, region, err);
    }
    return rc < 0 ? rc : build_apic(pc->build, &names, err);
}

/* --- the whole --------------------------------------------------------------------------------- */

static int add_window(struct mv_machine *machine, struct mv_region *container, int priority,
                      const struct mv_region_options *options, struct mv_error *err)
{
    struct mv_region *alias;
    int rc = mv_region_create(machine, options, &alias, err);
    return rc < 0 ? rc : place_at(container, 0, priority, alias, err);
}

/* What a processor in system management mode would see: smram on top of the rest. */
static int build_smm(struct pc *pc, struct mv_error *err)
{
    struct mv_machine *machine = pc->build->machine;
    const struct mv_region_options root = {
        .name = "memory",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = MV_SIZE_2_64,
    };
    const struct mv_region_options rest = {
        .name = "memory",
        .kind = MV_REGION_ALIAS,
        .size_bytes = MV_SIZE_2_64,
        .target = pc->build->system,
    };
    const struct mv_region_options smram = {
        .name = "smram",
        .kind = MV_REGION_ALIAS,
        .size_bytes = 4 * GIB,
        .target = pc->smram,
    };
    int rc = mv_region_create(machine, &root, &pc->build->smm, err);
    if (rc == 0) {
        rc = add_window(machine, pc->build->smm, 0, &rest, err);
    }
    return rc < 0 ? rc : add_window(machine, pc->build->smm, 1, &smram, err);
}

static int add_all(struct pc *pc, struct mv_error *err)
{
    static int (*const steps[])(struct pc *, struct mv_error *) = {
        add_pci, add_pc_rom, add_vga_lowmem, add_bios, add_bridge, add_chips, build_smm,
    };
    const uint64_t ram_bytes = pc->build->options->ram_bytes;
    int rc = build_ram(pc->build, "pc.ram", pc_ram_below_4g(ram_bytes), &pc->ram, err);
    for (size_t i = 0; rc == 0 && i < sizeof steps / sizeof steps[0]; i++) {
        rc = steps[i](pc, err);
    }
    return rc < 0 ? rc : pc_build_ports(pc->build, &pc->bus, err);
}

int pc_build(struct build *build, struct mv_error *err)
{
    if (build->options->ram_bytes < MIB) {
        return error_set(err, -EINVAL, "bad-ram-size", "pc.ram", "pc.ram: the pc board needs 1 MiB at least");
    }
    struct pc pc = {.build = build};
    int rc = build_system(build, err);
    if (rc == 0) {
        rc = build_ports(build, err);
    }
    if (rc == 0) {
        rc = add_all(&pc, err);
    }
    mv_region_put(pc.bus.data);
    mv_region_put(pc.bus.index);
    mv_region_put(pc.smram);
    mv_region_put(pc.pci);
    mv_region_put(pc.ram);
    return rc;
}
