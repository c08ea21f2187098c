// SPDX-License-Identifier: MIT
#include "dev/debugcon.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

#define DEBUGCON_PRESENT 0xe9

/* Owned by its region: freed in release. Never changes, so it needs no lock. */
struct debugcon {
    struct sink sink;
};

static enum mv_result debugcon_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                    struct mv_attrs attrs)
{
    (void)opaque;
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    *ret_value = DEBUGCON_PRESENT;
    return MV_OK;
}

static enum mv_result debugcon_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                     struct mv_attrs attrs)
{
    (void)offset;
    (void)size_bytes;
    (void)attrs;
    const struct debugcon *debugcon = opaque;
    const uint8_t byte = (uint8_t)value;
    debugcon->sink.write(debugcon->sink.opaque, &byte, 1);
    return MV_OK;
}

static const struct mv_mmio_ops debugcon_ops = {
    .read = debugcon_read,
    .write = debugcon_write,
    .valid = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

int debugcon_create(struct mv_machine *machine, const char *name, const struct sink *sink, struct mv_region **ret,
                    struct mv_error *err)
{
    struct debugcon *debugcon = calloc(1, sizeof *debugcon);
    if (!debugcon) {
        return error_host(err, -ENOMEM, "debugcon", "debugcon: cannot make the device");
    }
    debugcon->sink = *sink;

    const struct mv_region_options options = {
        .name = name,
        .kind = MV_REGION_MMIO,
        .size_bytes = DEBUGCON_PORTS,
        .ops = &debugcon_ops,
        .opaque = debugcon,
        .release = free,
    };
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        free(debugcon);
    }
    return rc;
}
