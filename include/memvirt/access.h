// SPDX-License-Identifier: MIT
/**
 * @file access.h
 * More ways to reach guest memory than space.h has: registers by size and byte order, filling and comparing, bytes
 * read exactly once, windows that are looked up once, and pieces of guest memory mapped for a device's DMA.
 *
 * All but mapping are lock-free. Any thread; also from a handler.
 */
#ifndef MEMVIRT_ACCESS_H
#define MEMVIRT_ACCESS_H

#include <memvirt/space.h>

MV_BEGIN_DECLS

/**
 * One access of 1, 2, 4 or 8 bytes, as a processor makes it: a device is given it whole, wherever it lies, or
 * refuses it.
 * @param endian     how the bytes in memory are to be taken; a device of the other order has its value swapped
 * @param[out] ret   0 when nothing answers
 */
MV_API enum mv_result mv_space_load(struct mv_space *space, mv_gpa_t address, unsigned size_bytes,
                                    enum mv_endian endian, uint64_t *ret, struct mv_attrs attrs);
MV_API enum mv_result mv_space_store(struct mv_space *space, mv_gpa_t address, unsigned size_bytes,
                                     enum mv_endian endian, uint64_t value, struct mv_attrs attrs);

enum mv_rights {
    MV_READ = 1,
    MV_WRITE = 2,
};

/** Write `length` times the same byte. */
MV_API enum mv_result mv_space_fill(struct mv_space *space, mv_gpa_t address, uint8_t byte, size_t length,
                                    struct mv_attrs attrs);

/**
 * Compare guest memory with `bytes`.
 * @param[out] ret_equal  how many bytes from the first are equal; `length` when all are
 */
MV_API enum mv_result mv_space_compare(struct mv_space *space, mv_gpa_t address, const void *bytes, size_t length,
                                       size_t *ret_equal, struct mv_attrs attrs);

/**
 * mv_space_read(), but each byte of guest RAM is loaded exactly once: what was checked in the copy is what is
 * used, even if the guest changes its memory meanwhile, and no compiler or memcpy looks twice.
 */
MV_API enum mv_result mv_space_read_once(struct mv_space *space, mv_gpa_t address, void *ret_bytes, size_t length,
                                         struct mv_attrs attrs);

/**
 * Whether an access would be taken as it is, all of it: nothing is read or written, but devices are asked (their
 * `accepts`), and IOMMUs. What they would return is another matter, and so is whether it is still so a moment
 * later.
 * @param right  MV_READ or MV_WRITE
 */
MV_API bool mv_space_accepts(struct mv_space *space, mv_gpa_t address, size_t length, enum mv_rights right,
                             struct mv_attrs attrs);

/* --- windows ----------------------------------------------------------------------------------- */

/**
 * A piece of guest memory that is looked up once and accessed often, such as a device's descriptor ring (QEMU's
 * MemoryRegionCache). It shows what was there when it was opened: after a commit, mv_window_is_current() tells
 * whether to open it again. The fields are the library's own.
 */
struct mv_window {
    struct mv_space *space;
    mv_gpa_t first;
    size_t length;
    unsigned char *host; /* NULL: not all of it is memory that may be accessed so; each access goes the long way */
    struct mv_region *region; /* keeps the bytes */
    const void *view;         /* only compared */
};

/**
 * Open a window of `length` bytes, for reading, writing or both (MV_READ | MV_WRITE).
 * @return MV_OK; MV_DECODE_ERROR when the range passes the end of the address space: nothing is opened then
 */
MV_API enum mv_result mv_window_open(struct mv_space *space, mv_gpa_t first, size_t length, unsigned rights,
                                     struct mv_window *ret);
MV_API void mv_window_close(struct mv_window *window);
/** False when something was committed since it was opened. */
MV_API bool mv_window_is_current(const struct mv_window *window);

/** Access `length` bytes at `offset` in a window. @return MV_ACCESS_ERROR, without an access, when they are not
 * all inside */
MV_API enum mv_result mv_window_read(const struct mv_window *window, size_t offset, void *ret_bytes,
                                     size_t length);
MV_API enum mv_result mv_window_write(struct mv_window *window, size_t offset, const void *bytes, size_t length);

/* --- mapping ----------------------------------------------------------------------------------- */

/** Guest memory mapped for somebody who needs a pointer, such as a DMA engine of the host's. */
struct mv_map {
    void *bytes;
    size_t length; /**< may be less than was asked for */
    struct mv_space *space;
    mv_gpa_t first;
    unsigned rights;
    struct mv_region *region; /* keeps the bytes; NULL: they are a bounce buffer */
};

/**
 * Map up to `length` bytes. Memory is given as it is, as far as it lies together; anything else by a bounce
 * buffer, which is filled now (MV_READ) and written back at mv_space_unmap() (MV_WRITE). All bounce buffers of a
 * space together are limited (mv_space_set_bounce_limit()).
 * @param rights  MV_READ or MV_WRITE
 * @return 0; -EAGAIN when there is no bounce buffer to be had at the moment: see mv_space_on_bounce_free();
 * -EFAULT when nothing answers there; -ENOMEM
 */
MV_API int mv_space_map(struct mv_space *space, mv_gpa_t first, size_t length, unsigned rights,
                        struct mv_map *ret);

/** Unmap. With MV_WRITE the first `accessed_bytes` have been written: only those are written back. */
MV_API enum mv_result mv_space_unmap(struct mv_map *map, size_t accessed_bytes);

/** Call `callback` once, from the thread that unmaps, when a bounce buffer becomes free. At most 64 wait. @return
 * 0 or -ENOSPC */
MV_API int mv_space_on_bounce_free(struct mv_space *space, void (*callback)(void *opaque), void *opaque);

/** How many bytes of bounce buffers a space may have; 4096 at first. */
MV_API void mv_space_set_bounce_limit(struct mv_space *space, size_t limit_bytes);

MV_END_DECLS

#endif
