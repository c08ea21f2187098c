// SPDX-License-Identifier: MIT
#include "dev/debug_exit.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

/* Owned by its region: freed in release. Never changes, so it needs no lock. */
struct debug_exit {
    struct debug_exit_options options;
};

/* Nothing drives the bus when the port is read. */
static enum mv_result debug_exit_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                      struct mv_attrs attrs)
{
    (void)opaque;
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    *ret_value = UINT64_MAX;
    return MV_OK;
}

static enum mv_result debug_exit_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                       struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    const struct debug_exit *device = opaque;
    device->options.exit(device->options.opaque, (uint32_t)value);
    return MV_OK;
}

/* The handler sees a write whole: split in bytes, it would be four exits. */
static const struct mv_mmio_ops debug_exit_ops = {
    .read = debug_exit_read,
    .write = debug_exit_write,
    .valid = {.min_bytes = 1, .max_bytes = 4},
    .impl = {.min_bytes = 1, .max_bytes = 4},
};

int debug_exit_create(struct mv_machine *machine, const struct debug_exit_options *options, struct mv_region **ret,
                      struct mv_error *err)
{
    struct debug_exit *device = calloc(1, sizeof *device);
    if (!device) {
        return error_host(err, -ENOMEM, "debug-exit", "debug-exit: cannot make the device");
    }
    device->options = *options;

    const struct mv_region_options region_options = {
        .name = options->name,
        .kind = MV_REGION_MMIO,
        .size_bytes = DEBUG_EXIT_PORTS,
        .ops = &debug_exit_ops,
        .opaque = device,
        .release = free,
    };
    int rc = mv_region_create(machine, &region_options, ret, err);
    if (rc < 0) {
        free(device);
    }
    return rc;
}
