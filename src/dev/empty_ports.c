// SPDX-License-Identifier: MIT
#include "dev/empty_ports.h"

static enum mv_result empty_port_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                      struct mv_attrs attrs)
{
    (void)opaque;
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    *ret_value = UINT64_MAX;
    return MV_OK;
}

static enum mv_result empty_port_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                       struct mv_attrs attrs)
{
    (void)opaque;
    (void)offset;
    (void)size_bytes;
    (void)value;
    (void)attrs;
    return MV_OK;
}

static const struct mv_mmio_ops empty_port_ops = {
    .read = empty_port_read,
    .write = empty_port_write,
    .valid = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
};

int empty_ports_create(struct mv_machine *machine, const char *name, uint64_t ports, struct mv_region **ret,
                       struct mv_error *err)
{
    const struct mv_region_options options = {
        .name = name,
        .kind = MV_REGION_MMIO,
        .size_bytes = ports,
        .ops = &empty_port_ops,
    };
    return mv_region_create(machine, &options, ret, err);
}
