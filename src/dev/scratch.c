// SPDX-License-Identifier: MIT
#include "dev/scratch.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/addr.h"
#include "base/error.h"

#define WORD_BYTES 8 /* naturally aligned accesses never cross one */
#define WORD_REGISTER 0
#define WORD_ID 1

/* Owned by its region: freed in release. `lock` protects the register. */
struct scratch {
    pthread_mutex_t lock;
    uint64_t value;
};

static unsigned shift_of(uint64_t offset)
{
    return 8 * (unsigned)(offset % WORD_BYTES);
}

static uint64_t mask_of(unsigned size_bytes)
{
    return size_bytes == WORD_BYTES ? UINT64_MAX : (UINT64_C(1) << (8 * size_bytes)) - 1;
}

static enum mv_result scratch_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                   struct mv_attrs attrs)
{
    (void)attrs;
    struct scratch *scratch = opaque;
    assert(is_aligned(offset, size_bytes));
    uint64_t word = 0;
    if (offset / WORD_BYTES == WORD_REGISTER) {
        pthread_mutex_lock(&scratch->lock);
        word = scratch->value;
        pthread_mutex_unlock(&scratch->lock);
    } else if (offset / WORD_BYTES == WORD_ID) {
        word = SCRATCH_ID;
    }
    *ret_value = word >> shift_of(offset) & mask_of(size_bytes);
    return MV_OK;
}

static enum mv_result scratch_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                    struct mv_attrs attrs)
{
    (void)attrs;
    struct scratch *scratch = opaque;
    assert(is_aligned(offset, size_bytes));
    if (offset / WORD_BYTES == WORD_REGISTER) {
        const uint64_t mask = mask_of(size_bytes) << shift_of(offset);
        pthread_mutex_lock(&scratch->lock);
        scratch->value = (scratch->value & ~mask) | (value << shift_of(offset) & mask);
        pthread_mutex_unlock(&scratch->lock);
    }
    return MV_OK;
}

static const struct mv_mmio_ops scratch_ops = {
    .read = scratch_read,
    .write = scratch_write,
    .valid = {.min_bytes = 1, .max_bytes = 8},
    .impl = {.min_bytes = 1, .max_bytes = 8},
};

static void scratch_release(void *opaque)
{
    struct scratch *scratch = opaque;
    pthread_mutex_destroy(&scratch->lock);
    free(scratch);
}

int scratch_create(struct mv_machine *machine, struct mv_region **ret, struct mv_error *err)
{
    struct scratch *scratch = calloc(1, sizeof *scratch);
    if (!scratch) {
        return error_host(err, -ENOMEM, "scratch", "scratch: cannot make the device");
    }
    pthread_mutex_init(&scratch->lock, NULL);

    const struct mv_region_options options = {
        .name = "scratch",
        .kind = MV_REGION_MMIO,
        .size_bytes = SCRATCH_SIZE,
        .ops = &scratch_ops,
        .opaque = scratch,
        .release = scratch_release,
    };
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        scratch_release(scratch);
    }
    return rc;
}
