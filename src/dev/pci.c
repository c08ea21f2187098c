// SPDX-License-Identifier: MIT
#include "dev/pci.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "dev/parts.h"

#define FUNCTION_MAX 256 /* on one bus */

#define ADDRESS_ENABLE (UINT32_C(1) << 31)
#define ADDRESS_BUS UINT32_C(0x00ff0000)
#define ADDRESS_DEVFN_SHIFT 8
#define ADDRESS_OFFSET UINT32_C(0xfc)

#define VENDOR_INTEL 0x8086
#define SUBSYSTEM_VENDOR_QEMU 0x1af4 /* by which SeaBIOS recognises the board it is on */
#define SUBSYSTEM_QEMU 0x1100
#define COMMAND_WRITABLE 0x0507 /* I/O, memory, bus master, SERR#, interrupt disable */

/*
 * Owned by its regions: freed with the last. `lock` protects the address and every configuration space. It is held
 * over a function's edits of the tree, so nothing may take it while it holds the machine's control lock; release
 * does not.
 */
struct pci_bus {
    struct parts parts;
    pthread_mutex_t lock;
    uint32_t address;
    struct pci_function *functions[FUNCTION_MAX]; /* by devfn; NULL: nothing there */
};

/* --- configuration spaces ---------------------------------------------------------------------- */

uint16_t pci_get_u16(const uint8_t *config, unsigned offset)
{
    return (uint16_t)(config[offset] | config[offset + 1] << 8);
}

void pci_set_u16(uint8_t *config, unsigned offset, uint16_t value)
{
    config[offset] = (uint8_t)value;
    config[offset + 1] = (uint8_t)(value >> 8);
}

void pci_function_init(struct pci_function *function, const struct pci_ids *ids)
{
    *function = (struct pci_function){.devfn = ids->devfn};
    uint8_t *config = function->config;
    pci_set_u16(config, PCI_VENDOR_ID, VENDOR_INTEL);
    pci_set_u16(config, PCI_DEVICE_ID, ids->device);
    pci_set_u16(config, PCI_STATUS, ids->status);
    config[PCI_REVISION_ID] = ids->revision;
    pci_set_u16(config, PCI_CLASS, ids->class_code);
    config[PCI_HEADER_TYPE] = ids->header_type;
    pci_set_u16(config, PCI_SUBSYSTEM_VENDOR_ID, SUBSYSTEM_VENDOR_QEMU);
    pci_set_u16(config, PCI_SUBSYSTEM_ID, SUBSYSTEM_QEMU);

    pci_set_u16(function->writable, PCI_COMMAND, COMMAND_WRITABLE);
    function->writable[PCI_CACHE_LINE] = 0xff;
    function->writable[PCI_INTERRUPT_LINE] = 0xff;
    memset(function->writable + PCI_HEADER_END, 0xff, PCI_CONFIG_BYTES - PCI_HEADER_END);
}

/* --- the address register ---------------------------------------------------------------------- */

/* Only an access to all of it is one; others would go to the bus behind, where nothing is. */
static enum mv_result index_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                 struct mv_attrs attrs)
{
    (void)attrs;
    struct pci_bus *bus = opaque;
    *ret_value = UINT64_MAX;
    if (offset == 0 && size_bytes == 4) {
        pthread_mutex_lock(&bus->lock);
        *ret_value = bus->address;
        pthread_mutex_unlock(&bus->lock);
    }
    return MV_OK;
}

static enum mv_result index_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                  struct mv_attrs attrs)
{
    (void)attrs;
    struct pci_bus *bus = opaque;
    if (offset == 0 && size_bytes == 4) {
        pthread_mutex_lock(&bus->lock);
        bus->address = (uint32_t)value;
        pthread_mutex_unlock(&bus->lock);
    }
    return MV_OK;
}

static const struct mv_mmio_ops index_ops = {
    .read = index_read,
    .write = index_write,
    .valid = {.min_bytes = 1, .max_bytes = 4},
    .impl = {.min_bytes = 1, .max_bytes = 4},
};

/* --- the data window --------------------------------------------------------------------------- */

/* `lock` held. NULL when the address names nothing. */
static struct pci_function *selected(const struct pci_bus *bus)
{
    if (!(bus->address & ADDRESS_ENABLE) || (bus->address & ADDRESS_BUS)) {
        return NULL;
    }
    return bus->functions[bus->address >> ADDRESS_DEVFN_SHIFT & 0xff];
}

/* A function that is not there leaves the bus alone: ones. */
static enum mv_result data_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                struct mv_attrs attrs)
{
    (void)attrs;
    struct pci_bus *bus = opaque;
    uint64_t value = UINT64_MAX;
    pthread_mutex_lock(&bus->lock);
    const struct pci_function *function = selected(bus);
    if (function) {
        const uint8_t *bytes = function->config + (bus->address & ADDRESS_OFFSET) + offset;
        value = 0;
        for (unsigned i = 0; i < size_bytes; i++) {
            value |= (uint64_t)bytes[i] << (8 * i);
        }
    }
    pthread_mutex_unlock(&bus->lock);
    *ret_value = value;
    return MV_OK;
}

/* `lock` held. All bytes of a write count together: the function is told once. */
static enum mv_result function_write(struct pci_function *function, unsigned at, unsigned size_bytes,
                                     uint64_t value)
{
    uint8_t config[PCI_CONFIG_BYTES];
    memcpy(config, function->config, sizeof config);
    for (unsigned i = 0; i < size_bytes; i++) {
        const unsigned mask = function->writable[at + i];
        const unsigned byte = (unsigned)(value >> (8 * i)) & 0xff;
        config[at + i] = (uint8_t)((config[at + i] & ~mask) | (byte & mask));
    }
    enum mv_result result = function->write ? function->write(function->opaque, config) : MV_OK;
    if (result == MV_OK) {
        memcpy(function->config, config, sizeof config);
    }
    return result;
}

static enum mv_result data_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                 struct mv_attrs attrs)
{
    (void)attrs;
    struct pci_bus *bus = opaque;
    enum mv_result result = MV_OK;
    pthread_mutex_lock(&bus->lock);
    struct pci_function *function = selected(bus);
    if (function) {
        result = function_write(function, (bus->address & ADDRESS_OFFSET) + (unsigned)offset, size_bytes, value);
    }
    pthread_mutex_unlock(&bus->lock);
    return result;
}

/* Naturally aligned accesses only, so none passes the end of a space. */
static const struct mv_mmio_ops data_ops = {
    .read = data_read,
    .write = data_write,
    .valid = {.min_bytes = 1, .max_bytes = 4},
    .impl = {.min_bytes = 1, .max_bytes = 4},
};

/* --- life -------------------------------------------------------------------------------------- */

static void function_destroy(struct pci_function *function)
{
    if (function && function->release) {
        function->release(function->opaque);
    }
    free(function);
}

static void bus_release(void *opaque)
{
    struct pci_bus *bus = opaque;
    if (!parts_drop(&bus->parts)) {
        return;
    }
    for (size_t i = 0; i < FUNCTION_MAX; i++) {
        function_destroy(bus->functions[i]);
    }
    pthread_mutex_destroy(&bus->lock);
    free(bus);
}

static int add_region(struct pci_bus *bus, struct mv_machine *machine, struct mv_region_options options,
                      struct mv_region **ret, struct mv_error *err)
{
    options.kind = MV_REGION_MMIO;
    options.opaque = bus;
    options.release = bus_release;
    parts_take(&bus->parts);
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        bus_release(bus);
    }
    return rc;
}

int pci_bus_create(struct mv_machine *machine, struct mv_region **ret_index, struct mv_region **ret_data,
                   struct mv_error *err)
{
    const struct mv_region_options index = {
        .name = "pci-conf-idx", .size_bytes = PCI_INDEX_PORTS, .ops = &index_ops};
    const struct mv_region_options data = {
        .name = "pci-conf-data", .size_bytes = PCI_DATA_PORTS, .ops = &data_ops};
    struct pci_bus *bus = calloc(1, sizeof *bus);
    if (!bus) {
        return error_host(err, -ENOMEM, "pci", "pci: cannot make the bus");
    }
    parts_init(&bus->parts);
    pthread_mutex_init(&bus->lock, NULL);
    struct mv_region *first = NULL;
    int rc = add_region(bus, machine, index, &first, err);
    if (rc == 0) {
        rc = add_region(bus, machine, data, ret_data, err);
    }
    if (rc == 0) {
        *ret_index = first;
    } else {
        mv_region_put(first);
    }
    bus_release(bus);
    return rc;
}

int pci_bus_plug(struct mv_region *region, const struct pci_function *function, struct mv_error *err)
{
    struct pci_bus *bus = mv_region_opaque(region);
    struct pci_function *copy = malloc(sizeof *copy);
    if (!copy) {
        return error_host(err, -ENOMEM, "pci", "pci: cannot plug in a function");
    }
    *copy = *function;
    pthread_mutex_lock(&bus->lock);
    const bool taken = bus->functions[copy->devfn];
    if (!taken) {
        bus->functions[copy->devfn] = copy;
    }
    pthread_mutex_unlock(&bus->lock);
    if (taken) {
        free(copy);
        return error_set(err, -EEXIST, "duplicate", "pci", "pci: there is a function 00:%02x.%u already",
                         function->devfn >> 3, function->devfn & 7U);
    }
    return 0;
}
