// SPDX-License-Identifier: MIT
/* The pc board: what is where in the I/O space, and what firmware is told of the board. */
#include <stdlib.h>

#include "base/addr.h"
#include "board/pc.h"
#include "dev/empty_ports.h"
#include "dev/fw_cfg.h"
#include "dev/fw_cfg_dma.h"
#include "dev/i8042.h"
#include "dev/latch.h"
#include "dev/pci.h"
#include "dev/pic.h"
#include "dev/piix3.h"
#include "dev/piix4_pm.h"
#include "dev/pit.h"
#include "dev/port92.h"
#include "dev/rtc.h"

#define PCI_INDEX_PORT 0xcf8
#define PCI_DATA_PORT 0xcfc
#define RESET_PORT 0xcf9
#define OVER_PCI_INDEX 1
#define PIIX_DEVICE 1
#define FW_CFG_DMA_PORT 0x514

static const struct build_names names = {
    .debugcon = "isa-debugcon",
    .debugcon_port = 0x402,
    .debug_exit = "isa-debug-exit",
    .fw_cfg = "fwcfg",
};

/* --- chips ------------------------------------------------------------------------------------- */

static int add_pci(struct build *build, const struct pc_bus *bus, struct mv_error *err)
{
    int rc = mv_region_add(build->ports, PCI_INDEX_PORT, bus->index, 0, err);
    if (rc == 0) {
        rc = mv_region_add(build->ports, PCI_DATA_PORT, bus->data, 0, err);
    }
    if (rc < 0) {
        return rc;
    }
    const struct piix3_options isa = {
        .devfn = PCI_DEVFN(PIIX_DEVICE, 0),
        .reset = board_reset,
        .opaque = build->board,
    };
    struct mv_region *reset;
    rc = piix3_create(build->machine, bus->data, &isa, &reset, err);
    if (rc < 0) {
        return rc;
    }
    rc = mv_region_add(build->ports, RESET_PORT, reset, OVER_PCI_INDEX, err);
    mv_region_put(reset);
    if (rc < 0) {
        return rc;
    }
    const struct piix4_pm_options pm = {
        .devfn = PCI_DEVFN(PIIX_DEVICE, 3),
        .ports = build->ports,
        .timebase = timebase_host(),
        .power_off = board_power_off,
        .opaque = build->board,
    };
    return piix4_pm_create(build->machine, bus->data, &pm, err);
}

/* Two regions of one device; both references go, also when there is no room for the first. */
static int place_both(struct build *build, uint64_t port, struct mv_region *first, uint64_t other_port,
                      struct mv_region *other, struct mv_error *err)
{
    int rc = build_place(build->ports, port, first, err);
    if (rc < 0) {
        mv_region_put(other);
        return rc;
    }
    return build_place(build->ports, other_port, other, err);
}

static int add_pics(struct build *build, struct mv_error *err)
{
    static const struct {
        uint16_t port, elcr_port;
        uint8_t elcr_mask;
    } pics[] = {{0x20, 0x4d0, PIC_ELCR_FIRST}, {0xa0, 0x4d1, PIC_ELCR_SECOND}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof pics / sizeof pics[0]; i++) {
        struct mv_region *pic, *elcr;
        rc = pic_create(build->machine, pics[i].elcr_mask, &pic, &elcr, err);
        if (rc == 0) {
            rc = place_both(build, pics[i].port, pic, pics[i].elcr_port, elcr, err);
        }
    }
    return rc;
}

static int add_pit(struct build *build, struct mv_error *err)
{
    const struct timebase timebase = timebase_host();
    struct mv_region *counters, *speaker;
    int rc = pit_create(build->machine, &timebase, &counters, &speaker, err);
    return rc < 0 ? rc : place_both(build, 0x40, counters, 0x61, speaker, err);
}

static int add_i8042(struct build *build, struct mv_error *err)
{
    const struct i8042_options options = {.reset = board_reset, .opaque = build->board};
    struct mv_region *data, *command;
    int rc = i8042_create(build->machine, &options, &data, &command, err);
    return rc < 0 ? rc : place_both(build, 0x60, data, 0x64, command, err);
}

static int add_port92(struct build *build, struct mv_error *err)
{
    const struct port92_options options = {.reset = board_reset, .opaque = build->board};
    struct mv_region *port92;
    int rc = port92_create(build->machine, &options, &port92, err);
    return rc < 0 ? rc : build_place(build->ports, 0x92, port92, err);
}

/* No DMA is ever done. */
static int add_dma(struct build *build, struct mv_error *err)
{
    static const struct {
        const char *name;
        uint16_t port;
        uint16_t ports;
    } latches[] = {
        {"dma-chan", 0x00, 8}, {"dma-cont", 0x08, 8}, {"dma-page", 0x81, 3},  {"dma-page", 0x87, 1},
        {"dma-page", 0x89, 3}, {"dma-page", 0x8f, 1}, {"dma-chan", 0xc0, 16}, {"dma-cont", 0xd0, 16},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof latches / sizeof latches[0]; i++) {
        struct mv_region *latch;
        rc = latch_create(build->machine, latches[i].name, latches[i].ports, &latch, err);
        if (rc == 0) {
            rc = build_place(build->ports, latches[i].port, latch, err);
        }
    }
    return rc;
}

/* Where software writes to pass the time, or to clear a coprocessor's error. */
static int add_ignored(struct build *build, struct mv_error *err)
{
    struct mv_region *region;
    int rc = empty_ports_create(build->machine, "ioport80", 1, &region, err);
    if (rc == 0) {
        rc = build_place(build->ports, 0x80, region, err);
    }
    if (rc == 0) {
        rc = empty_ports_create(build->machine, "ioportF0", 1, &region, err);
    }
    return rc < 0 ? rc : build_place(build->ports, 0xf0, region, err);
}

static int add_consoles(struct build *build, struct mv_error *err)
{
    int rc = build_consoles(build, &names, err);
    return rc < 0 ? rc : build_debug_exit(build, &names, err);
}

/* --- what firmware is told --------------------------------------------------------------------- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void set_two(struct mv_region *rtc, unsigned index, uint64_t value)
{
    rtc_set(rtc, index, (uint8_t)value);
    rtc_set(rtc, index + 1, (uint8_t)(value >> 8));
}

/* The bytes that firmware for PCs looks for; their meaning: SeaBIOS, "Memory layout", and Bochs' `cmos_map`. */
static void fill_cmos(const struct build *build, struct mv_region *rtc)
{
    const uint64_t ram = build->options->ram_bytes;
    const uint64_t below = pc_ram_below_4g(ram);
    const uint64_t base_kib = 640;
    const uint64_t extended_kib = smaller(below / KIB - 1024, UINT16_MAX);
    const uint64_t above_16m = below > 16 * MIB ? smaller((below - 16 * MIB) / (64 * KIB), UINT16_MAX) : 0;
    const uint64_t above_4g = (ram - below) / (64 * KIB);
    set_two(rtc, 0x15, base_kib);
    set_two(rtc, 0x17, extended_kib);
    set_two(rtc, 0x30, extended_kib);
    set_two(rtc, 0x34, above_16m);
    set_two(rtc, 0x5b, above_4g);
    rtc_set(rtc, 0x5d, (uint8_t)(above_4g >> 16));
    rtc_set(rtc, 0x5f, (uint8_t)(build->options->vcpus - 1));
    rtc_set(rtc, 0x14, 0x06); /* equipment: a coprocessor; no diskette drive */
    rtc_set(rtc, 0x3d, 0x21); /* boot from a disk, then from a diskette */
}

static int add_rtc(struct build *build, struct mv_error *err)
{
    const struct timebase wall = timebase_wall();
    struct mv_region *rtc;
    int rc = rtc_create(build->machine, &wall, &rtc, err);
    if (rc < 0) {
        return rc;
    }
    fill_cmos(build, rtc);
    return build_place(build->ports, 0x70, rtc, err);
}

#define E820_ENTRY_BYTES 20
#define E820_RAM 1

static void put_little_endian(uint8_t *bytes, uint64_t value, unsigned length)
{
    for (unsigned i = 0; i < length; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

static void put_e820(uint8_t *entry, uint64_t gpa, uint64_t bytes)
{
    put_little_endian(entry, gpa, 8);
    put_little_endian(entry + 8, bytes, 8);
    put_little_endian(entry + 16, E820_RAM, 4);
}

static int add_fw_cfg(struct build *build, struct mv_error *err)
{
    const uint64_t ram = build->options->ram_bytes;
    const uint64_t below = pc_ram_below_4g(ram);
    uint8_t e820[2 * E820_ENTRY_BYTES];
    put_e820(e820, 0, below);
    put_e820(e820 + E820_ENTRY_BYTES, 4 * GIB, ram - below);

    struct mv_region *fw_cfg;
    int rc = build_fw_cfg(build, &names, &fw_cfg, err);
    if (rc < 0) {
        return rc;
    }
    const size_t length = ram > below ? sizeof e820 : E820_ENTRY_BYTES;
    static const uint8_t never[4] = {0xff, 0xff, 0xff, 0xff}; /* there is no timer interrupt to wait for */
    rc = fw_cfg_add_file(fw_cfg, "etc/e820", e820, length, err);
    if (rc == 0) {
        rc = fw_cfg_add_file(fw_cfg, "etc/boot-fail-wait", never, sizeof never, err);
    }
    if (rc == 0) {
        rc = fw_cfg_dma_create(build->machine, "fwcfg.dma", fw_cfg, &build->board->fw_cfg_dma, err);
    }
    if (rc < 0) {
        mv_region_put(fw_cfg);
        return rc;
    }
    rc = build_place(build->ports, FW_CFG_PORT, fw_cfg, err);
    return rc < 0 ? rc : mv_region_add(build->ports, FW_CFG_DMA_PORT, build->board->fw_cfg_dma, 0, err);
}

int pc_build_ports(struct build *build, const struct pc_bus *bus, struct mv_error *err)
{
    static build_step *const steps[] = {
        add_pics, add_pit, add_i8042, add_port92, add_dma, add_ignored, add_consoles, add_rtc, add_fw_cfg,
    };
    int rc = build_steps(build, steps, sizeof steps / sizeof steps[0], err);
    return rc < 0 ? rc : add_pci(build, bus, err); /* last: what PMBA maps is on top of its equals, as in QEMU */
}
