// SPDX-License-Identifier: MIT
/*
 * A reader may go on reading what it remembers until it sees that it is stale: the view that it borrows keeps
 * those bytes. A commit publishes first and marks then; a reader clears the mark first and borrows then. So either
 * the reader borrows the new view, or it is marked again.
 */
#include <memvirt/reader.h>

#include "machine/space.h"

#define PIECE_BYTES (UINT64_C(1) << MV_READER_PIECE_SHIFT)

_Static_assert(sizeof(struct mv_reader_piece) == 16, "mv_reader_read64 shifts by it");
_Static_assert((MV_READER_PIECES & (MV_READER_PIECES - 1)) == 0, "and masks by their number");

static void drop_pieces(struct mv_reader *reader)
{
    for (size_t i = 0; i < MV_READER_PIECES; i++) {
        reader->pieces[i].first = MV_READER_UNUSED;
    }
}

void mv_reader_init(struct mv_reader *reader, struct mv_space *space)
{
    reader->space = space;
    reader->view = NULL;
    drop_pieces(reader);
    __atomic_store_n(&reader->is_stale, true, __ATOMIC_RELAXED);
    flat_add_reader(space->flat, reader);
}

void mv_reader_forget(struct mv_reader *reader)
{
    __atomic_store_n(&reader->is_stale, true, __ATOMIC_RELAXED);
    if (reader->view) {
        mv_view_release(reader->view);
        reader->view = NULL;
        drop_pieces(reader);
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
        reader->pieces[(first >> MV_READER_PIECE_SHIFT) % MV_READER_PIECES] =
            (struct mv_reader_piece){.first = first, .host_delta = s->host_delta};
    }
}

enum mv_result mv_reader_read(struct mv_reader *reader, mv_gpa_t address, void *ret_bytes, size_t length)
{
    if (__atomic_load_n(&reader->is_stale, __ATOMIC_RELAXED)) {
        mv_reader_forget(reader);
        __atomic_store_n(&reader->is_stale, false, __ATOMIC_SEQ_CST);
        reader->view = mv_space_view(reader->space);
    }
    remember(reader, address.raw);
    return mv_space_read(reader->space, address, ret_bytes, length, MV_ATTRS_NONE);
}
