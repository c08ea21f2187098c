// SPDX-License-Identifier: MIT
/* Accesses of one size, as a processor makes them; and what is made of reads and writes: filling, comparing. */
#include <memvirt/access.h>
#include <string.h>

#include "machine/mmio.h"
#include "machine/space.h"

static bool is_size(unsigned size_bytes)
{
    return size_bytes <= 8 && is_pow2(size_bytes);
}

static uint64_t swap(uint64_t value, unsigned size_bytes)
{
    return __builtin_bswap64(value) >> (64 - size_bytes * 8);
}

/* Between bytes in memory and the value that they are in this order. */
static uint64_t value_of(const unsigned char *bytes, unsigned size_bytes, enum mv_endian endian)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size_bytes; i++) {
        value |= (uint64_t)bytes[endian == MV_ENDIAN_LITTLE ? i : size_bytes - 1 - i] << (i * 8);
    }
    return value;
}

static void bytes_of(uint64_t value, unsigned size_bytes, enum mv_endian endian, unsigned char *ret)
{
    for (unsigned i = 0; i < size_bytes; i++) {
        ret[endian == MV_ENDIAN_LITTLE ? i : size_bytes - 1 - i] = (unsigned char)(value >> (i * 8));
    }
}

/* Inside an epoch: the section whose handler takes an access at `address`; NULL when it is not for a handler. */
static const struct section *handler_at(struct mv_space *space, uint64_t address,
                                        bool direct(const struct section *))
{
    const struct section *s = flat_find(space->flat, address);
    return s && !direct(s) && s->region->kind != MV_REGION_IOMMU ? s : NULL;
}

static bool reads_direct(const struct section *s)
{
    return s->direct_read;
}

/* A write to read-only memory is no handler's either: it is refused. */
static bool writes_direct(const struct section *s)
{
    return s->direct_write || (s->has_host && s->rights.readonly);
}

static uint64_t offset_in(const struct section *s, uint64_t address)
{
    return s->offset + (address - s->range.first);
}

static bool is_other_order(const struct section *s, enum mv_endian endian)
{
    return s->region->mmio.ops && s->region->mmio.ops->endian != endian;
}

enum mv_result mv_space_load(struct mv_space *space, mv_gpa_t address, unsigned size_bytes, enum mv_endian endian,
                             uint64_t *ret, struct mv_attrs attrs)
{
    unsigned char bytes[8];
    enum mv_result result;
    *ret = 0;
    if (!is_size(size_bytes)) {
        return MV_ACCESS_ERROR;
    }
    epoch_enter();
    const struct section *s = handler_at(space, address.raw, reads_direct);
    if (s) {
        result = mmio_read(s->region, offset_in(s, address.raw), size_bytes, ret, attrs);
        *ret = is_other_order(s, endian) ? swap(*ret, size_bytes) : *ret;
    } else {
        result = mv_space_read(space, address, bytes, size_bytes, attrs);
        *ret = value_of(bytes, size_bytes, endian);
    }
    epoch_exit();
    return result;
}

enum mv_result mv_space_store(struct mv_space *space, mv_gpa_t address, unsigned size_bytes, enum mv_endian endian,
                              uint64_t value, struct mv_attrs attrs)
{
    unsigned char bytes[8];
    enum mv_result result;
    if (!is_size(size_bytes)) {
        return MV_ACCESS_ERROR;
    }
    epoch_enter();
    const struct section *s = handler_at(space, address.raw, writes_direct);
    if (s) {
        value = is_other_order(s, endian) ? swap(value, size_bytes) : value;
        result = mmio_write(s->region, offset_in(s, address.raw), size_bytes, value, attrs);
    } else {
        bytes_of(value, size_bytes, endian, bytes);
        result = mv_space_write(space, address, bytes, size_bytes, attrs);
    }
    epoch_exit();
    return result;
}

/* --- many bytes -------------------------------------------------------------------------------- */

#define CHUNK_BYTES 512

enum mv_result mv_space_fill(struct mv_space *space, mv_gpa_t address, uint8_t byte, size_t length,
                             struct mv_attrs attrs)
{
    unsigned char chunk[CHUNK_BYTES];
    unsigned result = MV_OK;
    memset(chunk, byte, sizeof chunk);
    while (length > 0) {
        size_t size = length < sizeof chunk ? length : sizeof chunk;
        result |= mv_space_write(space, address, chunk, size, attrs);
        length -= size;
        if (__builtin_add_overflow(address.raw, size, &address.raw) && length > 0) {
            return (enum mv_result)(result | MV_DECODE_ERROR); /* the end of the address space */
        }
    }
    return (enum mv_result)result;
}

static size_t count_equal(const unsigned char *a, const unsigned char *b, size_t length)
{
    size_t n = 0;
    while (n < length && a[n] == b[n]) {
        n++;
    }
    return n;
}

enum mv_result mv_space_compare(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length,
                                size_t *ret_equal, struct mv_attrs attrs)
{
    const unsigned char *with = bytes;
    unsigned char chunk[CHUNK_BYTES];
    unsigned result = MV_OK;
    size_t done = 0, equal = 0;
    while (done < length && equal == done) {
        size_t size = length - done < sizeof chunk ? length - done : sizeof chunk;
        result |= mv_space_read(space, gpa_add_wrapping(address, done), chunk, size, attrs);
        equal += count_equal(chunk, with + done, size);
        done += size;
    }
    *ret_equal = equal;
    return (enum mv_result)result;
}

/* --- exactly once ------------------------------------------------------------------------------ */

/* As few loads as alignment allows, none of a byte that was loaded before. */
static void copy_once(unsigned char *to, const unsigned char *from, size_t length)
{
    for (; length > 0 && ((uintptr_t)from & 7) != 0; length--) {
        *to++ = *(const volatile unsigned char *)from++;
    }
    for (; length >= 8; length -= 8, to += 8, from += 8) {
        uint64_t word = *(const volatile uint64_t *)(const volatile void *)from;
        memcpy(to, &word, 8);
    }
    for (; length > 0; length--) {
        *to++ = *(const volatile unsigned char *)from++;
    }
}

enum mv_result mv_space_read_once(struct mv_space *space, mv_gpa_t address, void *ret_bytes, size_t length,
                                  struct mv_attrs attrs)
{
    unsigned char *to = ret_bytes;
    unsigned result = MV_OK;
    epoch_enter();
    const struct mv_view *view = epoch_load(space->flat->view);
    while (length > 0) {
        const struct section *s = view_find(view, address.raw);
        const struct section *next = s ? NULL : view_next(view, address.raw);
        uint64_t last = next ? next->range.first - 1 : UINT64_MAX; /* of the section, or of the hole */
        last = s ? s->range.last : last;
        size_t size = length - 1 > last - address.raw ? (size_t)(last - address.raw) + 1 : length;
        if (s && s->direct_read) {
            copy_once(to, section_host(s, address.raw), size);
        } else { /* devices are asked once for each piece anyhow */
            result |= mv_space_read(space, address, to, size, attrs);
        }
        to += size;
        length -= size;
        address.raw += size;
        if (address.raw == 0 && length > 0) {
            memset(to, 0, length);
            result |= MV_DECODE_ERROR;
            break;
        }
    }
    epoch_exit();
    return (enum mv_result)result;
}
