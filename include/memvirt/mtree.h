// SPDX-License-Identifier: MIT
/**
 * @file mtree.h
 * `info mtree`: a machine's trees and views as text in the form that QEMU's monitor prints, and such text, of any
 * QEMU, made into a machine again, to ask it what is where. docs/mtree.md has the form and what differs.
 */
#ifndef MEMVIRT_MTREE_H
#define MEMVIRT_MTREE_H

#include <memvirt/space.h>

MV_BEGIN_DECLS

/** What to print; the letters are those of QEMU's `info mtree`. */
enum mv_mtree_flags {
    MV_MTREE_FLAT = 1 << 0,     /**< -f: the flat views instead of the trees */
    MV_MTREE_DISPATCH = 1 << 1, /**< -d: with -f, how an address is looked up */
    MV_MTREE_OWNER = 1 << 2,    /**< -o: whose each region is */
    MV_MTREE_DISABLED = 1 << 3, /**< -D: disabled regions too */
};

/** Is told a text, one line at a time, without its newline. No lock is held: it may take its time. */
typedef void mv_print_fn(void *opaque, const char *line);

/**
 * Which ranges of a flat view an accelerator has in a slot. `has_slot` is called with the machine's control lock
 * held, as a listener is.
 */
struct mv_mtree_accel {
    const char *name; /**< the word that is printed behind such a range; QEMU's for KVM is "KVM" */
    bool (*has_slot)(void *opaque, struct mv_space *space, struct mv_range range);
    void *opaque;
};

/**
 * Print every space of a machine, and every region that an alias shows.
 * @param flags  of enum mv_mtree_flags
 * @param accel  for MV_MTREE_FLAT; may be NULL
 * @return 0; -ENOMEM: nothing was printed
 */
MV_API int mv_mtree_print(struct mv_machine *machine, unsigned flags, const struct mv_mtree_accel *accel,
                          mv_print_fn *print, void *opaque, struct mv_error *err);


MV_END_DECLS

#endif
