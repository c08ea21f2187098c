// SPDX-License-Identifier: MIT
/*
 * The data plane: guest accesses, straight through the current view. Nothing here takes a lock or allocates; a
 * handler is called inside the epoch, which keeps the region alive and delays nobody but the freeing of old views.
 */
#include <string.h>

#include "machine/mmio.h"
#include "machine/space.h"

/* What is at an address: a section, or nothing; and how many of `length` bytes from there it is good for. */
struct piece {
    const struct section *section; /* NULL: nothing */
    uint64_t offset;               /* in the section's range */
    size_t length;
};

static struct piece find_piece(const struct mv_view *view, uint64_t address, size_t length)
{
    size_t i = view_index(view, address);
    const struct section *s = i < view->count ? &view->sections[i] : NULL;
    bool hole = !s || s->range.first > address;
    uint64_t last = UINT64_MAX; /* of the section, or of the hole */
    if (s) {
        last = hole ? s->range.first - 1 : s->range.last;
    }
    uint64_t rest = last - address; /* one less than the bytes up to `last` */
    return (struct piece){
        .section = hole ? NULL : s,
        .offset = hole ? 0 : address - s->range.first,
        .length = length - 1 > rest ? (size_t)rest + 1 : length,
    };
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

/* The bytes of one piece; p->length is set to how many were done. */
static inline unsigned access_piece(const struct access *a, struct piece *p)
{
    const struct section *s = p->section;
    if (s && s->host && a->kind == ACCESS_READ) {
        copy(a->to, s->host + p->offset, p->length);
        return MV_OK;
    }
    if (s && s->host && (a->kind == ACCESS_WRITE_ROM || !s->readonly)) {
        copy(s->host + p->offset, a->from, p->length);
        return MV_OK;
    }
    if (a->kind == ACCESS_READ && !s) {
        memset(a->to, 0, p->length);
    }
    return MV_DECODE_ERROR;
}

static inline enum mv_result access_all(struct mv_space *space, uint64_t address, struct access a, size_t length)
{
    unsigned result = MV_OK;
    epoch_enter();
    const struct mv_view *view = epoch_load(space->view);
    while (length > 0) {
        struct piece p = find_piece(view, address, length);
        if (p.section && !p.section->host && a.kind != ACCESS_WRITE_ROM) {
            p.length = length;
            result |= access_mmio(&a, p.section, p.section->offset + p.offset, &p.length);
        } else {
            result |= access_piece(&a, &p);
        }
        if (a.kind == ACCESS_READ) {
            a.to += p.length;
        } else {
            a.from += p.length;
        }
        length -= p.length;
        if (__builtin_add_overflow(address, p.length, &address) && length > 0) {
            /* Past the end of the address space there is nothing. */
            if (a.kind == ACCESS_READ) {
                memset(a.to, 0, length);
            }
            result |= MV_DECODE_ERROR;
            break;
        }
    }
    epoch_exit();
    return (enum mv_result)result;
}

enum mv_result mv_space_read(struct mv_space *space, mv_gpa_t address, void *ret_bytes, size_t length,
                             struct mv_attrs attrs)
{
    return access_all(space, address.raw, (struct access){.kind = ACCESS_READ, .to = ret_bytes, .attrs = attrs},
                      length);
}

enum mv_result mv_space_write(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length,
                              struct mv_attrs attrs)
{
    return access_all(space, address.raw, (struct access){.kind = ACCESS_WRITE, .from = bytes, .attrs = attrs},
                      length);
}

enum mv_result mv_space_write_rom(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length)
{
    return access_all(space, address.raw, (struct access){.kind = ACCESS_WRITE_ROM, .from = bytes}, length);
}

enum mv_result mv_space_hold(struct mv_space *space, mv_gpa_t address, size_t length, struct mv_hold *ret)
{
    const struct mv_view *view = mv_space_view(space);
    struct piece p = length > 0 ? find_piece(view, address.raw, length) : (struct piece){0};
    if (!p.section || !p.section->host) {
        mv_view_release(view);
        return MV_DECODE_ERROR;
    }
    const void *bytes = p.section->host + p.offset;
    *ret = (struct mv_hold){.bytes = bytes, .length = p.length, .hva = hva_of(bytes), .view = view};
    return MV_OK;
}

void mv_hold_release(struct mv_hold *hold)
{
    mv_view_release(hold->view);
    *hold = (struct mv_hold){0};
}
