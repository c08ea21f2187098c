// SPDX-License-Identifier: MIT
#include "machine/mmio.h"

#include "base/addr.h"

/* QEMU's defaults: guests may use up to 4 bytes at a time where a device says nothing, handlers take 1 to 4. */
#define DEFAULT_MAX_BYTES 4
#define DEFAULT_IMPL_MIN_BYTES 1

/* As wide as they say, wherever they are. */
typedef uint16_t uint16_unaligned __attribute__((aligned(1), may_alias));
typedef uint32_t uint32_unaligned __attribute__((aligned(1), may_alias));
typedef uint64_t uint64_unaligned __attribute__((aligned(1), may_alias));

static unsigned pow2_floor(size_t n)
{
    unsigned p = 1;
    while (p * 2 <= n && p < 8) {
        p *= 2;
    }
    return p;
}

unsigned mmio_piece(const struct mv_region *region, uint64_t offset, size_t length)
{
    const struct mv_mmio_ops *ops = region->mmio.ops;
    unsigned max = ops && ops->valid.max_bytes ? ops->valid.max_bytes : DEFAULT_MAX_BYTES;
    if ((!ops || !ops->impl.unaligned) && offset != 0) {
        uint64_t alignment = offset & -offset;
        if (alignment < max) {
            max = (unsigned)alignment;
        }
    }
    return pow2_floor(length < max ? length : max);
}

static bool is_valid(const struct mv_mmio_ops *ops, uint64_t offset, unsigned size_bytes)
{
    if (!ops->valid.unaligned && !is_aligned(offset, size_bytes)) {
        return false;
    }
    if (ops->valid.max_bytes == 0) {
        return true;
    }
    return size_bytes >= ops->valid.min_bytes && size_bytes <= ops->valid.max_bytes;
}

bool mmio_accepts(const struct mv_region *region, uint64_t offset, unsigned size_bytes, bool is_write,
                  struct mv_attrs attrs)
{
    const struct mv_mmio_ops *ops = region->mmio.ops;
    bool has_handler = ops && (is_write ? ops->write != NULL : ops->read != NULL);
    return has_handler &&
           (!ops->accepts || ops->accepts(region->mmio.opaque, offset, size_bytes, is_write, attrs)) &&
           is_valid(ops, offset, size_bytes);
}

static uint64_t size_mask(unsigned size_bytes)
{
    return size_bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << (size_bytes * 8)) - 1;
}

static uint64_t shift_left(uint64_t value, int bits)
{
    if (bits <= -64 || bits >= 64) {
        return 0;
    }
    return bits >= 0 ? value << bits : value >> -bits;
}

/* --- RAM devices ------------------------------------------------------------------------------- */

static enum mv_result ram_device_read(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                                      struct mv_attrs attrs)
{
    const volatile void *host = region_host(opaque, offset);
    (void)attrs;
    switch (size_bytes) {
    case 1: *ret_value = *(const volatile uint8_t *)host; break;
    case 2: *ret_value = *(const volatile uint16_unaligned *)host; break;
    case 4: *ret_value = *(const volatile uint32_unaligned *)host; break;
    default: *ret_value = *(const volatile uint64_unaligned *)host; break;
    }
    return MV_OK;
}

static enum mv_result ram_device_write(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                                       struct mv_attrs attrs)
{
    volatile void *host = region_host(opaque, offset);
    (void)attrs;
    switch (size_bytes) {
    case 1: *(volatile uint8_t *)host = (uint8_t)value; break;
    case 2: *(volatile uint16_unaligned *)host = (uint16_t)value; break;
    case 4: *(volatile uint32_unaligned *)host = (uint32_t)value; break;
    default: *(volatile uint64_unaligned *)host = value; break;
    }
    return MV_OK;
}

const struct mv_mmio_ops ram_device_ops = {
    .read = ram_device_read,
    .write = ram_device_write,
    .valid = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
    .impl = {.min_bytes = 1, .max_bytes = 8, .unaligned = true},
};

/* --- one access -------------------------------------------------------------------------------- */

/* How one access is made by calls of `size_bytes` each. */
struct plan {
    unsigned access_bytes; /* of the whole access */
    unsigned call_bytes;   /* of each call: what the handlers can do */
};

static struct plan make_plan(const struct mv_mmio_ops *ops, unsigned size_bytes)
{
    unsigned min = ops->impl.min_bytes ? ops->impl.min_bytes : DEFAULT_IMPL_MIN_BYTES;
    unsigned max = ops->impl.max_bytes ? ops->impl.max_bytes : DEFAULT_MAX_BYTES;
    unsigned call = size_bytes > max ? max : size_bytes;
    return (struct plan){.access_bytes = size_bytes, .call_bytes = call < min ? min : call};
}

/*
 * The devices whose handlers this thread is in, innermost first. An access to one of them from inside is refused:
 * most devices are not written to be entered twice, and guests have used that (QEMU's re-entrancy guard).
 */
struct entered {
    const void *device;
    const struct entered *outer;
};

static _Thread_local const struct entered *entered_innermost;

static bool is_entered(const void *device)
{
    for (const struct entered *e = entered_innermost; device && e; e = e->outer) {
        if (e->device == device) {
            return true;
        }
    }
    return false;
}

/* Whose handlers these are; NULL if they may be entered again. As in QEMU a ROM device's may. */
static const void *guarded(const struct mv_region *region)
{
    return region->kind == MV_REGION_MMIO ? region->mmio.device : NULL;
}

/* By how much call i's value is shifted up in the whole; negative where a big-endian access was widened. */
static int plan_shift(const struct mv_mmio_ops *ops, struct plan plan, unsigned i)
{
    if (ops->endian == MV_ENDIAN_BIG) {
        return ((int)plan.access_bytes - (int)plan.call_bytes - (int)i) * 8;
    }
    return (int)i * 8;
}

enum mv_result mmio_read(const struct mv_region *region, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                         struct mv_attrs attrs)
{
    const struct mv_mmio_ops *ops = region->mmio.ops;
    *ret_value = 0;
    if (!mmio_accepts(region, offset, size_bytes, false, attrs)) {
        return MV_DECODE_ERROR;
    }
    if (is_entered(guarded(region))) {
        return MV_ACCESS_ERROR;
    }
    const struct entered here = {.device = guarded(region), .outer = entered_innermost};
    entered_innermost = &here;
    struct plan plan = make_plan(ops, size_bytes);
    unsigned result = MV_OK;
    uint64_t whole = 0;
    for (unsigned i = 0; i < size_bytes; i += plan.call_bytes) {
        uint64_t value = 0;
        result |= ops->read(region->mmio.opaque, offset + i, plan.call_bytes, &value, attrs);
        whole |= shift_left(value & size_mask(plan.call_bytes), plan_shift(ops, plan, i));
    }
    entered_innermost = here.outer;
    *ret_value = whole & size_mask(size_bytes);
    return (enum mv_result)result;
}

enum mv_result mmio_write(const struct mv_region *region, uint64_t offset, unsigned size_bytes, uint64_t value,
                          struct mv_attrs attrs)
{
    const struct mv_mmio_ops *ops = region->mmio.ops;
    if (!mmio_accepts(region, offset, size_bytes, true, attrs)) {
        return MV_DECODE_ERROR;
    }
    if (is_entered(guarded(region))) {
        return MV_ACCESS_ERROR;
    }
    const struct entered here = {.device = guarded(region), .outer = entered_innermost};
    entered_innermost = &here;
    struct plan plan = make_plan(ops, size_bytes);
    unsigned result = MV_OK;
    value &= size_mask(size_bytes);
    for (unsigned i = 0; i < size_bytes; i += plan.call_bytes) {
        uint64_t part = shift_left(value, -plan_shift(ops, plan, i)) & size_mask(plan.call_bytes);
        result |= ops->write(region->mmio.opaque, offset + i, plan.call_bytes, part, attrs);
    }
    entered_innermost = here.outer;
    return (enum mv_result)result;
}

void mmio_value_to_bytes(const struct mv_region *region, uint64_t value, unsigned size_bytes, unsigned char *ret)
{
    bool big = region->mmio.ops && region->mmio.ops->endian == MV_ENDIAN_BIG;
    for (unsigned i = 0; i < size_bytes; i++) {
        ret[big ? size_bytes - 1 - i : i] = (unsigned char)(value >> (i * 8));
    }
}

uint64_t mmio_bytes_to_value(const struct mv_region *region, const unsigned char *bytes, unsigned size_bytes)
{
    bool big = region->mmio.ops && region->mmio.ops->endian == MV_ENDIAN_BIG;
    uint64_t value = 0;
    for (unsigned i = 0; i < size_bytes; i++) {
        value |= (uint64_t)bytes[big ? size_bytes - 1 - i : i] << (i * 8);
    }
    return value;
}

uint8_t mmio_simple_sizes(const struct mv_region *region)
{
    const struct mv_mmio_ops *ops = region->mmio.ops;
    unsigned sizes = 0;
    bool host_is_little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    if (!ops || !ops->read || !ops->write || ops->accepts || region->mmio.device ||
        ops->endian != MV_ENDIAN_LITTLE || !host_is_little) {
        return 0;
    }
    for (unsigned size = 1; size <= 8; size *= 2) {
        if (mmio_piece(region, 0, size) == size && is_valid(ops, 0, size) &&
            make_plan(ops, size).call_bytes == size) {
            sizes |= size;
        }
    }
    return (uint8_t)sizes;
}
