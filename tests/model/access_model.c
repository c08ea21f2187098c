/* SPDX-License-Identifier: MIT */
#include "access_model.h"

#include <assert.h>

/* The low `size` bytes of value. */
static uint64_t low_bytes(uint64_t value, unsigned size)
{
    return size >= 8 ? value : value & ((UINT64_C(1) << (8 * size)) - 1);
}

/* Its low `size` bytes in reverse order; what is above them is dropped. */
static uint64_t swap_bytes(uint64_t value, unsigned size)
{
    uint64_t swapped = 0;

    for (unsigned i = 0; i < size; i++) {
        swapped = swapped << 8 | ((value >> (8 * i)) & 0xff);
    }
    return swapped;
}

/* Up for positive counts of bytes, down for negative ones. All counts are below 8. */
static uint64_t move_up(uint64_t value, int nbytes)
{
    return nbytes >= 0 ? value << (8 * nbytes) : value >> (8 * -nbytes);
}

static bool is_big(const struct access_ops *ops, enum access_order order)
{
    return order == ACCESS_BIG || (order == ACCESS_NATIVE && ops->native_is_big);
}

bool access_model_valid(const struct access_ops *ops, enum access_dir dir, uint64_t offset, unsigned size)
{
    if (ops->accepts && !ops->accepts(ops->opaque, dir, offset, size)) {
        return false;
    }
    if (!ops->valid_unaligned && offset % size != 0) {
        return false;
    }
    if (ops->valid_max == 0) {
        return true;
    }
    return size >= ops->valid_min && size <= ops->valid_max;
}

/* The size of each device call an access of this size becomes (Q82). */
static unsigned call_size(const struct access_ops *ops, unsigned size)
{
    unsigned min = ops->impl_min ? ops->impl_min : 1;
    unsigned max = ops->impl_max ? ops->impl_max : 4;

    if (size > max) {
        size = max;
    }
    if (size < min) {
        size = min;
    }
    return size;
}

static unsigned call_device(const struct access_ops *ops, enum access_dir dir, struct access_call *call)
{
    return ops->device ? ops->device(ops->opaque, dir, call) : ACCESS_OK;
}

void access_model_sized(const struct access_ops *ops, const struct access_request *req, struct access_outcome *ret)
{
    unsigned size = req->size;
    unsigned step = call_size(ops, size);
    bool big = is_big(ops, ops->order);
    bool swap = big != is_big(ops, req->order);
    uint64_t value = 0;

    assert(size == 1 || size == 2 || size == 4 || size == 8);
    *ret = (struct access_outcome){.result = ACCESS_OK};
    if (!access_model_valid(ops, req->dir, req->offset, size)) {
        ret->result = ACCESS_DECODE_ERROR;
        return;
    }

    if (req->dir == ACCESS_WRITE) {
        value = swap ? swap_bytes(req->value, size) : low_bytes(req->value, size);
    }
    for (unsigned done = 0; done < size; done += step) {
        /* How far above the lowest byte of the value this call's bytes stand (Q83). */
        int place = big ? (int)size - (int)step - (int)done : (int)done;
        struct access_call *call = &ret->call[ret->ncalls++];

        call->offset = req->offset + done;
        call->size = step;
        call->value = 0;
        if (req->dir == ACCESS_WRITE) {
            call->value = low_bytes(move_up(value, -place), step);
        }
        ret->result |= call_device(ops, req->dir, call);
        if (req->dir == ACCESS_READ) {
            value |= move_up(low_bytes(call->value, step), place);
        }
    }
    if (req->dir == ACCESS_READ) {
        ret->value = swap ? swap_bytes(value, size) : low_bytes(value, size);
    }
}

unsigned access_model_piece(const struct access_ops *ops, uint64_t offset, uint64_t len)
{
    unsigned max = ops->valid_max ? ops->valid_max : 4;
    unsigned piece = 1;

    assert(len > 0);
    /* The largest power of two that is not too long, and at which offset is aligned. */
    while (2 * piece <= len && 2 * piece <= max && (ops->impl_unaligned || offset % (2 * piece) == 0)) {
        piece *= 2;
    }
    return piece;
}

/* One piece: byte 0 is at the lowest address, which is what a little-endian access means. */
static void do_piece(const struct access_ops *ops, enum access_dir dir, uint8_t *bytes, struct access_piece *piece)
{
    struct access_request req = {
        .dir = dir,
        .offset = piece->offset,
        .size = piece->size,
        .order = ACCESS_LITTLE,
    };

    if (dir == ACCESS_WRITE) {
        for (unsigned i = 0; i < piece->size; i++) {
            req.value |= (uint64_t)bytes[i] << (8 * i);
        }
    }
    access_model_sized(ops, &req, &piece->outcome);
    if (dir == ACCESS_READ) {
        for (unsigned i = 0; i < piece->size; i++) {
            bytes[i] = (uint8_t)(piece->outcome.value >> (8 * i));
        }
    }
}

unsigned access_model_buffer(const struct access_ops *ops, const struct access_buffer_request *req,
                             struct access_piece *ret, size_t max, size_t *ret_npieces)
{
    unsigned result = ACCESS_OK;
    size_t npieces = 0;
    uint64_t done = 0;

    while (done < req->len) {
        struct access_piece piece = {.offset = req->offset + done};

        piece.size = access_model_piece(ops, piece.offset, req->len - done);
        do_piece(ops, req->dir, req->bytes + done, &piece);
        result |= piece.outcome.result;
        if (npieces < max) {
            ret[npieces] = piece;
        }
        npieces++;
        done += piece.size;
    }
    *ret_npieces = npieces;
    return result;
}
