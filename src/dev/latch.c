// SPDX-License-Identifier: MIT
#include "dev/latch.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"

/* Owned by its region: freed in release. */
struct latch {
    atomic_uchar bytes[LATCH_MAX_PORTS];
};

static enum mv_result latch_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                 struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct latch *latch = opaque;
    *ret_value = atomic_load(&latch->bytes[offset % LATCH_MAX_PORTS]);
    return MV_OK;
}

static enum mv_result latch_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                  struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct latch *latch = opaque;
    atomic_store(&latch->bytes[offset % LATCH_MAX_PORTS], (unsigned char)value);
    return MV_OK;
}

/* A wide access can pass the region's end, and comes here whole; being aligned it stays within LATCH_MAX_PORTS. */
static const struct mv_mmio_ops latch_ops = {
    .read = latch_read,
    .write = latch_write,
    .valid = {.min_bytes = 1, .max_bytes = 4, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 1},
};

int latch_create(struct mv_machine *machine, const char *name, unsigned ports, struct mv_region **ret,
                 struct mv_error *err)
{
    assert(ports <= LATCH_MAX_PORTS);
    struct latch *latch = calloc(1, sizeof *latch);
    if (!latch) {
        return error_host(err, -ENOMEM, name, "%s: cannot make the device", name);
    }
    const struct mv_region_options options = {
        .name = name,
        .kind = MV_REGION_MMIO,
        .size_bytes = ports,
        .ops = &latch_ops,
        .opaque = latch,
        .release = free,
    };
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        free(latch);
    }
    return rc;
}
