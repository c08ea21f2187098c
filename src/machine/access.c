// SPDX-License-Identifier: MIT
/*
 * The data plane: guest accesses, straight through the current view. Nothing here takes a lock or allocates; a
 * handler is called inside the epoch, which keeps the region alive and delays nobody but the freeing of old views.
 */
#include <memvirt/access.h>
#include <string.h>

#include "machine/block.h"
#include "machine/dirty.h"
#include "machine/iommu.h"
#include "machine/machine.h"
#include "machine/mmio.h"
#include "machine/space.h"

/* What is at an address: a section, or nothing; and how many of `length` bytes from there it is good for. */
struct piece {
    const struct section *section; /* NULL: nothing */
    size_t length;
};

static struct piece find_piece(const struct mv_view *view, uint64_t address, size_t length)
{
    const struct section *s = view_find(view, address);
    uint64_t last = UINT64_MAX; /* of the section, or of the hole */
    if (s) {
        last = s->range.last;
    } else {
        const struct section *next = view_next(view, address);
        last = next ? next->range.first - 1 : UINT64_MAX;
    }
    uint64_t rest = last - address; /* one less than the bytes up to `last` */
    return (struct piece){.section = s, .length = length - 1 > rest ? (size_t)rest + 1 : length};
}

/*
 * Copying to and from memory that a guest uses at the same time. Sizes that one instruction does are done by one,
 * so that another vCPU sees all of it or nothing.
 */
static inline void copy(void *to, const void *from, size_t length)
{
    switch (length) {
    case 1: memcpy(to, from, 1); break;
    case 2: memcpy(to, from, 2); break;
    case 4: memcpy(to, from, 4); break;
    case 8: memcpy(to, from, 8); break;
    default: memcpy(to, from, length); break;
    }
}

enum access_kind {
    ACCESS_READ,
    ACCESS_WRITE,
    ACCESS_WRITE_ROM, /* by a loader */
};

struct access {
    enum access_kind kind;
    unsigned char *to;         /* ACCESS_READ */
    const unsigned char *from; /* the others */
    struct mv_attrs attrs;
};

/*
 * One piece to or from a device. It is as long as the device takes at once, also past the end of its section, as
 * in QEMU: a device with wide registers sees the access whole. *length is set to what was done.
 */
static unsigned access_mmio(const struct access *a, const struct section *s, uint64_t offset, size_t *length)
{
    unsigned size = mmio_piece(s->region, offset, *length);
    uint64_t value;
    unsigned result;
    if (s->watch && a->kind == ACCESS_WRITE) {
        unsigned taken = ioeventfd_write(s, offset, a->from, *length, size);
        if (taken > 0) {
            *length = taken;
            return MV_OK;
        }
    }
    *length = size;
    if (a->kind == ACCESS_READ) {
        result = mmio_read(s->region, offset, size, &value, a->attrs);
        mmio_value_to_bytes(s->region, value, size, a->to);
    } else {
        value = mmio_bytes_to_value(s->region, a->from, size);
        result = mmio_write(s->region, offset, size, value, a->attrs);
    }
    return result;
}

/* Whether the bytes of a section are copied for this access, rather than asked of a handler. */
static inline bool is_direct(const struct access *a, const struct section *s)
{
    if (a->kind == ACCESS_WRITE_ROM) {
        return s->direct_read && !s->region->ram.block->readonly; /* not even a loader can write there */
    }
    return a->kind == ACCESS_WRITE ? s->direct_write : s->direct_read;
}

/* Whether the access goes to a handler: a loader's never does, nor does a write to memory that is read-only. */
static inline bool is_for_handler(const struct access *a, const struct section *s)
{
    if (a->kind == ACCESS_WRITE_ROM || is_direct(a, s)) {
        return false;
    }
    return !(a->kind == ACCESS_WRITE && s->has_host && s->rights.readonly);
}

/* The bytes of one piece that are no handler's. */
static inline unsigned access_piece(const struct flat *flat, const struct access *a, const struct piece *p,
                                    uint64_t address)
{
    if (p->section && is_direct(a, p->section)) {
        unsigned char *host = section_host(p->section, address);
        if (a->kind == ACCESS_READ) {
            copy(a->to, host, p->length);
        } else {
            copy(host, a->from, p->length);
            dirty_log_write(flat, p->section->region, host, p->length);
        }
        return MV_OK;
    }
    if (a->kind == ACCESS_READ) {
        memset(a->to, 0, p->length);
    }
    return MV_DECODE_ERROR;
}

/*
 * Follow an access through the IOMMU regions that are in its way, to where it ends or is refused. *view and
 * *address go on to the last space; the piece is cut where a translation ends.
 */
static struct piece follow_iommus(const struct mv_view **view, uint64_t *address, const struct access *a,
                                  struct piece p)
{
    unsigned rights = a->kind == ACCESS_READ ? MV_IOMMU_READ : MV_IOMMU_WRITE;
    for (unsigned hops = 0; p.section && p.section->region->kind == MV_REGION_IOMMU; hops++) {
        uint64_t offset = p.section->offset + (*address - p.section->range.first);
        struct iommu_step step = iommu_translate(p.section->region, offset, rights, a->attrs);
        size_t length = p.length - 1 > step.rest ? (size_t)step.rest + 1 : p.length;
        if (!step.target || hops == IOMMU_HOPS_MAX) {
            return (struct piece){.length = length}; /* nothing */
        }
        *view = epoch_load(step.target->flat->view);
        *address = step.address;
        p = find_piece(*view, step.address, length);
    }
    return p;
}

/* One piece of an access of `length` bytes, wherever it leads. Returns what was done by *length. */
static unsigned access_next(const struct mv_view *view, uint64_t address, const struct access *a, size_t *length)
{
    struct piece p = find_piece(view, address, *length);
    if (p.section && p.section->region->kind == MV_REGION_IOMMU) {
        p = follow_iommus(&view, &address, a, p);
        *length = p.length; /* a device behind an IOMMU is given no more than the translation is good for */
    }
    if (p.section && is_for_handler(a, p.section)) {
        const struct section *s = p.section;
        unsigned result = access_mmio(a, s, s->offset + (address - s->range.first), length);
        if (a->kind == ACCESS_WRITE && s->region->kind == MV_REGION_RAM_DEVICE) {
            dirty_log_write(view->flat, s->region, section_host(s, address), *length);
        }
        return result;
    }
    *length = p.length;
    return access_piece(view->flat, a, &p, address);
}

static enum mv_result access_pieces(const struct mv_view *view, uint64_t address, struct access a, size_t length)
{
    unsigned result = MV_OK;
    while (length > 0) {
        size_t done = length;
        result |= access_next(view, address, &a, &done);
        if (a.kind == ACCESS_READ) {
            a.to += done;
        } else {
            a.from += done;
        }
        length -= done;
        if (__builtin_add_overflow(address, done, &address) && length > 0) {
            /* Past the end of the address space there is nothing. */
            if (a.kind == ACCESS_READ) {
                memset(a.to, 0, length);
            }
            return (enum mv_result)(result | MV_DECODE_ERROR);
        }
    }
    return (enum mv_result)result;
}

/* Before an access to a region that asks for it. */
static void flush_for(struct mv_space *space, uint64_t address)
{
    if (epoch_is_inside()) {
        return;
    }
    epoch_enter();
    const struct section *s = flat_find(space->flat, address);
    bool flush = s && s->watch && s->watch->flush;
    epoch_exit();
    if (flush) {
        mv_machine_flush_coalesced(space->machine);
    }
}

static __attribute__((noinline)) enum mv_result access_slowly(struct mv_space *space, uint64_t address,
                                                              struct access a, size_t length)
{
    if (atomic_load_explicit(&space->machine->drain_count, memory_order_relaxed) > 0) {
        flush_for(space, address);
    }
    epoch_enter();
    enum mv_result result = access_pieces(epoch_load(space->flat->view), address, a, length);
    epoch_exit();
    return result;
}

/*
 * What is common takes no detour: 1, 2, 4 or 8 bytes of one section of RAM, or a whole register of a device. When
 * guest memory is not in the cache, what a processor has under way at once is limited by how many instructions lie
 * between two loads of it. So each size has a path of its own, needs no stack, and what is not common leaves it by
 * a jump: it is in functions with the same arguments.
 */
static __attribute__((noinline)) enum mv_result read_slowly(struct mv_space *space, mv_gpa_t address,
                                                            void *ret_bytes, size_t length, struct mv_attrs attrs)
{
    return access_slowly(space, address.raw, (struct access){.kind = ACCESS_READ, .to = ret_bytes, .attrs = attrs},
                         length);
}

static __attribute__((noinline)) enum mv_result
write_slowly(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length, struct mv_attrs attrs)
{
    return access_slowly(space, address.raw, (struct access){.kind = ACCESS_WRITE, .from = bytes, .attrs = attrs},
                         length);
}

/* A whole register. */
static inline bool is_simple_mmio(const struct section *s, uint64_t offset, size_t size)
{
    return !s->has_host && !s->watch && (s->region->mmio.simple_sizes & size) && is_aligned(offset, size);
}

/* Whether `size` bytes from there on are a section's. */
static inline bool is_whole(const struct section *s, uint64_t address, size_t size)
{
    return size - 1 <= s->range.last - address;
}

/*
 * The three below are called in an epoch, and leave it.
 *
 * The other common cases: a register of a device, and what the shortcuts do not know. `s` is what they say.
 */
static __attribute__((noinline)) enum mv_result read_other(struct mv_space *space, mv_gpa_t address,
                                                           void *ret_bytes, size_t size, struct mv_attrs attrs,
                                                           const struct section *s)
{
    if (!s) {
        s = view_find(epoch_load(space->flat->view), address.raw);
        if (s && s->direct_read && is_whole(s, address.raw, size)) {
            copy(ret_bytes, section_host(s, address.raw), size);
            epoch_exit();
            return MV_OK;
        }
    }
    uint64_t offset = s ? s->offset + (address.raw - s->range.first) : 0;
    if (!s || !is_simple_mmio(s, offset, size)) {
        epoch_exit();
        return read_slowly(space, address, ret_bytes, size, attrs);
    }
    uint64_t value = 0; /* its low bytes are its first: mmio_simple_sizes made sure */
    const struct mv_region *region = s->region;
    enum mv_result result = region->mmio.ops->read(region->mmio.opaque, offset, (unsigned)size, &value, attrs);
    copy(ret_bytes, &value, size);
    epoch_exit();
    return result;
}

static __attribute__((noinline)) enum mv_result write_other(struct mv_space *space, mv_gpa_t address,
                                                            const void *bytes, size_t size, struct mv_attrs attrs,
                                                            const struct section *s)
{
    if (!s) {
        s = view_find(epoch_load(space->flat->view), address.raw);
        if (s && s->direct_write && is_whole(s, address.raw, size)) {
            copy(section_host(s, address.raw), bytes, size);
            dirty_log_write(space->flat, s->region, section_host(s, address.raw), size);
            epoch_exit();
            return MV_OK;
        }
    }
    uint64_t offset = s ? s->offset + (address.raw - s->range.first) : 0;
    if (!s || !is_simple_mmio(s, offset, size)) {
        epoch_exit();
        return write_slowly(space, address, bytes, size, attrs);
    }
    uint64_t value = 0;
    const struct mv_region *region = s->region;
    copy(&value, bytes, size);
    enum mv_result result = region->mmio.ops->write(region->mmio.opaque, offset, (unsigned)size, value, attrs);
    epoch_exit();
    return result;
}

/* The rest of a write that is logged. */
static __attribute__((noinline)) enum mv_result finish_logged(const struct section *s, uint64_t address,
                                                              size_t length)
{
    dirty_written(s->region, section_host(s, address), length);
    epoch_exit();
    return MV_OK;
}

static inline __attribute__((always_inline)) enum mv_result
read_quickly(struct mv_space *space, mv_gpa_t address, void *ret_bytes, const size_t size, struct mv_attrs attrs)
{
    struct epoch_quick epoch;
    if (!epoch_quick_enter(&epoch)) {
        return read_slowly(space, address, ret_bytes, size, attrs);
    }
    const struct section *s = shortcut_find(&space->flat->shortcuts, address.raw);
    if (__builtin_expect(!s || !s->direct_read || !is_whole(s, address.raw, size), 0)) {
        return read_other(space, address, ret_bytes, size, attrs, s);
    }
    memcpy(ret_bytes, section_host(s, address.raw), size);
    epoch_quick_exit(epoch);
    return MV_OK;
}

static inline __attribute__((always_inline)) enum mv_result write_quickly(struct mv_space *space, mv_gpa_t address,
                                                                          const void *bytes, const size_t size,
                                                                          struct mv_attrs attrs)
{
    struct epoch_quick epoch;
    if (!epoch_quick_enter(&epoch)) {
        return write_slowly(space, address, bytes, size, attrs);
    }
    const struct section *s = shortcut_find(&space->flat->shortcuts, address.raw);
    if (__builtin_expect(!s || !s->direct_write || !is_whole(s, address.raw, size), 0)) {
        return write_other(space, address, bytes, size, attrs, s);
    }
    memcpy(section_host(s, address.raw), bytes, size);
    if (__builtin_expect(dirty_is_logged(space->flat), 0)) {
        return finish_logged(s, address.raw, size);
    }
    epoch_quick_exit(epoch);
    return MV_OK;
}

enum mv_result mv_space_read(struct mv_space *space, mv_gpa_t address, void *ret_bytes, size_t length,
                             struct mv_attrs attrs)
{
    if (__builtin_expect(length == 8, 1)) { /* first: a register of a processor */
        return read_quickly(space, address, ret_bytes, 8, attrs);
    }
    switch (length) {
    case 4: return read_quickly(space, address, ret_bytes, 4, attrs);
    case 2: return read_quickly(space, address, ret_bytes, 2, attrs);
    case 1: return read_quickly(space, address, ret_bytes, 1, attrs);
    default: return read_slowly(space, address, ret_bytes, length, attrs);
    }
}

enum mv_result mv_space_write(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length,
                              struct mv_attrs attrs)
{
    if (__builtin_expect(length == 8, 1)) {
        return write_quickly(space, address, bytes, 8, attrs);
    }
    switch (length) {
    case 4: return write_quickly(space, address, bytes, 4, attrs);
    case 2: return write_quickly(space, address, bytes, 2, attrs);
    case 1: return write_quickly(space, address, bytes, 1, attrs);
    default: return write_slowly(space, address, bytes, length, attrs);
    }
}

enum mv_result mv_space_write_rom(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length)
{
    return access_slowly(space, address.raw, (struct access){.kind = ACCESS_WRITE_ROM, .from = bytes}, length);
}

/* How much of an access would be done at once; 0 when it would be refused. */
static size_t probe_next(const struct mv_view *view, uint64_t address, const struct access *a, size_t length)
{
    struct piece p = find_piece(view, address, length);
    if (p.section && p.section->region->kind == MV_REGION_IOMMU) {
        p = follow_iommus(&view, &address, a, p);
        length = p.length;
    }
    if (!p.section || is_direct(a, p.section)) {
        return p.section ? p.length : 0;
    }
    const struct section *s = p.section;
    uint64_t offset = s->offset + (address - s->range.first);
    unsigned size = mmio_piece(s->region, offset, length);
    bool accepted =
        is_for_handler(a, s) && mmio_accepts(s->region, offset, size, a->kind == ACCESS_WRITE, a->attrs);
    return accepted ? size : 0;
}

bool mv_space_accepts(struct mv_space *space, mv_gpa_t address, size_t length, enum mv_rights right,
                      struct mv_attrs attrs)
{
    const struct access a = {.kind = right == MV_WRITE ? ACCESS_WRITE : ACCESS_READ, .attrs = attrs};
    uint64_t at = address.raw;
    epoch_enter();
    const struct mv_view *view = epoch_load(space->flat->view);
    while (length > 0) {
        size_t done = probe_next(view, at, &a, length);
        length -= done;
        if (done == 0 || (__builtin_add_overflow(at, done, &at) && length > 0)) {
            break;
        }
    }
    epoch_exit();
    return length == 0;
}

enum mv_result mv_space_hold(struct mv_space *space, mv_gpa_t address, size_t length, struct mv_hold *ret)
{
    enum mv_result result = MV_DECODE_ERROR;
    epoch_enter();
    const struct mv_view *view = epoch_load(space->flat->view);
    const struct section *s = length > 0 ? view_find(view, address.raw) : NULL;
    if (s && s->direct_read) {
        uint64_t rest = s->range.last - address.raw;
        const void *bytes = section_host(s, address.raw);
        *ret = (struct mv_hold){
            .bytes = bytes,
            .length = length - 1 > rest ? (size_t)rest + 1 : length,
            .hva = hva_of(bytes),
            .region = mv_region_get(s->region), /* which the section keeps until the epoch is over */
        };
        result = MV_OK;
    }
    epoch_exit();
    return result;
}

void mv_hold_release(struct mv_hold *hold)
{
    mv_region_put(hold->region);
    *hold = (struct mv_hold){0};
}
