// SPDX-License-Identifier: MIT
/*
 * PCI configuration mechanism 1, bus 0: the address register at 0xcf8, the data window at 0xcfc, and the
 * configuration spaces of the functions behind them (PCI Local Bus Specification, "Software Generation of
 * Configuration Transactions").
 *
 * Missing: base address registers (no function here has one), interrupts, bus masters, and other buses.
 */
#ifndef DEV_PCI_H
#define DEV_PCI_H

#include <memvirt/region.h>

#define PCI_CONFIG_BYTES 256
#define PCI_INDEX_PORTS 4
#define PCI_DATA_PORTS 4
#define PCI_DEVFN(device, function) ((uint8_t)((device) << 3 | (function)))

/* Offsets in the header of every configuration space. */
enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_PROG = 0x09,
    PCI_CLASS = 0x0a,
    PCI_CACHE_LINE = 0x0c,
    PCI_HEADER_TYPE = 0x0e,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
    PCI_HEADER_END = 0x40,
};

/* One function. The bus takes a copy of it, and with it what `opaque` is. */
struct pci_function {
    uint8_t devfn;
    uint8_t config[PCI_CONFIG_BYTES];
    uint8_t writable[PCI_CONFIG_BYTES]; /* the bits that a guest can set and clear */

    /*
     * Told each write, as what the whole space is to be; MV_OK lets it be so, anything else leaves it as it was
     * and is the access's result. Called with the bus's lock held; it may edit the tree. NULL: any write is good.
     */
    enum mv_result (*write)(void *opaque, const uint8_t *config);
    void *opaque;
    void (*release)(void *opaque); /* called when the bus goes; NULL: nothing to do */
};

/* A function with the header that is in `ids`, and all of the space after the header writable. */
struct pci_ids {
    uint8_t devfn;
    uint16_t device; /* of Intel */
    uint16_t class_code;
    uint8_t revision;
    uint8_t header_type;
    uint16_t status;
};
void pci_function_init(struct pci_function *function, const struct pci_ids *ids);
void pci_set_u16(uint8_t *config, unsigned offset, uint16_t value);
uint16_t pci_get_u16(const uint8_t *config, unsigned offset);

/* Make the two regions, to be mapped at 0xcf8 and 0xcfc; the bus goes with the last. @return 0 or -ENOMEM */
int pci_bus_create(struct mv_machine *machine, struct mv_region **ret_index, struct mv_region **ret_data,
                   struct mv_error *err);

/*
 * Plug a function in, before a guest can see the bus behind either region. On failure `opaque` stays the caller's.
 * @return 0; -EEXIST ("duplicate"); -ENOMEM
 */
int pci_bus_plug(struct mv_region *bus, const struct pci_function *function, struct mv_error *err);

#endif
