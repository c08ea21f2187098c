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

void mv_reader_init(struct mv_reader *reader, struct mv_space *space)
{
    *reader = (struct mv_reader){.space = space};
    flat_add_reader(space->flat, reader);
}

void mv_reader_forget(struct mv_reader *reader)
{
    if (reader->view) {
        flat_forget_pieces(reader);
        __atomic_store_n(&reader->end, 0, __ATOMIC_RELAXED);
        mv_view_release(reader->view);
        reader->view = NULL;
    }
}

void mv_reader_finish(struct mv_reader *reader)
{
    flat_remove_reader(reader->space->flat, reader);
    mv_reader_forget(reader);
}

/* Commits look here which pieces there are to forget; written by the reader's thread alone. */
static void include(struct mv_reader *reader, size_t i)
{
    if (reader->end == 0 || i < reader->first) {
        __atomic_store_n(&reader->first, i, __ATOMIC_RELAXED);
    }
    if (i >= reader->end) {
        __atomic_store_n(&reader->end, i + 1, __ATOMIC_RELAXED);
    }
}

/* Remember the piece that an address is in, if all of it is bytes that reads copy. */
static void remember(struct mv_reader *reader, uint64_t address)
{
    uint64_t first = align_down(address, PIECE_BYTES), i = address >> MV_READER_PIECE_SHIFT;
    const struct section *s = i < MV_READER_PIECES ? view_find(reader->view, address) : NULL;
    if (s && s->direct_read && s->range.first <= first && s->range.last - first >= PIECE_BYTES - 1) {
        include(reader, i);
        __atomic_store_n(&reader->host_deltas[i], s->host_delta, __ATOMIC_RELEASE);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (epoch_load(reader->space->flat->view) != reader->view) {
            __atomic_store_n(&reader->host_deltas[i], 0, __ATOMIC_RELAXED);
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
