// SPDX-License-Identifier: MIT
#include "dev/piix3.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"
#include "dev/pci.h"

#define DEVICE_ID 0x7000
#define CLASS_ISA_BRIDGE 0x0601
#define HEADER_MULTIFUNCTION 0x80
#define STATUS_DEVSEL_MEDIUM 0x0200

#define RESET_CPU 0x04 /* a rise of it resets */
#define RESET_BITS 0x06

/* Owned by its region: freed in release. */
struct piix3_reset {
    struct piix3_options options;
    atomic_uchar value;
};

static enum mv_result reset_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                 struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct piix3_reset *reset = opaque;
    *ret_value = atomic_load(&reset->value);
    return MV_OK;
}

static enum mv_result reset_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                  struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct piix3_reset *reset = opaque;
    if (value & RESET_CPU) {
        reset->options.reset(reset->options.opaque, "port 0xcf9");
        return MV_OK;
    }
    atomic_store(&reset->value, (unsigned char)(value & RESET_BITS));
    return MV_OK;
}

static const struct mv_mmio_ops reset_ops = {
    .read = reset_read,
    .write = reset_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

/* "PCI Configuration Registers": the default values. */
static int plug(struct mv_region *bus, uint8_t devfn, struct mv_error *err)
{
    const struct pci_ids ids = {
        .devfn = devfn,
        .device = DEVICE_ID,
        .class_code = CLASS_ISA_BRIDGE,
        .header_type = HEADER_MULTIFUNCTION,
        .status = STATUS_DEVSEL_MEDIUM,
    };
    struct pci_function function;
    pci_function_init(&function, &ids);
    uint8_t *config = function.config;
    config[0x4c] = 0x4d; /* ISA I/O recovery timer */
    config[0x4e] = 0x03; /* X-bus chip select */
    for (unsigned pirq = 0x60; pirq < 0x64; pirq++) {
        config[pirq] = 0x80; /* not routed */
    }
    config[0x69] = 0x02; /* top of memory */
    config[0x70] = 0x80; /* motherboard IRQ: not routed */
    config[0x76] = 0x0c; /* motherboard DMA: disabled */
    config[0x77] = 0x0c;
    config[0x78] = 0x02; /* programmable chip select */
    return pci_bus_plug(bus, &function, err);
}

int piix3_create(struct mv_machine *machine, struct mv_region *bus, const struct piix3_options *options,
                 struct mv_region **ret_reset, struct mv_error *err)
{
    struct piix3_reset *reset = calloc(1, sizeof *reset);
    if (!reset) {
        return error_host(err, -ENOMEM, "piix3", "piix3: cannot make the bridge");
    }
    reset->options = *options;
    const struct mv_region_options region_options = {
        .name = "piix3-reset-control",
        .kind = MV_REGION_MMIO,
        .size_bytes = PIIX3_RESET_PORTS,
        .ops = &reset_ops,
        .opaque = reset,
        .release = free,
    };
    struct mv_region *region;
    int rc = mv_region_create(machine, &region_options, &region, err);
    if (rc < 0) {
        free(reset);
        return rc;
    }
    rc = plug(bus, options->devfn, err);
    if (rc < 0) {
        mv_region_put(region);
        return rc;
    }
    *ret_reset = region;
    return 0;
}
