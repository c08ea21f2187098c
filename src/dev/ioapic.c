// SPDX-License-Identifier: MIT
#include "dev/ioapic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/error.h"

#define OFFSET_INDEX 0x00
#define OFFSET_DATA 0x10

#define PINS 24
#define REG_ID 0x00
#define REG_VERSION 0x01
#define REG_ARBITRATION 0x02
#define REG_TABLE 0x10
#define REG_TABLE_END (REG_TABLE + 2 * PINS)

#define ID_BITS UINT32_C(0x0f000000)
#define VERSION_VALUE (UINT32_C(0x11) | (PINS - 1) << 16)
#define ENTRY_LOW_WRITABLE UINT32_C(0x0001afff) /* without delivery status and remote IRR */
#define ENTRY_MASKED (UINT32_C(1) << 16)

/* Owned by its region: freed in release. `lock` protects everything. */
struct ioapic {
    pthread_mutex_t lock;
    uint8_t index;
    uint32_t id;
    uint32_t table[2 * PINS]; /* of each entry the low half, then the high */
};

static uint32_t register_value(const struct ioapic *ioapic)
{
    const unsigned index = ioapic->index;
    if (index >= REG_TABLE && index < REG_TABLE_END) {
        return ioapic->table[index - REG_TABLE];
    }
    switch (index) {
    case REG_ID:
    case REG_ARBITRATION: return ioapic->id;
    case REG_VERSION: return VERSION_VALUE;
    default: return 0;
    }
}

static void register_set(struct ioapic *ioapic, uint32_t value)
{
    const unsigned index = ioapic->index;
    if (index >= REG_TABLE && index < REG_TABLE_END) {
        ioapic->table[index - REG_TABLE] = index % 2 == 0 ? value & ENTRY_LOW_WRITABLE : value;
    } else if (index == REG_ID) {
        ioapic->id = value & ID_BITS;
    }
}

static enum mv_result ioapic_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                  struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct ioapic *ioapic = opaque;
    pthread_mutex_lock(&ioapic->lock);
    switch (offset) {
    case OFFSET_INDEX: *ret_value = ioapic->index; break;
    case OFFSET_DATA: *ret_value = register_value(ioapic); break;
    default: *ret_value = 0; break;
    }
    pthread_mutex_unlock(&ioapic->lock);
    return MV_OK;
}

static enum mv_result ioapic_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                   struct mv_attrs attrs)
{
    (void)size_bytes;
    (void)attrs;
    struct ioapic *ioapic = opaque;
    pthread_mutex_lock(&ioapic->lock);
    if (offset == OFFSET_INDEX) {
        ioapic->index = (uint8_t)value;
    } else if (offset == OFFSET_DATA) {
        register_set(ioapic, (uint32_t)value);
    }
    pthread_mutex_unlock(&ioapic->lock);
    return MV_OK;
}

static const struct mv_mmio_ops ioapic_ops = {
    .read = ioapic_read,
    .write = ioapic_write,
    .valid = {.min_bytes = 1, .max_bytes = 4},
    .impl = {.min_bytes = 1, .max_bytes = 4},
};

static void ioapic_release(void *opaque)
{
    struct ioapic *ioapic = opaque;
    pthread_mutex_destroy(&ioapic->lock);
    free(ioapic);
}

int ioapic_create(struct mv_machine *machine, struct mv_region **ret, struct mv_error *err)
{
    struct ioapic *ioapic = calloc(1, sizeof *ioapic);
    if (!ioapic) {
        return error_host(err, -ENOMEM, "ioapic", "ioapic: cannot make the device");
    }
    pthread_mutex_init(&ioapic->lock, NULL);
    for (unsigned pin = 0; pin < PINS; pin++) {
        ioapic->table[2 * pin] = ENTRY_MASKED;
    }
    const struct mv_region_options options = {
        .name = "ioapic",
        .kind = MV_REGION_MMIO,
        .size_bytes = IOAPIC_SIZE,
        .ops = &ioapic_ops,
        .opaque = ioapic,
        .release = ioapic_release,
    };
    int rc = mv_region_create(machine, &options, ret, err);
    if (rc < 0) {
        ioapic_release(ioapic);
    }
    return rc;
}
