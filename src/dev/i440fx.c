// SPDX-License-Identifier: MIT
#include "dev/i440fx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/error.h"
#include "base/range.h"
#include "dev/pci.h"

#define DEVICE_ID 0x1237
#define REVISION 0x02
#define CLASS_HOST_BRIDGE 0x0600

#define VGA_GPA UINT64_C(0xa0000)
#define VGA_BYTES (128 * KIB)
#define PAM_PRIORITY 1 /* above RAM and PCI */

#define PAM_COUNT 13
#define PAM0_GPA UINT64_C(0xf0000)
#define PAM0_BYTES (64 * KIB)
#define PAM1_GPA UINT64_C(0xc0000)
#define PAM_BYTES (16 * KIB)

/* A range's two bits. */
enum pam_mode {
    PAM_PCI = 0,
    PAM_READ = 1,
    PAM_WRITE = 2,
    PAM_RAM = 3,
    PAM_MODES = 4,
};

/* What the registers say, as far as the tree goes. */
struct attributes {
    uint8_t pam_modes[PAM_COUNT]; /* enum pam_mode */
    bool smram_open;
    bool smram_enabled;
};

/*
 * Owned by its bus: freed when that goes. The bus's lock protects it, over edits of the tree too.
 * Invariant: for each range exactly the window of its mode is enabled; smram_region (PCI's, for everybody) unless
 * smram is open, smram if it is enabled.
 */
struct i440fx {
    struct mv_machine *machine; /* borrowed: the regions keep it */
    struct mv_region *windows[PAM_COUNT][PAM_MODES];
    struct mv_region *smram_region;
    struct mv_region *smram;
    struct attributes now;
};

static struct mv_range pam_range(unsigned i)
{
    const uint64_t first = i == 0 ? PAM0_GPA : PAM1_GPA + (i - 1) * PAM_BYTES;
    const uint64_t bytes = i == 0 ? PAM0_BYTES : PAM_BYTES;
    return (struct mv_range){first, first + bytes - 1};
}

static struct attributes attributes_in(const uint8_t *config)
{
    struct attributes attributes = {
        .smram_open = config[I440FX_SMRAM] & I440FX_SMRAM_OPEN,
        .smram_enabled = config[I440FX_SMRAM] & I440FX_SMRAM_ENABLE,
    };
    for (unsigned i = 0; i < PAM_COUNT; i++) {
        const unsigned byte = config[I440FX_PAM0 + (i + 1) / 2];
        attributes.pam_modes[i] = (i % 2 == 0 ? byte >> 4 : byte) & 3;
    }
    return attributes;
}

/* --- writes ------------------------------------------------------------------------------------ */

static int set_windows(const struct i440fx *bridge, unsigned i, unsigned mode)
{
    int rc = 0;
    for (unsigned m = 0; rc == 0 && m < PAM_MODES; m++) {
        rc = mv_region_set_enabled(bridge->windows[i][m], m == mode, NULL);
    }
    return rc;
}

/* In a transaction. What is so already is no edit. */
static int edit(const struct i440fx *bridge, const struct attributes *wanted)
{
    int rc = mv_region_set_enabled(bridge->smram_region, !wanted->smram_open, NULL);
    if (rc == 0) {
        rc = mv_region_set_enabled(bridge->smram, wanted->smram_enabled, NULL);
    }
    for (unsigned i = 0; rc == 0 && i < PAM_COUNT; i++) {
        rc = set_windows(bridge, i, wanted->pam_modes[i]);
    }
    return rc;
}

/* A commit that fails leaves the tree as it was, and then the registers stay too. */
static enum mv_result bridge_write(void *opaque, const uint8_t *config)
{
    struct i440fx *bridge = opaque;
    const struct attributes wanted = attributes_in(config);
    if (memcmp(&wanted, &bridge->now, sizeof wanted) == 0) {
        return MV_OK;
    }
    if (mv_machine_begin(bridge->machine, NULL) < 0) {
        return MV_DEVICE_ERROR;
    }
    if (edit(bridge, &wanted) < 0) {
        mv_machine_abort(bridge->machine);
        return MV_DEVICE_ERROR;
    }
    if (mv_machine_commit(bridge->machine, NULL) < 0) {
        return MV_DEVICE_ERROR;
    }
    bridge->now = wanted;
    return MV_OK;
}

/* --- life -------------------------------------------------------------------------------------- */

static void bridge_release(void *opaque)
{
    struct i440fx *bridge = opaque;
    for (unsigned i = 0; i < PAM_COUNT; i++) {
        for (unsigned m = 0; m < PAM_MODES; m++) {
            mv_region_put(bridge->windows[i][m]);
        }
    }
    mv_region_put(bridge->smram_region);
    mv_region_put(bridge->smram);
    free(bridge);
}

/* A region in a container, enabled or not; the reference is the caller's. */
struct placed {
    struct mv_region_options options;
    struct mv_region *container;
    uint64_t gpa;
    bool enabled;
};

static int place(const struct i440fx *bridge, const struct placed *placed, struct mv_region **ret,
                 struct mv_error *err)
{
    struct mv_region *region;
    int rc = mv_region_create(bridge->machine, &placed->options, &region, err);
    if (rc < 0) {
        return rc;
    }
    rc = mv_region_set_enabled(region, placed->enabled, err);
    if (rc == 0) {
        rc = mv_region_add(placed->container, placed->gpa, region, PAM_PRIORITY, err);
    }
    if (rc < 0) {
        mv_region_put(region);
        return rc;
    }
    *ret = region;
    return 0;
}

/* In the order of the modes: the window added last comes first among equals, and QEMU's last is PAM_RAM's. */
static int make_windows(struct i440fx *bridge, unsigned i, const struct i440fx_options *options,
                        struct mv_error *err)
{
    static const char *const names[PAM_MODES] = {"pam-pci", "pam-rom", "pam-pci", "pam-ram"};
    const struct mv_range range = pam_range(i);
    int rc = 0;
    for (unsigned m = 0; rc == 0 && m < PAM_MODES; m++) {
        const struct placed window = {
            .options =
                {
                    .name = names[m],
                    .kind = MV_REGION_ALIAS,
                    .size_bytes = range_size(range),
                    .target = m == PAM_PCI ? options->pci : options->ram,
                    .target_offset_bytes = range.first,
                    .readonly = m == PAM_READ,
                },
            .container = options->system,
            .gpa = range.first,
            .enabled = m == PAM_PCI,
        };
        rc = place(bridge, &window, &bridge->windows[i][m], err);
    }
    return rc;
}

static int make_smram(struct i440fx *bridge, const struct i440fx_options *options, struct mv_error *err)
{
    const struct placed region = {
        .options =
            {
                .name = "smram-region",
                .kind = MV_REGION_ALIAS,
                .size_bytes = VGA_BYTES,
                .target = options->pci,
                .target_offset_bytes = VGA_GPA,
            },
        .container = options->system,
        .gpa = VGA_GPA,
        .enabled = true,
    };
    const struct mv_region_options smram = {
        .name = "smram",
        .kind = MV_REGION_CONTAINER,
        .size_bytes = 4 * GIB,
    };
    const struct mv_region_options low = {
        .name = "smram-low",
        .kind = MV_REGION_ALIAS,
        .size_bytes = VGA_BYTES,
        .target = options->ram,
        .target_offset_bytes = VGA_GPA,
    };
    int rc = place(bridge, &region, &bridge->smram_region, err);
    if (rc == 0) {
        rc = mv_region_create(bridge->machine, &smram, &bridge->smram, err);
    }
    if (rc == 0) {
        rc = mv_region_set_enabled(bridge->smram, false, err);
    }
    struct mv_region *alias = NULL;
    if (rc == 0) {
        rc = mv_region_create(bridge->machine, &low, &alias, err);
    }
    if (rc == 0) {
        rc = mv_region_add(bridge->smram, VGA_GPA, alias, 0, err);
    }
    mv_region_put(alias);
    return rc;
}

static int make_all(struct i440fx *bridge, const struct i440fx_options *options, struct mv_error *err)
{
    int rc = make_smram(bridge, options, err);
    for (unsigned i = PAM_COUNT; rc == 0 && i > 0; i--) {
        rc = make_windows(bridge, i - 1, options, err);
    }
    return rc;
}

static int plug(struct i440fx *bridge, struct mv_region *bus, struct mv_error *err)
{
    static const struct pci_ids ids = {
        .devfn = PCI_DEVFN(0, 0),
        .device = DEVICE_ID,
        .class_code = CLASS_HOST_BRIDGE,
        .revision = REVISION,
    };
    struct pci_function function;
    pci_function_init(&function, &ids);
    function.config[I440FX_SMRAM] = I440FX_SMRAM_RESET;
    function.write = bridge_write;
    function.opaque = bridge;
    function.release = bridge_release;
    bridge->now = attributes_in(function.config);
    return pci_bus_plug(bus, &function, err);
}

int i440fx_create(struct mv_machine *machine, struct mv_region *bus, const struct i440fx_options *options,
                  struct mv_region **ret_smram, struct mv_error *err)
{
    struct i440fx *bridge = calloc(1, sizeof *bridge);
    if (!bridge) {
        return error_host(err, -ENOMEM, "i440fx", "i440fx: cannot make the host bridge");
    }
    bridge->machine = machine;
    int rc = make_all(bridge, options, err);
    if (rc == 0) {
        rc = plug(bridge, bus, err);
    }
    if (rc < 0) {
        bridge_release(bridge);
        return rc;
    }
    *ret_smram = mv_region_get(bridge->smram);
    return 0;
}
