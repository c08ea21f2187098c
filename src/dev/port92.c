// SPDX-License-Identifier: MIT
#include "dev/port92.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"

#define RESET 0x01

/* Owned by its region: freed in release. */
struct port92 {
    struct port92_options options;
    atomic_uchar value;
};

static enum mv_result port92_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct port92 *port92 = opaque;
    *ret_value = atomic_load(&port92->value);
    return MV_OK;
}

static enum mv_result port92_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                   struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    struct port92 *port92 = opaque;
    const unsigned char before = atomic_exchange(&port92->value, (unsigned char)value);
    if (value & RESET & ~before) {
        port92->options.reset(port92->options.opaque, "port 0x92");
    }
    return MV_OK;
}

static const struct mv_mmio_ops port92_ops = {
    .read = port92_read,
    .write = port92_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

int port92_create(struct mv_machine *machine, const struct port92_options *options, struct mv_region **ret,
                  struct mv_error *err)
{
    struct port92 *port92 = calloc(1, sizeof *port92);
    if (!port92) {
        return error_host(err, -ENOMEM, "port92", "port92: cannot make the device");
    }
    port92->options = *options;
    const struct mv_region_options region_options = {
        .name = "port92",
        .kind = MV_REGION_MMIO,
        .size_bytes = PORT92_PORTS,
        .ops = &port92_ops,
        .opaque = port92,
        .release = free,
    };
    int rc = mv_region_create(machine, &region_options, ret, err);
    if (rc < 0) {
        free(port92);
    }
    return rc;
}
