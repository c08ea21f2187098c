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

/**
 * Print what answers at an address, through which regions and aliases it is found, and what it hides.
 * @param space_name  the space, or all of that name; NULL for all spaces that have anything there, of which those
 * that show the same are told of once
 * @return 0; -ENOENT ("no-space": none is called so); -ENOMEM
 */
MV_API int mv_mtree_at(struct mv_machine *machine, const char *space_name, mv_gpa_t address, mv_print_fn *print,
                       void *opaque, struct mv_error *err);

/**
 * Print how two machines differ, lines that begin with "-" and "+": regions added, removed and changed, and ranges
 * of the flat views. Spaces and regions are compared with those of the same name in the same place.
 * @param[out] ret_count  how many lines begin with "-" or "+"; 0 for machines that look the same
 * @return 0; -ENOMEM: nothing was printed
 */
MV_API int mv_mtree_diff(struct mv_machine *before, struct mv_machine *after, mv_print_fn *print, void *opaque,
                         size_t *ret_count, struct mv_error *err);

/** A dump that was read. */
struct mv_mtree;

/**
 * Make a machine of what `info mtree` printed, with or without -D and -o. What the text leaves open is decided as
 * docs/mtree.md says; flat views in the same text (`info mtree -f`) help. Its memory has no bytes: the machine is
 * for looking at, and an access to it is a decode error.
 *
 * The text is not trusted: time and memory are bounded by its length and by fixed limits.
 * @return 0; -EINVAL ("bad-dump": the sentence names the line); -ELOOP ("cycle"); -E2BIG ("too-large"); -ENOMEM
 */
MV_API int mv_mtree_import(const char *text, size_t length, struct mv_mtree **ret, struct mv_error *err);

/** End it, and its machine. NULL is allowed. */
MV_API void mv_mtree_destroy(struct mv_mtree *mtree);

/** The machine; it lives as long as the dump. */
MV_API struct mv_machine *mv_mtree_machine(const struct mv_mtree *mtree);

/**
 * What prints the accelerator's word where the flat views of the text have it, for mv_mtree_print(). Of several
 * spaces in a paragraph the text does not say whose slot it is: the first ones are taken.
 * @return borrowed from the dump; NULL if the text has no such word
 */
MV_API const struct mv_mtree_accel *mv_mtree_accel(const struct mv_mtree *mtree);

/** The flags that print it as it was: MV_MTREE_OWNER and MV_MTREE_DISABLED, if the text shows that. */
MV_API unsigned mv_mtree_flags(const struct mv_mtree *mtree);

/** Print what the text left open and had to be guessed, a line each. */
MV_API void mv_mtree_notes(const struct mv_mtree *mtree, mv_print_fn *print, void *opaque);

MV_END_DECLS

#endif
