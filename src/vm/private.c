// SPDX-License-Identifier: MIT
#include "vm/private.h"

#include <errno.h>
#include <memvirt/privacy.h>
#include <stdlib.h>
#include <unistd.h>

#include "accel/accel.h"
#include "base/error.h"
#include "base/range.h"
#include "machine/block.h"
#include "machine/region.h"

/* A block that slots show. Owned by the slots in `slots`; there is at least one but while one is entering. */
struct private_block {
    struct private_blocks *all;
    struct mv_block *block; /* the listener has a reference */
    struct mv_privacy_listener *listener;
    struct cds_list_head slots; /* of struct slot.private_link */
    struct cds_list_head link;
};

void private_init(struct private_blocks *blocks, const struct slot_port *port)
{
    *blocks = (struct private_blocks){.port = port};
    CDS_INIT_LIST_HEAD(&blocks->blocks);
}

bool private_is_asked(const struct mv_section *section)
{
    const struct mv_block *block = section->region->ram.block;
    return block && mv_privacy_has(block);
}

int private_check(const struct slot *slot, struct mv_error *err)
{
    uint32_t flags = slot->is.flags;
    const char *name = mv_region_name(slot->region);
    if (!(flags & KVM_MEM_GUEST_MEMFD)) {
        return 0;
    }
    if (flags & KVM_MEM_READONLY) {
        return error_set(err, -ENOTSUP, "private-rom", name,
                         "region %s: a slot with a guest_memfd cannot be read-only, so its block can have no "
                         "private pages",
                         name);
    }
    if (flags & KVM_MEM_LOG_DIRTY_PAGES) {
        return error_set(err, -ENOTSUP, "private-log", name,
                         "region %s: a slot with a guest_memfd has no log of dirty pages", name);
    }
    return 0;
}

/* --- attributes -------------------------------------------------------------------------------- */

static enum mv_privacy_kind contrary(enum mv_privacy_kind kind)
{
    return kind == MV_PAGES_PRIVATE ? MV_PAGES_SHARED : MV_PAGES_PRIVATE;
}

/* The offsets of the block that a slot shows. */
static struct mv_range shown_by(const struct slot *slot)
{
    uint64_t first = slot->region->ram.offset + slot->offset;
    return (struct mv_range){first, first + (slot->is.size_bytes - 1)};
}

/* Have `range` of the block, which the slot shows, be of a kind. */
static int set_kind(const struct private_blocks *blocks, const struct slot *slot, struct mv_range range,
                    enum mv_privacy_kind kind)
{
    const struct slot_port *port = blocks->port;
    uint64_t gpa = slot->is.gpa.raw + (range.first - shown_by(slot).first);
    if (!port->set_attributes) {
        return kind == MV_PAGES_SHARED ? 0 : -ENOTSUP; /* where nothing is private all is shared */
    }
    return port->set_attributes(port->opaque, gpa, range_size(range),
                                kind == MV_PAGES_PRIVATE ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0);
}

/* Those pages of a slot that are private; up to block offset `end` they become of `kind`. */
static int set_private_pages(const struct private_blocks *blocks, const struct slot *slot,
                             enum mv_privacy_kind kind, uint64_t end, uint64_t *ret_reached)
{
    struct mv_range all = shown_by(slot);
    enum mv_privacy_kind is;
    uint64_t length;
    int rc = 0;
    for (uint64_t at = all.first; rc == 0 && at < end; at += length) {
        bool found = mv_privacy_lookup(slot->private->block, at, &is, &length);
        if (!found) {
            break;
        }
        length = length < end - at ? length : end - at;
        if (is == MV_PAGES_PRIVATE) {
            *ret_reached = at;
            rc = set_kind(blocks, slot, (struct mv_range){at, at + (length - 1)}, kind);
        }
    }
    return rc;
}

/* All private pages of a slot, or none. */
static int set_all_private_pages(const struct private_blocks *blocks, const struct slot *slot,
                                 enum mv_privacy_kind kind)
{
    uint64_t reached = 0, ignored;
    int rc = set_private_pages(blocks, slot, kind, shown_by(slot).last + 1, &reached);
    if (rc < 0) {
        (void)set_private_pages(blocks, slot, contrary(kind), reached, &ignored);
    }
    return rc;
}

int private_share(const struct private_blocks *blocks, const struct slot *slot)
{
    return slot->private ? set_all_private_pages(blocks, slot, MV_PAGES_SHARED) : 0;
}

void private_unshare(const struct private_blocks *blocks, const struct slot *slot)
{
    if (slot->private) {
        (void)set_all_private_pages(blocks, slot, MV_PAGES_PRIVATE);
    }
}

/* --- conversions ------------------------------------------------------------------------------- */

static int refuse_private(const struct mv_block *block, struct mv_error *err)
{
    return error_set(err, -ENOTSUP, "no-private-pages", block->name,
                     "block %s: the accelerator's VM cannot have private pages (KVM_CAP_MEMORY_ATTRIBUTES lacks "
                     "KVM_MEMORY_ATTRIBUTE_PRIVATE)",
                     block->name);
}

/* In each slot that shows them; up to `end`, or the first that fails, which is returned. */
static int convert_slots(struct private_block *private, struct mv_range range, enum mv_privacy_kind kind,
                         const struct slot *end, const struct slot **ret_failed)
{
    struct slot *slot;
    cds_list_for_each_entry (slot, &private->slots, private_link) {
        struct mv_range piece;
        if (slot == end) {
            return 0;
        }
        int rc = range_intersect(range, shown_by(slot), &piece) ? set_kind(private->all, slot, piece, kind) : 0;
        if (rc < 0) {
            *ret_failed = slot;
            return rc;
        }
    }
    return 0;
}

static int on_convert(void *opaque, struct mv_block *block, uint64_t offset, uint64_t length,
                      enum mv_privacy_kind kind, struct mv_error *err)
{
    struct private_block *private = opaque;
    struct mv_range range = {offset, offset + (length - 1)};
    const struct slot *failed = NULL;
    if (kind == MV_PAGES_PRIVATE && !private->all->port->set_attributes) {
        return refuse_private(block, err);
    }
    int rc = convert_slots(private, range, kind, NULL, &failed);
    if (rc < 0) {
        const struct slot *ignored;
        (void)convert_slots(private, range, contrary(kind), failed, &ignored);
        return error_host(err, rc, block->name, "block %s: the accelerator does not convert its pages",
                          block->name);
    }
    private->all->conversions++;
    return 0;
}

static const struct mv_privacy_listener_ops listener_ops = {.convert = on_convert};

/* --- blocks ------------------------------------------------------------------------------------ */

static int make_guest_memfd(struct private_blocks *blocks, struct mv_block *block, struct mv_error *err)
{
    const char *name = block->name;
    if (!blocks->port->create_guest_memfd) {
        return error_set(err, -ENOTSUP, "no-guest-memfd", name,
                         "block %s: the accelerator has no guest_memfd for its private pages", name);
    }
    if (mv_privacy_fd(block) >= 0) {
        return mv_privacy_owner(block) == blocks
                   ? 0
                   : error_set(err, -EBUSY, "has-guest-memfd", name,
                               "block %s: its private pages are in a guest_memfd of another VM", name);
    }
    int fd = blocks->port->create_guest_memfd(blocks->port->opaque, block->max_size_bytes);
    if (fd < 0) {
        return error_host(err, fd, name, "block %s: a guest_memfd for its private pages cannot be made", name);
    }
    int rc = mv_privacy_attach(block, fd, blocks, err);
    if (rc < 0) {
        close(fd);
    }
    return rc;
}

static void forget_block(struct private_block *private)
{
    mv_privacy_listener_destroy(private->listener);
    cds_list_del(&private->link);
    free(private);
}

static int make_block(struct private_blocks *blocks, struct mv_block *block, struct private_block **ret,
                      struct mv_error *err)
{
    struct private_block *private = malloc(sizeof *private);
    if (!private) {
        return error_set(err, -ENOMEM, "no-memory", block->name, "block %s: out of memory", block->name);
    }
    *private = (struct private_block){.all = blocks, .block = block};
    CDS_INIT_LIST_HEAD(&private->slots);
    blocks->machine = block->machine; /* before there is anything that private_finish() has to end */
    int rc = make_guest_memfd(blocks, block, err);
    if (rc == 0) {
        rc = mv_privacy_listener_create(block, &listener_ops, private, &private->listener, err);
    }
    if (rc < 0) {
        free(private);
        return rc;
    }
    cds_list_add_tail(&private->link, &blocks->blocks);
    *ret = private;
    return 0;
}

static struct private_block *find_block(struct private_blocks *blocks, const struct mv_block *block)
{
    struct private_block *private;
    cds_list_for_each_entry (private, &blocks->blocks, link) {
        if (private->block == block) {
            return private;
        }
    }
    return NULL;
}

void private_finish(struct private_blocks *blocks)
{
    struct private_block *private, *next;
    cds_list_for_each_entry_safe (private, next, &blocks->blocks, link) {
        forget_block(private);
    }
    struct mv_block *block = NULL;
    while (blocks->machine && (block = mv_block_next(blocks->machine, block))) {
        if (mv_privacy_owner(block) == blocks) {
            mv_privacy_detach(block);
        }
    }
}

/* --- slots ------------------------------------------------------------------------------------- */

int private_enter(struct private_blocks *blocks, struct slot *slot, struct mv_error *err)
{
    slot->private = NULL;
    if (!(slot->is.flags & KVM_MEM_GUEST_MEMFD)) {
        return 0;
    }
    struct mv_block *block = slot->region->ram.block;
    struct private_block *private = find_block(blocks, block);
    if (!private) {
        int rc = make_block(blocks, block, &private, err);
        if (rc < 0) {
            return rc;
        }
    }
    slot->private = private;
    cds_list_add_tail(&slot->private_link, &private->slots);
    int rc = set_all_private_pages(blocks, slot, MV_PAGES_PRIVATE);
    return rc < 0 ? error_host(err, rc, block->name, "block %s: the accelerator does not make its pages private",
                               block->name)
                  : 0;
}

void private_leave(struct slot *slot)
{
    struct private_block *private = slot->private;
    if (!private) {
        return;
    }
    cds_list_del(&slot->private_link);
    slot->private = NULL;
    if (cds_list_empty(&private->slots)) {
        forget_block(private);
    }
}

int private_set_slot(const struct private_blocks *blocks, const struct slot *slot,
                     const struct kvm_userspace_memory_region *region)
{
    const struct slot_port *port = blocks->port;
    return port->set_private_slot(port->opaque, region, mv_privacy_fd(slot->private->block), shown_by(slot).first);
}
