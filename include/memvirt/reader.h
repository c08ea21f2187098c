// SPDX-License-Identifier: MIT
/**
 * @file reader.h
 * Readers: guest RAM for a thread that reads it all the time, such as a device model or a software processor.
 *
 * A reader remembers where pieces of 2 MiB are in the host, for as long as nothing is committed; a read of
 * remembered memory is a handful of instructions in the caller. Everything else is done as mv_space_read() does
 * it, with the same results.
 *
 * A reader stays where it is in memory from init to finish, and belongs to one thread at a time. It borrows the
 * view that it remembers (as mv_space_view() does) and takes the present one at its next slow read after a commit:
 * who stops reading for long, while others edit, lets go of it with mv_reader_forget(), or what those edits
 * replace stays in memory.
 */
#ifndef MEMVIRT_READER_H
#define MEMVIRT_READER_H

#include <memvirt/space.h>
#include <string.h>

MV_BEGIN_DECLS

#define MV_READER_PIECE_SHIFT 21
#define MV_READER_PIECES 8192 /**< of the first 16 GiB; what is beyond is read as mv_space_read() does it */

/** A reader; 64 KiB. The fields are the library's own; they are here for the inline function. */
struct mv_reader {
    uint64_t
        host_deltas[MV_READER_PIECES]; /* add an address to get the host's; 0: not remembered; commits store it */
    struct mv_space *space;
    const struct mv_view *view; /* borrowed; what the pieces are of; NULL: nothing is remembered */
    struct mv_reader *next;     /* of those that commits have to tell */
    size_t first, end;          /* of the pieces that may be remembered */
};

/** Begin to read a space, which must outlive the reader. Remembers nothing yet; cannot fail. */
MV_API void mv_reader_init(struct mv_reader *reader, struct mv_space *space);
/** Forget what is remembered, and give the borrowed view back. */
MV_API void mv_reader_forget(struct mv_reader *reader);
/** End it. */
MV_API void mv_reader_finish(struct mv_reader *reader);

/** mv_space_read() of `length` bytes; remembers the piece if it can. */
MV_API enum mv_result mv_reader_read(struct mv_reader *reader, mv_gpa_t address, void *ret_bytes, size_t length);

/**
 * Read 8 bytes, in the host's byte order. Every instruction in here counts: with cache misses, what a processor
 * has under way at once is limited by how many instructions lie between them.
 */
static inline enum mv_result mv_reader_read64(struct mv_reader *reader, mv_gpa_t address, uint64_t *ret)
{
    /* The number of the piece; with the low bits on top, so that an unaligned address, which may leave it, has
     * none. */
    uint64_t i = (address.raw >> 3 | address.raw << 61) >> (MV_READER_PIECE_SHIFT - 3);
    if (__builtin_expect(i < MV_READER_PIECES, 1)) {
        uint64_t host_delta = __atomic_load_n(&reader->host_deltas[i], __ATOMIC_RELAXED);
        if (__builtin_expect(host_delta != 0, 1)) {
            memcpy(ret, (const void *)(uintptr_t)(host_delta + address.raw), sizeof *ret);
            return MV_OK;
        }
    }
    return mv_reader_read(reader, address, ret, sizeof *ret);
}

MV_END_DECLS

#endif
