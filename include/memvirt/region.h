// SPDX-License-Identifier: MIT
/**
 * @file region.h
 * Regions: the nodes of the tree that says what is where in guest physical memory (QEMU's MemoryRegion).
 *
 * A region has a size and, when it is in a container, an address within it and a priority among its siblings.
 * What a space shows at an address is found from the top: a container's children are asked in order of priority,
 * the most recently added first among equals; then the region itself, if it is one that answers. A container is
 * transparent where no child answers. RAM, ROM and MMIO regions may have children too: those are on top of it.
 *
 * Every edit is a transaction of its own unless one is open (machine.h). An edit that fails changes nothing.
 */
#ifndef MEMVIRT_REGION_H
#define MEMVIRT_REGION_H

#include <memvirt/block.h>

MV_BEGIN_DECLS

struct mv_region;
struct mv_iommu_ops;

enum mv_region_kind {
    MV_REGION_CONTAINER, /**< only children; transparent between them */
    MV_REGION_RAM,       /**< a piece of a block */
    MV_REGION_ROM,   /**< a piece of a block that the guest cannot write, nor what is below it: decode errors */
    MV_REGION_MMIO,  /**< handlers; with none it is a reservation: takes the range, answers nothing */
    MV_REGION_ALIAS, /**< a window on another region */
    /** Flash: a piece of a block for reads while it is in ROM mode; writes, and reads out of ROM mode, go to
       handlers. */
    MV_REGION_ROM_DEVICE,
    /** A device's memory: mapped into guests like RAM, but accessed by exactly the size asked for, 1 to 8 bytes.
     */
    MV_REGION_RAM_DEVICE,
    MV_REGION_IOMMU, /**< translates to addresses of other spaces; made by mv_iommu_create() */
};

/** Byte order of a device's registers. */
enum mv_endian {
    MV_ENDIAN_LITTLE,
    MV_ENDIAN_BIG,
};

/** Sizes in bytes, powers of two up to 8. All zero: the defaults said at each use. */
struct mv_mmio_sizes {
    uint8_t min_bytes;
    uint8_t max_bytes;
    bool unaligned;
};

/**
 * The handlers of an MMIO region. They are called in the thread that makes the access, without any lock held, and
 * at once from several threads if several access: the device locks what it must. They may edit the tree.
 *
 * `valid` is what the guest may do: an access outside it is a decode error and never reaches the handlers. With
 * max_bytes 0 every size is accepted; unless `unaligned` is set, only naturally aligned accesses are.
 * `impl` is what the handlers can do (default 1 to 4): a larger access is split, a smaller one is widened, then
 * cut. `accepts`, if it is not NULL, is asked before anything else, and may refuse an access as if it were not
 * valid; it must do nothing else.
 */
struct mv_mmio_ops {
    enum mv_result (*read)(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t *ret_value,
                           struct mv_attrs attrs);
    enum mv_result (*write)(void *opaque, uint64_t offset, unsigned size_bytes, uint64_t value,
                            struct mv_attrs attrs);
    struct mv_mmio_sizes valid;
    struct mv_mmio_sizes impl;
    enum mv_endian endian;
    bool (*accepts)(void *opaque, uint64_t offset, unsigned size_bytes, bool is_write, struct mv_attrs attrs);
};

struct mv_region_options {
    const char *name; /**< not NULL; copied */
    enum mv_region_kind kind;
    uint64_t size_bytes; /**< MV_SIZE_2_64 for all of it; 0 makes a region that shows nothing */

    struct mv_block *block;      /**< RAM, ROM, ROM and RAM device: the bytes; the region takes a reference */
    uint64_t block_offset_bytes; /**< where in the block; a multiple of the host's page size */
    /**
     * The region shows all of its block, whatever its size: mv_block_resize() resizes both (QEMU's
     * memory_region_init_resizeable_ram). Then `size_bytes` and the offset are 0. A block has one such
     * region at most, besides others, until that is gone: views of before may keep it for a moment.
     */
    bool follow_block;

    /** MMIO, ROM device: must stay valid until `release` was called. MMIO without them is a reservation. */
    const struct mv_mmio_ops *ops;
    void *opaque; /**< MMIO, ROM device: handed to the handlers */
    /**
     * MMIO, ROM device: which device it belongs to, NULL for none. While a thread is in a handler of an MMIO
     * region of a device, an access of the same thread to any MMIO region of that device is refused with
     * MV_ACCESS_ERROR: it would enter the device again. ROM devices may be entered again.
     */
    const void *device;
    /** Called once, when no thread can reach the region any more, and never with the control lock held; may be
     * NULL. */
    void (*release)(void *opaque);

    const struct mv_iommu_ops *iommu; /**< IOMMU: see iommu.h */

    struct mv_region *target;     /**< ALIAS: what it shows; the alias takes a reference */
    uint64_t target_offset_bytes; /**< ALIAS: where in the target its first byte is */

    bool nonvolatile;  /**< marks the memory below this region (through it, for an alias) as non-volatile */
    const char *owner; /**< what `info mtree -o` shows, such as "dev id=nic0"; copied; may be NULL */
    bool readonly; /**< guest writes to RAM below this region (through it, for an alias) are refused; devices get
                  theirs */
};

/**
 * Make a region, in no container, enabled.
 * @param[out] ret  the region, with one reference that is the caller's
 * @return 0; -EINVAL (reason "bad-region": a field that its kind does not have or that is out of range); -EBUSY
 *         ("followed": another region follows the block); -ENOMEM
 */
MV_API int mv_region_create(struct mv_machine *machine, const struct mv_region_options *options,
                            struct mv_region **ret, struct mv_error *err);

/** Take one more reference. Any thread. Returns its argument. */
MV_API struct mv_region *mv_region_get(struct mv_region *region);

/**
 * Give a reference back. A container, an alias, a space and every view that shows a region hold references of
 * their own, so a region can be put as soon as it is mapped. NULL is allowed. Any thread.
 */
MV_API void mv_region_put(struct mv_region *region);

/** The name it was made with; valid as long as the caller holds a reference. */
MV_API const char *mv_region_name(const struct mv_region *region);
MV_API enum mv_region_kind mv_region_kind(const struct mv_region *region);
/** The word that `info mtree` uses: "ram", "rom", "romd", "ramd" or "i/o"; an alias has its final target's.
 * Static. */
MV_API const char *mv_region_type(const struct mv_region *region);
/** What the handlers of an MMIO region are given. */
MV_API void *mv_region_opaque(const struct mv_region *region);

/**
 * Put `child` into `container` at `offset` with `priority`; higher priorities hide lower ones, and of equals the
 * one added last is on top. The container takes a reference.
 * @return 0; -EBUSY ("mapped": it is in a container already); -ELOOP ("cycle": the container can be reached from
 * the child through children or aliases); -EINVAL (an alias has no children; another machine's region); or what
 *         the commit says
 */
MV_API int mv_region_add(struct mv_region *container, uint64_t offset, struct mv_region *child, int priority,
                         struct mv_error *err);

/** Take `child` out of its container. @return 0; -ENOENT ("not-mapped"); or what the commit says */
MV_API int mv_region_remove(struct mv_region *child, struct mv_error *err);

/** Show or hide a region and all below it. A value that it has already is no edit. */
MV_API int mv_region_set_enabled(struct mv_region *region, bool enabled, struct mv_error *err);

/** Move a region within its container; it becomes the last added among its equals. @return 0; -ENOENT; ... */
MV_API int mv_region_set_address(struct mv_region *region, uint64_t offset, struct mv_error *err);

/** Resize a container, MMIO region or alias; RAM and ROM within their block, unless they follow it. @return 0;
 * -EINVAL; ... */
MV_API int mv_region_set_size(struct mv_region *region, uint64_t size_bytes, struct mv_error *err);

/** Let guest writes to RAM through, or refuse them. A ROM stays one. */
MV_API int mv_region_set_readonly(struct mv_region *region, bool readonly, struct mv_error *err);

/** Mark memory as non-volatile, or not. */
MV_API int mv_region_set_nonvolatile(struct mv_region *region, bool nonvolatile, struct mv_error *err);

/** Put a ROM device into ROM mode, in which it begins, or out of it. @return 0; -EINVAL if it is none; ... */
MV_API int mv_region_set_rom_mode(struct mv_region *region, bool rom_mode, struct mv_error *err);

/** Slide an alias over its target. @return 0; -EINVAL if it is no alias; ... */
MV_API int mv_region_set_target_offset(struct mv_region *alias, uint64_t offset, struct mv_error *err);

/** What a region is, and where. */
struct mv_region_info {
    const char *name;
    const char *owner; /**< or NULL */
    enum mv_region_kind kind;
    uint64_t size_bytes;
    bool enabled;
    bool readonly; /**< as it was set: a ROM need not be */
    bool nonvolatile;
    bool rom_mode;               /**< ROM device */
    struct mv_region *container; /**< or NULL; the rest of the place is 0 then */
    uint64_t offset;             /**< in the container */
    int priority;
    struct mv_region *target; /**< ALIAS */
    uint64_t target_offset_bytes;
};

/** Describe a region. Between mv_machine_begin() and mv_machine_commit() the answer stays true. Any thread. */
MV_API void mv_region_info(struct mv_region *region, struct mv_region_info *ret);

/**
 * Call `each` for every region in `container`, by address; of equal addresses the higher priority first, then the
 * one added last. The machine's control lock is held: `each` may look, and must not edit. It ends early when
 * `each` returns false.
 * @return 0; -ENOMEM, without a call
 */
MV_API int mv_region_each_child(struct mv_region *container, bool (*each)(void *opaque, struct mv_region *child),
                                void *opaque);

MV_END_DECLS

#endif
