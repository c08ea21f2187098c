// SPDX-License-Identifier: MIT
#include "dev/piix4_pm.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"
#include "dev/parts.h"
#include "dev/pci.h"

#define DEVICE_ID 0x7113
#define CLASS_BRIDGE_OTHER 0x0680
#define REVISION 0x03
#define STATUS_RESET 0x0280 /* medium DEVSEL#, fast back-to-back */

/* 82371AB data sheet, "Power Management PCI Configuration Registers (Function 3)". */
#define REG_PMBA 0x40
#define REG_DEVACTB_HIGH 0x5b
#define REG_PMREGMISC 0x80
#define REG_SMBBA 0x90
#define PMBA_MASK 0xffc0
#define PMBA_IO 0x01
#define DEVACTB_APMC_EN 0x02
#define PMREGMISC_ENABLE 0x01
#define PM_PORTS 64

/* "Power Management I/O Registers", and the ACPI specification's "PM1 Control Registers". */
#define TIMER_HZ 3579545
#define TIMER_MASK 0xffffff
#define CNT_SCI_EN 0x0001
#define CNT_SLP_TYPE 0x1c00
#define CNT_SLP_EN 0x2000
#define APM_ACPI_ENABLE 0xf1
#define APM_ACPI_DISABLE 0xf0

#define BYTES(n)                                                                                                  \
    {                                                                                                             \
        .min_bytes = 1, .max_bytes = (n)                                                                          \
    }

/*
 * Owned by its regions and its place on the bus: freed with the last. `lock` protects the registers; the bus's
 * lock protects `container`'s place.
 */
struct piix4_pm {
    struct parts parts;
    struct mv_machine *machine; /* borrowed: the regions keep it */
    struct piix4_pm_options options;
    struct mv_region *container; /* a reference, given back with the place on the bus */
    uint64_t started_ns;
    pthread_mutex_t lock;
    uint16_t status, enable, control;
    uint8_t apm[2];
    uint8_t gpe[4];
};

static void pm_drop(void *opaque)
{
    struct piix4_pm *pm = opaque;
    if (parts_drop(&pm->parts)) {
        pthread_mutex_destroy(&pm->lock);
        free(pm);
    }
}

/* --- ACPI registers ---------------------------------------------------------------------------- */

/* Status and enable, side by side. Nothing ever happens, so no status bit is ever set. */
static enum mv_result evt_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    *ret_value = offset < 2 ? pm->status : pm->enable;
    pthread_mutex_unlock(&pm->lock);
    return MV_OK;
}

static enum mv_result evt_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    if (offset < 2) {
        pm->status &= (uint16_t)~value;
    } else {
        pm->enable = (uint16_t)value;
    }
    pthread_mutex_unlock(&pm->lock);
    return MV_OK;
}

static enum mv_result cnt_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    *ret_value = pm->control;
    pthread_mutex_unlock(&pm->lock);
    return MV_OK;
}

static enum mv_result cnt_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    pm->control = (uint16_t)(value & ~(uint64_t)CNT_SLP_EN);
    pthread_mutex_unlock(&pm->lock);
    if ((value & CNT_SLP_EN) && (value & CNT_SLP_TYPE) == 0) {
        pm->options.power_off(pm->options.opaque);
    }
    return MV_OK;
}

static enum mv_result tmr_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    const struct piix4_pm *pm = opaque;
    const uint64_t ns = timebase_now(&pm->options.timebase) - pm->started_ns;
    *ret_value = timebase_ticks(ns, TIMER_HZ) & TIMER_MASK;
    return MV_OK;
}

static enum mv_result tmr_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)opaque;
    (void)offset;
    (void)size_bytes;
    (void)value;
    (void)attrs;
    return MV_OK; /* for reading only */
}

static const struct mv_mmio_ops evt_ops = {
    .read = evt_read,
    .write = evt_write,
    .valid = BYTES(4),
    .impl = {.min_bytes = 2, .max_bytes = 2},
};

static const struct mv_mmio_ops cnt_ops = {
    .read = cnt_read,
    .write = cnt_write,
    .valid = BYTES(2),
    .impl = {.min_bytes = 2, .max_bytes = 2},
};

static const struct mv_mmio_ops tmr_ops = {
    .read = tmr_read,
    .write = tmr_write,
    .valid = BYTES(4),
    .impl = {.min_bytes = 4, .max_bytes = 4},
};

/* --- APM and GPE ------------------------------------------------------------------------------- */

static enum mv_result apm_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    *ret_value = pm->apm[offset];
    pthread_mutex_unlock(&pm->lock);
    return MV_OK;
}

static enum mv_result apm_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    pm->apm[offset] = (uint8_t)value;
    if (offset == 0 && value == APM_ACPI_ENABLE) {
        pm->control |= CNT_SCI_EN;
    } else if (offset == 0 && value == APM_ACPI_DISABLE) {
        pm->control &= (uint16_t)~CNT_SCI_EN;
    }
    pthread_mutex_unlock(&pm->lock);
    return MV_OK;
}

static enum mv_result gpe_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                               struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    *ret_value = pm->gpe[offset];
    pthread_mutex_unlock(&pm->lock);
    return MV_OK;
}

/* Two bytes of status, which are cleared by ones, and two that enable. */
static enum mv_result gpe_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct piix4_pm *pm = opaque;
    pthread_mutex_lock(&pm->lock);
    pm->gpe[offset] = (uint8_t)(offset < 2 ? pm->gpe[offset] & ~value : value);
    pthread_mutex_unlock(&pm->lock);
    return MV_OK;
}

static const struct mv_mmio_ops apm_ops = {
    .read = apm_read,
    .write = apm_write,
    .valid = BYTES(2),
    .impl = BYTES(1),
};

static const struct mv_mmio_ops gpe_ops = {
    .read = gpe_read,
    .write = gpe_write,
    .valid = BYTES(4),
    .impl = BYTES(1),
};

/* --- configuration space ----------------------------------------------------------------------- */

/* Where the container is; one transaction. */
static enum mv_result pm_config_write(void *opaque, const uint8_t *config)
{
    struct piix4_pm *pm = opaque;
    const uint64_t base = pci_get_u16(config, REG_PMBA) & PMBA_MASK;
    if (mv_machine_begin(pm->machine, NULL) < 0) {
        return MV_DEVICE_ERROR;
    }
    int rc = mv_region_set_address(pm->container, base, NULL);
    if (rc == 0) {
        rc = mv_region_set_enabled(pm->container, config[REG_PMREGMISC] & PMREGMISC_ENABLE, NULL);
    }
    if (rc < 0) {
        mv_machine_abort(pm->machine);
        return MV_DEVICE_ERROR;
    }
    return mv_machine_commit(pm->machine, NULL) < 0 ? MV_DEVICE_ERROR : MV_OK;
}

static void pm_unplug(void *opaque)
{
    struct piix4_pm *pm = opaque;
    mv_region_put(pm->container);
    pm_drop(pm);
}

/* --- life -------------------------------------------------------------------------------------- */

struct part {
    const char *name;
    uint64_t size_bytes;
    const struct mv_mmio_ops *ops;
    struct mv_region *container;
    uint64_t offset;
};

static int add_part(struct piix4_pm *pm, const struct part *part, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = part->name,
        .kind = MV_REGION_MMIO,
        .size_bytes = part->size_bytes,
        .ops = part->ops,
        .opaque = pm,
        .release = pm_drop,
    };
    struct mv_region *region;
    parts_take(&pm->parts);
    int rc = mv_region_create(pm->machine, &options, &region, err);
    if (rc < 0) {
        pm_drop(pm);
        return rc;
    }
    rc = mv_region_add(part->container, part->offset, region, 0, err);
    mv_region_put(region);
    return rc;
}

static int add_container(struct piix4_pm *pm, struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = "piix4-pm",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = PM_PORTS,
    };
    int rc = mv_region_create(pm->machine, &options, &pm->container, err);
    if (rc == 0) {
        rc = mv_region_set_enabled(pm->container, false, err);
    }
    if (rc == 0) {
        rc = mv_region_add(pm->options.ports, 0, pm->container, 0, err);
    }
    return rc;
}

static int add_parts(struct piix4_pm *pm, struct mv_error *err)
{
    const struct part parts[] = {
        {"acpi-tmr", 4, &tmr_ops, pm->container, 8},
        {"acpi-evt", 4, &evt_ops, pm->container, 0},
        {"acpi-cnt", 2, &cnt_ops, pm->container, 4},
        {"apm-io", sizeof pm->apm, &apm_ops, pm->options.ports, PIIX4_APM_PORT},
        {"acpi-gpe0", sizeof pm->gpe, &gpe_ops, pm->options.ports, PIIX4_GPE_PORT},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof parts / sizeof parts[0]; i++) {
        rc = add_part(pm, &parts[i], err);
    }
    return rc;
}

static int plug(struct piix4_pm *pm, struct mv_region *bus, struct mv_error *err)
{
    const struct pci_ids ids = {
        .devfn = pm->options.devfn,
        .device = DEVICE_ID,
        .class_code = CLASS_BRIDGE_OTHER,
        .revision = REVISION,
        .status = STATUS_RESET,
    };
    struct pci_function function;
    pci_function_init(&function, &ids);
    function.config[PCI_INTERRUPT_PIN] = 1;
    function.config[REG_PMBA] = PMBA_IO;
    function.config[REG_DEVACTB_HIGH] = DEVACTB_APMC_EN;
    function.config[REG_SMBBA] = PMBA_IO;
    function.write = pm_config_write;
    function.opaque = pm;
    function.release = pm_unplug;
    return pci_bus_plug(bus, &function, err);
}

int piix4_pm_create(struct mv_machine *machine, struct mv_region *bus, const struct piix4_pm_options *options,
                    struct mv_error *err)
{
    struct piix4_pm *pm = calloc(1, sizeof *pm);
    if (!pm) {
        return error_host(err, -ENOMEM, "piix4_pm", "piix4_pm: cannot make the device");
    }
    parts_init(&pm->parts);
    pm->machine = machine;
    pm->options = *options;
    pm->started_ns = timebase_now(&options->timebase);
    pthread_mutex_init(&pm->lock, NULL);
    int rc = add_container(pm, err);
    if (rc == 0) {
        rc = add_parts(pm, err);
    }
    if (rc == 0) {
        rc = plug(pm, bus, err);
    }
    if (rc < 0) {
        pm_unplug(pm);
    }
    return rc;
}
