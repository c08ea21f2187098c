// SPDX-License-Identifier: MIT
/**
 * @file iommu.h
 * IOMMU regions: addresses that are translated, each access anew, to addresses of another space (QEMU's
 * IOMMUMemoryRegion).
 *
 * An access that falls on one is translated with the rights it needs and goes on in the target space, where it may
 * meet another one. It is cut where a translation ends. What is not permitted is a decode error.
 */
#ifndef MEMVIRT_IOMMU_H
#define MEMVIRT_IOMMU_H

#include <memvirt/space.h>

MV_BEGIN_DECLS

/** Rights of a translation, ORed. */
enum mv_iommu_rights {
    MV_IOMMU_NONE = 0,
    MV_IOMMU_READ = 1,
    MV_IOMMU_WRITE = 2,
};

/** One translation: the addresses of `first | mask`, with mask one less than a power of two. */
struct mv_iommu_entry {
    struct mv_space *target; /**< where the translated addresses are; NULL when nothing is permitted */
    uint64_t first;          /**< offset in the IOMMU region, aligned to mask + 1 */
    uint64_t translated;     /**< address in the target, aligned to mask + 1 */
    uint64_t mask;
    unsigned rights; /**< of enum mv_iommu_rights */
};

/** What notifiers want to be told of, ORed. */
enum mv_iommu_event {
    MV_IOMMU_UNMAP = 1,        /**< a translation is gone */
    MV_IOMMU_MAP = 2,          /**< a translation is new */
    MV_IOMMU_DEVICE_UNMAP = 4, /**< a device's own cache of translations must forget a range */
};

/** Handlers of an IOMMU region, called in the thread that makes the access, without a lock. */
struct mv_iommu_ops {
    /** Translate `offset` for these rights (MV_IOMMU_NONE: just look, for a replay). `index` tells whose tables to
     * use. */
    struct mv_iommu_entry (*translate)(void *opaque, uint64_t offset, unsigned rights, unsigned index);
    /** Which tables an access uses, less than `indexes`; NULL: always 0. */
    unsigned (*index_of)(void *opaque, struct mv_attrs attrs);
    unsigned indexes;        /**< 0 is taken as 1 */
    uint64_t min_page_bytes; /**< the least size of a translation: the step of a replay; 0: 4096 */
    /** The events that any notifier wants have changed. May refuse, with an errno and a reason; NULL: never. */
    int (*events_changed)(void *opaque, unsigned before, unsigned after, struct mv_error *err);
};

struct mv_iommu_options {
    const char *name;
    uint64_t size_bytes;
    const struct mv_iommu_ops *ops; /**< not NULL; valid until `release` was called */
    void *opaque;
    void (*release)(void *opaque);
};

/** Make an IOMMU region, to be mapped like any other. @return 0; -EINVAL; -ENOMEM */
MV_API int mv_iommu_create(struct mv_machine *machine, const struct mv_iommu_options *options,
                           struct mv_region **ret, struct mv_error *err);

/** Somebody who keeps copies of translations, such as a device that is passed through. */
struct mv_iommu_notifier;

struct mv_iommu_notifier_options {
    unsigned events;       /**< of enum mv_iommu_event; not 0 */
    struct mv_range range; /**< offsets in the region */
    unsigned index;
    /** Called inside mv_iommu_notify() or mv_iommu_replay(), with the machine's control lock held: it must not
     * edit. */
    void (*notify)(void *opaque, const struct mv_iommu_entry *entry);
    void *opaque;
};

/** @return 0; -EINVAL (no IOMMU region, or options out of range); -ENOMEM; or what events_changed says */
MV_API int mv_iommu_notifier_create(struct mv_region *iommu, const struct mv_iommu_notifier_options *options,
                                    struct mv_iommu_notifier **ret, struct mv_error *err);
MV_API void mv_iommu_notifier_destroy(struct mv_iommu_notifier *notifier);

/**
 * Tell the notifiers of `index` that want this event and whose range the entry touches. A device unmap is cut to
 * each notifier's range; any other entry that is only partly in a notifier's range is told whole. An unmapped
 * entry has no rights, a mapped one has some.
 * @return 0; -EINVAL
 */
MV_API int mv_iommu_notify(struct mv_region *iommu, unsigned index, enum mv_iommu_event event,
                           const struct mv_iommu_entry *entry, struct mv_error *err);

/** Tell one notifier all translations that there are in its range, page by page. */
MV_API void mv_iommu_replay(struct mv_iommu_notifier *notifier);

MV_END_DECLS

#endif
