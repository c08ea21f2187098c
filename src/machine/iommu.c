// SPDX-License-Identifier: MIT
#include "machine/iommu.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/range.h"
#include "machine/machine.h"

#define DEFAULT_PAGE_BYTES 4096

/* Owned by its maker; on the region's list, under the control lock. */
struct mv_iommu_notifier {
    struct mv_region *iommu; /* a reference */
    struct mv_iommu_notifier_options options;
    struct cds_list_head link;
};

static bool is_iommu(const struct mv_region *region)
{
    return region->kind == MV_REGION_IOMMU;
}

int mv_iommu_create(struct mv_machine *machine, const struct mv_iommu_options *options, struct mv_region **ret,
                    struct mv_error *err)
{
    const struct mv_iommu_ops *ops = options->ops;
    const char *name = options->name ? options->name : "(unnamed)";
    if (!ops || !ops->translate || (ops->min_page_bytes != 0 && !is_pow2(ops->min_page_bytes))) {
        return region_refuse(err, name, "an IOMMU needs a translation, and its page size must be a power of two");
    }
    struct mv_region_options region = {
        .name = options->name,
        .kind = MV_REGION_IOMMU,
        .size_bytes = options->size_bytes,
        .iommu = ops,
        .opaque = options->opaque,
        .release = options->release,
    };
    return mv_region_create(machine, &region, ret, err);
}

/* --- translating ------------------------------------------------------------------------------- */

struct iommu_step iommu_translate(const struct mv_region *region, uint64_t offset, unsigned rights,
                                  struct mv_attrs attrs)
{
    const struct mv_iommu_ops *ops = region->iommu.ops;
    void *opaque = region->mmio.opaque;
    unsigned index = ops->index_of ? ops->index_of(opaque, attrs) : 0;
    struct mv_iommu_entry entry = ops->translate(opaque, offset, rights, index);
    struct iommu_step step = {.rest = (offset | entry.mask) - offset};
    if (entry.target && (entry.rights & rights) == rights) {
        step.target = entry.target;
        step.address = (entry.translated & ~entry.mask) | (offset & entry.mask);
    }
    return step;
}

/* --- notifiers --------------------------------------------------------------------------------- */

/* What all notifiers of a region want together. */
static unsigned events_of(const struct mv_region *iommu)
{
    unsigned events = 0;
    struct mv_iommu_notifier *n;
    cds_list_for_each_entry (n, &iommu->iommu.notifiers, link) {
        events |= n->options.events;
    }
    return events;
}

static unsigned indexes_of(const struct mv_region *iommu)
{
    return iommu->iommu.ops->indexes ? iommu->iommu.ops->indexes : 1;
}

static int check_options(const struct mv_region *iommu, const struct mv_iommu_notifier_options *o,
                         struct mv_error *err)
{
    unsigned all = MV_IOMMU_UNMAP | MV_IOMMU_MAP | MV_IOMMU_DEVICE_UNMAP;
    if (!is_iommu(iommu)) {
        return region_refuse(err, iommu->name, "only an IOMMU region has notifiers");
    }
    if (!o->notify || o->events == 0 || (o->events & ~all) || o->range.first > o->range.last ||
        o->index >= indexes_of(iommu)) {
        return region_refuse(err, iommu->name, "its notifier's events, range or index are none that it has");
    }
    return 0;
}

static int tell_events(struct mv_region *iommu, unsigned before, unsigned after, struct mv_error *err)
{
    const struct mv_iommu_ops *ops = iommu->iommu.ops;
    return before != after && ops->events_changed ? ops->events_changed(iommu->mmio.opaque, before, after, err)
                                                  : 0;
}

int mv_iommu_notifier_create(struct mv_region *iommu, const struct mv_iommu_notifier_options *options,
                             struct mv_iommu_notifier **ret, struct mv_error *err)
{
    int rc = check_options(iommu, options, err);
    if (rc < 0) {
        return rc;
    }
    struct mv_iommu_notifier *n = calloc(1, sizeof *n);
    if (!n) {
        return error_set(err, -ENOMEM, "no-memory", iommu->name, "region %s: out of memory", iommu->name);
    }
    n->options = *options;
    machine_lock(iommu->machine);
    unsigned before = events_of(iommu);
    rc = tell_events(iommu, before, before | options->events, err);
    if (rc == 0) {
        n->iommu = mv_region_get(iommu);
        cds_list_add_tail(&n->link, &iommu->iommu.notifiers);
    }
    machine_unlock(iommu->machine);
    if (rc < 0) {
        free(n);
        return rc;
    }
    *ret = n;
    return 0;
}

void mv_iommu_notifier_destroy(struct mv_iommu_notifier *notifier)
{
    if (!notifier) {
        return;
    }
    struct mv_region *iommu = notifier->iommu;
    machine_lock(iommu->machine);
    unsigned before = events_of(iommu);
    cds_list_del(&notifier->link);
    (void)tell_events(iommu, before, events_of(iommu), NULL); /* fewer events: nothing to refuse */
    machine_unlock(iommu->machine);
    free(notifier);
    mv_region_put(iommu);
}

/* The largest naturally aligned piece that begins at `first` and does not pass `last`: what a mask can say. */
static uint64_t mask_from(uint64_t first, uint64_t last)
{
    uint64_t mask = 0;
    while (mask != UINT64_MAX && (first & (mask << 1 | 1)) == 0 && (mask << 1 | 1) <= last - first) {
        mask = mask << 1 | 1;
    }
    return mask;
}

/* Cut to the notifier's range, in pieces that masks can say. */
static void notify_cut(const struct mv_iommu_notifier *n, struct mv_range both, struct mv_iommu_entry entry)
{
    uint64_t first = both.first;
    for (;;) {
        struct mv_iommu_entry piece = entry;
        piece.first = first;
        piece.translated = entry.translated + (first - entry.first);
        piece.mask = mask_from(first, both.last);
        n->options.notify(n->options.opaque, &piece);
        if (both.last - first == piece.mask) {
            return;
        }
        first += piece.mask + 1;
    }
}

int mv_iommu_notify(struct mv_region *iommu, unsigned index, enum mv_iommu_event event,
                    const struct mv_iommu_entry *entry, struct mv_error *err)
{
    struct mv_range range = {entry->first, entry->first | entry->mask}, both;
    struct mv_iommu_notifier *n;
    if (!is_iommu(iommu)) {
        return region_refuse(err, iommu->name, "only an IOMMU region has notifiers");
    }
    if ((event == MV_IOMMU_MAP) != (entry->rights != MV_IOMMU_NONE) || (entry->mask & (entry->mask + 1)) != 0 ||
        (entry->first & entry->mask) != 0) {
        return region_refuse(err, iommu->name, "an entry needs rights just when it is mapped, and to be aligned");
    }
    machine_lock(iommu->machine);
    cds_list_for_each_entry (n, &iommu->iommu.notifiers, link) {
        if (!(n->options.events & event) || n->options.index != index ||
            !range_intersect(range, n->options.range, &both)) {
            continue;
        }
        if (event == MV_IOMMU_DEVICE_UNMAP) {
            notify_cut(n, both, *entry);
        } else {
            n->options.notify(n->options.opaque, entry);
        }
    }
    machine_unlock(iommu->machine);
    return 0;
}

void mv_iommu_replay(struct mv_iommu_notifier *notifier)
{
    struct mv_region *iommu = notifier->iommu;
    const struct mv_iommu_ops *ops = iommu->iommu.ops;
    uint64_t page = ops->min_page_bytes ? ops->min_page_bytes : DEFAULT_PAGE_BYTES;
    struct mv_range all, range;
    machine_lock(iommu->machine);
    if (range_of(0, iommu->state.size_bytes, &all) && range_intersect(all, notifier->options.range, &range)) {
        for (uint64_t at = align_down(range.first, page);;) {
            struct mv_iommu_entry entry =
                ops->translate(iommu->mmio.opaque, at, MV_IOMMU_NONE, notifier->options.index);
            if (entry.rights != MV_IOMMU_NONE) {
                notifier->options.notify(notifier->options.opaque, &entry);
            }
            uint64_t next;
            if (__builtin_add_overflow(at, page, &next) || next > range.last) {
                break; /* the end of the region, or of what 64 bits can say */
            }
            at = next;
        }
    }
    machine_unlock(iommu->machine);
}
