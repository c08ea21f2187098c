// SPDX-License-Identifier: MIT
/*
 * A reader may go on reading what it remembers until it sees that a commit made it forget: the view that it
 * borrows keeps those bytes. What was committed before a read began is seen by it:
 *
 *     reader                                        commit
 *     borrows view V                                publishes V + 1
 *     remembers a piece of V
 *     is V still the present view? else forgets     makes every reader forget
 *
 * With a full fence between the two lines on either side, one of the two forgets.
 */
#include <memvirt/reader.h>

#include "machine/space.h"

#define PIECE_BYTES (UINT64_C(1) << MV_READER_PIECE_SHIFT)

_Static_assert(sizeof(struct mv_reader_piece) == 16, "mv_reader_read64 shifts by it");
_Static_assert((MV_READER_PIECES & (MV_READER_PIECES - 1)) == 0, "and masks by their number");

void mv_reader_init(struct mv_reader *reader, struct mv_space *space)
{
    reader->space = space;
    reader->view = NULL;
    flat_forget_pieces(reader);
    flat_add_reader(space->flat, reader);
}

void mv_reader_forget(struct mv_reader *reader)
{
    if (reader->view) {
        flat_forget_pieces(reader);
        mv_view_release(reader->view);
        reader->view = NULL;
    }
}

void mv_reader_finish(struct mv_reader *reader)
{
    flat_remove_reader(reader->space->flat, reader);
    mv_reader_forget(reader);
}

/* Remember the piece that an address is in, if all of it is bytes that reads copy. */
static void remember(struct mv_reader *reader, uint64_t address)
{
    uint64_t first = align_down(address, PIECE_BYTES);
    const struct section *s = view_find(reader->view, address);
    if (s && s->direct_read && s->range.first <= first && s->range.last - first >= PIECE_BYTES - 1) {
        struct mv_reader_piece *piece = &reader->pieces[(first >> MV_READER_PIECE_SHIFT) % MV_READER_PIECES];
        piece->host_delta = s->host_delta;
        __atomic_store_n(&piece->first, first, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (epoch_load(reader->space->flat->view) != reader->view) {
            __atomic_store_n(&piece->first, MV_READER_UNUSED, __ATOMIC_RELAXED);
        }
    }
}

enum mv_result mv_reader_read(struct mv_reader *reader, mv_gpa_t address, void *ret_bytes, size_t length)
{
    if (epoch_load(reader->space->flat->view) != reader->view) {
        mv_reader_forget(reader);
        reader->view = mv_space_view(reader->space);
    }
    remember(reader, address.raw);
    return mv_space_read(reader->space, address, ret_bytes, length, MV_ATTRS_NONE);
}
