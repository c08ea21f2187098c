// SPDX-License-Identifier: MIT
/**
 * @file space.h
 * Spaces, views and access: how guest memory is read and written (QEMU's AddressSpace, FlatView and
 * MemoryRegionSection).
 *
 * A view is the flat picture of a tree: sorted, non-overlapping, immutable. A space always has exactly one current
 * view; a commit replaces it by one store. Accesses never wait and never see half of a transaction.
 */
#ifndef MEMVIRT_SPACE_H
#define MEMVIRT_SPACE_H

#include <memvirt/region.h>

MV_BEGIN_DECLS

struct mv_space;
struct mv_view;

/** One range of a view, with what answers there. */
struct mv_section {
    struct mv_range range;    /**< in the space */
    struct mv_region *region; /**< what answers: never an alias or a container */
    uint64_t offset;          /**< in the region, of range.first */
    bool readonly;            /**< guest writes are refused, if it is memory */
    bool nonvolatile;
    bool writable;     /**< a guest's stores go straight to the host's bytes */
    unsigned log_mask; /**< for which clients writes are logged (dirty.h) */
    mv_hva_t hva;      /**< of range.first, if a guest may be given the bytes; else 0 */
};

/**
 * Make a space that shows `root`; the space takes a reference to it. Made inside a transaction it shows nothing
 * until the outermost commit, and if that fails, the tree as it is then.
 * @return 0; -EINVAL (another machine's region); -ENOMEM; or what the commit says
 */
MV_API int mv_space_create(struct mv_machine *machine, const char *name, struct mv_region *root,
                           struct mv_space **ret, struct mv_error *err);

/** End a space. No listener, no VM and no reader may be using it any more. NULL is allowed. Not from a listener.
 */
MV_API void mv_space_destroy(struct mv_space *space);

/** What it was made with; both are good as long as the space is. */
MV_API const char *mv_space_name(const struct mv_space *space);
MV_API struct mv_region *mv_space_root(const struct mv_space *space);

/** Borrow the current view until mv_view_release(); it does not change meanwhile, whatever is committed. Any
 * thread. */
MV_API const struct mv_view *mv_space_view(struct mv_space *space);
MV_API void mv_view_release(const struct mv_view *view);

/** The section that contains `address`. @return false when nothing is there */
MV_API bool mv_view_lookup(const struct mv_view *view, mv_gpa_t address, struct mv_section *ret);

/** The first section that ends at `address` or after it: for going through a view in order. @return false at the
 * end */
MV_API bool mv_view_next(const struct mv_view *view, mv_gpa_t address, struct mv_section *ret);

/** One region on the way from a space's root to what answers. */
struct mv_way_step {
    struct mv_region *region; /**< a container, an alias, or, as the last one, what answers */
    uint64_t offset;          /**< in it, of the address that was asked for */
};

/**
 * Through which containers and aliases an address is found, from the space's root to what answers. Any thread;
 * takes the control lock; in a transaction the tree is asked as it is.
 * @param[out] ret  the first `capacity` of them; each region has a reference that is the caller's: mv_region_put()
 * @return how many there are; 0 when nothing answers, or memory ran out
 */
MV_API size_t mv_space_way(struct mv_space *space, mv_gpa_t address, struct mv_way_step *ret, size_t capacity);

/**
 * What is seen in the place of a range of a region: the first section there of the outermost space that shows one
 * of its containers, or itself, cut to the range. It need not be the region, which others may hide. Ways through
 * aliases are not gone up (QEMU's memory_region_find). Any thread; takes the control lock.
 * @param[out] ret  its region has a reference that is the caller's: mv_region_put()
 * @return false when nothing is seen there, or no space shows it
 */
MV_API bool mv_region_find(struct mv_region *region, uint64_t offset, uint64_t size_bytes, struct mv_section *ret);

/** How many sections a view has. */
MV_API size_t mv_view_count(const struct mv_view *view);

/**
 * Read or write guest memory as the guest would: RAM is copied, MMIO regions are called in pieces that suit them.
 * Bytes that nothing answers for read as 0. Lock-free; any thread; also from a handler.
 * @return MV_OK, or the bits of all pieces that went wrong; the others were done
 */
MV_API enum mv_result mv_space_read(struct mv_space *space, mv_gpa_t address, void *ret_bytes, size_t length,
                                    struct mv_attrs attrs);
MV_API enum mv_result mv_space_write(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length,
                                     struct mv_attrs attrs);

/**
 * Write as a loader does: ROM is written like RAM, and what is neither is skipped.
 * @return MV_OK, or MV_DECODE_ERROR when any byte fell on something that is neither RAM nor ROM
 */
MV_API enum mv_result mv_space_write_rom(struct mv_space *space, mv_gpa_t address, const void *bytes,
                                         size_t length);

/** A borrowed piece of guest RAM or ROM. The pointer is good for `length` bytes, until the hold is released. */
struct mv_hold {
    const void *bytes;
    size_t length;
    mv_hva_t hva;
    struct mv_region *region; /**< what keeps it alive */
};

/**
 * Borrow guest bytes for reading, at most `length` of them and as many as lie together in one section.
 * @return MV_OK, or MV_DECODE_ERROR when there is no RAM or ROM at `address`; then nothing is borrowed
 */
MV_API enum mv_result mv_space_hold(struct mv_space *space, mv_gpa_t address, size_t length, struct mv_hold *ret);
MV_API void mv_hold_release(struct mv_hold *hold);

MV_END_DECLS

#endif
