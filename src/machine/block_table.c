// SPDX-License-Identifier: MIT
#include "machine/block_table.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/range.h"
#include "machine/block.h"
#include "machine/machine.h"

/* A place in the space of offsets begins where a whole word of a bitmap of 4 KiB pages does. */
#define PLACE_ALIGNMENT (64 * GUEST_PAGE_SIZE)

struct mv_block_notifier {
    struct mv_machine *machine; /* a reference */
    const struct mv_block_notifier_ops *ops;
    void *opaque;
    struct cds_list_head link;
};

void block_table_init(struct block_table *table)
{
    pthread_mutex_init(&table->lock, NULL);
    CDS_INIT_LIST_HEAD(&table->by_size);
    CDS_INIT_LIST_HEAD(&table->by_offset);
    CDS_INIT_LIST_HEAD(&table->notifiers);
}

void block_table_finish(struct block_table *table)
{
    assert(cds_list_empty(&table->by_size) && cds_list_empty(&table->notifiers));
    pthread_mutex_destroy(&table->lock);
}

static struct mv_block *block_at(struct cds_list_head *by_offset)
{
    return caa_container_of(by_offset, struct mv_block, by_offset);
}

/* --- places: the smallest gap that is large enough, of equals the one behind the larger block ----- */

/* Where a block could begin behind `block`, and how much room there is; 0: none. */
static uint64_t gap_behind(const struct block_table *table, const struct mv_block *block, uint64_t *ret_first)
{
    uint64_t next = UINT64_MAX;
    if (block->by_offset.next != &table->by_offset) {
        next = block_at(block->by_offset.next)->ram_offset;
    }
    if (!align_up(block->ram_offset + block->max_size_bytes, PLACE_ALIGNMENT, ret_first) || *ret_first >= next) {
        return 0;
    }
    return next - *ret_first;
}

/* Whether `block` is the last, behind which there is room without end. */
static bool is_hole(const struct block_table *table, const struct mv_block *block)
{
    uint64_t first;
    return block->by_offset.next != &table->by_offset && gap_behind(table, block, &first) > 0;
}

static bool comes_before(const struct mv_block *a, const struct mv_block *b)
{
    return a->max_size_bytes != b->max_size_bytes ? a->max_size_bytes > b->max_size_bytes : a->serial < b->serial;
}

/* The block to begin behind, and where; NULL: nowhere. Not for an empty table. */
static struct mv_block *find_place(struct block_table *table, uint64_t size_bytes, uint64_t *ret_first)
{
    struct mv_block *best = NULL;
    uint64_t best_gap = 0, first;
    /* Without holes only the last one has room behind it. */
    struct cds_list_head *at = table->holes ? table->by_offset.next : table->by_offset.prev;
    for (; at != &table->by_offset; at = at->next) {
        struct mv_block *block = block_at(at);
        uint64_t gap = gap_behind(table, block, &first);
        if (gap < size_bytes || gap == 0) {
            continue;
        }
        if (!best || gap < best_gap || (gap == best_gap && comes_before(block, best))) {
            best = block;
            best_gap = gap;
            *ret_first = first;
        }
    }
    return best;
}

static bool place(struct block_table *table, struct mv_block *block)
{
    if (cds_list_empty(&table->by_offset)) {
        block->ram_offset = 0;
        cds_list_add(&block->by_offset, &table->by_offset);
        return true;
    }
    struct mv_block *before = find_place(table, block->max_size_bytes, &block->ram_offset);
    if (!before) {
        return false;
    }
    table->holes -= is_hole(table, before);
    cds_list_add(&block->by_offset, &before->by_offset);
    table->holes += is_hole(table, before);
    table->holes += is_hole(table, block);
    return true;
}

static void unplace(struct block_table *table, struct mv_block *block)
{
    struct cds_list_head *before = block->by_offset.prev;
    table->holes -= is_hole(table, block);
    if (before != &table->by_offset) {
        table->holes -= is_hole(table, block_at(before));
    }
    cds_list_del(&block->by_offset);
    if (before != &table->by_offset) {
        table->holes += is_hole(table, block_at(before));
    }
}

/* Behind all that are at least as large. */
static void enlist(struct block_table *table, struct mv_block *block)
{
    struct cds_list_head *at = table->by_size.prev;
    while (at != &table->by_size &&
           caa_container_of(at, struct mv_block, by_size)->max_size_bytes < block->max_size_bytes) {
        at = at->prev;
    }
    cds_list_add(&block->by_size, at);
}

/* --- life ----------------------------------------------------------------------------------------- */

static struct mv_block *find_id(struct block_table *table, const char *id)
{
    struct mv_block *block;
    cds_list_for_each_entry (block, &table->by_size, by_size) {
        if (block->id && strcmp(block->id, id) == 0) {
            return block;
        }
    }
    return NULL;
}

int block_table_add(struct mv_machine *machine, struct mv_block *block, struct mv_error *err)
{
    struct block_table *table = &machine->blocks;
    pthread_mutex_lock(&table->lock);
    int rc = 0;
    if (block->id && find_id(table, block->id)) {
        rc = error_set(err, -EEXIST, "duplicate-id", block->name, "block %s: another block has the id %s",
                       block->name, block->id);
    } else if (!place(table, block)) {
        rc = error_set(err, -ENOSPC, "no-ram-offset", block->name,
                       "block %s: no room for %" PRIu64 " bytes in the space of all blocks", block->name,
                       block->max_size_bytes);
    }
    if (rc == 0) {
        block->serial = ++table->serial;
        enlist(table, block);
        table->version++;
        machine_get(machine);
        struct mv_block_notifier *notifier;
        cds_list_for_each_entry (notifier, &table->notifiers, link) {
            if (notifier->ops->added) {
                notifier->ops->added(notifier->opaque, block);
            }
        }
    }
    pthread_mutex_unlock(&table->lock);
    return rc;
}

void block_table_remove(struct mv_machine *machine, struct mv_block *block)
{
    struct block_table *table = &machine->blocks;
    pthread_mutex_lock(&table->lock);
    struct mv_block_notifier *notifier;
    cds_list_for_each_entry (notifier, &table->notifiers, link) {
        if (notifier->ops->removed) {
            notifier->ops->removed(notifier->opaque, block);
        }
    }
    unplace(table, block);
    cds_list_del(&block->by_size);
    table->version++;
    pthread_mutex_unlock(&table->lock);
}

void block_table_resize(struct mv_machine *machine, struct mv_block *block, uint64_t size_bytes)
{
    struct block_table *table = &machine->blocks;
    pthread_mutex_lock(&table->lock);
    struct mv_block_notifier *notifier;
    cds_list_for_each_entry (notifier, &table->notifiers, link) {
        if (notifier->ops->resized) {
            notifier->ops->resized(notifier->opaque, block, block->size_bytes, size_bytes);
        }
    }
    block->size_bytes = size_bytes;
    pthread_mutex_unlock(&table->lock);
}

void block_table_discard_begin(struct mv_block *block, uint64_t offset, uint64_t length)
{
    struct block_table *table = &block->machine->blocks;
    struct mv_block_notifier *notifier;
    pthread_mutex_lock(&table->lock);
    cds_list_for_each_entry (notifier, &table->notifiers, link) {
        if (notifier->ops->discard_begin) {
            notifier->ops->discard_begin(notifier->opaque, block, offset, length);
        }
    }
}

void block_table_discard_end(struct mv_block *block, uint64_t offset, uint64_t length)
{
    struct block_table *table = &block->machine->blocks;
    struct mv_block_notifier *notifier;
    cds_list_for_each_entry_reverse (notifier, &table->notifiers, link) {
        if (notifier->ops->discard_end) {
            notifier->ops->discard_end(notifier->opaque, block, offset, length);
        }
    }
    pthread_mutex_unlock(&table->lock);
}

/* --- notifiers ------------------------------------------------------------------------------------ */

int mv_block_notifier_create(struct mv_machine *machine, const struct mv_block_notifier_ops *ops, void *opaque,
                             struct mv_block_notifier **ret, struct mv_error *err)
{
    struct block_table *table = &machine->blocks;
    struct mv_block_notifier *notifier = calloc(1, sizeof *notifier);
    if (!notifier) {
        return error_set(err, -ENOMEM, "no-memory", NULL, "block notifier: out of memory");
    }
    *notifier = (struct mv_block_notifier){.machine = machine_get(machine), .ops = ops, .opaque = opaque};
    pthread_mutex_lock(&table->lock);
    cds_list_add_tail(&notifier->link, &table->notifiers);
    struct mv_block *block;
    cds_list_for_each_entry (block, &table->by_size, by_size) {
        if (ops->added) {
            ops->added(opaque, block);
        }
    }
    pthread_mutex_unlock(&table->lock);
    *ret = notifier;
    return 0;
}

void mv_block_notifier_destroy(struct mv_block_notifier *notifier)
{
    if (!notifier) {
        return;
    }
    struct mv_machine *machine = notifier->machine;
    pthread_mutex_lock(&machine->blocks.lock);
    cds_list_del(&notifier->link);
    struct mv_block *block;
    cds_list_for_each_entry (block, &machine->blocks.by_size, by_size) {
        if (notifier->ops->removed) {
            notifier->ops->removed(notifier->opaque, block);
        }
    }
    pthread_mutex_unlock(&machine->blocks.lock);
    free(notifier);
    machine_put(machine);
}

/* --- looking ---------------------------------------------------------------------------------------- */

/* A block whose last reference is gone is on the list until its last holder has the lock: not for others. */
static bool try_get(struct mv_block *block)
{
    unsigned refs = atomic_load_explicit(&block->refs, memory_order_relaxed);
    while (refs > 0) {
        if (atomic_compare_exchange_weak_explicit(&block->refs, &refs, refs + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

struct mv_block *mv_block_next(struct mv_machine *machine, struct mv_block *previous)
{
    struct block_table *table = &machine->blocks;
    pthread_mutex_lock(&table->lock);
    /* With a reference to it, the previous one is still on the list. */
    struct cds_list_head *at = previous ? previous->by_size.next : table->by_size.next;
    while (at != &table->by_size && !try_get(caa_container_of(at, struct mv_block, by_size))) {
        at = at->next;
    }
    pthread_mutex_unlock(&table->lock);
    mv_block_put(previous);
    return at == &table->by_size ? NULL : caa_container_of(at, struct mv_block, by_size);
}

struct mv_block *mv_block_by_id(struct mv_machine *machine, const char *id)
{
    pthread_mutex_lock(&machine->blocks.lock);
    struct mv_block *block = find_id(&machine->blocks, id);
    if (block && !try_get(block)) {
        block = NULL;
    }
    pthread_mutex_unlock(&machine->blocks.lock);
    return block;
}

static uint64_t first_hva(const struct mv_block *block)
{
    return hva_of(block->host).raw;
}

static uint64_t first_ram_offset(const struct mv_block *block)
{
    return block->ram_offset;
}

/* The block in which `address` is, counted as `first` says. */
static struct mv_block *find_address(struct mv_machine *machine, uint64_t (*first)(const struct mv_block *),
                                     uint64_t address, uint64_t *ret_offset_bytes)
{
    struct mv_block *found = NULL, *block;
    pthread_mutex_lock(&machine->blocks.lock);
    cds_list_for_each_entry (block, &machine->blocks.by_size, by_size) {
        if (address - first(block) < block->max_size_bytes && try_get(block)) {
            *ret_offset_bytes = address - first(block);
            found = block;
            break;
        }
    }
    pthread_mutex_unlock(&machine->blocks.lock);
    return found;
}

struct mv_block *mv_block_by_hva(struct mv_machine *machine, mv_hva_t hva, uint64_t *ret_offset_bytes)
{
    return find_address(machine, first_hva, hva.raw, ret_offset_bytes);
}

struct mv_block *mv_block_by_ram_offset(struct mv_machine *machine, uint64_t ram_offset,
                                        uint64_t *ret_offset_bytes)
{
    return find_address(machine, first_ram_offset, ram_offset, ret_offset_bytes);
}

uint64_t mv_block_version(struct mv_machine *machine)
{
    pthread_mutex_lock(&machine->blocks.lock);
    uint64_t version = machine->blocks.version;
    pthread_mutex_unlock(&machine->blocks.lock);
    return version;
}

bool block_table_check(struct block_table *table)
{
    bool good = true;
    size_t holes = 0, by_offset = 0, by_size = 0;
    struct mv_block *block;
    pthread_mutex_lock(&table->lock);
    cds_list_for_each_entry (block, &table->by_offset, by_offset) {
        by_offset++;
        holes += is_hole(table, block);
        good = good && is_aligned(block->ram_offset, PLACE_ALIGNMENT);
        good = good && (block->by_offset.next == &table->by_offset ||
                        block->ram_offset + block->max_size_bytes <= block_at(block->by_offset.next)->ram_offset);
    }
    cds_list_for_each_entry (block, &table->by_size, by_size) {
        by_size++;
        good = good && (block->by_size.next == &table->by_size ||
                        comes_before(block, caa_container_of(block->by_size.next, struct mv_block, by_size)));
    }
    good = good && holes == table->holes && by_offset == by_size;
    pthread_mutex_unlock(&table->lock);
    return good;
}
