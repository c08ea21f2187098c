/* SPDX-License-Identifier: MIT */
#ifndef ACCESS_MODEL_H
#define ACCESS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A naive model of how an access to one MMIO region becomes calls of its
 * device (Q80-Q85). It knows no addresses: offsets are those in the region,
 * and where the region ends does not matter to it, since QEMU cuts neither a
 * sized access nor a piece of a long one there.
 *
 * What is chosen where the reference facts leave room; all of it is what
 * QEMU 7.2 does:
 *
 * - valid.max 0 makes every size valid, whatever valid.min says, but not every
 *   alignment: the alignment is looked at before.
 * - valid.accepts, where there is one, is asked first, and what it accepts
 *   still has to pass the rest.
 * - Whether an access is valid depends on the whole access as asked for, not
 *   on the calls it is split into or widened to.
 * - impl.min wins over impl.max where they contradict each other, also the
 *   default 4 of impl.max.
 * - The calls of a split go up in addresses in both byte orders. All of them
 *   are made, also after one has failed; results are ORed, and what a failing
 *   read gave back still goes into the value.
 * - Of what a read callback answers, only the low `size of the call` bytes
 *   count. The value of an access narrower than the call is cut to the size
 *   of the access: QEMU leaves this to the callers of its dispatch, all of
 *   which do it.
 * - In the piece rule (Q81) neither valid.min nor impl.min/max play a part, so
 *   a piece may well be rejected; the rest of the pieces is still made. The
 *   alignment is that of the offset in the region, not of the guest address.
 *   Offset 0 is aligned to everything. impl.unaligned lifts the alignment
 *   limit even where valid.unaligned then rejects the piece.
 * - A piece moves bytes: byte 0 of the buffer is the byte at the lowest
 *   address, whatever the byte orders of host and device.
 */

enum access_order {
    ACCESS_NATIVE, /* that of the guest: little unless native_is_big */
    ACCESS_LITTLE,
    ACCESS_BIG,
};

enum access_dir {
    ACCESS_READ,
    ACCESS_WRITE,
};

/* Results are a set of bits; they are ORed over the parts of an access. */
#define ACCESS_OK 0u
#define ACCESS_ERROR 1u
#define ACCESS_DECODE_ERROR 2u

/* One call of the device. */
struct access_call {
    uint64_t offset;
    unsigned size;  /* bytes */
    uint64_t value; /* given to a write; of a read, what the device answered */
};

/* What the region says of itself. All zero is legal, as in QEMU. */
struct access_ops {
    unsigned valid_min;
    unsigned valid_max; /* 0: sizes are not checked */
    bool valid_unaligned;
    /* May be NULL: accepts everything. */
    bool (*accepts)(void *opaque, enum access_dir dir, uint64_t offset, unsigned size);

    unsigned impl_min; /* 0 is 1 */
    unsigned impl_max; /* 0 is 4 */
    bool impl_unaligned;

    enum access_order order;
    bool native_is_big; /* the guest's order */

    /*
     * The device. Fills in call->value of a read (0 on entry) and returns a
     * result. May be NULL: reads give 0, all is well.
     */
    unsigned (*device)(void *opaque, enum access_dir dir, struct access_call *call);
    void *opaque; /* for both callbacks */
};

/* One access of 1, 2, 4 or 8 bytes. */
struct access_request {
    enum access_dir dir;
    uint64_t offset;
    unsigned size;
    enum access_order order; /* of the load or store: le, be, or native */
    uint64_t value;          /* to write; bytes past size are ignored */
};

#define ACCESS_MAX_CALLS 8 /* 8 bytes through impl.max 1 */

struct access_outcome {
    unsigned result;
    uint64_t value; /* read; 0 when rejected */
    unsigned ncalls;
    struct access_call call[ACCESS_MAX_CALLS]; /* in order */
};

/* Q80: whether the region takes an access of this size there at all. */
bool access_model_valid(const struct access_ops *ops, enum access_dir dir, uint64_t offset, unsigned size);

/* Q80, Q82-Q85: all of one sized access. */
void access_model_sized(const struct access_ops *ops, const struct access_request *req,
                        struct access_outcome *ret);

/* Q81: the size of the first piece of an access of len > 0 bytes at offset. */
unsigned access_model_piece(const struct access_ops *ops, uint64_t offset, uint64_t len);

/*
 * An access of a buffer of bytes, cut into pieces each of which is a sized
 * access. Taken to stay in the region; where it may not, look up each next
 * piece anew with access_model_piece(), as QEMU does.
 */
struct access_buffer_request {
    enum access_dir dir;
    uint64_t offset;
    uint8_t *bytes; /* written to by reads */
    uint64_t len;   /* may be 0 */
};

struct access_piece {
    uint64_t offset;
    unsigned size;
    struct access_outcome outcome;
};

/*
 * Returns the ORed results. Writes the first max pieces, in order, and in
 * *ret_npieces how many there are.
 */
unsigned access_model_buffer(const struct access_ops *ops, const struct access_buffer_request *req,
                             struct access_piece *ret, size_t max, size_t *ret_npieces);

#endif
